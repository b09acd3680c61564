"""Own files in the plan: they are inputs, what is missing is said before anything runs, a change is seen."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from planner import ROOT, snakemake
from workspace import lay_out

PAIRS = "src_text\ttrg_text\n" + "".join(
    f"{word} ist das {number}. Wort\t{word} ({number}) is a word\n"
    for number, word in enumerate(("Baum", "Haus", "Weg", "Tisch", "Brot", "Wald", "Berg", "Fluss", "Moor"))
)
GROUPS = "".join(
    f'{{"src_text": "Gruppe {n}", "mt_texts": ["one {n}", "no {n}"], "scores": [9, {n}], "analysis": "A."}}\n'
    for n in range(8)
)
EXAMPLE = ("config/smoke.yaml", "config/example_files.yaml")


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    """A folder with the workflow and two files of a user's own, one of which has an odd name."""
    lay_out(tmp_path, copied=["config"])
    (tmp_path / "my pairs'.tsv").write_text(PAIRS)
    (tmp_path / "groups.jsonl").write_text(GROUPS)
    for model in ("judge", "base"):
        (tmp_path / model).mkdir()
        (tmp_path / model / "config.json").write_text("{}")
    return tmp_path


PAIR_FILE = {"path": "my pairs'.tsv", "from": "de", "to": "en"}
GROUP_FILE = {"path": "groups.jsonl", "from": "de", "to": "en"}
JUDGE = {
    "evaluate": {"start_from": {"grrm_rlvr": "judge"}},
    "mt_sft": {"start_from": "base"},
}


def plan(
    folder: Path, *targets: str, files: tuple[str, ...] = (), **mine: Any
) -> subprocess.CompletedProcess[str]:
    overlays = list(files)
    if mine:
        data = {"source": "files"} | mine.pop("data")
        (folder / "mine.yaml").write_text(yaml.safe_dump({"experiment": "mine", "data": data, **mine}))
        overlays = ["config/smoke.yaml", "mine.yaml"]
    options = ("--cores", "2", "--dry-run", "--printshellcmds", *targets)
    return snakemake(*options, "--configfile", *overlays, cwd=folder)


