"""The reward server: the protocol, groups over several requests, and errors that are never a reward."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from grrm import cli
from grrm.catalogue.rewards import GENERAL_JUDGES, NAMES
from grrm.commands import serve_reward
from grrm.files import UserError
from grrm.reward_server.app import ServerOptions, create_app
from grrm.reward_server.protocol import RewardRequest, items
from grrm.rewards.kinds import Scorer, ScoringOptions
from grrm.rewards.labelled import Reading, checker, conversation, read_group, scoring
from grrm.rewards.responses import Item
from grrm.rewards.siblings import Collector, IncompleteError, Reward
from judge_server import Act, JudgeServer

ROOT = Path(__file__).parents[2]
PROMPT = "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"


async def by_length(group: Sequence[Item]) -> list[Reward]:
    """Longer is better; what holds "broken" has no reward."""
    return [
        Reward(None, failure="the judge is broken")
        if "broken" in item.response
        else Reward(float(len(item.response)), {"members": float(len(group))})
        for item in group
    ]


def app(score: Any = by_length, check: Any = lambda item: None, **options: Any) -> Any:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        yield score

    return create_app(opened, ServerOptions("by_length", **options), check)


def body(*responses: str, prompt: str = PROMPT, label: Any = None) -> dict[str, Any]:
    count = len(responses)
    return {
        "query": [prompt + response for response in responses],
        "prompts": [prompt] * count,
        "labels": [label] * count,
    }


def post(application: Any, content: Any) -> httpx.Response:
    with TestClient(application) as client:
        return client.post("/get_reward", json=content)


# ---------------------------------------------------------------- the protocol


def test_rewards_come_in_the_order_of_the_query() -> None:
    answer = post(app(), body("four", "4", "four!<|im_end|>\n<|endoftext|>"))
    assert answer.status_code == 200
    assert answer.json() == {
        "rewards": [4, 1, 5],
        "scores": [4, 1, 5],
        "extra_logs": {"members": [3, 3, 3]},
    }


def test_prompts_of_their_own_are_groups_of_their_own() -> None:
    content = {"query": ["a: xx", "b: y", "a: z"], "prompts": ["a: ", "b: ", "a: "]}
    assert post(app(), content).json()["extra_logs"] == {"members": [2, 1, 2]}


def test_older_spelling_of_the_query_is_understood() -> None:
    content = body("4")
    content["queries"] = content.pop("query")
    assert post(app(), content).json()["rewards"] == [1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "query"),
        ({"query": [], "prompts": []}, "query"),
        ({"query": ["a"], "prompts": []}, "prompts: 0 for 1 of query"),
        ({"query": ["a b"], "prompts": ["b"]}, "query 0: it does not begin with prompt 0"),
        ({"query": ["a"], "prompts": ["a"], "labels": [1, 2]}, "labels: 2 for 1"),
        ({"query": [7], "prompts": ["a"]}, "query.0"),
        (["a"], "body"),
    ],
)
def test_a_request_that_cannot_be_understood_is_refused_in_a_sentence(content: Any, words: str) -> None:
    answer = post(app(), content)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_an_end_mark_inside_a_response_stays() -> None:
    request = RewardRequest(query=["p </s> x</s></s> "], prompts=["p "])
    assert items(request)[0].response == "</s> x"


# ---------------------------------------------------------------- failures and limits


def test_a_failure_is_no_reward_and_names_its_reason() -> None:
    answer = post(app(), body("four", "broken"))
    assert answer.status_code == 502
    assert answer.json() == {"detail": "1 of 2 responses have no reward: the judge is broken"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_no_reward(value: float) -> None:
    async def score(group: Sequence[Item]) -> list[Reward]:
        return [Reward(value)]

    assert post(app(score), body("x")).status_code == 502


def test_too_many_failed_judgements_are_an_error_of_the_judge() -> None:
    async def score(group: Sequence[Item]) -> list[Reward]:
        raise UserError("judge x: 33 of the last 64 answers failed")

    answer = post(app(score), body("x"))
    assert (answer.status_code, answer.json()["detail"]) == (502, "judge x: 33 of the last 64 answers failed")


@pytest.mark.parametrize(
    ("options", "content", "status", "words"),
    [
        ({"max_body": 100}, body("x" * 100), 413, "longer than 100 bytes"),
        ({"max_queries": 2}, body("a", "b", "c"), 413, "3 responses, at most 2"),
        ({"max_group": 2}, body("a", "b", "c"), 413, "3 responses to a prompt, at most 2"),
        ({"compares": True}, body("a"), 422, "--group-size"),
    ],
)
def test_limits(options: dict[str, Any], content: Any, status: int, words: str) -> None:
    answer = post(app(**options), content)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    "options", [{"max_body": 0}, {"patience": 0}, {"group_size": 65}, {"compares": True, "group_size": 1}]
)
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        ServerOptions("pairwise_dgr", **options)


def test_a_body_without_its_length_is_counted_as_it_comes() -> None:
    def pieces() -> Any:
        for _ in range(100):
            yield b" " * 1000

    with TestClient(app(max_body=5000)) as client:
        assert client.post("/get_reward", content=pieces()).status_code == 413


# ---------------------------------------------------------------- groups over several requests


def collector(size: int = 2, patience: float = 5.0, score: Any = by_length) -> Collector:
    return Collector(score, size=size, patience=patience, concurrency=4)


def item(response: str, prompt: str = "p") -> Item:
    return Item(prompt, response)


def test_responses_sent_one_by_one_are_judged_together_and_once() -> None:
    calls: list[list[str]] = []

    async def score(group: Sequence[Item]) -> list[Reward]:
        calls.append([member.response for member in group])
        return await by_length(group)

    async def run() -> list[list[Reward]]:
        groups = collector(3, score=score)
        return await asyncio.gather(
            *[groups.rewards([item(text, prompt)]) for text in ("a", "bb", "ccc") for prompt in "pq"]
        )

    answers = asyncio.run(run())
    assert sorted(calls) == [["a", "bb", "ccc"]] * 2
    assert [reward.value for answer in answers for reward in answer] == [1, 1, 2, 2, 3, 3]


def test_a_group_that_stays_incomplete_is_told_to_ask_again_and_forgotten() -> None:
    async def run() -> None:
        groups = collector(patience=0.05)
        with pytest.raises(IncompleteError, match=r"1 of 2 responses to the prompt have come in 0\.05 s"):
            await groups.rewards([item("late")])
        # Had the first one stayed, these two would not be a group of their own.
        pair = await asyncio.gather(groups.rewards([item("a")]), groups.rewards([item("bb")]))
        assert [rewards[0].value for rewards in pair] == [1, 2]

    asyncio.run(run())


def test_a_sibling_that_comes_when_the_time_is_over_completes_its_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The time is over, but nobody has looked yet."""

    @asynccontextmanager
    async def late(seconds: float) -> AsyncIterator[None]:
        yield
        raise TimeoutError

    monkeypatch.setattr(asyncio, "timeout", late)

    async def run() -> list[list[Reward]]:
        groups = collector(patience=0.05)
        return await asyncio.gather(groups.rewards([item("a")]), groups.rewards([item("bb")]))

    assert [rewards[0].value for rewards in asyncio.run(run())] == [1, 2]


