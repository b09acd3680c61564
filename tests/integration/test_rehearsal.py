"""The demonstration rehearsed: what cannot start is a row, the others go on, and it alone is done again."""

from __future__ import annotations

import re
import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from grrm.files import read_json, read_yaml, write_json
from workspace import Workspace

pytestmark = pytest.mark.full
# One after the other: on a busy machine two would wait for one another's Ray.
COMMAND = ("rehearse", "--cores", "1", "--configfile", "config/rehearsal.yaml")
STAGES = ["grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo"]
MINUTES = 7
"""Of two cores."""


@dataclass
class Rehearsed:
    """A demonstration that was rehearsed twice: with a policy that has no room for its lengths, and without.

    Attributes:
        workspace: its checkout.
        code: exit status of the first time.
        failed: the page of the first time.
        page: the page of the second time.
        again: what Snakemake printed the second time.
        minutes: of processor time, both times together; the clock's depend on what else the machine does.
    """

    workspace: Workspace
    code: int
    failed: str
    page: str
    again: str
    minutes: float

    @property
    def results(self) -> Path:
        return self.workspace.folder / "results/demo"

    def outcome(self, stage: str) -> Any:
        return read_json(self.results / "rehearsal" / stage / "outcome.json")


def used() -> float:
    """Seconds of all processors that ended processes of this test have used."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def short(workspace: Workspace) -> Path:
    """A model like the demonstration's, but for its context."""
    base = "results/demo/models/mt_base"
    assert workspace.run("--cores", "1", "--", base) == 0, workspace.log[-4000:]
    folder = workspace.folder / "short"
    shutil.copytree(workspace.folder / base, folder)
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"max_position_embeddings": 64})
    return folder


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsed]:
    workspace = Workspace(tmp_path_factory.mktemp("rehearsed"))
    page, began = workspace.folder / "results/demo/rehearsal.md", used()
    code = workspace.run(*COMMAND, "--config", f"mt_grpo={{start_from: {short(workspace)}}}", timeout=2400)
    failed = page.read_text(encoding="utf-8") if page.is_file() else workspace.log[-4000:]
    before = len(workspace.log)
    assert workspace.run(*COMMAND, timeout=2400) == 0, workspace.log[-4000:]
    minutes = (used() - began) / 60
    text = page.read_text(encoding="utf-8")
    yield Rehearsed(workspace, code, failed, text, workspace.log[before:], minutes)


def row(page: str, stage: str) -> list[str]:
    """The cells of a training's first row."""
    line = next(line for line in page.splitlines() if line.startswith(f"| {stage} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_training_that_cannot_start_is_a_row_and_the_others_go_on(rehearsed: Rehearsed) -> None:
    assert rehearsed.code != 0
    # Of three: with a model to start from there is no SFT before it.
    assert "1 of 3 did not come through: mt_grpo." in rehearsed.failed
    assert "has a context of 64 tokens" in row(rehearsed.failed, "mt_grpo")[2]
    for stage in ("grrm_sft", "grrm_rlvr"):
        assert row(rehearsed.failed, stage)[2].startswith("2 steps in ")


def test_the_next_command_rehearses_what_is_missing_alone(rehearsed: Rehearsed) -> None:
    done = re.findall(r"^(?:Job \d+: )?Rehearsing (\w+)", rehearsed.again, re.M)
    assert set(done) == {"mt_sft", "mt_grpo"}


def test_the_page_answers_for_every_training(rehearsed: Rehearsed) -> None:
    assert "All of it starts and fits." in rehearsed.page and "Nothing: all of it fits." in rehearsed.page
    for stage in STAGES:
        _, start, result, step, gpu, host, same, judge, checkpoint = row(rehearsed.page, stage)
        assert start.startswith("base: ") and result.startswith("2 steps in ") and step.endswith(" s")
        assert gpu == "" and re.fullmatch(r"\d+\.\d of \d+\.\d GB \(\d+%\)", host)
        assert re.fullmatch(r"\d+\.\d MB", checkpoint)
        is_policy = stage in ("grrm_rlvr", "mt_grpo")
        assert same.startswith("yes (differs by ") if is_policy else same == ""
        assert judge == ("not tested (from a base model)" if stage == "mt_grpo" else "")
    steps = read_yaml(rehearsed.results / "config.yaml")["grrm_sft"]["max_steps"]
    assert f"| grrm_sft | {steps:,} | - | " in rehearsed.page
    assert "Longest path at longest: grrm_sft" in rehearsed.page
    assert rehearsed.page in rehearsed.again.replace("\r", "")


def test_the_second_step_is_of_the_longest_lengths(rehearsed: Rehearsed) -> None:
    config = read_yaml(rehearsed.results / "config.yaml")
    for stage in ("grrm_rlvr", "mt_grpo"):
        prompt, answer = (config[stage][f"max_{part}_length"] for part in ("prompt", "response"))
        last = rehearsed.outcome(stage)["steps"][-1]
        assert last["response_length/min"] == answer and prompt - 4 <= last["prompt_length/mean"] <= prompt
    for stage in ("grrm_sft", "mt_sft"):
        longest = config[stage]["cutoff_len"]
        assert longest - 4 <= rehearsed.outcome(stage)["tokens"] <= longest


def test_nothing_of_the_experiment_is_touched_and_little_stays(rehearsed: Rehearsed) -> None:
    models = {path.name for path in (rehearsed.results / "models").iterdir()}
    assert models == {"grrm_base", "mt_base", "mt_sft"}
    assert "taken" in read_json(rehearsed.results / "models/mt_sft/training.json")  # and nothing trained
    assert not (rehearsed.results / "checkpoints").exists()
    left = {path.name for path in (rehearsed.results / "rehearsal/mt_grpo").iterdir()}
    assert left <= {"config.yaml", "outcome.json", "curve.jsonl", "tokens.json", "times.jsonl"}
    assert not rehearsed.workspace.processes()


def test_it_takes_few_minutes(rehearsed: Rehearsed) -> None:
    print(f"{rehearsed.minutes:.1f} minutes of processor time")
    assert 1 < rehearsed.minutes < 2 * MINUTES
