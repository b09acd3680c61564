"""What a rehearsal found: whether each training starts and fits, its pace, and what it all will take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from grrm.catalogue.trainings import TRAININGS, Training
from grrm.config import value_of
from grrm.engines.longest_rows import STEPS
from grrm.engines.rehearsed import OUTCOME
from grrm.files import read_json
from grrm.preflight.forecast import Stage, longest_path, shown_range
from grrm.preflight.speeds import Range
from grrm.report.pace import Expected, Measured, Outcome, measured, pace_of

_GB = 10**9
_HOUR, _DAY = 3600, 86_400
# Mean difference between policy's and engine's probabilities of a sampled token (rollout_probs_diff_mean)
# above which they are not the same model. Ours: they compute in the same precision, with other kernels.
_DIFFERENCE = {"fp32": 1e-3, "bf16": 2e-2}
# Ours: share of a memory above which a longer row, or another fragmentation, may not fit.
_CLOSE = 0.95


def read_outcomes(folder: Path, names: Iterable[str]) -> dict[str, Outcome | None]:
    """What came of each rehearsal; None of one that did not begin."""
    files = {name: folder / name / OUTCOME for name in names}
    return {name: read_json(file) if file.is_file() else None for name, file in files.items()}


# ---------------------------------------------------------------- the page


def page(
    config: Mapping[str, Any], outcomes: Mapping[str, Outcome | None], expected: Mapping[str, Expected]
) -> str:
    """The report, in Markdown.

    Args:
        config: resolved configuration, with a section `rehearsal`.
        outcomes: see `read_outcomes`.
        expected: see `expectations`.
    """
    failed = [name for name, outcome in outcomes.items() if _state(outcome) != "done"]
    verdict = (
        f"{len(failed)} of {len(outcomes)} did not come through: {', '.join(failed)}."
        if failed
        else "All of it starts and fits."
    )
    lines = [
        f"# Rehearsal of {config['experiment']}",
        "",
        f"{STEPS} steps of each training, with the models, machines, parallelism, lengths and "
        f"placement of the "
        f"experiment ({_hardware(config, outcomes)}). {verdict}",
        "",
        *_found(config, outcomes),
        "",
        "## What it will take",
        "",
        *_taken(config, outcomes, expected),
        "",
        "## What to change",
        "",
        *(f"- {line}" for line in changes(config, outcomes, expected) or ["Nothing: all of it fits."]),
        "",
        "## How it was measured",
        "",
        *_NOTES,
    ]
    return "\n".join(lines) + "\n"


_NOTES = (
    "- Supervised rows are all of the longest length. The first step of reinforcement learning has the "
    "experiment's own rows, on which the judge is asked; the second, the longest step, has the longest "
    "prompts, and rollouts that go on to the longest answer.",
    "- Memory is the most that was in use on the first machine (GPUs: nvidia-smi; host: what all processes "
    "hold, shared memory once).",
    "- **At mean lengths**: the measured step, reckoned down to the lengths of config/forecast.yaml within "
    "the configured limits. **At longest**: as if every row were as long as is allowed. Both with "
    "checkpoints, without validation and without waiting in queues.",
    "- given: the model that the training will start from; finished: one that the experiment has made; "
    "released: one that stands in for it; base: what it will be made of. From a base model answers are not "
    "what they will be: the judge is not tested.",
)


def _found(config: Mapping[str, Any], outcomes: Mapping[str, Outcome | None]) -> list[str]:
    heads = [
        *("training", "from", "result", "longest step", "GPU memory", "host memory"),
        *("policy is the engine's", "judge answers", "checkpoint"),
    ]
    return _table(heads, [[name, *_row(config, name, outcome)] for name, outcome in outcomes.items()])


def _row(config: Mapping[str, Any], name: str, outcome: Outcome | None) -> list[str]:
    if outcome is None:
        return ["", f"**did not begin**: logs/rehearse_{name}.log, or what went before it", *[""] * 6]
    pace, start = pace_of(outcome), outcome["start"]
    step = "" if pace is None else _time(pace.step(pace.prompt, pace.answer))
    gpu = max(outcome.get("gpus") or [], key=lambda one: one["peak"] / one["limit"], default=None)
    host = outcome.get("host")
    return [
        f"{start['kind']}: {start['model']}",
        _result(outcome),
        step,
        _use(gpu),
        _use(host if host and host["peak"] else None),
        _same(config, outcome),
        _judge(config, name, outcome),
        "" if outcome.get("checkpoint") is None else _size(outcome["checkpoint"]),
    ]


def _state(outcome: Outcome | None) -> str:
    return "none" if outcome is None else str(outcome["state"])


def _result(outcome: Outcome) -> str:
    if outcome["state"] == "done":
        return f"{STEPS} steps in {_time(outcome['seconds'])}"
    if outcome["state"] == "running":
        return (
            "**failed**: it was ended before it could say why (time or memory of the job, or still running)"
        )
    done = len(outcome.get("steps") or [])
    return f"**failed** in step {done + 1}: {_cell(outcome['error'])}"


def _same(config: Mapping[str, Any], outcome: Outcome) -> str:
    difference = _difference(outcome)
    if difference is None:
        return ""
    allowed = _DIFFERENCE[config["hardware"]["precision"]]
    word = "yes" if difference <= allowed else "**no**"
    return f"{word} (differs by {difference:.1g} in the mean)"


def _difference(outcome: Outcome) -> float | None:
    rows = (row.get("training/rollout_probs_diff_mean") for row in outcome.get("steps") or [])
    return max((value for value in rows if value is not None), default=None)


def _judge(config: Mapping[str, Any], name: str, outcome: Outcome) -> str:
    found = outcome.get("judgements")
    judge = outcome.get("judge")
    if found is None:
        return ""
    if "base" in {outcome["start"]["kind"], judge["kind"] if judge else None}:
        return "not tested (from a base model)"
    asked = found["judged"] + found["failed"]
    if not asked:
        return "not tested (no rollout could be shown to it)"
    if found["failed"] > _allowed(config, name) * asked:
        return f"**no**: {found['failed']} of {asked} groups failed, most: {_cell(found['reason'] or '?')}"
    return f"yes, about {found['judged']} of {asked} groups"


def _allowed(config: Mapping[str, Any], name: str) -> float:
    return float(value_of(config, f"{TRAININGS[name].section}.reward.max_failure_rate") or 0.0)


def _taken(
    config: Mapping[str, Any], outcomes: Mapping[str, Outcome | None], expected: Mapping[str, Expected]
) -> list[str]:
    cuda = config["hardware"]["device"] == "cuda"
    unit = "GPU-hours" if cuda else "hours"
    rows, hours = [], {}
    for name, outcome in outcomes.items():
        one, pace = expected[name], pace_of(outcome) if outcome else None
        found = None if pace is None else measured(pace, one)
        per = (one.devices if cuda else 1) / _HOUR
        row = [name, shown_range(one.steps), shown_range(one.gpu_hours)]
        if found is None:
            rows.append([*row, "", "", ""])
            continue
        hours[name] = found
        days = Range(found.mean.low, found.longest.high) * (1 / _DAY)
        rows.append([*row, _short(found.mean * per), _short(found.longest * per), _short(days)])
    heads = (
        "training",
        "steps",
        "forecast, GPU-hours",
        f"at mean lengths, {unit}",
        f"at longest, {unit}",
        "days",
    )
    return [*_table(heads, rows), *_path(hours, outcomes)]


def _path(hours: Mapping[str, Measured], outcomes: Mapping[str, Outcome | None]) -> list[str]:
    if set(hours) != set(outcomes):
        return []
    blank = Stage("", Range(0, 0), "", Range(0, 0), None, None, None, None)
    chain = [name for name in hours if not TRAININGS[name].part]
    if not chain:
        return []
    lines = []
    for words, part in (("at mean lengths", "mean"), ("at longest", "longest")):
        stages = [replace(blank, name=name, hours=getattr(hours[name], part)) for name in chain]
        path, total = longest_path(stages)
        lines += [f"Longest path {words}: {' > '.join(path)}, {_short(total * (1 / _DAY))} days."]
    return ["", " ".join(lines)]


# ---------------------------------------------------------------- what to change


def changes(
    config: Mapping[str, Any], outcomes: Mapping[str, Outcome | None], expected: Mapping[str, Expected]
) -> list[str]:
    """What does not fit, and what to do about it, a line each."""
    lines = []
    for name, outcome in outcomes.items():
        if outcome is None:
            lines.append(
                f"{name} did not begin: the errors above the end of the run say what went before it."
            )
        else:
            lines += _of_memory(config, name, outcome)
            lines += _of_time(config, name, outcome, expected[name])
            lines += _of_answers(config, name, outcome)
    return lines


def _of_memory(config: Mapping[str, Any], name: str, outcome: Outcome) -> list[str]:
    row, error = TRAININGS[name], str(outcome.get("error") or "")
    cores, lines = f"mem_gb_per_gpu of train_{row.rule_name} in config/resources.yaml", []
    if "OutOfMemoryError" in error or "CUDA out of memory" in error:
        lines.append(f"{name} does not fit into its GPUs: {_smaller(row, config)}.")
    elif "No space left" in error or "of checkpoints" in error:
        lines.append(f"{name} has no room on the disk for its checkpoints: {_cell(error)}.")
    elif "want of memory" in error:
        lines.append(f"{name} does not fit into the memory of its machine: raise {cores}.")
    elif error and "time was over" not in error:
        log = f"results/{config['experiment']}/logs/rehearse_{name}.log"
        lines.append(f"{name} failed: {_cell(error)} ({log}).")
    for gpu in outcome.get("gpus") or []:
        if not error and gpu["peak"] > _CLOSE * gpu["limit"]:
            lines.append(
                f"{name} leaves {_size(gpu['limit'] - gpu['peak'])} of a GPU: {_smaller(row, config)}."
            )
            break
    host = outcome.get("host")
    if not error and host and host["peak"] > _CLOSE * host["limit"]:
        lines.append(f"{name} uses {_use(host)} of {host['where']}: raise {cores}.")
    return lines


def _smaller(row: Training, config: Mapping[str, Any]) -> str:
    """What makes a training smaller on a GPU, the same experiment first."""
    settings, section = value_of(config, row.section), row.section
    if row.engine == "rl":
        ways = [f"lower {section}.gpu_memory_utilization ({settings['gpu_memory_utilization']:g})"]
        ways.append(f"lower {section}.micro_batch_size ({settings['micro_batch_size']})")
        ways.append(f"raise {section}.ulysses or {section}.tensor_parallel, or the number of GPUs")
    else:
        ways = [
            f"halve {section}.batch_size and double {section}.gradient_accumulation (the same rows a step)"
        ]
        if not settings["deepspeed"]:
            ways.append(f"set {section}.deepspeed to config/deepspeed/zero3.yaml on several GPUs")
    ways.append("train adapters (finetuning: lora)")
    limit = {"rl": "max_response_length", "sft": "cutoff_len", "bt": "max_length"}[row.engine]
    return "; ".join([*ways, f"or lower {section}.{limit} ({settings[limit]})"])


def _of_time(config: Mapping[str, Any], name: str, outcome: Outcome, expected: Expected) -> list[str]:
    lines, pace = [], pace_of(outcome)
    if "time was over" in str(outcome.get("error") or ""):
        minutes = config["rehearsal"]["minutes"]
        lines.append(f"{name} did not do {STEPS} steps in {minutes} min: raise rehearsal.minutes.")
    if pace is None or config["hardware"]["device"] != "cuda":
        return lines
    longest, before = pace.step(*expected.limits), config["cluster"]["stop_before"]
    if longest + pace.saving > before:
        lines.append(
            f"{name}: a longest step and a checkpoint take {_time(longest + pace.saving)}, "
            f"cluster.stop_before is "
            f"{before} s: raise it, or a job may end before its checkpoint is there."
        )
    if (between := expected.save_steps * longest) > expected.runtime * 60:
        lines.append(
            f"{name}: {expected.save_steps} longest steps between checkpoints take {_time(between)}, "
            f"a job lasts "
            f"{expected.runtime} min: lower {TRAININGS[name].section}.save_steps."
        )
    return lines


def _of_answers(config: Mapping[str, Any], name: str, outcome: Outcome) -> list[str]:
    lines = []
    if _same(config, outcome).startswith("**no**"):
        lines.append(
            f"{name}: the engine's probabilities are not the policy's: its rollouts come from another "
            f"model or "
            f"precision (hardware.precision, {TRAININGS[name].section}.rollout_engine)."
        )
    if _judge(config, name, outcome).startswith("**no**"):
        lines.append(f"{name}: the judge does not answer: {outcome['judgements']['reason']}.")
    return lines


# ---------------------------------------------------------------- words


def _hardware(config: Mapping[str, Any], outcomes: Mapping[str, Outcome | None]) -> str:
    hardware = config["hardware"]
    names = {gpu["name"] for one in outcomes.values() if one for gpu in one.get("gpus") or []}
    if hardware["device"] != "cuda":
        return "CPU"
    return f"{hardware['nodes']} x {hardware['gpus_per_node']} x {' or '.join(sorted(names)) or 'GPU'}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [" | ".join(heads), " | ".join(["---"] * len(heads)), *(" | ".join(row) for row in rows)]
    return [f"| {line} |" for line in lines]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:300]


def _use(memory: Mapping[str, Any] | None) -> str:
    if memory is None:
        return ""
    peak, limit = memory["peak"], memory["limit"]
    return f"{peak / _GB:.1f} of {limit / _GB:.1f} GB ({peak / limit:.0%})"


def _size(size: float) -> str:
    return f"{size / _GB:.1f} GB" if size >= _GB / 10 else f"{size / 1e6:.1f} MB"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _short(value: Range) -> str:
    low, high = (f"{end:,.0f}" if end >= 10 else f"{end:.2g}" for end in value)
    return low if low == high else f"{low}-{high}"
