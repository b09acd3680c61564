"""Prompts as the workflow plans them: files, one's own among them, or the authors'."""

from __future__ import annotations

import subprocess

import pytest

from planner import snakemake


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
