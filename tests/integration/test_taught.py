"""From sentence pairs alone to a report: a scripted teacher with faults ranks; it is killed on the way."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from grrm.files import read_json, read_jsonl
from grrm.schemas import read_table
from judge_server import JudgeServer
from scripted_teacher import Teacher
from serving import serving
from workspace import ROOT, Workspace, wait_for

# Four minutes: test_annotation.py has the programs that make the data, test_chain.py the same stages.
pytestmark = pytest.mark.full
PAIRS = "config/example/pairs.tsv"
AT_ONCE = 4
KILLED_AFTER = (15, 55)
"""Calls."""


@dataclass
class Taught:
    """An experiment that a teacher's data has gone through.

    Attributes:
        folder: of its results.
        teacher: that was asked.
        calls: that came in all.
    """

    folder: Path
    teacher: Teacher
    calls: int


def configuration(server: JudgeServer) -> dict[str, Any]:
    model = {"url": server.url, "max_concurrency": AT_ONCE, "timeout": 30}
    return {
        "experiment": "taught",
        "data": {"source": "files", "files": {"mt_grpo": PAIRS}, "held_out": 0.2},
        "teacher": {
            **model,
            "model": "teacher",
            "candidates": {
                "models": [
                    {**model, "name": "first", "model": "one"},
                    {**model, "name": "second", "model": "two"},
                ],
                "degraded": [{"how": "dropped", "rate": 0.5}],
            },
            "translations": {"length": [0, 9]},
        },
        "evaluate": {"orders": 0, "checkpoints": [], "metrics": []},
    }


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taught]:
    workspace = Workspace(tmp_path_factory.mktemp("taught"))
    with (ROOT / PAIRS).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    teacher = Teacher({row["src_text"]: row["trg_text"] for row in rows}, faults=True, latency=0.1)
    with serving(teacher) as server:
        (workspace.folder / "taught.yaml").write_text(json.dumps(configuration(server)))
        command = ("--configfile", "config/smoke.yaml", "taught.yaml")
        for calls in KILLED_AFTER:
            process = workspace.start(*command)
            wait_for(lambda: len(server.calls) >= calls, 300, f"{calls} calls")  # noqa: B023
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            wait_for(lambda: not workspace.processes(), 60, "the end of all processes")
        code = workspace.run(*command, timeout=3000)
        assert code == 0, workspace.log[-4000:]
        yield Taught(workspace.folder / "results/taught", teacher, len(server.calls))


def test_nothing_that_was_answered_is_asked_again(taught: Taught) -> None:
    # Whoever asks has a limit of its own to what is under way, and can lose that at every kill: two systems
    # for candidates, the teacher for rankings, and for translations at the same time.
    again: Counter[tuple[str, str]] = Counter()
    for body, count in taught.teacher.answered.items():
        request = json.loads(body)
        prompt = request["messages"][0]["content"]
        task = "ranking" if "Final Ranking" in prompt else "translation"
        again[request["model"], task] += count - 1
    assert set(again) == {("one", "translation"), ("two", "translation")} | {
        ("teacher", task) for task in ("ranking", "translation")
    }
    assert max(again.values()) <= len(KILLED_AFTER) * AT_ONCE
    spent = sum(
        read_json(taught.folder / f"annotation/{name}.json")["spent"]["calls"]
        for name in ("rankings", "translations")
    )
    assert 0 < spent < taught.calls


def test_the_teachers_groups_train_the_reward_model_and_test_it(taught: Taught) -> None:
    made = read_table(taught.folder / "annotation/rankings.parquet", "ranking").to_pylist()
    assert 10 <= len(made) <= 20
    assert not {row["src_text"] for row in made} & taught.teacher.sources_refused
    train = read_table(taught.folder / "data/grrm_sft.parquet", "grrm_sft").to_pylist()
    test = read_table(taught.folder / "data/ranking_test.parquet", "ranking_test").to_pylist()
    assert train and test and len(train) + len(test) == len(made)
    analyses = {row["analysis"] for row in made}
    messages = read_jsonl(taught.folder / "prepared/grrm_sft.jsonl")
    assert len(messages) == len(train)
    assert all(any(analysis in row["messages"][-1]["content"] for analysis in analyses) for row in messages)
    translations = read_table(taught.folder / "data/mt_sft.parquet", "mt_sft").to_pylist()
    assert translations and all("Nothing is hard here." in row["response"] for row in translations)


def test_all_stages_end_in_a_report_with_the_page_about_the_data(taught: Taught) -> None:
    models = {path.name for path in (taught.folder / "models").iterdir()}
    assert {"grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo"} <= models
    assert (taught.folder / "summary.md").exists() and (taught.folder / "report/index.html").exists()
    page = (taught.folder / "report/annotation.html").read_text(encoding="utf-8")
    assert "taught: data made by a teacher" in page and "dropped: refused" in page
    pinned = read_json(taught.folder / "provenance/provenance.json")["files"]
    assert "results/taught/annotation/rankings.parquet" in pinned
