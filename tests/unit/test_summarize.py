"""The summary of an experiment, its page for a reader of text, its curves."""

import json
import re

import pytest

import plot_curves
import print_summary
from grrm.files import UserError, read_json, write_json, write_jsonl
from grrm.report.benchmarks import by_stage, stage_of
from grrm.report.curves import condense, read_curves, smooth, thin
from grrm.report.summary import to_json
from report_example import BENCHMARK, JUDGEMENT, SAMPLES, SHA, make_experiment, run_summarize, scores


@pytest.fixture
def folder(tmp_path):
    return make_experiment(tmp_path)


run = run_summarize


def test_every_score_is_complete_in_itself(folder):
    record = next(r for r in run(folder)["scores"] if r["metric"] == "bleu" and r["system"] == "after")
    assert record == {
        "task": "translation",
        "data": "data/translation_test.parquet",
        "data_sha256": SHA,
        "level": 0.95,
        "bootstrap_samples": 100,
        "bootstrap_seed": 5,
        "system": "after",
        "metric": "bleu",
        "value": 40.1,
        "low": 39.9,
        "high": 40.3,
        "n": 40,
        "runs": [40.1],
        "std": None,
        "signature": "bleu|…",
        "answers": 40,
        "failure_rate": 0.1,
        "failures": {"unfinished": 3, "header": 1},
        "model": "models/after",
        "weights": SHA,
        "decoding": {"max_new_tokens": 9, "temperature": 0.0, "seed": 3},
    }


def test_a_difference_says_whether_it_excludes_zero(folder):
    summary = run(folder)
    assert all(record["excludes_zero"] for record in summary["differences"])
    document = read_json(folder / "ranking.json")
    document["differences"][0]["metrics"]["ranking_accuracy"]["low"] = -0.01
    write_json(folder / "ranking.json", document)
    assert [r["excludes_zero"] for r in run(folder)["differences"] if r["metric"] == "ranking_accuracy"] == [
        False
    ]


def test_times_curves_and_samples_are_counted(folder):
    summary = run(folder)
    assert summary["benchmarks"] == [
        {"job": "prepare_grrm_sft", "seconds": 12.5, "cpu_seconds": None, "max_rss_mb": None},
        {"job": "train_grrm_sft", "seconds": 12.5, "cpu_seconds": 11.25, "max_rss_mb": 866.88},
    ]
    assert summary["samples"] == {"shown": 3, "judged": 2, "judge_failures": 1}
    assert list(summary["curves"]) == ["grrm_sft", "grrm_rlvr"]
    assert summary["curves"]["grrm_rlvr"][0]["first"] == pytest.approx(0.1)


def test_time_is_told_by_stage(folder):
    assert run(folder)["stages"] == [
        {
            "stage": "grrm_sft",
            "jobs": 2,
            "hours": pytest.approx(25 / 3600),
            "cpu_hours": pytest.approx(11.25 / 3600),
            "gpu_hours": 0.0,
            "max_rss_mb": 866.88,
        }
    ]


@pytest.mark.parametrize(
    ("job", "stage"),
    [
        ("prepare_grrm_rlvr_validation", "grrm_rlvr"),
        ("train_mt_grpo", "mt_grpo"),
        ("train_comet", "evaluation"),
        ("take_checkpoint_10", "evaluation"),
        ("train_judge_sft", "judge_sft"),
        ("score_rankings", "evaluation"),
        ("make_toy_world", "data"),
        ("check_leakage", "data"),
    ],
)
def test_every_job_belongs_to_a_stage(job, stage):
    assert stage_of(job) == stage


def test_gpu_hours_are_those_of_trainings():
    jobs = [
        {"job": job, "seconds": 1800.0, "cpu_seconds": None, "max_rss_mb": None}
        for job in ("train_mt_sft", "prepare_mt_sft", "score_comet")
    ]
    assert [(s["stage"], s["gpu_hours"]) for s in by_stage(jobs, gpus=16)] == [
        ("mt_sft", 8.0),
        ("evaluation", 0.0),
    ]


def test_parts_without_data_say_so(folder):
    summary = run(folder)
    assert "orders" not in summary["not_run"]
    assert set(summary["not_run"]) == {"hacking", "checkpoints", "reward_kinds", "efficiency"}
    document = scores("ranking", {"ranking_accuracy": 0.5})
    write_json(folder / "ranking.json", document)
    assert run(folder)["not_run"]["orders"].startswith("not run: every group was judged in one order")


def test_the_page_shows_values_intervals_and_origins(folder):
    run(folder)
    page = (folder / "summary.md").read_text()
    assert (
        "| Ranking accuracy (%) | 50.0 [40.0, 80.0] | 60.0 [40.0, 80.0] | +10.0 [+5.0, +15.0] | 40 |" in page
    )
    assert "| BLEU | 40.0 [39.9, 40.3] | 40.1 [39.9, 40.3] | +0.1 [+0.1, +0.1] | 40 |" in page
    for origin in (
        "models/after",
        SHA[:12],
        "bleu|…",
        "failed answers 10.0% (unfinished: 3, header: 1)",
        "seed 5",
    ):
        assert origin in page
    assert "the judge saw A: ba gi (after); B: ba du (before)" in page
    assert "A keeps the idiom." in page
    both = "50.0 [40.0, 60.0] | 55.0 [40.0, 60.0]"
    assert "| before: best found (%) | before: ranking accuracy (%) | after: best found (%) |" in page
    assert f"| 2, A | {both} | {both} | 20 |" in page


