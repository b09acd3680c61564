"""From answers and a test set to scores: score_rankings and score_translations."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import score_rankings
import score_translations
from grrm.files import UserError, read_json, sha256, write_json, write_jsonl
from grrm.metrics import bleurt, comet, metricx
from grrm.metrics.scores import parse_named_files
from grrm.metrics.segments import Given, Scored, Segments
from grrm.schemas import TRANSLATION_TEST, write_table

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


def run_rankings(folder, *names, shuffled=()):
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
            "--shuffled",
            *shuffled,
        ]
    )
    return read_json(output)


def run_translations(folder, *names, comet=None, means=()):
    named = [f"{name}={folder / name}.jsonl" for name in names]
    reference, output = str(folder / "translation_test.parquet"), str(folder / "translation.json")
    more = ["--segment-scores", f"comet={comet}"] if comet else []
    score_translations.main(
        [
            *("--reference", reference, "--translations", *named, "--samples", "100", "--output", output),
            *("--means", *means, *more),
        ]
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
    assert "directions" not in grpo["by_set"]["translation_test"]
    assert document["differences"][0]["metrics"]["bleu"]["low"] > 0


def test_directions_are_scored_apart_and_averaged(folder):
    mixed = [{**row, "trg_lang": "yy" if i < 4 else "zh"} for i, row in enumerate(SEGMENTS)]
    write_table(folder / "translation_test.parquet", mixed, "translation_test")
    write_jsonl(folder / "half.jsonl", translations(lambda i, row: row["trg_text"] if i < 4 else "no"))
    (system,) = run_translations(folder, "half")["systems"]
    directions = system["by_set"]["translation_test"]["directions"]
    assert set(directions) == {"xx-yy", "xx-zh"}
    apart = [direction["metrics"]["bleu"]["value"] for direction in directions.values()]
    assert system["metrics"]["bleu"]["value"] == pytest.approx(sum(apart) / 2)
    assert "tok:none" in system["metrics"]["bleu"]["signature"]
    assert "tok:zh" in system["metrics"]["bleu"]["signature"]


def write_comet(folder, **systems):
    """Scores as score_segments writes them: of each system's answers, one list for each run."""
    scored = {
        name: {"answers_sha256": sha256(folder / f"{name}.jsonl"), "scores": scores}
        for name, scores in systems.items()
    }
    write_json(folder / "comet.json", {"signature": "COMET|…", "systems": scored})


def test_comet_scores_are_taken_along(folder):
    write_comet(folder, sft=[[0.5] * 8], grpo=[[0.75] * 8])
    document = run_translations(folder, "sft", "grpo", comet=folder / "comet.json")
    assert [system["metrics"]["comet"]["value"] for system in document["systems"]] == [0.5, 0.75]
    assert document["differences"][0]["metrics"]["comet"]["value"] == 0.25


def test_a_score_that_is_no_number_is_missing(folder):
    write_comet(folder, sft=[[0.25, 0.75, math.nan, 0.25, 0.75, math.inf, 0.25, 0.75]], grpo=[[0.75] * 8])
    document = run_translations(folder, "sft", "grpo", comet=folder / "comet.json")
    score = document["systems"][0]["metrics"]["comet"]
    assert (score["value"], score["n"], score["missing"]) == (0.5, 6, 2)
    assert math.isfinite(score["low"]) and math.isfinite(score["high"])
    assert "missing" not in document["systems"][1]["metrics"]["comet"]


