"""What Snakemake runs in a conda environment installs the lock, with nothing but conda's pip."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from training_environment import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from lock_environments import pins


def test_a_fresh_environment_holds_the_lock_of_the_driver(tmp_path: Path) -> None:
    prefix = tmp_path / "conda"
    subprocess.run([sys.executable, "-m", "venv", str(prefix)], check=True)
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
