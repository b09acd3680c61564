"""The translation model on the way of its reinforcement learning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import score_checkpoints
from grrm.files import UserError, read_json, sha256, write_json, write_jsonl
from grrm.schemas import write_table

SEGMENTS = [
    {"src_text": f"s{i}", "trg_text": f"ba du gi fo {i}", "src_lang": "xx", "trg_lang": "yy", "comment": None}
    for i in range(6)
]
# Per model, how many of the four words before the number are right.
RIGHT = {"mt_sft": 1, "mt_grpo_20": 4, "mt_grpo_10": 2, "mt_grpo": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_table(tmp_path / "translation_test.parquet", SEGMENTS, "translation_test")
    for name, right in RIGHT.items():
        rows = (
            {
                "index": i,
                "src_text": row["src_text"],
                "raw": "…",
                "translation": " ".join([*["ba", "du", "gi", "fo"][:right], *["no"] * (4 - right), str(i)]),
                "failure": None,
                "model": name,
                "weights": "w",
                "decoding": {"max_new_tokens": 9, "temperature": 0.0, "seed": 0},
            }
            for i, row in enumerate(SEGMENTS)
        )
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    curve = [{"step": step, "critic/score/mean": step / 100, "actor/entropy": 1.0} for step in range(1, 26)]
    write_jsonl(tmp_path / "curve.jsonl", curve)
    scores = {
        name: {"answers_sha256": sha256(tmp_path / f"{name}.jsonl"), "scores": [[0.25 * right] * 6]}
        for name, right in RIGHT.items()
    }
    write_json(tmp_path / "comet.json", {"signature": "COMET|…", "systems": scores})
    return tmp_path


def run(folder: Path, steps: tuple[str, ...] = ("mt_grpo_10=10", "mt_grpo_20=20")) -> dict[str, Any]:
    def named(*names: str) -> list[str]:
        return [f"{name}={folder / name}.jsonl" for name in names]

    score_checkpoints.main(
        [
            *("--reference", str(folder / "translation_test.parquet"), "--samples", "100"),
            *("--before", *named("mt_sft"), "--after", *named("mt_grpo")),
            *("--checkpoints", *named("mt_grpo_20", "mt_grpo_10"), "--steps", *steps),
            *("--segment-scores", f"comet={folder / 'comet.json'}"),
            *("--curve", str(folder / "curve.jsonl"), "--output", str(folder / "checkpoints.json")),
        ]
    )
    document: dict[str, Any] = read_json(folder / "checkpoints.json")
    return document


def test_reward_and_independent_metrics_stand_side_by_side(folder: Path) -> None:
    systems = run(folder)["systems"]
    assert [(system["step"], system["name"]) for system in systems] == [
        (0, "mt_sft"),
        (10, "mt_grpo_10"),
        (20, "mt_grpo_20"),
        (25, "mt_grpo"),
    ]
    assert [system["metrics"]["comet"]["value"] for system in systems] == [0.25, 0.5, 1.0, 0.75]
    assert systems[2]["metrics"]["bleu"]["value"] == pytest.approx(100)
    assert systems[3]["metrics"]["bleu"]["value"] < 100
    # The mean of steps 6 to 10; before the first step there is no reward.
    assert systems[1]["training"]["reward"] == pytest.approx(0.08)
    assert systems[0]["training"]["reward"] is None
    assert systems[1]["training"]["judge_score"] is None


def test_steps_in_which_nothing_was_judged_do_not_count() -> None:
    curve = [{"step": 1, "reward/judge_score": None}, {"step": 2, "reward/judge_score": 4.0}]
    assert score_checkpoints.training_metrics(curve, 2)["judge_score"] == 4.0
    assert score_checkpoints.training_metrics(curve, 1)["judge_score"] is None


def test_differences_are_to_the_model_before_training(folder: Path) -> None:
    differences = run(folder)["differences"]
    assert {difference["baseline"] for difference in differences} == {"mt_sft"}
    assert [difference["metrics"]["comet"]["value"] for difference in differences] == [0.25, 0.75, 0.5]


@pytest.mark.parametrize("steps", [("mt_grpo_10=10",), ("mt_grpo_10=10", "mt_grpo_20=soon")])
def test_every_checkpoint_needs_its_step(folder: Path, steps: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="expected one number for each of --checkpoints"):
        run(folder, steps)


def test_an_empty_curve_is_named(folder: Path) -> None:
    (folder / "curve.jsonl").write_text("")
    with pytest.raises(UserError, match=r"curve\.jsonl: no training steps"):
        run(folder)
