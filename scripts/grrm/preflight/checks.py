"""All checks of an experiment, put together."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from grrm.catalogue.trainings import TRAININGS
from grrm.cluster import load_resources, requests
from grrm.config import stage_environments, trained_stages
from grrm.data.datasets import load_datasets, load_lock, with_models
from grrm.files import UserError
from grrm.preflight import probes
from grrm.preflight.downloads import check_hub, missing_bytes, models_read, needed_entries
from grrm.preflight.environments import check_environment, check_images, not_looked_at
from grrm.preflight.findings import Finding, failed, merge, unknown
from grrm.preflight.forecast import Stage, forecast_experiment, load_assumptions
from grrm.preflight.gpus import check_gpus, cuda_of_lock
from grrm.preflight.held_folders import check_trainings
from grrm.preflight.jobs import Job, check_time, job
from grrm.preflight.judges import check_asked, check_judges
from grrm.preflight.own_metrics import check_own_metrics
from grrm.preflight.rules import planned_rules
from grrm.preflight.storage import Need, check_space, check_write, size_of

Software = Literal["uv", "conda", "apptainer"]

_GPU_ENVIRONMENTS = {"sft_cuda", "rl_cuda"}
_ASKING = {"propose_candidates", "annotate_rankings", "annotate_translations"}
"""Rules that ask a teacher, and systems beside it."""
# Bytes of an environment unpacked, if nothing of it lies in uv's cache on the same disk.
_ENVIRONMENT_BYTES = {
    "train": 6.3e9,
    "comet": 5.5e9,
    "sft_cuda": 6.5e9,
    "rl_cuda": 12e9,
    "vllm_cpu": 7e9,
}


def environments_of(config: Mapping[str, Any]) -> list[str]:
    """The environments of the stages that are run and of evaluation; the fork's is the user's own."""
    sft, rl = stage_environments(config)
    trained = trained_stages(config)
    return sorted(
        {rl, "comet", *([sft] if any(TRAININGS[stage].engine == "sft" for stage in trained) else [])}
    )


def jobs_of(config: Mapping[str, Any], workflow: Path, rules: Sequence[str] | None = None) -> list[Job]:
    """What the jobs of an experiment ask for.

    Args:
        config: resolved configuration.
        workflow: its folder.
        rules: whose jobs are run; None for all of config/resources.yaml that belong to the experiment.

    Raises:
        UserError: config/resources.yaml is damaged.
    """
    table = load_resources(
        workflow / "config/resources.yaml",
        workflow / "config/schemas/resources.schema.yaml",
        changes=config["resources"],
    )
    return [
        job(rule, asked, config["cluster"])
        for rule in (planned_rules(config, table) if rules is None else rules)
        for asked in dict.fromkeys(requests(rule, table, config).values())
    ]


def check_experiment(
    config: Mapping[str, Any],
    workflow: Path,
    *,
    software: Software = "uv",
    jobs: Sequence[Job] | None = None,
    slurm: bool = False,
    trained: Collection[str] | None = None,
) -> list[Finding]:
    """Findings about everything that an experiment needs.

    Args:
        config: resolved configuration.
        workflow: its folder; paths of the configuration are relative to it.
        software: how the environments come about.
        jobs: what is to run, see `jobs_of`; None for all of it.
        slurm: whether Slurm runs the jobs, or this machine.
        trained: models that are to be made; None for all that are not there yet.

    Raises:
        UserError: the table of data sets or of assumptions is damaged.
    """
    environments = environments_of(config)
    locks = {name: workflow / f"envs/{name}.txt" for name in environments}
    assumptions = load_assumptions(workflow / "config/forecast.yaml")
    stages = forecast_experiment(config, workflow, assumptions)
    findings = [unknown(f"forecast {stage.name}", stage.unknown) for stage in stages if stage.unknown]
    if jobs is None:
        jobs = jobs_of(config, workflow)
    if slurm:
        findings += probes.ask_slurm(jobs)
        findings += _check_times(jobs, stages, config)
        findings += check_trainings(workflow / "results" / config["experiment"], trained, probes.living_state)
    if config["hardware"]["device"] == "cuda":
        if slurm:
            findings.append(
                unknown("gpus", "jobs see them, this machine need not; each training looks first")
            )
        else:
            findings += _check_gpus(jobs, locks)
    findings += _check_machine(config, workflow, jobs, locks, software, slurm=slurm)
    made = stages if trained is None else [stage for stage in stages if stage.name in trained]
    findings += _check_storage(config, workflow, made, environments, software)
    nodes = max((one.asked.nodes for one in jobs), default=1)
    findings += _check_environments(config, workflow, locks, software, nodes)
    findings += _check_hub(config, workflow)
    results = workflow / "results" / config["experiment"]
    findings += check_judges(config, trained)
    if any(one.rule in _ASKING for one in jobs):
        findings += check_asked(config)
    findings += check_own_metrics(config, results / "data/translation_test.parquet")
    return merge(findings)


def _check_gpus(jobs: Sequence[Job], locks: Mapping[str, Path]) -> list[Finding]:
    """Findings about the GPUs of this machine, for the job that needs most of them."""
    on_gpus = [one.asked for one in jobs if one.asked.gpus]
    if not on_gpus:
        return []
    most = max(on_gpus, key=lambda asked: (asked.gpus, asked.resumable))
    key = "hardware.gpus_per_node" if most.resumable else "evaluate.gpus"
    gpus, said = probes.visible_gpus()
    return check_gpus(gpus, most.gpus, said, _cuda_of(locks), key)


def _check_machine(
    config: Mapping[str, Any],
    workflow: Path,
    jobs: Sequence[Job],
    locks: Mapping[str, Path],
    software: Software,
    *,
    slurm: bool,
) -> list[Finding]:
    """What a machine that runs jobs sees; of the GPU jobs if there are any. Images bring their own."""
    on_gpus = [one for one in jobs if one.asked.gpus]
    if software != "uv" or not (on_gpus or (slurm and jobs)):
        return []
    names = sorted(_GPU_ENVIRONMENTS & locks.keys()) if on_gpus else []
    built = [workflow / config["environments"]["folder"] / f"{name}/bin/python" for name in names]
    python = next((str(path) for path in built if path.exists()), sys.executable)
    # LLaMA-Factory and COMET compile nothing.
    compiling = [one for one in on_gpus if not one.rule.endswith(("_sft", "_segments"))]
    asked = (compiling or on_gpus or jobs)[0] if slurm else None
    findings = probes.look_at_machine(python, _cuda_of(locks), asked, compiles=bool(compiling))
    return findings + probes.home_quota()


def _cuda_of(locks: Mapping[str, Path]) -> dict[str, str | None]:
    """The version of CUDA of each environment that runs on GPUs."""
    return {
        name: cuda_of_lock(lock.read_text(encoding="utf-8"))
        for name, lock in locks.items()
        if name in _GPU_ENVIRONMENTS and lock.is_file()
    }


def _check_times(jobs: Sequence[Job], stages: Sequence[Stage], config: Mapping[str, Any]) -> list[Finding]:
    by_rule = {f"train_{stage.name}": stage for stage in stages}
    findings = []
    for one in jobs:
        stage = by_rule.get(one.rule)
        if stage is not None and stage.hours is not None:
            minutes = stage.hours.high * 60
            findings += check_time(
                one,
                minutes,
                step=minutes / max(stage.steps.high, 1),
                save_steps=config[stage.name]["save_steps"],
                stop_before=config["cluster"]["stop_before"],
            )
    return findings


def _check_storage(
    config: Mapping[str, Any],
    workflow: Path,
    stages: Sequence[Stage],
    environments: Sequence[str],
    software: Software,
) -> list[Finding]:
    results = workflow / "results" / config["experiment"]
    downloads = workflow / config["data"]["downloads"]
    folder = workflow / config["environments"]["folder"]
    places = [(results, "the working folder: run it from a checkout on a larger or writable disk")]
    needs = []
    for stage in stages:
        if stage.disk is not None and not (results / "models" / stage.name).exists():
            there = size_of(results / "checkpoints" / stage.name)
            low, high = (max(end - there, 0) for end in stage.disk)
            needs.append(Need(results, "checkpoints and models", low, high, "the working folder (results/)"))
    if config["data"]["source"] == "hub":
        places.append((downloads, "data.downloads"))
    if software == "uv":
        places.append((folder, "environments.folder"))
        for name in environments:
            if not (folder / f"{name}.json").exists():
                size = _ENVIRONMENT_BYTES[name]
                needs.append(Need(folder, "environments", size / 2, size, "environments.folder"))
    try:
        entries, lock = _tables(config, workflow)
        missing = missing_bytes(needed_entries(config, entries), lock, downloads)
        needs.append(Need(downloads, "downloads", missing, missing, "data.downloads"))
    except UserError:
        pass  # reported with the data sets
    return [check_write(place, key) for place, key in places] + check_space(needs)


def _check_environments(
    config: Mapping[str, Any], workflow: Path, locks: Mapping[str, Path], software: Software, nodes: int
) -> list[Finding]:
    if software == "conda":
        return [not_looked_at("conda")]
    if software == "apptainer":
        images = workflow / config["environments"]["images"]
        return check_images(locks, images, probes.image_labels, nodes=nodes)
    folder = workflow / config["environments"]["folder"]
    return [
        finding
        for name, lock in locks.items()
        for finding in check_environment(name, folder, lock, cuda=name in _GPU_ENVIRONMENTS)
    ]


def _check_hub(config: Mapping[str, Any], workflow: Path) -> list[Finding]:
    try:
        entries, lock = _tables(config, workflow)
    except UserError as error:
        return [failed("data sets", str(error), "see there")]
    needed = needed_entries(config, entries)
    return check_hub(needed, lock, Path("config/datasets.lock.yaml"), workflow / config["data"]["downloads"])


def _tables(config: Mapping[str, Any], workflow: Path) -> tuple[Any, Any]:
    entries = load_datasets(
        workflow / "config/datasets.yaml", workflow / "config/schemas/datasets.schema.yaml"
    )
    known = with_models(entries, sorted(models_read(config)))
    return known, load_lock(workflow / "config/datasets.lock.yaml")
