"""Ranking data made by a scripted teacher with faults: killed, out of budget, without its server."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from grrm.config import load_experiment
from grrm.files import read_json, read_jsonl
from grrm.schemas import read_table, write_table
from judge_server import Act
from scripted_teacher import Teacher
from serving import serving
from training_environment import environment, training_python

ROOT = Path(__file__).parents[2]
AT_ONCE = 4
WORDS = [
    *(
        "the",
        "quick",
        "brown",
        "fox",
        "jumps",
        "over",
        "a",
        "lazy",
        "dog",
        "while",
        "seven",
        "small",
        "birds",
    ),
    *(
        "sing",
        "in",
        "old",
        "trees",
        "near",
        "water",
        "and",
        "nobody",
        "knows",
        "why",
        "it",
        "is",
        "so",
        "late",
    ),
]


def references(count: int) -> dict[str, str]:
    rng = random.Random(1)
    return {
        f"Quelle {i} {' '.join(rng.sample(WORDS, 6))}": " ".join(rng.sample(WORDS, 9)) for i in range(count)
    }


class Programs:
    """The three programs on one table of pairs, asking one server."""

    def __init__(self, folder: Path, known: dict[str, str]) -> None:
        self.folder = folder
        pairs = [
            {"src_text": source, "trg_text": target, "src_lang": "de", "trg_lang": "en"}
            for source, target in known.items()
        ]
        write_table(folder / "pairs.parquet", pairs, "pairs")

    def settings(self, url: str, **changes: Any) -> dict[str, Any]:
        model = {"url": url, "max_concurrency": AT_ONCE, "timeout": 20}
        teacher = {
            **model,
            "model": "teacher",
            "candidates": {
                "models": [
                    {**model, "name": "first", "model": "one"},
                    {**model, "name": "second", "model": "two"},
                ],
                "degraded": [
                    {"how": "dropped", "rate": 0.5},
                    {"how": "untranslated", "of": "first", "rate": 0.5},
                ],
            },
            "translations": {},
            **changes,
        }
        return load_experiment(ROOT, [], {"teacher": teacher})["teacher"]

    def command(self, program: str, settings: dict[str, Any], python: str = sys.executable) -> list[str]:
        folder = self.folder
        given: dict[str, dict[str, Any]] = {
            "propose_candidates": {
                "pairs": folder / "pairs.parquet",
                "output": folder / "candidates.parquet",
                "counts": folder / "candidates.json",
                "settings": json.dumps(settings["candidates"]),
            },
            "annotate_rankings": {
                "input": folder / "candidates.parquet",
                "prompt": ROOT / "config/prompts/ranking.yaml",
                "output": folder / "rankings.parquet",
                "groups": folder / "groups.jsonl",
                "quality": folder / "rankings.json",
                "settings": json.dumps(settings),
            },
            "annotate_translations": {
                "pairs": folder / "pairs.parquet",
                "prompt": ROOT / "config/prompts/translation.yaml",
                "output": folder / "translations.parquet",
                "answers": folder / "translations.jsonl",
                "quality": folder / "translations.json",
                "settings": json.dumps(settings),
            },
        }
        options = [word for name, value in given[program].items() for word in (f"--{name}", str(value))]
        return [
            python,
            str(ROOT / f"scripts/{program}.py"),
            *options,
            *("--journal", str(folder / "journal")),
        ]

    def run(self, program: str, settings: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        command = self.command(program, settings)
        return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)

    def killed(self, program: str, settings: dict[str, Any], moment: Callable[[], bool]) -> None:
        """Start a program, and kill it at a moment."""
        with subprocess.Popen(
            self.command(program, settings), stdout=subprocess.DEVNULL, cwd=ROOT
        ) as process:
            while not moment():
                assert process.poll() is None, "it has ended before"
                time.sleep(0.005)
            os.kill(process.pid, signal.SIGKILL)


PROGRAMS = ["propose_candidates", "annotate_rankings", "annotate_translations"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the programs make when nothing happens to them."""
    known = references(40)
    programs = Programs(tmp_path_factory.mktemp("undisturbed"), known)
    with serving(Teacher(known, faults=True)) as server:
        for program in PROGRAMS:
            done = programs.run(program, programs.settings(server.url))
            assert done.returncode == 0, done.stderr
    return programs.folder


