"""What the trainings of judges and of policies against judges will take: rows, steps, judge calls, money."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from grrm.catalogue.rewards import KINDS
from grrm.catalogue.trainings import TRAININGS, Training
from grrm.config.rewards import pieces_of, rewarded_trainings
from grrm.config.stages import planned_trainings, taken_models, trained_stages, value_of
from grrm.preflight.forecast import parameters_of_training, shown_range
from grrm.preflight.speeds import Range, learning_seconds, rl_parts, tokens

# Rows of toy tables by training, below the section of its part.
_JUDGED = {"judge_pairwise": 2, "alignment_judge": 2}
"""Responses that stand in a prompt of a judge's training, where they are more than one."""
_TOY = {
    "judge_sft": "judge_sft",
    "judge_pointwise": "judge_pointwise_train",
    "judge_pairwise": "judge_pairwise_train",
    "judge_bradley_terry": "judge_bradley_terry_train",
    "alignment_policy": "policy",
    "alignment_judge": "judge",
    "alignment_grpo": "train",
}


@dataclass(frozen=True)
class Work:
    """The forecast of a training beside the four stages.

    Attributes:
        name: of the training.
        rows: prepared rows; None if that is not known yet.
        source: where their number comes from.
        steps: training steps; None if they depend on rows that are not known.
        rollouts: responses that the policy writes, without validation; 0 of SFT.
        gpu_hours: None without GPUs, or if steps or the size of the model are not known.
        unknown: why the size of the model is not known; None if it is.
    """

    name: str
    rows: int | None
    source: str
    steps: int | None
    rollouts: int | None
    gpu_hours: Range | None = None
    unknown: str | None = None


@dataclass(frozen=True)
class Calls:
    """The forecast of what a judge is asked in a training.

    Attributes:
        name: of the training, or of a part of its reward.
        kind: of the reward.
        group: calls about the rollouts of a prompt.
        calls: about the rollouts of the whole training; None if its steps are not known.
        validation: besides, in all validations; None if the rows of these are not known.
        tokens: of prompts and of answers, of both.
        cost: by the prices of the configuration; None for a judge that the run serves itself.
    """

    name: str
    kind: str
    group: int
    calls: int | None
    validation: int | None
    tokens: tuple[Range, Range] | None
    cost: Range | None
    is_asked_elsewhere: bool = False
    """An endpoint's, not one that the run serves."""


def other_trainings(config: Mapping[str, Any], folder: Path, assumptions: Mapping[str, Any]) -> list[Work]:
    """Trainings of judges and of the alignment that run, in order.

    Args:
        config: resolved configuration.
        folder: of the workflow.
        assumptions: see config/forecast.yaml.
    """
    taken = set(taken_models(config))
    if config["alignment"] is not None and _judges_itself(config["alignment"]["grpo"]["reward"]) is False:
        taken.add("alignment_judge")
    if "alignment_base" in taken or value_of(config, "alignment.grpo.start_from"):
        taken.add("alignment_policy")
    return [
        _work(row, config, folder, assumptions)
        for row in planned_trainings(config)
        if row.part and row.name not in taken
    ]


def _judges_itself(reward: Mapping[str, Any]) -> bool:
    """Whether the judge is one that the experiment trains, not an endpoint's nor one that is taken."""
    judge = reward["judge"]
    return reward["model"] is None and judge["url"] is None and not judge["replay"]


def _work(row: Training, config: Mapping[str, Any], folder: Path, assumptions: Mapping[str, Any]) -> Work:
    settings, hardware = value_of(config, row.section), config["hardware"]
    rows, source = _rows(row, config, folder)
    if rows is None and (assumed := assumptions["rows"].get(row.name)):
        rows, source = assumed["range"][1], assumed["source"]
    steps = settings[row.steps_key]
    if row.engine == "rl":
        batch = settings["train_batch_size"]
    else:
        batch = settings["batch_size"] * settings["gradient_accumulation"]
        batch *= hardware["nodes"] * hardware["gpus_per_node"]
    if steps is None and rows is not None:
        full = rows // batch if row.engine == "rl" else math.ceil(rows / batch)
        steps = int(full * settings["epochs"])
    rollouts = 0 if row.engine != "rl" else None
    if row.engine == "rl" and steps is not None:
        rollouts = steps * batch * settings["rollouts"]
    work = Work(row.name, rows, source, steps, rollouts)
    if steps is None or hardware["device"] != "cuda":
        return work
    parameters = parameters_of_training(row.name, config, assumptions, folder)
    if isinstance(parameters, str):
        return replace(work, unknown=parameters)
    prompt, answer = read_and_written(row, assumptions)
    if row.engine == "rl":
        judged = _judged_by_itself(row, config, steps, assumptions)
        written = Range(rollouts or 0, rollouts or 0)
        seconds = rl_parts(prompt, answer, written, judged, parameters, assumptions).seconds
    else:
        seconds = learning_seconds((prompt + answer) * (steps * batch), parameters, assumptions)
    return replace(work, gpu_hours=seconds * (1 / 3600))


