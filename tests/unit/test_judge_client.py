"""The judge's client against a scripted endpoint: real HTTP, every kind of failure, no false signal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from grrm.asking.chat import Reply
from grrm.asking.client import JudgeClient
from grrm.asking.limits import Breaker, Window
from grrm.asking.options import JudgeOptions, chat_url
from grrm.asking.served import served_judge
from grrm.asking.together import Together
from grrm.files import PassingError, UserError
from grrm.judges.groups import Group, distinct
from grrm.judges.listwise import judge_listwise, order_scores
from grrm.judges.pairwise import judge_pairwise
from grrm.judges.pointwise import judge_pointwise, scale_scores
from grrm.judges.prompts import JudgePrompt, load_judge_prompt
from grrm.judges.questions import NoAnswerError
from grrm.verdicts import parse_order, parse_preference, parse_score
from judge_server import Act, Call, JudgeServer, Script, completion

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden"
T = TypeVar("T")

pytestmark = pytest.mark.timeout(30)


def options(url: str = "http://127.0.0.1:9/v1", **values: Any) -> JudgeOptions:
    """Quick to give up, so that tests are quick."""
    quick: dict[str, Any] = {
        "model": "judge",
        "url": url,
        "timeout": 2.0,
        "deadline": 10.0,
        "retries": 2,
        "backoff": 0.01,
        "breaker_cooldown": 0.1,
        "breaker_patience": 0.3,
    }
    return JudgeOptions(**quick | values)


def served(script: Script, use: Callable[[JudgeClient, JudgeServer], Awaitable[T]], **values: Any) -> T:
    """Run `use` with a client of a server that follows the script."""

    async def run() -> T:
        async with JudgeServer(script) as server, JudgeClient(options(server.url, **values)) as client:
            return await use(client, server)

    return asyncio.run(run())


def ask(script: Script, prompts: list[str], **values: Any) -> tuple[list[Reply], JudgeClient, JudgeServer]:
    async def use(client: JudgeClient, server: JudgeServer) -> Any:
        return await client.ask(prompts), client, server

    result: tuple[list[Reply], JudgeClient, JudgeServer] = served(script, use, **values)
    ledger = result[1].counts
    assert ledger.requests == ledger.answered + ledger.cached + ledger.shared + ledger.failures.total()
    assert ledger.calls == len(result[2].calls) or ledger.failures["connection"]
    return result


def echo(call: Call) -> Act:
    return Act(f"echo {call.prompt}")


# ---------------------------------------------------------------- answers


def test_replies_come_in_the_order_of_the_prompts() -> None:
    prompts = [f"prompt {number}" for number in range(50)]
    replies, client, _ = ask(
        lambda call: Act(f"echo {call.prompt}", latency=0.02 * (call.number % 3)), prompts, max_concurrency=16
    )
    assert [reply.text for reply in replies] == [f"echo {prompt}" for prompt in prompts]
    assert client.counts.answered == 50
    assert (client.counts.prompt_tokens, client.counts.completion_tokens) == (500, 250)


def test_connections_are_kept_and_no_more_calls_run_at_once_than_allowed() -> None:
    _, _, server = ask(lambda call: Act("x", latency=0.01), [str(n) for n in range(60)], max_concurrency=6)
    assert server.busiest == 6
    assert server.connections == 6


def test_a_field_that_is_null_is_left_out() -> None:
    extra = {"max_tokens": None, "top_p": None, "max_completion_tokens": 7}
    _, _, server = ask(echo, ["Hello"], extra=extra)
    assert server.calls[0].body == {
        "model": "judge",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.0,
        "max_completion_tokens": 7,
    }


def test_what_is_sent() -> None:
    _, _, server = ask(echo, ["Hello \U0001f600"], temperature=0.3, max_tokens=7, extra={"seed": 1})
    assert server.calls[0].body == {
        "model": "judge",
        "messages": [{"role": "user", "content": "Hello \U0001f600"}],
        "temperature": 0.3,
        "top_p": 1.0,
        "max_tokens": 7,
        "seed": 1,
    }


def test_temperature_zero_is_sent() -> None:
    _, _, server = ask(echo, ["x"])
    assert server.calls[0].body["temperature"] == 0.0


def test_identical_requests_are_sent_once() -> None:
    replies, client, server = ask(lambda call: Act(call.prompt, latency=0.05), ["a", "b", "a", "a"])
    assert [reply.text for reply in replies] == ["a", "b", "a", "a"]
    assert len(server.calls) == 2
    assert client.counts.shared == 2


def test_identical_requests_of_two_batches_under_way_are_sent_once_too() -> None:
    async def use(client: JudgeClient, server: JudgeServer) -> int:
        await asyncio.gather(client.ask(["a", "b"]), client.ask(["b", "c"]))
        return len(server.calls)

    assert served(lambda _: Act("x", latency=0.05), use) == 3


def test_counts_have_flat_names_for_logs() -> None:
    _, client, _ = ask(lambda c: Act(status=400) if c.prompt == "bad" else Act("x"), ["a", "bad"])
    flat = client.counts.as_dict()
    assert (flat["requests"], flat["failures"], flat["failures/rejected"], flat["errors/rejected"]) == (
        2,
        1,
        1,
        1,
    )
    assert all(isinstance(value, int | float) for value in flat.values())


def test_cost_is_counted() -> None:
    _, client, _ = ask(echo, ["a", "b"], prompt_price=100.0, completion_price=1000.0)
    assert client.counts.cost == pytest.approx(2 * (10 * 100 + 5 * 1000) / 1e6)


# ---------------------------------------------------------------- failures


def once(act: Act) -> Script:
    """Every request fails at first and is answered when it comes again."""
    return lambda call: act if call.attempt == 0 else Act(f"echo {call.prompt}")


PASSING = {
    "server": Act(status=500),
    "rate_limit": Act(status=429),
    "connection": Act(keep=0),
    "malformed": Act(raw=b"<html>It works!</html>"),
}


@pytest.mark.parametrize("reason", PASSING)
def test_what_passes_is_tried_again(reason: str) -> None:
    replies, client, _ = ask(once(PASSING[reason]), ["a", "b", "c"])
    assert [reply.text for reply in replies] == ["echo a", "echo b", "echo c"]
    assert client.counts.errors == {reason: 3}
    assert not client.counts.failures
    assert client.counts.calls == 6


LASTING = {
    "500": ("server", Act(status=500, raw=b"out of memory")),
    "503": ("server", Act(status=503)),
    "a gateway before nobody": ("connection", Act(status=502)),
    "429": ("rate_limit", Act(status=429)),
    "cut before the answer": ("connection", Act(keep=0)),
    "cut within the head": ("connection", Act(keep=20)),
    "cut within the body": ("connection", Act("x", keep=150)),
    "garbage": ("malformed", Act(raw=b"\x00\xff\xfe garbage")),
    "truncated JSON": ("malformed", Act(raw=completion("x")[:40])),
    "empty body": ("malformed", Act(raw=b"")),
    "not a completion": ("malformed", Act(raw=b'{"object": "list"}')),
    "an error within": ("server", Act(raw=b'{"error": {"message": "overloaded", "code": 502}}')),
    "an error among choices": (
        "server",
        Act(raw=b'{"choices": [{"message": {"content": "Gu"}, "finish_reason": "error"}]}'),
    ),
    "deep JSON": ("malformed", Act(raw=b"[" * 100_000)),
    "no choices": ("malformed", Act(raw=b'{"choices": []}')),
    "no content": ("malformed", Act(raw=b'{"choices": [{"message": {"content": null}}]}')),
    "a list": ("malformed", Act(raw=b"[1, 2]")),
    "silence": ("timeout", Act("x", latency=5.0)),
    "a byte now and then": ("timeout", Act("x", dribble=0.05)),
}


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_is_a_failure_with_a_reason_and_no_text(name: str) -> None:
    reason, act = LASTING[name]
    # Long enough for a busy machine wherever an answer comes at all.
    timeout = 0.3 if reason == "timeout" else 30.0
    replies, client, _ = ask(lambda _: act, ["a", "b"], retries=1, timeout=timeout)
    assert [(reply.text, reply.reason) for reply in replies] == [(None, reason)] * 2
    assert all(reply.detail for reply in replies)
    assert client.counts.failures == {reason: 2}
    assert client.counts.errors == {reason: 4}
    assert client.counts.answered == client.counts.completion_tokens == 0


def test_a_judge_may_think_for_as_long_as_its_timeout_says() -> None:
    """No other limit stands behind it: httpx gives up after five seconds without a byte unless told."""
    replies, client, _ = ask(lambda _: Act("at last", latency=5.5), ["a"], timeout=25.0, deadline=28.0)
    assert [reply.text for reply in replies] == ["at last"]
    assert client.counts.calls == 1


def test_a_rejected_request_is_not_sent_again() -> None:
    replies, client, _ = ask(lambda _: Act(status=400, raw=b"prompt too long"), ["a"])
    assert replies[0].reason == "rejected"
    assert "HTTP 400" in replies[0].detail
    assert "prompt too long" in replies[0].detail
    assert client.counts.calls == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_holds_all_calls_back(form: str) -> None:
    wait = 0.5 if form == "seconds" else 2.0

    def script(call: Call) -> Act:
        if call.number > 0:
            return Act("x")
        return Act(
            status=429,
            headers={"Retry-After": "0.5" if form == "seconds" else formatdate(time.time() + wait)},
        )

    async def use(client: JudgeClient, server: JudgeServer) -> list[float]:
        await client.ask([str(n) for n in range(6)])
        return [call.time for call in server.calls]

    times = served(script, use, max_concurrency=1)
    assert len(times) == 7
    # A date has no fractions of a second.
    assert times[1] - times[0] >= (0.45 if form == "seconds" else 0.9)
    assert times[-1] - times[1] < 2


def test_a_retry_after_beyond_the_deadline_fails_at_the_deadline() -> None:
    start = time.monotonic()
    replies, _, _ = ask(lambda _: Act(status=429, headers={"Retry-After": "3600"}), ["a", "b"], deadline=0.5)
    assert time.monotonic() - start < 2
    assert {reply.reason for reply in replies} == {"deadline"}


def test_a_batch_ends_at_its_deadline_with_what_it_has() -> None:
    start = time.monotonic()
    replies, client, _ = ask(
        lambda _: Act("x", latency=0.2), [str(n) for n in range(100)], max_concurrency=4, deadline=0.7
    )
    assert time.monotonic() - start < 2
    assert client.counts.answered + client.counts.failures["deadline"] == 100
    assert 1 <= client.counts.answered <= 16
    assert all((reply.text is None) == (reply.reason == "deadline") for reply in replies)


@pytest.mark.parametrize("absurd", ["inf", "1e9", "nan", "-3", "Wed, 01 Jan 2099 00:00:00 GMT"])
def test_an_absurd_retry_after_does_not_end_all_calls(absurd: str) -> None:
    def script(call: Call) -> Act:
        return Act("x") if call.number > 0 else Act(status=429, headers={"Retry-After": absurd})

    replies, _, _ = ask(script, ["a", "b"], max_concurrency=1, max_backoff=0.1, breaker_patience=0.2)
    assert [reply.text for reply in replies] == ["x", "x"]


def test_waiting_behind_other_groups_does_not_count_as_time_of_a_group() -> None:
    async def use(client: JudgeClient, server: JudgeServer) -> list[list[Reply]]:
        groups = [[f"{group} {number}" for number in range(2)] for group in range(8)]
        return await asyncio.gather(*map(client.ask, groups))

    # One after the other they take eight times 0.2 s.
    groups = served(lambda _: Act("x", latency=0.1), use, max_concurrency=1, deadline=0.8)
    assert [reply.text for group in groups for reply in group] == ["x"] * 16


def test_a_call_that_is_sent_again_goes_before_later_groups() -> None:
    def script(call: Call) -> Act:
        return Act(status=500) if call.number == 0 else Act("x", latency=0.05)

    async def use(client: JudgeClient, server: JudgeServer) -> list[str]:
        await asyncio.gather(*(client.ask([str(group)]) for group in range(6)))
        return [call.prompt for call in server.calls]

    asked = served(script, use, max_concurrency=1)
    assert sorted(asked) == ["0", "0", "1", "2", "3", "4", "5"]
    assert asked.index("0", 1) < 4


def test_a_waiting_call_that_is_cancelled_takes_no_turn() -> None:
    async def use(client: JudgeClient, server: JudgeServer) -> list[Reply]:
        first = asyncio.create_task(client.ask(["first"]))
        waiting = asyncio.create_task(client.ask(["waiting"]))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(first, waiting, return_exceptions=True)
        return await client.ask(["last"])

    replies = served(lambda _: Act("x", latency=0.1), use, max_concurrency=1)
    assert replies[0].text == "x"


def test_a_dead_server_is_given_up_in_bounded_time() -> None:
    async def use(client: JudgeClient, server: JudgeServer) -> tuple[list[Reply], JudgeClient]:
        await server.stop()
        return await client.ask([str(n) for n in range(500)]), client

    start = time.monotonic()
    replies, client = served(echo, use, max_concurrency=8)
    assert time.monotonic() - start < 5
    assert all(reply.text is None for reply in replies)
    assert {reply.reason for reply in replies} <= {"connection", "circuit_open"}
    assert "ended with connection (ConnectError: " in replies[-1].detail
    # Not 500 x 3: the first ones, those under way with them, and a probe now and then.
    assert client.counts.calls < 60
    assert client.counts.failures.total() == 500


def test_a_server_that_comes_back_is_used_again() -> None:
    async def run() -> tuple[list[Reply], JudgeClient]:
        server = await JudgeServer(echo).__aenter__()
        port = int(server.url.split(":")[2].split("/")[0])
        async with JudgeClient(
            options(server.url, retries=20, breaker_failures=3, breaker_patience=8.0)
        ) as client:
            await client.ask(["before"])
            await server.stop()
            asked = asyncio.create_task(client.ask([str(n) for n in range(20)]))
            await asyncio.sleep(0.5)
            async with JudgeServer(echo, port):
                return await asked, client

    replies, client = asyncio.run(run())
    assert [reply.text for reply in replies] == [f"echo {n}" for n in range(20)]
    assert client.counts.errors["connection"] >= 3


# ---------------------------------------------------------------- limits


def test_a_window_never_holds_more_than_its_limit() -> None:
    async def run() -> list[float]:
        window = Window(3, 0.2)
        times = []

        async def one() -> None:
            times.append((await window.acquire(1)).time)

        await asyncio.gather(*[one() for _ in range(9)])
        return times

    times = asyncio.run(run())
    assert all(later - earlier >= 0.199 for earlier, later in zip(times, times[3:], strict=False))
    assert times[-1] - times[0] < 2


def test_a_window_corrects_what_it_guessed_and_lets_the_large_through() -> None:
    async def run() -> float:
        window = Window(100, 0.3)
        start = time.monotonic()
        window.correct(await window.acquire(90), 10)
        await window.acquire(90)
        assert time.monotonic() - start < 0.28  # at once, not after the window
        await window.acquire(1000)
        return time.monotonic() - start

    assert 0.28 <= asyncio.run(run()) < 2


def test_a_window_of_many_calls_costs_no_more_a_call() -> None:
    async def run() -> tuple[float, bool]:
        window = Window(100_001, 60)
        start = time.process_time()
        for _ in range(50_000):
            window.correct(await window.acquire(3), 2)
        seconds = time.process_time() - start
        full = asyncio.create_task(window.acquire(2))
        await asyncio.sleep(0.01)
        return seconds, full.cancel()

    seconds, waited = asyncio.run(run())
    assert seconds < 5  # adding all of them up for each takes minutes
    assert waited, "what was spent is not forgotten"


@pytest.mark.parametrize("limit", [{"requests_per_minute": 5}, {"tokens_per_minute": 5 * 140}])
def test_limits_per_minute(limit: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grrm.asking.endpoint._RATE_PERIOD", 0.4)

    def script(call: Call) -> Act:
        # No usage, so that the guess (about 40 for the request and 100 for the answer) stands.
        return Act(raw=b'{"choices": [{"message": {"content": "x"}}]}')

    start = time.monotonic()
    ask(script, [f"{n:2}" for n in range(15)], max_tokens=100, **limit)
    # Five at once, five after one period, five after two.
    assert 0.8 <= time.monotonic() - start < 4


def test_the_breaker_lets_one_probe_through_at_a_time() -> None:
    async def run() -> None:
        breaker = Breaker(failures=2, cooldown=0.1, patience=0.25)
        breaker.record(False)
        assert await breaker.admit()
        breaker.record(False)
        start = time.monotonic()
        admitted = await asyncio.gather(*[breaker.admit() for _ in range(5)])
        assert 0.2 <= time.monotonic() - start < 2
        assert 1 <= sum(admitted) <= 2
        breaker.record(True)
        assert all([await breaker.admit() for _ in range(5)])

    asyncio.run(run())


# ---------------------------------------------------------------- cache, ledger, key


def test_the_cache_answers_what_was_asked_before(tmp_path: Path) -> None:
    cache = str(tmp_path / "cache" / "answers.sqlite")
    first, _, _ = ask(echo, ["a", "b"], cache=cache)
    second, client, server = ask(echo, ["b", "a", "c"], cache=cache)
    assert [reply.text for reply in second] == ["echo b", "echo a", "echo c"]
    assert len(server.calls) == 1
    assert client.counts.cached == 2
    assert (second[1].prompt_tokens, first[0].prompt_tokens) == (10, 10)
    assert client.counts.prompt_tokens == 10


@pytest.mark.parametrize(
    "other", [{"model": "else"}, {"temperature": 0.5}, {"max_tokens": 9}, {"top_p": 0.9}]
)
def test_the_cache_tells_models_and_sampling_apart(other: dict[str, Any], tmp_path: Path) -> None:
    cache = str(tmp_path / "answers.sqlite")
    ask(echo, ["a"], cache=cache)
    _, _, server = ask(echo, ["a"], cache=cache, **other)
    assert len(server.calls) == 1


def test_another_draw_is_another_answer(tmp_path: Path) -> None:
    async def use(client: JudgeClient, server: JudgeServer) -> int:
        for sample in (0, 1, 0, 1):
            await client.ask(["a"], sample=sample)
        return len(server.calls)

    assert served(echo, use, cache=str(tmp_path / "answers.sqlite")) == 2


def test_half_a_character_is_replaced_so_that_every_answer_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(_: Call) -> Act:
        return Act("so \ud83d 8 \U0001f600")

    replies, _, _ = ask(answer, ["a"])
    assert replies[0].text == "so \ufffd 8 \U0001f600"
    cache = str(tmp_path / "answers.sqlite")
    with monkeypatch.context() as earlier:  # kept as it came
        earlier.setattr("grrm.asking.chat.as_text", lambda text: text)
        ask(answer, ["a"], cache=cache)
    replies, _, server = ask(answer, ["a"], cache=cache)
    assert replies[0].text == "so \ufffd 8 \U0001f600"
    assert not server.calls


def test_a_cache_of_earlier_versions_answers(tmp_path: Path) -> None:
    """The key of a request is part of the format of the file."""
    cache = tmp_path / "answers.sqlite"
    key = "a0bffa8771ea3ec013f3bef93c47d3a97abac41a32b1f7795028ea99249a7a47"
    with contextlib.closing(sqlite3.connect(cache)) as file:
        file.execute(
            "CREATE TABLE replies (key TEXT PRIMARY KEY, request TEXT NOT NULL, reply TEXT NOT NULL)"
        )
        reply = {"text": "kept", "prompt_tokens": 3, "completion_tokens": 1}  # before `finish` was kept
        file.execute("INSERT INTO replies VALUES (?, ?, ?)", (key, "{}", json.dumps(reply)))
        file.commit()
    replies, _, server = ask(echo, ["a"], cache=str(cache))
    assert replies[0].text == "kept"
    assert not server.calls


def test_failures_are_not_cached(tmp_path: Path) -> None:
    cache = str(tmp_path / "answers.sqlite")
    ask(lambda _: Act(status=500), ["a"], cache=cache, retries=0)
    replies, _, _ = ask(echo, ["a"], cache=cache)
    assert replies[0].text == "echo a"


def test_replay_needs_no_network(tmp_path: Path) -> None:
    cache = str(tmp_path / "answers.sqlite")
    ask(echo, ["a"], cache=cache)

    async def run() -> list[Reply]:
        async with JudgeClient(JudgeOptions(model="judge", cache=cache, replay=True)) as client:
            replies = await client.ask(["a", "never asked"])
            assert client.counts.calls == 0
            assert client.counts.failures == {"not_cached": 1}
            return replies

    # `options` sets no sampling, so the requests are the same.
    replies = asyncio.run(run())
    assert [reply.text for reply in replies] == ["echo a", None]


def test_a_file_that_is_no_cache_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be taken for one\n" * 100)
    with pytest.raises(UserError, match=r"notes\.txt: cannot be used as a cache"):
        JudgeClient(options(cache=str(path)))


# ---------------------------------------------------------------- a judge that the run serves


def ask_served(script: Script, prompts: list[str], **values: Any) -> tuple[list[str], JudgeServer]:
    """Ask all prompts at once, at temperature 0.5."""

    async def run() -> tuple[list[str], JudgeServer]:
        async with JudgeServer(script) as server:
            address = server.url.removeprefix("http://").removesuffix("/v1")
            judge = served_judge(address, {"model": "grrm", "top_k": 7}, **{"timeout": 5.0} | values)
            return list(await asyncio.gather(*[judge(prompt, 0.5) for prompt in prompts])), server

    return asyncio.run(run())


def test_a_served_judge_gets_what_it_is_given_and_all_questions_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", SECRET)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    answers, server = ask_served(lambda call: Act(call.prompt, latency=0.5), ["same"] * 100)
    assert answers == ["same"] * 100
    assert server.busiest == 100
    assert server.calls[0].body == {
        "model": "grrm",
        "top_k": 7,
        "messages": [{"role": "user", "content": "same"}],
        "temperature": 0.5,
    }
    assert "authorization" not in server.calls[0].headers


def test_a_served_judge_that_fails_is_not_asked_again() -> None:
    with pytest.raises(NoAnswerError, match="server: HTTP 500"):
        ask_served(lambda call: Act(status=500) if call.number == 0 else Act("late"), ["a"])
    with pytest.raises(NoAnswerError, match=r"timeout: no complete answer within 0\.1 s"):
        ask_served(lambda call: Act("late", latency=1), ["a"], timeout=0.1)


def test_a_served_judge_that_nobody_reaches_is_asked_again_and_then_stops_the_run() -> None:
    def gone(call: Call) -> Act:
        calls.append(call)
        return Act(status=502) if len(calls) < 4 else Act("back")

    calls: list[Call] = []
    assert ask_served(gone, ["a"], pauses=(0, 0, 0))[0] == ["back"]
    calls.clear()
    with pytest.raises(UserError, match=r"grrm at http://127\.0\.0\.1:\d+\S* cannot be reached any more"):
        ask_served(gone, ["a"], pauses=(0, 0))
    assert len(calls) == 3


def ask_together(status: int, body: str = "{}", *, silent: bool = False) -> tuple[list[Any], int]:
    """What three get that ask in one message, and how often it was sent, to an address that says the same."""
    sent = 0

    async def run() -> list[Any]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert head.startswith("POST /v1/chat/completions/together ")
            length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
            assert length
            asked = json.loads(await reader.readexactly(int(length[1])))["requests"]
            assert [one["messages"][0]["content"] for one in asked] == ["q0", "q1", "q2"]
            sent += 1
            if silent:
                await asyncio.sleep(2)
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            together = Together(f"http://{address}/v1/chat/completions", 0.1 if silent else 5.0)
            ask = served_judge(address, {"model": "grrm"}, 5.0, pauses=(0, 0), together=together)
            together.rounds.enter(3)
            questions = [ask(f"q{number}", 0.0) for number in (2, 0, 1)]
            found = await asyncio.gather(*questions, return_exceptions=True)
            await together.close()
            return list(found)

    return asyncio.run(run()), sent


def test_what_is_asked_in_one_message_is_read_like_any_answer() -> None:
    answers = [
        {"status": 200, "body": {"choices": [{"message": {"content": "a0"}, "finish_reason": "stop"}]}},
        {"status": 400, "body": {"error": {"message": "too long"}}},
        {"status": 200, "body": {"choices": [{"message": {"content": "a2"}, "finish_reason": "length"}]}},
    ]
    (third, first, second), sent = ask_together(200, json.dumps({"answers": answers}))
    assert first == "a0"
    assert isinstance(second, NoAnswerError) and "too long" in str(second)
    assert isinstance(third, NoAnswerError) and "unfinished" in str(third)
    assert sent == 1


def test_a_judge_asked_in_one_message_that_nobody_reaches_stops_the_run() -> None:
    errors, sent = ask_together(502)
    assert [type(error) for error in errors] == [PassingError] * 3
    assert "cannot be reached any more" in str(errors[0])
    assert sent == 3  # whole, as often as each would have been by itself


@pytest.mark.parametrize(
    ("status", "body", "silent", "reason"),
    [
        (500, "{}", False, "server: HTTP 500"),
        (200, "{}", False, "malformed"),
        (200, "{}", True, "no answer to 3 calls within 0.3 s"),
    ],
)
def test_a_message_that_fails_is_a_failure_of_all_in_it(
    status: int, body: str, silent: bool, reason: str
) -> None:
    errors, sent = ask_together(status, body, silent=silent)
    assert [type(error) for error in errors] == [NoAnswerError] * 3
    assert all(reason in str(error) for error in errors)
    assert sent == 1


SECRET = "sk-very-secret"


def test_the_key_is_sent_and_written_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    cache, ledger = tmp_path / "answers.sqlite", tmp_path / "ledger.jsonl"

    def script(call: Call) -> Act:
        leak = f"invalid key {call.headers['authorization']}".encode()
        return Act(status=401, raw=leak) if call.prompt == "no" else Act("yes")

    async def run() -> tuple[list[Reply], JudgeServer, JudgeClient]:
        async with JudgeServer(script) as server:
            chosen = options(server.url, cache=str(cache), ledger=str(ledger))
            async with JudgeClient(chosen, environment={"JUDGE_API_KEY": f" {SECRET}\n"}) as client:
                return await client.ask(["yes", "no"]), server, client

    replies, server, client = asyncio.run(run())
    assert server.calls[0].headers["authorization"] == f"Bearer {SECRET}"
    assert replies[1].reason == "rejected"
    assert "invalid key Bearer ***" in replies[1].detail
    with sqlite3.connect(cache) as connection:
        rows = connection.execute("SELECT * FROM replies").fetchall()
    assert len(rows) == 1
    for place in (
        str(replies),
        str(rows),
        ledger.read_text(),
        caplog.text,
        repr(client.options),
        str(client.counts),
    ):
        assert SECRET not in place


def test_without_a_key_none_is_sent() -> None:
    async def run() -> dict[str, str]:
        async with JudgeServer(echo) as server, JudgeClient(options(server.url), environment={}) as client:
            await client.ask(["x"])
            return server.calls[0].headers

    assert "authorization" not in asyncio.run(run())


def test_the_ledger_file_has_a_row_for_every_request(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ask(
        lambda c: Act(status=400) if c.prompt == "bad" else Act("x"),
        ["a", "bad"],
        ledger=str(path),
        prompt_price=1.0,
    )
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(str(row["reason"]) for row in rows) == ["None", "rejected"]
    assert {row["model"] for row in rows} == {"judge"}
    assert sum(row["cost"] for row in rows) == pytest.approx(1e-5)


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h:8000/v1", "http://h:8000/v1/chat/completions"),
        ("http://h:8000/v1/", "http://h:8000/v1/chat/completions"),
        ("http://h:8000", "http://h:8000/v1/chat/completions"),
        (" https://h/v1/chat/completions ", "https://h/v1/chat/completions"),
        ("https://h/v1/chat/completions/", "https://h/v1/chat/completions"),
        ("https://h/openai/d/v1?api-version=1", "https://h/openai/d/v1/chat/completions?api-version=1"),
    ],
)
def test_urls_with_and_without_the_path(url: str, address: str) -> None:
    assert chat_url(url) == address


@pytest.mark.parametrize(
    "url", ["", "localhost:8000/v1", "ftp://h/v1", "http://", "http://h:800o/v1", "http://h:99999/v1"]
)
def test_an_unusable_url_is_an_error(url: str) -> None:
    with pytest.raises(UserError, match="JUDGE_API_URL"):
        options(url)


def test_an_address_that_the_client_cannot_read_is_an_error() -> None:
    with pytest.raises(UserError, match=r"url is http://xn--/v1/chat/completions, which cannot be asked \("):
        JudgeClient(options("http://xn--/v1"))


def test_the_environment_comes_before_the_configuration() -> None:
    environment = {
        "JUDGE_API_URL": "http://h/v1/chat/completions",
        "JUDGE_MODEL_NAME": "large",
        "MAX_WORKERS": "10",
        "TEMPERATURE": "0.7",
        "MAX_TOKENS": "99",
        "LLM_TIMEOUT": "30",
        "MAX_RETRIES": "",
    }
    chosen = JudgeOptions.from_mapping({"model": "small", "url": "http://g", "retries": 3}, environment)
    assert (chosen.model, chosen.url, chosen.max_concurrency) == ("large", "http://h/v1/chat/completions", 10)
    assert (chosen.temperature, chosen.max_tokens, chosen.timeout, chosen.retries) == (0.7, 99, 30.0, 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"modell": "x"}, "unknown modell"),
        ({"url": "http://h"}, "model is missing"),
        ({"model": "m", "url": "http://h", "max_concurrency": 0}, "max_concurrency is 0"),
        ({"model": "m", "url": "http://h", "retries": -1}, "retries is -1"),
        ({"model": "m", "url": "http://h", "max_failure_share": 1.5}, "expected a share"),
        ({"model": "m", "replay": True}, "cache is empty"),
        ({"model": "m", "url": "http://h", "timeout": "1m"}, "timeout is '1m', expected a number"),
        ({"model": "m", "url": "http://h", "retries": True}, "retries is True, expected a whole number"),
        ({"model": "m", "url": "http://h", "budget": "3"}, "budget is '3', expected a number"),
        ({"model": "m", "url": "http://h", "deadline": None}, "deadline is None, expected a number"),
        ({"model": "m", "url": "http://h", "verbose": "no"}, "verbose is 'no', expected true or false"),
        ({"model": "m", "url": "http://h", "extra": "{key: hush}"}, "extra is str, expected an object"),
        ({"model": 5, "url": "http://h"}, "model is 5, expected a text"),
    ],
)
def test_bad_options_are_errors(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        JudgeOptions.from_mapping(values, {})


def test_a_bad_environment_is_an_error_that_names_the_variable() -> None:
    with pytest.raises(UserError, match="MAX_WORKERS is 'many'"):
        JudgeOptions.from_mapping({"model": "m", "url": "http://h"}, {"MAX_WORKERS": "many"})
    with pytest.raises(UserError, match=r"retries is -1, expected .*at least 0 \(MAX_RETRIES in the env"):
        JudgeOptions.from_mapping({"model": "m", "url": "http://h"}, {"MAX_RETRIES": "-1"})
    with pytest.raises(UserError, match="TEMPERATURE is 'nan'"):
        JudgeOptions.from_mapping({"model": "m", "url": "http://h"}, {"TEMPERATURE": "nan"})


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_a_number_that_is_none_is_no_option(value: float) -> None:
    with pytest.raises(UserError, match=f"timeout is {value}, expected a number above 0"):
        JudgeOptions("m", "http://h", timeout=value)


# ---------------------------------------------------------------- verdicts


def test_an_answer_without_a_verdict_is_asked_for_again_at_another_temperature() -> None:
    def script(call: Call) -> Act:
        return Act("<score>7</score>" if call.body["temperature"] == 0.9 else "seven, I think")

    async def use(client: JudgeClient, server: JudgeServer) -> Any:
        parse = partial(parse_score, lowest=1, highest=10)
        return await client.decide([("a", parse), ("b", parse)]), client.counts

    verdicts, ledger = served(script, use, retry_temperature=0.9)
    assert [verdict.value for verdict in verdicts] == [7, 7]
    assert ledger.unparsable == 2
    assert ledger.requests == 4


def test_too_many_failures_are_an_error_that_says_why() -> None:
    async def use(client: JudgeClient, server: JudgeServer) -> None:
        await client.decide([(f"{n}", parse_preference) for n in range(10)])

    with pytest.raises(
        UserError, match=r"10 of the last 10 answers failed.*10 rejected.*HTTP 404.*JUDGE_API_URL"
    ):
        served(lambda _: Act(status=404), use, failure_window=10)


@pytest.mark.parametrize("act", [Act(keep=0), Act(status=502)])
def test_an_endpoint_of_the_run_itself_must_be_there(act: Act) -> None:
    async def use(client: JudgeClient, server: JudgeServer) -> Any:
        return await client.decide([("x", parse_preference)])

    with pytest.raises(UserError, match=r"judge judge at http://127\.0\.0\.1.* cannot be reached any more"):
        served(lambda _: act, use, required=True)
    (verdict,) = served(lambda _: act, use)
    assert verdict.reason == "connection"


def test_an_endpoint_of_the_run_itself_may_fail_otherwise() -> None:
    async def use(client: JudgeClient, server: JudgeServer) -> Any:
        return await client.decide([("x", parse_preference)])

    (verdict,) = served(lambda _: Act(status=500), use, required=True)
    assert verdict.reason == "server"


def test_few_failures_are_none() -> None:
    async def use(client: JudgeClient, server: JudgeServer) -> Any:
        return await client.decide([(f"{n}", parse_preference) for n in range(10)])

    verdicts = served(
        lambda call: Act("<better>A</better>" if int(call.prompt) % 3 else "no idea"), use, failure_window=10
    )
    assert [verdict.value for verdict in verdicts] == [None if n % 3 == 0 else "A" for n in range(10)]
    assert [verdict.reason for verdict in verdicts[::3]] == ["unparsable"] * 4


# ---------------------------------------------------------------- groups

PAIRWISE = JudgePrompt(
    lambda *, question, first, second, reference, columns: f"{question}|{first}|{second}", "better"
)
POINTWISE = JudgePrompt(lambda *, question, response, reference, columns: f"{question}|{response}", "score")
LISTWISE = JudgePrompt(
    lambda *, question, candidates, reference, columns: f"{question}|{'|'.join(candidates)}", "ranking"
)


def truth(call: Call) -> Act:
    """Prefers the greater number; equal leading digits are a tie."""
    _, first, second = call.prompt.split("|")
    a, b = int(first[0]), int(second[0])
    return Act(f"<better>{'A' if a > b else 'B' if b > a else 'tie'}</better>")


def pairwise(
    script: Script, groups: list[Group], both_orders: bool = True, method: Any = "dgr", **values: Any
) -> Any:
    async def use(client: JudgeClient, server: JudgeServer) -> Any:
        return await judge_pairwise(client, groups, PAIRWISE, method, both_orders), client, server

    return served(script, use, **values)


@pytest.mark.parametrize("method", ["winrate", "copeland", "dgr", "elo"])
@pytest.mark.parametrize("both_orders", [True, False])
def test_pairwise_finds_the_order(method: Any, both_orders: bool) -> None:
    groups = [Group("q", ("3", "1", "9", "5")), Group("p", ("2", "8"))]
    judged, _, server = pairwise(truth, groups, both_orders, method)
    first, second = (group.scores for group in judged.groups)
    assert sorted(range(4), key=lambda i: first[i]) == [1, 0, 3, 2]
    assert (first[2], first[1]) == (1.0, -1.0)
    assert second == (-1.0, 1.0)
    assert len(server.calls) == 7 * (1 + both_orders)
    assert judged.metrics["failed"] == judged.metrics["ties"] == 0
    if both_orders:
        assert judged.metrics["position_bias"] == 0


def test_a_judge_that_always_says_a_gives_no_signal_and_is_found_out() -> None:
    judged, _, _ = pairwise(lambda _: Act("<better>A</better>"), [Group("q", ("1", "2", "3"))])
    assert judged.groups[0].scores == (0.0, 0.0, 0.0)
    assert (
        judged.metrics["position_bias"] == judged.metrics["inconsistent"] == judged.metrics["says_a"] == 1.0
    )
    assert judged.metrics["groups_without_signal"] == 1
    judged, _, _ = pairwise(
        lambda _: Act("<better>A</better>"), [Group("q", ("1", "2", "3"))], both_orders=False
    )
    assert judged.metrics["says_a"] == 1.0


def test_asked_once_the_order_does_not_depend_on_indices() -> None:
    texts = tuple("123456")
    scores = {}
    for order in (texts, texts[::-1]):
        judged, _, _ = pairwise(lambda _: Act("<better>A</better>"), [Group("q", order)], both_orders=False)
        scores[order] = dict(zip(order, judged.groups[0].scores, strict=True))
    assert scores[texts] == pytest.approx(scores[texts[::-1]])


def test_an_order_that_answers_differently_is_a_tie_and_ties_are_ties() -> None:
    def script(call: Call) -> Act:
        return Act("<better>tie</better>" if call.prompt == "q|1|2" else "<better>A</better>")

    judged, _, _ = pairwise(script, [Group("q", ("1", "2"))])
    assert judged.groups[0].comparisons == ((0, 1, None),)
    assert (judged.metrics["inconsistent"], judged.metrics["position_bias"]) == (1.0, 0.0)


@pytest.mark.parametrize("bad", [Act(status=500), Act("I cannot decide"), Act(raw=b"{")])
def test_an_error_is_never_a_tie(bad: Act) -> None:
    """What concerns candidate 9 fails in one of the orders: it is not compared with anything."""

    def script(call: Call) -> Act:
        return bad if "|9|" in call.prompt else truth(call)

    judged, _, _ = pairwise(script, [Group("q", ("3", "9", "1"))], breaker_failures=1000)
    assert judged.groups[0].scores == (1.0, None, -1.0)
    assert judged.groups[0].comparisons == ((0, 2, 0),)
    assert len(judged.groups[0].failures) == 2
    assert judged.metrics["failed"] == 2
    assert judged.metrics["ties"] == 0
    assert judged.metrics["candidates_without_score"] == 1


@pytest.mark.parametrize("method", ["copeland", "dgr", "elo", "winrate"])
def test_a_candidate_of_which_few_pairs_were_answered_has_no_score(method: Any) -> None:
    """Eight in true order; the worst breaks its judge in all of its pairs but that with the best."""

    def script(call: Call) -> Act:
        _, *pair = call.prompt.split("|")
        return Act("I cannot") if "1" in pair and "8" not in pair else truth(call)

    (result,) = pairwise(script, [Group("q", tuple("87654321"))], method=method)[0].groups
    assert result.scores[7] is None
    assert result.failures[-1] == "candidate 7: fewer than half of its pairs were answered"
    assert len(result.failures) == 7
    known = [score for score in result.scores[:7] if score is not None]
    assert len(set(known)) == 7
    assert known == sorted(known, reverse=True)


def test_a_dead_judge_gives_no_scores_then_an_error() -> None:
    async def use(client: JudgeClient, server: JudgeServer) -> Any:
        await server.stop()
        judged = await judge_pairwise(client, [Group("q", ("1", "2", "3"))], PAIRWISE)
        with pytest.raises(UserError, match="12 of the last 12 answers failed"):
            await judge_pairwise(client, [Group("q", ("1", "2", "3"))], PAIRWISE)
        return judged

    judged = served(truth, use, failure_window=12)
    assert judged.groups[0].scores == (None, None, None)
    assert judged.groups[0].comparisons == ()
    assert judged.metrics["failed_share"] == 1.0


def test_a_flaky_judge_gives_the_scores_of_a_sound_one() -> None:
    acts = [Act(status=500), Act(status=429, headers={"Retry-After": "0.05"}), Act(keep=30), Act(raw=b"{")]

    def script(call: Call) -> Act:
        return acts[call.number % 4] if call.attempt == 0 and call.number % 2 == 0 else truth(call)

    groups = [Group(f"q{n}", ("3", "1", "9", "5")) for n in range(5)]
    judged, client, _ = pairwise(script, groups, retries=5)
    sound, _, _ = pairwise(truth, groups)
    assert judged.groups == sound.groups
    assert client.counts.errors.total() > 10
    assert client.counts.calls == client.counts.answered + client.counts.errors.total()


def test_equal_candidates_are_judged_once_and_score_the_same() -> None:
    judged, _, server = pairwise(truth, [Group("q", ("3", "9", "3", "9"))])
    assert judged.groups[0].scores == (-1.0, 1.0, -1.0, 1.0)
    assert len(server.calls) == 2
    assert distinct(("3", "9", "3", "9")) == [0, 1]


@pytest.mark.parametrize("candidates", [(), ("1",), ("1", "1", "1")])
def test_where_there_is_nothing_to_choose_nothing_is_asked(candidates: tuple[str, ...]) -> None:
    async def use(client: JudgeClient, server: JudgeServer) -> Any:
        groups = [Group("q", candidates)]
        results = [
            await judge_pairwise(client, groups, PAIRWISE),
            await judge_pointwise(client, groups, POINTWISE),
            await judge_listwise(client, groups, LISTWISE),
        ]
        return results, server.calls

    results, calls = served(echo, use)
    assert calls == []
    assert all(result.groups[0].scores == (0.0,) * len(candidates) for result in results)


def pointwise(script: Script, groups: list[Group], scale: Any = "group") -> Any:
    async def use(client: JudgeClient, server: JudgeServer) -> Any:
        return await judge_pointwise(client, groups, POINTWISE, scale)

    return served(script, use)


def grade(call: Call) -> Act:
    return Act(f"<think>Well, <score>1</score>?</think><score>{call.prompt.split('|')[1]}</score>")


def test_pointwise_scores() -> None:
    groups = [Group("q", ("2", "4", "3", "4")), Group("p", ("7",))]
    judged = pointwise(grade, groups)
    assert [group.scores for group in judged.groups] == [(-1.0, 1.0, 0.0, 1.0), (0.0,)]
    absolute = pointwise(grade, [Group("q", ("1", "10")), Group("p", ("7",))], "absolute")
    assert absolute.groups[0].scores == (-1.0, 1.0)
    assert absolute.groups[1].scores[0] == pytest.approx(1 / 3)


def test_a_grade_that_is_missing_is_none_and_does_not_move_the_others() -> None:
    judged = pointwise(grade, [Group("q", ("2", "11", "5", "eight"))])
    assert judged.groups[0].scores == (-1.0, None, 1.0, None)
    assert len(judged.groups[0].failures) == 2
    assert judged.metrics["mean_score"] == 3.5


def listwise(script: Script, groups: list[Group]) -> Any:
    async def use(client: JudgeClient, server: JudgeServer) -> Any:
        return await judge_listwise(client, groups, LISTWISE), server

    return served(script, use)


def best_first(call: Call) -> Act:
    shown = call.prompt.split("|")[1:]
    order = sorted(range(len(shown)), key=lambda i: -int(shown[i]))
    return Act(f"<ranking>{' > '.join(str(i + 1) for i in order)}</ranking>")


def test_listwise_scores() -> None:
    groups = [Group("q", ("3", "1", "9", "3")), Group("p", ("1", "2", "3", "4", "5"))]
    judged, server = listwise(best_first, groups)
    assert judged.groups[0].scores == (0.0, -1.0, 1.0, 0.0)
    assert judged.groups[1].scores == (-1.0, -0.5, 0.0, 0.5, 1.0)
    # Shown in an order that is not that of the indices.
    assert any(
        call.prompt != f"p|{'|'.join(groups[1].candidates)}" for call in server.calls if call.prompt[0] == "p"
    )


@pytest.mark.parametrize(
    "answer", ["", "no idea", "<ranking>1 > 2</ranking>", "<ranking>1, 2, 3, 4</ranking>"]
)
def test_listwise_failure_is_no_order(answer: str) -> None:
    judged, _ = listwise(lambda _: Act(answer), [Group("q", ("1", "2", "3"))])
    assert judged.groups[0].scores == (None, None, None)
    assert judged.metrics["failed"] == 1


# ---------------------------------------------------------------- published readers


def rows(name: str, function: str) -> list[Any]:
    lines = (GOLDEN / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    found = [row for row in map(json.loads, lines) if row["fn"] == function]
    assert found
    return found


READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "pairwise.parse_result": lambda row: parse_preference(row["text"], row["tag"]).lower(),
    "pointwise.parse_result": lambda row: parse_score(row["text"], 1, 10, row["tag"]),
    "listwise.parse_result": lambda row: [min(t) for t in parse_order(row["text"], row["n"], row["tag"])],
}

# One tag, alone, with nothing else in it.
WELL_FORMED = {
    "pairwise.parse_result": r"<{tag}>\s*(a|b|tie)\s*</{tag}>",
    "pointwise.parse_result": r"<{tag}>([1-9]|10)</{tag}>",
    "listwise.parse_result": r"<{tag}>(\d+(?:(?: > |,|\s)\d+)*)</{tag}>",
}


def well_formed(function: str, row: dict[str, Any]) -> bool:
    pattern = WELL_FORMED[function].replace("{tag}", row["tag"])
    match = re.fullmatch(pattern, row["text"], re.IGNORECASE | re.ASCII)
    if match is None or function != "listwise.parse_result":
        return match is not None
    return sorted(map(int, re.findall(r"\d+", match[1]))) == list(range(1, row["n"] + 1))


@pytest.mark.parametrize("function", READERS)
def test_published_readers(function: str) -> None:
    """Rule: what is not well-formed is an error; published, it is a guess, a tie, a 5 or an index."""
    agreed = 0
    for row in rows("judge_parse", function):
        if well_formed(function, row):
            assert READERS[function](row) == row["out"]["value"], row
            agreed += 1
        else:
            with pytest.raises(ValueError, match=rf"<{row['tag']}>"):
                READERS[function](row)
    assert agreed >= 2


def test_published_scales() -> None:
    for row in rows("judge_normalise", "pointwise._normalize_scores"):
        assert scale_scores(row["raw"], "group") == pytest.approx(row["out"]["value"])
    for row in rows("judge_normalise", "listwise._ranking_to_scores"):
        assert order_scores([{index} for index in row["ranking"]]) == pytest.approx(row["out"]["value"])


@given(
    st.permutations(range(6)),
    st.lists(st.sampled_from([" > ", ">", ", ", "\n", " = ", "="]), min_size=5, max_size=5),
)
def test_every_complete_order_is_read(order: list[int], signs: list[str]) -> None:
    written = str(order[0] + 1) + "".join(f"{sign}{i + 1}" for sign, i in zip(signs, order[1:], strict=True))
    groups = [[order[0]]]
    for sign, index in zip(signs, order[1:], strict=True):
        if "=" in sign:
            groups[-1].append(index)
        else:
            groups.append([index])
    assert parse_order(f"<ranking>{written}</ranking>", 6) == [set(group) for group in groups]
    with pytest.raises(ValueError, match="each number from 1 to 7 once"):
        parse_order(f"<ranking>{written}</ranking>", 7)


def test_tied_ranks_share_their_mean() -> None:
    assert order_scores([{1}, {0, 2}, {3}]) == [0.0, 1.0, 0.0, -1.0]
    assert parse_order("<ranking> 2 > 1=3 ,4 </ranking>", 4) == [{1}, {0, 2}, {3}]


# ---------------------------------------------------------------- prompts


@pytest.mark.parametrize("kind", ["judge_pairwise", "judge_pointwise", "judge_listwise"])
def test_the_prompts_of_the_workflow(kind: Any) -> None:
    prompt = load_judge_prompt(str(ROOT / "config" / "prompts" / f"{kind}.yaml"), kind)
    texts: dict[str, Any] = {
        "judge_pairwise": {"first": "first {question}", "second": "```second```"},
        "judge_pointwise": {"response": "```only {question}```"},
        "judge_listwise": {"candidates": ["one {question}", "```two```"]},
    }[kind]
    shown = prompt.render(question="What is {x}?", reference=None, **texts)
    assert "What is {x}?" in shown
    assert "{question}" in shown
    assert "````" in shown
    assert f"<{prompt.tag}>" in shown
    assert "known to be good" not in shown
    assert "a reference" in prompt.render(question="q", reference="a reference", **texts)


def test_a_prompt_can_be_a_python_function(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "def ask(*, question, response, reference):\n    return f'{question}: {response} <score>'\n"
    )
    prompt = load_judge_prompt(f"{file}:ask", "judge_pointwise")
    assert prompt.render(question="q", response="r", reference=None) == "q: r <score>"
    assert prompt.tag == "score"
    with pytest.raises(UserError, match="no function other"):
        load_judge_prompt(f"{file}:other", "judge_pointwise")
    with pytest.raises(UserError, match="no such file"):
        load_judge_prompt(f"{tmp_path / 'none.py'}:ask", "judge_pointwise")


FUNCTIONS = """
def custom_alignment_prompt(user_query, response_a, response_b, reference="", **kwargs):
    return f"{user_query}|{response_a}|{response_b}|{reference}|<result>"

