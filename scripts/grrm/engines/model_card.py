"""The card of a trained model: README.md with the metadata that the Hugging Face hub reads.

Everything in it comes from what the training was (`training.json`); evaluations, which come later, are added
when a model is uploaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from grrm import __version__
from grrm.catalogue.trainings import Training as Row
from grrm.catalogue.trainings import training_of
from grrm.engines.adapters import adapters_of

FILE = "README.md"
Training = Mapping[str, Any]
"""What a training was, as `training.json` says: config and inputs, or what was taken from elsewhere."""

# Where the engines' configurations name the initial model.
_INITIAL = ("model_name_or_path", "actor_rollout_ref.model.path", "model")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_LIMITS = {
    "judge": "It judges what it was trained on, and can be deceived: by length, by order, and by a policy "
    "that is trained against it for long. Its scores are not a measure of quality elsewhere.",
    "policy": "It optimises what its judge rewards, which is not the same as quality; the figures of an "
    "independent metric say how far the two agree.",
    "sft": "It answers in the form of its training data; nothing was done to make it refuse anything.",
}


@dataclass(frozen=True)
class Metric:
    """A measured value, for the card.

    Attributes:
        task: what was measured, e.g. ranking or translation.
        data: on what.
        name: of the metric.
        value: on the metric's own scale.
        low: lower end of the interval; None if there is none.
        high: upper end of the interval.
        n: rows measured.
        signature: what exactly was computed.
    """

    task: str
    data: str
    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    signature: str


def model_card(
    name: str,
    training: Training,
    ancestors: Sequence[Training] = (),
    *,
    licence: str | None = None,
    metrics: Sequence[Metric] = (),
) -> str:
    """The text of a model's card, with its metadata as YAML front matter.

    Args:
        name: of the model, its stage.
        training: what the training was.
        ancestors: the trainings of the models it started from, nearest first.
        licence: of the model it started from, as the hub abbreviates it; None if not known.
        metrics: measured values.
    """
    config = training.get("config", {})
    base, row = base_model(training, ancestors), training_of(name)
    parts = [
        f"# {name}",
        f"A {row.card if row else 'model'}, made by GRRM {__version__} "
        "([arXiv 2602.14028](https://arxiv.org/abs/2602.14028)).",
        "## Where it comes from",
        "\n".join(_lineage(name, training, ancestors)),
        "## Training",
        *_trained(config),
        _hyperparameters(config),
        "The whole configuration, and the SHA-256 of everything the training read, are in `training.json`.",
        "## Evaluation",
        _evaluation(metrics),
        "## Use",
        _use(row),
        "## Limits",
        _LIMITS[row.makes if row else "sft"],
        "## Licence",
        f"The model it started from: {licence}."
        if licence
        else "That of the model it started from, and of the data it was trained on; neither is known here.",
    ]
    metadata = _metadata(name, row, base, licence, metrics)
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n"


def initial_model(training: Training) -> str | None:
    """The folder of the model that a training started from; None if its configuration names none."""
    config = training.get("config", {})
    return next((str(config[key]) for key in _INITIAL if key in config), None)


def base_model(training: Training, ancestors: Sequence[Training]) -> str | None:
    """The published model at the beginning, by its id on the hub; None if it began with another one."""
    first = [training, *ancestors][-1]
    origin = first.get("taken") or initial_model(first) or ""
    return origin if _HUB_ID.fullmatch(origin) and not Path(origin).exists() else None


def read_licence(folder: Path) -> str | None:
    """The licence that the card in a model's folder declares; None if there is none."""
    card = folder / FILE
    if not card.is_file():
        return None
    front = re.match(r"---\n(.*?\n)---\n", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    try:
        metadata = yaml.safe_load(front[1]) if front else None
    except yaml.YAMLError:
        return None
    licence = metadata.get("license") if isinstance(metadata, dict) else None
    return licence if isinstance(licence, str) else None


def _metadata(
    name: str, row: Row | None, base: str | None, licence: str | None, metrics: Sequence[Metric]
) -> dict[str, Any]:
    scores = row is not None and row.engine == "bt"
    judges = row is not None and row.makes == "judge"
    metadata: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-classification" if scores else "text-generation",
        "tags": ["grrm", name, "reward-model" if judges else "text-generation"],
    }
    if licence:
        metadata["license"] = licence
    if base:
        metadata["base_model"] = base
        metadata["base_model_relation"] = "finetune"
    if metrics:
        metadata["model-index"] = [{"name": name, "results": [_result(metric) for metric in metrics]}]
    return metadata


