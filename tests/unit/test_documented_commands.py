"""Commands that documentation, configurations and remedies name can be typed as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from grrm.catalogue.trainings import TRAININGS

ROOT = Path(__file__).parents[2]
# With one of these Snakemake needs no number of cores.
WITHOUT_CORES = {"--cores", "--profile", "-n", "--unlock", "--lint", "--nolock"}
TARGETS = (ROOT / "rules/targets.smk").read_text(encoding="utf-8")
PLACES = [
    *(ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "config").glob("*.yaml"))),
    *(*sorted((ROOT / "scripts/grrm/preflight").glob("*.py")), ROOT / "rules/common.smk"),
]


def commands(text: str) -> list[str]:
    """Calls of Snakemake, with options or a target of the workflow."""
    text = re.sub(r"\\\n[#\s]*", "", text)
    found = re.findall(r"(?<![\w.-])(?:\.venv/bin/)?snakemake +([^`\n#;]+)", text)
    targets = {*re.findall(r"^rule (\w+):", TARGETS, re.M), "all", "lock_data", "preflight"}
    targets |= {row.target_name for row in TRAININGS.values()}
    return [call for call in found if call.startswith("-") or re.split(r"\W", call)[0] in targets]


@pytest.mark.parametrize("path", PLACES, ids=lambda path: path.name)
def test_snakemake_is_told_how_many_cores_it_has(path: Path) -> None:
    for call in commands(path.read_text(encoding="utf-8")):
        assert WITHOUT_CORES & set(call.split()), f"snakemake {call}"


def test_commands_are_found() -> None:
    text = "`snakemake data --configfile x` (snakemake reads it)\n.venv/bin/snakemake --cores 2  # all\n"
    assert commands(text) == ["data --configfile x", "--cores 2  "]
    assert commands("`snakemake mt_sft`") == ["mt_sft"]
    assert commands("#   A=1 snakemake judges \\\n#     --cores 2\n") == ["judges --cores 2"]
