"""Whether the environments of the stages are there, from today's locks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from grrm.files import sha256
from grrm.preflight.findings import Finding, failed, ok, unknown, warning
from grrm.preflight.gpus import cuda_of_environment


def check_environment(name: str, folder: Path, lock: Path, *, cuda: bool) -> list[Finding]:
    """Findings about a virtual environment and its record.

    Args:
        name: of the environment.
        folder: of all environments.
        lock: its hashed requirements.
        cuda: whether it has to run on GPUs.
    """
    check, record = f"environment {name}", folder / f"{name}.json"
    if not lock.is_file():
        return [failed(check, f"{lock} is missing", "restore it from the repository")]
    build = "snakemake --cores 1 environments builds it where there is network"
    if not record.is_file():
        return [warning(check, f"not built yet in {folder}", f"it is built first; {build}")]
    try:
        built = json.loads(record.read_text(encoding="utf-8"))
        digest = built["lock_sha256"]
    except (ValueError, KeyError, TypeError):
        return [failed(check, f"{record} is damaged", f"remove it: {build}")]
    if digest != sha256(lock):
        return [warning(check, f"built from another {lock}", f"it is built anew first; {build}")]
    python = folder / name / "bin/python"
    if not python.exists():
        found = f"{python} is missing or points nowhere"
        return [
            failed(
                check,
                found,
                f"remove {record}: {build}; on a cluster keep environments.folder and "
                "the Python it was built with on storage that the nodes share",
            )
        ]
    problems = _check_torch(check, folder / name, built) if cuda else []
    if any(problem.status == "failed" for problem in problems):
        return problems
    return [ok(check, f"built from {lock}"), *problems]


def _check_torch(check: str, environment: Path, record: dict[str, object]) -> list[Finding]:
    if cuda_of_environment(environment) is None:
        found = "it has no torch that is built for CUDA"
        return [
            failed(
                check, found, "remove its record, and build it from PyPI's wheels (unset UV_TORCH_BACKEND)"
            )
        ]
    findings = []
    attention = record.get("flash_attn")
    if isinstance(attention, dict) and attention.get("version") is None:
        findings.append(
            warning(
                check,
                f"without flash-attn: {attention.get('reason')}",
                "attention will be sdpa: slower, same numbers up to rounding; see environments.flash_attn",
            )
        )
    return findings


def check_images(
    locks: Mapping[str, Path], folder: Path, labels: Callable[[Path], str], *, nodes: int
) -> list[Finding]:
    """Whether the container image of each environment is there, built from today's lock.

    Args:
        locks: the hashed requirements of each environment.
        folder: of the images.
        labels: what `apptainer inspect --labels` prints about an image.
        nodes: machines of the largest job.
    """
    findings = [_check_image(name, folder / f"{name}.sif", lock, labels) for name, lock in locks.items()]
    if nodes > 1:
        found = f"trainings on {nodes} machines run `apptainer exec` in each step of Slurm's: never tried"
        findings.append(warning("images", found, "try it with few steps first"))
    return findings


def _check_image(name: str, image: Path, lock: Path, labels: Callable[[Path], str]) -> Finding:
    check, build = f"image {name}", f"apptainer build {image} containers/{name}.def"
    if not image.is_file():
        return failed(check, f"{image} does not exist", f"{build}, or change environments.images")
    said = re.search(r"grrm\.lock\.sha256: *([0-9a-f]{64})", labels(image))
    if said is None:
        return unknown(check, f"{image} does not say which lock it was built from")
    if said[1] != sha256(lock):
        return failed(check, f"{image} was built from another {lock}", f"{build} --force")
    return ok(check, f"{image}, built from {lock}")


def not_looked_at(method: str) -> Finding:
    """The environments that a deployment method of Snakemake makes."""
    return unknown("environments", f"left to --sdm {method}")