def _result(metric: Metric) -> dict[str, Any]:
    task = "translation" if metric.task == "translation" else "text-generation"
    return {
        "task": {"type": task, "name": metric.task},
        "dataset": {"type": "held-out", "name": metric.data},
        "metrics": [{"type": metric.name, "name": metric.name, "value": round(metric.value, 4)}],
    }


def _lineage(name: str, training: Training, ancestors: Sequence[Training]) -> list[str]:
    lines = []
    chain = [training, *ancestors]
    for number, step in enumerate(chain):
        if "taken" in step:
            lines.append(f"- from elsewhere: `{_shown(step['taken'])}`")
            continue
        stage = name if number == 0 else Path(initial_model(chain[number - 1]) or "").name
        start = initial_model(step)
        lines.append(f"- `{stage}`, trained from `{_shown(start or 'nothing')}` on:")
        lines += [
            f"  - `{_shown(path)}` ({digest[:12]})"
            for path, digest in step["inputs"].items()
            if path != start
        ]
    return lines


def _shown(path: str) -> str:
    """A path without the folders of somebody's machine."""
    return Path(path).name if Path(path).is_absolute() else path


def _trained(config: Mapping[str, Any]) -> list[str]:
    """A sentence about adapters; nothing where all weights were trained."""
    adapters = adapters_of(config)
    return [f"LoRA: {adapters} were trained, and merged into the weights."] if adapters else []


def _hyperparameters(config: Mapping[str, Any]) -> str:
    """A table of the numbers and switches of a configuration; places and names of files are left out."""
    rows = [
        (key.lstrip("+"), value)
        for key, value in config.items()
        if isinstance(value, bool | int | float) or (isinstance(value, str) and "/" not in value)
    ]
    if not rows:
        return "It was taken from elsewhere."
    table = "\n".join(f"| `{key}` | {value} |" for key, value in rows)
    return f"| setting | value |\n| --- | --- |\n{table}"


def _evaluation(metrics: Sequence[Metric]) -> str:
    if not metrics:
        return (
            "Not measured when this card was written; the experiment's `summary.json` has what was measured."
        )
    head = [
        "| task | data | metric | value [interval] | n | signature |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    rows = []
    for metric in metrics:
        signature = metric.signature.replace("|", "\\|")
        rows.append(
            f"| {metric.task} | {metric.data} | {metric.name} | {_number(metric)} | {metric.n} "
            f"| {signature} |"
        )
    return "\n".join(head + rows)


def _number(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        return f"{metric.value:.4g}"
    return f"{metric.value:.4g} [{metric.low:.4g}, {metric.high:.4g}]"


def _use(row: Row | None) -> str:
    if row and row.part == "judges":
        return (
            "The prompt and the parser it was trained with are in `judge.json`:\n\n"
            "```console\ngrrm grade --model FOLDER --input responses.jsonl --output grades.jsonl\n```"
        )
    if row and row.task == "ranking":
        return (
            "```console\ngrrm rank --model FOLDER --source TEXT --candidate TEXT --candidate TEXT "
            "--from en --to zh\n```"
        )
    if row and row.task == "translation":
        return "```console\ngrrm translate --model FOLDER --source TEXT --from en --to zh\n```"
    return "With transformers or vLLM, in its chat template."
