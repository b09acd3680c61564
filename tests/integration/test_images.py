"""Recipes of images build: their %post and %test, run as root in a fresh Debian.

Apptainer itself cannot be had here. In place of its base image there is a Debian of the same release, with
Debian's own Python of the same minor version; the sections of a recipe are run in it as they stand.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from training_environment import ROOT

pytestmark = pytest.mark.full
RELEASE = "bookworm"
PACKAGES = "ca-certificates,python3,python3-dev,python3-venv"
# How this machine reaches its registries: a fresh system knows nothing of it.
_CONFIGURATION = ("/etc/pip.conf", "~/.config/pip/pip.conf", "/etc/resolv.conf", "/etc/hosts")


def why_not() -> str | None:
    """Why this machine cannot make such a system; None if it can."""
    if os.geteuid() != 0:
        return "a system of its own needs root"
    if shutil.which("apt-get") is None or f"={RELEASE}" not in Path("/etc/os-release").read_text():
        return f"a Debian is made by Debian's own tools ({RELEASE})"
    return None


REASON = why_not()


def run(*command: str, **options: object) -> str:
    """The output of a command, which must succeed."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options
    )  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout[-4000:]
    return str(done.stdout)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed Debian with `python` and `pip` of an environment, as the base image has them."""
    if REASON:
        pytest.skip(f"no Debian here: {REASON}")
    if shutil.which("mmdebstrap") is None:
        run("apt-get", "update")
        run("apt-get", "install", "--yes", "--no-install-recommends", "mmdebstrap")
    folder = tmp_path_factory.mktemp("debian") / "root"
    sources = [str(path) for path in Path("/etc/apt/sources.list.d").glob("*.sources")]
    sources += [str(path) for path in [Path("/etc/apt/sources.list")] if path.exists()]
    run("mmdebstrap", "--variant=apt", f"--include={PACKAGES}", RELEASE, str(folder), *sources)
    certificates = os.environ.get("PIP_CERT")
    for name in (*_CONFIGURATION, *([certificates] if certificates else [])):
        source = Path(name).expanduser()
        target = folder / source.relative_to("/")
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copy(source, target)
    inside(folder, "python3 -m venv /opt/python")
    return folder


def inside(root: Path, script: str) -> str:
    """What a shell script prints that runs as root in a system of its own."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or "proxy" in name}
    kept.pop("PIP_FIND_LINKS", None)  # files of this machine
    variables = {**kept, "PATH": "/opt/python/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    mounts = f"mount --bind /dev {root}/dev && mount -t proc proc {root}/proc"
    command = ["unshare", "--mount", "sh", "-c", f'{mounts} && exec chroot {root} sh -c "$0"', script]
    return run(*command, env=variables)


@pytest.fixture
def machine(base: Path, tmp_path: Path) -> Iterator[Path]:
    """The same, for one recipe."""
    folder = tmp_path / "root"
    run("cp", "--archive", "--reflink=auto", str(base), str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["comet", "train"])
def test_a_recipe_builds(machine: Path, name: str) -> None:
    text = (ROOT / f"containers/{name}.def").read_text(encoding="utf-8")
    assert f"slim-{RELEASE}" in text
    parts = re.split(r"^%(\w+)\n", text, flags=re.M)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    source, target = sections["files"].split()
    (machine / target.lstrip("/")).parent.mkdir(parents=True)
    shutil.copy(ROOT / source, machine / target.lstrip("/"))
    inside(machine, sections["post"])
    inside(machine, sections["environment"] + sections["test"])
    listed = inside(machine, "python -m pip list --format=freeze").split()
    assert len(listed) > 50
