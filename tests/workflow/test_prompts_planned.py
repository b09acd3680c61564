"""Prompts as the workflow plans them: files, one's own among them, or the authors'."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from planner import ROOT, snakemake
from workspace import lay_out


def dry_run(prompts: str, section: str = "prompts") -> subprocess.CompletedProcess[str]:
    options = ("--cores", "2", "--dry-run", "--forceall", "--printshellcmds")
    return snakemake(*options, "--config", f"{section}={prompts}")


def test_the_authors_prompts_are_fetched_and_used() -> None:
    done = dry_run("{'ranking': 'upstream', 'translation': 'upstream', 'checkout': 'some/where'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "scripts/fetch_upstream.py --upstream config/upstream.yaml --checkout some/where" in done.stdout
    for use in (
        "prepare_grrm_sft.py --input results/demo/data/grrm_sft.parquet "
        "--prompt results/demo/prompts/ranking.yaml",
        "prepare_mt_sft.py --input results/demo/data/mt_sft.parquet "
        "--prompt results/demo/prompts/translation.yaml",
        "--ranking-prompt results/demo/prompts/ranking.yaml",
    ):
        assert use in done.stdout
    assert "toy_ranking" not in done.stdout


def test_nothing_is_fetched_for_prompts_of_files() -> None:
    done = dry_run("{'ranking': 'config/prompts/ranking.yaml'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fetch_upstream" not in done.stdout


@pytest.mark.parametrize(
    ("section", "prompts", "words"),
    [
        ("prompts", "{'ranking': 'config/prompts/sqm.yaml'}", ["sqm.yaml: kind is 'sqm'", "'ranking_score'"]),
        ("prompts", "{'translation': 'no/such.yaml'}", ["no/such.yaml: no such prompt file"]),
        ("mt_grpo", "{'reward': {'prompt': 'config/prompts/sqm.yaml'}}", ["sqm.yaml: kind is 'sqm'"]),
    ],
)
def test_a_prompt_that_will_not_do_stops_before_anything_runs(
    section: str, prompts: str, words: list[str]
) -> None:
    done = dry_run(prompts, section)
    assert done.returncode != 0
    for word in words:
        assert word in done.stdout + done.stderr


def test_tables_keep_the_columns_that_prompts_name(tmp_path: Path) -> None:
    """Of published data, down to the test sets; which have to be tables that may have them."""
    config = yaml.safe_load((ROOT / "config/datasets.yaml").read_text(encoding="utf-8"))
    prompt = yaml.safe_load((ROOT / "config/prompts/translation.yaml").read_text(encoding="utf-8"))
    styled = tmp_path / "styled.yaml"
    styled.write_text(yaml.safe_dump(prompt | {"prompt": prompt["prompt"] + "\n{style}"}))
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump({"prompts": {"translation": str(styled)}}))
    files = ("config/paper.yaml", str(overlay))
    done = planned(ROOT, *files)
    assert done.returncode != 0
    words = "a prompt names further columns of the translation test rows, but no test set"
    assert words in done.stdout + done.stderr
    assert "(format: translation in config/datasets.yaml)" in done.stdout + done.stderr

    lay_out(tmp_path, copied=["config"])
    entry = {
        "description": "ours",
        "kind": "dataset",
        "source": {"hub": "me/ours", "revision": "main"},
        "files": {"test.parquet": None},
        "licence": "ours",
        "format": "translation",
        "test_sets": {"ours": {"files": ["test.parquet"]}},
        "used_by": ["evaluate_translation"],
    }
    (tmp_path / "config/datasets.yaml").write_text(yaml.safe_dump(config | {"ours": entry}))
    more = {"data": {"test_sets": ["held_out", "ours"]}}
    overlay.write_text(yaml.safe_dump({"prompts": {"translation": str(styled)}, **more}))
    done = planned(tmp_path, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    commands = [line for line in done.stdout.splitlines() if "--further" in line]
    kept = {match[1] for line in commands if (match := re.search(r"--schema (\w+)", line))}
    assert len(commands) == len(kept)
    assert kept == {"mt_sft", "mt_grpo", "translation_test"}


def planned(folder: Path, *files: str) -> subprocess.CompletedProcess[str]:
    options = ("--cores", "2", "--dry-run", "--forceall", "--printshellcmds", "--configfile")
    return snakemake(*options, *files, cwd=folder)
