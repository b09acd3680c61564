"""`grrm rank|translate --backend vllm` on a CPU: what transformers answers, and resumed after a kill."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from configurations import ROOT
from grrm.files import UserError, read_jsonl
from grrm.inference import Decoding, Engine, Request, open_backend
from grrm.inference.backends import Backend, precision
from grrm.inference.tokens import encode
from grrm.judges.card import JudgeCard, Pointwise, write_card
from tiny_model import save_tiny_model

PROMPTS = [f"{'a frog ' * (i % 5)}{i}" for i in range(300)]
ENGINE = Engine("vllm", threads=1, kv_cache_mb=64)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model; so many of its tokens end an answer that some answers do end."""
    folder = save_tiny_model(tmp_path_factory.mktemp("random"), width=64, heads=2)
    path = folder / "generation_config.json"
    generation = json.loads(path.read_text())
    path.write_text(json.dumps(generation | {"eos_token_id": [generation["eos_token_id"], *range(20, 40)]}))
    return folder


@pytest.fixture(scope="module")
def backend(model: Path) -> Any:
    with closing(open_backend(model, ENGINE)) as backend:
        yield backend


def completed(backend: Backend, requests: list[Request], decoding: Decoding) -> list[tuple[str, str | None]]:
    written = dict(backend.generate(requests, decoding))
    return [(written[i].text, written[i].failure) for i in range(len(requests))]


def test_three_hundred_answers_are_those_of_transformers(model: Path, backend: Backend) -> None:
    requests, greedy = [Request(prompt) for prompt in PROMPTS], Decoding(24)
    with closing(open_backend(model, Engine("transformers", threads=1))) as transformers:
        expected = completed(transformers, requests, greedy)
    assert len(set(expected)) > 100 and {failure for _, failure in expected} == {None, "unfinished"}
    assert completed(backend, requests, greedy) == expected


def test_a_checkpoint_keeps_its_precision(model: Path, backend: Any, tmp_path: Path) -> None:
    assert precision(model) == "float32"
    assert backend._llm.llm_engine.model_config.dtype == torch.float32
    assert backend.origin()["dtype"] == "float32"  # what a journal is of
    half = tmp_path / "half"
    half.mkdir()
    for file in model.iterdir():
        (half / file.name).write_bytes(file.read_bytes())
    config = json.loads((half / "config.json").read_text()) | {"dtype": "bfloat16"}
    (half / "config.json").write_text(json.dumps(config))
    weights = load_file(half / "model.safetensors")
    save_file({name: weight.bfloat16() for name, weight in weights.items()}, half / "model.safetensors")
    assert precision(half) == "bfloat16"


def test_what_is_sampled_depends_on_the_seed_and_not_on_the_batch(backend: Backend) -> None:
    sampled = Decoding(12, 1.0)
    requests = [Request(PROMPTS[i % 3], seed=i) for i in range(12)]
    together = completed(backend, requests, sampled)
    assert [completed(backend, [request], sampled)[0] for request in requests] == together
    assert completed(backend, [Request(r.text, r.seed + 100) for r in requests], sampled) != together
    assert len({text for text, _ in together}) > 6


def test_a_prompt_that_is_read_in_pieces_moves_no_seed(backend: Any) -> None:
    at_once = backend._llm.llm_engine.vllm_config.scheduler_config.max_num_batched_tokens
    requests = [Request(f"{i} {'a frog ' * 48}", seed=i) for i in range(64)]
    assert sum(len(tokens) for tokens in encode(backend._tokenizer, requests)) > 2 * at_once
    together = completed(backend, requests, Decoding(6, 1.0))
    assert [completed(backend, [request], Decoding(6, 1.0))[0] for request in requests] == together


def test_a_text_is_continued_without_the_chat_template_and_never_cut(model: Path, backend: Backend) -> None:
    requests = [Request("abc", chat=False), Request("abc"), Request("xyz " * 200)]
    first, second, third = completed(backend, requests, Decoding(8))
    assert first[0] != second[0]
    assert third == ("", "prompt_too_long")
    with closing(open_backend(model, Engine("transformers", threads=1))) as transformers:
        assert completed(transformers, requests, Decoding(8)) == [first, second, third]


def test_nothing_listens_beyond_this_machine(backend: Backend) -> None:
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        listening = [c for c in process.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN]
        assert {connection.laddr.ip for connection in listening} <= {"127.0.0.1"}


