"""OpenRLHF's own executor, which has a response generated and rewarded, with the rewards of this project."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import normalizers
from transformers import AutoTokenizer

from grrm.files import UserError
from grrm.rewards import openrlhf
from grrm.rewards.openrlhf import reward_function
from tiny_model import save_tiny_model

ROOT = Path(__file__).parents[2]
FUNCTIONS = """
import json
from pathlib import Path

def words(group):
    with Path(__file__).with_suffix(".jsonl").open("a") as file:
        file.write(json.dumps(group) + "\\n")
    return [len(text.split()) for text in group["candidates"]]

def refuses(group):
    raise RuntimeError("not today")
"""
SAID = ["one", "one two", "one two three", "one two three four"]


@pytest.fixture(scope="module")
def executor_class() -> Any:
    """The class that asks for rewards, from the real package.

    In place of its two packages stand empty ones with the same files: what they import to begin with
    (DeepSpeed and its kin) has no part in this. All modules under them are the real ones.
    """
    spec = importlib.util.find_spec("openrlhf")
    assert spec is not None and spec.submodule_search_locations is not None
    (folder,) = spec.submodule_search_locations
    for name, path in {"openrlhf": folder, "openrlhf.utils": f"{folder}/utils"}.items():
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [path]
    return importlib.import_module("openrlhf.utils.agent").SingleTurnAgentExecutor


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoTokenizer.from_pretrained(save_tiny_model(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FUNCTIONS)
    return path


class Engine:
    """In the place of vLLM: says the next text to a prompt, after a while."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer, self._asked = tokenizer, dict[tuple[int, ...], int]()

    async def generate(self, prompt: list[int], params: Any, multi_modal_data: Any = None) -> Any:
        number = self._asked.get(tuple(prompt), 0)
        self._asked[tuple(prompt)] = number + 1
        await asyncio.sleep(0.1 * number)  # the first responses to all prompts come before the second ones
        ids = self._tokenizer.encode(SAID[number] + "<|im_end|>", add_special_tokens=False)
        return SimpleNamespace(
            outputs=[SimpleNamespace(token_ids=ids, text=SAID[number], finish_reason="stop", logprobs=None)]
        )


def run(
    executor_class: Any,
    tokenizer: Any,
    url: str,
    labels: list[Any],
    prompt: str = "What is {number}?",
    longest: int = 128,
) -> list[list[dict[str, Any]]]:
    """What becomes of four responses to each prompt, all of them asked for at once."""

    async def execute() -> Any:
        executor, engine = executor_class(url), Engine(tokenizer)
        params = SimpleNamespace(max_tokens=32, logprobs=None)
        jobs = [
            executor.execute(prompt.format(number=number), label, params, longest, tokenizer, engine)
            for number, label in enumerate(labels)
            for _ in SAID
        ]
        return await asyncio.wait_for(asyncio.gather(*jobs), 60)

    results = asyncio.run(execute())
    return [results[start : start + len(SAID)] for start in range(0, len(results), len(SAID))]


def test_responses_handed_over_one_by_one_are_judged_as_groups(
    executor_class: Any, tokenizer: Any, functions: Path, tmp_path: Path
) -> None:
    """More of them wait at once than an event loop has threads by itself."""
    file = tmp_path / "reward.py"
    file.write_text(
        "from grrm.rewards.openrlhf import reward_function\n\n"
        f"reward_func = reward_function(kind='function', function='{functions}:words', group_size=4)\n"
    )
    labels = [json.dumps({"question": f"What is {number}?", "rubric": number}) for number in range(40)]
    results = run(executor_class, tokenizer, str(file), labels)
    assert len(results) == 40
    for group in results:
        for words, result in enumerate(group, 1):
            # As OpenRLHF makes tensors of them.
            assert torch.tensor([result["reward"]]).tolist() == [words]
            assert torch.tensor([result["scores"]]).tolist() == pytest.approx([words / 10])
            assert result["extra_logs"]["valid"].tolist() == [1]
    asked = [json.loads(line) for line in functions.with_suffix(".jsonl").read_text().splitlines()]
    assert len(asked) == 40
    assert all(sorted(group["candidates"]) == SAID for group in asked)
    assert sorted(group["rubric"] for group in asked) == list(range(40))