def rules(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout.partition("Job stats:")[2]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0, done.stdout
    return done.stdout + done.stderr


def test_the_example_reads_its_files_and_tests_on_its_own_sets() -> None:
    planned = rules(plan(ROOT, "--forceall", files=EXAMPLE))
    assert (planned["read_files"], planned["read_test_set"], planned["collect_test_sets"]) == (4, 3, 2)
    assert not {"hold_out", "download_dataset", "make_sample_data"} & planned.keys()


def test_without_test_sets_they_are_held_out_and_paths_are_quoted(workflow: Path) -> None:
    done = plan(workflow, data={"files": {"mt_grpo": PAIR_FILE, "grrm_rlvr": GROUP_FILE}})
    planned = rules(done)
    assert (planned["read_files"], planned["hold_out"], planned["check_leakage"]) == (4, 1, 1)
    assert "--tasks ranking translation --share 0.1" in done.stdout
    assert "--input 'my pairs'\"'\"'.tsv'" in done.stdout
    done = plan(workflow, data={"files": {"mt_grpo": PAIR_FILE, "grrm_rlvr": GROUP_FILE}, "held_out": 0.25})
    assert "--share 0.25" in done.stdout


def test_one_task_is_held_out_where_the_other_has_a_test_set(workflow: Path) -> None:
    mine = {"mine": {"task": "translation", "file": "my pairs'.tsv", "pair": "de-en"}}
    files = {"mt_grpo": PAIR_FILE, "grrm_rlvr": GROUP_FILE}
    done = plan(workflow, data={"files": files, "test_sets": mine})
    planned = rules(done)
    assert (planned["hold_out"], planned["read_test_set"], planned["collect_test_sets"]) == (1, 1, 1)
    assert "--tasks ranking --share" in done.stdout


def test_translations_are_trained_with_a_finished_judge_and_without_rankings(workflow: Path) -> None:
    given = {"data": {"files": {"mt_grpo": PAIR_FILE}}, **JUDGE}
    planned = rules(plan(workflow, "mt_grpo", **given))
    assert {"train_mt_sft", "train_mt_grpo", "take_model", "hold_out"} <= planned.keys()
    assert not {"train_grrm_sft", "train_grrm_rlvr", "make_base_models"} & planned.keys()
    said = refused(plan(workflow, "report", **given))
    assert "the evaluation needs rankings: give data.files.grrm_sft or data.files.grrm_rlvr" in said
    graded = {"graded": {"task": "ranking", "file": "groups.jsonl", "pair": "de-en"}}
    given["data"] |= {"test_sets": graded}
    assert {"rank_candidates", "render_report"} <= rules(plan(workflow, **given)).keys()


@pytest.mark.parametrize(
    ("target", "files", "says"),
    [
        (
            "mt_grpo",
            {"mt_sft": PAIR_FILE},
            "the training of grrm_sft needs rankings: give data.files.grrm_sft",
        ),
        ("grrm_rlvr", {"mt_sft": PAIR_FILE}, "needs rankings"),
        (
            "mt_sft",
            {"grrm_sft": GROUP_FILE},
            "needs sentence pairs: give data.files.mt_sft or data.files.mt_grpo",
        ),
        ("data", {"mt_sft": "my*.csv"}, "key 'data.files.mt_sft': my*.csv: no file has such a name"),
        (
            "data",
            {"mt_sft": ["my pairs'.tsv", "more.tsv"]},
            "key 'data.files.mt_sft': more.tsv: no such file",
        ),
        ("data", {"grrm_sft": {"path": "config"}}, "config is a folder, expected files such as config/*.tsv"),
    ],
)
def test_what_is_missing_is_said_before_anything_runs(
    workflow: Path, target: str, files: dict[str, Any], says: str
) -> None:
    assert says in refused(plan(workflow, target, data={"files": files}))


def test_own_test_sets_stand_beside_published_ones(workflow: Path) -> None:
    mine = {"task": "translation", "file": "my pairs'.tsv", "pair": "de-en"}
    sets = {"mine": mine, "wmt24pp_en_de": "published", "held_out": "published"}
    files = {"mt_grpo": PAIR_FILE, "grrm_rlvr": GROUP_FILE}
    planned = rules(plan(workflow, "data", data={"files": files, "test_sets": sets}))
    assert (planned["convert_test_set"], planned["read_test_set"], planned["collect_test_sets"]) == (2, 1, 2)
    assert planned["download_dataset"] == 2
    (workflow / "hub.yaml").write_text(yaml.safe_dump({"data": {"test_sets": sets}}))
    planned = rules(plan(workflow, "data", files=("config/paper.yaml", "hub.yaml")))
    assert (planned["check_table"], planned["convert_test_set"], planned["read_test_set"]) == (4, 2, 1)


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        ({"wmt99": "published"}, "key 'data.test_sets' names 'wmt99'; config/datasets.yaml has held_out"),
        (
            {"wmt24pp_en_de": {"task": "translation", "file": "my pairs'.tsv"}},
            "key 'data.test_sets.wmt24pp_en_de': a test set of config/datasets.yaml has this name",
        ),
        (
            {"mine": {"task": "translation", "file": "none.tsv"}},
            "key 'data.test_sets.mine': none.tsv: no such file",
        ),
    ],
)
def test_wrong_test_sets_are_refused(workflow: Path, sets: dict[str, Any], says: str) -> None:
    assert says in refused(plan(workflow, "data", data={"files": {"mt_grpo": PAIR_FILE}, "test_sets": sets}))


def test_a_changed_file_is_read_again_and_no_other(workflow: Path) -> None:
    graded = {"graded": {"task": "ranking", "file": "groups.jsonl", "pair": "de-en"}}
    mine = {"mine": {"task": "translation", "file": "my pairs'.tsv", "pair": "de-en"}}
    data = {
        "files": {"mt_grpo": PAIR_FILE, "grrm_rlvr": GROUP_FILE},
        "test_sets": graded | mine,
        "max_leakage": 1.0,
    }
    target: Callable[..., str] = "results/mine/data/{}.parquet".format
    tables = [target(name) for name in ("mt_grpo", "grrm_rlvr", "ranking_test", "translation_test")]
    assert rules(plan(workflow, *tables, data=data))["read_files"] == 2
    overlays = ("--configfile", "config/smoke.yaml", "mine.yaml")
    done = snakemake("--cores", "2", *tables, *overlays, cwd=workflow)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = pq.read_table(workflow / target("translation_test")).to_pylist()
    assert [row["test_set"] for row in rows] == ["mine"] * 9
    assert "Nothing to be done" in plan(workflow, *tables, data=data).stdout
    with (workflow / "groups.jsonl").open("a") as changed:
        changed.write(GROUPS.splitlines()[0].replace("Gruppe 0", "Gruppe 9") + "\n")
    planned = rules(plan(workflow, *tables, data=data))
    assert planned == {"collect_test_sets": 1, "read_files": 1, "read_test_set": 1, "total": 3}
