"""What is reported about rewards: kinds side by side, and an alignment before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import compare_reward_kinds
import summarize_alignment
from grrm.asking.ledger import total_calls
from grrm.files import UserError, read_json, write_json, write_jsonl
from grrm.metrics.proportion import wilson


def step(number: int, **values: float | None) -> dict[str, Any]:
    return {"step": number, "critic/score/mean": number / 10, "timing_s/step": 2.0, **values}


@pytest.fixture
def curves(tmp_path: Path) -> Path:
    for run, extra in (("mt_grpo", {}), ("mt_grpo_sqm", {"reward/judge_failed": 0.5})):
        nothing = dict.fromkeys(extra)  # in a step without judgements
        write_jsonl(tmp_path / f"{run}.jsonl", [step(0), step(1, **extra), step(2, **nothing)])
        write_json(tmp_path / f"{run}.judge_calls.json", total_calls([]))
    return tmp_path


def scores(tmp_path: Path, *names: str) -> Path:
    metrics = {"bleu": {"value": 1.0, "low": 0.5, "high": 1.5, "n": 3, "signature": "BLEU"}}
    systems = [
        {"name": name, "model": f"models/{name}", "weights": "w", "n": 3, "failures": {}, "metrics": metrics}
        for name in names
    ]
    differences = [{"baseline": names[0], "system": name, "metrics": metrics} for name in names[1:]]
    apart = {"bleu": {**metrics["bleu"], "value": -2.0}}
    differences += [{"baseline": names[1], "system": name, "metrics": apart} for name in names[2:]]
    write_json(
        tmp_path / "scores.json",
        {"data": {"n": 3}, "bootstrap": {}, "systems": systems, "differences": differences},
    )
    return tmp_path / "scores.json"


def compare(tmp_path: Path, curves: Path, *names: str) -> Any:
    compare_reward_kinds.main(
        [
            *("--scores", str(scores(tmp_path, *names)), "--runs", "grrm=mt_grpo", "sqm=mt_grpo_sqm"),
            *("--curves", str(curves), "--seed", "7", "--output", str(tmp_path / "kinds.json")),
        ]
    )
    return read_json(tmp_path / "kinds.json")


def test_kinds_stand_side_by_side(tmp_path: Path, curves: Path) -> None:
    found = compare(tmp_path, curves, "mt_sft", "mt_grpo", "mt_grpo_sqm")
    assert found["seed"] == 7
    assert found["baseline"]["name"] == "mt_sft"
    assert [(entry["kind"], entry["name"]) for entry in found["kinds"]] == [
        ("grrm", "mt_grpo"),
        ("sqm", "mt_grpo_sqm"),
    ]
    training = found["kinds"][1]["training"]
    assert training == {
        "steps": 2,
        "reward": {"first": 0.1, "last": 0.2},
        "seconds_per_step": 2.0,
        "judge_failed": 0.5,
    }
    assert "judge_failed" not in found["kinds"][0]["training"]
    assert found["kinds"][0]["judge_calls"]["requests"] == 0
    assert [entry["difference"]["bleu"]["value"] for entry in found["kinds"]] == [1.0, 1.0]
    assert found["kinds"][0]["to_first"] is None
    assert found["kinds"][1]["to_first"]["bleu"]["value"] == -2.0


def test_a_kind_that_was_not_scored_is_named(tmp_path: Path, curves: Path) -> None:
    with pytest.raises(UserError, match="no scores of mt_grpo_sqm"):
        compare(tmp_path, curves, "mt_sft", "mt_grpo")


def test_an_alignment_is_told_by_its_validations_and_steps(tmp_path: Path) -> None:
    def validated(number: int, above: float, **more: float) -> dict[str, Any]:
        figures = {"reward": 0.4, "above_chosen": above, "chosen_score": 6.0, "valid": 1.0, "compared": 1.0}
        return {
            "step": number,
            **{
                f"val-{'core' if name == 'reward' else 'aux'}/toy/{name}/mean@1": value
                for name, value in figures.items()
            },
            **more,
        }

    rows = [
        validated(0, 0.25),
        step(1, **{"reward/above_chosen": 0.3, "reward/judge_score": None, "reward/inconsistent": None}),
        {
            **step(2, **{"reward/above_chosen": 0.6, "reward/judge_score": 1.0, "reward/inconsistent": None}),
            **validated(2, 0.75),
        },
    ]
    write_jsonl(tmp_path / "curve.jsonl", rows)
    write_json(tmp_path / "calls.json", total_calls([]))
    pq.write_table(pa.table({"data_source": ["toy"] * 8}), tmp_path / "rows.parquet")
    summarize_alignment.main(
        [
            *("--curve", str(tmp_path / "curve.jsonl"), "--judge-calls", str(tmp_path / "calls.json")),
            *("--validation", str(tmp_path / "rows.parquet"), "--kind", "pairwise_dgr", "--seed", "0"),
            *("--output", str(tmp_path / "alignment.json")),
        ]
    )
    found = read_json(tmp_path / "alignment.json")
    assert (found["steps"], found["kind"]) == (2, "pairwise_dgr")
    assert found["training"] == {
        "judge_score": {"first": None, "last": 1.0},
        "above_chosen": {"first": 0.3, "last": 0.6},
    }
    before, after = found["validation"]
    assert (before["step"], before["n"], after["step"]) == (0, 8, 2)
    assert before["chosen_score"] == 6.0
    assert after["above_chosen"]["value"] == 0.75
    assert after["above_chosen"]["low"] < 0.75 < after["above_chosen"]["high"]


def means(source: str, **figures: float) -> dict[str, float]:
    return {f"val-aux/{source}/{name}/mean@1": value for name, value in figures.items()}


def test_a_judgement_that_failed_is_no_score_of_a_validation() -> None:
    """A judge that scores 8, and the chosen one 6, wherever it answers: in 90 of 100 rows."""
    row = {
        "step": 3,
        **means("toy", judge_score=7.2, chosen_score=5.4, above_chosen=0.9, judged=0.9, compared=0.9),
    }
    found = summarize_alignment.validation(row, {"toy": 100})
    assert found is not None
    low, high = wilson(1.0, 90)
    assert found["above_chosen"] == pytest.approx({"value": 1.0, "low": low, "high": high, "n": 90})
    assert found["judge_score"] == pytest.approx(8)
    assert found["chosen_score"] == pytest.approx(6)
    assert (found["n"], found["judged"], found["compared"]) == (100, 0.9, 0.9)


def test_a_validation_without_any_judgement_has_no_score() -> None:
    failed = means("toy", judge_score=0, chosen_score=0, above_chosen=0, judged=0, compared=0, valid=1)
    found = summarize_alignment.validation({"step": 3, **failed}, {"toy": 100})
    assert found == {"step": 3, "n": 100, "valid": 1, "judged": 0, "compared": 0}


def test_sources_count_by_their_rows() -> None:
    row = {
        "step": 3,
        **means("toy", valid=1.0, above_chosen=0.5, compared=1.0),
        **means("nvidia/HelpSteer2", valid=0.5, above_chosen=0.0, compared=0.5),
    }
    found = summarize_alignment.validation(row, {"toy": 30, "nvidia/HelpSteer2": 10})
    assert found is not None
    assert found["valid"] == pytest.approx((30 + 5) / 40)
    assert found["above_chosen"]["value"] == pytest.approx(15 / 35)
    assert found["above_chosen"]["n"] == 35
    with pytest.raises(UserError, match="no validation row is of source nvidia/HelpSteer2, only toy"):
        summarize_alignment.validation(row, {"toy": 30})
    assert summarize_alignment.validation({"step": 3, "reward/valid": 1.0}, {"toy": 30}) is None


@pytest.mark.parametrize(
    ("share", "n", "low", "high"), [(0.5, 10, 0.2366, 0.7634), (0.0, 10, 0.0, 0.2775), (1.0, 1, 0.2065, 1.0)]
)
def test_the_interval_of_a_share(share: float, n: int, low: float, high: float) -> None:
    # Values of R's binom::binom.wilson.
    assert wilson(share, n) == pytest.approx((low, high), abs=1e-3)


def test_a_share_of_nothing_has_no_interval() -> None:
    with pytest.raises(ValueError, match="of 0 cases"):
        wilson(0.5, 0)