def test_what_depends_on_the_position_of_the_best_is_kept(folder):
    place = {"candidates": 2, "position": "A", "low": 0.4, "high": 0.6, "n": 20}
    assert [record for record in run(folder)["positions"] if record["system"] == "after"] == [
        {"system": "after", "metric": "best_found", "value": 0.5, **place},
        {"system": "after", "metric": "ranking_accuracy", "value": 0.55, **place},
    ]


def test_failures_stand_beside_the_scores(folder):
    document = read_json(folder / "translation.json")
    document["systems"][1]["failures"] = {"count": 6, "rate": 0.05, "reasons": {"unfinished": 6}}
    document["systems"][1]["seeds"] = [3, 4, 5]
    document["systems"][1]["metrics"]["bleu"]["missing"] = 7
    write_json(folder / "translation.json", document)
    run(folder)
    page = (folder / "summary.md").read_text()
    assert "| Answers that cannot be used (%) | 10.0 | 10.0 | - | 40 |" in page
    assert "| Answers that cannot be used (%) | 10.0 | 5.0 | - | 40, 120 |" in page
    assert "| BLEU | 40.0 [39.9, 40.3] | 40.1 [39.9, 40.3], 7 not scored |" in page


def test_every_system_has_its_own_signature(folder):
    document = read_json(folder / "ranking.json")
    for system, threshold in zip(document["systems"], (1, 0), strict=True):
        system["metrics"]["ranking_accuracy"]["signature"] = f"accuracy|threshold:{threshold}"
    write_json(folder / "ranking.json", document)
    summary = run(folder)
    both = "`accuracy|threshold:1` (before), `accuracy|threshold:0` (after)"
    assert f"- Ranking accuracy (%): {both}\n" in (folder / "summary.md").read_text()
    assert "- BLEU: `bleu|…`\n" in (folder / "summary.md").read_text()
    (difference,) = (r for r in summary["differences"] if r["metric"] == "ranking_accuracy")
    assert difference["signature"] == "accuracy|threshold:1 and accuracy|threshold:0"


def test_systems_that_stand_on_other_numbers_of_groups_say_so(folder):
    document = read_json(folder / "ranking.json")
    document["systems"][1]["metrics"]["flipped_pairs"]["n"] = 31
    write_json(folder / "ranking.json", document)
    run(folder)
    page = (folder / "summary.md").read_text()
    assert re.search(r"^\| Pairs flipped .* \| 40, 31 \|$", page, re.MULTILINE)
    assert re.search(r"^\| Pairs changed .* \| 40 \|$", page, re.MULTILINE)


def test_every_table_of_the_page_has_rows_of_one_width(folder):
    run(folder)
    page = (folder / "summary.md").read_text()
    tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    assert len(tables) == 5
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_terminal_shows_the_tables_and_where_the_report_lies(folder, capsys):
    run(folder)
    print_summary.main(["--summary", str(folder / "summary.json"), "--report", "results/demo/report.html"])
    shown = capsys.readouterr().out
    assert re.search(r"^Ranking accuracy \(%\) +50\.0 \[40\.0, 80\.0\]", shown, re.MULTILINE)
    assert "results/demo/report.html" in shown


def test_the_terminal_refuses_something_else_than_a_summary(folder):
    write_json(folder / "summary.json", {"experiment": "demo"})
    with pytest.raises(UserError, match="summary, the whole: 'seed' is a required property"):
        print_summary.main(["--summary", str(folder / "summary.json")])


# ---------------------------------------------------------------- broken inputs


def test_scores_of_another_task_are_refused(folder):
    write_json(folder / "ranking.json", scores("translation", {"bleu": 1.0}))
    with pytest.raises(UserError, match=r"ranking\.json: not the scores of a ranking test set"):
        run(folder)


def test_an_impossible_number_is_refused(folder):
    document = scores("translation", {"bleu": 1.0})
    document["systems"][0]["metrics"]["bleu"]["value"] = None
    write_json(folder / "translation.json", document)
    with pytest.raises(UserError, match=r"summary, scores\.\d+\.value: None is not of type 'number'"):
        run(folder)
    assert not (folder / "summary.json").exists()


