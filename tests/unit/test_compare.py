"""grrm compare: two experiments side by side, on the same segments only."""

import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import score_rankings
import score_translations
from grrm.cli import main
from grrm.files import UserError, read_json, read_jsonl, sha256, write_json, write_jsonl
from report_example import SHA

ORIGIN = {
    "model": "models/x",
    "weights": SHA,
    "decoding": {"max_new_tokens": 9, "temperature": 0.0, "seed": 0},
}
N = 40


def make_experiment(folder, good_rankings, good_translations, comet="COMET|tiny", flipped=0):
    """An experiment whose judge ranks the first groups right, flips the first pairs when it sees them in the
    other order, and whose model translates the first segments right."""
    (folder / "data").mkdir(parents=True)
    sources = [f"source {i}" for i in range(N)]
    languages = {"src_lang": "en", "trg_lang": "de"}
    groups = [
        {"src_text": source, **languages, "mt_texts": ["gut", "schlecht"], "scores": [8, 3]}
        for source in sources
    ]
    segments = [
        {"src_text": source, "trg_text": f"ein guter Satz mit der Nummer {i}", **languages}
        for i, source in enumerate(sources)
    ]
    pq.write_table(pa.Table.from_pylist(groups), folder / "data/ranking_test.parquet")
    pq.write_table(pa.Table.from_pylist(segments), folder / "data/translation_test.parquet")
    rankings = [
        {
            "index": i,
            "src_text": source,
            "scores": None if i == N - 1 else [9, 1] if i < good_rankings else [1, 9],
            "failure": "header" if i == N - 1 else None,
            "candidate_order": [0, 1],
            **ORIGIN,
        }
        for i, source in enumerate(sources)
    ]
    turned = [
        {**row, "candidate_order": [1, 0], "scores": row["scores"][::-1] if i < flipped else row["scores"]}
        for i, row in enumerate(rankings)
    ]
    write_jsonl(folder / "evaluation/ranking/grrm_rlvr.jsonl", rankings)
    write_jsonl(folder / "evaluation/ranking/orders/grrm_rlvr.1.jsonl", turned)
    write_jsonl(
        folder / "evaluation/translation/mt_grpo.jsonl",
        [
            {
                "index": i,
                "src_text": row["src_text"],
                "raw": "",
                "translation": row["trg_text"]
                if i < good_translations
                else "etwas ganz anderes steht hier nun",
                "failure": None,
                **ORIGIN,
            }
            for i, row in enumerate(segments)
        ],
    )
    write_json(
        folder / "evaluation/comet.json",
        {
            "signature": comet,
            "systems": {
                "mt_grpo": {
                    "answers_sha256": sha256(folder / "evaluation/translation/mt_grpo.jsonl"),
                    "scores": [[float(i < good_translations) for i in range(N)]],
                }
            },
        },
    )
    score(folder)
    write_json(folder / "summary.json", {})
    return folder