def texts(folder: Path, table: str, schema: str) -> list[dict[str, Any]]:
    """Rows without where they were made."""
    return [
        {name: value for name, value in row.items() if name != "provenance"}
        for row in read_table(folder / table, schema).to_pylist()
    ]


def test_killed_at_three_moments_nothing_is_asked_again(tmp_path: Path, undisturbed: Path) -> None:
    known = references(40)
    programs = Programs(tmp_path, known)
    teacher = Teacher(known, faults=True, latency=0.02)
    with serving(teacher) as server:
        settings = programs.settings(server.url)
        for program, after in zip(PROGRAMS, (30, 25, 20), strict=True):
            before = len(server.calls)
            programs.killed(program, settings, lambda: len(server.calls) >= before + after)  # noqa: B023
            done = programs.run(program, settings)
            assert done.returncode == 0, done.stderr
            # Only what was under way when it was killed is asked again.
            twice = sum(count - 1 for count in teacher.answered.values())
            assert twice <= AT_ONCE * (PROGRAMS.index(program) + 1)
        finished = len(server.calls)
        for program in PROGRAMS:
            done = programs.run(program, settings)
            assert done.returncode == 0, done.stderr
        assert len(server.calls) == finished
        assert server.busiest <= AT_ONCE
    for table, schema in (("candidates", "candidates"), ("rankings", "ranking"), ("translations", "cot")):
        assert texts(tmp_path, f"{table}.parquet", schema) == texts(undisturbed, f"{table}.parquet", schema)


def test_what_is_dropped_is_counted_by_reason(undisturbed: Path) -> None:
    known = references(40)
    teacher = Teacher(known, faults=True)
    found = read_json(undisturbed / "rankings.json")
    groups = read_jsonl(undisturbed / "groups.jsonl")
    assert found["total"] == len(groups) == 40
    assert found["dropped"]["refused"] == len(teacher.sources_refused) > 0
    assert 0 < found["dropped"]["disagreement"] <= len(teacher.sources_biased)
    assert found["kept"] + sum(found["dropped"].values()) == 40
    kept = read_table(undisturbed / "rankings.parquet", "ranking").to_pylist()
    assert len(kept) == found["kept"]
    assert not {row["src_text"] for row in kept} & teacher.sources_refused
    # Damaged copies are known to be worse, and the teacher says so.
    means = {name: system["mean"] for name, system in found["systems"].items()}
    assert max(means, key=lambda name: means[name]) == "reference"
    assert means["first"] > means["reference-dropped"]
    for row in kept:
        made_by = json.loads(row["provenance"])
        assert (
            made_by["teacher"]["model"] == "teacher" and made_by["teacher"]["decoding"]["temperature"] == 0.4
        )
    translated = read_json(undisturbed / "translations.json")
    # One of the references, which are words drawn by chance, is taken for another language.
    assert translated["dropped"] == {"no_translation": 10, "language": 1}


def test_a_budget_is_kept_through_kills_and_ends_with_what_is_there(tmp_path: Path) -> None:
    known = references(30)
    programs = Programs(tmp_path, known)
    teacher = Teacher(known, latency=0.02)
    with serving(teacher) as server:
        unlimited = programs.settings(server.url)
        assert programs.run("propose_candidates", unlimited).returncode == 0
        settings = programs.settings(server.url, budget={"calls": 40})
        before = len(server.calls)
        programs.killed("annotate_rankings", settings, lambda: len(server.calls) >= before + 15)
        done = programs.run("annotate_rankings", settings)
        assert done.returncode == 0, done.stderr
        assert "the budget is spent" in done.stdout
        # A call is charged before it is sent: one that the kill caught in between never came here.
        assert 40 - AT_ONCE <= len(server.calls) - before <= 40
        found = read_json(tmp_path / "rankings.json")
        assert found["ended_by_budget"] and 0 < found["kept"] < 30 and found["spent"]["calls"] == 40
        assert found["kept"] == read_table(tmp_path / "rankings.parquet", "ranking").num_rows
        # With a larger one the rest is asked about, and nothing twice but what the kill lost.
        assert programs.run("annotate_rankings", unlimited).returncode == 0
        assert read_json(tmp_path / "rankings.json")["kept"] == 30
        assert sum(count - 1 for count in teacher.answered.values()) <= AT_ONCE


