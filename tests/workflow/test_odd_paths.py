"""Paths and values of the configuration reach the programs as they are, whatever a shell makes of such."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from grrm.lock import WORKFLOW, at_work
from planner import ROOT, snakemake
from workspace import PARTS, lay_out

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


def rows(folder: Path) -> str:
    (folder / "rows.parquet").touch()
    return str(folder / "rows.parquet")


def commands(*arguments: str) -> list[list[str]]:
    """The words of every planned command; none of them is an operator of the shell but the end of it."""
    options = ("--cores", "2", "--dry-run", "--forceall", "--printshellcmds")
    done = snakemake(*options, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"^Shell command: (.*)$", done.stdout, re.M)
    return [shlex.split(line) for line in found]


# Keys that can stand in one plan, by its target and overlays.
PLANS: list[tuple[str, str, dict[str, Any]]] = [
    (
        "all",
        "",
        {
            "grrm_rlvr.start_from": model,
            "mt_grpo.start_from": model,
            "prompts.ranking": lambda folder: prompt("toy_ranking", folder),
            "prompts.translation": lambda folder: prompt("toy_translation", folder),
            "environments.folder": str,
            "comet.start_from": model,
            "evaluate.metricx.tokenizer": model,
            "evaluate.bleurt.start_from": model,
            "evaluate.llm_judge.prompt": lambda folder: prompt("judge_translation", folder),
        },
    ),
    ("all", "", {"mt_grpo.reward.model": model}),
    (
        "all",
        "",
        {
            "evaluate.start_from.mt_grpo": model,
            "evaluate.base_url": lambda folder: "http://host/v1?a=1&b=2;$(touch)",
        },
    ),
    (
        "all",
        "paper paper_fork",
        {
            "data.downloads": str,
            "fork.python": lambda folder: str(folder / "python"),
            "fork.checkout": str,
        },
    ),
    (
        "alignment_grpo judges",
        "judges",
        {
            "alignment.data": lambda folder: dict.fromkeys(("train", "validation"), rows(folder)),
            "judges.prompts.pairwise": lambda folder: prompt("toy_judge_pairwise", folder),
        },
    ),
]


@pytest.mark.parametrize(("targets", "overlays", "keys"), PLANS)
def test_a_path_of_an_odd_name_is_one_word(
    targets: str, overlays: str, keys: dict[str, Any], odd: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {}
    for key, value_in in keys.items():
        (odd / key).mkdir()
        given[key] = value_in(odd / key)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(nested(given)))
    wanted = tmp_path / "metrics.yaml"
    wanted.write_text("evaluate: {metrics: [bleurt, comet, metricx, llm_judge], llm_judge: {model: m}}")
    files = [str(ROOT / f"config/{name}.yaml") for name in overlays.split()]
    planned = commands(*targets.split(), "--configfile", *files, str(wanted), str(overlay))
    # What writes the configuration is told all of it.
    told = [words for words in planned if not any(word.endswith("write_config.py") for word in words)]
    holding = {word for words in told for word in words if "$(touch" in word}
    values = {key: value["train"] if isinstance(value, dict) else value for key, value in given.items()}
    # Settings are told as JSON.
    forms = {key: (value, json.dumps(value)[1:-1]) for key, value in values.items()}
    for key, form in forms.items():
        assert any(text in word for word in holding for text in form), key
    for word in holding:
        assert any(text in word for form in forms.values() for text in form), word
    assert not list(ROOT.glob("*created*"))


def nested(changes: dict[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    found: dict[str, Any] = {}
    for key, value in changes.items():
        *sections, name = key.split(".")
        section = found
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = value
    return found


def function(folder: Path) -> str:
    (folder / "own.py").write_text("def score(group):\n    return [1.0]\n")
    return f"{folder}/own.py:score"


def test_other_paths_of_odd_names_are_words_too(odd: Path, tmp_path: Path) -> None:
    """Those that can stand in one plan."""
    taken = {}
    for name in ("judge", "pointwise", "terry", "policy"):
        (odd / name).mkdir()
        taken[name] = model(odd / name)
    overlay = {
        "judges": {
            "sft": {"start_from": taken["judge"]},
            "pointwise": {"start_from": taken["pointwise"]},
            "bradley_terry": {"start_from": taken["terry"]},
        },
        "alignment": {
            "grpo": {"start_from": taken["policy"], "reward": {"prompt": prompt("toy_judge_pairwise", odd)}},
        },
        "reward_comparison": [{"name": "own", "kind": "function", "function": function(odd)}],
    }
    (tmp_path / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    files = (str(ROOT / "config/judges.yaml"), str(tmp_path / "overlay.yaml"))
    planned = commands("all", "judges", "alignment_grpo", "--configfile", *files)
    words = [word for words in planned for word in words if "$(touch" in word and not word.startswith("{")]
    assert all(str(odd) in word for word in words)
    for value in (*taken.values(), str(odd / "toy_judge_pairwise.yaml"), function(odd)):
        assert any(value in word for word in words), value


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the workflow; nothing is made in it but what a test asks for."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    lay_out(folder, copied=PARTS)
    return folder


def write_model(folder: Path, weights: bytes) -> None:
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    for file in folder.iterdir():
        os.utime(file, (1e9, 1e9))
    os.utime(folder, (1e9, 1e9))


def test_a_model_in_a_folder_of_an_odd_name_is_taken_and_taken_anew_when_its_files_change(
    odd: Path, checkout: Path
) -> None:
    write_model(odd, b"a" * 2**21)
    overlay = checkout / "overlay.yaml"
    overlay.write_text(yaml.safe_dump({"grrm_rlvr": {"start_from": str(odd)}}))
    taken = "results/demo/models/grrm_sft"
    asked = ("--cores", "1", taken, "--configfile", str(overlay))
    done = snakemake(*asked, cwd=checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (checkout / taken / "model.safetensors").read_bytes()[:1] == b"a"
    assert "Nothing to be done" in snakemake("-n", *asked, cwd=checkout).stdout

    (odd / "model.safetensors").unlink()  # it is linked
    write_model(odd, b"b" * 2**21)
    plan = snakemake("-n", *asked, cwd=checkout).stdout
    assert re.search(r"^take_model +1$", plan, re.M), plan
    done = snakemake(*asked, cwd=checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (checkout / taken / "model.safetensors").read_bytes()[:1] == b"b"
    assert not list(checkout.rglob("*created"))
    # Who ran it is gone.
    assert at_work(checkout / WORKFLOW) is None