def test_scores_are_written_without_what_is_no_number(folder):
    given = Given(folder / "translation_test.parquet", [f"sft={folder / 'sft.jsonl'}"])
    given.segments.write(folder / "scores.json", Scored([0.5, math.nan, -math.inf, *[1.0] * 5], "S"))
    written = json.loads((folder / "scores.json").read_text(), parse_constant=pytest.fail)
    assert written["systems"]["sft"]["scores"] == [[0.5, None, None, *[1.0] * 5]]
    with pytest.raises(UserError, match="not one of 8 segments got a score from S"):
        given.segments.write(folder / "none.json", Scored([math.nan] * 8, "S"))
    assert not (folder / "none.json").exists()


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        ({"sft": [[0.5] * 7]}, r"\[7\] comet scores of 'sft' for 1 run\(s\) of 8"),
        ({"sft": [[0.5] * 8] * 2}, r"\[8, 8\] comet scores of 'sft' for 1 run"),
        ({}, "no comet scores of 'sft'"),
    ],
)
def test_comet_scores_of_something_else_are_refused(folder, systems, message):
    write_comet(folder, **systems)
    with pytest.raises(UserError, match=message):
        run_translations(folder, "sft", comet=folder / "comet.json")


def test_comet_scores_of_other_answers_are_refused(folder):
    write_comet(folder, sft=[[0.5] * 8])
    write_jsonl(folder / "sft.jsonl", translations(lambda i, row: "made anew"))
    with pytest.raises(UserError, match=r"comet scores of other answers than 'sft' has in .*sft\.jsonl"):
        run_translations(folder, "sft", comet=folder / "comet.json")


# ---------------------------------------------------------------- test sets


