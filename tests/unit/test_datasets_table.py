"""The committed table of data sets and models, and the checks it must pass."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from grrm.data.datasets import (
    Entry,
    Locked,
    LockedFile,
    entry_named,
    find_test_sets,
    find_training_files,
    is_current,
    is_inside,
    load_datasets,
    load_lock,
    locked_entry,
    with_models,
    write_lock,
)
from grrm.data.test_sets import language_pair
from grrm.files import UserError
from grrm.schemas import SCHEMAS

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "config/datasets.yaml"
SCHEMA = ROOT / "config/schemas/datasets.schema.yaml"
DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def entries() -> dict[str, Entry]:
    return load_datasets(TABLE, SCHEMA)


def test_what_the_documentation_names_of_the_authors_is_in_the_table(entries: dict[str, Entry]) -> None:
    text = "".join(page.read_text() for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    named = set(re.findall(r"(?<!collections/)double7/[\w.-]*\w", text))
    assert named and named <= {entry.hub for entry in entries.values()}


def test_the_table_has_everything_that_the_paper_reads(entries: dict[str, Entry]) -> None:
    assert {entry.hub for entry in entries.values() if entry.hub} >= {
        "double7/TowerBlocks-MT-Ranking",
        "double7/TowerBlocks-MT-CoT-ZhEn",
        "double7/TowerBlocks-MT",
        "double7/MT_Ranking_Metric_Test",
        "google/wmt24pp",
        "agentscope-ai/OpenJudge",
        "Qwen/Qwen2.5-7B",
        "Unbabel/wmt22-comet-da",
        "lucadiliello/BLEURT-20",
        "double7/Qwen2.5-7B-GRRM",
        "double7/Qwen2.5-7B-MT-GRRM-Optimized",
        "double7/Qwen2.5-7B-MT-GRRM-Optimized-CLA",
        "double7/Qwen2.5-7B-SQM-GenRM",
    }
    assert len(entries["mt_ranking_metric_test"].files) == 6
    stages = {stage for entry in entries.values() for stage in entry.settings["used_by"]}
    assert stages >= {
        "grrm_sft",
        "grrm_rlvr",
        "mt_sft",
        "mt_grpo",
        "evaluate_ranking",
        "evaluate_translation",
    }


def test_schemas_named_in_the_table_have_its_columns(entries: dict[str, Entry]) -> None:
    named = {name: entry.settings for name, entry in entries.items() if "schema" in entry.settings}
    assert named
    for name, settings in named.items():
        assert settings["columns"] == SCHEMAS[settings["schema"]].names, name


def test_wmt23_is_the_archive_that_sacrebleu_names(entries: dict[str, Entry]) -> None:
    from sacrebleu.dataset import DATASETS

    entry = entries["wmt23"]
    assert [entry.origin.format(file=file) for file in entry.files] == DATASETS["wmt23"].data
    pairs = {test.pair for test in find_test_sets(entries).values() if test.entry == "wmt23"}
    assert pairs and pairs <= set(DATASETS["wmt23"].langpairs)


def test_test_sets_are_those_of_the_paper(entries: dict[str, Entry]) -> None:
    tests = find_test_sets(entries)
    rankings = [name for name, test in tests.items() if test.format == "ranking"]
    assert len(rankings) == 7, "the held-out groups and six sets with human scores"
    assert {"wmt23_zh_en", "wmt24pp_en_zh", "seedx_zh_en", "seedx_en_zh"} <= tests.keys()
    for test in tests.values():
        assert test.pair is not None or test.format == "ranking", test.name
        if test.pair is not None:
            language_pair(test.pair)


def test_every_stage_has_one_table_to_train_on(entries: dict[str, Entry]) -> None:
    assert find_training_files(entries) == {
        "grrm_sft": ("towerblocks_mt_ranking", ("train.parquet",)),
        "grrm_rlvr": ("towerblocks_mt_ranking", ("train.parquet",)),
        "mt_sft": ("towerblocks_mt_cot_zhen", ("train.parquet",)),
        "mt_grpo": ("towerblocks_mt", ("data/train.parquet",)),
    }


def test_a_stage_that_two_data_sets_are_for_is_named(tmp_path: Path) -> None:
    twice = {name: entry_with(tmp_path, schema="pairs")["set"] for name in ("one", "two")}
    with pytest.raises(UserError, match="mt_grpo is trained on set and on set: choose one"):
        find_training_files(twice)


def test_a_download_is_current_as_long_as_the_lock_says_the_same(tmp_path: Path) -> None:
    record = tmp_path / "set.json"
    locked = Locked("owner/name", "main", "c0ffee", {"train.parquet": LockedFile(DIGEST, 12)})
    assert not is_current(record, locked)
    record.write_text(json.dumps({"name": "set", "licence": "MIT"} | asdict(locked)))
    assert is_current(record, locked)
    assert not is_current(record, None)
    assert not is_current(record, replace(locked, revision="decaf"))
    assert not is_current(record, replace(locked, files={"train.parquet": LockedFile(DIGEST, 13)}))
    record.write_text("{")
    assert not is_current(record, locked)


def test_a_wrong_test_set_is_named(tmp_path: Path) -> None:
    sets = {"one": {"files": ["test.parquet"]}}
    with pytest.raises(UserError, match=r"test set one: 'test\.parquet' is not among the files of set"):
        find_test_sets(entry_with(tmp_path, format="ranking", test_sets=sets))


def test_reading_the_table_imports_no_client(entries: dict[str, Entry]) -> None:
    code = (
        "import sys; from grrm.data.datasets import load_datasets; "
        f"load_datasets({str(TABLE)!r}, {str(SCHEMA)!r}); "
        "assert not {'huggingface_hub', 'pyarrow', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "scripts")})


def entry_with(tmp_path: Path, **changes: Any) -> dict[str, Entry]:
    item = {
        "description": "A set",
        "kind": "dataset",
        "source": {"hub": "owner/name", "revision": "main"},
        "files": {"train.parquet": None},
        "licence": "see the card",
        "used_by": ["mt_grpo"],
    }
    path = tmp_path / "datasets.yaml"
    path.write_text(yaml.safe_dump({"set": item | changes}))
    return load_datasets(path, SCHEMA)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "table"}, r"datasets\.yaml: .*'set\.kind' is 'table', expected one of 'dataset', 'model'"),
        ({"license": "MIT"}, r"unknown key 'set\.license' \(did you mean 'licence'\?\)"),
        ({"used_by": ["grpo"]}, r"'set\.used_by\.0' is 'grpo', expected one of 'grrm_sft'"),
        (
            {"files": {"train.parquet": "ABC"}},
            r"'set\.files\.train\.parquet' is 'ABC', expected text of the form",
        ),
        ({"files": {"../train.parquet": None}}, r"set\.files"),
        ({"source": {"revision": "main"}}, r"set\.source: expected either hub or url, found \['revision'\]"),
        ({"files": {"*.parquet": DIGEST}}, r"is a pattern, it has no one SHA-256"),
        (
            {"source": {"url": "https://localhost/{file}", "revision": "1"}, "files": {"*.json": None}},
            r"an address needs plain paths",
        ),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        entry_with(tmp_path, **changes)


def test_the_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    locked = Locked("owner/name", "main", "c0ffee", {"data/表.parquet": LockedFile(DIGEST, 12)})
    path = tmp_path / "lock.yaml"
    assert load_lock(path) == {}
    write_lock(path, {"set": locked})
    assert load_lock(path) == {"set": locked}
    assert path.read_text(encoding="utf-8").startswith("# Written by scripts/lock_data.py")


@pytest.mark.parametrize(
    ("file", "value", "message"),
    [
        ("../x", {"sha256": DIGEST, "size": 1}, "does not stay inside"),
        ("/etc/x", {"sha256": DIGEST, "size": 1}, "does not stay inside"),
        ("x", {"sha256": "ab", "size": 1}, "sha256 is 'ab', expected 64 hexadecimal digits"),
        ("x", {"sha256": DIGEST, "size": "1"}, "size is '1', expected a number of bytes"),
        ("x", {"sha256": DIGEST}, "not an entry of a lock"),
    ],
)
def test_a_damaged_lock_is_refused(tmp_path: Path, file: str, value: dict[str, Any], message: str) -> None:
    path = tmp_path / "lock.yaml"
    entry = {"origin": "owner/name", "requested": "main", "revision": "c0ffee", "files": {file: value}}
    path.write_text(yaml.safe_dump({"set": entry}))
    with pytest.raises(UserError, match=rf"lock\.yaml, key set.*{message}"):
        load_lock(path)


def test_a_lock_that_does_not_fit_the_table_is_refused(tmp_path: Path) -> None:
    locked = {"set": Locked("owner/name", "main", "c0ffee", {"train.parquet": LockedFile(DIGEST, 12)})}

    def refused(**changes: Any) -> str:
        with pytest.raises(UserError) as caught:
            locked_entry(entry_with(tmp_path, **changes)["set"], locked, "lock.yaml")
        return str(caught.value)

    assert locked_entry(entry_with(tmp_path)["set"], locked, "lock.yaml") is locked["set"]
    assert "with source 'owner/name', the table now says 'owner/other'" in refused(
        source={"hub": "owner/other", "revision": "main"}
    )
    assert "test.parquet of set is not locked" in refused(files={"test.parquet": None})
    assert f"is locked with SHA-256 {DIGEST}, the table expects {'0' * 64}" in refused(
        files={"train.parquet": "0" * 64}
    )


def test_paths_that_stay_inside() -> None:
    assert is_inside("data/train.parquet")
    assert not any(is_inside(path) for path in ["", "/x", "../x", "a/../../x"])


# ---------------------------------------------------------------- models in no table


def test_a_model_in_no_table_has_an_entry_that_its_name_gives_back(entries: dict[str, Entry]) -> None:
    found = with_models(entries, ["Qwen/Qwen3-32B", "Qwen/Qwen3-8B", str(ROOT / "tests"), "../elsewhere"])
    (name,) = found.keys() - entries.keys()
    assert found[name] == entry_named(entries, name)
    assert (found[name].hub, found[name].revision, found[name].kind) == ("Qwen/Qwen3-32B", "main", "model")


def test_a_mistyped_folder_is_no_hub_id(entries: dict[str, Entry], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for reference in ("results/x", "config/nothing", "./x", "a/b/c", "/x"):
        assert with_models(entries, [reference]) == entries
    assert len(with_models(entries, ["owner/x", "gpt2"])) == len(entries) + 2


def test_a_name_of_neither_is_an_error(entries: dict[str, Entry]) -> None:
    for name in ("qwen9", "models--", "models--../x"):
        with pytest.raises(UserError, match="no data set or model is named"):
            entry_named(entries, name)
