"""The reward server where things go wrong: changed prompts, failed judgements, bodies that do not come."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import socket
import threading
import time
import unicodedata
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from grrm.commands import serve_reward
from grrm.files import UserError
from grrm.reward_server.app import ServerOptions, create_app
from grrm.rewards.kinds import Scorer, ScoringOptions
from grrm.rewards.labelled import Reading, checker, scoring
from grrm.rewards.responses import Item, items_of, response_of
from grrm.rewards.siblings import Reward
from judge_server import Act, JudgeServer

ROOT = Path(__file__).parents[2]

QWEN = "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n"
LLAMA = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n%s<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
GEMMA = "<start_of_turn>user\n%s<end_of_turn>\n<start_of_turn>model\n"
TEXTS = {
    "Hindi": "\u095c \u0958लम पढ़ना",
    "Vietnamese": unicodedata.normalize("NFD", "Tiếng Việt đẹp lắm"),
    "Korean": unicodedata.normalize("NFD", "한국어 문장"),
    "Angstrom": "5 \u212b and \u2126",
    "two marks": "a\u0323\u0302 and a\u0302\u0323",
    "ligature": "ﬁne ﬂow ①",
}


# ---------------------------------------------------------------- what a tokenizer makes of a prompt


@pytest.mark.parametrize("template", [QWEN, LLAMA, GEMMA], ids=["qwen", "llama", "gemma"])
@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_prompt_that_a_tokenizer_normalises_is_recognised(template: str, form: Any, text: str) -> None:
    prompt = template % text
    assert response_of(unicodedata.normalize(form, prompt) + "  Antwort: 5 \u212b", prompt) == (
        "  Antwort: 5 \u212b"
    )


def test_a_prompt_whose_spaces_or_case_a_tokenizer_changes_is_recognised() -> None:
    prompt = QWEN % "Hello , world ! I do n't know . It 's fine ."
    assert response_of(QWEN % "Hello, world! I don't know. It's fine." + "Ja .", prompt) == "Ja ."
    assert response_of((QWEN % "hello") + "Ja", QWEN % "HELLO") == "Ja"


def test_a_prompt_whose_beginning_was_cut_off_is_recognised() -> None:
    prompt = QWEN % ("Übersetze diesen langen Satz " * 20)
    for cut in (1, 5, 100, len(prompt) - 25):
        assert response_of(prompt[cut:] + "Ja", prompt) == "Ja"
    assert response_of("\ufffd\ufffd" + prompt[50:] + "Ja", prompt) == "Ja"


def test_a_prompt_with_letters_that_a_tokenizer_does_not_know_is_told_by_the_assistants_mark() -> None:
    query = QWEN % "<unk><unk> <unk>" + "Ja <|im_start|>assistant\nnein"
    assert response_of(query, QWEN % "ឧឧ ឧ") == "Ja <|im_start|>assistant\nnein"
    turns = QWEN % "ឧ" + "first<|im_end|>\n" + QWEN % "ឧ"
    assert response_of(turns.replace("ឧ", "<unk>") + "second", turns) == "second"


@pytest.mark.parametrize(
    ("query", "prompt"), [("a b", "b"), ("pr", "q"), ("", "p"), ("a story", QWEN % "x"), ("nnnn", "annn" * 9)]
)
def test_a_query_of_another_prompt_is_refused(query: str, prompt: str) -> None:
    with pytest.raises(UserError, match="query 0: it does not begin with prompt 0"):
        items_of([query], [prompt], None)


@given(st.text(), st.text(), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_whatever_a_prompt_holds_its_response_is_told_from_it(text: str, response: str, form: Any) -> None:
    prompt = QWEN % text
    assert response_of(unicodedata.normalize(form, prompt) + "R" + response, prompt) == "R" + response


def test_a_long_prompt_takes_no_square_time() -> None:
    prompt = QWEN % ("ab " * 50_000 + "\u0302\u0323" * 1000)
    start = time.perf_counter()
    assert response_of(prompt[7:] + "x", prompt) == "x"
    assert time.perf_counter() - start < 5


# ---------------------------------------------------------------- failures


LABEL = {"src_text": "Hund", "src_lang": "de", "trg_lang": "en", "trg_text": "dog"}


async def rewards_of(options: ScoringOptions, reading: Reading, *groups: list[str]) -> list[Sequence[Reward]]:
    async with scoring(options, reading) as score:
        return [await score([Item("p", text, LABEL) for text in group]) for group in groups]


@pytest.fixture
def function(tmp_path: Any) -> ScoringOptions:
    file = tmp_path / "mine.py"
    file.write_text(
        "def words(group):\n"
        "    return [None if 'broken' in text else len(text.split()) for text in group['candidates']]\n"
    )
    return ScoringOptions("function", function=f"{file}:words")


def test_a_response_without_a_judgement_earns_the_mean_of_its_group(function: ScoringOptions) -> None:
    first, all_broken = asyncio.run(
        rewards_of(
            function, Reading(on_failure="mean"), ["one", "one two three", "broken"], ["broken", "broken a"]
        )
    )
    assert [reward.value for reward in first] == [1, 3, 2]
    assert [reward.info["judged"] for reward in first] == [1, 1, 0]
    assert [reward.value for reward in all_broken] == [2, 2]  # of all so far
    assert all(reward.failure is None for reward in (*first, *all_broken))


def test_before_anything_is_judged_there_is_no_mean(function: ScoringOptions) -> None:
    ((reward,),) = asyncio.run(rewards_of(function, Reading(on_failure="mean"), ["broken"]))
    assert reward.value is None and reward.failure
    with pytest.raises(UserError, match="on_failure: 'zero', expected one of error, mean"):
        Reading(on_failure="zero")  # type: ignore[arg-type]


@pytest.mark.parametrize("points", [False, True])
def test_scores_are_shares_that_dynamic_filtering_keeps(function: ScoringOptions, points: bool) -> None:
    ((worst, best, many),) = asyncio.run(
        rewards_of(function, Reading(points=points), ["", "one two three", "x " * 99])
    )
    assert (worst.share, best.share, many.share) == (0.001, pytest.approx(0.3), 0.999)
    assert (worst.value, best.value, many.value) == (0, 3, 99)


def test_a_kind_whose_scores_say_something_alone_needs_no_group() -> None:
    options = ScoringOptions.from_mapping({"kind": "bradley_terry", "model": {"model": "x"}})
    assert not options.compares(points=False)
    assert options.compares(points=True)


ALONE = (
    {"kind": "bleu"},
    {"kind": "chrf"},
    {"kind": "pointwise", "scale": "absolute"},
    {"kind": "comet", "model": "x"},
)
TOGETHER = (
    {"kind": "pairwise_dgr"},
    {"kind": "listwise"},
    {"kind": "pointwise", "scale": "group"},
    {"kind": "bradley_terry", "model": {"model": "x"}},
    {"kind": "chrf", "normalise": "group", "name": "normalised"},
)


def reward(kind: str, **values: Any) -> ScoringOptions:
    judge = {"url": "http://127.0.0.1:9/v1", "model": "m", "retries": 0}
    return ScoringOptions.from_mapping(
        {"kind": kind, "prompt": "p", "judge": judge, **values}, environment={}
    )


@pytest.mark.parametrize("extract", ["thinking", "code_block", "last_line"])
def test_nothing_is_taken_out_of_thinking_that_never_ends(function: ScoringOptions, extract: Any) -> None:
    inside = "<think>Hm.\n```\none two\n```"
    ((endless, ended),) = asyncio.run(
        rewards_of(function, Reading(extract, -1.0), [inside, "<think>Hm.</think>\n```\none two\n```"])
    )
    assert (endless.value, endless.info["valid"]) == (-1.0, 0.0)
    assert ended.info["valid"] == 1.0


@pytest.mark.parametrize("part", ALONE, ids=lambda part: part["kind"])
def test_a_mixture_needs_a_group_where_one_of_its_parts_does(part: Any) -> None:
    judge = {"url": "http://127.0.0.1:9/v1", "model": "m"}
    parts = [{"prompt": "p", "judge": judge, "name": "first", **part}]
    assert not reward("mixture", parts=parts).compares(points=False)
    for other in TOGETHER:
        both = reward("mixture", parts=[*parts, {"prompt": "p", "judge": judge, **other}])
        assert both.compares(points=False), other
        with pytest.raises(UserError, match="group_size: 1, but mixture compares"):
            ServerOptions("mixture", compares=both.compares(points=False), group_size=1)


@pytest.mark.parametrize("kind", ["bleu", "chrf", "pointwise", "function", "mixture"])
def test_a_response_alone_is_rewarded_by_a_kind_that_needs_no_group(kind: str, tmp_path: Any) -> None:
    (tmp_path / "own.py").write_text("def score(group): return [len(t) for t in group['candidates']]")
    given: dict[str, Any] = {"function": f"{tmp_path}/own.py:score"} if kind == "function" else {}
    if kind == "mixture":
        given["parts"] = [{"kind": "bleu"}, {"kind": "chrf"}]

    async def run() -> httpx.Response:
        async with JudgeServer(lambda call: Act("<score>7</score>")) as server:
            prompt = str(ROOT / "config/prompts/judge_pointwise.yaml")
            judge = {"url": server.url, "model": "m"}
            options = ScoringOptions.from_mapping(
                {"kind": kind, **({"prompt": prompt, "judge": judge} if kind == "pointwise" else given)}
            )
            limits = ServerOptions(kind, compares=options.compares(points=False))
            served = create_app(lambda: scoring(options, Reading()), limits, checker(kind, Scorer(options)))
            transport = httpx.ASGITransport(served)
            async with (
                served.router.lifespan_context(served),
                httpx.AsyncClient(transport=transport, base_url="http://x") as client,
            ):
                body = {"query": ["p good"], "prompts": ["p "], "labels": [{**LABEL, "trg_text": "good"}]}
                return await client.post("/get_reward", json=body)

    answer = asyncio.run(run())
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["rewards"]) == 1


WRONG = [
    (
        ["--kind", "mixture", "--part", "kind=comet", "model=/tmp/no/such"],
        "model /tmp/no/such: no such folder",
    ),
    (["--kind", "bradley_terry", "--model", "/tmp/no/such"], "model /tmp/no/such: no such folder"),
    (["--kind", "mixture", "--part", "kind=comet", "model=3"], "model is 3, expected the folder"),
    (["--kind", "mixture", "--part", "kind=comet", "model={a: 1}"], "unknown a; known are model"),
    (["--kind", "mixture", "--part", "kind=pointwise", "judge=3"], "judge is 3, expected options"),
    (["--kind", "mixture", "--part", "kind=bleu", "parts=3"], "parts is 3, expected a list"),
    (["--kind", "mixture", "--part", "kind=bleu", "range=3"], "range is 3, expected the lowest"),
    (["--kind", "mixture", "--part", "kind=bleu", "prompt=3"], "prompt is 3, expected a text"),
    (["--kind", "mixture", "--part", "kind=bleu", "swap=1"], "swap is 1, expected true or false"),
    (["--kind", "mixture", "--part", "kind=[bleu]"], "kind is .*bleu"),
    (["--kind", "mixture", "--part", "kind=bleu", "x={a: }b"], "x: not valid YAML"),
    (
        ["--kind", "mixture", "--part", "kind=bleu", "normalise=group", "--group-size", "1"],
        "compares the responses of a group",
    ),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=lambda value: str(value)[-40:])
def test_what_cannot_be_served_is_said_at_the_start(arguments: list[str], words: str) -> None:
    parser = argparse.ArgumentParser()
    serve_reward.add_arguments(parser)
    with pytest.raises(UserError, match=words):
        serve_reward.run(parser.parse_args([*arguments, "--port", "0"]))


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ({**LABEL, "trg_lang": "klingon"}, "trg_lang"),
        ({**LABEL, "src_lang": "q"}, "src_lang"),
        ({**LABEL, "trg_text": ""}, "no trg_text"),
    ],
)
def test_what_is_the_clients_fault_is_said_before_anybody_waits(label: Any, words: str) -> None:
    check = checker("bleu", Scorer(ScoringOptions("bleu")))
    with pytest.raises(UserError, match=words):
        check(Item("p", "r", label))


def test_a_column_that_the_judges_prompt_asks_for_is_the_clients_to_give(tmp_path: Any) -> None:
    prompt = tmp_path / "prompt.py"
    prompt.write_text(
        "def ask(response, question, domain):\n"
        "    return f'{domain} {question} {response} <score>1-10</score>'\n"
    )
    options = ScoringOptions.from_mapping(
        {"kind": "pointwise", "prompt": f"{prompt}:ask", "judge": {"url": "http://x", "model": "m"}},
        environment={},
    )
    check = checker("pointwise", Scorer(options))
    with pytest.raises(UserError, match="labels: no domain; the judge's prompt asks for it"):
        check(Item("p", "r", {"question": "q"}))
    check(Item("p", "r", {"question": "q", "domain": "news"}))


# ---------------------------------------------------------------- over HTTP


async def by_length(group: Sequence[Item]) -> list[Reward]:
    return [Reward(float(len(item.response))) for item in group]


def app(score: Any = by_length, **options: Any) -> Any:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        yield score

    return create_app(opened, ServerOptions("by_length", **options))


DEEP = 50_000


@pytest.mark.parametrize(
    "content",
    [
        "[" * DEEP + "]" * DEEP,
        '{"query": ["p r"], "prompts": ["p"], "labels": [' + "[" * DEEP + "]" * DEEP + "]}",
        '{"query": ["p r"], "prompts": ["p"], "labels": [' + '{"a":' * 100 + "1" + "}" * 100 + "]}",
        '{"query": ["p r"], "prompts": ["\\ud800"]}',
        '{"query": ["p r"], "prompts": [' + "9" * 5000 + "]}",
        '{"query": ["p r"], "prompts": ["p "], "labels": [{"a": [NaN]}]}',
        '{"query": ["p r"], "prompts": ["p "], "labels": [-1e999]}',
        "\xff",
        "",
    ],
    ids=[
        "body",
        "label",
        "deeper than rows are",
        "surrogate",
        "huge integer",
        "NaN",
        "infinity",
        "Latin-1",
        "empty",
    ],
)
def test_a_body_that_cannot_be_read_is_the_clients_fault_in_json(content: str) -> None:
    with TestClient(app(), raise_server_exceptions=False) as client:
        answer = client.post(
            "/get_reward",
            content=content.encode("latin-1"),
            headers={"Content-Type": "application/json"},
        )
    assert 400 <= answer.status_code < 500
    assert answer.json()["detail"]


def test_a_label_of_json_text_nested_deep_is_the_reference() -> None:
    label = "[" * DEEP + "]" * DEEP
    with TestClient(app(), raise_server_exceptions=False) as client:
        answer = client.post("/get_reward", json={"query": ["p r"], "prompts": ["p "], "labels": [label]})
    assert answer.json()["rewards"] == [1]


def test_refusals_are_logged_once_for_each_kind_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "uvicorn.error"), TestClient(app()) as client:
        for number in range(12):
            client.post("/get_reward", json={"query": [f"a{number}"], "prompts": ["b"]})
        client.post("/get_reward", json={"query": ["a"], "prompts": []})
        health = client.get("/health").json()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert said[0].startswith("refused (422): query 0: it does not begin with prompt 0")
    assert said[1].startswith("refused (422), 10 times so far, the last: query 0")
    assert "prompts: 0 for 1 of query" in said[2]
    assert health["refused"] == {"422": 13}


@contextmanager
def listening(application: Any) -> Iterator[int]:
    """The application behind a real socket; its port."""
    server = uvicorn.Server(uvicorn.Config(application, log_level="critical", timeout_graceful_shutdown=1))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)


def half_sent(port: int, size: int) -> socket.socket:
    """A request of which all but the last byte is sent, or as much as is taken."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.settimeout(0.2)
    head = f"POST /get_reward HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
    with suppress(OSError):  # it was refused meanwhile
        connection.sendall(head.encode() + b" " * (size - 1))
    return connection


