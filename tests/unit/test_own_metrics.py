"""A metric of a user's own, evaluate.metrics: [{name: ter, function: my_metrics.py:ter, better: lower}]."""

import re
from pathlib import Path

import pytest
import yaml
from test_catalogue_metrics import WRONG, make_translated
from test_catalogue_metrics import score as score_translations_of
from test_compare import N, compare, make_experiment

import report_example
import score_segments
import score_translations
from grrm.catalogue.metrics import known_metrics, metrics_of
from grrm.config import load_experiment
from grrm.files import UserError, read_json, sha256, write_json, write_jsonl
from grrm.functions import check_function, load_function
from grrm.preflight.own_metrics import check_own_metrics
from grrm.report.hacking import compare_reward
from report_example import ROOT

TER = """
from sacrebleu.metrics import TER

def ter(translations, references, sources):
    metric = TER()
    return [metric.sentence_score(one, [other]).score for one, other in zip(translations, references)]
"""
ITEM = {"name": "ter", "function": "my_metrics.py:ter", "better": "lower"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A finished experiment in the working folder, beside the file of the metric."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_metrics.py").write_text(TER)
    return make_translated(tmp_path / "e")


def score(folder, function="my_metrics.py:ter", names=tuple(WRONG)):
    score_segments.main(
        [
            *("--function", function, "--reference", str(folder / "segments.parquet")),
            *("--translations", *(f"{name}={folder / name}.jsonl" for name in names)),
            *("--output", str(folder / "ter.json")),
        ]
    )
    return read_json(folder / "ter.json")


def write(text):
    Path("my_metrics.py").write_text(text)


def test_every_segment_is_scored_and_the_function_is_named_with_its_hash(folder):
    document = score(folder)
    assert {name: entry["scores"] for name, entry in document["systems"].items()} == {
        "before": [[50.0] * 4],
        "after": [[25.0] * 4],
    }
    assert document["signature"] == f"my_metrics.py:ter|sha256:{sha256('my_metrics.py')[:12]}"


def configuration():
    return load_experiment(ROOT, changes={"evaluate": {"metrics": ["comet", {**ITEM, "label": "TER"}]}})


def test_it_goes_through_scores_summary_and_page(folder):
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration()))
    score(folder)
    document = score_translations_of(folder, "--segment-scores", f"ter={folder / 'ter.json'}")
    assert [system["metrics"]["ter"]["value"] for system in document["systems"]] == [50.0, 25.0]
    report_example.run_summarize(folder)
    row = "| TER | 50.0 [50.0, 50.0] | 25.0 [25.0, 25.0] | -25.0 [-25.0, -25.0] | 4 |"
    assert row in (folder / "summary.md").read_text(encoding="utf-8")
    write_jsonl(folder / "samples.jsonl", [])
    page = report_example.run_render_page(folder, metric="ter").read_text(encoding="utf-8")
    assert '"metrics":{"ter":"TER","chrf++":"chrF++"},"sign":-1' in page


def test_two_experiments_are_compared_by_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, good in (("first", 20), ("second", N)):
        write(TER if name == "first" else TER + "# changed\n")
        folder = make_experiment(tmp_path / name, 20, good)
        reference = str(folder / "data/translation_test.parquet")
        answers = f"mt_grpo={folder / 'evaluation/translation/mt_grpo.jsonl'}"
        given = ["--reference", reference, "--translations", answers]
        scores = folder / "evaluation/ter.json"
        score_segments.main([*given, "--function", "my_metrics.py:ter", "--output", str(scores)])
        output = str(folder / "evaluation/translation.json")
        score_translations.main(
            [*given, "--segment-scores", f"ter={scores}", "--samples", "100", "--output", output]
        )
        write_json(folder / "summary.json", {"configuration": configuration()})
    compare(tmp_path, "first", "second")
    said = capsys.readouterr().out
    assert re.search(r"^TER .* 0\.0 \[0\.0, 0\.0\] +- *$", said, re.M)
    # The text of the function is part of what the metric is.
    assert re.search(r"^TER: computed differently: my_metrics\.py:ter\|sha256:\w+ and my_m", said, re.M)


def test_less_of_it_is_better():
    curves = {"mt_grpo": [{"title": "Reward", "first": 0.5, "last": 0.8}]}
    metrics = known_metrics({"evaluate": {"metrics": [ITEM]}})
    for value, worse in ((1.0, ["ter"]), (-1.0, [])):
        found = {"system": "mt_grpo", "metric": "ter", "value": value, "excludes_zero": True}
        assert compare_reward(curves, [found], metrics)["worse"] == worse


def test_none_is_a_missing_score_and_no_zero(folder):
    write("def ter(translations, references, sources):\n    return [None, 10, 20.0, True]\n")
    assert score(folder)["systems"]["after"]["scores"] == [[None, 10.0, 20.0, 1.0]]


def test_a_function_may_be_async(folder):
    write(
        "import asyncio\nasync def ter(*texts):\n    await asyncio.sleep(0)\n    return map(len, texts[0])\n"
    )
    assert score(folder)["systems"]["after"]["scores"] == [[11.0] * 4]


