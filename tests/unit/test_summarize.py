"""The summary of an experiment, its page, its curves and its samples."""

import re
from html.parser import HTMLParser

import pytest

import plot_curves
import print_summary
import render_samples
import summarize
from grrm.files import UserError, read_json, write_json, write_jsonl
from grrm.prompts import ranking_answer
from grrm.report.curves import condense, read_curves, smooth

SHA = "a" * 64


def scores(task, metrics, extra=None):
    """A document as score_rankings and score_translations write it."""
    systems = [
        {
            "name": name,
            "model": f"models/{name}",
            "weights": SHA,
            "decoding": {"max_new_tokens": 9, "temperature": 0.0, "seed": 3},
            "n": 40,
            "failures": {"count": 4, "rate": 0.1, "reasons": {"unfinished": 3, "header": 1}},
            "metrics": {
                metric: {
                    "value": value + i / 10,
                    "low": value - 0.1,
                    "high": value + 0.3,
                    "n": 40,
                    "signature": f"{metric}|…",
                }
                for metric, value in metrics.items()
            },
            **(extra or {}),
        }
        for i, name in enumerate(["before", "after"])
    ]
    difference = {metric: {"value": 0.1, "low": 0.05, "high": 0.15, "n": 40} for metric in metrics}
    return {
        "task": task,
        "data": {"file": f"data/{task}_test.parquet", "sha256": SHA, "n": 40},
        "bootstrap": {"samples": 100, "seed": 5, "level": 0.95},
        "systems": systems,
        "differences": [{"baseline": "before", "system": "after", "metrics": difference}],
    }


def sample(translations, judgement, source="source"):
    candidates = list(dict.fromkeys(text for text in translations.values() if text is not None))
    return {
        "src_text": source,
        "trg_text": "the reference",
        "src_lang": "xx",
        "trg_lang": "yy",
        "raw": dict.fromkeys(translations, "what it wrote"),
        "translations": translations,
        "candidates": candidates,
        "judgement": judgement,
        "judge_model": "models/grrm_rlvr",
    }


JUDGEMENT = {
    "answer": ranking_answer("B keeps the idiom.", [4, 9]),
    "scores": [4, 9],
    "failure": None,
    "detail": None,
}
BROKEN = {"answer": "B is <best>", "scores": None, "failure": "incomplete", "detail": "1 non-empty line"}
SAMPLES = [
    sample({"before": "ba du", "after": "ba gi"}, JUDGEMENT),
    sample({"before": None, "after": "ba gi"}, None),
    sample({"before": "<b>ba</b> & du", "after": "ba gi"}, BROKEN, source="<script>alert(1)</script>"),
]
POSITION = {"candidates": 2, "position": "A", "value": 0.5, "low": 0.4, "high": 0.6, "n": 20}
BENCHMARK = (
    "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    "12.5\t0:00:12\t866.88\t1\t1\t1\t1\t1\t90.0\t11.25\n"
)


@pytest.fixture
def folder(tmp_path):
    write_json(
        tmp_path / "ranking.json",
        scores("ranking", {"ranking_accuracy": 0.5}, {"best_found_by_position": [POSITION]}),
    )
    write_json(tmp_path / "translation.json", scores("translation", {"bleu": 40.0, "length_ratio": 0.9}))
    write_jsonl(tmp_path / "sft.jsonl", [{"step": i, "loss": 1 / i, "lr": 0.1} for i in range(1, 41)])
    write_jsonl(tmp_path / "rl.jsonl", [{"step": i, "critic/score/mean": i / 10} for i in range(1, 11)])
    write_jsonl(tmp_path / "samples.jsonl", SAMPLES)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "train_x.tsv").write_text(BENCHMARK)
    (tmp_path / "benchmarks" / "quick.tsv").write_text(
        BENCHMARK.replace("866.88", "NA").replace("11.25", "NA")
    )
    return tmp_path


def run(folder):
    summarize.main(
        [
            *("--experiment", "demo", "--seed", "3"),
            *("--ranking", str(folder / "ranking.json"), "--translation", str(folder / "translation.json")),
            *("--curves", f"grrm_sft={folder / 'sft.jsonl'}", f"grrm_rlvr={folder / 'rl.jsonl'}"),
            *("--samples", str(folder / "samples.jsonl"), "--benchmarks", str(folder / "benchmarks")),
            *("--output-json", str(folder / "summary.json")),
            *("--output-markdown", str(folder / "summary.md"), "--output-html", str(folder / "summary.html")),
        ]
    )
    return read_json(folder / "summary.json")


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
        "signature": "bleu|…",
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
    assert [r["excludes_zero"] for r in run(folder)["differences"] if r["task"] == "ranking"] == [False]


def test_times_curves_and_samples_are_counted(folder):
    summary = run(folder)
    assert summary["benchmarks"] == [
        {"job": "quick", "seconds": 12.5, "cpu_seconds": None, "max_rss_mb": None},
        {"job": "train_x", "seconds": 12.5, "cpu_seconds": 11.25, "max_rss_mb": 866.88},
    ]
    assert summary["samples"] == {"shown": 3, "judged": 2, "judge_failures": 1}
    assert list(summary["curves"]) == ["grrm_sft", "grrm_rlvr"]
    assert summary["curves"]["grrm_rlvr"][0]["first"] == pytest.approx(0.1)


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
    assert "B keeps the idiom." in page
    assert "| 2, A | 50.0 [40.0, 60.0] n=20 |" in page


def test_every_table_of_the_page_has_rows_of_one_width(folder):
    run(folder)
    page = (folder / "summary.md").read_text()
    tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    assert len(tables) == 5
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_page_for_the_browser_holds_the_same(folder):
    run(folder)
    page = Page((folder / "summary.html").read_text())
    assert "60.0 [40.0, 80.0]+10.0 [+5.0, +15.0]40" in page.text
    assert page.tags.count("table") == 5
    assert "source: source" in page.text
    assert "bleu|…" in page.text


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
    (folder / "benchmarks" / "train_x.tsv").write_text(text)
    with pytest.raises(UserError, match=r"train_x\.tsv: not a benchmark file of Snakemake"):
        run(folder)


def test_missing_benchmarks_are_named(tmp_path, folder):
    (folder / "benchmarks").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="benchmarks: no such folder"):
        run(folder)


def test_a_broken_sample_is_named(folder):
    write_jsonl(folder / "samples.jsonl", [SAMPLES[0], {"src_text": "s"}])
    with pytest.raises(UserError, match=r"samples\.jsonl, row 2: lacks candidates, judgement"):
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
    }


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


# ---------------------------------------------------------------- samples


class Page(HTMLParser):
    """Tags and text of a page; every tag that is opened must be closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page(folder):
    render_samples.main(
        ["--samples", str(folder / "samples.jsonl"), "--output", str(folder / "samples.html")]
    )
    return Page((folder / "samples.html").read_text())


def test_samples_show_all_texts_with_the_judges_words_and_scores(page):
    for text in ("source", "the reference", "ba du", "ba gi", "B keeps the idiom.", "models/grrm_rlvr"):
        assert text in page.text
    assert re.search(r"before\s*ba du\s*A\s*4\s*after\s*ba gi\s*B\s*9", page.text)


def test_texts_of_models_and_data_are_escaped(page):
    assert not {"script", "b", "best"} & set(page.tags)
    assert "<script>alert(1)</script>" in page.text
    assert "<b>ba</b> & du" in page.text


def test_failures_are_shown_as_failures(page):
    assert "No translation found in the answer:what it wrote" in page.text
    assert "The judge was not asked" in page.text
    assert "cannot be used (incomplete: 1 non-empty line)" in page.text
