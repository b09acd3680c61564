"""What an experiment will take, before anything is submitted: rows, steps, GPU-hours, disk, longest path.

Everything follows from the configuration, from the tables where they are there already, from what the rules
ask of a cluster (config/resources.yaml), and from the documented assumptions of config/forecast.yaml. Ranges
are carried through: a low and a high end, both likely.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from grrm.catalogue.trainings import TRAININGS
from grrm.cluster import load_resources, request
from grrm.config import (
    NEEDS,
    STAGES,
    own_files,
    resolve,
    taken_models,
    trained_stages,
    value_of,
    what_to_give,
)
from grrm.data.datasets import find_training_files, load_datasets
from grrm.data.rows import read_rows
from grrm.data.sample import make_tables
from grrm.files import UserError, read_lines, read_yaml, shipped
from grrm.model_folder import parameters as parameters_of
from grrm.preflight.speeds import Range, learning_seconds, rl_parts, tokens, with_adapters
from grrm.schemas import damaged


@dataclass(frozen=True)
class Table:
    """A source table.

    Attributes:
        rows: how many.
        sizes: for ranked groups the share of each number of candidates.
        source: where these come from.
    """

    rows: Range
    sizes: Mapping[int, float]
    source: str


@dataclass(frozen=True)
class Stage:
    """The forecast of a training stage.

    Attributes:
        name: of the stage.
        rows: prepared rows.
        source: where their number comes from.
        steps: training steps.
        gpu_hours: None without GPUs, or if the size of the model is not known.
        hours: on all GPUs that its rule asks for; likewise None.
        jobs: that its rule's time limit makes of them; likewise None.
        disk: bytes of checkpoints and the finished model; None if the size of the model is not known.
        unknown: why the size of the model is not known; None if it is.
    """

    name: str
    rows: Range
    source: str
    steps: Range
    gpu_hours: Range | None
    hours: Range | None
    jobs: Range | None
    disk: Range | None
    unknown: str | None = None


def load_assumptions(path: str | Path) -> dict[str, Any]:
    """The table of assumptions.

    Raises:
        UserError: it is missing, is not YAML or breaks its schema; the message names the key.
    """
    assumptions = read_yaml(path)
    if not isinstance(assumptions, dict):
        raise UserError(f"{path}: expected a table of assumptions, found {type(assumptions).__name__}")
    try:
        return resolve(assumptions, shipped("config") / "schemas/forecast.schema.yaml")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def source_tables(
    config: Mapping[str, Any], assumptions: Mapping[str, Any], folder: str | Path
) -> dict[str, Table]:
    """The table of each stage: counted where it is there, else as made from the configuration or as assumed.

    Args:
        config: resolved configuration.
        assumptions: see config/forecast.yaml.
        folder: of the workflow.
    """
    folder = Path(folder)
    published = (
        find_training_files(
            load_datasets(folder / "config/datasets.yaml", folder / "config/schemas/datasets.schema.yaml")
        )
        if config["data"]["source"] == "hub"
        else {}
    )
    tables = {}
    for stage in STAGES:
        files = [folder / "results" / config["experiment"] / "data" / f"{stage}.parquet"]
        if stage in published and not files[0].exists():
            entry, names = published[stage]
            files = [folder / config["data"]["downloads"] / entry / name for name in names]
        if all(file.is_file() for file in files):
            tables[stage] = count_tables(files)
        else:
            tables[stage] = _expected_table(stage, config, assumptions, folder)
    return tables


def count_tables(files: Sequence[Path]) -> Table:
    """Rows, and sizes of groups, of Parquet files.

    Raises:
        UserError: one is damaged.
    """
    rows = 0
    sizes: Counter[int] = Counter()
    for file in files:
        try:
            with pq.ParquetFile(file) as table:
                rows += table.metadata.num_rows
                if "mt_texts" in table.schema_arrow.names:
                    for batch in table.iter_batches(columns=["mt_texts"]):
                        found = pc.value_counts(pc.list_value_length(batch["mt_texts"])).to_pylist()
                        sizes.update({size["values"]: size["counts"] for size in found if size["values"]})
        except (pa.ArrowException, OSError) as error:
            raise damaged(file, error) from error
    shares = {size: count / rows for size, count in sorted(sizes.items())}
    return Table(Range(rows, rows), shares, f"counted in {', '.join(map(str, files))}")


def _expected_table(
    stage: str, config: Mapping[str, Any], assumptions: Mapping[str, Any], folder: Path
) -> Table:
    sizes = {int(size): share for size, share in assumptions["group_sizes"]["shares"].items()}
    source = config["data"]["source"]
    if source == "toy":
        rows = config["data"]["toy"][stage]
        return Table(Range(rows, rows), sizes, f"configuration, data.toy.{stage}")
    if source == "sample":
        sample = folder / "config/sample"
        made = make_tables(sample / "rankings.yaml", sample / "translations.yaml", config["seed"])[stage]
        return Table(Range(len(made), len(made)), sizes, "config/sample")
    if source == "files":
        return _own_table(config, stage, sizes, folder)
    assumed = assumptions["rows"][stage]
    return Table(Range(*assumed["range"]), sizes, assumed["source"])


def _own_table(config: Mapping[str, Any], stage: str, sizes: Mapping[int, float], folder: Path) -> Table:
    """Rows of a user's own files, before any are held out or dropped; without files, none."""
    given = own_files(config, folder).get(stage)
    if given is None:
        return Table(Range(0, 0), sizes, f"no files: {what_to_give(stage)}")
    if given.key.startswith("teacher") and not (folder / given.files[0]).exists():
        return _annotated_table(config, stage, sizes, folder)
    lines = read_lines if given.plain else read_rows
    rows = sum(1 for path in given.files for _ in lines(folder / path))
    return Table(Range(rows, rows), sizes, f"counted in {', '.join(given.files)}")