def test_a_server_that_dies_in_the_middle_stops_it_and_it_goes_on(tmp_path: Path) -> None:
    known = references(12)
    programs = Programs(tmp_path, known)
    teacher = Teacher(known, latency=0.01)
    with serving(teacher) as server:
        settings = programs.settings(server.url, call_retries=0)
        port = int(server.url.rsplit(":", 1)[1].split("/")[0])
        assert programs.run("propose_candidates", settings).returncode == 0

    def dying(call: Any) -> Any:
        if len(second.calls) > 8:
            assert second._server is not None
            second._server.close()  # no new connections
            for writer in list(second._writers):
                writer.transport.abort()
        return teacher(call)

    with serving(dying, port) as second:
        done = programs.run("annotate_rankings", settings)
        assert done.returncode == 2
        said = r"teacher: \d+ of 12 were not answered \(\d+ .*\), more than max_failure_share"
        assert re.search(said, done.stderr), done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "rankings.parquet").exists()
    with serving(teacher, port):
        assert programs.run("annotate_rankings", settings).returncode == 0
    assert read_json(tmp_path / "rankings.json")["kept"] == 12
    assert sum(count - 1 for count in teacher.answered.values()) <= AT_ONCE + 1


# ---------------------------------------------------------------- models of this machine

MAKE = (
    "import sys; from pathlib import Path; from tiny_model import save_tiny_model as s; s(Path(sys.argv[1]))"
)


def test_models_of_this_machine_are_asked_and_go_on_where_they_were_killed(tmp_path: Path) -> None:
    known = references(10)
    programs = Programs(tmp_path, known)
    variables = {**environment(), "PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT / 'tests'}"}
    python = str(training_python())
    model = str(tmp_path / "model")
    subprocess.run([python, "-c", MAKE, model], check=True, env=variables, cwd=ROOT)
    prompt = tmp_path / "prompt.yaml"
    prompt.write_text("kind: plain\nprompt: '{source_language} {target_language} {source}'\n")
    # A random model's answers never end, so each of them is cut: no candidate, counted by its reason.
    here = {"name": "random", "model": model, "max_tokens": 4, "batch_size": 2, "retries": 0}
    changes = {"models": [{**here, "prompt": str(prompt)}], "degraded": [{"how": "dropped", "rate": 1}]}
    settings = programs.settings("http://127.0.0.1:9/v1", candidates=changes)
    command = programs.command("propose_candidates", settings, python)
    journal = tmp_path / "journal" / "system_random.sqlite"

    def answered() -> int:
        if not journal.exists():
            return 0
        with closing(sqlite3.connect(journal)) as table:
            try:
                return int(table.execute("SELECT count(*) FROM replies").fetchone()[0])
            except sqlite3.OperationalError:  # it is being made
                return 0

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT, env=variables) as process:
        while not answered():
            assert process.poll() is None
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    before = answered()
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=variables, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 0 < before <= answered() == 10
    counts = read_json(tmp_path / "candidates.json")
    assert (
        counts["systems"]["random"]["missing"].get("unfinished", 0)
        + counts["systems"]["random"]["candidates"]
        == 10
    )
    assert counts["systems"]["reference-dropped"]["candidates"] == 10 == counts["groups"]
    # All of it was there: no model is loaded for longer than to say what it is.
    again = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=variables, timeout=300)
    assert again.returncode == 0 and answered() == 10


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>Please sign in</html>", "6 of 6 were not answered (6 "),
        (b'{"error": {"message": "overloaded"}}', "6 of 6 were not answered (6 "),
        (b'{"choices": []}', "6 of 6 were not answered (6 "),
        (b'{"choices": [{"message": {"content": "A"}, "finish_reason": "length"}]}', "(6 unfinished)"),
    ],
)
def test_a_server_that_gives_no_answers_is_not_a_teacher_that_drops_groups(
    tmp_path: Path, body: bytes, words: str
) -> None:
    known = references(6)
    programs = Programs(tmp_path, known)
    rows = [
        {
            "src_text": source,
            "trg_text": target,
            "src_lang": "de",
            "trg_lang": "en",
            "mt_texts": [target, f"{target} not"],
            "systems": ["reference", "other"],
        }
        for source, target in known.items()
    ]
    write_table(tmp_path / "candidates.parquet", rows, "candidates")
    with serving(lambda call: Act(raw=body)) as server:
        settings = programs.settings(server.url, call_retries=1, retries=1)
        done = programs.run("annotate_rankings", settings)
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]
    assert not (tmp_path / "rankings.parquet").exists()
