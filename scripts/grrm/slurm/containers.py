"""Trainings on several machines in containers: their scripts start steps outside, each enters the image.

An image holds no commands of Slurm's. So the script of such a training runs beside Snakemake, and what it
takes for the interpreter of the stage's environment is a program that runs the image's.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from grrm.files import write_text


def container_python(image: str, arguments: str, *, cuda: bool) -> str:
    """A shell program that runs the interpreter of an image, in the folder that it is called in.

    Args:
        image: its file or address.
        arguments: of `apptainer exec`, as given with Snakemake's --apptainer-args.
        cuda: whether it gets the GPUs.
    """
    words = ["apptainer", "exec", *(["--nv"] if cuda else []), *shlex.split(arguments)]
    file = shlex.quote(image if "://" in image else str(Path(image).absolute()))
    return f'#!/bin/sh\nexec {shlex.join(words)} --pwd "$PWD" {file} python "$@"\n'


def write_container_python(path: Path, image: str, arguments: str, *, cuda: bool) -> None:
    """Write `container_python`, unless it is there."""
    text = container_python(image, arguments, cuda=cuda)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    path.chmod(0o755)
