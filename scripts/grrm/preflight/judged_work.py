"""What the trainings of judges and of policies against judges will take: rows, steps, judge calls, money."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from grrm.catalogue.rewards import KINDS
from grrm.catalogue.trainings import TRAININGS, Training
from grrm.config.rewards import pieces_of, rewarded_trainings
from grrm.config.stages import planned_trainings, taken_models, trained_stages, value_of
from grrm.preflight.forecast import Range, shown_range

# Rows of toy tables by training, below the section of its part.
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
    """

    name: str
    rows: int | None
    source: str
    steps: int | None
    rollouts: int | None


@dataclass(frozen=True)
class Calls:
    """The forecast of what a judge is asked in a training, validation included where its rows are known.

    Attributes:
        name: of the training, or of a part of its reward.
        kind: of the reward.
        group: calls about the rollouts of a prompt.
        calls: in the whole training; None if its steps are not known.
        tokens: of prompts and of answers.
        cost: by the prices of the configuration; None for a judge that the run serves itself.
    """

    name: str
    kind: str
    group: int
    calls: int | None
    tokens: tuple[Range, Range] | None
    cost: Range | None


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
    settings = value_of(config, row.section)
    rows, source = _rows(row, config, folder)
    if rows is None and (assumed := assumptions["rows"].get(row.name)):
        rows, source = assumed["range"][1], assumed["source"]
    steps = settings[row.steps_key]
    batch = settings["train_batch_size"] if row.engine == "rl" else settings["batch_size"]
    if steps is None and rows is not None:
        full = rows // batch if row.engine == "rl" else math.ceil(rows / batch)
        steps = int(full * settings["epochs"])
    rollouts = 0 if row.engine != "rl" else None
    if row.engine == "rl" and steps is not None:
        rollouts = steps * batch * settings["rollouts"]
    return Work(row.name, rows, source, steps, rollouts)


def _rows(row: Training, config: Mapping[str, Any], folder: Path) -> tuple[int | None, str]:
    prepared = folder / "results" / config["experiment"] / row.data
    given = value_of(config, f"{row.part}.data.train")
    for path in (prepared, *([folder / given] if given else [])):
        if path.is_file() and (counted := _count(path)) is not None:
            return counted, f"counted in {path}"
    toy = value_of(config, f"{row.part}.data.toy.{_TOY.get(row.name, '')}")
    if given is None and value_of(config, f"{row.part}.data.source") != "hub" and toy is not None:
        return toy, f"configuration, {row.part}.data.toy.{_TOY[row.name]}"
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
) -> list[Calls]:
    """What judges are asked in each training with a judge.

    Args:
        config: resolved configuration.
        steps: of each training.
        assumptions: see config/forecast.yaml.
        runs: trainings that run.
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
            tokens = (
                None
                if calls is None
                else _tokens(calls, _shown_in(piece, candidates), assumptions, conversation=conversation)
            )
            label = run if name == piece["kind"] else f"{run}, part {name}"
            cost = (
                _cost(piece["judge"], tokens) if piece["model"] is None and piece["judge"]["model"] else None
            )
            found.append(Calls(label, piece["kind"], group, calls, tokens, cost))
    return found


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
        lines.append(f"{'training':<22}{'rows':>12}{'steps':>12}{'rollouts':>14}")
        lines += [
            f"{work.name:<22}{_count_of(work.rows):>12}{_count_of(work.steps):>12}"
            f"{'-' if work.rollouts == 0 else _count_of(work.rollouts):>14}"
            for work in works
        ]
        lines += ["", "Rows", *(f"  {work.name}: {work.source}" for work in works)]
    if calls:
        lines += [""] if lines else []
        lines.append(
            f"{'judge of':<22}{'kind':>18}{'calls a prompt':>16}{'calls':>14}"
            f"{'M tokens asked':>18}{'M answered':>14}{'cost':>12}"
        )
        lines += [_line(one) for one in calls]
        if any(one.cost is None and one.calls for one in calls):
            lines.append(
                "Without a cost: the run's own, or no judge.prompt_price and .completion_price are set"
            )
        lines.append(
            "Calls: without repeats, and with all rollouts of a prompt different; validation is not in it"
        )
    return "\n".join(lines)


def _line(one: Calls) -> str:
    asked, answered = one.tokens or (None, None)
    return (
        f"{one.name:<22}{one.kind:>18}{one.group:>16,}{_count_of(one.calls):>14}"
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
