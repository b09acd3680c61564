"""What an experiment took on its GPUs, beside what was forecast.

Trainings say themselves when they ran (`grrm.engines.sessions`), launches that were preempted included; where
Slurm keeps accounts, its time of their jobs counts instead, from the allocation to its end. Rules that train
nothing have the benchmark of their last run.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grrm.catalogue.trainings import training_of
from grrm.cluster import devices, load_resources
from grrm.engines.sessions import read_sessions
from grrm.preflight.forecast import Stage, forecast_experiment, load_assumptions
from grrm.preflight.speeds import Range
from grrm.report.benchmarks import read_benchmarks

_SACCT_COLUMNS = "JobID,ElapsedRaw"
SACCT = ("sacct", "--allocations", "--duplicates", "--parsable2", "--noheader", f"--format={_SACCT_COLUMNS}")
"""Slurm's accounting of jobs, to be followed by --jobs; a requeued job has a line for each of its runs."""


def parse_accounting(text: str) -> dict[str, float]:
    """Seconds that each job held its nodes, all its runs together, from what `SACCT` prints."""
    seconds: dict[str, float] = {}
    for line in text.splitlines():
        job, _, elapsed = line.partition("|")
        if elapsed.isdigit():
            seconds[job] = seconds.get(job, 0.0) + int(elapsed)
    return seconds


def jobs_of_trainings(results: Path) -> list[str]:
    """Numbers of the Slurm jobs that the trainings of an experiment ran in."""
    jobs = (session["job"] for sessions in _trainings(results).values() for session in sessions)
    return list(dict.fromkeys(filter(None, jobs)))


def _trainings(results: Path) -> dict[str, list[dict[str, Any]]]:
    """The launches of each training of an experiment; not of those moved aside, `<name>.<hash>`."""
    folders = [folder.parent for folder in sorted((results / "checkpoints").glob("*/sessions"))]
    return {folder.name: read_sessions(folder) for folder in folders if "." not in folder.name}


def efficiency_of(config: Mapping[str, Any], workflow: Path) -> dict[str, Any]:
    """As `measure_efficiency`, with everything read from the workflow's folder and asked of Slurm.

    Raises:
        UserError: a table of the configuration is damaged, or there are no benchmarks.
    """
    results = workflow / "results" / config["experiment"]
    assumptions = load_assumptions(workflow / "config/forecast.yaml")
    resources = load_resources(
        workflow / "config/resources.yaml",
        workflow / "config/schemas/resources.schema.yaml",
        changes=config["resources"],
    )
    stages = forecast_experiment(config, workflow, assumptions)
    return measure_efficiency(config, resources, results, stages, _ask_slurm(jobs_of_trainings(results)))


