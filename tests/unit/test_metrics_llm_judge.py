"""Translations scored by a large language model behind an endpoint, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import score_segments
import score_translations
from grrm.asking.ledger import total_calls
from grrm.files import UserError, read_json, sha256, write_jsonl
from grrm.schemas import write_table
from judge_server import Act, Call, JudgeServer

PROMPT = Path(__file__).parents[2] / "config/prompts/judge_translation.yaml"
SEGMENTS = [
    {
        "src_text": f"Satz {i}",
        "trg_text": f"sentence {i}",
        "src_lang": "de",
        "trg_lang": "en",
        "comment": hint,
    }
    for i, hint in enumerate(["‘Satz’ is a sentence", None, None, None])
]
ORIGIN = {"model": "m", "weights": "w", "decoding": {"max_new_tokens": 9, "temperature": 0.0, "seed": 0}}
TRANSLATIONS = ["good one", "bad ```one```", None, "mumbled"]


class Endpoint:
    """A judge that likes good translations; `calls` holds what it was asked."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._loop = asyncio.new_event_loop()
        self._server = JudgeServer(self._act)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def _act(self, call: Call) -> Act:
        self.calls.append(call)
        if "good one" in call.prompt:
            return Act("Faithful.\n\n**90**")
        return Act("Hm.\n\nScore: 12.5/100" if "bad" in call.prompt else "I would rather not say")

    def __enter__(self) -> Endpoint:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.__aenter__(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return self._server.url


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Endpoint]]:
    folder = tmp_path_factory.mktemp("llm")
    write_table(folder / "translation_test.parquet", SEGMENTS, "translation_test")
    rows = (
        {
            "index": i,
            "src_text": row["src_text"],
            "raw": "…",
            "translation": text,
            "failure": None if text else "no_translation",
            **ORIGIN,
        }
        for i, (row, text) in enumerate(zip(SEGMENTS, TRANSLATIONS, strict=True))
    )
    write_jsonl(folder / "system.jsonl", rows)
    with Endpoint() as endpoint:
        run(folder, url=endpoint.url)
        yield folder, endpoint


def run(folder: Path, **settings: Any) -> dict[str, Any]:
    settings = {"model": "a-model", "parse_retries": 1, "max_failure_share": 1.0, **settings}
    score_segments.main(
        [
            *("--metric", "llm_judge", "--settings", json.dumps({**settings, "prompt": str(PROMPT)})),
            *("--reference", str(folder / "translation_test.parquet")),
            *("--translations", f"system={folder / 'system.jsonl'}"),
            *("--output", str(folder / "llm_judge.json")),
        ]
    )
    document: dict[str, Any] = read_json(folder / "llm_judge.json")
    return document


def test_a_failed_translation_is_zero_and_a_failed_judgement_is_no_score(
    judged: tuple[Path, Endpoint],
) -> None:
    document = read_json(judged[0] / "llm_judge.json")
    assert document["systems"]["system"] == {
        "answers_sha256": sha256(judged[0] / "system.jsonl"),
        "failures": 1,
        "scores": [[90.0, 12.5, 0.0, None]],
    }
    assert document["failures"] == {"unparsable": 1}
    assert document["answers"][3] == "I would rather not say"
    assert "model:a-model" in document["signature"]


def test_the_judge_sees_source_translation_reference_and_hints(judged: tuple[Path, Endpoint]) -> None:
    prompts = {call.prompt for call in judged[1].calls}
    (with_hints,) = (prompt for prompt in prompts if "good one" in prompt)
    (without,) = (prompt for prompt in prompts if "bad" in prompt)
    for text in ("German", "English", "Satz 0", "sentence 0", "‘Satz’ is a sentence", "0 to 100"):
        assert text in with_hints
    assert "known to be right" not in without
    assert "````\nbad ```one```\n````" in without


def test_a_failed_translation_is_not_paid_for(judged: tuple[Path, Endpoint]) -> None:
    assert not any("Satz 2" in call.prompt for call in judged[1].calls)


def test_what_was_answered_is_not_asked_again(judged: tuple[Path, Endpoint]) -> None:
    folder, endpoint = judged
    before = len(endpoint.calls)
    run(folder, url=endpoint.url)
    assert len(endpoint.calls) == before


def test_the_score_is_over_judged_segments_and_says_how_many_were_not(judged: tuple[Path, Endpoint]) -> None:
    folder, _ = judged
    score_translations.main(
        [
            *("--reference", str(folder / "translation_test.parquet"), "--samples", "100"),
            *("--translations", f"system={folder / 'system.jsonl'}"),
            *("--segment-scores", f"llm_judge={folder / 'llm_judge.json'}"),
            *("--output", str(folder / "translation.json")),
        ]
    )
    metric = read_json(folder / "translation.json")["systems"][0]["metrics"]["llm_judge"]
    assert metric["value"] == pytest.approx((90 + 12.5 + 0) / 3)
    assert metric["missing"] == 1


def test_a_dead_endpoint_is_an_error_and_no_scores(judged: tuple[Path, Endpoint], tmp_path: Path) -> None:
    for name in ("translation_test.parquet", "system.jsonl"):
        (tmp_path / name).write_bytes((judged[0] / name).read_bytes())
    with pytest.raises(UserError, match=r"not one of 3 segments was judged \(3 connection"):
        run(tmp_path, url="http://127.0.0.1:9/v1", retries=0)
    assert not (tmp_path / "llm_judge.json").exists()


def test_the_environment_does_not_replace_the_judge_that_was_named(
    judged: tuple[Path, Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, endpoint = judged
    before = read_json(folder / "llm_judge.json")
    for name, value in {
        "JUDGE_API_URL": "http://127.0.0.1:9/v1",
        "JUDGE_MODEL_NAME": "another",
        "TEMPERATURE": "0.9",
        "MAX_TOKENS": "5",
    }.items():
        monkeypatch.setenv(name, value)
    asked = len(endpoint.calls)
    # All of it is answered from the cache: the requests are the same ones.
    assert run(folder, url=endpoint.url, temperature=0.0, max_tokens=2048) == before
    assert len(endpoint.calls) == asked


def test_the_environment_says_where_the_judge_is_if_the_settings_do_not(
    judged: tuple[Path, Endpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("translation_test.parquet", "system.jsonl"):
        (tmp_path / name).write_bytes((judged[0] / name).read_bytes())
    monkeypatch.setenv("JUDGE_API_URL", judged[1].url)
    assert run(tmp_path, url=None)["systems"]["system"]["scores"] == [[90.0, 12.5, 0.0, None]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"model": ""}, "model is empty"), ({"url": "nowhere"}, "url is 'nowhere'"), ({"rl": 1}, "unknown rl")],
)
def test_wrong_settings_are_named_before_anything_is_read(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, **settings)


def test_a_budget_is_that_of_the_file_however_often_it_is_begun(judged: tuple[Path, Endpoint]) -> None:
    folder, endpoint = judged
    priced = {"prompt_price": 1e4, "completion_price": 1e4, "max_tokens": 100}
    run(folder, url=endpoint.url, temperature=0.5, budget=1000.0, **priced)
    cost = total_calls([folder / "llm_judge.calls.jsonl"])["cost"]
    before = len(endpoint.calls)
    with pytest.raises(UserError, match="is spent"):
        run(folder, url=endpoint.url, temperature=0.6, budget=cost, **priced)
    assert cost > 0 and len(endpoint.calls) == before