def test_a_client_that_goes_away_while_it_waits_does_not_count() -> None:
    async def run() -> None:
        groups = collector()
        gone = asyncio.create_task(groups.rewards([item("gone")]))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        first = asyncio.create_task(groups.rewards([item("a")]))
        await asyncio.sleep(0.01)
        assert not first.done()
        assert (await groups.rewards([item("bb")]))[0].info == {"members": 2}
        assert (await first)[0].value == 1

    asyncio.run(run())


def test_a_client_that_goes_away_while_it_is_judged_gets_its_reward_when_it_asks_again() -> None:
    async def run() -> None:
        judging = asyncio.Event()

        async def score(group: Sequence[Item]) -> list[Reward]:
            await judging.wait()
            return await by_length(group)

        groups = collector(score=score)
        gone = asyncio.create_task(groups.rewards([item("gone")]))
        sibling = asyncio.create_task(groups.rewards([item("a")]))
        await asyncio.sleep(0.01)
        gone.cancel()
        judging.set()
        assert (await sibling)[0].value == 1
        assert (await groups.rewards([item("gone")]))[0].value == 4
        again = asyncio.create_task(groups.rewards([item("gone")]))
        await asyncio.sleep(0.01)
        assert not again.done()  # it was there for one
        again.cancel()

    asyncio.run(run())


