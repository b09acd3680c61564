"""Test sets with several references and with none: what can be told of each, and nothing else is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sacrebleu.metrics import BLEU, CHRF

import score_segments
import score_translations
from configurations import ROOT
from grrm.files import read_json, write_jsonl
from grrm.metrics.llm_judge import load_prompt
from grrm.metrics.segments import Given, Scored
from grrm.metrics.translation import score_translations as scores_of
from grrm.report.samples import collect_samples
from grrm.schemas import read_table, write_table

ORIGIN = {
    "model": "m",
    "weights": "w",
    "decoding": {"seed": 0},
    "failure": None,
}
FIRST = ["The house is green today.", "We will meet at the old bridge."]
SECOND = ["Today the house is green.", "Let us meet at the old bridge."]
SAID = [
    "Today the house is green.",
    "We will meet at the old bridge.",
    "Wo ist das Haus, das wir gestern nicht gefunden haben?",
    "Where is the house that we did not find yesterday?",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two segments with two references, two without; and translations of them."""
    rows: list[dict[str, Any]] = [
        {
            "src_text": f"Satz {number}",
            "trg_text": FIRST[number] if number < 2 else None,
            "src_lang": "de",
            "trg_lang": "en",
            "references": [FIRST[number], SECOND[number]] if number < 2 else None,
            "test_set": "known" if number < 2 else "open",
        }
        for number in range(4)
    ]
    write_table(tmp_path / "segments.parquet", rows, "translation_test")
    answers = [
        {"index": number, "src_text": f"Satz {number}", "raw": text, "translation": text, **ORIGIN}
        for number, text in enumerate(SAID)
    ]
    write_jsonl(tmp_path / "model.jsonl", answers)
    return tmp_path


def score(folder: Path, *more: str) -> dict[str, Any]:
    score_translations.main(
        [
            *("--reference", str(folder / "segments.parquet"), "--samples", "50"),
            *("--translations", f"model={folder / 'model.jsonl'}", "--output", str(folder / "s.json"), *more),
        ]
    )
    (system,) = read_json(folder / "s.json")["systems"]
    return dict(system)


def test_bleu_and_chrf_are_sacrebleus_over_all_references(folder: Path) -> None:
    metrics = score(folder)["by_set"]["known"]["metrics"]
    for name, metric in (("bleu", BLEU()), ("chrf++", CHRF(word_order=2))):
        assert metrics[name]["value"] == pytest.approx(metric.corpus_score(SAID[:2], [FIRST, SECOND]).score)
        assert "nrefs:2" in metrics[name]["signature"]
    assert metrics["bleu"]["value"] == pytest.approx(100)


def test_without_references_only_what_needs_none_is_told(folder: Path) -> None:
    system = score(folder)
    assert set(system["by_set"]["open"]["metrics"]) == {"format_rate", "off_target_rate"}
    assert system["by_set"]["open"]["metrics"]["off_target_rate"]["value"] == 0.5
    # A mean over the sets is over those with references, where a metric needs them.
    known = system["by_set"]["known"]["metrics"]
    assert set(system["metrics"]) == set(known) > {"bleu", "chrf++", "length_ratio", "format_rate"}
    assert system["metrics"]["bleu"] == known["bleu"]
    assert system["metrics"]["format_rate"]["n"] == 4
    assert known["format_rate"]["n"] == 2


def test_a_reference_that_is_missing_among_others_is_no_empty_one() -> None:
    from grrm.files import UserError

    with pytest.raises(UserError, match="segment 1: the reference is empty"):
        scores_of(["a", "b"], ["a", None], "en")


FUNCTION = """
def length(translations, references, sources):
    return [len(text) + (1000 if other is None else 0) for text, other in zip(translations, references)]
"""


