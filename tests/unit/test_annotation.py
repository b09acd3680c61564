"""What a teacher's data is made of: degraded copies, choice for spread, agreement, checks, statistics."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grrm.annotation.agreement import agreement, decide, seeded_orders
from grrm.annotation.candidates import group_of, of_degraded, of_file, sample_pairs
from grrm.annotation.checks import failed_check, response_of
from grrm.annotation.degrade import WAYS, degrade, pieces
from grrm.annotation.quality import by_position, by_system, quality_of, tenths
from grrm.annotation.rankings import check_answered, judge_of, ranking_row
from grrm.annotation.selection import Candidate, choose, distance, distinct, group_size
from grrm.extract import code_block
from grrm.files import UserError
from grrm.inference.answers import RankedGroup
from grrm.prompts import find_ranking_prompt, find_translation_prompt, ranking_answer
from grrm.ranking import parse_answer
from grrm.schemas import write_table

WORDS = st.lists(st.text("abcdefg", min_size=1, max_size=6), min_size=2, max_size=20)
SCORES = st.lists(st.integers(0, 10), min_size=4, max_size=4)

# ---------------------------------------------------------------- degraded copies


@given(WORDS, WORDS, st.sampled_from(sorted(WAYS)), st.floats(0.01, 1), st.integers())
def test_a_degraded_copy_differs_and_is_drawn_by_the_seed(
    words: list[str], source: list[str], how: str, share: float, seed: int
) -> None:
    text, of = " ".join(words), " ".join(source)
    found = degrade(text, of, how, share, random.Random(seed))
    assert found == degrade(text, of, how, share, random.Random(seed))
    assert found is None or (found.strip() and found != text)


@given(WORDS, st.floats(0.01, 1), st.integers())
def test_each_way_does_what_it_says(words: list[str], share: float, seed: int) -> None:
    text, length = " ".join(words), min(max(1, round(share * len(words))), len(words) - 1)

    def made(how: str) -> list[str]:
        return (degrade(text, "QUELLE TEXT", how, share, random.Random(seed)) or text).split()

    assert len(made("dropped")) == len(words) - length or made("dropped") == words
    assert len(made("doubled")) == len(words) + length
    assert sorted(made("swapped")) == sorted(words)
    assert {"QUELLE", "TEXT"} & set(made("untranslated"))


def test_texts_without_spaces_are_damaged_by_characters() -> None:
    text = "别把鸡蛋都放在同一个篮子里"
    assert pieces(text) == list(text)
    found = degrade(text, "Don't put all eggs in one basket", "dropped", 0.3, random.Random(1))
    assert found is not None and len(found) == len(text) - round(0.3 * len(text))
    assert " " not in (degrade(text, "别 eggs", "doubled", 0.3, random.Random(1)) or "")


@pytest.mark.parametrize("text", ["", "word", "字"])
def test_what_is_too_short_has_no_degraded_copy(text: str) -> None:
    assert degrade(text, "source", "dropped", 0.5, random.Random(0)) is None


def test_a_share_of_the_sources_gets_a_degraded_copy_whatever_stands_beside_them() -> None:
    rows = [pair(f"Quelle {i}", f"one two three four {i}") for i in range(400)]
    system = {"name": "x", "how": "dropped", "share": 0.3, "rate": 0.25}
    found = of_degraded(system, rows, [[row["trg_text"]] for row in rows], 0)
    assert 60 <= sum(map(len, found)) <= 140
    assert of_degraded(system, rows[100:], [[row["trg_text"]] for row in rows[100:]], 0) == found[100:]


# ---------------------------------------------------------------- choice


def pair(source: str, target: str, **more: str) -> dict[str, Any]:
    return {"src_text": source, "trg_text": target, "src_lang": "de", "trg_lang": "en", **more}


TEXTS = st.lists(st.text("abc ", min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=7)


@given(TEXTS, st.integers(2, 4), st.randoms())
def test_the_chosen_are_distinct_and_hold_the_farthest_pair(
    texts: list[str], size: int, rng: random.Random
) -> None:
    pool = distinct([Candidate(text, (str(i),)) for i, text in enumerate(texts)])
    chosen = choose(pool, size)
    assert len(chosen) == min(size, len(pool)) == len({one.text for one in chosen})
    assert set(chosen) <= set(pool)
    shuffled = rng.sample(pool, len(pool))
    assert choose(shuffled, size) == chosen
    if len(pool) >= 2:
        farthest = max(distance(a.text, b.text) for a, b in combinations(pool, 2))
        assert max(distance(a.text, b.text) for a, b in combinations(chosen, 2)) == farthest


def test_equal_texts_are_one_candidate_of_all_that_gave_it() -> None:
    given_by = [("a", "Gar\u00e7on  da"), ("b", " Garc\u0327on da\n"), ("c", "   "), ("a", "x")]
    found = distinct([Candidate(text, (name,)) for name, text in given_by])
    assert [(one.text, one.systems) for one in found] == [("Gar\u00e7on  da", ("a", "b")), ("x", ("a",))]


def test_each_further_candidate_is_the_one_least_like_the_chosen() -> None:
    texts = ["the cat sat", "the cat sits", "a wholly other thing", "the cat sat down"]
    chosen = {one.text for one in choose([Candidate(text, ("s",)) for text in texts], 3)}
    assert "a wholly other thing" in chosen and len(chosen) == 3


def test_sizes_are_drawn_as_often_as_they_stand_in_the_list() -> None:
    drawn = [group_size([2, 3, 4, 4], 9, random.Random(i)) for i in range(2000)]
    assert [abs(drawn.count(size) / 2000 - share) < 0.04 for size, share in ((2, 0.25), (3, 0.25), (4, 0.5))]
    assert group_size([4], 3, random.Random(0)) == 3
    assert group_size([4], 1, random.Random(0)) is None


def test_a_group_depends_on_its_texts_alone() -> None:
    texts = {"one": ["good morning all"], "two": ["bad evening", "good  morning all"], "nul": ["a\0b"]}
    row = pair("Guten Morgen", "good morning")
    group = group_of(row, texts, [4], 7)
    assert group == group_of(dict(row), dict(texts), [4], 7)
    assert group is not None
    assert dict(zip(group["mt_texts"], group["systems"], strict=True)) == {
        "good morning all": "one+two",
        "bad evening": "two",
    }
    assert group_of(row, {"one": ["same"], "two": ["same"]}, [2], 7) is None


def test_the_same_sources_are_drawn_when_others_come_after_them() -> None:
    rows = [pair(f"Quelle {i}", "x") for i in range(50)]
    few = sample_pairs(rows, 10, 3)
    assert len(few) == 10 and few != rows[:10]
    assert [row for row in sample_pairs(rows, 20, 3) if row in few] == few
    assert sample_pairs(rows, None, 3) == sample_pairs(rows, 50, 3) == rows
    twice = [*rows, pair("Quelle 7", "another"), pair("Quelle 50", "x")]
    assert sample_pairs(twice, None, 3) == [*rows, twice[-1]]


# ---------------------------------------------------------------- files of other systems


def test_translations_are_found_by_their_sources(tmp_path) -> None:
    rows = [pair(f"Quelle {i}", "x") for i in range(3)]
    table = tmp_path / "deepl.tsv"
    table.write_text("src_text\ttranslation\nQuelle 2\ttwo\nQuelle 0\tzero\nother\tno\nQuelle 0\tnull\n")
    system = {"file": str(table), "source_file": None, "column": "translation"}
    assert of_file(system, rows) == [["zero", "null"], [], ["two"]]
    (tmp_path / "src").write_text("Quelle 1\nQuelle 2\n")
    (tmp_path / "mt").write_text("one\n\n")
    lines = {"file": str(tmp_path / "mt"), "source_file": str(tmp_path / "src"), "column": "translation"}
    assert of_file(lines, rows) == [[], ["one"], []]


def test_a_file_that_cannot_be_used_is_an_error_in_one_line(tmp_path) -> None:
    rows = [pair("Quelle", "x")]
    (tmp_path / "src").write_text("Quelle\n")
    (tmp_path / "mt").write_text("one\ntwo\n")
    (tmp_path / "t.tsv").write_text("src_text\tmt\nQuelle\tone\n")
    (tmp_path / "u.tsv").write_text("src_text\ttranslation\nother\tone\n")

    def error(**system: Any) -> str:
        with pytest.raises(UserError) as found:
            of_file({"source_file": None, "column": "translation", **system}, rows)
        return str(found.value)

    assert "2 lines, but" in error(file=str(tmp_path / "mt"), source_file=str(tmp_path / "src"))
    assert "translation is missing; found src_text, mt" in error(file=str(tmp_path / "t.tsv"))
    assert "translates none of the 1 sources" in error(file=str(tmp_path / "u.tsv"))


# ---------------------------------------------------------------- orders and agreement


@given(st.integers(2, 6), st.integers(1, 9), st.integers())
def test_orders_differ_and_each_second_is_the_reverse(candidates: int, count: int, seed: int) -> None:
    orders = seeded_orders(candidates, count, random.Random(seed))
    assert len(orders) == min(count, math.factorial(candidates)) == len({tuple(order) for order in orders})
    assert all(sorted(order) == list(range(candidates)) for order in orders)
    assert orders[1:2] in ([], [orders[0][::-1]])


@given(st.lists(SCORES, min_size=1, max_size=5))
def test_scores_are_medians_and_agreement_is_a_share(answers: list[list[int]]) -> None:
    found = decide(answers)
    for place, score in enumerate(found.scores):
        given_scores = sorted(answer[place] for answer in answers)
        assert score in given_scores
        assert sum(one <= score for one in given_scores) * 2 >= len(answers)
        assert sum(one >= score for one in given_scores) * 2 >= len(answers)
    assert 0 <= found.agreement <= 1
    assert found.agreement == agreement(answers[::-1])
    assert 0 <= found.chosen < len(answers)


@given(SCORES, st.integers(1, 4))
def test_equal_answers_agree_wholly(scores: list[int], count: int) -> None:
    found = decide([scores] * count)
    assert (found.agreement, found.scores, found.chosen) == (1.0, scores, 0)


def test_agreement_is_the_mean_over_pairs_of_orders() -> None:
    one, other, third = [9, 5, 1], [9, 1, 5], [9, 5, 5]
    assert agreement([one, other]) == pytest.approx(2 / 3)
    assert agreement([one, other, third]) == pytest.approx((2 / 3 + 2 / 3 + 2 / 3) / 3)
    assert agreement([one]) == 1.0


def test_the_analysis_is_that_of_the_answer_closest_to_the_medians() -> None:
    assert decide([[1, 9, 5], [9, 5, 1], [9, 5, 3]]).chosen == 2
    # 8.5 and a half: whole numbers, as a GRRM writes them.
    assert decide([[8.5, 0.4]]).scores == [9, 0]


PROMPT = find_ranking_prompt("ranking_score")
ROW = {**pair("Quelle", "target"), "mt_texts": ["a", "b", "c"], "systems": ["one", "two", "two+three"]}


def answered(order: list[int], scores: list[int], analysis: str = "B is best.") -> RankedGroup:
    shown = [scores[i] for i in order]
    return RankedGroup(ranking_answer(analysis, shown), [float(one) for one in scores], None, None, order, 1)


def test_a_row_is_written_as_the_chosen_answer_saw_the_candidates() -> None:
    orders = [[2, 0, 1], [1, 0, 2]]
    answers = [answered(orders[0], [5, 2, 9], "A wins."), answered(orders[1], [4, 2, 9], "C wins.")]
    judged = judge_of(ROW, orders, answers, PROMPT, 0.8)
    assert judged.dropped is None and judged.decision is not None
    # The lower of two middle ones.
    assert judged.decision.scores == [4, 2, 9]
    row = ranking_row(judged, {"model": "t"})
    assert (row["mt_texts"], row["scores"]) == (["b", "a", "c"], [2, 4, 9])
    assert row["analysis"] == "C wins." and row["systems"] == ["two", "one", "two+three"]
    assert '"model": "t"' in row["provenance"]
    learnt = parse_answer(ranking_answer(row["analysis"], row["scores"]), 3)
    assert getattr(learnt, "scores", None) == {"A": 2, "B": 4, "C": 9}


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([answered([0, 1, 2], [9, 5, 1]), answered([2, 1, 0], [1, 5, 9])], "disagreement"),
        ([answered([0, 1, 2], [9, 5, 1]), RankedGroup("", None, "refused", "no", [2, 1, 0], 1)], "refused"),
        ([RankedGroup("x", None, "header", "no", [0, 1, 2], 2)], "header"),
        (
            [
                RankedGroup("", None, "timeout", "", [0, 1, 2], 1),
                RankedGroup("", None, "budget", "", [2, 1, 0], 1),
            ],
            "budget",
        ),
        ([answered([0, 1, 2], [9, 5, 1], "a\0b")], "no_analysis"),
    ],
)
def test_a_group_without_an_answer_in_every_order_is_no_row(answers: list[RankedGroup], reason: str) -> None:
    assert judge_of(ROW, [one.candidate_order for one in answers], answers, PROMPT, 0.8).dropped == reason


def test_a_share_that_is_reached_is_enough() -> None:
    answers = [answered([0, 1, 2], [9, 5, 1]), answered([2, 1, 0], [9, 1, 5])]
    orders = [one.candidate_order for one in answers]
    assert judge_of(ROW, orders, answers, PROMPT, 2 / 3).dropped is None
    assert judge_of(ROW, orders, answers, PROMPT, 0.67).dropped == "disagreement"


def test_too_much_that_a_server_left_unanswered_stops() -> None:
    check_answered(Counter(timeout=2, refused=50), 100, 0.02, "teacher", "")
    said = (
        r"teacher: 3 of 100 were not answered \(2 timeout, 1 malformed; of the last: \?\), more than "
        r"max_failure_share 0\.02"
    )
    with pytest.raises(UserError, match=said):
        check_answered(Counter(timeout=2, refused=50, malformed=1), 100, 0.02, "teacher", "?")


# ---------------------------------------------------------------- translations

TRANSLATE = find_translation_prompt("codeblock-think")
BLOCK = "```\nGood morning.\n```"


@pytest.mark.parametrize(
    ("answer", "response"),
    [
        (f"A greeting.\n\n{BLOCK}", "A greeting.\n\n```\nGood morning.\n```"),
        (f"<think>Hmm</think>A greeting.\n{BLOCK}\n", "A greeting.\n\n```\nGood morning.\n```"),
        ("Hm:\n```de\nGuten Morgen\n```\nSo:\n" + BLOCK, None),
        ("A greeting:\n\n```text\nGood morning.\n```", "A greeting:\n\n```\nGood morning.\n```"),
        (BLOCK, "no_analysis"),
        ("A greeting. Good morning.", "no_translation"),
        (f"<think>A greeting.\n\n{BLOCK}", "no_translation"),
        ("A\0greeting.\n\n" + BLOCK, "no_text"),
    ],
)
def test_a_response_is_analysis_and_one_code_block(answer: str, response: str | None) -> None:
    found = response_of(answer, TRANSLATE)
    if isinstance(found, str):
        assert found == response
        return
    assert found[1] == "Good morning." == code_block(found[0])
    assert response is None or found[0] == response


@given(st.text(), st.text())
def test_whatever_a_teacher_writes_is_a_response_or_a_reason(analysis: str, translation: str) -> None:
    found = response_of(f"{analysis}\n````\n{translation}\n````", TRANSLATE)
    if not isinstance(found, str):
        assert code_block(found[0]) == found[1]
        assert found[0].strip() and "\0" not in found[0]


def test_length_and_language_are_checked() -> None:
    checks = {"language": True, "length": [0.5, 2]}
    row = {"src_text": "Der Hund schläft.", "trg_text": "The dog is sleeping.", "trg_lang": "en"}
    assert failed_check(row, "The dog sleeps.", checks) is None
    assert failed_check(row, "Dog.", checks) == "length"
    assert failed_check(row, "The dog" * 9, checks) == "length"
    german = "Der Hund ist nicht da und die Katze"
    assert failed_check({**row, "trg_text": german}, german, checks) == "language"
    assert failed_check({**row, "trg_text": german}, german, {**checks, "language": False}) is None


# ---------------------------------------------------------------- statistics


def group(answers: list[tuple[list[int], list[int]]], **more: Any) -> dict[str, Any]:
    return {"answers": answers, "agreement": 1.0, "dropped": None, "scores": answers[0][1],
            "systems": [["s"] for _ in answers[0][1]], **more}  # fmt: skip


def test_a_teacher_that_favours_the_first_place_is_seen() -> None:
    biased = [group([([0, 1], [9, 5]), ([1, 0], [5, 9])]), group([([1, 0], [4, 8]), ([0, 1], [8, 4])])]
    assert [(row["position"], row["deviation"], row["n"]) for row in by_position(biased)] == [
        (0, 2.0, 4),
        (1, -2.0, 4),
    ]
    fair = [group([([0, 1], [9, 5]), ([1, 0], [9, 5])])]
    assert all(row["deviation"] == 0 for row in by_position(fair))
    assert by_position([group([([0, 1], [9, 5])])]) == []


def test_scores_are_told_by_system() -> None:
    found = by_system(
        [{"systems": [["a", "b"], ["c"]], "scores": [8, 2]}, {"systems": [["a"], ["c"]], "scores": [10, 0]}]
    )
    assert list(found) == ["a", "b", "c"]
    assert (found["a"]["mean"], found["a"]["n"], found["a"]["counts"][8]) == (9, 2, 1)


def test_statistics_are_of_what_was_answered_and_of_what_was_kept() -> None:
    kept = group([([0, 1], [7, 7]), ([1, 0], [7, 7])])
    dropped = group([([0, 1], [9, 5]), ([1, 0], [5, 9])], agreement=0.0, dropped="disagreement")
    refused = {**kept, "answers": [([0, 1], None)], "agreement": None, "dropped": "refused", "scores": None}
    found = quality_of([kept, dropped, refused], 0.8)
    assert found["agreement"] == {"limit": 0.8, "n": 2, "mean": 0.5, "tenths": [1, *[0] * 8, 1]}
    assert found["sizes"] == {2: 1} and found["tied_pairs"] == 1.0
    assert found["systems"]["s"]["n"] == 2
    nothing = quality_of([refused], 0.8)
    assert nothing["agreement"]["mean"] is None and nothing["tied_pairs"] is None


@given(st.lists(st.floats(0, 1)))
def test_tenths_hold_all(values: list[float]) -> None:
    assert sum(tenths(values)) == len(values)
    assert tenths([0.7, 0.1 + 0.2, 1.0])[7] == 1 == tenths([0.3])[3]


def test_candidates_are_a_table_of_their_own(tmp_path) -> None:
    write_table(tmp_path / "t.parquet", [ROW], "candidates")
    with pytest.raises(UserError, match="2 to 26 candidates"):
        write_table(tmp_path / "t.parquet", [{**ROW, "mt_texts": ["a"]}], "candidates")
