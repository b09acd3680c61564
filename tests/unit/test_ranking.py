"""A ranking as data. Golden vectors are the answers of the paper's published code (tests/data/golden)."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grrm.extract import last_line
from grrm.ranking import (
    InvalidAnswer,
    RankingAnswer,
    format_ranking,
    format_scores,
    is_score,
    labels,
    parse_answer,
    parse_ranking,
    parse_ranking_answer,
    parse_score_answer,
    parse_scores,
    rank_levels,
    rank_scores,
    ranking_accuracy,
    read_answer,
)

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
ANSWER = "B keeps the idiom.\n\n### Final Ranking:\n\nB > A = C\n\n### Scores:\n\nB: 9, A: 5, C: 5\n"

score_maps = st.integers(2, 26).flatmap(
    lambda n: st.lists(st.integers(0, 10), min_size=n, max_size=n).map(
        lambda scores: dict(zip(labels(n), scores, strict=True))
    )
)
score_pairs = st.integers(2, 8).flatmap(
    lambda n: st.tuples(
        *[
            st.lists(st.integers(0, 10), min_size=n, max_size=n).map(
                lambda scores: dict(zip(labels(n), scores, strict=True))
            )
        ]
        * 2
    )
)


def golden(name):
    return [json.loads(line) for line in (GOLDEN / name).read_text(encoding="utf-8").splitlines()]


def identifier(vector):
    return vector["id"]


# Labels


def test_labels_by_position():
    assert labels(1) == ["A"]
    assert labels(26)[-1] == "Z"


@pytest.mark.parametrize("n", [0, -1, 27])
def test_labels_only_for_1_to_26(n):
    with pytest.raises(ValueError, match=f"{n} candidates"):
        labels(n)


# Reading and writing a ranking


@pytest.mark.parametrize(
    ("text", "ranking"),
    [
        ("B > A = C", [{"B"}, {"A", "C"}]),
        ("A", [{"A"}]),
        ("A = B", [{"A", "B"}]),
        ("C=A>B", [{"A", "C"}, {"B"}]),
        ("  A  >\tB \n", [{"A"}, {"B"}]),
    ],
)
def test_parse_ranking(text, ranking):
    assert parse_ranking(text) == ranking


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "'' is not a candidate label"),
        ("A > B > A", "candidate A appears more than once"),
        ("A = A", "candidate A appears more than once"),
        ("A < B", "'A < B' is not"),
        ("A > B.", "'B.' is not"),
        ("A > ", "'' is not"),
        ("> A", "'' is not"),
        ("A >> B", "'' is not"),
        ("AB > C", "'AB' is not"),
        ("a > b", "'a' is not"),
        ("Ａ > Ｂ", "'Ａ' is not"),
        ("`A > B`", "'`A' is not"),
        ("A > B\nC > D", "is not"),
        ("A >\nB", "is not"),
    ],
)
def test_parse_ranking_says_what_is_wrong(text, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_ranking(text)


def test_format_ranking_puts_ties_in_label_order():
    scores = {"C": 5, "B": 9, "A": 5}
    assert format_ranking(scores) == "B > A = C"
    assert format_scores(scores) == "B: 9, A: 5, C: 5"


def test_format_ranking_of_nothing():
    with pytest.raises(ValueError, match="no scores"):
        format_ranking({})


@given(score_maps)
def test_a_formatted_ranking_reads_back(scores):
    ranking = parse_ranking(format_ranking(scores))
    assert ranking == rank_scores(scores)
    assert rank_scores(rank_levels(ranking)) == ranking
    assert parse_scores(format_scores(scores), len(scores)) == scores


def test_rank_levels_count_up_from_the_worst():
    assert rank_levels([{"B"}, {"A", "C"}]) == {"A": 0, "B": 1, "C": 0}


def test_a_label_in_two_places_is_an_error():
    with pytest.raises(ValueError, match="more than once"):
        rank_levels([{"A"}, {"A", "B"}])


# Reading scores


def test_scores_may_come_in_any_order_and_spacing():
    assert parse_scores("B:9,A : 5 ,  C: 10", 3) == {"A": 5, "B": 9, "C": 10}


@pytest.mark.parametrize(
    "text",
    ["", "A: 4", "A: 4, B: 9, C: 7", "A: 4, A: 4, B: 9", "A: 4, C: 9", "A: 4, B: 11", "A: 4, B: -1",
     "A: 4, B: 9.0", "A: 4, B: ９", "A: 4, B: 0_9", "A: 4, B: 09", "A: 4, B: +9", "A: 4, B: 9,", "A: 4; B: 9",
     "A 4, B 9", "a: 4, b: 9", "4, 9", "A: , B: 9"],
)  # fmt: skip
def test_scores_are_strict(text):
    with pytest.raises(ValueError, match="score"):
        parse_scores(text, 2)


@pytest.mark.parametrize("value", [0, 10])
def test_is_score(value):
    assert is_score(value)


@pytest.mark.parametrize("value", [-1, 11, 5.0, True, "5", None])
def test_is_not_score(value):
    assert not is_score(value)


# Ranking accuracy


@pytest.mark.parametrize(
    ("predicted", "reference", "accuracy"),
    [
        ("A > B", "A > B", 1),
        ("A > B", "B > A", 0),
        ("A = B", "A = B", 1),
        ("A = B", "A > B", 0),
        ("A > B > C", "A > B = C", 2 / 3),
        ("A > D > B = C", "A = D > C > B", 2 / 3),
    ],
)
def test_ranking_accuracy(predicted, reference, accuracy):
    assert ranking_accuracy(parse_ranking(predicted), parse_ranking(reference)) == pytest.approx(accuracy)


def test_ranking_accuracy_takes_scores_on_either_side():
    assert ranking_accuracy({"A": 1, "B": 7.5}, [{"B"}, {"A"}]) == 1
    assert ranking_accuracy([{"B"}, {"A"}], {"A": -3.5, "B": -20}) == 0


@given(score_pairs)
def test_ranking_accuracy_laws(pair):
    ours, theirs = pair
    accuracy = ranking_accuracy(ours, theirs)
    assert 0 <= accuracy <= 1
    assert ranking_accuracy(ours, ours) == 1
    assert ranking_accuracy(theirs, ours) == accuracy
    assert ranking_accuracy(rank_scores(ours), rank_scores(theirs)) == accuracy
    mirror = dict(zip(ours, reversed(labels(len(ours))), strict=True))
    assert (
        ranking_accuracy({mirror[k]: v for k, v in ours.items()}, {mirror[k]: v for k, v in theirs.items()})
        == accuracy
    )


@pytest.mark.parametrize(
    ("predicted", "reference", "reason"),
    [
        ({"A": 1, "B": 2}, {"A": 1, "C": 2}, "candidates differ"),
        ({"A": 1, "B": 2}, {"A": 1, "B": 2, "C": 3}, "candidates differ"),
        ({"A": 1}, {"A": 1}, "no pairs"),
        ({}, {}, "no pairs"),
        ({"A": float("nan"), "B": 2}, {"A": 1, "B": 2}, "finite"),
    ],
)
def test_ranking_accuracy_of_what_cannot_be_compared(predicted, reference, reason):
    with pytest.raises(ValueError, match=reason):
        ranking_accuracy(predicted, reference)


# The whole answer


def test_parse_answer():
    assert parse_answer(ANSWER, 3) == RankingAnswer(
        "B keeps the idiom.", [{"B"}, {"A", "C"}], {"A": 5, "B": 9, "C": 5}
    )


@pytest.mark.parametrize(
    "text",
    [
        ANSWER.replace("\n\n", "\n"),
        ANSWER.replace("\n\n", "\n \n\n"),
        ANSWER.replace("\n", "\r\n"),
        f"\n\n{ANSWER}\n\n  ",
        ANSWER.replace("B > A = C", "B > C = A"),
        ANSWER.replace("B: 9, A: 5, C: 5", "A: 5, B: 9, C: 5"),
    ],
    ids=["no blank lines", "more blank lines", "CRLF", "padded", "order of ties", "order of scores"],
)
def test_parse_answer_tolerates(text):
    assert parse_answer(text, 3) == parse_answer(ANSWER, 3)


def test_the_last_blocks_count():
    answer = parse_answer(f"Draft:\n\n{ANSWER.replace('9', '8')}\n\nOn second thought.\n\n{ANSWER}", 3)
    assert isinstance(answer, RankingAnswer)
    assert answer.scores == {"A": 5, "B": 9, "C": 5}
    assert answer.analysis.endswith("B keeps the idiom.")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "incomplete"),
        ("B is best", "incomplete"),
        ("B > A = C\nB: 9, A: 5, C: 5", "incomplete"),
        (ANSWER.replace("B keeps the idiom.", ""), "analysis"),
        (ANSWER.replace("### Final Ranking:", "Ranking"), "header"),
        (ANSWER.replace("### Scores:", "## Scores:"), "header"),
        (ANSWER + "\nDone.", "header"),
        (ANSWER.replace("B > A = C", "B>A=C"), "ranking"),
        (ANSWER.replace("B > A = C", "B > A"), "ranking"),
        (ANSWER.replace("B > A = C", "B > A = C = D"), "ranking"),
        (ANSWER.replace("B > A = C", "B > A = B"), "ranking"),
        (ANSWER.replace("B > A = C", "**B > A = C**"), "ranking"),
        (ANSWER.replace("C: 5", "C: 4.5"), "scores"),
        (ANSWER.replace("B: 9", "B: 11"), "scores"),
        (ANSWER.replace(", C: 5", ""), "scores"),
        (ANSWER.replace("C: 5", "C: 5, D: 1"), "scores"),
        (ANSWER.replace("B: 9", "B: 5"), "contradiction"),
        (ANSWER.replace("B > A = C", "B > A > C"), "contradiction"),
    ],
)
def test_parse_answer_gives_a_reason(text, reason):
    answer = parse_answer(text, 3)
    assert isinstance(answer, InvalidAnswer)
    assert answer.reason == reason
    assert answer.detail


@given(st.text() | st.lists(st.sampled_from([*ANSWER.split("\n"), "x", "A > B"])).map("\n".join))
def test_parse_answer_takes_any_text(text):
    answer = parse_answer(text, 3)
    if isinstance(answer, RankingAnswer):
        assert sorted(answer.scores) == ["A", "B", "C"]
        assert rank_scores(answer.scores) == answer.ranking


# Answers that end with scores or a ranking alone


@pytest.mark.parametrize(
    "text",
    [
        "Reasons.\n\nB: 9, A: 5, C: 5\n",
        "Reasons.\nA:5,C:5 , B:9",
        "A: 1\nReasons.\nA: 5, B: 9, C: 5",
        "Reasons.\n**A: 5, B: 9, C: 5**",
        "Reasons.\n**A**: 5/10, `B`: 9 / 10, _C_: 5",
    ],
)
def test_parse_score_answer(text):
    answer = parse_score_answer(text, 3)
    assert isinstance(answer, RankingAnswer)
    assert answer.analysis.endswith("Reasons.")
    assert answer.ranking == [{"B"}, {"A", "C"}]
    assert list(answer.scores.items()) == [("A", 5), ("B", 9), ("C", 5)]


def test_scores_with_decimals_keep_them():
    answer = parse_score_answer("Reasons.\nA: 8.5, B: 9.0, C: 0.25", 3)
    assert isinstance(answer, RankingAnswer)
    assert answer.scores == {"A": 8.5, "B": 9, "C": 0.25}
    assert isinstance(answer.scores["B"], int)
    assert answer.ranking == [{"B"}, {"A"}, {"C"}]


WHOLE = "Reasons.\n\n### Final Ranking:\nB > A = C\n\n### Scores:\nB: 9, A: 5, C: 5"


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        WHOLE.replace(" > ", ">").replace("B: 9", "B:9"),
        WHOLE.replace("B > A = C", "**B > A = C**").replace("A: 5", "**A**: 5/10"),
        WHOLE.replace("### Final Ranking:", "**Final Ranking**").replace("### Scores:", "## **Scores:**"),
        WHOLE.replace("B: 9", "B: 9.0"),
    ],
)
def test_any_models_whole_answer_is_read(text):
    answer = read_answer(text, 3)
    assert answer == RankingAnswer("Reasons.", [{"B"}, {"A", "C"}], {"A": 5, "B": 9, "C": 5})
    assert isinstance(parse_answer(text, 3), RankingAnswer) == (text == WHOLE), "rewards take what is trained"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("B: 9", "B: 900", "scores"),
        ("B: 9", "B: -3", "scores"),
        ("B: 9", "B: 4.5", "contradiction"),
        ("B > A = C", "B > A", "ranking"),
        ("### Scores:", "Points:", "header"),
        ("Reasons.", "", "analysis"),
    ],
)
def test_labels_range_and_agreement_are_checked_whoever_answers(old, new, reason):
    answer = read_answer(WHOLE.replace(old, new), 3)
    assert isinstance(answer, InvalidAnswer) and answer.reason == reason


@pytest.mark.parametrize(
    "text", ["Reasons.\n\n### Final Ranking:\n\nB > A = C\n", "Reasons.\nB>C=A", "Reasons.\n**B > A = C**"]
)
def test_parse_ranking_answer(text):
    answer = parse_ranking_answer(text, 3)
    assert answer == RankingAnswer("Reasons.", [{"B"}, {"A", "C"}], {"A": 0, "B": 1, "C": 0})


@pytest.mark.parametrize(
    ("parse", "line"), [(parse_score_answer, "A: 5, B: 9, C: 5"), (parse_ranking_answer, "B > A = C")]
)
def test_the_last_line_alone_is_an_answer(parse, line):
    answer = parse(line, 3)
    assert isinstance(answer, RankingAnswer)
    assert answer.analysis == ""
    assert answer.ranking == [{"B"}, {"A", "C"}]


@pytest.mark.parametrize(
    ("parse", "text", "reason"),
    [
        (parse_score_answer, " \n", "incomplete"),
        (parse_score_answer, "9, 5, 5", "scores"),
        (parse_score_answer, "A: 5, B: 9", "scores"),
        (parse_score_answer, "A: 5, B: 900, C: 5", "scores"),
        (parse_score_answer, "A: 5, B: -3, C: 5", "scores"),
        (parse_score_answer, "A: 5, A: 9, C: 5", "scores"),
        (parse_score_answer, "A: 5/100, B: 9/10, C: 5/10", "scores"),
        (parse_score_answer, "A: 5, B: 9/1, C: 5", "scores"),
        (parse_score_answer, "A: 5, B: 9, C: 5\nDone.", "scores"),
        (parse_ranking_answer, "", "incomplete"),
        (parse_ranking_answer, "B > A", "ranking"),
        (parse_ranking_answer, "B > A = C = D", "ranking"),
        (parse_ranking_answer, "B > A < C", "ranking"),
        (parse_ranking_answer, "B > A > B", "ranking"),
        (parse_ranking_answer, "B > A = C\nDone.", "ranking"),
    ],
)
def test_other_last_lines_give_a_reason(parse, text, reason):
    answer = parse(text, 3)
    assert isinstance(answer, InvalidAnswer)
    assert answer.reason == reason
    assert answer.detail


@given(score_maps, st.text())
def test_last_lines_read_back(scores, before):
    n = len(scores)
    scored = parse_score_answer(f"{before}\n{format_scores(scores)}", n)
    assert isinstance(scored, RankingAnswer)
    assert (scored.scores, scored.ranking) == (scores, rank_scores(scores))
    ranked = parse_ranking_answer(f"{before}\n{format_ranking(scores)}", n)
    assert isinstance(ranked, RankingAnswer)
    assert ranked.ranking == rank_scores(scores)
    assert rank_scores(ranked.scores) == ranked.ranking


@given(st.text() | st.lists(st.sampled_from([*"ABC>=:, \n", "10"])).map("".join), st.integers(1, 26))
def test_last_lines_may_be_any_text(text, n):
    for parse in (parse_score_answer, parse_ranking_answer):
        answer = parse(text, n)
        if isinstance(answer, RankingAnswer):
            assert list(answer.scores) == labels(n)


@pytest.mark.parametrize("parse", [parse_answer, parse_score_answer, parse_ranking_answer])
def test_a_number_of_candidates_without_labels_is_the_callers_mistake(parse):
    with pytest.raises(ValueError, match="27 candidates"):
        parse(ANSWER, 27)


# Agreement with the published code


def bare_rankings():
    return [v for v in golden("grrm_ranking.jsonl") if v["fn"] == "ranking_reward_fn_no_cot"]


def accuracy_or_none(text, reference):
    try:
        return ranking_accuracy(parse_ranking(text), parse_ranking(reference))
    except ValueError:
        return None


def differs_in_spacing_only(text):
    """Published: exactly one space on either side of a sign. Here: any number of spaces and tabs."""
    return re.sub(r"[ \t]*([>=])[ \t]*", r" \1 ", text.strip()) != text.strip()


@pytest.mark.parametrize("vector", bare_rankings(), ids=identifier)
def test_golden_ranking(vector):
    published = vector["out"]["value"]
    if differs_in_spacing_only(vector["solution_str"]):
        assert published["valid_answer"] == 0
        return
    accuracy = accuracy_or_none(vector["solution_str"], vector["ground_truth"])
    assert (accuracy is not None) == bool(published["valid_answer"])
    assert (accuracy or 0) == pytest.approx(published["score"])


def test_golden_spacing_is_where_parse_ranking_is_kinder():
    kinder = [
        vector
        for vector in bare_rankings()
        if differs_in_spacing_only(vector["solution_str"])
        and accuracy_or_none(vector["solution_str"], vector["ground_truth"]) is not None
    ]
    assert kinder
    assert all("\n" not in vector["solution_str"].strip() for vector in kinder)


@pytest.mark.parametrize(
    "vector",
    [
        v
        for v in golden("grrm_ranking.jsonl")
        if v["fn"] == "ranking_reward_fn_zero" and v["out"]["value"]["valid_answer"]
    ],
    ids=identifier,
)
def test_golden_ranking_on_the_last_line(vector):
    last = last_line(vector["solution_str"])
    assert accuracy_or_none(last, vector["ground_truth"]) == pytest.approx(vector["out"]["value"]["score"])


def scores_in_order(text, prompt_type, n):
    try:
        if prompt_type == "ranking":
            levels = rank_levels(parse_ranking(last_line(text) or ""))
            if sorted(levels) != labels(n):
                return None
        else:
            levels = parse_scores(last_line(text) or "", n)
    except ValueError:
        return None
    return [levels[label] for label in labels(n)]


def stated_difference(vector):
    """The rule by which an answer that the published reader takes is refused here, or the other way round."""
    line = last_line(vector["text"]) or ""
    if vector["prompt_type"] == "ranking":
        return "spacing" if differs_in_spacing_only(line) else None
    names = re.findall(r"(\w)\s*:", line)
    numbers = re.findall(r":\s*([^,]*)", line)
    if any(not re.fullmatch("10|[0-9]", number.strip()) for number in numbers):
        return "digits or range"
    return "repeated label" if len(names) != len(set(names)) else None


group_scores = [
    v for v in golden("grrm_group_scores.jsonl") if v["prompt_type"] in ("ranking", "ranking_score")
]


@pytest.mark.parametrize("vector", group_scores, ids=identifier)
def test_golden_scores_on_the_last_line(vector):
    ours = scores_in_order(vector["text"], vector["prompt_type"], vector["n"])
    published = vector["run_rm_GQM.extract_score"]["value"]
    match stated_difference(vector):
        case "spacing":
            assert published is None
        case "digits or range" | "repeated label":
            assert ours is None
        case _:
            assert ours == published


@pytest.mark.parametrize(
    "vector", [v for v in golden("grrm_group_scores.jsonl") if v["prompt_type"] == "score"], ids=identifier
)
def test_golden_scores_go_by_their_labels(vector):
    # Published: scores by position, whatever the labels say or whether there are any.
    ours = parse_score_answer(vector["text"], vector["n"])
    published = vector["run_rm_GQM.extract_score"]["value"]
    named = re.findall(r"([A-Z]): ?[0-9]+", last_line(vector["text"]) or "")
    if re.search(r"[0-9]\.[0-9]", last_line(vector["text"]) or ""):
        assert published is None, "published: integers only"
    elif isinstance(ours, RankingAnswer):
        assert [ours.scores[label] for label in named] == published
    else:
        assert published is None or sorted(named) != labels(vector["n"])


READERS = {
    parse_answer: "### Final Ranking:\n\nB > A\n\n### Scores:\n\nB: 9, A: 5",
    read_answer: "### Final Ranking\n**B > A**\n### Scores\nB: 9/10, A: 5",
    parse_score_answer: "A: 5, B: 9",
    parse_ranking_answer: "B > A",
}


@pytest.mark.parametrize("read", READERS)
def test_thinking_is_no_verdict(read):
    verdict = READERS[read]
    assert read(f"<think>Hm.</think>\n\n{verdict}", 2).ranking == [{"B"}, {"A"}]
    assert read(f"Well.\n{verdict}\n<think>So it is.</think>", 2).ranking == [{"B"}, {"A"}]
    for text in (f"<think>{verdict}</think>", f"<think>Hm.\n{verdict}", f"Well.\n{verdict}\n<think>"):
        assert isinstance(read(text, 2), InvalidAnswer), text
    assert "never ends" in read(f"<think>Hm.\n{verdict}", 2).detail
