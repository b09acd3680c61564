"""Tables answered by the workflow's programs: one process answers what several will write down."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import rank_candidates
from configurations import empty_model
from grrm.files import UserError
from grrm.inference import Completion, Decoding, Request, backends
from grrm.schemas import write_table
from judge_server import Act, Call
from serving import serving

PROMPT = Path(__file__).parents[2] / "config/prompts/toy_ranking.yaml"
ROWS = 3


class Loaded:
    """A model that answers with what it is asked; keeps how often it was loaded."""

    times = 0

    def __init__(self, model: Path, engine: backends.Engine) -> None:
        self._model, self._engine = model, engine
        Loaded.times += 1

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        yield from ((i, Completion(f"{request.text} {decoding.seed}")) for i, request in enumerate(requests))

    def origin(self) -> dict[str, Any]:
        return backends.local_origin(self._model, "transformers", self._engine)

    def other_files(self) -> dict[str, str]:
        return backends.other_files(self._model)

    def close(self) -> None: ...


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    texts = ["one", "two", "three", "four"]
    rows = [
        {"src_text": f"s{i}", "src_lang": "xx", "trg_lang": "yy", "mt_texts": texts, "scores": [1, 2, 3, 4]}
        for i in range(ROWS)
    ]
    write_table(tmp_path / "groups.parquet", rows, "ranking_test")
    return tmp_path / "groups.parquet"


@pytest.fixture
def rank(groups: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The program with a model that counts how often it is loaded."""
    model = empty_model(tmp_path / "model", 10)
    for name in ("config.json", "tokenizer.json"):
        (model / name).write_text("{}")
    monkeypatch.setitem(sys.modules, "loaded_backend", SimpleNamespace(open=Loaded))
    monkeypatch.setitem(backends._MODULES, "transformers", "loaded_backend")
    monkeypatch.setattr(Loaded, "times", 0)

    def run(output: Path, *options: str) -> None:
        rank_candidates.main(
            [
                *("--model", str(model), "--input", str(groups), "--prompt", str(PROMPT)),
                *("--max-new-tokens", "9", "--backend", "transformers", "--discard-stale"),
                *("--output", str(output), *options),
            ]
        )

    return run


def in_order(seed: int) -> list[str]:
    return ["--candidate-order", "shuffled", "--seed", str(seed)]


def test_one_process_answers_the_other_orders_which_are_then_written_without_the_model(rank, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    rank(alone / "row", "--runs", "2")
    for seed in (1, 2):
        rank(alone / str(seed), *in_order(seed))
    assert Loaded.times == 3
    also = [f"{seed}={together / str(seed)}" for seed in (1, 2)]
    rank(together / "row", "--runs", "2", "--also-shuffled", *also)
    assert Loaded.times == 4
    assert sorted(path.name for path in together.iterdir()) == ["1.partial", "2.partial", "row"]
    for seed in (1, 2):
        rank(together / str(seed), *in_order(seed))
    assert Loaded.times == 4
    assert {path.name for path in together.iterdir()} == {"1", "2", "row"}
    for path in alone.iterdir():
        assert (together / path.name).read_bytes() == path.read_bytes()


def test_orders_that_are_there_are_left_and_those_of_another_model_made_anew(rank, tmp_path, capsys):
    rank(tmp_path / "1", *in_order(1))
    there = (tmp_path / "1").read_bytes()
    also = ["--also-shuffled", f"1={tmp_path / '1'}"]
    rank(tmp_path / "row", *also)
    assert (tmp_path / "1").read_bytes() == there
    assert not (tmp_path / "1.partial").exists()
    (tmp_path / "model/model.safetensors").write_bytes(b"others")
    (tmp_path / "row").unlink()
    rank(tmp_path / "row", *also)
    assert ": made anew" in capsys.readouterr().err
    # Snakemake removes the output before the program that is to write it.
    (tmp_path / "1").unlink()
    loaded = Loaded.times
    rank(tmp_path / "1", *in_order(1))
    assert Loaded.times == loaded
    assert (tmp_path / "1").read_bytes() != there


def test_where_a_server_fails_in_another_order_nothing_is_lost(groups, tmp_path):
    asked = [
        *("--model", "judge", "--input", str(groups), "--prompt", str(PROMPT), "--max-new-tokens", "9"),
        *("--output", str(tmp_path / "row"), "--also-shuffled", f"1={tmp_path / '1'}", "--call-retries", "0"),
    ]
    broken, answered = True, []

    def judge(call: Call) -> Act:
        if broken and "\nA: one\n" not in call.prompt:
            return Act(status=500)
        answered.append(call.prompt)
        return Act("said")

    with serving(judge) as server:
        with pytest.raises(UserError, match=r"1\.partial: the same command asks for the rest"):
            rank_candidates.main([*asked, "--base-url", server.url])
        assert not (tmp_path / "row").exists()
        broken = False
        rank_candidates.main([*asked, "--base-url", server.url])
    assert (tmp_path / "row").exists()
    assert len(answered) == 2 * ROWS