def test_a_group_that_failed_is_judged_anew_when_it_is_asked_again() -> None:
    async def run() -> None:
        attempts = 0

        async def score(group: Sequence[Item]) -> list[Reward]:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                raise UserError("the judge is down")
            return await by_length(group)

        groups = collector(score=score)
        for expected in (UserError, None):
            answers = await asyncio.gather(
                groups.rewards([item("a")]), groups.rewards([item("bb")]), return_exceptions=True
            )
            assert all(isinstance(answer, UserError) == (expected is UserError) for answer in answers)
        assert (groups.groups, groups.failed) == (1, 1)

    asyncio.run(run())


# ---------------------------------------------------------------- labels


def test_a_prompt_in_chatml_is_a_conversation() -> None:
    prompt = "<|im_start|>system\nBe short.<|im_end|>\n" + PROMPT
    assert conversation(prompt) == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "2 + 2?"},
    ]
    assert read_group("pointwise", [item("4", prompt)]).question == "System: Be short.\n\nUser: 2 + 2?"
    assert read_group("pointwise", [item("4", PROMPT)]).question == "2 + 2?"
    assert read_group("pointwise", [item("4", "plain")]).question == "plain"
    assert conversation("<|im_start|>user\nunfinished") == []


@pytest.mark.parametrize("form", [lambda value: value, json.dumps], ids=["messages", "JSON"])
def test_a_label_may_be_a_published_row(form: Callable[[Any], Any]) -> None:
    turns = [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "[And] 3?"},
    ]
    closed = [*turns, {"role": "assistant", "content": "5"}]
    for label in ({"x": form(turns), "chosen": form(closed)}, {"messages": form(turns), "chosen": "5"}):
        group = read_group("pointwise", [Item("p", "6", form(label))])
        assert (list(group.turns), group.reference) == (turns, "5")
        assert group.question == "User: 2 + 2?\n\nAssistant: 4\n\nUser: [And] 3?"


@pytest.mark.parametrize("text", ["{oops", "[1]", "4", "null", '"x"'])
def test_a_text_is_the_reference_whatever_it_begins_with(text: str) -> None:
    assert read_group("pointwise", [Item("p", "6", text)]).reference == text


@pytest.mark.parametrize("as_text", [False, True])
def test_a_label_tells_what_is_translated(as_text: bool) -> None:
    label = {"src_text": "Hund", "src_lang": "de", "trg_lang": "en", "trg_text": "dog"}
    group = read_group("bleu", [Item("p", "cat", json.dumps(label) if as_text else label)])
    assert (group.question, group.src_lang, group.trg_lang, group.reference) == ("Hund", "de", "en", "dog")


@pytest.mark.parametrize(
    ("kind", "label", "words"),
    [
        ("grrm", None, "no src_text, src_lang, trg_lang"),
        ("bleu", {"src_text": "x", "src_lang": "de", "trg_lang": "en"}, "no trg_text"),
        ("pointwise", {"question": 7}, "question is 7"),
        ("pointwise", [1], "expected an object or a text"),
    ],
)
def test_a_label_that_lacks_something_is_refused_before_anybody_waits(
    kind: Any, label: Any, words: str
) -> None:
    answer = post(app(check=checker(kind)), body("x", label=label))
    assert answer.status_code == 422
    assert words in answer.json()["detail"].replace("src_text is", "question is")


def test_a_response_without_the_part_that_is_judged_earns_the_invalid_reward() -> None:
    label = {
        "src_text": "Hund",
        "src_lang": "de",
        "trg_lang": "en",
        "trg_text": "a dog runs by the old house",
    }
    group = [Item("p", text, label) for text in ("no block", "```\na dog runs by the old house\n```")]

    async def run() -> Sequence[Reward]:
        async with scoring(ScoringOptions("bleu"), Reading("code_block", -1.0)) as score:
            return await score(group)

    rewards = asyncio.run(run())
    assert [reward.value for reward in rewards] == [-1.0, pytest.approx(100)]
    assert [reward.info["valid"] for reward in rewards] == [0, 1]


