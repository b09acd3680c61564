"""Whether a machine has what Triton compiles with, as its own code looks for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from grrm.preflight.compiler import LOOK, check_compiler


def look(path: Path, **environment: str) -> tuple[int, str]:
    """What the look prints where only the programs of a folder are found."""
    given = {"PATH": str(path), **environment}
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env=given, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("gcc", "mycc"):
        (folder / name).touch(0o755)
    return folder


def test_a_machine_that_has_both(programs: Path) -> None:
    status, words = look(programs)
    found = check_compiler(status, "a module was loaded\n" + words, "node1")
    assert (found.status, str(programs / "gcc") in found.found, "Python.h" in found.found) == (
        "ok",
        True,
        True,
    )
    assert str(programs / "mycc") in check_compiler(*look(programs, CC="mycc"), "node1").found


def test_a_machine_without_a_compiler(programs: Path) -> None:
    (programs / "gcc").unlink()
    found = check_compiler(*look(programs), "node1")
    assert (found.status, found.found) == ("failed", "node1 has no gcc (or clang), which Triton needs")


def test_a_machine_without_headers() -> None:
    found = check_compiler(0, "/usr/bin/gcc\n\nlooked\n", "node1")
    assert (found.status, found.found) == ("failed", "node1 has no Python.h, which Triton needs")


@pytest.mark.parametrize(("status", "words"), [(1, "srun: error: Unable to allocate"), (0, ""), (127, "")])
def test_a_machine_that_does_not_answer(status: int, words: str) -> None:
    assert check_compiler(status, words, "a compute node").status == "unknown"
