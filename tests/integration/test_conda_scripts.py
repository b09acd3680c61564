"""Fresh environments: what Snakemake runs in one of conda's installs the lock; this package beside it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from training_environment import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from lock_environments import pins


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment."""
    folder = tmp_path_factory.mktemp("environments") / "conda"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder


def test_a_fresh_environment_holds_the_lock_of_the_driver(prefix: Path, tmp_path: Path) -> None:
    script = ROOT / "envs/driver.post-deploy.sh"
    # Snakemake copies the script away and runs it with the environment active, in the folder of the workflow.
    copied = tmp_path / "environment.post-deploy.sh"
    copied.write_bytes(script.read_bytes())
    environment = {**os.environ, "CONDA_PREFIX": str(prefix), "PATH": f"{prefix}/bin:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", str(copied)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    listed = [str(prefix / "bin/python"), "-m", "pip", "list", "--format=freeze"]
    printed = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
    found = {line.lower().replace("_", "-") for line in printed.split()}
    wanted = pins((ROOT / "envs/driver.txt").read_text(encoding="utf-8"))
    # A marker leaves out what belongs to another platform or Python.
    everywhere = {re.sub(r"\[.*\]", "", pin) for pin in wanted if " ; " not in pin}
    assert everywhere <= found and len(everywhere) > 20


def test_the_command_is_installed_with_what_it_asks_by_default(prefix: Path, tmp_path: Path) -> None:
    """After the lock, so that nothing but this package is missing."""
    source = tmp_path / "source"
    for part in ("scripts", "config"):  # a copy: setuptools writes beside what it installs
        shutil.copytree(ROOT / part, source / part)
    for part in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / part, source / part)
    pip = [str(prefix / "bin/python"), "-m", "pip", "install", "--quiet", "--no-deps", str(source)]
    subprocess.run(pip, check=True)

    def grrm(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(prefix / "bin/grrm"), *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    texts = ["--from", "de", "--to", "en", "--source", "Haus", "--candidate", "a", "--candidate", "b"]
    asked = grrm(
        "rank", "--model", "nowhere/model", "--backend", "openai", "--base-url", "http://127.0.0.1:9", *texts
    )
    assert "(1 connection; of the last: ConnectError: " in asked.stderr and "prompt" not in asked.stderr
    listed = grrm("export-data", "--dataset", "no_such_entry", "--kind", "pairwise", "--output", "out")
    assert "'no_such_entry'; there are towerblocks_mt_ranking, " in listed.stderr
