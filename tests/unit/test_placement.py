"""Where a judge is asked faster, as `grrm forecast` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from configurations import ROOT
from grrm import cli
from grrm.preflight.placement import Placement, enough, placements
from grrm.preflight.speeds import Parts, Range


def hours(generation: float, judging: float, learning: float) -> Parts:
    return Parts(*(Range(part * 3600, 2 * part * 3600) for part in (generation, judging, learning)))


def test_a_colocated_judge_has_all_gpus_after_the_rollouts_and_a_dedicated_one_its_own_beside_them() -> None:
    assert placements(hours(8, 4, 16), policy=4, judge=2) == [
        Placement("colocated", 4, 0, Range(7, 14)),
        Placement("dedicated", 4, 2, Range(6, 12)),
        Placement("dedicated, with as many in all", 2, 2, Range(12, 24)),
    ]
    # It is waited for where it is slower than the rollouts, and there may be no GPUs to give it.
    assert [way.hours for way in placements(hours(8, 4, 16), policy=1, judge=1)] == [
        Range(28, 56),
        Range(24, 48),
    ]
    assert placements(hours(8, 40, 16), policy=4, judge=2)[1].hours == Range(24, 48)


def test_with_enough_gpus_a_dedicated_judge_costs_no_time() -> None:
    parts = hours(8, 5, 16)
    least = enough(parts, policy=4)
    without = placements(hours(8, 0, 16), policy=4, judge=1)[0].hours
    assert least == 3
    assert placements(parts, 4, least)[1].hours == without
    assert placements(parts, 4, least - 1)[1].hours > without


def forecast(capsys: pytest.CaptureFixture[str], folder: Path, *files: str, **reward: Any) -> list[str]:
    changes = folder / "changes.yaml"
    changes.write_text(yaml.safe_dump({"mt_grpo": {"reward": reward}} if reward else {}))
    paths = [str(ROOT / "config" / file) for file in files]
    cli.main(["forecast", "--workflow", str(ROOT), "--configfile", *paths, str(changes)])
    return capsys.readouterr().out.splitlines()


def verdicts(lines: list[str]) -> list[str]:
    return [line.split(" (")[0] for line in lines if " faster (" in line]


def test_the_papers_judge(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    own = forecast(capsys, tmp_path, "paper.yaml")
    assert any(line.startswith("judge of mt_grpo (colocated)") for line in own)
    assert verdicts(own) == [
        "with GPUs of its own besides: colocated is faster",
        "with as many GPUs in all: colocated is faster",
    ]
    (keeps_up,) = [line for line in own if "it keeps up" in line]
    needed = int(keeps_up.split()[-2])
    given = forecast(capsys, tmp_path, "paper.yaml", placement="dedicated", gpus_per_node=needed)
    assert verdicts(given)[0] == "with GPUs of its own besides: dedicated is faster"
    url = {"url": "http://127.0.0.1:1/v1", "model": "m"}
    assert not verdicts(forecast(capsys, tmp_path, "paper.yaml", placement="endpoint", judge=url))


@pytest.mark.parametrize(
    ("files", "placement", "said"),
    [
        ([], "dedicated", "all of a step are judged after its last rollout (engine transformers"),
        (
            ["vllm.yaml"],
            "colocated",
            "all of a step are judged after its last rollout; dedicated: a group",
        ),
        (["vllm.yaml"], "dedicated", "a group is judged once it is complete; colocated: all of a step"),
    ],
)
def test_without_gpus_it_says_when_groups_are_judged(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, files: list[str], placement: str, said: str
) -> None:
    lines = forecast(capsys, tmp_path, *files, placement=placement)
    assert any(line.startswith(f"judge of mt_grpo, {placement}: {said}") for line in lines)