def test_the_projects_own_file_reads_its_options_from_a_file(
    executor_class: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert openrlhf.__file__ is not None
    monkeypatch.delenv("GRRM_REWARD", raising=False)
    with pytest.raises(UserError, match="GRRM_REWARD is not set; expected a YAML file with the options"):
        executor_class(openrlhf.__file__)
    options = tmp_path / "reward.yaml"
    options.write_text("kind: bleu\npoints: true\n")
    monkeypatch.setenv("GRRM_REWARD", str(options))
    label = {"src_text": "s", "src_lang": "en", "trg_lang": "de", "trg_text": SAID[-1]}
    ((*_, best),) = run(executor_class, tokenizer, openrlhf.__file__, [label])
    assert best["reward"].tolist() == pytest.approx([10])


def test_a_failure_is_no_reward(executor_class: Any, tokenizer: Any, functions: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"kind": "function", "function": f"{functions}:refuses"}
    reward = reward_function(**options)
    with pytest.raises(UserError, match="1 of 1 responses have no reward: refuses: RuntimeError: not today"):
        reward(["pr"], ["p"], ["label"])
    with pytest.raises(UserError, match="it does not begin with prompt 0"):
        reward(["pr"], ["q"], ["label"])
    file = tmp_path / "reward.py"
    file.write_text(
        f"from grrm.rewards.openrlhf import reward_function\n\nreward_func = reward_function(**{options!r})\n"
    )
    (group,) = run(executor_class, tokenizer, str(file), [None])
    assert [result["reward"] for result in group] == [None] * 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"kind": "pairwise_dgr", "judge": {"url": "http://x", "model": "m"}},
            "group_size: 0, but pairwise_dgr",
        ),
        ({"kind": "bleu", "colour": "red"}, "unknown colour"),
        ({"kind": "bleu", "extract": "code_block"}, "say with --invalid-reward what it earns"),
    ],
)
def test_a_mistake_is_said_before_anything_is_generated(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        reward_function(**options)


# ---------------------------------------------------------------- the server


@contextmanager
def served(*flags: str) -> Iterator[str]:
    """`grrm serve-reward` on a free port, run by the python of the workflow; its address."""
    process = subprocess.Popen(
        [str(ROOT / ".venv/bin/python"), "-m", "grrm.cli", "serve-reward", "--port", "0", *flags],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        lines: list[str] = []
        while line := process.stderr.readline():
            lines.append(line)
            if match := re.search(r"Listening at (http://\S+)", line):
                yield match[1]
                return
        raise AssertionError("".join(lines))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def test_the_server_answers_the_executor(executor_class: Any, tokenizer: Any, functions: Path) -> None:
    flags = ("--kind", "function", "--function", f"{functions}:words", "--group-size", "4")
    with served(*flags) as address:
        results = run(executor_class, tokenizer, f"{address}/get_reward", [None] * 12)
    for group in results:
        assert [result["reward"] for result in group] == [[1], [2], [3], [4]]
        assert [result["extra_logs"] for result in group] == [{"valid": [1]}] * 4
    asked = functions.with_suffix(".jsonl").read_text().splitlines()
    assert len(asked) == 12


@pytest.fixture
def normalising(tokenizer: Any) -> Iterator[Any]:
    """The tokenizer with Unicode's NFC before it, as Qwen's has it."""
    before = tokenizer.backend_tokenizer.normalizer
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    yield tokenizer
    tokenizer.backend_tokenizer.normalizer = before


@pytest.mark.parametrize(
    "text",
    [
        "\u095c\u0958 \u092a\u0922\u093c\u0928\u093e",
        unicodedata.normalize("NFD", "Tiếng Việt đẹp"),
        unicodedata.normalize("NFD", "한국어"),
        "5 \u212b",
    ],
    ids=["Hindi", "Vietnamese", "Korean", "Angstrom"],
)
@pytest.mark.parametrize("longest", [4096, 64], ids=["whole", "cut off"])
def test_prompts_that_a_tokenizer_changes_are_rewarded(
    executor_class: Any, normalising: Any, functions: Path, tmp_path: Path, text: str, longest: int
) -> None:
    file = tmp_path / "reward.py"
    file.write_text(
        "from grrm.rewards.openrlhf import reward_function\n\n"
        f"reward_func = reward_function(kind='function', function='{functions}:words', group_size=4)\n"
    )
    prompt = f"<|im_start|>user\n{text * 4} {{number}}<|im_end|>\n<|im_start|>assistant\n"
    prompt = prompt if longest > 64 else f"<|im_start|>user\n{'older words ' * 20}" + prompt
    results = run(executor_class, normalising, str(file), [None] * 2, prompt, longest)
    for group in results:
        assert [result["reward"].tolist() for result in group] == [[1], [2], [3], [4]]
        assert all(0 < result["scores"].item() < 1 for result in group)
    asked = [json.loads(line) for line in functions.with_suffix(".jsonl").read_text().splitlines()]
    assert all(sorted(group["candidates"]) == SAID for group in asked)
