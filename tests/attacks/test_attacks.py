"""Seeded attacks on parsers, readers, configurations, the client and the reward server, in this process.

Whatever comes in, three things hold. No traceback: what is refused is refused with UserError, or with the
ValueError that a parser documents. No leak: a planted secret is in no message, no output and no file. No
silent acceptance: what is accepted is what the class of the attack says, which its function checks.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import mutations
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from fastapi.testclient import TestClient
from mutations import SECRET

from grrm.asking import endpoint
from grrm.asking.chat import FINISHED
from grrm.asking.client import JudgeClient
from grrm.asking.options import JudgeOptions
from grrm.config import load_experiment
from grrm.data.layouts import UnusedRow, parse_row
from grrm.event_loop import LoopThread
from grrm.extract import code_block, last_code_block, tag, without_thinking
from grrm.files import UserError, read_json, read_jsonl, read_yaml
from grrm.inference.tables import read_rows
from grrm.judges.groups import Group
from grrm.ranking import InvalidAnswer, parse_answer, parse_ranking, parse_score_answer, read_answer
from grrm.reward_server.app import ServerOptions, create_app
from grrm.rewards.labelled import checker, read_group
from grrm.rewards.ranking_score import compute_score
from grrm.rewards.responses import items_of
from grrm.rewards.siblings import Reward
from grrm.schemas import read_table
from grrm.urls import secret_in, shown
from grrm.verdicts import (
    lenient_order,
    lenient_preference,
    lenient_score,
    parse_order,
    parse_preference,
    parse_quality,
    parse_score,
)

ROOT = Path(__file__).parents[2]
ALLOWED = (UserError, ValueError, UnusedRow)

COUNTS = {
    "verdicts": 900,
    "two verdicts": 200,
    "rankings": 500,
    "JSON and YAML": 600,
    "rows": 400,
    "Parquet": 300,
    "published rows": 400,
    "configurations": 120,
    "addresses": 40,
    "answers of servers": 600,
    "requests": 250,
    "responses": 300,
}
"""Attacks by class."""


def attack(name: str, once: Callable[[random.Random], object]) -> None:
    """Make the attacks of a class, each with a generator of its own, so that one can be made again by its
    number; what they found is told together."""
    found, count = [], COUNTS[name]
    for number in range(count):
        if (fault := _fault(once, random.Random(f"{name} {number}"))) is not None:
            found.append(f"{number}: {fault}")
    assert not found, f"{name}: {len(found)} of {count}\n" + "\n".join(found[:8])


def _fault(once: Callable[[random.Random], object], rng: random.Random) -> str | None:
    try:
        once(rng)
    except AssertionError as error:
        return f"accepted: {str(error)[:400]}"
    except ALLOWED as error:
        said = str(error)
        if SECRET in said:
            return "the secret is in the message"
        if isinstance(error, UserError) and ("\n" in said.strip() or "\r" in said):
            return f"more than one line: {said[:400]!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    return None


# ---------------------------------------------------------------- what models say

ANSWERS = (
    "The second is better.\n<better>B</better>",
    "<think>A or B?</think>\nA keeps the meaning.\n\n<better>A</better>",
    "Fine.\n<score>7</score>",
    "It reads well.\n\nScore: 8/10",
    "Best to worst.\n<ranking>3 > 1 = 2</ranking>",
    "Analysis.\n\nRanking:\nB > A > C\n\nScores:\nA: 8, B: 9, C: 2",
    "```\nGuten Morgen.\n```",
)


def test_readers_of_verdicts() -> None:
    """Accepted: a value of the scale; by a strict reader, one that a tag or the last line shows."""

    def once(rng: random.Random) -> None:
        said = mutations.text(rng, rng.choice(ANSWERS))
        which = rng.randrange(7)
        if which == 0:
            score = parse_score(said, 0, 10)
            assert 0 <= score <= 10 and f"{score}" in said
        elif which == 1:
            assert 0 <= lenient_score(said, 0, 10) <= 10
        elif which == 2:
            assert parse_preference(said) in ("A", "B", "tie") and "<better>" in said.lower()
        elif which == 3:
            assert lenient_preference(said) in ("A", "B", "tie")
        elif which == 4:
            quality = parse_quality(said)
            assert 0 <= quality <= 10 and math.isfinite(quality)
        else:
            read = parse_order if which == 5 else lenient_order
            assert sorted(i for tied in read(said, 3) for i in tied) == [0, 1, 2]

    attack("verdicts", once)


def test_two_verdicts_are_none() -> None:
    """Accepted: nothing, whatever stands around two verdicts that differ."""
    pairs: tuple[tuple[Any, str, str], ...] = (
        (parse_preference, "<better>A</better>", "<better>B</better>"),
        (lenient_preference, "<better>A</better>", "<better>Response B</better>"),
        (lambda said: parse_score(said, 1, 10), "<score>2</score>", "<score>9</score>"),
        (lambda said: lenient_score(said, 1, 10), "<score>2/10</score>", "<score>9</score>"),
        (lambda said: parse_order(said, 2), "<ranking>1 > 2</ranking>", "<ranking>2 > 1</ranking>"),
        (lambda said: lenient_order(said, 2), "<ranking>[1, 2]</ranking>", "<ranking>2 > 1</ranking>"),
    )
    words = ("", "\n", "Because.\n", " and ", "\n\nNote: ", "**", "Answer: ", "I mean\n")

    def once(rng: random.Random) -> None:
        read, one, other = rng.choice(pairs)
        first, second = rng.sample((one, other), 2)
        said = rng.choice(words) + first + rng.choice(words) + second + rng.choice(("", "\n", "<|im_end|>"))
        value = read(said)
        raise AssertionError(f"{said!r} was read as {value!r}")

    attack("two verdicts", once)


def test_readers_of_rankings() -> None:
    """Accepted: a score from 0 to 10 for each candidate and no other; else a reason."""

    def once(rng: random.Random) -> None:
        said = mutations.text(rng, rng.choice(ANSWERS))
        parsed = rng.choice((parse_answer, read_answer, parse_score_answer))(said, 3)
        if isinstance(parsed, InvalidAnswer):
            assert parsed.reason
        else:
            assert set(parsed.scores) == {"A", "B", "C"}
            assert all(0 <= score <= 10 for score in parsed.scores.values())
        reward = compute_score("grrm.ranking_score", said, '{"A": 8, "B": 9, "C": 2}')
        assert math.isfinite(reward["score"])
        for extract in (code_block, last_code_block, without_thinking):
            extract(said)
        tag(said, "score")
        parse_ranking(said)

    attack("rankings", once)


# ---------------------------------------------------------------- files

ROW = {
    "src_text": "Guten Morgen.",
    "trg_text": "Good morning.",
    "src_lang": "de",
    "trg_lang": "en",
    "mt_texts": ["Good morning.", "Morning good."],
    "scores": [9, 3],
    "analysis": "The first.",
}
PUBLISHED = (
    {"question": "2 + 2?", "response": "4", "score": 3},
    {"prompt": "2 + 2?", "response_1": "4", "response_2": "5", "overall_preference": -2},
    {"x": [{"role": "user", "content": "Hi"}], "chosen": "Hello", "rejected": "No", "source": "s"},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
    {
        "input": [{"role": "user", "content": "Hi"}],
        "output": [{"answer": {"content": "x", "label": {"score": 2}}}],
    },
)


def is_finite(value: Any) -> bool:
    """Whether no number in a value is NaN or infinite."""
    if isinstance(value, dict):
        return all(map(is_finite, value.values()))
    if isinstance(value, list):
        return all(map(is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def test_readers_of_json_and_yaml(tmp_path: Path) -> None:
    """Accepted: values without NaN and infinity; of YAML, mappings with keys of text."""
    examples = yaml.safe_dump(ROW).encode(), (ROOT / "config/smoke.yaml").read_bytes()

    def once(rng: random.Random) -> None:
        path = tmp_path / "file"
        which = rng.randrange(3)
        if which == 2:
            path.write_bytes(mutations.raw(rng, rng.choice(examples)[:1500]))
            found = read_yaml(path)
            assert is_finite(found)
            return
        lines = [mutations.as_json(rng, ROW) for _ in range(2)]
        path.write_bytes(b"\n".join(lines) if which else lines[0])
        (read_jsonl if which else read_json)(path)

    attack("JSON and YAML", once)


def test_readers_of_rows(tmp_path: Path) -> None:
    """Accepted: rows whose source is a text that is not empty, with the languages that are needed."""
    header, fields = ",".join(ROW), ",".join(f'"{text}"' for text in ROW.values())
    examples = {
        "csv": f"{header}\n{fields}\n{fields}\n".encode(),
        "tsv": ("\t".join(ROW) + "\n" + "\t".join(map(str, ROW.values())) + "\n").encode(),
        "txt": b"Guten Morgen.\n\nGuten Abend.\n",
        "jsonl": b"\n".join(json.dumps(ROW).encode() for _ in range(3)),
    }

    def once(rng: random.Random) -> None:
        ending = rng.choice(list(examples))
        path = tmp_path / f"rows.{ending}"
        data = mutations.as_json(rng, ROW) if ending == "jsonl" and rng.random() < 0.5 else examples[ending]
        path.write_bytes(mutations.raw(rng, data))
        for row in read_rows(str(path), src_lang="de", trg_lang="en"):
            assert isinstance(row["src_text"], str)
            assert ending == "txt" or row["src_text"].strip()
            row["src_text"].encode()

    attack("rows", once)


def test_readers_of_parquet(tmp_path: Path) -> None:
    """Accepted: tables whose rows keep every rule of the schema."""
    path = tmp_path / "table.parquet"
    pq.write_table(pa.Table.from_pylist([ROW] * 3), path)
    sound = path.read_bytes()

    def once(rng: random.Random) -> None:
        if rng.random() < 0.5:
            path.write_bytes(mutations.raw(rng, sound))
        else:
            rows = [mutations.value(rng, ROW) for _ in range(2)]
            try:
                pq.write_table(pa.Table.from_pylist([ROW, *rows]), path)
            except (pa.ArrowException, OverflowError, TypeError, UnicodeEncodeError, ValueError):
                path.write_bytes(sound)
        for row in read_table(path, "grrm_sft").to_pylist():
            assert row["src_text"].strip() and len(row["scores"]) == len(row["mt_texts"]) >= 2
            assert all(0 <= score <= 10 for score in row["scores"])

    attack("Parquet", once)


def test_readers_of_published_rows() -> None:
    """Accepted: records of the kind."""

    def once(rng: random.Random) -> None:
        row = mutations.value(rng, rng.choice(PUBLISHED))
        kind: Any = rng.choice(("pointwise", "pairwise", "bradley_terry", "sft"))
        assert parse_row(row, kind) is not None

    attack("published rows", once)


# ---------------------------------------------------------------- configurations


def test_configurations(tmp_path: Path) -> None:
    """Accepted: configurations that resolve again to the same."""
    known = load_experiment(ROOT)
    sections = {
        key: known[key] for key in ("data", "grrm_sft", "mt_grpo", "evaluate", "hardware", "cluster", "seed")
    }
    places = [path for path in mutations.paths_of(sections) if path and not isinstance(path[-1], int)]

    def once(rng: random.Random) -> None:
        changes: dict[str, Any] = {}
        below = changes
        *above, key = rng.choice(places)
        for step in above:
            below = below.setdefault(step, {})
        below[key] = rng.choice((*mutations.HOSTILE_VALUES, *mutations.HOSTILE_TEXTS))
        if rng.random() < 0.2:
            changes[rng.choice(mutations.HOSTILE_TEXTS)[:40]] = rng.choice(mutations.HOSTILE_VALUES)
        found = load_experiment(ROOT, [], changes)
        assert is_finite(found)
        json.dumps(found).encode()

    attack("configurations", once)


def test_secrets_in_addresses() -> None:
    """Accepted: no address with a planted secret; shown: none of it."""
    forms = (
        "http://user:{}@host/v1",
        "http://{}@host/v1",
        "https://host/v1?api_key={}",
        "https://host/v1?auth={}",
        "https://host/v1?X={}&sig={}",
        "host:80/{}:x@y",
        "http://host/v1#token={}",
        "https://host/v1?pwd={}",
        "https://host/v1?sas={}",
    )

    def once(rng: random.Random) -> None:
        form = rng.choice(forms)
        url = form.replace("{}", SECRET)
        if rng.random() < 0.5:
            url = url.replace("host", rng.choice(("[::1]", "h:99999", "ho st", "xn--a", "127.0.0.1:8")))
        assert secret_in(url), url
        assert SECRET not in shown(url), url
        with pytest.raises(UserError) as refused:
            load_experiment(ROOT, [], {"evaluate": {"base_url": url}})
        assert SECRET not in str(refused.value), url

    attack("addresses", once)


# ---------------------------------------------------------------- the client

COMPLETION = {
    "id": "x",
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "<better>A</better>"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5},
}
REASONS = (
    *(
        "stop",
        "length",
        "content_filter",
        "abort",
        "max_tokens",
        "MAX_TOKENS",
        "end_turn",
        "",
        None,
        0,
        "error",
    ),
    *("tool_calls", "function_call", "STOP", "recitation", "SAFETY", {}, []),
)


def test_answers_of_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepted: an answer that says that it is finished, of which the verdict is the only one."""
    body = b""
    status = 200

    def handler(request: httpx.Request) -> httpx.Response:
        headers = {"X-Echo": request.headers.get("Authorization", "")}
        return httpx.Response(status, content=body, headers=headers)

    transport = httpx.MockTransport(handler)
    real = httpx.AsyncClient
    monkeypatch.setattr(
        endpoint.httpx, "AsyncClient", lambda **options: real(transport=transport, trust_env=False)
    )
    ledger = tmp_path / "calls.jsonl"
    options = JudgeOptions(
        "judge",
        "http://judge/v1",
        retries=0,
        parse_retries=0,
        max_failure_share=1.0,
        ledger=str(ledger),
        breaker_failures=10**9,
    )

    async def made() -> JudgeClient:
        return await JudgeClient(options, {"JUDGE_API_KEY": SECRET}).__aenter__()

    def once(rng: random.Random) -> None:
        nonlocal body, status
        completion: Any = (
            mutations.value(rng, COMPLETION) if rng.random() < 0.6 else json.loads(json.dumps(COMPLETION))
        )
        choices = completion.get("choices")
        if rng.random() < 0.5 and isinstance(choices, list) and choices and isinstance(choices[0], dict):
            choices[0]["finish_reason"] = rng.choice(REASONS)
        if rng.random() < 0.1:
            completion = {
                "error": {"code": rng.choice((429, 500, 502, "x", None)), "message": f"key {SECRET}"}
            }
        body = mutations.as_json(rng, completion) if rng.random() < 0.3 else json.dumps(completion).encode()
        status = rng.choice((200, 200, 200, 200, 400, 401, 429, 500, 503))
        if status == 401:
            body = f"Bearer {SECRET} is wrong".encode()

        (verdict,) = loop.run(client.decide([(f"A or B? {rng.random()}", parse_preference)]))
        assert SECRET not in f"{verdict.detail} {verdict.text}", "the secret is in the verdict"
        if verdict.value is None:
            assert verdict.reason
            return
        said = json.loads(body)
        choice = said["choices"][0]
        assert status == 200
        assert str(choice["finish_reason"]).lower() in FINISHED, f"accepted {body[:300]!r}"
        content = choice["message"]["content"] if "message" in choice else choice["text"]
        assert f"<better>{verdict.value}</better>".lower() in json.dumps(content).lower()

    loop = LoopThread("attacks")
    client = loop.run(made())
    attack("answers of servers", once)
    loop.run(client.__aexit__(None, None, None))
    loop.close()
    assert SECRET not in ledger.read_text()