def read_and_written(row: Training, assumptions: Mapping[str, Any]) -> tuple[Range, Range]:
    """Tokens of a prompt and of what is written or learned."""
    if not row.part:
        return tokens(f"{row.task}_prompt", assumptions), tokens(f"{row.task}_answer", assumptions)
    asked, response, verdict = (
        Range(*assumptions["tokens"][part]["range"])
        for part in ("conversation_prompt", "conversation_answer", "judge_answer")
    )
    if row.engine == "bt":
        return (asked + response) * 2, Range(0, 0)
    if row.part == "alignment" and row.name not in _JUDGED:
        return asked, response
    return asked + response * _JUDGED.get(row.name, 1), verdict


def _judged_by_itself(
    row: Training, config: Mapping[str, Any], steps: int, assumptions: Mapping[str, Any]
) -> Range:
    """Tokens that judges write which the run serves itself."""
    calls = judge_calls(config, {row.name: steps}, assumptions, {row.name})
    return sum(
        (one.tokens[1] for one in calls if one.tokens is not None and not one.is_asked_elsewhere), Range(0, 0)
    )


def _rows(
    row: Training, config: Mapping[str, Any], folder: Path, split: str = "train"
) -> tuple[int | None, str]:
    prepared = folder / "results" / config["experiment"] / (row.data if split == "train" else row.validation)
    given = value_of(config, f"{row.part}.data.{split}")
    for path in (prepared, *([folder / given] if given else [])):
        if path.is_file() and (counted := _count(path)) is not None:
            return counted, f"counted in {path}"
    key = f"{row.part}.data.toy.{_TOY.get(row.name, '') if split == 'train' else split}"
    toy = value_of(config, key)
    if given is None and value_of(config, f"{row.part}.data.source") in (None, "toy") and toy is not None:
        return toy, f"configuration, {key}"
    return None, f"not known before they are prepared ({given or row.data})"


def _count(path: Path) -> int | None:
    if path.suffix == ".parquet":
        return int(pq.ParquetFile(path).metadata.num_rows)
    if path.suffix in (".jsonl", ".json"):
        with path.open("rb") as file:
            return sum(1 for line in file if line.strip())
    return None


# ---------------------------------------------------------------- judges


def calls_of_group(piece: Mapping[str, Any], candidates: int) -> int:
    """Calls of a judge about so many candidates for one prompt.

    Args:
        piece: a section reward, or a part of a mixture.
        candidates: distinct ones.
    """
    entry = KINDS[piece["kind"]]
    if entry.asks != "judge" or (candidates < 2 and entry.relative is True):
        return 0
    if entry.family == "pairwise":
        return math.comb(candidates, 2) * (2 if piece["swap"] else 1)
    return candidates if entry.family in ("pointwise", "sqm") else 1


def judge_calls(
    config: Mapping[str, Any],
    steps: Mapping[str, int | None],
    assumptions: Mapping[str, Any],
    runs: Collection[str],
    folder: Path = Path(),
) -> list[Calls]:
    """What judges are asked in each training with a judge.

    Args:
        config: resolved configuration.
        steps: of each training.
        assumptions: see config/forecast.yaml.
        runs: trainings that run.
        folder: of the workflow, where rows of validations may lie.
    """
    found = []
    for run, section, settings, reward in rewarded_trainings(config):
        if run not in runs:
            continue
        conversation = "." in section
        apart = reward.get("chosen") == "alone" or not conversation
        candidates = settings["rollouts"] + (0 if apart else 1)
        total = steps.get(run)
        for name, piece in pieces_of(reward).items():
            if not (group := calls_of_group(piece, candidates)):
                continue
            calls = None if total is None else total * settings["train_batch_size"] * group
            validation = _validation_calls(run, settings, piece, total, config, folder)
            tokens = (
                None
                if calls is None
                else _tokens(
                    calls + (validation or 0),
                    _shown_in(piece, candidates),
                    assumptions,
                    conversation=conversation,
                )
            )
            label = run if name == piece["kind"] else f"{run}, part {name}"
            elsewhere = piece["model"] is None and bool(piece["judge"]["model"])
            cost = _cost(piece["judge"], tokens) if elsewhere else None
            found.append(Calls(label, piece["kind"], group, calls, validation, tokens, cost, elsewhere))
    return found


