"""Keys of one's own files: what belongs together, and what each table is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from configurations import ROOT, experiment
from grrm.config import load_experiment, own_files, own_judge_files, own_test_sets, published_test_sets
from grrm.files import UserError
from grrm.preflight.downloads import needed_entries
from grrm.preflight.forecast import forecast_experiment, load_assumptions

PLAIN = {"source": "a.de", "target": "a.hsb", "from": "de", "to": "hsb"}
MINE = {"task": "translation", "file": "a.tsv"}


def load(**data: Any) -> dict[str, Any]:
    return load_experiment(ROOT, changes={"data": {"source": "files", **data}})


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.de", "a.hsb", "a.tsv", "b.tsv", "g.jsonl"):
        (tmp_path / name).write_text("x\nx\n")


def test_without_test_sets_none_of_the_published_is_read() -> None:
    assert load(files={"mt_sft": "a.tsv"})["data"]["test_sets"] == {}
    assert len(published_test_sets(experiment("paper"))) == 19
    sets = {"mine": MINE, "wmt23_zh_en": "published"}
    assert published_test_sets(load(files={"mt_sft": "a.tsv"}, test_sets=sets)) == ["wmt23_zh_en"]
    assert list(own_test_sets(load(files={"mt_sft": "a.tsv"}, test_sets=sets))) == ["mine"]


def test_a_table_that_is_not_given_is_made_of_the_other_of_its_task() -> None:
    made = own_files(load(files={"mt_grpo": PLAIN, "grrm_rlvr": "g.jsonl"}))
    assert {name: given.key for name, given in made.items()} == {
        "grrm_sft": "data.files.grrm_rlvr",
        "grrm_rlvr": "data.files.grrm_rlvr",
        "mt_sft": "data.files.mt_grpo",
        "mt_grpo": "data.files.mt_grpo",
    }
    assert list(own_files(load(files={"mt_sft": "a.tsv"}))) == ["mt_sft", "mt_grpo"]


def test_patterns_are_the_files_of_such_names_in_order() -> None:
    (given,) = {
        tuple(given.files) for given in own_files(load(files={"mt_sft": ["b.tsv", "?.tsv"]})).values()
    }
    assert given == ("b.tsv", "a.tsv", "b.tsv")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "data.files is missing"),
        ({"files": {"mt_sfd": "a.tsv"}}, "unknown key 'data.files.mt_sfd' (did you mean 'mt_sft'?)"),
        ({"files": {"mt_sft": []}}, "key 'data.files.mt_sft' is [], expected at least 1 of them"),
        ({"files": {"mt_sft": {"from": "de"}}}, "data.files.mt_sft has from, expected path, or source and"),
        ({"files": {"mt_sft": PLAIN | {"path": "a.tsv"}}}, "expected path, or source and target"),
        (
            {"files": {"mt_sft": {"source": "a.de", "target": "a.hsb"}}},
            "expected source, target, from and to",
        ),
        ({"files": {"mt_sft": {"path": "a.tsv", "target": "a.hsb"}}}, "expected source beside it"),
        ({"files": {"mt_sft": PLAIN | {"columns": {"src_text": "a"}}}}, "plain text has no columns"),
        (
            {"files": {"mt_sft": PLAIN | {"to": "hsbx!"}}},
            "data.files.mt_sft.to: unknown language code 'hsbx!'",
        ),
        ({"files": {"grrm_sft": PLAIN}}, "unknown key 'data.files.grrm_sft.source'"),
        (
            {"files": {"mt_sft": {"path": "a.tsv", "columns": {"source": "a"}}}},
            "key 'data.files.mt_sft.columns' is 'source', expected one of 'src_text'",
        ),
        (
            {"files": {"mt_sft": {"path": "a.tsv", "columns": {"src_text": ["a", "b"]}}}},
            "data.files.mt_sft.columns.src_text has 2 columns, expected one: it is no list",
        ),
        ({"source": "toy", "files": {"mt_sft": "a.tsv"}}, "data.files is set and data.source is 'toy'"),
        ({"source": "sample", "held_out": 0.2}, "data.held_out is set and data.source is 'sample'"),
        ({"source": "toy", "test_sets": {"mine": MINE}}, "has 'mine' and data.source is 'toy'"),
        (
            {"test_sets": {"my set": MINE}},
            "key 'data.test_sets' is 'my set', expected a name of letters, digits, dots",
        ),
        ({"test_sets": {"mine": "publishd"}}, "is 'publishd', expected the word published"),
        ({"test_sets": {"mine": {"file": "a.tsv"}}}, "key 'data.test_sets.mine': 'task' is missing"),
        (
            {"test_sets": {"mine": {"task": "translation"}}},
            "has task, expected file, or source for plain text",
        ),
        (
            {"test_sets": {"mine": {"task": "translation", "source": "a.de"}}},
            "expected a pair such as de-hsb",
        ),
        (
            {"test_sets": {"mine": {"task": "ranking", "source": "a.de", "pair": "de-hsb"}}},
            "data.test_sets.mine.source is set, expected file: plain text has no candidates",
        ),
        (
            {"test_sets": {"mine": MINE | {"pair": "german"}}},
            "data.test_sets.mine.pair: language pair 'german'",
        ),
        (
            {"held_out": 0.2, "test_sets": {"mine": MINE, "other": MINE | {"task": "ranking"}}},
            "data.held_out is 0.2 and data.test_sets has sets of both tasks",
        ),
        ({"held_out": 1.0}, "key 'data.held_out' is 1.0, expected a number below 1"),
    ],
)
def test_what_does_not_belong_together_is_one_line(data: dict[str, Any], says: str) -> None:
    files = {} if "files" in data or not data or data.get("source") else {"files": {"mt_sft": "a.tsv"}}
    with pytest.raises(UserError) as error:
        load(**{**files, **data})
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def judges_of(**data: Any) -> dict[str, Any]:
    changes = {"judges": {"data": {"source": "files", **data}}}
    return load_experiment(ROOT, [ROOT / "config/judges.yaml"], changes=changes)


def test_judges_are_trained_on_the_files_that_their_kind_names() -> None:
    config = judges_of(pointwise="?.tsv", pairwise=["g.jsonl", "a.tsv"])
    assert own_judge_files(config, "pointwise").files == ("a.tsv", "b.tsv")
    given = own_judge_files(config, "pairwise")
    assert (given.key, given.files) == ("judges.data.pairwise", ("g.jsonl", "a.tsv"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "key 'judges.data.sft' is null, expected a path, several or a pattern such as data/*.jsonl"),
        ({"sft": "c.jsonl"}, "key 'judges.data.sft': c.jsonl: no such file"),
        ({"sft": ["a.tsv", "c*"]}, "key 'judges.data.sft': c*: no file has such a name"),
        ({"sft": []}, "key 'judges.data.sft' is [], expected at least 1 of them"),
        ({"sft": {"path": "a.tsv"}}, "key 'judges.data.sft' is {'path': 'a.tsv'}, expected"),
        ({"source": "file"}, "key 'judges.data.source' is 'file', expected one of 'toy', 'hub', 'files'"),
    ],
)
def test_files_of_judges_that_are_not_there_are_one_line(data: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as error:
        own_judge_files(judges_of(**data), "sft")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_own_files_are_counted_for_the_forecast(tmp_path: Path) -> None:
    config = load(files={"mt_grpo": PLAIN, "grrm_sft": "g.jsonl"})
    (tmp_path / "g.jsonl").write_text("{}\n{}\n{}\n")
    assumptions = load_assumptions(ROOT / "config/forecast.yaml")
    for name in ("config", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    stages = {stage.name: stage for stage in forecast_experiment(config, tmp_path, assumptions)}
    assert {name: stage.rows.high for name, stage in stages.items()} == {
        "grrm_sft": 3,
        "grrm_rlvr": 3,
        "mt_sft": 2,
        "mt_grpo": 2,
    }
    assert stages["mt_sft"].source == "counted in a.de"


def test_of_published_data_only_named_test_sets_are_fetched() -> None:
    from grrm.data.datasets import load_datasets

    table = load_datasets(ROOT / "config/datasets.yaml", ROOT / "config/schemas/datasets.schema.yaml")
    sets = {"mine": MINE, "wmt23_zh_en": "published"}
    for given, expected in (({}, []), (sets, ["wmt23"])):
        config = load(files={"mt_sft": "a.tsv"}, test_sets=given)
        assert [entry.name for entry in needed_entries(config, table)] == expected
