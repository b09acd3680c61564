"""The pace of a rehearsed training, and what the whole training will take by it, beside what was forecast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from grrm.catalogue.trainings import Training
from grrm.cluster import devices, load_resources, requests
from grrm.config import value_of
from grrm.config.rehearsal import rehearsed
from grrm.engines.longest_rows import STEPS
from grrm.preflight.forecast import forecast_experiment, load_assumptions
from grrm.preflight.judged_work import other_trainings, read_and_written
from grrm.preflight.speeds import Range

Outcome: TypeAlias = Mapping[str, Any]
"""What scripts/rehearse.py writes."""


@dataclass(frozen=True)
class Pace:
    """How long the parts of a measured step took, in seconds, and its lengths, in tokens.

    Attributes:
        generating: rollouts; 0 in supervised trainings.
        rest: log-probabilities and the update.
        judging: of groups whose answers ended.
        saving: a checkpoint.
        prompt: mean length of a prompt, or of a supervised row.
        answer: mean length of a rollout.
    """

    generating: float
    rest: float
    judging: float
    saving: float
    prompt: float
    answer: float

    def step(self, prompt: float, answer: float) -> float:
        """Seconds of a step of other lengths: generation goes with answers, the update with all tokens."""
        written = self.generating * answer / self.answer if self.answer else 0.0
        learned = self.rest * (prompt + answer) / (self.prompt + self.answer)
        return written + learned + self.judging


@dataclass(frozen=True)
class Expected:
    """What a training was expected to be before it was measured.

    Attributes:
        steps: of the whole training; None if they are not known.
        gpu_hours: by `grrm forecast`; None where it says nothing.
        mean: tokens of a prompt and of an answer.
        limits: the longest ones; of a supervised row with an answer of 0.
        save_steps: between two checkpoints.
        devices: GPUs that it holds, or processes on CPUs.
        runtime: minutes that a job of it may last.
    """

    steps: Range | None
    gpu_hours: Range | None
    mean: tuple[Range, Range]
    limits: tuple[float, float]
    save_steps: int
    devices: int
    runtime: int


@dataclass(frozen=True)
class Measured:
    """Seconds of a whole training by its rehearsal, at mean lengths and at the longest."""

    mean: Range
    longest: Range


def pace_of(outcome: Outcome) -> Pace | None:
    """The pace of the last step; None if it was not done."""
    rows = outcome.get("steps") or []
    if not rows or rows[-1]["step"] != STEPS:
        return None
    first, last = rows[0], rows[-1]
    if "seconds" in last:
        return Pace(0.0, last["seconds"], 0.0, last.get("saving") or 0.0, outcome["tokens"], 0.0)

    def seconds(row: Mapping[str, Any], part: str) -> float:
        return float(row.get(f"timing_s/{part}") or 0.0)

    generating, saving, scored = (seconds(last, part) for part in ("gen", "save_checkpoint", "reward"))
    return Pace(
        generating,
        seconds(last, "step") - generating - saving - scored,
        # Answers that were cut off are not judged: those of the first step were.
        max(seconds(first, "reward"), scored),
        saving,
        last["prompt_length/mean"],
        last["response_length/mean"],
    )


def measured(pace: Pace, expected: Expected) -> Measured | None:
    """What the whole training will take; None if its number of steps is not known."""
    if (steps := expected.steps) is None:
        return None
    (prompt, answer), saved = expected.mean, pace.saving / expected.save_steps
    ends = (pace.step(prompt.low, answer.low) + saved, pace.step(prompt.high, answer.high) + saved)
    return Measured(steps * Range(*ends), steps * (pace.step(*expected.limits) + saved))


def expectations(config: Mapping[str, Any], workflow: Path) -> dict[str, Expected]:
    """What each rehearsed training was expected to be, by its name.

    Raises:
        UserError: a table of the workflow is damaged.
    """
    assumptions = load_assumptions(workflow / "config/forecast.yaml")
    table = load_resources(
        workflow / "config/resources.yaml",
        workflow / "config/schemas/resources.schema.yaml",
        changes=config["resources"],
    )
    known: dict[str, tuple[Range | None, Range | None]] = {
        stage.name: (stage.steps, stage.gpu_hours)
        for stage in forecast_experiment(config, workflow, assumptions)
    }
    for work in other_trainings(config, workflow, assumptions):
        steps = None if work.steps is None else Range(work.steps, work.steps)
        known[work.name] = (steps, work.gpu_hours)
    found = {}
    for row in rehearsed(config):
        steps, gpu_hours = known.get(row.name, (None, None))
        settings, limits = value_of(config, row.section), _limits(row, config)
        prompt, answer = read_and_written(row, assumptions)
        if row.engine != "rl":
            prompt, answer = prompt + answer, Range(0, 0)
        mean = (_within(prompt, limits[0]), _within(answer, limits[1]))
        rule = f"train_{row.rule_name}"
        found[row.name] = Expected(
            steps,
            gpu_hours,
            mean,
            limits,
            settings["save_steps"],
            devices(rule, table, config) or config["hardware"]["nodes"] * config["hardware"]["gpus_per_node"],
            requests(rule, table, config).popitem()[1].runtime,
        )
    return found


def _limits(row: Training, config: Mapping[str, Any]) -> tuple[float, float]:
    settings = value_of(config, row.section)
    if row.engine == "rl":
        return settings["max_prompt_length"], settings["max_response_length"]
    # Of a pair, both responses.
    return (2 * settings["max_length"] if row.engine == "bt" else settings["cutoff_len"]), 0


def _within(tokens: Range, limit: float) -> Range:
    return Range(min(tokens.low, limit), min(tokens.high, limit))