def _ask_slurm(jobs: Sequence[str]) -> dict[str, float] | None:
    """Seconds of each job; None if Slurm keeps no accounts here."""
    if not jobs:
        return None
    command = [*SACCT, f"--jobs={','.join(jobs)}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_accounting(done.stdout) if done.returncode == 0 else None


def measure_efficiency(
    config: Mapping[str, Any],
    resources: Mapping[str, Any],
    results: Path,
    forecasts: Sequence[Stage],
    accounting: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Hours and GPU-hours by stage, beside the forecast.

    Args:
        config: resolved configuration.
        resources: the table of config/resources.yaml.
        results: folder of the experiment.
        forecasts: of the stages that are trained.
        accounting: seconds of each Slurm job; None where there is none.

    Returns:
        `experiment`, `device`; `stages`, each with `stage`, `devices`, `launches`, `hours`, `gpu_hours`,
        `source`, `forecast_gpu_hours` ([low, high]), `verdict` (below, within, above), `reason` where
        numbers are null, and `hardware` (what its launches ran on, in words; empty if not recorded);
        `other`, each with `job`, `devices`, `hours`, `gpu_hours`; `total` with `gpu_hours` and
        `forecast_gpu_hours`. Without GPUs, GPU-hours are null; so is the forecast of a model of unknown
        size, and with it that of the total.

    Raises:
        UserError: there are no benchmarks.
    """
    cuda = config["hardware"]["device"] == "cuda"
    benchmarks = {entry["job"]: entry["seconds"] for entry in read_benchmarks(results / "benchmarks")}

    launches = {f"train_{name}": sessions for name, sessions in _trainings(results).items()}
    used = {
        job: _time(launches.get(job, []), benchmarks.get(job), accounting)
        for job in dict.fromkeys([*benchmarks, *launches])
    }
    stages = []
    for stage in forecasts:
        rule = f"train_{stage.name}"
        held = devices(rule, resources, config)
        measured = _stage(stage, held, used.get(rule, (None, 0, None)), cuda=cuda)
        stages.append({**measured, "hardware": _hardware(launches.get(rule, []))})
    trained = {f"train_{stage.name}" for stage in forecasts}
    rest = {job: hours for job, (hours, _, _) in used.items() if job not in trained and hours is not None}
    other = [_other(job, hours, resources, config) for job, hours in rest.items()]
    used_hours = [entry["gpu_hours"] for entry in [*stages, *other]]
    known = [stage.gpu_hours for stage in forecasts if stage.gpu_hours is not None]
    return {
        "experiment": config["experiment"],
        "device": config["hardware"]["device"],
        "stages": stages,
        "other": other,
        "total": {
            "gpu_hours": sum(filter(None, used_hours)) if cuda else None,
            "forecast_gpu_hours": (
                list(sum(known, Range(0, 0))) if known and len(known) == len(forecasts) else None
            ),
        },
    }


def _other(job: str, hours: float, resources: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    held = devices(_rule_of(job, resources), resources, config, job.removeprefix("train_"))
    on_gpus = config["hardware"]["device"] == "cuda"
    return {"job": job, "devices": held, "hours": hours, "gpu_hours": hours * held if on_gpus else None}


def _rule_of(job: str, resources: Mapping[str, Any]) -> str:
    """The rule of a job: of a training that of its row, else by the beginning of its name."""
    training = training_of(job.removeprefix("train_")) if job.startswith("train_") else None
    if training is not None:
        return f"train_{training.rule_name}"
    return next((rule for rule in resources["rules"] if job.startswith(rule)), job)


def _time(
    sessions: Sequence[Mapping[str, Any]], benchmark: float | None, accounting: Mapping[str, float] | None
) -> tuple[float | None, int, str | None]:
    """Hours, number of launches, and where the hours come from."""
    if not sessions:
        return (None, 0, None) if benchmark is None else (benchmark / 3600, 1, "benchmark of its last run")
    jobs = list(dict.fromkeys(session["job"] for session in sessions))
    if accounting is not None and all(job in accounting for job in jobs):
        return sum(accounting[job] for job in jobs) / 3600, len(sessions), "Slurm's accounting"
    seconds = sum(session["ended"] - session["started"] for session in sessions)
    return seconds / 3600, len(sessions), "its own record"


def _stage(
    expected: Stage, devices: int, used: tuple[float | None, int, str | None], *, cuda: bool
) -> dict[str, Any]:
    hours, launches, source = used
    gpu_hours = hours * devices if cuda and hours is not None else None
    reason = None
    if hours is None:
        reason = "not run here: no record and no benchmark"
    elif not cuda:
        reason = "no GPUs: only GPU-hours are forecast"
    else:
        reason = expected.unknown
    return {
        "stage": expected.name,
        "devices": devices,
        "launches": launches,
        "hours": hours,
        "gpu_hours": gpu_hours,
        "source": source,
        "forecast_gpu_hours": None if expected.gpu_hours is None else list(expected.gpu_hours),
        "verdict": _verdict(gpu_hours, expected.gpu_hours),
        "reason": reason,
    }


def _hardware(sessions: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the launches of a training ran on, in words; once each."""
    known = [found for session in sessions if (found := session.get("hardware"))]
    return list(dict.fromkeys(map(_hardware_words, known)))


def _hardware_words(found: Mapping[str, Any]) -> str:
    gpus = " + ".join(f"{count} × {name}" for name, count in found["gpus"].items())
    each = gpus or f"CPU, {found['cores']} {'core' if found['cores'] == 1 else 'cores'}"
    return each if found["machines"] == 1 else f"{found['machines']} machines, each {each}"


def _verdict(used: float | None, forecast: Range | None) -> str | None:
    if used is None or forecast is None:
        return None
    if used < forecast.low:
        return "below"
    return "above" if used > forecast.high else "within"


def format_efficiency(found: Mapping[str, Any]) -> str:
    """The stages as a table of text, then the rest and the total."""
    lines = [f"Experiment {found['experiment']}", ""]
    lines.append(f"{'stage':<11}{'launches':>9}{'hours':>10}{'GPU-hours':>11}{'forecast':>16}  from")
    for entry in found["stages"]:
        forecast = entry["forecast_gpu_hours"]
        shown = "-" if forecast is None else f"{forecast[0]:,.0f}-{forecast[1]:,.0f} {entry['verdict'] or ''}"
        lines.append(
            f"{entry['stage']:<11}{entry['launches']:>9}{_number(entry['hours']):>10}"
            f"{_number(entry['gpu_hours']):>11}{shown:>16}  {entry['source'] or entry['reason']}"
        )
    hours = sum(entry["hours"] for entry in found["other"])
    gpu_hours = [entry["gpu_hours"] for entry in found["other"] if entry["gpu_hours"] is not None]
    lines.append(
        f"{'other rules':<20}{_number(hours):>10}{_number(sum(gpu_hours) if gpu_hours else None):>11}"
    )
    total = found["total"]
    if total["gpu_hours"] is not None:
        lines += ["", f"All: {_number(total['gpu_hours'])} GPU-hours"]
        if total["forecast_gpu_hours"]:
            low, high = total["forecast_gpu_hours"]
            lines[-1] += f"; trainings were forecast to take {low:,.0f} to {high:,.0f}"
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
