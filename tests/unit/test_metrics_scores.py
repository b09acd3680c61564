"""From answers and a test set to scores: score_rankings and score_translations."""

import json

import pytest

import score_rankings
import score_translations
from grrm.files import UserError, read_json, sha256, write_json, write_jsonl
from grrm.metrics.scores import parse_named_files
from grrm.schemas import write_table

GROUPS = [
    {
        "src_text": f"s{i}",
        "src_lang": "xx",
        "trg_lang": "yy",
        "mt_texts": ["a", "b"],
        "scores": [float(i), 3.0],
    }
    for i in range(8)
]
SEGMENTS = [
    {"src_text": f"s{i}", "trg_text": f"ba du gi fo {i}", "src_lang": "xx", "trg_lang": "yy", "comment": None}
    for i in range(8)
]
ORIGIN = {
    "model": "models/m",
    "weights": "0" * 64,
    "decoding": {"max_new_tokens": 9, "temperature": 0.0, "seed": 0},
}


@pytest.fixture
def folder(tmp_path):
    """Test sets, and answers of a model that is half right and of one that is right."""
    write_table(tmp_path / "ranking_test.parquet", GROUPS, "ranking_test")
    write_table(tmp_path / "translation_test.parquet", SEGMENTS, "translation_test")
    write_jsonl(tmp_path / "before.jsonl", rankings(lambda i, row: None if i % 2 else row["scores"]))
    write_jsonl(tmp_path / "after.jsonl", rankings(lambda i, row: row["scores"]))
    write_jsonl(tmp_path / "sft.jsonl", translations(lambda i, row: None if i % 2 else row["trg_text"]))
    write_jsonl(tmp_path / "grpo.jsonl", translations(lambda i, row: row["trg_text"]))
    return tmp_path


def rankings(scores):
    return [
        {
            "index": i,
            "src_text": row["src_text"],
            "answer": "…",
            "scores": scores(i, row),
            "failure": "header" if scores(i, row) is None else None,
            "detail": None,
            "candidate_order": [0, 1],
            **ORIGIN,
        }
        for i, row in enumerate(GROUPS)
    ]


def translations(text):
    return [
        {
            "index": i,
            "src_text": row["src_text"],
            "raw": "…",
            "translation": text(i, row),
            "failure": "no_translation" if text(i, row) is None else None,
            **ORIGIN,
        }
        for i, row in enumerate(SEGMENTS)
    ]


def run_rankings(folder, *names):
    named = [f"{name}={folder / name}.jsonl" for name in names]
    reference, output = str(folder / "ranking_test.parquet"), str(folder / "ranking.json")
    score_rankings.main(
        [
            "--reference",
            reference,
            "--rankings",
            *named,
            "--samples",
            "100",
            "--seed",
            "5",
            "--output",
            output,
        ]
    )
    return read_json(output)


def run_translations(folder, *names, comet=None):
    named = [f"{name}={folder / name}.jsonl" for name in names]
    reference, output = str(folder / "translation_test.parquet"), str(folder / "translation.json")
    more = ["--comet", str(comet)] if comet else []
    score_translations.main(
        ["--reference", reference, "--translations", *named, "--samples", "100", "--output", output, *more]
    )
    return read_json(output)


def test_rankings_before_and_after(folder):
    document = run_rankings(folder, "before", "after")
    before, after = document["systems"]
    assert [
        before["metrics"]["ranking_accuracy"]["value"],
        after["metrics"]["ranking_accuracy"]["value"],
    ] == [0.5, 1]
    assert before["failures"] == {"count": 4, "rate": 0.5, "reasons": {"header": 4}}
    assert after["failures"] == {"count": 0, "rate": 0, "reasons": {}}
    (difference,) = document["differences"]
    gain = difference["metrics"]["ranking_accuracy"]
    assert (difference["baseline"], difference["system"], gain["value"]) == ("before", "after", 0.5)
    assert 0 < gain["low"] < 0.5 < gain["high"] <= 1


def test_every_document_names_data_seed_and_model(folder):
    document = run_rankings(folder, "before")
    assert document["data"]["sha256"] == sha256(folder / "ranking_test.parquet")
    assert document["bootstrap"] == {"samples": 100, "seed": 5, "level": 0.95}
    assert {key: document["systems"][0][key] for key in ORIGIN} == ORIGIN


def test_positions_are_named_by_their_label(folder):
    document = run_rankings(folder, "after")
    assert [
        (entry["candidates"], entry["position"], entry["n"], entry["value"])
        for entry in document["systems"][0]["best_found_by_position"]
    ] == [(2, "A", 4, 1), (2, "B", 3, 1)]


