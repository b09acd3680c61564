"""Container recipes hold the pins of the locks, and the rules run in their images.

Apptainer itself is not needed: what is not shown here is that the recipes build and the images run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from grrm.files import sha256
from planner import snakemake

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from lock_environments import recipe  # noqa: E402

RECIPES = sorted((ROOT / "containers").glob("*.def"))
SECTIONS = {"labels", "files", "post", "environment", "test"}


def parse(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Header and sections of a definition file (Apptainer's user guide, "Definition Files")."""
    head, *parts = re.split(r"^%(\w+)\n", path.read_text(encoding="utf-8"), flags=re.M)
    lines = [line for line in head.splitlines() if line and not line.startswith("#")]
    return dict(line.split(": ", 1) for line in lines), dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_environment_of_a_stage_has_a_recipe() -> None:
    rules = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "rules").glob("*.smk"))
    named = {*re.findall(r'\bimage\("(\w+)"\)', rules), "train", "sft_cuda", "rl_cuda", "vllm_cpu"}
    assert {path.stem for path in RECIPES} == named


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_that_of_its_lock(path: Path) -> None:
    lock = ROOT / f"envs/{path.stem}.txt"
    assert path.read_text(encoding="utf-8") == recipe(path.stem, sha256(lock))
    header, sections = parse(path)
    assert set(header) == {"Bootstrap", "From"} and set(sections) == SECTIONS
    python = re.fullmatch(r"python:(\d+\.\d+\.\d+)-slim-bookworm", header["From"])
    conda = (ROOT / f"envs/{path.stem}.yaml").read_text(encoding="utf-8")
    assert python and f"- python={python[1]}\n" in conda  # to the patch
    source, _ = sections["files"].split()
    assert ROOT / source == lock
    assert "--require-hashes" in sections["post"] and sections["labels"].count(sha256(lock)) == 1


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_shell_of_a_recipe_is_sound(path: Path) -> None:
    sections = parse(path)[1]
    for name in ("post", "environment", "test"):
        done = subprocess.run(["sh", "-n"], input=sections[name], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def apptainer(tmp_path: Path) -> Path:
    """Snakemake asks for its version before it plans."""
    (tmp_path / "apptainer").write_text("#!/bin/sh\necho apptainer version 1.3.6\n")
    (tmp_path / "apptainer").chmod(0o755)
    return tmp_path


def plan(apptainer: Path, *configs: str, more: str = "") -> subprocess.CompletedProcess[str]:
    options = ["--cores", "1", "--dry-run", "--forceall", "--printshellcmds", "--sdm", "apptainer"]
    config = f"environments={{'images': '{apptainer}/images'{more}}}"
    found = {"PATH": f"{apptainer}:{os.environ['PATH']}"}
    return snakemake(*options, "--configfile", *configs, "--config", config, environment=found)


def test_the_rules_of_the_stages_run_in_their_images(apptainer: Path) -> None:
    done = plan(apptainer, "config/paper.yaml", "config/small.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    # The image's own interpreter, and no environment built beside it.
    assert "build_environment" not in done.stdout
    for command in ("scripts/train_rl.py", "scripts/train_sft.py"):
        (line, *_) = [line for line in done.stdout.splitlines() if command in line]
        assert "--python python " in line
    assert "python scripts/rank_candidates.py" in done.stdout
    assert "/bin/python scripts" not in done.stdout


def test_trainings_on_several_machines_enter_their_image_in_each_step(apptainer: Path) -> None:
    done = plan(apptainer, "config/paper.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    for command, name in (("scripts/train_rl.py", "rl_cuda"), ("scripts/train_sft.py", "sft_cuda")):
        lines = [line for line in done.stdout.splitlines() if command in line]
        assert len(lines) == 2
        assert all(f"--python .snakemake/containers/{name}/bin/python " in line for line in lines)
        written = (ROOT / f".snakemake/containers/{name}/bin/python").read_text(encoding="utf-8")
        assert "exec apptainer exec --nv " in written and f"{apptainer}/images/{name}.sif python" in written
    assert "python scripts/rank_candidates.py" in done.stdout


def test_flash_attention_that_an_image_lacks_is_refused(apptainer: Path) -> None:
    done = plan(apptainer, "config/paper.yaml", more=", 'flash_attn': {'sft_cuda': 'build'}")
    assert done.returncode != 0
    assert "environments.flash_attn names sft_cuda, where --sdm apptainer installs the locked" in done.stdout
