"""Paper against ours: which verdict a published number gets, and why some get none."""

from copy import deepcopy

import pytest

from grrm.config import load_experiment
from grrm.report.reference import load_reference
from grrm.report.reproduction import compare_with_paper, judge
from report_example import ROOT, scores


@pytest.mark.parametrize(
    ("published", "low", "high", "verdict"),
    [
        (70.0, 68.0, 72.0, "reproduced"),
        (68.0, 68.0, 72.0, "reproduced"),  # the ends count as inside
        (72.0, 68.0, 72.0, "reproduced"),
        (67.5, 68.0, 72.0, "above"),
        (72.5, 68.0, 72.0, "below"),
        (72.004, 68.0, 72.0, "reproduced"),  # 72.00 was printed
        (72.006, 68.0, 72.0, "below"),
        (67.996, 68.0, 72.0, "reproduced"),
        (67.994, 68.0, 72.0, "above"),
        (50.0, 50.0, 50.0, "reproduced"),  # an interval without width
    ],
)
def test_the_rule(published, low, high, verdict):
    assert judge(published, low, high) == verdict


@pytest.fixture(scope="module")
def reference():
    return load_reference(
        ROOT / "config/reference_results.yaml", ROOT / "config/schemas/reference_results.schema.yaml"
    )


@pytest.fixture(scope="module")
def paper():
    return load_experiment(ROOT, [ROOT / "config/paper.yaml"])


def rankings(**by_set):
    """Scores of the judge after RLVR: value minus 0.1 to value plus 0.3 on each test set."""
    sets = {name: {"ranking_accuracy": value} for name, value in by_set.items()}
    return {
        "ranking": scores("ranking", {"ranking_accuracy": 0.5}, ("grrm_sft", "grrm_rlvr"), by_set=sets),
        "translation": scores("translation", {"bleu": 40.0}, ("mt_sft", "mt_grpo")),
    }


def cell(compared, row="grrm_rlvr", column="held_out", metric="ranking_accuracy"):
    (found,) = [c for c in compared["cells"] if (c["row"], c["column"], c["metric"]) == (row, column, metric)]
    return found


def test_every_published_number_is_there_and_no_dash(reference, paper):
    compared = compare_with_paper(reference, paper, rankings())
    # Six judges on seven sets and their mean, the judge after SFT, nine models on five sets with two metrics;
    # one model lacks one set.
    assert len(compared["cells"]) == 6 * 8 + 1 + 9 * 5 * 2 - 2
    assert {c["verdict"] for c in compared["cells"]} == {"not_run"}
    assert all(c["reason"] and c["value"] is None for c in compared["cells"])


def test_ours_of_the_same_thing_is_judged_on_the_published_scale(reference, paper):
    found = cell(compare_with_paper(reference, paper, rankings(held_out=0.80)))
    assert found["published"] == 82.58
    assert (found["value"], found["difference"]) == (pytest.approx(80), pytest.approx(-2.58))
    assert (found["low"], found["high"], found["n"]) == (pytest.approx(70), pytest.approx(110), 40)
    assert (found["verdict"], found["reason"]) == ("reproduced", None)


@pytest.mark.parametrize(("value", "verdict"), [(0.5, "below"), (0.95, "above")])
def test_ours_elsewhere_is_above_or_below(reference, paper, value, verdict):
    compared = compare_with_paper(reference, paper, rankings(held_out=value))
    assert cell(compared)["verdict"] == verdict


def test_another_base_model_is_not_comparable_and_says_which(reference, paper):
    small = deepcopy(paper)
    small["grrm_sft"]["start_from"] = "Qwen/Qwen2.5-1.5B"
    found = cell(compare_with_paper(reference, small, rankings(held_out=0.80)))
    assert found["verdict"] == "not_comparable"
    assert "Qwen/Qwen2.5-1.5B" in found["reason"]
    assert "Qwen/Qwen2.5-7B" in found["reason"]
    assert found["difference"] == pytest.approx(-2.58)


def test_a_model_of_others_is_not_run_and_says_why(reference, paper):
    found = cell(compare_with_paper(reference, paper, rankings(held_out=0.80)), row="bt_rm")
    assert found["verdict"] == "not_run"
    assert "neither recipe nor checkpoint" in found["reason"]


def test_a_score_that_was_not_computed_is_not_run(reference, paper):
    compared = compare_with_paper(reference, paper, rankings(held_out=0.80))
    assert cell(compared, column="seedx_ranking")["verdict"] == "not_run"
    bleurt = cell(compared, row="mt_grpo", column="wmt23_zh_en", metric="bleurt")
    assert bleurt["verdict"] == "not_run"
    assert bleurt["value"] is None


def test_the_demonstration_reproduces_nothing_of_the_paper(reference):
    compared = compare_with_paper(reference, load_experiment(ROOT), rankings(ranking_test=0.8))
    assert {c["verdict"] for c in compared["cells"]} == {"not_run"}
    assert "toy" in cell(compared)["reason"]