def _annotated_table(
    config: Mapping[str, Any], stage: str, sizes: Mapping[int, float], folder: Path
) -> Table:
    """Rows that a teacher makes at most, before it has: one for each source."""
    teacher = config["teacher"]
    ranked = TRAININGS[stage].task == "ranking"
    limit = teacher["candidates"]["groups"] if ranked else teacher["translations"]["rows"]
    rows = _own_table(config, "mt_grpo", sizes, folder).rows.high
    rows = rows if limit is None else min(rows, limit)
    return Table(Range(0, rows), sizes, "the teacher's, at most; what it keeps is not known yet")


def rows_per_group(size: int, subgroup_augment: int, shuffle_augment: int) -> float:
    """Rows that a group of `size` candidates gives on average (2, 11 and 17.8 for 2, 3 and 4 at 4 and 4)."""

    def orders(length: int) -> int:
        return 1 + min(shuffle_augment, math.factorial(length) - 1)

    subsets = {length: math.comb(size, length) for length in range(2, size)}
    proper = sum(subsets.values())
    if not proper:
        return orders(size)
    mean = sum(count * orders(length) for length, count in subsets.items()) / proper
    return orders(size) + min(subgroup_augment, proper) * mean


def forecast_experiment(
    config: Mapping[str, Any], workflow: str | Path, assumptions: Mapping[str, Any]
) -> list[Stage]:
    """As `forecast`, with tables and resources from the folder of the workflow."""
    folder = Path(workflow)
    resources = load_resources(
        folder / "config/resources.yaml",
        folder / "config/schemas/resources.schema.yaml",
        changes=config["resources"],
    )
    return forecast(config, source_tables(config, assumptions, folder), assumptions, resources, folder)


def forecast(
    config: Mapping[str, Any],
    tables: Mapping[str, Table],
    assumptions: Mapping[str, Any],
    resources: Mapping[str, Any],
    folder: Path = Path(),
) -> list[Stage]:
    """The stages that are run, in order. What depends on a model of unknown size is None.

    Args:
        config: resolved configuration.
        tables: source table of each stage.
        assumptions: see config/forecast.yaml.
        resources: see config/resources.yaml.
        folder: of the workflow; models that are taken from a folder are looked at from there.
    """
    hardware = config["hardware"]
    gpus = hardware["nodes"] * hardware["gpus_per_node"]
    stages = []
    for name in trained_stages(config):
        table = tables[name]
        rows = table.rows * _rows_for_each(name, config, table)
        steps = _steps(name, config[name], rows, gpus)
        parameters = parameters_of_training(name, config, assumptions, folder)
        if isinstance(parameters, str):
            stages.append(Stage(name, rows, table.source, steps, None, None, None, None, parameters))
            continue
        gpu_hours = hours = jobs = None
        if hardware["device"] == "cuda":
            gpu_hours = _gpu_seconds(name, config[name], rows, steps, gpus, parameters, assumptions) * (
                1 / 3600
            )
            asked = request(f"train_{name}", resources, config)
            hours = gpu_hours * (1 / (asked.nodes * asked.gpus))
            jobs = Range(*(math.ceil(max(end, 1e-9) / (asked.runtime / 60)) for end in hours))
        disk = _checkpoint_bytes(name, config[name], assumptions["checkpoint"]) * parameters
        stages.append(Stage(name, rows, table.source, steps, gpu_hours, hours, jobs, disk))
    return stages