def test_what_is_made_of_a_piece_is_passed_on_before_the_next(backend: Any, monkeypatch) -> None:
    sizes, generate = [], backend._llm.generate

    def spy(prompts: Any, *args: Any, **options: Any) -> Any:
        sizes.append(len(prompts))
        return generate(prompts, *args, **options)

    monkeypatch.setattr(backend._llm, "generate", spy)
    monkeypatch.setattr(backend, "_piece", 32)
    written = backend.generate([Request("a")] * 40, Decoding(4))
    next(written)
    assert sizes == [32]
    assert len(list(written)) == 39 and sizes == [32, 8]


def test_a_shape_without_a_kernel_is_named_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="heads of 8 numbers, expected one of 32, 64, 80"):
        open_backend(save_tiny_model(tmp_path), ENGINE)


def start(command: str, *arguments: Any) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "scripts"),
        "OMP_NUM_THREADS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    words = [sys.executable, "-m", "grrm.cli", command, *map(str, arguments)]
    return subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def test_a_run_that_is_killed_goes_on_and_ends_as_if_it_had_not_been(model: Path, tmp_path: Path) -> None:
    source, prompt = tmp_path / "in.txt", tmp_path / "prompt.yaml"
    source.write_text("".join(f"{'a' * (i % 7)} {i}\n" for i in range(96)))
    prompt.write_text('kind: plain\nprompt: "{source_language} {target_language} {source}"\n')
    arguments = [
        "translate",
        "--model",
        model,
        "--input",
        source,
        "--from",
        "xx",
        "--to",
        "yy",
        "--prompt",
        prompt,
    ]
    arguments += ["--backend", "vllm", "--batch-size", "1", "--threads", "1", "--kv-cache-mb", "64"]
    arguments += ["--temperature", "1", "--max-new-tokens", "48"]
    output, partial = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    killed = start(*arguments, "--output", output)
    deadline = time.monotonic() + 300
    while not partial.exists() or partial.read_bytes().count(b"\n") < 8:
        assert killed.poll() is None, killed.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    killed.kill()
    killed.communicate()
    kept = partial.read_bytes()
    kept = kept[: kept.rindex(b"\n") + 1]
    answered = kept.count(b"\n") - 1  # the first line holds the settings
    assert not output.exists() and 7 <= answered < 96
    for path in (output, tmp_path / "whole.jsonl"):
        process = start(*arguments, "--output", path)
        _, errors = process.communicate(timeout=300)
        # The model is random: whether all of its texts can be used is its own affair.
        assert process.returncode in (0, 1), errors
        if path == output:
            assert f"{answered} of 96 answers are there already" in errors
    assert read_jsonl(output) == read_jsonl(tmp_path / "whole.jsonl")


PROMPT = {"kind": "judge_pointwise", "tag": "score", "reference": "{reference}"}
GROUPS = [
    {"src_text": f"a frog {i}", "mt_texts": [f"die {i}", "ein"], "src_lang": "en", "trg_lang": "de"}
    for i in range(12)
]
RESPONSES = [{"question": f"who {i}?", "responses": ["a frog", f"{i} frogs"]} for i in range(12)]


@pytest.mark.parametrize(("command", "rows"), [("rank", GROUPS), ("grade", RESPONSES)])
def test_what_judges_answer_is_what_they_answer_on_transformers(
    command: str, rows: list[dict[str, Any]], model: Path, tmp_path: Path
) -> None:
    judge = tmp_path / "judge"
    shutil.copytree(model, judge)
    prompt = {**PROMPT, "prompt": "{question}{reference} {response}"}
    write_card(judge / "judge.json", JudgeCard(Pointwise(prompt, 0, 4, 64, 24)))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["--model", judge, "--input", tmp_path / "rows.jsonl", "--retries", "0", "--threads", "1"]
    arguments += ["--max-new-tokens", "24"]
    arguments += ["--prompt", "config/prompts/toy_ranking.yaml"] if command == "rank" else []
    found = {}
    for backend in ("transformers", "vllm"):
        output = tmp_path / f"{backend}.jsonl"
        engine = ["--backend", backend, *(["--kv-cache-mb", "64"] if backend == "vllm" else [])]
        process = start(command, *arguments, *engine, "--output", output)
        _, errors = process.communicate(timeout=300)
        assert process.returncode in (0, 1), errors  # the model is random
        found[backend] = [texts(row) for row in read_jsonl(output)]
    assert len(found["vllm"]) == len(rows) and len(set(map(str, found["vllm"]))) > 6
    assert found["vllm"] == found["transformers"]


def texts(row: dict[str, Any]) -> list[str]:
    """What a judge has written of a row."""
    return [row["answer"]] if "answer" in row else [found["reason"] for found in row["judgements"]]
