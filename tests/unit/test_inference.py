"""Asking models: seeds, retries, orders, failures. The backend is a script."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grrm.files import UserError
from grrm.inference import Completion, Decoding, Engine, Request, Retries, rank, translate
from grrm.inference.attempts import NO_RETRIES, seed_of
from grrm.inference.backends import choose_backend, find_model
from grrm.inference.journal import Journal
from grrm.inference.progress import Progress
from grrm.inference.runs import Tally, rank_rows, settings, shuffled_order, translate_rows
from grrm.prompts import find_ranking_prompt, find_translation_prompt

RANKING = find_ranking_prompt("config/prompts/toy_ranking.yaml")
TRANSLATION = find_translation_prompt("config/prompts/toy_translation.yaml")
ANSWER = "q is best\n\n### Final Ranking:\n\nB > A = C\n\n### Scores:\n\nB: 9, A: 5, C: 5\n"
ROW = {"src_text": "s", "src_lang": "xx", "trg_lang": "yy", "mt_texts": ["p", "q", "r"]}


class Script:
    """A backend that answers as a function says, last request first, and remembers what it was asked."""

    def __init__(self, answer: Callable[[Request, Decoding], str | Completion]) -> None:
        self.answer = answer
        self.asked: list[tuple[Request, Decoding]] = []

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        for position in reversed(range(len(requests))):
            self.asked.append((requests[position], decoding))
            written = self.answer(requests[position], decoding)
            yield position, written if isinstance(written, Completion) else Completion(written)

    def origin(self) -> dict[str, Any]:
        return {"model": "script", "weights": "0"}

    def other_files(self) -> dict[str, str]:
        return {}

    def context(self) -> None:
        return None

    def close(self) -> None:
        pass


def rows(*sources: str) -> list[dict[str, Any]]:
    return [{**ROW, "src_text": source} for source in sources]


def source_of(request: Request) -> str:
    """The source in a prompt of the toy world."""
    return request.text.splitlines()[0].rpartition(": ")[2]


# ---------------------------------------------------------------- ranking


def test_scores_come_back_in_the_order_of_the_row():
    """Shown in the order 2, 0, 1: label B is candidate 0."""
    backend = Script(lambda request, decoding: ANSWER)
    results = rank(backend, rows("a", "b"), RANKING, Decoding(9), orders=[[2, 0, 1], [0, 1, 2]])
    assert [result.scores for result in results] == [[9, 5, 5], [5, 9, 5]]
    assert results[0].candidate_order == [2, 0, 1]
    assert "A: r\nB: p\nC: q" in backend.asked[1][0].text


@pytest.mark.parametrize(
    ("written", "failure"),
    [
        (Completion(ANSWER, "unfinished", "cut"), "unfinished"),
        (Completion("", "prompt_too_long", "long"), "prompt_too_long"),
        ("no idea", "incomplete"),
        (ANSWER.replace("B: 9", "B: 900"), "scores"),
        (ANSWER.replace("B: 9", "B: -3"), "scores"),
        (ANSWER.replace("C: 5", "D: 5"), "scores"),
        (ANSWER.replace("B > A", "A > B"), "contradiction"),
    ],
)
def test_an_answer_that_cannot_be_used_has_a_reason_and_no_scores(written, failure):
    (result,) = rank(Script(lambda *_: written), [ROW], RANKING, Decoding(9), retries=NO_RETRIES)
    assert (result.scores, result.failure, result.attempts) == (None, failure, 1)
    assert result.detail


def test_a_pointwise_prompt_asks_about_each_candidate():
    scores = {"p": "fine\n**8**", "q": "8/10", "r": "thought\nScore: 7.5"}
    backend = Script(lambda request, _: next(scores[c] for c in "pqr" if f"\n{c}\n" in request.text))
    (result,) = rank(backend, [ROW], find_ranking_prompt("sqm"), Decoding(9), orders=[[2, 1, 0]])
    assert (result.scores, result.failure) == ([8, 8, 7.5], None)
    assert result.answer == "A:\nthought\nScore: 7.5\n\nB:\n8/10\n\nC:\nfine\n**8**"


def test_of_a_pointwise_group_only_the_failed_candidate_is_asked_about_again():
    def answer(request: Request, decoding: Decoding) -> str:
        return "900" if "\nq\n" in request.text and decoding.temperature < 0.25 else "5"

    backend = Script(answer)
    (result,) = rank(backend, [ROW], find_ranking_prompt("sqm"), Decoding(9), retries=Retries(6))
    assert (result.scores, result.attempts) == ([5, 5, 5], 4)
    again = [(request, decoding) for request, decoding in backend.asked if decoding.temperature > 0]
    assert all("\nq\n" in request.text for request, _ in again)
    assert [decoding.temperature for _, decoding in again] == pytest.approx([0.1, 0.2, 0.3])


def test_a_pointwise_group_with_a_failed_candidate_has_no_scores():
    backend = Script(lambda request, _: "-3" if "\nq\n" in request.text else "5")
    (result,) = rank(backend, [ROW], find_ranking_prompt("sqm"), Decoding(9), orders=[[1, 0, 2]])
    assert (result.scores, result.failure) == (None, "scores")
    assert result.detail
    assert "candidate A" in result.detail


@pytest.mark.parametrize("orders", [[[0, 1, 2], [0, 1, 2]], [[0, 1]], [[0, 1, 1]]])
def test_an_order_that_is_no_permutation(orders):
    with pytest.raises(UserError, match="order"):
        rank(Script(lambda *_: ANSWER), [ROW], RANKING, Decoding(9), orders=orders)


def test_without_more_words_a_group_is_ranked_as_the_command_does():
    backend = Script(lambda _, decoding: ANSWER if decoding.temperature > 0.55 else "no idea")
    (result,) = rank(backend, [ROW])
    assert (result.scores, result.attempts) == ([5, 9, 5], 7)
    assert "### Final Ranking:" in backend.asked[0][0].text
    assert backend.asked[0][1] == Decoding(8192)


def test_a_short_context_leaves_room_for_a_prompt():
    backend = Script(lambda *_: ANSWER)
    backend.context = lambda: 512  # type: ignore[method-assign, assignment, return-value]
    rank(backend, [ROW], "config/prompts/toy_ranking.yaml")
    translate(backend, [ROW], Path("config/prompts/toy_translation.yaml"), retries=NO_RETRIES)
    rank(backend, [ROW], RANKING, Decoding(9))
    assert [decoding.max_new_tokens for _, decoding in backend.asked] == [256, 256, 9]


@pytest.mark.parametrize("answer", [rank, translate])
def test_a_prompt_that_is_not_there_is_named_before_a_model_is_loaded(answer):
    with pytest.raises(UserError, match="nosuch: no such prompt file"):
        answer("no/model", [ROW], "nosuch")


# ---------------------------------------------------------------- translating, and asking again


def test_a_translation_is_taken_out_of_its_code_block():
    (result,) = translate(Script(lambda *_: "think\n\n```\nba du\n```"), [ROW], TRANSLATION, Decoding(9))
    assert (result.translation, result.failure, result.detail) == ("ba du", None, None)


def test_what_failed_is_asked_again_hotter_and_with_another_seed_and_nothing_else_is():
    def answer(request: Request, decoding: Decoding) -> str:
        return "```\nx\n```" if source_of(request) != "b" or decoding.temperature > 0.75 else "no block"

    backend = Script(answer)
    results = translate(backend, rows("a", "b", "c"), TRANSLATION, Decoding(9, 0.5), retries=Retries(5))
    assert [result.translation for result in results] == ["x", "x", "x"]
    assert [result.attempts for result in results] == [1, 4, 1]
    asked = [(request.seed, decoding) for request, decoding in backend.asked if source_of(request) == "b"]
    assert [decoding.temperature for _, decoding in asked] == pytest.approx([0.5, 0.6, 0.7, 0.8])
    assert len({seed for seed, _ in asked}) == 4
    assert len(backend.asked) == 6


def test_what_still_fails_is_a_failure_and_not_a_text():
    (result,) = translate(Script(lambda *_: "no block"), [ROW], TRANSLATION, Decoding(9), retries=Retries(2))
    assert (result.translation, result.failure, result.attempts) == (None, "no_translation", 3)
    assert result.raw == "no block"


@pytest.mark.parametrize("failure", ["prompt_too_long", "connection", "rejected"])
def test_what_the_backend_could_not_do_is_not_asked_again(failure):
    backend = Script(lambda *_: Completion("", failure, "why"))
    (result,) = translate(backend, [ROW], TRANSLATION, Decoding(9), retries=Retries(3))
    assert (result.failure, result.detail, result.attempts) == (failure, "why", 1)


@pytest.mark.parametrize(
    ("first", "temperatures"),
    [(0.0, [0, 0.1, 0.2]), (0.95, [0.95, 1, 1]), (1.0, [1, 1, 1]), (1.3, [1.3, 1.3, 1.3])],
)
def test_retries_are_hotter_up_to_a_limit(first, temperatures):
    retries = Retries(2)
    assert [retries.temperature(first, attempt) for attempt in range(3)] == pytest.approx(temperatures)


def test_the_same_text_is_asked_once_if_the_answer_is_greedy_and_each_time_if_it_is_sampled():
    backend = Script(lambda _, decoding: "```\nx\n```" if decoding.temperature else "no block")
    results = translate(backend, rows("a", "a", "b"), TRANSLATION, Decoding(9), retries=Retries(1))
    assert [result.translation for result in results] == ["x", "x", "x"]
    assert [decoding.temperature for _, decoding in backend.asked] == [0, 0, 0.1, 0.1, 0.1]


def test_prompts_without_a_chat_template_are_continued():
    for name, chat in [("codeblock-think", True), ("tower", True), ("seed-x", False), ("SSR", False)]:
        backend = Script(lambda *_: "x")
        translate(backend, [{**ROW, "trg_lang": "zh_CN"}], name, Decoding(9), retries=NO_RETRIES)
        assert [request.chat for request, _ in backend.asked] == [chat]


def test_seeds_depend_on_run_row_and_attempt_alone():
    def seeds(sources: str, decoding: Decoding) -> dict[str, int]:
        backend = Script(lambda *_: "x")
        translate(backend, rows(*sources), TRANSLATION, decoding)
        return {source_of(request): request.seed for request, _ in backend.asked}

    few, many = seeds("abc", Decoding(9, seed=1)), seeds("abcd", Decoding(9, 1.0, seed=1))
    assert few.items() <= many.items()
    assert not set(many.values()) & set(seeds("abcd", Decoding(9, seed=2)).values())


@given(st.lists(st.integers(), min_size=1, max_size=4))
def test_a_seed_is_one_that_every_backend_takes(key):
    assert 0 <= seed_of(*key) < 2**31


# ---------------------------------------------------------------- runs into a journal


def test_every_run_has_a_seed_of_its_own_and_run_1_of_seed_3_is_run_0_of_seed_4(tmp_path):
    def answers(seed: int, runs: int) -> list[dict[str, Any]]:
        backend = Script(lambda request, _: f"```\n{request.seed}\n```")
        table, decoding = rows("a", "b"), Decoding(9, 1.0, seed)
        made_from = settings("translate", backend, table, TRANSLATION, decoding, Retries(), runs)
        with Journal(tmp_path / f"{seed}.{runs}", made_from, runs, len(table)) as journal:
            tally = translate_rows(backend, table, TRANSLATION, decoding, journal)
            assert tally.usable == 2 * runs
            return list(journal.results())

    two = answers(3, 2)
    assert [(row["run"], row["index"], row["seed"]) for row in two] == [
        (0, 0, 3),
        (0, 1, 3),
        (1, 0, 4),
        (1, 1, 4),
    ]
    assert len({row["translation"] for row in two}) == 4
    assert [row["translation"] for row in two[2:]] == [row["translation"] for row in answers(4, 1)]
    assert {key: two[0][key] for key in ("model", "weights", "decoding", "src_lang")} == {
        "model": "script",
        "weights": "0",
        "decoding": {"max_new_tokens": 9, "temperature": 1.0, "seed": 3, "top_p": 1.0},
        "src_lang": "xx",
    }


def test_shuffled_orders_differ_by_run_and_row_and_not_by_what_is_missing(tmp_path):
    backend = Script(lambda *_: ANSWER)
    table = [{**ROW, "mt_texts": list("pqrstuvw")}] * 3
    with Journal(tmp_path / "out", {}, 2, 3) as journal:
        rank_rows(backend, table, RANKING, Decoding(9, seed=5), journal, candidate_order="shuffled")
        orders = [row["candidate_order"] for row in journal.results()]
    assert len({tuple(order) for order in orders}) == 6
    assert orders[4] == shuffled_order(8, 6, 1)


def test_what_a_server_did_not_answer_is_left_for_a_later_run(tmp_path):
    down = {"b"}

    def answer(request: Request, decoding: Decoding) -> str | Completion:
        return Completion("", "connection", "refused") if source_of(request) in down else "```\nx\n```"

    table = rows("a", "b", "c")
    not_answered = r"1 of 3 rows were not answered \(1 connection; of the last: refused\).*partial"
    with Journal(tmp_path / "out", {}, 1, 3) as journal, pytest.raises(UserError, match=not_answered):
        translate_rows(Script(answer), table, TRANSLATION, Decoding(9), journal)
    down.clear()
    backend = Script(answer)
    with Journal(tmp_path / "out", {}, 1, 3) as journal:
        assert len(list(journal.results())) == 2
        assert translate_rows(backend, table, TRANSLATION, Decoding(9), journal).usable == 3
    assert [source_of(request) for request, _ in backend.asked] == ["b"]


def test_what_is_known_of_the_last_unanswered_is_one_short_line():
    tally = Tally()
    tally.count("unparsable", "no\nscore")
    assert tally.lost == ""
    tally.count("server", "HTTP 503 from http://h: <html>\r\n<h1>Busy</h1>" + "\n" * 500 + "x" * 500)
    assert (
        tally.lost.startswith("HTTP 503 from http://h: <html> <h1>Busy</h1> xxx") and len(tally.lost) == 300
    )
    tally.count("timeout")
    assert tally.lost == "nothing is known"


def test_the_tally_counts_failures_by_reason_over_all_of_the_journal(tmp_path):
    backend = Script(lambda request, _: "```\nx\n```" if source_of(request) == "a" else "?")
    seen = []
    with Journal(tmp_path / "out", {}, 1, 3) as journal:
        tally = translate_rows(
            backend, rows("a", "b", "c"), TRANSLATION, Decoding(9), journal,
            watch=lambda tally: seen.append(tally.usable + tally.failures.total()),
        )  # fmt: skip
    assert str(tally) == "1 of 3 answers are usable; failed: 2 no_translation"
    assert seen == [1, 2, 3]
    with Journal(tmp_path / "out", {}, 1, 3) as journal:
        again = translate_rows(backend, rows("a", "b", "c"), TRANSLATION, Decoding(9), journal)
    assert again == tally


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    "values",
    [
        {"max_new_tokens": 0},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": 0.0},
        {"top_p": 1.1},
    ],
)
def test_decoding_that_makes_no_sense(values):
    with pytest.raises(UserError, match=next(iter(values))):
        Decoding(**{"max_new_tokens": 9, **values})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"backend": "tensorrt"}, "tensorrt"),
        ({"batch_size": 0}, "batch_size"),
        ({"backend": "vllm", "base_url": "http://127.0.0.1:1/v1"}, "base URL"),
        ({"backend": "openai"}, "base URL"),
    ],
)
def test_an_engine_that_makes_no_sense(values, named):
    with pytest.raises(UserError, match=named):
        Engine(**values)


def test_a_base_url_is_asked_for_a_model_by_its_name():
    assert choose_backend(Engine(base_url="http://127.0.0.1:1/v1")) == "openai"
    assert choose_backend(Engine()) == "transformers"  # no vllm beside the driver


def test_a_model_that_is_nowhere(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no such model folder"):
        find_model(tmp_path / "nowhere")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="somebody/nothing: no such model folder, and the hub"):
        find_model("somebody/nothing")


# ---------------------------------------------------------------- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "shown"), [(Terminal(), "3/3"), (io.StringIO(), "3 of 3 answers, 1 failed")]
)
def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(stream, shown):
    tally = Tally()
    with Progress(3, stream) as progress:
        for failure in (None, "scores", None):
            tally.count(failure)
            progress(tally)
    assert shown in stream.getvalue()
    assert ("\r" in stream.getvalue()) is stream.isatty()


def test_progress_tells_rate_cost_and_time_left(monkeypatch):
    clock = iter([0.0, 20.0, 40.0])
    monkeypatch.setattr("grrm.inference.progress.time.monotonic", lambda: next(clock))
    stream, tally, there = io.StringIO(), Tally(), 3
    with Progress(10, stream, cost=lambda: "7 calls, cost 0.25", there=lambda: there) as progress:
        tally.usable = 5
        progress(tally)
        tally.usable = 7
        progress(tally)
    # Two answers in twenty seconds, three were there before.
    assert stream.getvalue().splitlines() == [
        "5 of 10 answers, 0 failed, 20.0 s, 0.10 a second, 7 calls, cost 0.25, 50 s left",
        "7 of 10 answers, 0 failed, 40.0 s, 0.10 a second, 7 calls, cost 0.25, 30 s left",
    ]


def test_without_an_answer_of_this_run_the_time_left_is_not_known(monkeypatch):
    clock = iter([0.0, 20.0])
    monkeypatch.setattr("grrm.inference.progress.time.monotonic", lambda: next(clock))
    stream = io.StringIO()
    with Progress(10, stream, cost=lambda: "0 calls", there=lambda: 5) as progress:
        progress(Tally(usable=5))
    assert stream.getvalue().endswith("0.00 a second, 0 calls, time left unknown\n")


def test_a_single_answer_needs_no_progress():
    stream = Terminal()
    with Progress(1, stream) as progress:
        progress(Tally(usable=1))
    assert stream.getvalue() == ""