# ---------------------------------------------------------------- the reward server


async def count(group: Any) -> Any:
    """Rewards by length."""
    return [Reward(float(len(item.response))) for item in group]


def test_requests_to_the_reward_server() -> None:
    """Accepted: one finite reward for each query; what is refused is a client's fault, in JSON."""

    @asynccontextmanager
    async def scoring() -> Any:
        yield count

    check = checker("bleu")
    application = create_app(scoring, ServerOptions("count", max_body=200_000), check)
    label = {"src_text": "Hund", "src_lang": "de", "trg_lang": "en", "trg_text": "dog"}
    example = {"query": ["p a", "p b"], "prompts": ["p ", "p "], "labels": [label, json.dumps(label)]}

    with TestClient(application, raise_server_exceptions=False) as client:

        def once(rng: random.Random) -> None:
            content = mutations.as_json(rng, example) if rng.random() < 0.8 else json.dumps(example).encode()
            answer = client.post("/get_reward", content=content, headers={"Content-Type": "application/json"})
            said = answer.json()
            if answer.status_code == 200:
                assert all(map(math.isfinite, said["rewards"]))
                asked = json.loads(content)
                assert len(said["rewards"]) == len(asked.get("query", asked.get("queries")))
            else:
                assert 400 <= answer.status_code < 500, f"{answer.status_code}: {said} for {content[:200]!r}"
                assert said["detail"]

        attack("requests", once)


def test_responses_and_labels() -> None:
    """Accepted: a response that ends its query, and a group with what its kind needs."""
    prompt = "<|im_start|>user\nGuten Tag.<|im_end|>\n<|im_start|>assistant\n"
    label = {"src_text": "Hund", "src_lang": "de", "trg_lang": "en", "trg_text": "dog"}

    def once(rng: random.Random) -> None:
        query = mutations.text(rng, f"{prompt}Good day.<|im_end|>")
        changed = mutations.value(rng, label)
        (item,) = items_of(
            [query], [mutations.text(rng, prompt) if rng.random() < 0.5 else prompt], [changed]
        )
        assert item.response in query
        group = read_group("bleu", [item], [item.response])
        assert isinstance(group, Group) and group.reference and group.src_lang and group.trg_lang

    attack("responses", once)


def test_there_are_enough() -> None:
    """Three thousand, of a dozen classes."""
    assert sum(COUNTS.values()) >= 3000
    assert len(COUNTS) >= 12