def test_bodies_that_never_end_are_held_within_bounds() -> None:
    application = app(max_body=2**20, max_receiving=2**21, receive_seconds=1.5)
    with listening(application) as port:
        connections = [half_sent(port, 2**20) for _ in range(6)]
        url = f"http://127.0.0.1:{port}"
        content = {"query": ["p r" + "x" * 10_000], "prompts": ["p"]}
        refused = httpx.post(f"{url}/get_reward", json=content, trust_env=False)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert httpx.get(f"{url}/health", trust_env=False).json()["refused"]["503"] >= 4
        time.sleep(2)  # those that were waited for are given up, and there is room again
        answer = httpx.post(f"{url}/get_reward", json=content, trust_env=False)
        assert answer.status_code == 200
        assert httpx.get(f"{url}/health", trust_env=False).json()["refused"]["408"] >= 1
        for connection in connections:
            connection.close()


def test_long_texts_do_not_hold_up_the_server() -> None:
    async def run() -> float:
        label = {**LABEL, "trg_text": "wort " * 100_000}
        async with scoring(ScoringOptions("chrf"), Reading()) as score:
            task = asyncio.ensure_future(score([Item("p", "wort " * 100_000, label)]))
            longest = 0.0
            while not task.done():
                start = time.thread_time()  # of the event loop's own thread, however busy the machine is
                await asyncio.sleep(0.01)
                longest = max(longest, time.thread_time() - start)
            assert (await task)[0].value == pytest.approx(100)
            return longest

    assert asyncio.run(run()) < 0.5


def test_what_is_said_may_hold_half_a_pair_of_surrogates() -> None:
    async def score(group: Sequence[Item]) -> list[Reward]:
        raise UserError(f"judge says {group[0].response!r} {group[0].response}")

    with TestClient(app(score), raise_server_exceptions=False) as client:
        content = json.dumps({"query": ["p \ud800"], "prompts": ["p "]})
        answer = client.post("/get_reward", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 502
    assert "judge says" in answer.json()["detail"]