@pytest.mark.parametrize("without", [False, True])
def test_metrics_of_segments_get_those_that_they_can_score(
    folder: Path, monkeypatch: pytest.MonkeyPatch, without: bool
) -> None:
    monkeypatch.chdir(folder)
    (folder / "mine.py").write_text(FUNCTION)
    score_segments.main(
        [
            *("--function", "mine.py:length", "--reference", "segments.parquet"),
            *(["--without-references"] if without else []),
            *("--translations", "model=model.jsonl", "--output", "length.json"),
        ]
    )
    rest = [1000.0 + len(text) for text in SAID[2:]] if without else [None, None]
    expected = [*(float(len(text)) for text in SAID[:2]), *rest]
    assert read_json("length.json")["systems"]["model"]["scores"] == [expected]
    system = score(folder, "--segment-scores", "length=length.json")
    assert ("length" in system["by_set"]["open"]["metrics"]) is without
    assert "length" in system["by_set"]["known"]["metrics"]


def test_where_no_segment_has_a_reference_such_a_metric_has_no_scores(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "mine.py").write_text(FUNCTION)
    rows = read_table("segments.parquet", "translation_test").to_pylist()
    bare = [row | {"trg_text": None, "references": None} for row in rows]
    write_table("segments.parquet", bare, "translation_test")
    score_segments.main(
        [
            *("--function", "mine.py:length", "--reference", "segments.parquet"),
            *("--translations", "model=model.jsonl", "--output", "length.json"),
        ]
    )
    assert json.loads(Path("length.json").read_text())["systems"]["model"]["scores"] == [[None] * 4]
    system = score(folder, "--segment-scores", "length=length.json")
    assert set(system["metrics"]) == {"format_rate", "off_target_rate"}


def test_scores_of_the_referenced_go_where_they_belong(folder: Path) -> None:
    given = Given(folder / "segments.parquet", [f"model={folder / 'model.jsonl'}"], needs_reference=True)
    assert [segment["ref"] for segment in given.segments] == FIRST
    given.every.write(folder / "x.json", Scored([1.0, 2.0], "S"))
    assert read_json(folder / "x.json")["systems"]["model"]["scores"] == [[1.0, 2.0, None, None]]
    with pytest.raises(ValueError, match="3 scores"):
        given.every.write(folder / "y.json", Scored([1.0, 2.0, 3.0], "S"))


def test_samples_without_a_reference_have_no_score_that_needs_one(folder: Path) -> None:
    segments = read_table(folder / "segments.parquet", "translation_test").to_pylist()
    answers = [{"translation": text, "raw": text} for text in SAID]
    rows = collect_samples(segments, {"before": answers, "after": answers}, [], {})
    by_row = {row["row"]: row for row in rows}
    assert (by_row[3]["ref"], by_row[3]["scores"], by_row[3]["change"]) == (
        None,
        {"chrf++": [None] * 2},
        None,
    )
    assert by_row[1]["scores"] == {"chrf++": [100.0, 100.0]}


@pytest.mark.parametrize(
    ("metric", "options", "does"),
    [
        ("comet", {}, False),
        ("bleurt", {}, False),
        ("xcomet", {}, False),
        ("cometkiwi", {}, True),
        ("llm_judge", {}, True),
        ("metricx", {"reference_free": True}, True),
        ("metricx", {"reference_free": False}, False),
    ],
)
def test_it_is_known_which_metrics_do_without_references(
    metric: str, options: dict[str, Any], does: bool
) -> None:
    assert score_segments._does_without(metric, options) is does


def test_the_llm_judge_is_asked_without_a_reference_where_there_is_none(folder: Path) -> None:
    render = load_prompt(ROOT / "config/prompts/judge_translation.yaml")
    segments = list(Given(folder / "segments.parquet", [f"model={folder / 'model.jsonl'}"]).segments)
    with_one, without = render(segments[0]), render(segments[3])
    assert FIRST[0] in with_one
    assert "None" not in without
    assert len(without) < len(with_one)
    assert SAID[3] in without
