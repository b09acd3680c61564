"""Where a judge that a run serves is asked faster: on the policy's GPUs, or on GPUs of its own.

Colocated, the judge waits for the last rollout of a step, and then has all GPUs. Dedicated, it judges each
group once it is complete, beside the rollouts; its GPUs idle while the policy learns, and may be too few.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from grrm.catalogue.trainings import TRAININGS
from grrm.config.rewards import rewarded_trainings
from grrm.preflight.forecast import parameters_of_training, shown_range
from grrm.preflight.judged_work import Calls, read_and_written
from grrm.preflight.speeds import Parts, Range, rl_parts, with_adapters

_EARLIER = "a group is judged once it is complete"
_TOGETHER = "all of a step are judged after its last rollout"


@dataclass(frozen=True)
class Placement:
    """A way to place the judge of a training.

    Attributes:
        name: in words.
        policy: GPUs of the policy.
        judge: GPUs of the judge's own; 0 if it is colocated.
        hours: of the training.
    """

    name: str
    policy: int
    judge: int
    hours: Range


@dataclass(frozen=True)
class Judged:
    """What is known of a training whose judge the run serves.

    Attributes:
        run: the training.
        configured: the placement in the configuration.
        engine: that serves the judge.
        placements: with their hours; none on a CPU, or if the size of the model or the steps are not known.
        enough: GPUs with which a dedicated judge keeps up with the rollouts; 0 likewise.
    """

    run: str
    configured: str
    engine: str
    placements: Sequence[Placement] = ()
    enough: int = 0


def judged_runs(
    config: Mapping[str, Any],
    steps: Mapping[str, int | None],
    calls: Sequence[Calls],
    assumptions: Mapping[str, Any],
    folder: Path,
) -> list[Judged]:
    """The trainings whose judge the run serves.

    Args:
        config: resolved configuration.
        steps: of each training.
        calls: see `grrm.preflight.judged_work.judge_calls`; trainings that it does not name are left out.
        assumptions: see config/forecast.yaml.
        folder: of the workflow.
    """
    found = []
    for run, section, settings, reward in rewarded_trainings(config):
        served = [
            one.tokens[1]
            for one in calls
            if one.name.split(",")[0] == run and one.tokens and not one.is_asked_elsewhere
        ]
        if not served or reward["placement"] == "endpoint":
            continue
        row, total = TRAININGS["alignment_grpo" if "." in section else section], steps.get(run)
        parameters = parameters_of_training(row.name, config, assumptions, folder)
        judged = Judged(run, reward["placement"], reward["rollout_engine"])
        if config["hardware"]["device"] == "cuda" and not isinstance(parameters, str) and total:
            answers = sum(served, Range(0, 0))
            rollouts = total * settings["train_batch_size"] * settings["rollouts"]
            speeds = with_adapters(assumptions) if settings.get("finetuning") == "lora" else assumptions
            read = read_and_written(row, assumptions)
            parts = rl_parts(*read, Range(rollouts, rollouts), answers, parameters, speeds)
            policy, judge = (part["nodes"] * part["gpus_per_node"] for part in (config["hardware"], reward))
            judged = replace(
                judged, placements=placements(parts, policy, judge), enough=enough(parts, policy)
            )
        found.append(judged)
    return found


def placements(parts: Parts, policy: int, judge: int) -> list[Placement]:
    """A judge on the policy's GPUs, on others besides, and, where there are more, on some of the same."""
    ways = [("colocated", policy, 0), ("dedicated", policy, judge)]
    if policy > judge:
        ways.append(("dedicated, with as many in all", policy - judge, judge))
    return [Placement(name, own, others, _hours(parts, own, others)) for name, own, others in ways]


def enough(parts: Parts, policy: int) -> int:
    """GPUs with which a dedicated judge writes no longer than the rollouts are written."""
    ends = zip(parts.judging, parts.generation, strict=True)
    return max(math.ceil(policy * judging / generation) for judging, generation in ends)


def _hours(parts: Parts, policy: int, judge: int) -> Range:
    def hours(generation: float, judging: float, learning: float) -> float:
        beside = max(generation / policy, judging / judge) if judge else (generation + judging) / policy
        return (beside + learning / policy) / 3600

    return Range(*(hours(*ends) for ends in zip(*parts, strict=True)))


def format_placements(found: Sequence[Judged]) -> str:
    """The forecast as text; empty without such trainings."""
    return "\n\n".join("\n".join(_lines(judged)) for judged in found)


def _lines(judged: Judged) -> list[str]:
    if not judged.placements:
        waits = judged.engine == "transformers"
        when = {"colocated": _TOGETHER, "dedicated": _TOGETHER if waits else _EARLIER}
        said = f"judge of {judged.run}, {judged.configured}: {when[judged.configured]}"
        if waits:
            return [f"{said} (engine transformers, in either placement)"]
        other = "dedicated" if judged.configured == "colocated" else "colocated"
        return [f"{said}; {other}: {when[other]}", "dedicated is faster where cores are left for it"]
    title = f"judge of {judged.run} ({judged.configured})"
    lines = [f"{title:<34}{'GPUs':>8}{'its own':>10}{'hours':>14}{'GPU-hours':>16}"]
    for way in judged.placements:
        gpus = way.policy + way.judge
        lines.append(
            f"{way.name:<34}{gpus:>8}{way.judge or '-':>10}{shown_range(way.hours):>14}"
            f"{shown_range(way.hours * gpus):>16}"
        )
    together, apart, *same = judged.placements
    lines.append(_verdict(together, apart, "with GPUs of its own besides"))
    lines += [_verdict(together, way, "with as many GPUs in all") for way in same]
    lines.append(f"Colocated, {_TOGETHER}")
    lines.append(f"Dedicated, {_EARLIER}; it keeps up with the rollouts on {judged.enough} GPUs")
    return lines


def _verdict(together: Placement, apart: Placement, where: str) -> str:
    ratios = sorted(own / shared for own, shared in zip(apart.hours, together.hours, strict=True))
    shown = " to ".join(dict.fromkeys(f"{ratio:.2f}" for ratio in ratios))
    faster = (
        "dedicated is faster"
        if ratios[1] < 1
        else "colocated is faster"
        if ratios[0] > 1
        else "either may be"
    )
    return f"{where}: {faster} (dedicated takes {shown} of the time)"
