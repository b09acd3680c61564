"""What the section `teacher` says: who is asked, and what contradicts itself there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from grrm.catalogue.metrics import metrics_of
from grrm.config.schema import shown
from grrm.urls import address_fault

REFERENCE = "reference"
"""The system that is the table's own translation."""


def annotation_folder(config: Mapping[str, Any]) -> str:
    """Folder of what a teacher makes."""
    return f"results/{config['experiment']}/annotation"


def asked_sections(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Whom a teacher's experiment asks, by the keys of their sections; nobody without a teacher."""
    teacher = config.get("teacher")
    if teacher is None:
        return {}
    models = teacher["candidates"]["models"]
    return {"teacher": teacher} | {f"teacher.candidates.models.{i}": one for i, one in enumerate(models)}


def models_here(config: Mapping[str, Any]) -> dict[str, str]:
    """Models that are asked without an endpoint, by the keys that name them: folders or hub ids."""
    sections = asked_sections(config)
    return {f"{key}.model": one["model"] for key, one in sections.items() if one["url"] is None}


def backend_of(section: Mapping[str, Any], device: str) -> str:
    """What runs the model of a section."""
    if section["url"] is not None:
        return "openai"
    if section["backend"] != "auto":
        return str(section["backend"])
    return "vllm" if device == "cuda" else "transformers"


def degraded_name(system: Mapping[str, Any]) -> str:
    """What copies are called that were degraded in one way."""
    return f"{system['of']}-{system['how']}"


def systems_of(candidates: Mapping[str, Any]) -> list[str]:
    """Names of the systems that give candidates, degraded copies last."""
    return [
        *([REFERENCE] if candidates["reference"] else []),
        *(system["name"] for kind in ("models", "files") for system in candidates[kind]),
        *map(degraded_name, candidates["degraded"]),
    ]


def teacher_contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """What does not go together in the section `teacher`."""
    teacher = config.get("teacher")
    if teacher is None:
        return
    for key, section in asked_sections(config).items():
        yield from _of_asked(key, section)
    yield from _of_gpus(config, teacher)
    yield from _of_systems(teacher["candidates"])
    if teacher["translations"] is not None:
        shortest, longest = teacher["translations"]["length"]
        if shortest > longest:
            yield f"teacher.translations.length is [{shortest}, {longest}], expected the smaller one first"
        if (least := teacher["translations"]["comet"]) is not None and not any(
            metric.name == "comet" for metric in metrics_of(config)
        ):
            yield f"teacher.translations.comet is {least:g}, expected 'comet' in evaluate.metrics beside it"
        yield from _of_budget("teacher.translations", teacher["translations"]["budget"], teacher)


def _of_asked(key: str, section: Mapping[str, Any]) -> Iterator[str]:
    url = section["url"]
    if url is not None and (fault := address_fault(url, section["key_variable"])):
        yield f"{key}.url {fault}"
    yield from _of_budget(key, section["budget"], section)


def _of_budget(key: str, budget: Mapping[str, Any], section: Mapping[str, Any]) -> Iterator[str]:
    for name, limit in budget.items():
        if limit is not None and section["url"] is None:
            yield f"{key}.budget.{name} is {limit}, expected null for a model that runs here (url is null)"
    if budget["cost"] is not None and not section["prompt_price"] + section["completion_price"]:
        yield (
            f"{key}.budget.cost is {budget['cost']:g} and nothing has a price, expected prompt_price and "
            "completion_price, per million tokens"
        )


def _of_gpus(config: Mapping[str, Any], teacher: Mapping[str, Any]) -> Iterator[str]:
    device = config["hardware"]["device"]
    asked = {"teacher": [teacher], "teacher.candidates": teacher["candidates"]["models"]}
    for key, sections in asked.items():
        gpus = (teacher if key == "teacher" else teacher["candidates"])["gpus"]
        vllm = any(backend_of(section, device) == "vllm" for section in sections)
        if vllm and device == "cuda" and not gpus:
            yield f"{key}.gpus is 0, expected 1 or more for a model that vLLM runs here"
        here = any(section["url"] is None for section in sections)
        if gpus and (device == "cpu" or not here):
            why = "with hardware.device 'cpu'" if device == "cpu" else "where no model runs here"
            yield f"{key}.gpus is {gpus}, expected 0 {why}"


def _of_systems(candidates: Mapping[str, Any]) -> Iterator[str]:
    names = systems_of(candidates)
    for name, count in Counter(names).items():
        if count > 1:
            yield f"teacher.candidates has {count} systems of the name {name!r}, expected a name for each"
    originals = {
        REFERENCE,
        *(system["name"] for kind in ("models", "files") for system in candidates[kind]),
    }
    for i, system in enumerate(candidates["degraded"]):
        if system["of"] not in originals:
            yield (
                f"teacher.candidates.degraded.{i}.of is {shown(system['of'])}, expected "
                f"{', '.join(sorted(originals))}"
            )
    for i, system in enumerate(candidates["models"]):
        if system["samples"] > 1 and system["temperature"] == 0:
            yield (
                f"teacher.candidates.models.{i}.samples is {system['samples']}, expected 1 with temperature "
                "0: they would be the same"
            )
    drawn = sum(system["samples"] for system in candidates["models"])
    if drawn + len(names) - len(candidates["models"]) < 2:
        yield "teacher.candidates has one system, expected two or more: a group has two candidates at least"