def _validation_calls(
    run: str,
    settings: Mapping[str, Any],
    piece: Mapping[str, Any],
    steps: int | None,
    config: Mapping[str, Any],
    folder: Path,
) -> int | None:
    """Calls in all validations of a training: as often as it says, after its last step, before its first."""
    validation = settings.get("validation")
    if not validation:
        return 0
    rows, _ = _rows(TRAININGS[run], config, folder, "validation")
    if steps is None or rows is None:
        return None
    times = math.ceil(steps / validation["steps"]) + validation["before_training"]
    # The chosen response is judged with a lone rollout in any case.
    alone = piece.get("chosen") == "alone" and validation["rollouts"] > 1
    return int(times * rows * calls_of_group(piece, validation["rollouts"] + (0 if alone else 1)))


def _shown_in(piece: Mapping[str, Any], candidates: int) -> int:
    """Candidates that stand in one prompt."""
    return {"pairwise": 2, "pointwise": 1, "sqm": 1}.get(KINDS[piece["kind"]].family, candidates)


def _tokens(
    calls: int, shown: int, assumptions: Mapping[str, Any], *, conversation: bool
) -> tuple[Range, Range]:
    def assumed(part: str) -> Range:
        return Range(*assumptions["tokens"][part]["range"])

    if not conversation:
        return assumed("ranking_prompt") * calls, assumed("ranking_answer") * calls
    prompt = assumed("conversation_prompt") + assumed("conversation_answer") * shown
    return prompt * calls, assumed("judge_answer") * calls


def _cost(judge: Mapping[str, Any], tokens: tuple[Range, Range] | None) -> Range | None:
    if tokens is None or not judge["prompt_price"] + judge["completion_price"]:
        return None
    prompt, answer = tokens
    return _scaled(prompt, judge["prompt_price"] / 1e6) + _scaled(answer, judge["completion_price"] / 1e6)


# ---------------------------------------------------------------- as text


def format_judged(works: Sequence[Work], calls: Sequence[Calls]) -> str:
    """The forecast as text; empty where there is nothing to say."""
    lines: list[str] = []
    if works:
        lines.append(f"{'training':<22}{'rows':>12}{'steps':>12}{'rollouts':>14}{'GPU-hours':>16}")
        lines += [
            f"{work.name:<22}{_count_of(work.rows):>12}{_count_of(work.steps):>12}"
            f"{'-' if work.rollouts == 0 else _count_of(work.rollouts):>14}{shown_range(work.gpu_hours):>16}"
            for work in works
        ]
        if hours := [work.gpu_hours for work in works if work.gpu_hours is not None]:
            lines += ["", f"These: {shown_range(sum(hours, Range(0, 0)))} GPU-hours"]
        if unknown := [f"  {work.name}: {work.unknown}" for work in works if work.unknown]:
            lines += ["", "Not forecast, and in no sum", *unknown]
        lines += ["", "Rows", *(f"  {work.name}: {work.source}" for work in works)]
    if calls:
        lines += [""] if lines else []
        lines.append(
            f"{'judge of':<22}{'kind':>18}{'calls a prompt':>16}{'calls':>14}{'in validation':>16}"
            f"{'M tokens asked':>18}{'M answered':>14}{'cost':>12}"
        )
        lines += [_line(one) for one in calls]
        if any(one.cost is None and one.calls for one in calls):
            lines.append(
                "Without a cost: the run's own, or no judge.prompt_price and .completion_price are set"
            )
        lines.append(
            "Calls: without repeats, and with all rollouts of a prompt different; tokens and cost are of both"
        )
    return "\n".join(lines)


def _line(one: Calls) -> str:
    asked, answered = one.tokens or (None, None)
    return (
        f"{one.name:<22}{one.kind:>18}{one.group:>16,}{_count_of(one.calls):>14}{_count_of(one.validation):>16}"
        f"{_millions(asked):>18}{_millions(answered):>14}{shown_range(one.cost):>12}"
    )


def _millions(value: Range | None) -> str:
    return shown_range(None if value is None else _scaled(value, 1e-6))


def _scaled(value: Range, factor: float) -> Range:
    return Range(value.low * factor, value.high * factor)


def _count_of(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def runs_of(config: Mapping[str, Any], works: Sequence[Work], targets: Sequence[str] = ()) -> set[str]:
    """Trainings that run: all, or those that are needed for targets.

    Args:
        config: resolved configuration.
        works: trainings beside the four stages.
        targets: trainings, by the names that they can be asked for.
    """
    stages = set(trained_stages(config))
    every = stages | {work.name for work in works}
    every |= {run for run, section, _, _ in rewarded_trainings(config) if section in stages}
    if not targets:
        return every
    wanted = {row.name for row in TRAININGS.values() if {row.target_name, row.name} & set(targets)}
    while more := {
        need
        for name in wanted
        for need in (TRAININGS[name].start, TRAININGS[name].judge)
        if need in TRAININGS and need not in wanted
    }:
        wanted |= more
    return wanted & every