def test_parameters_named_like_columns_get_them(folder):
    write(
        "def ter(translations, references, sources, *, src_lang, scale=2):\n"
        "    return [len(lang) * scale for lang in src_lang]\n"
    )
    assert score(folder)["systems"]["after"]["scores"] == [[4.0] * 4]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [1.0] * 3", r"metric my_metrics\.py:ter, translations of before: 3 scores, expected 4"),
        ("return [1, float('nan'), 1, 1]", r"translations of before, row 1: nan, expected a finite number"),
        ("return [1, 1, float('inf'), 1]", r"row 2: inf, expected a finite number"),
        ("return [1, 1, 1, '7']", r"row 3: '7', expected a finite number"),
        ("return 12.5", r"translations of before: TypeError: 'float' object is not iterable"),
        ("raise ValueError('no\\n  dice')", r"translations of before: ValueError: no dice$"),
        ("return [None] * 4", r"not one of 8 segments got a score from my_metrics\.py:ter"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_no_scores(folder, body, message):
    write(f"def ter(translations, references, sources):\n    {body}\n")
    with pytest.raises(UserError, match=message) as caught:
        score(folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "ter.json").exists()


def test_a_parameter_that_is_no_column_is_named(folder):
    write("def ter(translations, references, sources, mood):\n    return []\n")
    with pytest.raises(UserError, match=r"parameter 'mood' is no column of the test table; .* src_lang"):
        score(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_that_name", "cannot be loaded .*nothing_of_that_name"),
        ("def bleu(): pass", "no function ter"),
    ],
)
def test_a_function_that_is_not_there_is_named(folder, text, message):
    write(text)
    with pytest.raises(UserError, match=rf"my_metrics\.py: {message}"):
        score(folder)


# ---------------------------------------------------------------- before anything runs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"k is 'my_metrics\.py:ter', but my_metrics\.py cannot be read"),
        ("def ter(", "is not Python"),
        ("def bleu(): pass", "has no function ter"),
    ],
)
def test_a_missing_function_is_named_without_running_its_file(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        write(text)
    with pytest.raises(UserError, match=message):
        check_function("my_metrics.py:ter", "k")


@pytest.mark.parametrize(
    "text", ["def ter(): 1 / 0", "from x import ter", "import x as ter", "ter = 1 / 0", "from x import *"]
)
def test_a_function_may_come_from_anywhere(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    write(text)
    check_function("my_metrics.py:ter", "k")


def test_two_files_of_one_name_are_two_modules(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.py").write_text(f"def f():\n    return {name!r}\n")
    assert [load_function(f"{tmp_path / name / 'm.py'}:f")() for name in "ab"] == ["a", "b"]


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ([{**ITEM, "name": "bleu"}], "own metric 'bleu', expected a name that nothing else has"),
        ([{**ITEM, "name": "translation"}], "own metric 'translation'"),
        ([ITEM, {**ITEM, "better": "higher"}], "own metric 'ter'"),
        ([{**ITEM, "better": "more"}], r"evaluate\.metrics\.0\.better' is 'more', expected one of 'higher'"),
        ([{**ITEM, "name": "a b"}], r"evaluate\.metrics\.0\.name' is 'a b'"),
        ([{**ITEM, "name": "a\n"}], r"evaluate\.metrics\.0\.name' is 'a\\n'"),
        ([{**ITEM, "function": "ter"}], r"evaluate\.metrics\.0\.function' is 'ter'"),
        ([{**ITEM, "colour": 1}], r"unknown key 'evaluate\.metrics\.0\.colour'"),
        ([{"name": "ter"}], "'function' is missing"),
        (["ter"], "is 'ter', expected one of 'comet'"),
    ],
)
def test_what_cannot_be_a_metric_is_named(metrics, message):
    with pytest.raises(UserError, match=message):
        load_experiment(ROOT, changes={"evaluate": {"metrics": metrics}})


def test_numbers_from_the_command_line_are_numbers():
    changes = {"evaluate": {"metrics": [{**ITEM, "factor": "100", "digits": "2"}]}}
    (metric,) = metrics_of(load_experiment(ROOT, changes=changes))
    assert (metric.factor, metric.digits) == (100, 2)


@pytest.mark.parametrize(
    ("body", "status", "found"),
    [
        (
            "return [float(len(one)) for one in translations]",
            "ok",
            "says 0.0, 11.0, 11.0 about made-up",
        ),
        (
            "return [len(one) / len(other) for one, other in zip(sources, translations)]",
            "failed",
            "translations of made-up segments: ZeroDivisionError: division by zero",
        ),
        ("raise SystemExit(3)", "failed", "SystemExit: 3"),
    ],
)
def test_the_preflight_asks_it_about_a_few_segments(tmp_path, monkeypatch, body, status, found):
    monkeypatch.chdir(tmp_path)
    write(f"def ter(translations, references, sources):\n    {body}\n")
    (finding,) = check_own_metrics({"evaluate": {"metrics": ["comet", ITEM]}}, tmp_path / "none.parquet")
    assert (finding.check, finding.status) == ("metric ter", status)
    assert found in finding.found


def test_the_preflight_takes_the_test_table_if_it_is_there(folder):
    config = {"evaluate": {"metrics": [ITEM, {**ITEM, "name": "x", "environment": "comet"}]}}
    here, elsewhere = check_own_metrics(config, folder / "segments.parquet")
    assert here.found == "my_metrics.py:ter says 100.0, 0.0, 0.0 about the first segments"
    assert (elsewhere.status, elsewhere.found) == ("unknown", "runs in the environment 'comet', not here")
