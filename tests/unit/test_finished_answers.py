"""Only an answer that the model ended itself is one, whoever gives it and whoever reads it."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from grrm.asking.client import JudgeClient
from grrm.asking.options import JudgeOptions
from grrm.asking.served import served_judge
from grrm.inference.backends import Decoding, Engine, Request, open_backend
from grrm.judges.questions import NoAnswerError, Verdict
from judge_server import Act, JudgeServer


def body(finish: str | None, usage: Any = None, **message: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 7, "completion_tokens": 5} if usage is None else usage
    return json.dumps({"choices": [choice], "usage": usage}).encode()


UNUSABLE = {
    "aborted": ("unfinished", body("abort", content="Guten Mor")),
    "filtered": ("refused", body("content_filter", content="Guten Mor")),
    "cut, in another's word": ("unfinished", body("MAX_TOKENS", content="9")),
    "cut, in a third one's": ("unfinished", body("max_tokens", content="9")),
    "nobody says why": ("unfinished", body(None, content="9")),
    "a word nobody knows": ("unfinished", body("whatever", content="9")),
    "a call of a tool": ("unfinished", body("tool_calls", content="9")),
    "nothing but thinking, cut": ("unfinished", body("length", content=None, reasoning_content="Hmm")),
    "nothing, cut": ("unfinished", body("length", content=None)),
    "nothing but thinking": ("unfinished", body("stop", content=None, reasoning="Hmm")),
    "a refusal": ("refused", body("stop", content=None, refusal="I cannot help with that")),
    "parts that refuse": ("refused", body("stop", content=[{"type": "refusal", "refusal": "No"}])),
}


def with_server(raw: bytes, use: Any) -> Any:
    async def run() -> Any:
        async with JudgeServer(lambda _: Act(raw=raw)) as server:
            return await use(server.url), len(server.calls)

    return asyncio.run(run())


def decided(raw: bytes, **options: Any) -> tuple[Verdict[str], JudgeClient, int]:
    async def use(url: str) -> Any:
        limits = {"max_failure_share": 1.0, "backoff": 0.0, "parse_retries": 0}
        async with JudgeClient(JudgeOptions(model="m", url=url, **{**limits, **options}), {}) as client:
            return (await client.decide([("a prompt", str)]))[0], client

    (verdict, client), calls = with_server(raw, use)
    return verdict, client, calls


@pytest.mark.parametrize(("reason", "raw"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_is_not_finished_is_no_verdict(reason: str, raw: bytes) -> None:
    verdict, client, calls = decided(raw)
    assert (verdict.value, verdict.reason, calls) == (None, reason, 1)
    assert (client.counts.prompt_tokens, client.counts.completion_tokens) == (7, 5)
    assert client.counts.answered == 0


@pytest.mark.parametrize(("reason", "raw"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_is_not_finished_is_no_completion(reason: str, raw: bytes) -> None:
    async def serve(ready: asyncio.Future[str], over: asyncio.Event) -> None:
        async with JudgeServer(lambda _: Act(raw=raw)) as server:
            ready.set_result(server.url)
            await over.wait()

    def ask(url: str) -> Any:
        with closing(open_backend("served", Engine(base_url=url))) as backend:
            return dict(backend.generate([Request("a")], Decoding(max_new_tokens=8)))[0]

    async def run() -> Any:
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        over = asyncio.Event()
        task = asyncio.create_task(serve(ready, over))
        written = await asyncio.to_thread(ask, await ready)
        over.set()
        await task
        return written

    assert asyncio.run(run()).failure == reason


def test_a_cut_answer_names_what_cut_it() -> None:
    verdict, _, _ = decided(UNUSABLE["nothing but thinking, cut"][1])
    assert "max_tokens" in verdict.detail
    assert "5 tokens" in verdict.detail


@pytest.mark.parametrize("finish", ["stop", "STOP", "end_turn", "eos_token"])
def test_what_is_known_to_mean_the_end_is_finished(finish: str) -> None:
    assert decided(body(finish, content="9"))[0].value == "9"


def test_parts_of_a_text_are_joined_and_thinking_is_none_of_them() -> None:
    parts = [
        {"type": "thinking", "thinking": "Hmm"},
        {"type": "text", "text": "Guten "},
        {"type": "text", "text": "Morgen."},
    ]
    assert decided(body("stop", content=parts))[0].value == "Guten Morgen."


@pytest.mark.parametrize("count", ["1e999", "-3", "true", '"many"', "null", "[]", "NaN"])
def test_a_count_that_is_none_counts_nothing(count: str) -> None:
    raw = body("stop", {"prompt_tokens": "COUNT"}, content="9").replace(b'"COUNT"', count.encode())
    verdict, client, _ = decided(raw)
    assert (verdict.value, client.counts.prompt_tokens) == ("9", 0)


def test_an_error_in_place_of_an_answer_is_the_servers_and_asked_again(tmp_path: Path) -> None:
    raw = b'{"error": {"code": 502, "message": "upstream"}}'
    cache = tmp_path / "cache.sqlite"
    verdict, client, calls = decided(raw, retries=2, cache=str(cache))
    assert (verdict.reason, calls, client.counts.failures["server"]) == ("server", 3, 1)
    assert "upstream" in verdict.detail
    again, _, calls = decided(body("stop", content="9"), cache=str(cache))
    assert (again.value, calls) == ("9", 1)


@pytest.mark.parametrize("finish", ["abort", "content_filter", None])
def test_what_was_broken_off_is_asked_for_anew(finish: str | None, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache.sqlite")
    decided(body(finish, content="9"), cache=cache)
    assert decided(body("stop", content="9"), cache=cache)[0].value == "9"


@pytest.mark.parametrize("finish", ["length", "abort", None])
def test_a_served_judge_has_not_answered_before_it_ended(finish: str | None) -> None:
    async def use(url: str) -> None:
        address = url.removeprefix("http://").split("/")[0]
        await served_judge(address, {"model": "m"}, 5.0)("a prompt", 0.0)

    with pytest.raises(NoAnswerError, match="unfinished"):
        with_server(body(finish, content="B > A\n\nA: 0, B: 1"), use)
