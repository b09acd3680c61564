"""The catalogue of metrics: every entry leads somewhere, and one entry is all that a new metric takes."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sacrebleu.metrics import TER
from test_compare import compare, make_experiment

import report_example
import score_segments
import score_translations
from grrm import catalogue
from grrm.catalogue.metrics import ENTRIES, METRICS, NAMES, Metric, known_metrics, metrics_of
from grrm.config import load_experiment, load_schema, taken_models
from grrm.files import read_json, read_yaml, write_jsonl
from grrm.metrics.ranking_accuracy import JudgedGroup, score_order_sensitivity, score_rankings
from grrm.metrics.segments import Scored
from grrm.metrics.translation import sacrebleu
from grrm.preflight.rules import planned_rules
from report_example import ROOT, SHA

LANGUAGES = {"src_lang": "xx", "trg_lang": "yy"}
SEGMENTS = [{"src_text": f"s{i}", "trg_text": "ba du gi fo", **LANGUAGES} for i in range(4)]
# Words that are wrong, of four in each segment.
WRONG = {"before": 2, "after": 1}


def ter(corpus):
    """As somebody would write it who adds it."""
    return sacrebleu(corpus, TER(), "TER")


@pytest.fixture
def with_ter(monkeypatch):
    entry = Metric("ter", "TER (lower is better)", "lower", score=f"{__name__}:ter")
    monkeypatch.setitem(METRICS, "ter", entry)


@pytest.mark.parametrize("name", [name for entry in ENTRIES for name in (entry.score, entry.train) if name])
def test_every_name_leads_to_a_function(name):
    assert callable(catalogue.resolve(name))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_key_of_an_entry_is_one_of_the_configuration(entry):
    settings = entry.settings(load_experiment(ROOT))
    keys = {*entry.parts, *entry.required, *entry.options, *entry.files}
    keys |= {"start_from"} if entry.checkpoint else set()
    keys |= {"steps"} if entry.train else set()
    assert keys <= set(settings)
    assert set(entry.files) <= set(entry.options)
    assert bool(entry.score) == (entry.task == "translation")


def test_rankings_have_the_metrics_of_the_catalogue():
    groups = [JudgedGroup([1.0, 2.0], [1.0, 2.0], [0, 1]), JudgedGroup([1.0, 2.0], [2.0, 1.0], [1, 0])]
    turned = [JudgedGroup([1.0, 2.0], [1.0, 2.0], [1, 0]), JudgedGroup([1.0, 2.0], [2.0, 1.0], [0, 1])]
    found = {*score_rankings(groups), *score_order_sensitivity([groups, turned]), "ranking_accuracy_orders"}
    assert found == {entry.name for entry in ENTRIES if entry.task == "ranking"}


def test_the_schema_names_what_scores_segments():
    schema = load_schema(ROOT / "config/schemas/config.schema.yaml")
    items = schema["properties"]["evaluate"]["properties"]["metrics"]["items"]
    assert items["then"] == {"enum": [entry.name for entry in ENTRIES if entry.level == "segment"]}


def test_the_documentation_names_every_metric():
    page = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    assert [entry.name for entry in ENTRIES if f"`{entry.name}`" not in page] == []
    needs = dict(re.findall(r"^\| `(\w+)` \| .* \| (yes|no|or not) \| [^|]* \|$", page, re.M))
    assert {name: needs[name] != "no" for name in NAMES} == {
        name: METRICS[name].needs_reference for name in NAMES
    }


def test_a_sign_says_which_way_is_better():
    signs = {name: METRICS[name].sign for name in ("comet", "metricx", "length_ratio", "off_target_rate")}
    assert signs == {"comet": 1, "metricx": -1, "length_ratio": 0, "off_target_rate": -1}


def test_own_metrics_come_after_all_others():
    item = {"name": "ter", "function": "m.py:ter", "better": "lower"}
    config = {"evaluate": {"metrics": ["metricx", item]}}
    assert [metric.name for metric in metrics_of(config)] == ["metricx", "ter"]
    assert list(known_metrics(config)) == [*METRICS, "ter"]
    own = known_metrics(config)["ter"]
    assert (own.label, own.short, own.sign, own.environment) == ("ter (lower is better)", "ter", -1, "driver")
    assert "ter" not in METRICS
    # Of an experiment that an older version made; and of none.
    assert known_metrics({"evaluate": {"metrics": ["gone"]}}, {}) == METRICS


# ---------------------------------------------------------------- one entry is all


def answer(wrong: int) -> str:
    return " ".join([*["no"] * wrong, *["ba", "du", "gi", "fo"][wrong:]])


def make_translated(folder: Path) -> Path:
    """A finished experiment, with the answers of its translation models."""
    report_example.make_experiment(folder)
    pq.write_table(pa.Table.from_pylist(SEGMENTS), folder / "segments.parquet")
    for name, wrong in WRONG.items():
        rows = [
            {
                "index": i,
                "src_text": row["src_text"],
                "raw": "…",
                "translation": answer(wrong),
                "failure": None,
                "model": f"models/{name}",
                "weights": SHA,
                "decoding": {"max_new_tokens": 9, "temperature": 0.0, "seed": 3},
            }
            for i, row in enumerate(SEGMENTS)
        ]
        write_jsonl(folder / f"{name}.jsonl", rows)
    return folder


def score(folder: Path, *more: str) -> Any:
    """What score_translations says about these answers."""
    score_translations.main(
        [
            *("--reference", str(folder / "segments.parquet"), "--samples", "100"),
            *("--translations", *(f"{name}={folder / name}.jsonl" for name in WRONG)),
            *("--output", str(folder / "translation.json"), *more),
        ]
    )
    return read_json(folder / "translation.json")


def test_a_metric_is_scored_shown_and_compared_by_its_entry_alone(with_ter, tmp_path):
    systems = score(make_translated(tmp_path / "e"))["systems"]
    assert [system["metrics"]["ter"]["value"] for system in systems] == [50.0, 25.0]
    assert systems[0]["metrics"]["ter"]["signature"].startswith("TER|nrefs:1")
    summary = report_example.run_summarize(tmp_path / "e")
    row = "| TER (lower is better) | 50.0 [50.0, 50.0] | 25.0 [25.0, 25.0] | -25.0 [-25.0, -25.0] | 4 |"
    assert row in (tmp_path / "e/summary.md").read_text(encoding="utf-8")
    assert {record["system"] for record in summary["scores"] if record["metric"] == "ter"} == set(WRONG)
    write_jsonl(tmp_path / "e/samples.jsonl", [])
    page = report_example.run_render_page(tmp_path / "e", metric="").read_text(encoding="utf-8")
    assert "TER (lower is better)" in page


def test_two_experiments_are_compared_by_a_new_entry(with_ter, tmp_path, capsys):
    make_experiment(tmp_path / "first", 20, 20)
    make_experiment(tmp_path / "second", 20, 40)
    compare(tmp_path, "first", "second")
    assert re.search(r"^TER \(lower is better\) .* -\d+\.\d \[", capsys.readouterr().out, re.M)


def wer(given):
    """As somebody would write it whose metric scores segments."""
    assert given.options == {"steps": 7}
    return Scored([float(segment["mt"] != segment["ref"]) for segment in given.segments], "WER|…")


def test_a_metric_of_segments_is_configured_planned_and_scored_by_its_entry_alone(tmp_path, monkeypatch):
    entry = Metric(
        *("wer", "WER", "lower"),
        level="segment",
        score=f"{__name__}:wer",
        section=("comet",),
        options=("steps",),
    )
    monkeypatch.setitem(METRICS, "wer", entry)
    monkeypatch.setattr("grrm.catalogue.metrics.NAMES", (*NAMES, "wer"))
    config = load_experiment(ROOT, changes={"evaluate": {"metrics": ["wer"]}})
    assert metrics_of(config) == [entry]
    assert "wer" not in taken_models(config)
    rules = planned_rules(config, read_yaml(ROOT / "config/resources.yaml"))
    assert {"score_segments_in_driver"} == {"score_segments", "score_segments_in_driver"} & set(rules)
    folder = make_translated(tmp_path / "e")
    output = folder / "wer.json"
    score_segments.main(
        [
            *("--metric", "wer", "--settings", '{"steps": 7}'),
            *("--reference", str(folder / "segments.parquet"), "--output", str(output)),
            *("--translations", *(f"{name}={folder / name}.jsonl" for name in WRONG)),
        ]
    )
    document = score(folder, "--segment-scores", f"wer={output}")
    assert [system["metrics"]["wer"]["value"] for system in document["systems"]] == [1.0, 1.0]
    report_example.run_summarize(folder)
    assert "| WER | 1.0 [1.0, 1.0] |" in (folder / "summary.md").read_text(encoding="utf-8")


def test_without_its_entry_it_is_not_there(tmp_path):
    assert "ter" not in score(make_translated(tmp_path / "e"))["systems"][0]["metrics"]