def test_points_are_the_same_scale_for_every_kind() -> None:
    label = {
        "src_text": "Hund",
        "src_lang": "de",
        "trg_lang": "en",
        "trg_text": "a dog runs by the old house",
    }

    async def run() -> Sequence[Reward]:
        async with scoring(ScoringOptions("bleu"), Reading(points=True)) as score:
            return await score([Item("p", "a dog runs by the old house", label)])

    assert asyncio.run(run())[0].value == pytest.approx(10)


def test_every_kind_is_in_the_help() -> None:
    parser = argparse.ArgumentParser()
    serve_reward.add_arguments(parser)
    assert set(NAMES) <= set(re.findall(r"\w+", parser.format_help()))


def test_what_an_invalid_response_earns_must_be_said() -> None:
    with pytest.raises(UserError, match="--invalid-reward"):
        Reading("code_block")


# ---------------------------------------------------------------- whatever is sent

LABELS = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)


@given(st.lists(st.tuples(st.sampled_from(["p: ", "q: ", ""]), st.text(), LABELS), min_size=1, max_size=8))
@settings(max_examples=40)
def test_every_query_that_begins_with_its_prompt_is_rewarded(sent: list[tuple[str, str, Any]]) -> None:
    content = {
        "query": [prompt + response for prompt, response, _ in sent],
        "prompts": [prompt for prompt, _, _ in sent],
        "labels": [label for _, _, label in sent],
    }
    answer = post(app(), content)
    if any("broken" in response for _, response, _ in sent):
        assert answer.status_code == 502
    else:
        assert answer.json()["rewards"] == [float(len(x.response)) for x in items(RewardRequest(**content))]


# ---------------------------------------------------------------- the command, over real connections


def first_is_longer(call: Any) -> Act:
    """A judge that prefers the longer of the two responses."""
    first, second = re.findall(r"^Response [AB]:\n`{3,}\n(.*?)\n`{3,}", call.prompt, re.DOTALL | re.MULTILINE)
    return Act(f"<better>{'A' if len(first) > len(second) else 'B'}</better>", latency=0.01)