custom_alignment_prompt.tag = "result"

def plain(question, first, second):
    return f"{question}|{first}|{second}|<better>"

def other(question, first, second, rubric):
    return rubric + "<better>"

def translated(first, second, source_language):
    return source_language + "<better>"

def as_published(user_query, response_a, response_b, reference="", **kwargs):
    return f"{user_query}\\nA: {response_a}\\nB: {response_b}\\n\\n<result>A/B/tie</result>"

def twofold(first, second):
    return "<first>A/B</first> then <last>A or B</last>"

def untagged(first, second):
    return first + second

def known_to_the_judge(first, second):
    return first + second

known_to_the_judge.tag = "choice"

def misnamed(first, second):
    return "<choice>A</choice>"

misnamed.tag = "choices"

def hard_to_please(question, first, second):
    return {"q": "<result>A/B/tie</result>"}[question]

def badly_tagged(first, second):
    return first

badly_tagged.tag = "<result>"
"""


def test_a_function_is_given_what_it_asks_for_and_names_its_tag(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FUNCTIONS)
    texts: dict[str, Any] = {"question": "q", "first": "1", "second": "2"}
    published = load_judge_prompt(f"{file}:custom_alignment_prompt", "judge_pairwise")
    assert published.render(**texts, reference=None) == "q|1|2||<result>"
    assert published.render(**texts, reference="r", source_language="German") == "q|1|2|r|<result>"
    assert published.tag == "result"
    plain = load_judge_prompt(f"{file}:plain", "judge_pairwise")
    assert plain.render(**texts, reference="r") == "q|1|2|<better>"
    assert plain.tag == "better"
    other = load_judge_prompt(f"{file}:other", "judge_pairwise")
    with pytest.raises(UserError, match=r"other: asks for rubric; known are first, question, .*user_query"):
        other.render(**texts, reference=None)
    with pytest.raises(UserError, match=r"plain: asks for first, second; known are .*response"):
        load_judge_prompt(f"{file}:plain", "judge_pointwise")
    with pytest.raises(UserError, match="tag is '<result>'; expected the name of a tag, such as better"):
        load_judge_prompt(f"{file}:badly_tagged", "judge_pairwise")
    translated = load_judge_prompt(f"{file}:translated", "judge_pairwise")
    with pytest.raises(UserError, match="asks for source_language, but what is judged is no translation"):
        translated.render(**texts, reference=None)


def test_the_tag_is_that_which_the_prompt_shows(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FUNCTIONS)

    def tag_of(name: str) -> str:
        return load_judge_prompt(f"{file}:{name}", "judge_pairwise").tag

    assert tag_of("as_published") == "result"
    assert tag_of("known_to_the_judge") == "choice"
    assert tag_of("hard_to_please") == "better"
    for name, words in (
        ("twofold", "shows a verdict in <first>, <last>; set tag to"),
        ("untagged", "does not say in which tag the verdict stands; expected <better>"),
        ("misnamed", "its tag is 'choices', but its prompt shows a verdict in <choice>; set tag to"),
    ):
        with pytest.raises(UserError, match=f"{name}: .*{words}"):
            tag_of(name)


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        *(("judge_pairwise", text) for text in ("A", "tie", "A|B|tie", "[A or B]")),
        *(("judge_pointwise", text) for text in ("7", "1-10", "{score}", "N")),
        *(("judge_listwise", text) for text in ("2 > 1 = 3", "1, 2")),
    ],
)
def test_how_a_prompt_shows_a_verdict(tmp_path: Path, kind: Any, shown: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"def ask(**texts):\n    return '<b>Note</b> <answer>{shown}</answer>'\n")
    assert load_judge_prompt(f"{file}:ask", kind).tag == "answer"


def test_a_template_that_shows_another_tag_is_refused(tmp_path: Path) -> None:
    templates = yaml.safe_load((ROOT / "config/prompts/judge_pairwise.yaml").read_text(encoding="utf-8"))
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(templates | {"tag": "result"}))
    with pytest.raises(UserError, match=r"mine\.yaml: its tag is 'result', but .* in <better>; set tag to"):
        load_judge_prompt(str(file), "judge_pairwise")


def test_a_published_function_judges(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FUNCTIONS)
    prompt = load_judge_prompt(f"{file}:custom_alignment_prompt", "judge_pairwise")

    def longer(call: Call) -> Act:
        _, first, second, *_ = call.prompt.split("|")
        return Act(f"<result>{'A' if len(first) > len(second) else 'B'}</result>")

    async def use(client: JudgeClient, server: JudgeServer) -> Any:
        return await judge_pairwise(client, [Group("q", ("1", "333", "22"))], prompt, "copeland")

    assert served(longer, use).groups[0].scores == (-1, 1, 0)
