"""Paths and values of the configuration reach the programs as they are, whatever a shell would make of them."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner import ROOT, snakemake

ODD = "a b$(touch created);'c'&\"d"
PLACEHOLDER = re.compile(r"(?<!\{)\{([\w.]+)(:\w+)?\}(?!\})")
PROMPTS = {"ranking": "toy_ranking", "translation": "toy_translation"}


def test_every_placeholder_of_every_command_is_quoted() -> None:
    """But the number of threads, which is Snakemake's own."""
    seen = 0
    for file in sorted((ROOT / "rules").glob("*.smk")):
        for command in re.findall(r'\n\s+shell:\n((?:\s+"[^\n]*\n)+)', file.read_text(encoding="utf-8")):
            found = PLACEHOLDER.findall(command)
            assert [name for name, how in found if how != ":q" and name != "threads"] == [], file.name
            seen += len(found)
    assert seen > 300


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder of an odd name."""
    folder = tmp_path / ODD
    folder.mkdir()
    return folder


def prompt(name: str, folder: Path) -> str:
    return shutil.copy(ROOT / f"config/prompts/{name}.yaml", folder)


def model(folder: Path) -> str:
    (folder / "config.json").write_text("{}")
    return str(folder)


def commands(*arguments: str) -> list[list[str]]:
    """The words of every planned command; none of them is an operator of the shell but the end of it."""
    options = ("--cores", "2", "--dry-run", "--forceall", "--printshellcmds")
    done = snakemake(*options, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"^Shell command: (.*)$", done.stdout, re.M)
    return [shlex.split(line) for line in found]


PATH_KEYS: dict[str, Any] = {
    "grrm_rlvr.start_from": model,
    "mt_grpo.start_from": model,
    "mt_grpo.reward.model": model,
    "evaluate.start_from.mt_grpo": model,
    "prompts.ranking": lambda folder: prompt("toy_ranking", folder),
    "prompts.translation": lambda folder: prompt("toy_translation", folder),
    "environments.folder": str,
    "evaluate.comet.model": model,
    "alignment.data.train": lambda folder: str(folder / "rows.parquet"),
    "alignment.data.validation": lambda folder: str(folder / "rows.parquet"),
    "data.downloads": str,
    "fork.python": lambda folder: str(folder / "python"),
    "fork.checkout": str,
    "evaluate.base_url": lambda folder: "http://host/v1?a=1&b='2'$(touch created)",
    "judges.prompts.pairwise": lambda folder: prompt("toy_judge_pairwise", folder),
}
TARGETS = {"alignment": "alignment_grpo", "judges": "judges"}
OVERLAYS = {
    "alignment": ["config/judges.yaml"],
    "judges": ["config/judges.yaml"],
    "data": ["config/paper.yaml"],
    "fork": ["config/paper.yaml", "config/paper_fork.yaml"],
}


@pytest.mark.parametrize("key", PATH_KEYS)
def test_a_path_of_an_odd_name_is_one_word(key: str, odd: Path, tmp_path: Path) -> None:
    value = PATH_KEYS[key](odd)
    changes: Any = value
    for part in reversed(key.split(".")):
        changes = {part: changes}
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(changes))
    part = key.split(".")[0]
    target = TARGETS.get(part, "all")
    files = [str(ROOT / name) for name in OVERLAYS.get(part, [])]
    planned = commands(target, "--configfile", *files, str(overlay))
    holding = [word for words in planned for word in words if "touch created" in word]
    assert holding
    for word in holding:
        if not word.startswith("{"):  # the configuration itself
            assert value in word, word
    assert not list(ROOT.glob("*created*"))
