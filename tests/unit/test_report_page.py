"""The report's page: what stands on it, what is escaped, how many samples it holds."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from grrm.catalogue.metrics import METRICS
from grrm.files import UserError, read_json, write_json, write_jsonl
from grrm.report.charts import Line, line_chart, ticks
from grrm.report.hacking import by_step, compare_reward
from grrm.report.page import render_page
from grrm.report.samples import script_json
from report_example import (
    BENCHMARK,
    HOSTILE,
    REWARD_KINDS,
    SAMPLES,
    judged,
    make_experiment,
    run_render_page,
    run_summarize,
    scores,
    write_answers,
)

SEGMENTS = [
    {**{key: sample[key] for key in ("src_text", "trg_text", "src_lang", "trg_lang")}} for sample in SAMPLES
]
ANSWERS = {name: [sample["translations"][name] for sample in SAMPLES] for name in ("before", "after")}
VOID = {"meta", "link", "input", "br", "path", "circle"}


class Page(HTMLParser):
    """Tags, ids and text of a page; every tag that is opened must be closed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.ids, self.texts, self.open = [], [], {}, []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag not in VOID:
            self.open.append((tag, attributes.get("id")))

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        section = next((name for tag, name in self.open if tag == "section"), None)
        self.texts[section] = self.texts.get(section, "") + data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = make_experiment(tmp_path_factory.mktemp("experiment"))
    run_summarize(folder)
    write_answers(folder, SEGMENTS, ANSWERS)
    return folder


@pytest.fixture(scope="module")
def html(folder):
    return run_render_page(folder).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def stored(html):
    """What the page's script reads."""
    (text,) = re.findall(r'<script type="application/json" id="sample-data">(.*?)</script>', html, re.S)
    return json.loads(text)


def test_every_section_is_there_once(page):
    sections = [
        "glance",
        "results",
        "paper",
        "training",
        "hacking",
        "rewards",
        "order",
        "leakage",
        "samples",
        "run",
    ]
    assert [name for name in page.ids if name in sections] == sections
    assert len(page.ids) == len(set(page.ids))


