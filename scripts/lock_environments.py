"""Lock every environment: hashed requirements, and how conda and containers install the same."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from grrm.files import UserError, sha256, write_text
from grrm.process import run_main

# The driver comes before dev, which is constrained by it, as rl_cuda before vllm_cpu; trl is for tests only.
_ORDER = ("driver", "dev", "train", "comet", "trl", "sft_cuda", "rl_cuda", "vllm_cpu")
_CONDA = ("driver", "train", "comet", "sft_cuda", "rl_cuda", "vllm_cpu")
# The driver runs outside containers: it is what starts them. What each has to import when it is built.
_CONTAINERS = {
    "train": "llamafactory, verl",
    "comet": "comet",
    "sft_cuda": "llamafactory, deepspeed",
    "rl_cuda": "verl, vllm",
    "vllm_cpu": "verl, vllm",
}
# Python with its headers: triton and torch compile kernels with g++ while they run.
_BASE_IMAGE = "python:3.11.14-slim-bookworm"
# These have wheels for one platform only, and their requirements contradict each other elsewhere.
_LINUX = ("sft_cuda", "rl_cuda", "vllm_cpu")
_PYTHON = "3.11"
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*(?:\[[^\]]+\])?)==([^ ;\\]+)(?: ; ([^\\]+?))?(?: \\)?$", re.M)


def main(argv: list[str] | None = None) -> None:
    """Refresh the locks, then write the conda files and the recipes of the containers that install them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("envs"))
    parser.add_argument("--containers", type=Path, default=Path("containers"), help="folder of the recipes")
    parser.add_argument("--upgrade", action="store_true", help="move to the newest versions allowed")
    parser.add_argument("--uv", default=str(Path(sys.executable).with_name("uv")))
    args = parser.parse_args(argv)

    for name in _ORDER:
        command = [
            args.uv,
            "pip",
            "compile",
            "--quiet",
            *(["--config-file", f"{name}.uv.toml"] if (args.folder / f"{name}.uv.toml").exists() else []),
            *(["--python-platform", "x86_64-manylinux_2_28"] if name in _LINUX else ["--universal"]),
            "--python-version",
            _PYTHON,
            "--generate-hashes",
            "--no-emit-index-url",
            "--no-emit-find-links",
            "--custom-compile-command",
            "make lock",
            "--output-file",
            f"{name}.txt",
            f"{name}.in",
        ]
        if args.upgrade:
            command.append("--upgrade")
        if subprocess.run(command, cwd=args.folder, check=False).returncode != 0:
            raise UserError(f"{args.folder / name}.in cannot be resolved, uv's reason stands above")
    for name in _CONDA:
        write_text(args.folder / f"{name}.yaml", conda_file())
        script = post_deploy(name, sha256(args.folder / f"{name}.txt"))
        write_text(args.folder / f"{name}.post-deploy.sh", script)
    for name in _CONTAINERS:
        write_text(args.containers / f"{name}.def", recipe(name, sha256(args.folder / f"{name}.txt")))


def pins(lock: str) -> list[str]:
    """The pinned requirements of a hashed requirements file, environment markers kept."""
    found = []
    for name, version, marker in _PIN.findall(lock):
        found.append(f"{name}=={version}" + (f" ; {marker.strip()}" if marker else ""))
    return found


def conda_file() -> str:
    """The conda file of every environment: a Python with pip, into which `post_deploy` installs the lock."""
    return f"""\
# Written by make lock; do not edit. The packages: the post-deploy script of the same name.
channels:
  - conda-forge
dependencies:
  - python={_BASE_IMAGE.removeprefix("python:").partition("-")[0]}
  - pip
"""


def post_deploy(name: str, digest: str) -> str:
    """What Snakemake runs, from the repository's root, in a conda environment that it has just created.

    Pip installs the lock itself: conda's own solver has neither hashes nor overrides. Snakemake makes a new
    environment whenever this text changes, hence whenever the lock does.

    Args:
        name: of the environment.
        digest: SHA-256 of its lock.
    """
    return f"""\
# Written by make lock from envs/{name}.txt; do not edit.
set -eu
echo "{digest}  envs/{name}.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/{name}.txt
"""


def recipe(name: str, digest: str) -> str:
    """The Apptainer recipe of an environment, to be built from the repository's root.

    The lock itself goes into the image, so the pins are the same; the recipe names its SHA-256, so that
    neither changes without the other.

    Args:
        name: of the environment.
        digest: SHA-256 of its lock.
    """
    return f"""\
# Written by make lock from envs/{name}.txt; do not edit.
#   apptainer build containers/{name}.sif containers/{name}.def
Bootstrap: docker
From: {_BASE_IMAGE}

%labels
    grrm.environment {name}
    grrm.lock.sha256 {digest}

%files
    envs/{name}.txt /opt/grrm/requirements.txt

%post
    set -eu
    echo "{digest}  /opt/grrm/requirements.txt" | sha256sum --check
    apt-get update
    apt-get install --yes --no-install-recommends g++
    rm -rf /var/lib/apt/lists/*
    # DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
    export DS_BUILD_OPS=0
    python -m pip install --no-cache-dir --no-deps --require-hashes -r /opt/grrm/requirements.txt

%environment
    export LC_ALL=C.UTF-8 PYTHONNOUSERSITE=1

%test
    python -c "import {_CONTAINERS[name]}"
"""


if __name__ == "__main__":
    run_main(main)