def test_translations_before_and_after(folder):
    document = run_translations(folder, "sft", "grpo")
    sft, grpo = document["systems"]
    assert (sft["metrics"]["format_rate"]["value"], sft["failures"]["rate"]) == (0.5, 0.5)
    assert grpo["metrics"]["bleu"]["value"] == pytest.approx(100)
    assert "tok:none" in grpo["metrics"]["bleu"]["signature"]
    assert "directions" not in grpo
    assert document["differences"][0]["metrics"]["bleu"]["low"] > 0


def test_directions_are_scored_apart_and_averaged(folder):
    mixed = [{**row, "trg_lang": "yy" if i < 4 else "zh"} for i, row in enumerate(SEGMENTS)]
    write_table(folder / "translation_test.parquet", mixed, "translation_test")
    write_jsonl(folder / "half.jsonl", translations(lambda i, row: row["trg_text"] if i < 4 else "no"))
    (system,) = run_translations(folder, "half")["systems"]
    assert set(system["directions"]) == {"xx-yy", "xx-zh"}
    apart = [direction["bleu"]["value"] for direction in system["directions"].values()]
    assert system["metrics"]["bleu"]["value"] == pytest.approx(sum(apart) / 2)
    assert "tok:none" in system["metrics"]["bleu"]["signature"]
    assert "tok:zh" in system["metrics"]["bleu"]["signature"]


def test_comet_scores_are_taken_along(folder):
    comet = {
        "signature": "COMET|…",
        "systems": {"sft": {"scores": [0.5] * 8}, "grpo": {"scores": [0.75] * 8}},
    }
    write_json(folder / "comet.json", comet)
    document = run_translations(folder, "sft", "grpo", comet=folder / "comet.json")
    assert [system["metrics"]["comet"]["value"] for system in document["systems"]] == [0.5, 0.75]
    assert document["differences"][0]["metrics"]["comet"]["value"] == 0.25


@pytest.mark.parametrize(
    ("systems", "message"),
    [({"sft": {"scores": [0.5] * 7}}, "7 COMET scores of 'sft' for 8"), ({}, "no COMET scores of 'sft'")],
)
def test_comet_scores_of_something_else_are_refused(folder, systems, message):
    write_json(folder / "comet.json", {"signature": "…", "systems": systems})
    with pytest.raises(UserError, match=message):
        run_translations(folder, "sft", comet=folder / "comet.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], r"7 answers for 8 rows of .*ranking_test\.parquet"),
        (lambda rows: [rows[1], rows[0], *rows[2:]], "line 1: not an answer to row 0"),
        (lambda rows: [{**rows[0], "src_text": "other"}, *rows[1:]], r"line 1: .*'s0'"),
        (lambda rows: [*rows[:-1], {**rows[-1], "model": "another"}], "line 8: model, weights or decoding"),
        (lambda rows: [*rows[:-1], {**rows[-1], "scores": [1]}], "1 scores for 2 candidates"),
        (
            lambda rows: [{k: v for k, v in row.items() if k != "candidate_order"} for row in rows],
            "candidate_order",
        ),
    ],
)
def test_answers_that_do_not_fit_the_test_set_are_refused(folder, change, message):
    write_jsonl(folder / "broken.jsonl", change(rankings(lambda i, row: row["scores"])))
    with pytest.raises(UserError, match=r"broken\.jsonl.*" + message):
        run_rankings(folder, "broken")
    assert not (folder / "ranking.json").exists()


def test_a_damaged_line_is_named(folder):
    lines = (folder / "before.jsonl").read_text().splitlines()
    (folder / "before.jsonl").write_text("\n".join([lines[0], lines[1][:-5], *lines[2:]]))
    with pytest.raises(UserError, match=r"before\.jsonl, line 2: not valid JSON"):
        run_rankings(folder, "before")


@pytest.mark.parametrize("argument", ["name", "=file", "name="])
def test_named_files_need_name_and_file(argument):
    with pytest.raises(UserError, match=f"--rankings {argument}: expected NAME=FILE"):
        parse_named_files([argument], "--rankings")


def test_a_name_given_twice_is_refused():
    with pytest.raises(UserError, match="'x' is given twice"):
        parse_named_files(["x=a", "x=b"], "--rankings")


def test_scores_are_plain_json_numbers(folder):
    run_translations(folder, "sft", "grpo")
    json.loads((folder / "translation.json").read_text(), parse_constant=pytest.fail)