@asynccontextmanager
async def served(*flags: str) -> AsyncIterator[str]:
    """`grrm serve-reward` on a free port; its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "grrm.cli", "serve-reward", "--port", "0", *flags),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "NO_PROXY": "*"},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        lines = []
        while line := (await asyncio.wait_for(process.stderr.readline(), 60)).decode():
            lines.append(line)
            if match := re.search(r"Listening at (http://\S+)", line):
                yield match[1]
                return
        raise AssertionError("".join(lines))
    finally:
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 20) == 0


def test_a_trainer_is_served_as_openrlhf_asks() -> None:
    """Each response in a request of its own, judged in pairs by a judge behind real HTTP."""

    async def run() -> None:
        async with (
            JudgeServer(first_is_longer) as judge,
            served(
                *(
                    "--kind",
                    "pairwise_dgr",
                    "--prompt",
                    "config/prompts/judge_pairwise.yaml",
                    "--group-size",
                    "4",
                ),
                *("--judge-url", judge.url, "--judge-model", "judge", "--judge", "temperature=0.5"),
            ) as url,
            httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client,
        ):
            with pytest.raises(httpx.ReadTimeout):  # it will ask again, and must not count twice
                await client.post("/get_reward", json=body("ccc<|im_end|>"), timeout=0.3)
            texts = ["ccc", "a", "dddd", "bb"]
            sent = [client.post("/get_reward", json=body(f"{text}<|im_end|>")) for text in texts]
            answers = [answer.json() for answer in await asyncio.gather(*sent)]
            rewards = [answer["rewards"][0] for answer in answers]
            assert sorted(texts, key=dict(zip(texts, rewards, strict=True)).__getitem__) == sorted(texts)
            assert max(rewards) == 1 and min(rewards) == -1
            assert len(judge.calls) == 1 + 12  # the first question; six pairs in both orders
            assert {call.body["temperature"] for call in judge.calls} == {0.5}
            assert not any("<|im_start|>" in call.prompt for call in judge.calls)
            health = (await client.get("/health")).json()
            assert (health["reward"], health["groups"], health["waiting"]) == ("pairwise_dgr", 1, 0)
            await judge.stop()

    asyncio.run(run())


JUDGE = ("--judge-url", "http://127.0.0.1:1", "--judge-model", "judge")


def chosen(*flags: str) -> ScoringOptions:
    """What is served for these flags."""
    parser = argparse.ArgumentParser()
    serve_reward.add_arguments(parser)
    options: ScoringOptions = serve_reward._scoring(parser.parse_args(flags))
    return options


@pytest.mark.parametrize(
    ("flags", "environment", "kind"),
    [
        ((), {"EVAL_MODE": "listwise"}, "listwise"),
        ((), {"EVAL_MODE": "pairwise"}, "pairwise_dgr"),
        ((), {"PAIRWISE_MODE": "elo"}, "pairwise_elo"),
        (("--kind", "pointwise"), {"EVAL_MODE": "listwise"}, "pointwise"),
    ],
)
def test_the_environment_names_the_kind_that_no_flag_names(
    flags: tuple[str, ...], environment: dict[str, str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert chosen(*JUDGE, *flags).kind == kind


@pytest.mark.parametrize("kind", sorted(GENERAL_JUDGES))
def test_a_judge_that_is_given_no_prompt_has_that_of_its_kind(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # wherever it is started
    options = chosen("--kind", kind, *JUDGE)
    assert Path(options.prompt) == ROOT / f"config/prompts/judge_{kind.partition('_')[0]}.yaml"
    Scorer(options)


def test_the_readmes_example_can_be_served() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"grrm serve-reward (--kind.*?) +#", text)
    Scorer(chosen(*example.replace("URL", "http://127.0.0.1:1").split()))


def test_variables_stand_in_for_flags_that_are_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"JUDGE_API_URL": "http://h/v1", "TEMPERATURE": "0.9", "MAX_WORKERS": "3"}.items():
        monkeypatch.setenv(name, value)
    given = chosen("--kind", "pointwise", *JUDGE, "--judge", "temperature=0.2").judge
    assert given is not None
    assert (given.url, given.temperature, given.max_concurrency) == ("http://127.0.0.1:1", 0.2, 3)
    stands_in = chosen("--kind", "pointwise", "--judge-model", "judge").judge
    assert stands_in is not None
    assert (stands_in.url, stands_in.temperature) == ("http://h/v1", 0.9)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "--kind is missing; name it, or set EVAL_MODE or PAIRWISE_MODE"),
        (("--kind", "pairwise"), "kind is 'pairwise', expected one of"),
        (("--kind", "pairwise_dgr"), "judge: model is missing"),
        (
            ("--kind", "sqm", "--judge-model", "x", "--judge-url", "http://127.0.0.1:1"),
            "needs a prompt",
        ),
        (("--kind", "bleu", "--extract", "code_block"), "--invalid-reward"),
        (("--kind", "bleu", "--max-body", "0"), "max_body: 0"),
        (("--kind", "comet"), "needs a checkpoint"),
        (("--kind", "sqm", "--judge", "temperature"), "expected KEY=VALUE"),
    ],
)
def test_a_mistake_is_said_before_anything_is_served(
    flags: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JUDGE_MODEL_NAME", "EVAL_MODE", "PAIRWISE_MODE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=re.escape(words)):
        cli.main(["serve-reward", *flags])


def test_a_port_in_use_is_said_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port {port}: in use on 127\.0\.0\.1.*take another port"):
            cli.main(["serve-reward", "--kind", "bleu", "--port", str(port)])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--port", "65536"), "--port 65536: .*from 1024 to 65535"),
        (("--port", "0", "--host", "192.0.2.1"), "--host 192.0.2.1: cannot listen there"),
        (("--port", "0", "--host", "no.such.host.invalid"), "--host no.such.host.invalid: cannot listen"),
    ],
)
def test_an_address_that_cannot_be_listened_at_is_named(flags: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        cli.main(["serve-reward", "--kind", "bleu", *flags])