def test_the_page_asks_for_nothing_from_outside(html):
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:,)[^"']*["']""", html)
    assert "fetch(" not in html
    assert not re.findall(r"url\(", html)


def test_scores_stand_with_their_intervals(page):
    assert "40.0 [39.9, 40.3]" in page.texts["results"]
    assert "+0.1 [+0.1, +0.1]" in page.texts["results"]
    assert "failed answers 10.0% (unfinished: 3, header: 1)" in page.texts["results"]


def test_failures_stand_beside_the_scores(tmp_path):
    experiment = make_experiment(tmp_path / "e")
    document = read_json(experiment / "translation.json")
    document["systems"][1]["failures"] |= {"count": 6, "rate": 0.15}
    document["systems"][1]["metrics"]["bleu"]["missing"] = 7
    write_json(experiment / "translation.json", document)
    run_summarize(experiment)
    write_answers(experiment, SEGMENTS, ANSWERS)
    text = Page(run_render_page(experiment).read_text()).texts["results"]
    assert "Answers that cannot be used (%)10.010.0–40" in text
    assert "Answers that cannot be used (%)10.015.0–40" in text
    assert "40.1 [39.9, 40.3], 7 not scored" in text


def test_the_signature_of_every_system_is_told(tmp_path):
    experiment = make_experiment(tmp_path / "e")
    document = read_json(experiment / "ranking.json")
    for system, threshold in zip(document["systems"], (1, 0), strict=True):
        system["metrics"]["ranking_accuracy"]["signature"] = f"accuracy|threshold:{threshold}"
    write_json(experiment / "ranking.json", document)
    run_summarize(experiment)
    write_answers(experiment, SEGMENTS, ANSWERS)
    html = run_render_page(experiment).read_text()
    assert '"accuracy|threshold:1 (before), accuracy|threshold:0 (after)">Ranking accuracy (%)<' in html
    assert '"bleu|…">BLEU<' in html


def test_published_numbers_stand_with_their_verdicts(page):
    text = page.texts["paper"]
    assert text.count("– not run") == 1 + 2 * 137  # in the key, in the tables, in the list
    assert "82.58" in text
    assert "neither recipe nor checkpoint was released" in text


def test_published_numbers_lead_only_where_one_was_judged(folder, html, tmp_path):
    assert "Published numbers reproduced" not in html
    summary = read_json(folder / "summary.json")
    for cell, verdict in zip(summary["paper"]["cells"], ("reproduced", "below", "reproduced"), strict=False):
        cell["verdict"] = verdict
    text = render_page(summary, [], 0, [], [])
    assert "Published numbers reproduced" in text
    assert "2 of 3" in text
    assert "134 of 137 not run or not comparable" in text


def test_a_part_without_data_says_so_in_one_line(page):
    assert (
        "not run: no translation model was trained with a reward and compared with the one before"
        in page.texts["rewards"]
    )
    assert "not run: no translation model was trained with a judge" in page.texts["hacking"]
    assert "not run: GPU-hours were not compared with a forecast" in page.texts["run"]


def test_kinds_of_reward_stand_side_by_side(folder, tmp_path):
    write_json(tmp_path / "reward_kinds.json", REWARD_KINDS)
    run_summarize(make_experiment(tmp_path / "e"), "--reward-kinds", str(tmp_path / "reward_kinds.json"))
    write_answers(tmp_path / "e", SEGMENTS, ANSWERS)
    text = Page(run_render_page(tmp_path / "e").read_text()).texts["rewards"]
    for shown in ("grrm", "chrf", "35.0 [34.9, 35.3]", "+5.0 [+1.0, +9.0]", "0.5 → 0.75", "800", "3.5"):
        assert shown in text
    # To the first kind, below the difference to the model before.
    assert "+2.0 [+1.0, +9.0]\N{MINUS SIGN}3.0 [" in text
    assert "not run" not in text


def test_several_runs_show_how_far_they_lie_apart(folder, tmp_path):
    experiment = make_experiment(tmp_path / "e")
    document = read_json(experiment / "translation.json")
    for system in document["systems"]:
        system["metrics"]["bleu"] |= {"std": 1.25, "runs": [38.75, 40.0, 41.25]}
    write_json(experiment / "translation.json", document)
    run_summarize(experiment)
    write_answers(experiment, SEGMENTS, ANSWERS)
    text = Page(run_render_page(experiment).read_text()).texts["results"]
    assert "40.0 [39.9, 40.3] ± 1.2" in text


def test_the_spread_over_orders_is_not_called_one_over_runs(tmp_path):
    experiment = make_experiment(tmp_path / "e")
    document = read_json(experiment / "ranking.json")
    for system in document["systems"]:
        orders = {"std": 0.0125, "runs": [0.4, 0.5], "value": 0.45}
        system["metrics"]["ranking_accuracy_orders"] = system["metrics"]["ranking_accuracy"] | orders
        system["metrics"]["ranking_accuracy"] |= {"std": 0.025, "runs": [0.3, 0.4, 0.5]}
    write_json(experiment / "ranking.json", document)
    run_summarize(experiment)
    write_answers(experiment, SEGMENTS, ANSWERS)
    html = run_render_page(experiment).read_text()
    text = Page(html).texts
    assert "45.0 [40.0, 80.0] ± 1.2 over orders" in text["results"]
    assert "45.0 [40.0, 80.0] ± 1.2 over orders" in text["order"]
    assert '"standard deviation over 2 orders"' in html
    assert re.search(r"50\.0 \[40\.0, 80\.0\] ± 2\.5(?! over)", text["results"])
    assert '"standard deviation over 3 runs"' in html


def test_finished_models_alone_make_a_page(tmp_path):
    experiment = make_experiment(tmp_path / "e")
    for task in ("ranking", "translation"):
        document = read_json(experiment / f"{task}.json")
        write_json(
            experiment / f"{task}.json",
            {**document, "systems": document["systems"][1:], "differences": []},
        )
    summary = run_summarize(experiment, "--curves")
    assert summary["curves"] == {}
    write_answers(experiment, SEGMENTS, {"after": ANSWERS["after"]})
    write_jsonl(experiment / "samples.jsonl", [])
    html = run_render_page(experiment, ("after",)).read_text()
    page = Page(html)
    assert "not run: finished models were evaluated, no stage was trained" in page.texts["training"]
    assert "40.1 [39.9, 40.3]" in page.texts["results"]
    assert "Difference" not in page.texts["results"]
    assert [row["change"] for row in stored(html)["rows"]] == [0, 0, 0]


def test_order_position_and_leakage_are_shown(page):
    assert "10.0 [0.0, 40.0]" in page.texts["order"]
    assert "Pairs flipped by another order (%)" in page.texts["order"]
    assert re.search(r"Groups with answers in two orders\s*before.*40\s*after.*40", page.texts["order"])
    assert "before: best found (%)before: ranking accuracy (%)after: best found (%)" in page.texts["order"]
    assert "50.0 [40.0, 60.0]55.0 [40.0, 60.0]50.0 [40.0, 60.0]" in page.texts["order"]
    assert "mt_sft" in page.texts["leakage"]
    assert "2.50" in page.texts["leakage"]


def test_what_ran_is_told(page):
    for text in ("commit", "c" * 40, "torch 2.13.0", "models/after", "train_grrm_sft", "experiment: demo"):
        assert text in page.texts["run"]


def test_published_data_are_named_with_their_revision(folder, tmp_path):
    for name in ("samples.jsonl", "segments.parquet", "before.jsonl", "after.jsonl", "comet.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    summary = read_json(folder / "summary.json")
    summary["provenance"]["data"] = {"test_set": {"origin": "someone/test-set", "revision": "d" * 40}}
    summary["provenance"]["files"] = {"my/pairs.tsv": {"sha256": "e" * 64, "size": 7}}
    write_json(tmp_path / "summary.json", summary)
    text = Page(run_render_page(tmp_path).read_text()).texts["run"]
    assert f"Data, test_setsomeone/test-set at {'d' * 40}" in text
    assert f"File, my/pairs.tsvSHA-256 {'e' * 16}, 7 bytes" in text


def test_hostile_texts_stay_texts(html, page):
    assert page.tags.count("script") == 2  # the samples and the page's own
    assert "document.title = 'broken'</script>" not in html
    assert "{{ 7 * 7 }}" in html
    row = next(row for row in stored(html)["rows"] if row["src"] == HOSTILE)
    assert row["out"] == [HOSTILE, "ba gi"]
    assert row["said"] == "B is <best>"


@pytest.mark.parametrize("text", [HOSTILE, "\ud800", "\u2029", "]]>", "\x00", "<!--<script>"])
def test_json_in_a_script_cannot_end_it(text):
    made = script_json({"text": text})
    assert not re.search("[<>&\u2028\u2029]", made)
    assert json.loads(made)["text"] == text.encode("utf-8", "replace").decode("utf-8")


# ---------------------------------------------------------------- samples


def test_samples_hold_texts_scores_and_the_judges_words(html):
    data = stored(html)
    assert (data["total"], data["parts"], data["systems"]) == (3, [], ["before", "after"])
    assert data["metrics"] == {"comet": "COMET", "chrf++": "chrF++"}
    rows = {row["src"]: row for row in data["rows"]}
    assert rows["source"]["judge"] == [4, 9]
    assert rows["source"]["labels"] == ["B", "A"]
    assert rows["source"]["said"] == "A keeps the idiom."
    assert rows["a second source"]["out"] == [None, "ba gi"]
    assert rows["a second source"]["raw"][0].startswith("nothing of use")
    assert rows[HOSTILE]["failure"] == "incomplete"


def test_the_largest_change_comes_first(html):
    changes = [abs(row["change"]) for row in stored(html)["rows"]]
    assert changes == sorted(changes, reverse=True)


@pytest.mark.parametrize(("metric", "sign"), [("comet", 1), ("metricx", -1)])
def test_what_is_gained_goes_by_the_metric_that_changes_are_counted_in(folder, tmp_path, metric, sign):
    for name in ("summary.json", "samples.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    write_answers(tmp_path, SEGMENTS, ANSWERS, metric)
    data = stored(run_render_page(tmp_path, metric=metric).read_text())
    assert data["sign"] == sign
    changes = {row["row"]: (row["change"], row["gain"]) for row in data["rows"]}
    # Scores are higher after: for COMET that is better, for an error it is worse.
    assert changes == {0: (0.0, 0.0), 1: (1.0, sign), 2: (2.0, 2 * sign)}


def test_a_headline_that_falls_is_a_gain_where_lower_is_better(folder, tmp_path, monkeypatch):
    experiment = make_experiment(tmp_path / "e")
    document = read_json(experiment / "translation.json")
    document["differences"][0]["metrics"]["bleu"] |= {"value": -2.0}
    write_json(experiment / "translation.json", document)
    run_summarize(experiment)
    write_answers(experiment, SEGMENTS, ANSWERS)
    tile = '<span class="{}">\u22122.0</span>'
    assert tile.format("loss") in run_render_page(experiment).read_text()
    monkeypatch.setitem(METRICS, "bleu", replace(METRICS["bleu"], better="lower"))
    assert tile.format("gain") in run_render_page(experiment).read_text()


def test_without_comet_changes_are_counted_in_chrf(folder, tmp_path):
    for name in ("summary.json", "samples.jsonl", "segments.parquet", "before.jsonl", "after.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    data = stored(run_render_page(tmp_path, metric="").read_text())
    assert list(data["metrics"]) == ["chrf++"]
    row = next(row for row in data["rows"] if row["src"] == "source")
    assert row["change"] == pytest.approx(row["scores"]["chrf++"][1] - row["scores"]["chrf++"][0], abs=0.11)


def test_more_samples_than_fit_lie_in_scripts_beside_the_page(folder, tmp_path):
    for name in ("summary.json",):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    n = 1000
    segments = [{**SEGMENTS[0], "src_text": f"source {i} {HOSTILE}"} for i in range(n)]
    write_answers(tmp_path, segments, {"before": ["ba du"] * n, "after": ["ba gi"] * n})
    write_jsonl(tmp_path / "samples.jsonl", [])
    data = stored(run_render_page(tmp_path).read_text())
    assert (data["total"], len(data["rows"])) == (n, 300)
    assert data["parts"] == ["samples/001.js", "samples/002.js"]
    rows = list(data["rows"])
    for part in data["parts"]:
        text = (tmp_path / "report" / part).read_text()
        assert "<" not in text
        rows += json.loads(re.fullmatch(r"grrmSamples\((.*)\);\n", text, re.S)[1])
    assert {row["row"] for row in rows} == set(range(n))
    changes = [abs(row["change"]) for row in rows]
    assert changes == sorted(changes, reverse=True)


def test_the_judges_words_on_another_segment_are_refused(folder, tmp_path):
    for name in ("summary.json", "segments.parquet", "before.jsonl", "after.jsonl", "comet.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    write_jsonl(tmp_path / "samples.jsonl", [judged(dict.fromkeys(ANSWERS, "x"), None, "elsewhere")])
    with pytest.raises(UserError, match="judged sample 'elsewhere' is not the segment 'source'"):
        run_render_page(tmp_path)


def test_scores_of_other_segments_are_refused(folder, tmp_path):
    for name in ("summary.json", "samples.jsonl", "segments.parquet", "before.jsonl", "after.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    document = read_json(folder / "comet.json")
    document["systems"]["after"]["scores"][0].pop()
    write_json(tmp_path / "comet.json", document)
    with pytest.raises(UserError, match=r"comet\.json: \[2\] comet scores of 'after' for 1 run\(s\) of 3"):
        run_render_page(tmp_path)


# ---------------------------------------------------------------- charts


def test_ticks_are_round_and_within():
    assert ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1]
    assert ticks(3, 3) == [3]
    for low, high in [(-7.3, 41.9), (1e-9, 2e-7), (0.1, 12345.6), (-3e-8, 2e-8)]:
        found = ticks(low, high)
        assert 2 <= len(found) <= 6
        assert low - 1e-12 <= found[0] <= found[-1] <= high + 1e-12


@pytest.mark.parametrize(
    "values",
    [
        *([0.0], [5.0, 5.0, 5.0], [-1e-8, 2e-8], [1.0, 1e6], list(range(3000))),
        # Flat but for the last digits.
        *([0.1, 0.10000000000000002], [5.0, 5.000000000000001], [-0.3, -0.30000000000000004], [0.0, 5e-324]),
    ],
)
def test_a_chart_stays_within_its_frame_whatever_the_values(values):
    svg = line_chart("A <title> & more", [Line("it", range(len(values)), values)], smoothed=True)
    Page(svg)
    assert "<title>" not in svg
    numbers = [
        float(y)
        for path in re.findall(r'class="line[^"]*" d="M([^"]+)"', svg)
        for point in path.split("L")
        for y in [point.split()[1]]
    ]
    assert all(0 <= y <= 190 for y in numbers)
    assert len(svg) < 40_000


# ---------------------------------------------------------------- the judge, exploited?


def difference(metric, value, sided=True):
    return {"system": "mt_grpo", "metric": metric, "value": value, "excludes_zero": sided}


@pytest.mark.parametrize(
    ("reward", "differences", "suspicious", "worse"),
    [
        ((0.5, 0.8), [difference("bleu", 5.0), difference("comet", 0.1)], False, []),
        ((0.5, 0.8), [difference("bleu", -5.0), difference("comet", 0.1)], True, ["bleu"]),
        ((0.5, 0.8), [difference("bleu", -5.0, sided=False)], False, []),
        ((0.8, 0.5), [difference("bleu", -5.0)], False, ["bleu"]),
        ((0.5, 0.8), [difference("metricx", 1.0)], True, ["metricx"]),  # less is better
        ((0.5, 0.8), [difference("metricx", -1.0)], False, []),
    ],
)
def test_a_reward_that_rises_while_a_metric_falls_is_suspicious(reward, differences, suspicious, worse):
    curves = {"mt_grpo": [{"title": "Reward", "first": reward[0], "last": reward[1]}]}
    found = compare_reward(curves, differences, METRICS)
    assert (found["suspicious"], found["worse"]) == (suspicious, worse)


def test_without_a_reward_or_a_metric_nothing_is_said():
    assert compare_reward({}, [difference("bleu", 5.0)], METRICS) is None
    assert compare_reward({"mt_grpo": [{"title": "Reward", "first": 0, "last": 1}]}, [], METRICS) is None


def record(system, metric, value):
    numbers = {"value": value, "low": value, "high": value, "n": 4}
    return {"task": "translation", "system": system, "metric": metric, **numbers}


def test_without_checkpoints_the_models_before_and_after_are_the_ends():
    points = by_step(None, [record("mt_sft", "bleu", 1.0), record("mt_grpo", "bleu", 3.0)], 25)
    assert [(p["step"], p["system"], p["metrics"]["bleu"]["value"]) for p in points] == [
        (0, "mt_sft", 1.0),
        (25, "mt_grpo", 3.0),
    ]


def test_checkpoints_show_the_reward_beside_metrics(tmp_path):
    experiment = make_experiment(tmp_path / "e")
    names = ("mt_sft", "mt_grpo_10", "mt_grpo")
    document = scores("translation", {"bleu": 40.0, "length_ratio": 0.9}, names)
    differences = document["differences"]
    differences[0]["system"] = "mt_grpo"
    write_json(experiment / "translation.json", {**document, "systems": document["systems"][::2]})
    for system, step, reward in zip(document["systems"], (0, 10, 25), (None, 0.5, 0.7), strict=True):
        system |= {"step": step, "training": {"reward": reward, "judge_score": None}}
    write_json(experiment / "checkpoints.json", document)
    write_jsonl(experiment / "grpo.jsonl", [{"step": i, "critic/score/mean": i / 25} for i in range(1, 26)])
    summary = run_summarize(
        experiment,
        *("--checkpoints", str(experiment / "checkpoints.json")),
        *("--curves", f"mt_grpo={experiment / 'grpo.jsonl'}"),
    )
    assert [point["step"] for point in summary["checkpoints"]] == [0, 10, 25]
    assert not {"checkpoints", "hacking"} & set(summary["not_run"])
    write_answers(experiment, SEGMENTS, ANSWERS)
    text = Page(run_render_page(experiment).read_text()).texts["hacking"]
    assert "BLEU +0.1" in text
    assert "no sign that the judge is being exploited" in text
    assert re.search(r"10\s*0\.5\s*40\.1 \[39\.9, 40\.3\]", text)


def test_every_number_in_a_table_is_sorted_as_one(tmp_path):
    experiment = make_experiment(tmp_path / "e")
    long = BENCHMARK.replace("12.5", "1234.5")
    (experiment / "benchmarks/train_grrm_rlvr.tsv").write_text(long)
    document = read_json(experiment / "translation.json")
    document["systems"][1]["metrics"]["bleu"]["n"] = 38
    write_json(experiment / "translation.json", document)
    stages = [
        {"stage": stage, "gpu_hours": 11.0, "forecast_gpu_hours": hours, "verdict": "within", "launches": 2}
        for stage, hours in (("grrm_sft", [1008.0, 2000.0]), ("grrm_rlvr", None))
    ]
    total = {"gpu_hours": 11.0, "forecast_gpu_hours": [8.0, 20.0]}
    found = {"stages": [{**stage, "hardware": []} for stage in stages], "other": [], "total": total}
    write_json(tmp_path / "efficiency.json", found)
    write_json(tmp_path / "kinds.json", REWARD_KINDS)
    run_summarize(
        experiment,
        *("--efficiency", str(tmp_path / "efficiency.json"), "--reward-kinds", str(tmp_path / "kinds.json")),
    )
    write_answers(experiment, SEGMENTS, ANSWERS)
    html = run_render_page(experiment).read_text(encoding="utf-8")
    cells = re.findall(r'<td class="number"([^>]*)>(.*?)</td>', html, re.S)
    keys = [
        given[1] if (given := re.search(r'data-sort="([^"]*)"', attributes)) else content.strip()
        for attributes, content in cells
    ]
    assert len(keys) > 500
    assert {"1008.0", "1234.5"} <= set(keys)
    assert [key for key in keys if key and not re.fullmatch(r"-?[0-9.]+(e-?[0-9]+)?", key)] == []


def test_gpu_hours_stand_beside_their_forecast(tmp_path):
    experiment = make_experiment(tmp_path / "e")
    stage = {"stage": "grrm_sft", "gpu_hours": 11.0, "forecast_gpu_hours": [8.0, 20.0], "verdict": "within"}
    total = {"gpu_hours": 11.0, "forecast_gpu_hours": [8.0, 20.0]}
    other = [{"job": "rank_candidates_grrm_sft", "devices": 1, "hours": 0.5, "gpu_hours": 0.5}]
    write_json(
        tmp_path / "efficiency.json",
        {
            "stages": [{**stage, "launches": 2, "hardware": ["8 × NVIDIA H200", "CPU, 2 cores"]}],
            "other": other,
            "total": total,
        },
    )
    summary = run_summarize(experiment, "--efficiency", str(tmp_path / "efficiency.json"))
    assert "efficiency" not in summary["not_run"]
    write_answers(experiment, SEGMENTS, ANSWERS)
    text = Page(run_render_page(experiment).read_text()).texts["run"]
    assert re.search(r"grrm_sft.*11\.00\s*8\.0 to 20\.0 \(within\)\s*2", text, re.S)
    assert [stage["gpu_hours"] for stage in summary["stages"]] == [11.0]
    assert re.search(r"grrm_sft.*8 × NVIDIA H200; CPU, 2 cores", text, re.S)
