"""Write down what made an experiment: configuration, code, environments, data, and the kind of processor."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from grrm import __version__
from grrm.files import UserError, atomic_path, read_json, read_yaml, sha256, write_json
from grrm.metrics.scores import parse_named_files
from grrm.process import run_main
from grrm.report.machine import machine, processor
from lock_environments import pins

# The name of the environment that this program runs in.
DRIVER = "driver"
_LIST_PACKAGES = (
    "import importlib.metadata as m, json, platform; "
    "print(json.dumps({'python': platform.python_version(), "
    "'packages': dict(sorted({d.name: d.version for d in m.distributions()}.items()))}))"
)


def main(argv: list[str] | None = None) -> None:
    """Write the folder whole: configuration, provenance.json, and the lock of the data if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="resolved configuration (YAML)")
    parser.add_argument(
        "--locks",
        nargs="*",
        default=[],
        metavar="NAME=FILE",
        help=f"hashed requirements of each environment; {DRIVER} is the one that this program runs in",
    )
    parser.add_argument(
        "--records", nargs="*", default=[], metavar="NAME=FILE", help="records of built environments"
    )
    parser.add_argument(
        "--pythons", nargs="*", default=[], metavar="NAME=FILE", help="interpreters of the user's own"
    )
    parser.add_argument("--data-lock", type=Path, help="lock of the published data")
    parser.add_argument(
        "--files", type=Path, nargs="*", default=[], help="the user's own files that tables were made of"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)

    records = parse_named_files(args.records, "--records")
    environments = {
        name: _running(lock) if name == DRIVER else _locked(lock, records.get(name))
        for name, lock in parse_named_files(args.locks, "--locks").items()
    } | {name: _installed(python) for name, python in parse_named_files(args.pythons, "--pythons").items()}
    provenance = {
        "code": {"grrm": __version__, **git_state(Path.cwd())},
        "driver": {"python": platform.python_version(), "snakemake": version("snakemake")},
        "environments": environments,
        "machine": machine() | {"processor": processor(read_yaml(args.config))},
        **({"files": {str(path): pinned(path) for path in sorted(args.files)}} if args.files else {}),
    }
    with atomic_path(args.output) as partial:
        partial.mkdir()
        shutil.copyfile(args.config, partial / "config.yaml")
        if args.data_lock:
            shutil.copyfile(args.data_lock, partial / "datasets.lock.yaml")
        write_json(partial / "provenance.json", provenance)


def pinned(path: Path) -> dict[str, Any]:
    """What a file holds: SHA-256 and bytes."""
    return {"sha256": sha256(path), "size": path.stat().st_size}


def git_state(folder: Path) -> dict[str, Any]:
    """Commit of a checkout and the files that differ from it; null without git or outside a checkout."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None, "changed": []}
    status = _git(folder, "status", "--porcelain", "--untracked-files=no") or ""
    changed = sorted(line[3:] for line in status.splitlines())
    return {"commit": commit.strip(), "dirty": bool(changed), "changed": changed}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def _locked(lock: Path, record: Path | None) -> dict[str, Any]:
    """The packages that the lock names, and the Python that the environment was built with."""
    if not lock.is_file():
        raise UserError(f"{lock}: no such file; it should be the lock of an environment")
    built = read_json(record) if record else {}
    digest = sha256(lock)
    if built and built["lock_sha256"] != digest:
        raise UserError(f"{record}: built from another {lock}; build the environment again")
    packages = dict(pin.split(" ;")[0].split("==") for pin in pins(lock.read_text(encoding="utf-8")))
    return {"lock_sha256": digest, "python": built.get("python"), "packages": packages}


def _running(lock: Path) -> dict[str, Any]:
    """The packages of the lock as installed here: whoever starts Snakemake chooses its environment."""
    found = _locked(lock, None)
    packages = {}
    for name in found["packages"]:
        with suppress(PackageNotFoundError):  # of another Python or system
            packages[name] = version(name)
    return found | {"python": platform.python_version(), "packages": packages}


def _installed(python: Path) -> dict[str, Any]:
    done = subprocess.run([python, "-c", _LIST_PACKAGES], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"{python}: cannot list its packages: {done.stderr.strip()[-300:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    run_main(main)
