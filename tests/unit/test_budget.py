"""A budget of calls, tokens or money, kept over launches with lost calls; answers that are kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grrm.asking.client import JudgeClient
from grrm.asking.ledger import Spent, spent_in, total_calls
from grrm.asking.money import BudgetError
from grrm.asking.options import JudgeOptions
from grrm.files import UserError, write_jsonl
from grrm.inference import Completion, Decoding, Engine, Request, open_backend
from grrm.inference.journalled import JournalledBackend
from judge_server import Act, Call, JudgeServer
from serving import serving


def options(server: JudgeServer, ledger: Path, **more: Any) -> JudgeOptions:
    return JudgeOptions("judge", server.url, max_tokens=20, ledger=str(ledger), backoff=0.01, **more)


async def ask_all(given_options: JudgeOptions, prompts: Sequence[str]) -> int:
    """How many were answered before the budget was spent."""
    answered = 0
    async with JudgeClient(given_options, {}) as client:
        calls = [asyncio.create_task(client.ask([prompt])) for prompt in prompts]
        for call in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(call, BaseException):
                assert isinstance(call, BudgetError), call
            else:
                answered += call[0].reason is None
    return answered


PROMPTS = [f"question {i}" for i in range(40)]


@pytest.mark.parametrize("at_once", [1, 8])
def test_calls_are_counted_one_by_one_over_launches(tmp_path: Path, at_once: int) -> None:
    with serving(lambda call: Act("A", latency=0.01)) as server:
        asked = options(server, tmp_path / "l", budget_calls=13, max_concurrency=at_once)
        assert asyncio.run(ask_all(asked, PROMPTS)) == 13 == len(server.calls)
        assert asyncio.run(ask_all(asked, PROMPTS)) == 0
        more = options(server, tmp_path / "l", budget_calls=20, max_concurrency=at_once)
        assert asyncio.run(ask_all(more, PROMPTS)) == 7
        assert len(server.calls) == 20
    assert spent_in([tmp_path / "l"], "judge") == Spent(20, 300, 0.0)
    # Notes of single calls are no requests.
    assert total_calls([tmp_path / "l"])["requests"] == 20


def test_calls_that_are_sent_again_count(tmp_path: Path) -> None:
    def busy(call: Call) -> Act:
        return Act("A") if call.attempt else Act(status=429, headers={"Retry-After": "0"})

    with serving(busy) as server:
        asked = options(server, tmp_path / "l", budget_calls=9, max_concurrency=2)
        asyncio.run(ask_all(asked, PROMPTS))
        assert len(server.calls) == 9


def test_tokens_are_held_back_at_the_most_and_given_back(tmp_path: Path) -> None:
    with serving(lambda call: Act("A", latency=0.01)) as server:
        # A call may take about 50 tokens and takes 15; several at once fit only when earlier ones have ended.
        asked = options(server, tmp_path / "l", budget_tokens=330, max_concurrency=16)
        answered = asyncio.run(ask_all(asked, PROMPTS))
        assert 18 <= answered <= 22 and len(server.calls) == answered
    assert spent_in([tmp_path / "l"], "judge").tokens == 15 * answered


def test_money_is_spent_up_to_the_budget(tmp_path: Path) -> None:
    with serving(lambda call: Act("A")) as server:
        asked = options(
            server, tmp_path / "l", budget=0.01, prompt_price=100, completion_price=100, max_concurrency=4
        )
        answered = asyncio.run(ask_all(asked, [*PROMPTS] * 4))
        assert 0 < spent_in([tmp_path / "l"], "judge").cost <= 0.01
        assert answered >= 3


def test_a_call_without_an_answer_counts_at_the_most_it_could(tmp_path: Path) -> None:
    with serving(lambda call: Act("A", latency=0.01 if call.attempt else 5)) as server:
        asked = options(server, tmp_path / "l", budget_tokens=10_000, timeout=0.2)
        assert asyncio.run(ask_all(asked, ["q"])) == 1
    spent = spent_in([tmp_path / "l"], "judge")
    assert spent.calls == 2 and spent.tokens > 15 + 20


def test_an_answer_that_nobody_counted_counts_at_the_most(tmp_path: Path) -> None:
    body = b'{"choices": [{"message": {"content": "A"}, "finish_reason": "stop"}]}'
    with serving(lambda call: Act(raw=body)) as server:
        asked = options(server, tmp_path / "l", budget_tokens=10_000)
        assert asyncio.run(ask_all(asked, ["q"])) == 1
    assert spent_in([tmp_path / "l"], "judge").tokens > 20


@pytest.mark.parametrize(
    "choice",
    [
        {"message": {"content": "half a"}, "finish_reason": "length"},
        {"message": {"content": None, "refusal": "I will not."}, "finish_reason": "stop"},
        {"message": {"content": "A"}},
    ],
)
def test_half_an_answer_or_a_refusal_that_nobody_counted_counts_at_the_most(
    tmp_path: Path, choice: dict[str, Any]
) -> None:
    with serving(lambda call: Act(raw=json.dumps({"choices": [choice]}).encode())) as server:
        asked = options(server, tmp_path / "l", budget_tokens=10_000, max_concurrency=1, retries=0)
        assert asyncio.run(ask_all(asked, PROMPTS[:1])) == 0
    assert spent_in([tmp_path / "l"], "judge").tokens > 20


def test_a_call_that_reached_nobody_costs_nothing(tmp_path: Path) -> None:
    asked = JudgeOptions(
        "judge", "http://127.0.0.1:9/v1", ledger=str(tmp_path / "l"), budget_calls=50, retries=2, backoff=0.01
    )
    assert asyncio.run(ask_all(asked, ["q"])) == 0
    assert spent_in([tmp_path / "l"], "judge") == Spent()


EVENTS = st.lists(st.tuples(st.integers(1, 99), st.booleans()), max_size=20)


@given(EVENTS, st.randoms())
def test_what_a_killed_process_had_under_way_counts_at_the_most(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[int, bool]], rng: Any
) -> None:
    """Sent at 100 tokens each, settled at fewer or never: in whatever order the notes of many stand."""
    ledger = tmp_path_factory.mktemp("l") / "calls.jsonl"
    queues = [
        [{"model": "judge", "sent": f"a-{i}", "calls": 1, "tokens": 100, "cost": 1.0}]
        + (
            [{"model": "judge", "settled": f"a-{i}", "calls": 1, "tokens": used, "cost": 0.5}]
            if settled
            else []
        )
        for i, (used, settled) in enumerate(calls)
    ]
    rows = []
    while any(queues):
        rows.append(rng.choice([queue for queue in queues if queue]).pop(0))
    write_jsonl(ledger, rows)
    spent = spent_in([ledger], "judge")
    assert spent.calls == len(calls)
    assert spent.tokens == sum(used if settled else 100 for used, settled in calls)
    assert spent.cost == sum(0.5 if settled else 1.0 for _, settled in calls)


def test_earlier_ledgers_without_notes_count_by_their_requests(tmp_path: Path) -> None:
    row = {
        "model": "judge",
        "request": "x",
        "cached": False,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "cost": 2.0,
    }
    notes = [{"model": "judge", "sent": "a-0", "calls": 1, "tokens": 9, "cost": 1.0}, {**row, "noted": True}]
    write_jsonl(
        tmp_path / "l", [row, {**row, "cached": True}, {"model": "judge", "without_verdict": "x"}, *notes]
    )
    assert spent_in([tmp_path / "l"], "judge") == Spent(2, 24, 3.0)
    assert spent_in([tmp_path / "l"], "another") == spent_in([tmp_path / "none"], "judge") == Spent()


@pytest.mark.parametrize("name", ["budget_calls", "budget_tokens"])
def test_a_budget_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"judge: {name} is 0, expected a number above 0"):
        JudgeOptions("judge", "http://x/v1", **{name: 0})


# ---------------------------------------------------------------- what was answered is not asked again


def engine(server: JudgeServer, folder: Path, **asking: Any) -> Engine:
    kept = {"cache": str(folder / "answers.sqlite"), "ledger": str(folder / "calls"), "keep_refusals": True}
    return Engine(base_url=server.url, concurrency=4, call_retries=0, asking={**kept, **asking})


def complete(given_engine: Engine, requests: Sequence[Request]) -> list[Completion]:
    with closing(open_backend("served", given_engine)) as backend:
        written = dict(backend.generate(requests, Decoding(9, 0.5)))
    return [written[position] for position in range(len(requests))]


REQUESTS = [Request(f"question {i}", i) for i in range(12)]


def test_a_budget_ends_a_run_with_what_is_there_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    with serving(lambda call: Act(f"to {call.prompt}", latency=0.01)) as server:
        first = complete(engine(server, tmp_path, budget_calls=5), REQUESTS)
        assert sum(one.failure is None for one in first) == 5 == len(server.calls)
        assert {one.failure for one in first} == {None, "budget"}
        assert "of budget 5 of calls is spent" in next(one.detail or "" for one in first if one.failure)
        second = complete(engine(server, tmp_path, budget_calls=12), REQUESTS)
        assert [one.text for one in second] == [f"to question {i}" for i in range(12)]
        assert sorted(call.prompt for call in server.calls) == sorted(one.text for one in REQUESTS)


def test_a_refusal_is_an_answer_that_is_kept(tmp_path: Path) -> None:
    message = {"role": "assistant", "content": None, "refusal": "No."}
    raw = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
    with serving(lambda call: Act(raw=raw)) as server:
        found = [complete(engine(server, tmp_path), REQUESTS[:1]) for _ in range(2)]
        assert [one.failure for (one,) in found] == ["refused", "refused"]
        assert "the model refuses: No." in (found[1][0].detail or "")
        assert len(server.calls) == 1


class Scripted:
    """A model of this process that dies after so many completions."""

    def __init__(self, dies_after: int = 10**9, weights: str = "w") -> None:
        self.asked: list[str] = []
        self._left, self._weights = dies_after, weights

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        for position in reversed(range(len(requests))):
            if not self._left:
                raise RuntimeError("killed")
            self._left -= 1
            self.asked.append(requests[position].text)
            yield position, Completion(f"to {requests[position].text}")

    def origin(self) -> dict[str, Any]:
        return {"model": "m", "weights": self._weights}

    def other_files(self) -> dict[str, str]:
        return {}

    def context(self) -> int:
        return 100

    def close(self) -> None:
        pass


@settings(max_examples=25)
@given(deaths=st.lists(st.integers(0, 12), max_size=4))
def test_a_model_of_this_process_goes_on_where_it_died(
    tmp_path_factory: pytest.TempPathFactory, deaths: list[int]
) -> None:
    journal = tmp_path_factory.mktemp("j") / "answers.sqlite"
    asked: list[str] = []
    for dies_after in [*deaths, 10**9]:
        model = Scripted(dies_after)
        backend = JournalledBackend(model, journal)
        written: dict[int, Completion] = {}
        try:
            written = dict(backend.generate(REQUESTS, Decoding(9, 0.5)))
        except RuntimeError:
            pass
        finally:
            backend.close()
        asked += model.asked
    assert sorted(asked) == sorted(request.text for request in REQUESTS)
    assert [written[i].text for i in range(len(REQUESTS))] == [f"to {one.text}" for one in REQUESTS]


def test_other_weights_decoding_or_seeds_are_other_questions(tmp_path: Path) -> None:
    def asked(weights: str, seed: int, temperature: float, run_seed: int = 0) -> int:
        model = Scripted(weights=weights)
        backend = JournalledBackend(model, tmp_path / "answers.sqlite")
        list(backend.generate([Request("q", seed)], Decoding(9, temperature, run_seed)))
        backend.close()
        return len(model.asked)

    assert [asked("w", 1, 0.5), asked("w", 1, 0.5), asked("w", 1, 0.5, 7)] == [1, 0, 0]
    assert [asked("v", 1, 0.5), asked("w", 2, 0.5), asked("w", 1, 0.6)] == [1, 1, 1]