def _checkpoint_bytes(name: str, settings: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> Range:
    """Bytes on the disk for each parameter of the model: checkpoints and the finished model."""
    room = Range(*checkpoint["bytes"]["range"])
    model = Range(checkpoint["model_bytes"], checkpoint["model_bytes"])
    if settings.get("finetuning") == "lora":
        # verl's hold the merged model beside the adapters; LLaMA-Factory merges when it has finished.
        merged = model * (1 if TRAININGS[name].engine == "rl" else 1 / checkpoint["kept"])
        room = room * Range(*checkpoint["lora"]["range"]) + merged
    total: Range = room * checkpoint["kept"] + model
    return total


def longest_path(stages: Iterable[Stage]) -> tuple[list[str], Range]:
    """The stages that follow on one another for longest (at the high end), and how many hours they take."""
    hours = {stage.name: stage.hours or Range(0, 0) for stage in stages}
    best: dict[str, tuple[list[str], Range]] = {}
    for name in (stage for stage in STAGES if stage in hours):
        before = [best[need] for need in NEEDS[name] if need in best]
        path, total = max(before, key=lambda found: found[1].high, default=([], Range(0, 0)))
        low = max((found[1].low for found in before), default=0.0)
        best[name] = [*path, name], Range(low, total.high) + hours[name]
    return max(best.values(), key=lambda found: found[1].high, default=([], Range(0, 0)))


def _rows_for_each(name: str, config: Mapping[str, Any], table: Table) -> float:
    """Prepared rows for each row of the source table."""
    if augment := config[name].get("augment"):
        return sum(
            share * rows_per_group(size, augment["subgroup"], augment["shuffle"])
            for size, share in table.sizes.items()
        )
    return 2 if config[name].get("cross_lingual_augmentation") else 1


def _steps(name: str, settings: Mapping[str, Any], rows: Range, gpus: int) -> Range:
    row = TRAININGS[name]
    fixed = settings[row.steps_key]
    if fixed is not None:
        return Range(fixed, fixed)
    if row.engine == "sft":
        batch = _rows_a_step(settings, gpus)
        return Range(*(math.ceil(math.ceil(end / batch) * settings["epochs"]) for end in rows))
    # verl leaves out the last batch of an epoch if it is not full.
    return Range(*(int(end // settings["train_batch_size"]) * settings["epochs"] for end in rows))


def _rows_a_step(settings: Mapping[str, Any], gpus: int) -> int:
    return int(settings["batch_size"] * settings["gradient_accumulation"] * gpus)


def _gpu_seconds(
    name: str,
    settings: Mapping[str, Any],
    rows: Range,
    steps: Range,
    gpus: int,
    parameters: float,
    assumptions: Mapping[str, Any],
) -> Range:
    row = TRAININGS[name]
    prompt, answer = (tokens(f"{row.task}_{part}", assumptions) for part in ("prompt", "answer"))
    if settings.get("finetuning") == "lora":
        assumptions = with_adapters(assumptions)
    if row.engine == "sft":
        batch = _rows_a_step(settings, gpus)
        examples = steps * batch if settings["epochs"] is None else rows * settings["epochs"]
        return learning_seconds((prompt + answer) * examples, parameters, assumptions)
    prompts = steps * settings["train_batch_size"]
    # One call of the judge for each group.
    judged = tokens("ranking_answer", assumptions) * prompts if row.judge else Range(0, 0)
    rollouts = prompts * settings["rollouts"]
    return rl_parts(prompt, answer, rollouts, judged, parameters, assumptions).seconds


def parameters_of_training(
    name: str, config: Mapping[str, Any], assumptions: Mapping[str, Any], folder: Path
) -> float | str:
    """Parameters of the model that a stage trains, or a sentence that says why their number is not known."""
    taken, row = taken_models(config), TRAININGS[name]
    while (start := taken.get(row.taken) or taken.get(row.start)) is None and row.start in TRAININGS:
        row = TRAININGS[row.start]
    if start is None:
        base = f"{row.part}.base_model" if row.part else f"base_models.{row.start.removesuffix('_base')}"
        size = value_of(config, base)
        width, layers = size["hidden_size"], size["layers"]
        # Attention 4 width², feed-forward 3 x 2 width²; the embeddings of tiny vocabularies are left out.
        return float(10 * layers * width**2)
    if (folder / start).is_dir():
        try:
            counted = parameters_of(folder / start)
        except (OSError, UserError):  # cut off, or of another form
            counted = 0
        if counted:
            return float(counted)
    for known, parameters in assumptions["parameters"].items():
        if known.split("/")[-1] in start:
            return float(parameters)
    return (
        f"{start}: the number of its parameters is not known; a folder says it by its safetensors files, "
        "a model of the hub by `parameters` in config/forecast.yaml"
    )


def format_forecast(
    config: Mapping[str, Any], stages: Sequence[Stage], assumptions: Mapping[str, Any]
) -> str:
    """The forecast as text: a line for each stage, the longest path, the assumptions."""
    hardware = config["hardware"]
    where = (
        f"{hardware['nodes']} x {hardware['gpus_per_node']} GPUs"
        if hardware["device"] == "cuda"
        else "CPU; hours are forecast for GPUs only"
    )
    lines = [f"Experiment {config['experiment']}: {where}", ""]
    if not stages:
        return "\n".join([*lines, "Nothing is trained: all models are taken from elsewhere."])
    lines.append(
        f"{'stage':<11}{'rows':>22}{'steps':>16}{'GPU-hours':>16}{'hours':>14}{'jobs':>8}{'checkpoints':>18}"
    )
    for stage in stages:
        lines.append(
            f"{stage.name:<11}{shown_range(stage.rows):>22}{shown_range(stage.steps):>16}{shown_range(stage.gpu_hours):>16}"
            f"{shown_range(stage.hours):>14}{shown_range(stage.jobs):>8}{_bytes(stage.disk):>18}"
        )
    unknown = [f"  {stage.name}: {stage.unknown}" for stage in stages if stage.unknown]
    disk = _bytes(sum((stage.disk for stage in stages if stage.disk is not None), Range(0, 0)))
    every = "Stages of known size" if unknown else "All stages"
    path, hours = longest_path(stages)
    used = [stage.gpu_hours for stage in stages if stage.gpu_hours is not None]
    if used:
        total = sum(used, Range(0, 0))
        lines += ["", f"{every}: {shown_range(total)} GPU-hours, {disk} of checkpoints and models"]
        lines.append(
            f"Longest path: {' > '.join(path)}, {shown_range(hours)} hours without waiting in queues"
        )
        lines.append("Jobs: what config/resources.yaml and cluster.gpu.max_runtime allow at one time")
    else:
        lines += ["", f"{every}: {disk} of checkpoints and models"]
    if unknown:
        lines += ["", "Not forecast, and in no sum", *unknown]
    lines += ["", "Rows"]
    lines += [f"  {stage.name}: {stage.source}" for stage in stages]
    if used:
        lines += ["", "Assumptions (config/forecast.yaml; ranges are low to high)"]
        for part in ("tokens", "speed"):
            for name, item in assumptions[part].items():
                if isinstance(item, Mapping):
                    low, high = item["range"]
                    lines.append(f"  {name.replace('_', ' ')}: {low:g} to {high:g} ({item['source']})")
    item = assumptions["checkpoint"]["bytes"]
    low, high = item["range"]
    kept = assumptions["checkpoint"]["kept"]
    lines.append(f"  checkpoint: {low:g} to {high:g} bytes a parameter, {kept} kept ({item['source']})")
    if any(config[stage.name].get("finetuning") == "lora" for stage in stages):
        item = assumptions["checkpoint"]["lora"]
        low, high = item["range"]
        lines.append(f"  adapters: {low:g} to {high:g} of the model ({item['source']})")
    return "\n".join(lines)


def _bytes(value: Range | None) -> str:
    if value is None:
        return "-"
    size, unit = (1e9, "GB") if value.high >= 1e9 else (1e6, "MB")
    return f"{shown_range(value * (1 / size))} {unit}"


def shown_range(value: Range | None) -> str:
    """A range in short; - if it is not known."""
    if value is None:
        return "-"
    low, high = _number(value.low), _number(value.high)
    return low if low == high else f"{low}-{high}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 9.5 or value == int(value) else f"{value:.1g}"
