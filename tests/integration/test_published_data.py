"""Published data in the workflow: from a local server to checked tables and prepared rows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from grrm.data.toy_world import make_tables
from grrm.schemas import write_table
from hub_server import HubServer, serve
from workspace import lay_out

ROOT = Path(__file__).parents[2]
ROWS = {
    "grrm_sft": 40,
    "grrm_rlvr": 1,
    "mt_sft": 20,
    "mt_grpo": 30,
    "ranking_test": 20,
    "translation_test": 10,
}
TABLES = make_tables(5, ROWS)
PREPARED = [
    f"results/published/prepared/{name}"
    for name in ("grrm_sft.jsonl", "grrm_rlvr.parquet", "mt_sft.jsonl", "mt_grpo.parquet")
]


class Checkout:
    """The workflow in a folder of its own, with a small table of data sets."""

    def __init__(self, folder: Path, hub: HubServer) -> None:
        self.folder, self.hub = folder, hub
        lay_out(folder, copied=["config"])
        (folder / "config/datasets.lock.yaml").unlink(missing_ok=True)
        (folder / "config/datasets.yaml").write_text(yaml.safe_dump(datasets()))
        settings = {"source": "hub", "downloads": "downloads", "test_sets": ["held_out", "news"]}
        (folder / "mine.yaml").write_text(
            yaml.safe_dump({"experiment": "published", "data": settings | {"max_leakage": 0.0}})
        )

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "snakemake", *arguments, "--cores", "2", "--configfile", "mine.yaml"]
        env = os.environ | {
            "HF_ENDPOINT": self.hub.endpoint,
            "HF_HOME": str(self.folder / "hf"),
            "NO_PROXY": "*",
        }
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)

    def run(self, *targets: str) -> None:
        done = self.snakemake(*targets)
        logs = "\n".join(path.read_text() for path in (self.folder / "results").rglob("*.log"))
        assert done.returncode == 0, done.stdout + done.stderr + logs

    def plan(self, *arguments: str) -> str:
        done = self.snakemake("--dry-run", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def rows(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = pq.read_table(self.folder / "results/published" / path).to_pylist()
        return found


def planned_rules(output: str) -> set[str]:
    return set(re.findall(r"^(\w+) +\d+$", output, re.M)) - {"total"}


def datasets() -> dict[str, Any]:
    def entry(name: str, files: list[str], **more: Any) -> dict[str, Any]:
        return {
            "description": name,
            "kind": "dataset",
            "source": {"hub": f"owner/{name}", "revision": "main"},
            "files": dict.fromkeys(files),
            "licence": "none",
            **more,
        }

    return {
        "rankings": entry(
            "rankings",
            ["train.parquet", "test.parquet"],
            schema="ranking",
            format="ranking",
            test_sets={"held_out": {"files": ["test.parquet"]}},
            used_by=["grrm_sft", "grrm_rlvr", "evaluate_ranking"],
        ),
        "cot": entry("cot", ["train.parquet"], schema="cot", used_by=["mt_sft"]),
        "pairs": entry("pairs", ["train.parquet"], schema="pairs", used_by=["mt_grpo"]),
        "news": entry(
            "news",
            ["news.jsonl"],
            format="wmt24pp",
            test_sets={"news": {"files": ["news.jsonl"], "pair": "xx-yy"}},
            used_by=["evaluate_translation"],
        ),
        "extra": entry("extra", ["train.parquet"], optional=True, used_by=["judge_training"]),
    }


def parquet(folder: Path, rows: list[dict[str, Any]], schema: str) -> bytes:
    path = folder / "table.parquet"
    write_table(path, rows, schema)
    return path.read_bytes()


def news() -> bytes:
    lines = [
        {
            "lp": "xx-yy",
            "domain": "news",
            "is_bad_source": number == 0,
            "source": row["src_text"],
            "target": row["trg_text"],
        }
        for number, row in enumerate(TABLES["translation_test"])
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    with serve() as server:
        groups = parquet(tmp_path, TABLES["grrm_sft"], "grrm_sft")
        held_out = parquet(tmp_path, TABLES["ranking_test"], "ranking_test")
        rankings = {"train.parquet": groups, "test.parquet": held_out}
        server.repository("datasets/owner/rankings").commit(rankings)
        for name, stage in (("cot", "mt_sft"), ("pairs", "mt_grpo")):
            table = parquet(tmp_path, TABLES[stage], stage)
            server.repository(f"datasets/owner/{name}").commit({"train.parquet": table})
        server.repository("datasets/owner/news").commit({"news.jsonl": news()})
        yield server


@pytest.fixture
def checkout(tmp_path: Path, hub: HubServer) -> Checkout:
    folder = tmp_path / "checkout"
    folder.mkdir()
    return Checkout(folder, hub)


def test_published_data_become_checked_tables_and_prepared_rows(checkout: Checkout) -> None:
    checkout.run("data", *PREPARED)
    for stage, source in (("grrm_sft", "grrm_sft"), ("grrm_rlvr", "grrm_sft"), ("mt_grpo", "mt_grpo")):
        assert checkout.rows(f"data/{stage}.parquet") == TABLES[source]
    ranking = checkout.rows("data/ranking_test.parquet")
    assert [row.pop("test_set") for row in ranking] == ["held_out"] * ROWS["ranking_test"]
    assert [row["src_text"] for row in ranking] == [row["src_text"] for row in TABLES["ranking_test"]]
    translation = checkout.rows("data/translation_test.parquet")
    assert [row["src_text"] for row in translation] == [
        row["src_text"] for row in TABLES["translation_test"][1:]
    ], "the row with a bad source is left out"
    assert len(checkout.rows("prepared/mt_grpo.parquet")) == ROWS["mt_grpo"]
    found = json.loads((checkout.folder / "results/published/data/leakage.json").read_text())
    assert found["passed"]
    assert {test["test"] for test in found["tests"]} == {"held_out", "news"}
    locked = yaml.safe_load((checkout.folder / "config/datasets.lock.yaml").read_text())
    assert set(locked) == {"rankings", "cot", "pairs", "news"}

    assert "Nothing to be done" in checkout.plan("data", *PREPARED)
    # Rows are not prepared anew when leakage is looked for again.
    planned = checkout.plan(*PREPARED, "results/published/data/leakage.json", "--forcerun", "check_leakage")
    assert planned_rules(planned) == {"check_leakage"}
    # What is locked later does not concern what is there.
    time.sleep(1.1)
    lock = checkout.folder / "config/datasets.lock.yaml"
    lock.write_text(lock.read_text() + yaml.safe_dump({"extra": locked["news"]}))
    assert "Nothing to be done" in checkout.plan("data", *PREPARED)
    # Another byte of a data set does.
    locked["pairs"]["files"]["train.parquet"]["sha256"] = "0" * 64
    lock.write_text(yaml.safe_dump(locked))
    planned = checkout.plan(*PREPARED)
    assert "Downloading pairs" in planned and "prepare_mt_grpo" in planned_rules(planned)
    assert "Downloading cot" not in planned and "prepare_mt_sft" not in planned_rules(planned)


def test_nothing_is_prepared_from_data_that_are_tested_on(checkout: Checkout, tmp_path: Path) -> None:
    leaked = TABLES["translation_test"][3]
    pair = {name: leaked[name] for name in ("src_text", "trg_text", "src_lang", "trg_lang")}
    table = parquet(tmp_path, [*TABLES["mt_grpo"], pair], "mt_grpo")
    checkout.hub.repository("datasets/owner/pairs").commit({"train.parquet": table})
    done = checkout.snakemake(*PREPARED)
    assert done.returncode != 0
    log = (checkout.folder / "results/published/logs/check_leakage.log").read_text()
    assert "news: 1 of 9 rows" in log and leaked["src_text"] in log
    assert not (checkout.folder / "results/published/prepared").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["held_out", "newz"], "'data.test_sets' names 'newz'; config/datasets.yaml has news, held_out"),
        (["held_out"], "has no test set of kind translation"),
    ],
)
def test_wrong_test_sets_stop_before_anything_runs(
    checkout: Checkout, names: list[str], message: str
) -> None:
    done = checkout.snakemake("--dry-run", "--config", f"data={{'test_sets': {names}}}")
    assert done.returncode != 0
    assert message in done.stdout + done.stderr


def test_own_files_and_test_sets_stand_beside_published_ones(checkout: Checkout) -> None:
    def lines(name: str, rows: list[dict[str, Any]]) -> str:
        (checkout.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return name

    known = {"task": "translation", "file": lines("leaked.jsonl", TABLES["mt_grpo"][:2])}
    mine = {"task": "translation", "file": lines("mine.jsonl", TABLES["translation_test"][:1])}
    data: dict[str, Any] = {
        "source": "files",
        "downloads": "downloads",
        "max_leakage": 0.0,
        "files": {
            "grrm_sft": lines("groups.jsonl", TABLES["grrm_sft"]),
            "mt_grpo": lines("pairs.jsonl", TABLES["mt_grpo"]),
        },
        "test_sets": {"held_out": "published", "news": "published", "mine": mine, "known": known},
    }
    settings = {"experiment": "published", "data": data}
    (checkout.folder / "mine.yaml").write_text(yaml.safe_dump(settings))
    done = checkout.snakemake("data")
    assert done.returncode != 0
    assert "known: 2 of 2 rows (100.00%, at most 0.00%)" in done.stdout + done.stderr
    del data["test_sets"]["known"]
    (checkout.folder / "mine.yaml").write_text(yaml.safe_dump(settings))
    checkout.run("data")
    sets = [row["test_set"] for row in checkout.rows("data/translation_test.parquet")]
    assert sorted(sets) == ["mine", *["news"] * 9]
    assert {row["test_set"] for row in checkout.rows("data/ranking_test.parquet")} == {"held_out"}
    assert checkout.rows("data/mt_grpo.parquet") == TABLES["mt_grpo"]
    # What is not read is not asked for: a mirror need not have it.
    locked = yaml.safe_load((checkout.folder / "config/datasets.lock.yaml").read_text())
    assert set(locked) == {"rankings", "news"}
