"""The ranking reward. Golden vectors are the answers of the paper's published reward function."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grrm.prompts import ranking_answer
from grrm.ranking import RANKING_HEADER, SCORES_HEADER, labels
from grrm.rewards import ranking_score
from grrm.rewards.ranking_score import compute_score, margin_score

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "grrm_ranking_score.jsonl"
KEYS = {"score", "ranking_reward", "score_reward", "valid", "acc"}
ZERO = dict.fromkeys(KEYS, 0.0)
TRUTH = {"A": 5, "B": 9, "C": 5}


def reward(solution, truth=TRUTH, **kwargs):
    return compute_score("ranking", solution, truth, None, **kwargs)


def test_a_perfect_answer_earns_two():
    assert reward(ranking_answer("B is best.", [5, 9, 5])) == {
        "score": 2.0, "ranking_reward": 1.0, "score_reward": 1.0, "valid": 1.0, "acc": 1.0,
    }  # fmt: skip


def test_a_worked_example():
    # Pairs AB, AC, BC: relations <, =, > against <, >, >; margins -4, 0, 4 against -3, 1, 4.
    result = reward(ranking_answer("x", [5, 9, 5]), {"A": 6, "B": 9, "C": 5})
    assert result["ranking_reward"] == pytest.approx(2 / 3)
    assert result["score_reward"] == pytest.approx((0.6 + 0.6 + 1) / 3)
    assert result["score"] == pytest.approx(result["ranking_reward"] + result["score_reward"])
    assert result["acc"] == result["ranking_reward"]


@pytest.mark.parametrize(
    ("error", "credit"), [(0, 1.0), (1, 0.6), (-1, 0.6), (2, 0.2), (-2, 0.2), (3, 0.0), (9, 0.0)]
)
def test_margin_credit(error, credit):
    assert margin_score({"A": 5, "B": 5 - error}, {"A": 0, "B": 0}) == credit


def test_only_margins_count_for_the_score_reward():
    assert reward(ranking_answer("x", [3, 7, 3]))["score"] == 2.0


@pytest.mark.parametrize(
    "solution",
    [
        "",
        "B > A = C",
        ranking_answer("x", [5, 9]),
        ranking_answer("x", [5, 9, 5, 1]),
        ranking_answer("x", [5, 9, 5]).replace("B > A = C", "A = B = C"),
        ranking_answer("x", [5, 9, 5]).replace("B: 9", "B: 99"),
        ranking_answer("x", [5, 9, 5]).replace("x\n", "\n", 1),
        ranking_answer("x", [5, 9, 5]) + "That is all.",
    ],
    ids=[
        "empty",
        "bare",
        "one missing",
        "one too many",
        "contradiction",
        "out of range",
        "no analysis",
        "more text",
    ],
)
def test_a_malformed_or_contradictory_answer_earns_nothing(solution):
    assert reward(solution) == ZERO


@pytest.mark.parametrize("solution", [None, 3.5, [ranking_answer("x", [5, 9, 5])], {"A": 5}])
def test_what_is_no_text_earns_nothing(solution):
    assert reward(solution) == ZERO


@pytest.mark.parametrize("end", ["<|im_end|>", "\n<|im_end|>", "<|im_end|>\n"])
def test_an_end_of_turn_mark_does_no_harm(end):
    assert reward(ranking_answer("x", [5, 9, 5]) + end)["score"] == 2.0


def test_the_scale_is_on_the_score_alone():
    result = reward(ranking_answer("x", [5, 9, 5]), score_scale_factor=0.1)
    assert result == {"score": 0.2, "ranking_reward": 1.0, "score_reward": 1.0, "valid": 1.0, "acc": 1.0}


def test_other_arguments_of_the_trainer_do_no_harm():
    assert reward(ranking_answer("x", [5, 9, 5]), reward_router_address=None)["score"] == 2.0


@pytest.mark.parametrize(
    "truth",
    [
        None,
        "",
        "not JSON",
        "[8, 3]",
        "{}",
        {},
        {"A": 5},
        {"A": 5, "C": 5},
        {"a": 5, "b": 5},
        {"A": 5, "B": 11},
        {"A": 5, "B": -1},
        {"A": 5, "B": 5.5},
        {"A": 5, "B": True},
        {"A": 5, "B": None},
        {"A": 5, "B": "5"},
        '{"A": 5, "A": 6, "B": 5}',
        dict.fromkeys([*labels(26), "AA"], 5),
    ],
)
def test_a_bad_ground_truth_is_an_error_and_named(truth):
    with pytest.raises(ValueError, match=re.escape(f"ground truth {truth!r}")):
        reward(ranking_answer("x", [5, 5]), truth)


groups = st.integers(2, 8).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 10), min_size=n, max_size=n)] * 2)
)


@given(groups, st.text())
def test_laws_of_the_reward(group, analysis):
    predicted, true = group
    truth = dict(zip(labels(len(true)), true, strict=True))
    result = reward(ranking_answer(f"x{analysis}", predicted), json.dumps(truth))
    assert result.keys() == KEYS
    assert result["valid"] == 1
    assert 0 <= result["score"] <= 2
    assert result["score"] <= reward(ranking_answer("x", true), truth)["score"] == 2.0


@given(st.text())
def test_any_text_gets_the_same_keys(text):
    assert reward(text).keys() == KEYS


def test_loads_by_path_and_imports_little():
    # As the trainer's workers do it: by file path, with scripts/ on the path, before anything else.
    path = Path(ranking_score.__file__)
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('custom_module', {str(path)!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "heavy = {'torch', 'pyarrow', 'numpy', 'yaml', 'verl', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "print(module.compute_score('', '', '{\"A\": 1, \"B\": 2}')['score'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(path.parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "0.0\n", done.stderr


# Agreement with the published reward function

SOLUTION_LINES = 5  # analysis, header, ranking, header, scores


def golden_vectors():
    return [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]


def in_our_words(vector):
    """The solution with the headers which this project demands.

    Published: any text passes for a header (`ranking_score_reward_fn`), or there are none
    (`ranking_score_reward_fn_no_cot`, whose answer is two bare lines).
    """
    lines = [line for line in vector["solution_str"].split("\n") if line.strip()]
    if vector["fn"].endswith("no_cot"):
        return "\n".join(["analysis", RANKING_HEADER, lines[0], SCORES_HEADER, lines[1]])
    if len(lines) == SOLUTION_LINES and lines[1].strip() == "h" and lines[3].strip() == "h2":
        lines[1], lines[3] = RANKING_HEADER, SCORES_HEADER
        return "\n".join(lines)
    return vector["solution_str"]


def is_bare_answer(vector):
    return len(vector["solution_str"].strip().split("\n")) == 2


def stated_difference(vector):
    """The rule by which an answer earns something else here than published; None: no difference."""
    # Published: fewer than two candidates earn 0; what is not JSON is an error there too.
    if vector["ground_truth"] in ("notjson", "{}", {"A": 1}, '{"A": 1}'):
        return "a bad ground truth is an error"
    scores = re.findall(r":\s*([^,\s]+)", vector["solution_str"].rstrip().rpartition("\n")[2])
    if any(not re.fullmatch("10|[0-9]", score) for score in scores):
        return "scores are 0 to 10 in ASCII digits"
    return None


# The reader of whole answers, and the reader of two bare lines where it is given two lines: what else it is
# given are whole answers, which it refuses.
comparable = [
    vector for vector in golden_vectors() if not vector["fn"].endswith("no_cot") or is_bare_answer(vector)
]


@pytest.mark.parametrize("vector", comparable, ids=lambda vector: vector["id"])
def test_golden_reward(vector):
    solution, truth, kwargs = in_our_words(vector), vector["ground_truth"], vector["kwargs"]
    match stated_difference(vector):
        case "a bad ground truth is an error":
            with pytest.raises(ValueError, match="ground truth"):
                reward(solution, truth, **kwargs)
        case "scores are 0 to 10 in ASCII digits":
            assert reward(solution, truth, **kwargs) == ZERO
        case _:
            published = vector["out"]["value"]
            ours = reward(solution, truth, **kwargs)
            assert ours["valid"] == published["valid_answer"]
            for key in ("score", "ranking_reward", "score_reward"):
                assert ours[key] == pytest.approx(published[key])


@pytest.mark.parametrize(
    "vector",
    [v for v in comparable if not v["fn"].endswith("no_cot") and in_our_words(v) != v["solution_str"]],
    ids=lambda vector: vector["id"],
)
def test_golden_headers_are_checked_here(vector):
    if stated_difference(vector) != "a bad ground truth is an error":
        assert reward(vector["solution_str"], vector["ground_truth"]) == ZERO


def test_most_golden_vectors_must_agree():
    different = [vector["id"] for vector in comparable if stated_difference(vector)]
    assert 3 <= len(different) < len(comparable) / 5