def score(folder):
    data, found = folder / "data", folder / "evaluation"
    score_rankings.main(
        [
            *("--reference", str(data / "ranking_test.parquet"), "--samples", "100"),
            *("--rankings", f"grrm_rlvr={found / 'ranking/grrm_rlvr.jsonl'}"),
            *("--shuffled", f"grrm_rlvr={found / 'ranking/orders/grrm_rlvr.1.jsonl'}"),
            *("--output", str(found / "ranking.json")),
        ]
    )
    score_translations.main(
        [
            *("--reference", str(data / "translation_test.parquet"), "--samples", "100"),
            *("--translations", f"mt_grpo={found / 'translation/mt_grpo.jsonl'}"),
            *("--segment-scores", f"comet={found / 'comet.json'}"),
            *("--output", str(found / "translation.json")),
        ]
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    make_experiment(folder / "worse", 20, 20)
    make_experiment(folder / "better", 32, 36)
    return folder


def compare(results, *arguments):
    main(["compare", *arguments, "--results", str(results), "--samples", "400"])


def test_both_stand_side_by_side_with_a_paired_difference(results, tmp_path, capsys):
    compare(results, "worse", "better", "--output", str(tmp_path / "compared.json"))
    shown = capsys.readouterr().out
    assert re.search(r"worse +better +better - worse +p\n", shown)
    row = r"Ranking accuracy \(%\) +50\.0 \[.*\] +80\.0 \[.*\] +\+30\.0 \[\+(\S+), \+(\S+)\] +0\.0"
    low, high = map(float, re.search(row, shown).groups())
    # The pairs are kept: apart, the two would differ by 30 ± 20.
    assert 12 < low < 30 < high < 48
    (ranking, translation) = read_json(tmp_path / "compared.json")
    assert (ranking["system"], translation["system"]) == ("grrm_rlvr", "mt_grpo")
    assert translation["metrics"]["comet"]["difference"]["value"] == pytest.approx(0.4)
    assert translation["metrics"]["bleu"]["difference"]["p_value"] < 0.01


def test_each_of_several_test_sets_is_compared(results, tmp_path, capsys):
    for name in ("worse", "better"):  # 20 and 36 of 40 segments are translated well, the first ones
        shutil.copytree(results / name, tmp_path / name)
        path = tmp_path / name / "data/translation_test.parquet"
        table = pq.read_table(path)
        sets = pa.array(["mine"] * 30 + ["theirs"] * 10)
        pq.write_table(table.append_column("test_set", sets), path)
        score(tmp_path / name)
    compare(tmp_path, "worse", "better", "--output", str(tmp_path / "compared.json"))
    ranking, translation = read_json(tmp_path / "compared.json")
    assert ranking["by_set"] == {}
    found = {name: part["metrics"]["comet"] for name, part in translation["by_set"].items()}
    assert [value["value"] for value in found["mine"]["values"]] == [pytest.approx(2 / 3), 1]
    assert [value["value"] for value in found["theirs"]["values"]] == [0, pytest.approx(0.6)]
    assert found["theirs"]["difference"]["value"] == pytest.approx(0.6)
    shown = capsys.readouterr().out
    titles = ["Translation, mt_grpo", "Translation, mt_grpo, mine", "Translation, mt_grpo, theirs"]
    assert [line for line in shown.splitlines() if line.startswith("Translation, ")] == titles


def test_metrics_over_orders_are_compared(results, tmp_path):
    other = make_experiment(tmp_path / "other", 20, 20, flipped=10)
    # Of an earlier run with more orders: not what was scored.
    write_jsonl(other / "evaluation/ranking/orders/grrm_rlvr.2.jsonl", [])
    compare(results, "worse", str(other), "--output", str(tmp_path / "compared.json"))
    found = read_json(tmp_path / "compared.json")[0]["metrics"]
    for metric in ("flipped_pairs", "changed_pairs"):
        assert [value["value"] for value in found[metric]["values"]] == [0, pytest.approx(10 / 39)]
        assert found[metric]["difference"]["value"] == pytest.approx(10 / 39)
        assert found[metric]["difference"]["n"] == 39
    assert found["ranking_accuracy_orders"]["difference"]["value"] == pytest.approx(-10 / N / 2)


def test_what_was_calibrated_is_no_other_way_to_compute(results, tmp_path, capsys):
    # Candidates are equally good. One judge ties them, the other is calibrated to.
    for name, margin in (("ties", 0), ("never_ties", 1)):
        folder = tmp_path / name
        shutil.copytree(results / "worse", folder)
        table = pq.read_table(folder / "data/ranking_test.parquet").to_pylist()
        pq.write_table(
            pa.Table.from_pylist([{**row, "scores": [8, 8]} for row in table]),
            folder / "data/ranking_test.parquet",
        )
        path = folder / "evaluation/ranking/grrm_rlvr.jsonl"
        write_jsonl(path, [{**row, "scores": [5, 5 + margin]} for row in read_jsonl(path)])
        score(folder)
    compare(tmp_path, "ties", "never_ties", "--output", str(tmp_path / "compared.json"))
    found = read_json(tmp_path / "compared.json")[0]["metrics"]
    assert found["ranking_accuracy"]["difference"]["value"] == -1
    assert found["ranking_accuracy_calibrated"]["difference"]["value"] == 0
    shown = capsys.readouterr().out
    assert "calibrated (%): each calibrated on its own answers: ranking_accuracy|ties:calibrated|thr" in shown
    assert "threshold:0|" in shown and "threshold:1|" in shown
    assert "computed differently" not in shown


def test_answers_that_cannot_be_used_are_counted(results, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(results / "worse", other)
    document = read_json(other / "evaluation/comet.json")
    document["systems"]["mt_grpo"]["scores"][0][:3] = [None] * 3
    write_json(other / "evaluation/comet.json", document)
    compare(results, "worse", str(other), "--output", str(tmp_path / "compared.json"))
    ranking, translation = read_json(tmp_path / "compared.json")
    assert ranking["failures"] == [{"count": 1, "rate": 1 / N, "reasons": {"header": 1}}] * 2
    assert translation["failures"] == [{"count": 0, "rate": 0.0, "reasons": {}}] * 2
    shown = capsys.readouterr().out
    assert re.search(r"Answers that cannot be used \(%\) +2\.5 +2\.5 +- *\n", shown)
    assert re.search(r"COMET \(× 100\) +50\.0 \[[^]]*\] +45\.9 \[[^]]*\], 3 not scored", shown)


def test_metrics_with_few_common_segments_are_not_compared(results, tmp_path, capsys):
    for name, known in (("few", range(9, 40)), ("enough", range(10, 40)), ("others", range(10))):
        shutil.copytree(results / "worse", tmp_path / name)
        document = read_json(tmp_path / name / "evaluation/comet.json")
        (scores,) = document["systems"]["mt_grpo"]["scores"]
        scores[:] = [None if i in known else score for i, score in enumerate(scores)]
        write_json(tmp_path / name / "evaluation/comet.json", document)
    too_few = "COMET (× 100): too few: fewer than 10 segments count in both"
    for first, second, refused in (
        ("few", "others", True),
        ("few", "enough", True),
        ("enough", "enough", False),
    ):
        compare(tmp_path, first, second)
        assert (too_few in capsys.readouterr().out) == refused, (first, second)


def test_an_experiment_does_not_differ_from_itself(results, capsys):
    compare(results, str(results / "worse"), "worse")
    assert re.search(r"Ranking accuracy \(%\).*\+0\.0 \[\+0\.0, \+0\.0\] +1\.000", capsys.readouterr().out)


def test_other_test_sets_are_refused(results, tmp_path):
    other = make_experiment(tmp_path / "other", 20, 20)
    table = pq.read_table(other / "data/ranking_test.parquet").to_pylist()
    table[0]["scores"] = [3, 8]
    pq.write_table(pa.Table.from_pylist(table), other / "data/ranking_test.parquet")
    score(other)
    with pytest.raises(UserError, match=r"ranking test tables of .*worse.*other.* differ: only answers"):
        compare(results, "worse", str(other))


def test_a_metric_of_another_model_is_shown_but_not_compared(results, tmp_path, capsys):
    other = make_experiment(tmp_path / "other", 20, 20, comet="COMET|another")
    compare(results, "worse", str(other))
    shown = capsys.readouterr().out
    assert re.search(r"COMET \(× 100\) +50\.0 \[.*\] +50\.0 \[.*\] +- ", shown)
    assert "COMET (× 100): computed differently: COMET|tiny and COMET|another" in shown


def test_answers_that_are_gone_or_changed_are_named(results, tmp_path):
    shutil.copytree(results / "worse", tmp_path / "broken")
    path = tmp_path / "broken/evaluation/ranking/grrm_rlvr.jsonl"
    write_jsonl(path, read_jsonl(path)[:-1])
    with pytest.raises(UserError, match=r"broken.*grrm_rlvr\.jsonl: 39 answers for 40 rows"):
        compare(tmp_path, "broken", str(results / "better"))


def test_scores_of_earlier_answers_are_refused(results, tmp_path):
    shutil.copytree(results / "worse", tmp_path / "stale")
    path = tmp_path / "stale/evaluation/translation/mt_grpo.jsonl"
    write_jsonl(path, [{**row, "translation": "neu"} for row in read_jsonl(path)])
    with pytest.raises(UserError, match=r"comet\.json: comet scores of other answers than 'mt_grpo' has in"):
        compare(tmp_path, "stale", str(results / "better"))


def test_files_of_metrics_that_are_no_longer_asked_for_are_left_alone(results, tmp_path, capsys):
    shutil.copytree(results / "worse", tmp_path / "other")
    (tmp_path / "other/evaluation/bleurt.json").write_text("of an earlier run")
    compare(results, "worse", str(tmp_path / "other"))
    shown = capsys.readouterr().out
    assert "COMET" in shown
    assert "BLEURT" not in shown


def test_an_unknown_experiment_is_named_with_those_that_are_there(results):
    with pytest.raises(UserError, match=r"nosuch: neither a folder nor an experiment .*there: better, worse"):
        compare(results, "nosuch", "worse")


def test_models_of_different_stages_are_not_compared(results, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(results / "worse", other)
    for task, name in (("ranking", "grrm_rlvr"), ("translation", "mt_grpo")):
        path = other / f"evaluation/{task}.json"
        path.write_text(path.read_text().replace(f'"{name}"', '"elsewhere"'))
    with pytest.raises(UserError, match="share no model"):
        compare(results, "worse", str(other))