def with_sets(rows, *names):
    """The rows, dealt out to test sets of equal size in their order."""
    return [{**row, "test_set": names[i * len(names) // len(rows)]} for i, row in enumerate(rows)]


def test_every_set_has_its_scores_and_the_whole_is_their_mean(folder):
    write_table(folder / "ranking_test.parquet", with_sets(GROUPS, "a", "b"), "ranking_test")
    right = [True, True, True, True, True, False, False, False]
    answers = rankings(lambda i, row: row["scores"] if right[i] else None)
    write_jsonl(folder / "judge.jsonl", answers)
    (judge,) = run_rankings(folder, "judge")["systems"]
    assert list(judge["by_set"]) == ["a", "b"]
    first, second = judge["by_set"].values()
    assert (first["n"], first["failures"]["rate"], first["metrics"]["valid_rate"]["value"]) == (4, 0, 1)
    assert (second["n"], second["failures"]) == (4, {"count": 3, "rate": 0.75, "reasons": {"header": 3}})
    accuracies = [entry["metrics"]["ranking_accuracy"] for entry in (first, second)]
    assert [accuracy["value"] for accuracy in accuracies] == [1, 0.25]
    assert accuracies[1]["low"] < 0.25 < accuracies[1]["high"]
    assert judge["metrics"]["ranking_accuracy"]["value"] == 0.625
    assert judge["metrics"]["ranking_accuracy"]["n"] == 8


def test_a_mean_over_sets_stands_beside_them(folder):
    sets = with_sets(SEGMENTS, "a", "b", "c", "d")
    write_table(folder / "translation_test.parquet", sets, "translation_test")
    document = run_translations(folder, "sft", "grpo", means=["most=a,b,d"])
    sft = document["systems"][0]["by_set"]
    assert sft["most"]["mean_of"] == ["a", "b", "d"]
    assert sft["most"]["n"] == 6
    for metric in ("bleu", "chrf++", "format_rate"):
        apart = [sft[name]["metrics"][metric]["value"] for name in "abd"]
        assert sft["most"]["metrics"][metric]["value"] == pytest.approx(sum(apart) / 3)
    gain = document["differences"][0]["by_set"]["most"]["metrics"]["bleu"]
    after = document["systems"][1]["by_set"]["most"]["metrics"]["bleu"]
    assert gain["value"] == pytest.approx(after["value"] - sft["most"]["metrics"]["bleu"]["value"])


@pytest.mark.parametrize(
    ("mean", "message"),
    [("most=a,x", "over x; the table has a, b"), ("a=a,b", "'a' has the name of a test set")],
)
def test_a_mean_over_something_else_is_refused(folder, mean, message):
    write_table(folder / "translation_test.parquet", with_sets(SEGMENTS, "a", "b"), "translation_test")
    with pytest.raises(UserError, match=message):
        run_translations(folder, "sft", means=[mean])


# ---------------------------------------------------------------- runs


def test_several_runs_are_averaged_and_spread_is_told(folder):
    runs = [
        {**answer, "run": run, "seed": 10 + run, "decoding": {**answer["decoding"], "seed": 10 + run}}
        for run in (0, 1)
        for answer in rankings(lambda i, row, run=run: row["scores"] if i % 2 == 0 or run else None)
    ]
    write_jsonl(folder / "twice.jsonl", reversed(runs))
    (judge,) = run_rankings(folder, "twice")["systems"]
    accuracy = judge["metrics"]["ranking_accuracy"]
    assert (accuracy["runs"], accuracy["value"], accuracy["n"]) == ([0.5, 1.0], 0.75, 8)
    assert accuracy["std"] == pytest.approx(0.5 / 2**0.5)
    assert judge["failures"] == {"count": 4, "rate": 0.25, "reasons": {"header": 4}}
    assert judge["seeds"] == [10, 11]


def test_one_run_has_no_spread(folder):
    (judge,) = run_rankings(folder, "after")["systems"]
    assert judge["metrics"]["ranking_accuracy"]["std"] is None
    assert judge["seeds"] == [0]


def test_bleu_of_several_runs_is_the_mean_of_each_runs_bleu(folder):
    runs = [
        {**answer, "run": run}
        for run, text in enumerate(("ba du gi fo fo", "ba du gi fo 1"))
        for answer in translations(lambda i, row, text=text: text)
    ]
    write_jsonl(folder / "twice.jsonl", runs)
    (system,) = run_translations(folder, "twice")["systems"]
    bleu = system["metrics"]["bleu"]
    singly = []
    for run in (0, 1):
        write_jsonl(folder / "once.jsonl", [{**row, "run": 0} for row in runs if row["run"] == run])
        singly.append(run_translations(folder, "once")["systems"][0]["metrics"]["bleu"]["value"])
    assert bleu["runs"] == pytest.approx(singly)
    assert bleu["value"] == pytest.approx(sum(singly) / 2)
    assert bleu["low"] <= bleu["value"] <= bleu["high"]


# ---------------------------------------------------------------- orders


def test_pairs_over_orders_stand_on_the_groups_with_two_answers_in_different_orders(folder):
    write_jsonl(folder / "gaps.jsonl", rankings(lambda i, row: None if i == 0 else [1, 2]))
    for name in ("gaps", "after"):
        turned = [{**row, "candidate_order": [1, 0]} for row in rankings(lambda i, row: [1, 2])]
        turned[1]["candidate_order"] = [0, 1]  # shuffled into what it was
        write_jsonl(folder / f"{name}1.jsonl", turned)
    shuffled = [f"{name}={folder / name}1.jsonl" for name in ("gaps", "after")]
    document = run_rankings(folder, "gaps", "after", shuffled=shuffled)
    gaps, after = (system["metrics"] for system in document["systems"])
    (difference,) = document["differences"]
    for metric in ("flipped_pairs", "changed_pairs"):
        assert (gaps[metric]["n"], after[metric]["n"]) == (6, 7)
        assert metric not in difference["metrics"]  # 6 of 8 groups are too few
    assert gaps["ranking_accuracy"]["n"] == gaps["ranking_accuracy_orders"]["n"] == 8


def test_judgements_in_other_orders_tell_how_many_pairs_flip(folder):
    write_table(
        folder / "ranking_test.parquet", [{**row, "scores": [1.0, 2.0]} for row in GROUPS], "ranking_test"
    )
    steady = rankings(lambda i, row: [1, 2])
    write_jsonl(folder / "steady.jsonl", steady)
    write_jsonl(folder / "fickle.jsonl", steady)
    for name, scores in (("steady", [1, 2]), ("fickle", [2, 1])):
        turned = [{**row, "scores": scores if row["index"] < 2 else [1, 2]} for row in steady]
        write_jsonl(folder / f"{name}1.jsonl", [{**row, "candidate_order": [1, 0]} for row in turned])
    shuffled = [f"{name}={folder / name}1.jsonl" for name in ("steady", "fickle")]
    document = run_rankings(folder, "steady", "fickle", shuffled=shuffled)
    first, second = document["systems"]
    assert first["metrics"]["flipped_pairs"]["value"] == 0
    assert second["metrics"]["flipped_pairs"]["value"] == 0.25
    assert second["metrics"]["ranking_accuracy_orders"]["runs"] == [1, 0.75]
    assert document["differences"][0]["metrics"]["flipped_pairs"]["value"] == 0.25
    places = {entry["position"]: entry["value"] for entry in second["accuracy_by_position"]}
    assert places == {"A": 0.75, "B": 1}


def test_orders_of_an_unknown_judge_are_refused(folder):
    with pytest.raises(UserError, match="--shuffled names other"):
        run_rankings(folder, "before", shuffled=[f"other={folder}/before.jsonl"])


# ---------------------------------------------------------------- broken inputs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], r"7 answers for 8 rows of .*ranking_test\.parquet"),
        (lambda rows: [rows[1], *rows[1:]], "line 2: run 0 has a second answer to row 1"),
        (lambda rows: [{**row, "run": 1} for row in rows], "0 answers for 8 rows .* in run 0"),
        (lambda rows: [*rows, {**rows[0], "run": 1}], "1 answers for 8 rows .* in run 1"),
        (lambda rows: [{**rows[0], "src_text": "other"}, *rows[1:]], "line 1: not an answer to row 0"),
        (lambda rows: [{**rows[0], "index": 8}, *rows[1:]], "line 1: not an answer to row 8"),
        (lambda rows: [*rows[:-1], {**rows[-1], "model": "another"}], "row 7, run 0: model, weights"),
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


def test_no_answers_at_all_are_an_error(folder):
    (folder / "none.jsonl").write_text("")
    with pytest.raises(UserError, match=r"none\.jsonl: 0 answers for 8 rows"):
        run_translations(folder, "none")


def test_an_empty_test_set_is_an_error(folder):
    pq.write_table(pa.Table.from_pylist(SEGMENTS[:0], TRANSLATION_TEST), folder / "translation_test.parquet")
    with pytest.raises(UserError, match="translation_test"):
        run_translations(folder, "sft")


@pytest.mark.parametrize(
    ("check", "missing"),
    [
        (bleurt.check_folder, "config.json, weights .*, a vocabulary"),
        (metricx.check_folder, "config.json, weights .*, tokenizer/ with the tokenizer"),
        (comet.read_hparams, "hparams.yaml and checkpoints/model.ckpt"),
    ],
)
def test_a_metric_without_its_model_is_named_before_anything_is_loaded(tmp_path, check, missing):
    with pytest.raises(UserError, match=f"it lacks {missing}"):
        check(tmp_path)


def test_equal_segments_are_scored_once_and_each_gets_its_score():
    rows = [{"src_text": f"s{n}", "trg_text": f"r{n}"} for n in range(3)]
    greedy = ["a", "b", None]
    runs = {"x": [greedy, greedy, greedy], "y": [["a", "other", ""]]}
    segments = Segments(rows, runs, dict.fromkeys(runs, ""))
    shown = []

    def score(asked):
        shown.extend(asked)
        return [float(len(shown) - index) for index in range(len(asked))], "signature"

    scores, signature = segments.score_once(score)
    assert [(one["src"], one["mt"], one["ref"]) for one in shown] == [
        ("s0", "a", "r0"),
        ("s1", "b", "r1"),
        ("s2", "", "r2"),
        ("s1", "other", "r1"),
    ]
    assert signature == "signature"
    assert scores == [4, 3, 2] * 3 + [4, 1, 2]