def test_an_unknown_metric_is_refused(folder):
    write_json(folder / "translation.json", scores("translation", {"blue": 1.0}))
    with pytest.raises(UserError, match="'blue' is not one of"):
        run(folder)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no training steps"),
        ([{"loss": 1.0}], "row 1: step is None"),
        (
            [{"step": 2, "loss": 1.0}, {"step": 2, "loss": 1.0}],
            "row 2: step is 2, expected an integer above 2",
        ),
        ([[1, 2]], "row 1: step is None"),
        ([{"step": 1, "else": 1.0}], "nothing to show; keys are step, else"),
        ([{"step": 1, "loss": "nan"}], "nothing to show"),
    ],
)
def test_a_broken_curve_is_named(folder, rows, message):
    write_jsonl(folder / "rl.jsonl", rows)
    with pytest.raises(UserError, match=rf"rl\.jsonl.*{message}"):
        run(folder)


@pytest.mark.parametrize("text", ["", "s\tcpu_time\n1\t1\n", BENCHMARK.replace("12.5", "soon")])
def test_a_broken_benchmark_is_named(folder, text):
    (folder / "benchmarks" / "train_grrm_sft.tsv").write_text(text)
    with pytest.raises(UserError, match=r"train_grrm_sft\.tsv: not a benchmark file of Snakemake"):
        run(folder)


def test_missing_benchmarks_are_named(tmp_path, folder):
    (folder / "benchmarks").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="benchmarks: no such folder"):
        run(folder)


def test_a_broken_sample_is_named(folder):
    write_jsonl(folder / "samples.jsonl", [SAMPLES[0], {"src_text": "s"}])
    with pytest.raises(UserError, match=r"samples\.jsonl, row 2: lacks candidates, judgement"):
        run(folder)


def test_a_judgement_that_does_not_say_in_which_order_it_saw_the_candidates_is_refused(folder):
    judgement = {key: value for key, value in JUDGEMENT.items() if key != "candidate_order"}
    write_jsonl(folder / "samples.jsonl", [{**SAMPLES[0], "judgement": judgement}])
    with pytest.raises(UserError, match=r"row 1: lacks judgement\.candidate_order; run judge_translations"):
        run(folder)


# ---------------------------------------------------------------- curves


def test_the_first_known_metric_of_a_panel_is_shown(tmp_path):
    rows = [{"step": 1, "critic/score/mean": 1.0, "critic/rewards/mean": 2.0, "unknown": 3.0}]
    write_jsonl(tmp_path / "c.jsonl", rows)
    assert [(curve.title, curve.metric) for curve in read_curves(tmp_path / "c.jsonl")] == [
        ("Reward", "critic/score/mean")
    ]


def test_steps_without_a_value_are_left_out_of_that_curve(tmp_path):
    write_jsonl(tmp_path / "c.jsonl", [{"step": 1, "loss": 1.0}, {"step": 2}, {"step": 5, "loss": 3.0}])
    (curve,) = read_curves(tmp_path / "c.jsonl")
    assert (curve.steps, curve.values) == ([1, 5], [1.0, 3.0])
    assert condense(curve) == {
        "title": "Loss",
        "metric": "loss",
        "points": 2,
        "last_step": 5,
        "first": 1,
        "last": 3,
        "min": 1,
        "max": 3,
        "steps": [1, 5],
        "values": [1.0, 3.0],
    }


def test_a_thinned_curve_keeps_its_peaks_and_its_order():
    values = [0.0] * 5000
    values[1234], values[4000] = 9.0, -9.0
    steps, thinned = thin(range(5000), values)
    assert len(steps) <= 400
    assert list(steps) == sorted(steps)
    assert dict(zip(steps, thinned, strict=True)).items() >= {1234: 9.0, 4000: -9.0}.items()


def test_smoothing_evens_out_peaks_and_leaves_slopes_where_they_are():
    assert smooth([0, 3, 0, 3, 0], 3) == [0, 1, 2, 1, 0]
    assert smooth([1, 3, 5, 7, 9], 5) == [1, 3, 5, 7, 9]
    assert smooth([1, 3], 1) == [1, 3]


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_curves_are_drawn_alike_every_time(folder, ending):
    for name in ("one", "two"):
        plot_curves.main(
            [
                "--curve",
                str(folder / "sft.jsonl"),
                "--title",
                "SFT",
                "--output",
                str(folder / f"{name}.{ending}"),
            ]
        )
    one, two = ((folder / f"{name}.{ending}").read_bytes() for name in ("one", "two"))
    assert one == two
    assert one.startswith(b"\x89PNG" if ending == "png" else b"<?xml")
    if ending == "svg":
        assert b"Learning rate" in one


def test_a_figure_of_another_kind_is_refused(folder):
    with pytest.raises(UserError, match=r"ends in \.svg or \.png"):
        plot_curves.main(["--curve", str(folder / "sft.jsonl"), "--title", "SFT", "--output", "figure.jpeg"])


def test_lists_of_numbers_stand_on_one_line_and_texts_stay_as_they_are():
    summary = {"steps": [1, 2.5, -3e-08], "none": [], "words": ["[\n1,\n2]", "[ 1, 2 ]"], "mixed": [1, None]}
    text = to_json(summary)
    assert json.loads(text) == summary
    assert '"steps": [1, 2.5, -3e-08]' in text
