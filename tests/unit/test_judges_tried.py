"""Judges that are tried before anything waits for them, outlasted while they are away, paid within a budget;
servers that are asked from a notebook, with fields of one's own."""

from __future__ import annotations

import asyncio
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from grrm import cli
from grrm.asking.client import JudgeClient
from grrm.asking.ledger import total_calls
from grrm.asking.options import JudgeOptions, key_of
from grrm.config import load_experiment
from grrm.files import UserError
from grrm.inference import Decoding, Engine, Request, open_backend, translate
from grrm.inference.options import _fields
from grrm.preflight.judges import check_asked, check_judges
from grrm.rewards.judge_score import compute_scores
from grrm.rewards.kinds import ScoringOptions
from grrm.rewards.trial import try_judges
from grrm.verdicts import parse_preference
from judge_server import Act, JudgeServer
from serving import serving

ROOT = Path(__file__).parents[2]
QUICK = {"retries": 0, "parse_retries": 0, "timeout": 5}


def scoring(kind: str, url: str, **more: Any) -> ScoringOptions:
    from grrm.judges.prompts import shipped_prompt

    judge = {"url": url, "model": "judge", **QUICK, **more.pop("judge", {})}
    return ScoringOptions.from_mapping(
        {"kind": kind, "prompt": shipped_prompt(kind), "judge": judge, **more}, environment={}
    )


# ---------------------------------------------------------------- tried


def test_a_judge_that_answers_is_asked_once() -> None:
    with serving(lambda call: Act("Good.\n<better>A</better>")) as server:
        said = asyncio.run(try_judges(scoring("pairwise_dgr", server.url), {"JUDGE_API_KEY": "k"}))
        assert said == [f"judge judge at {server.url} answers a question of kind pairwise_dgr"]
        (call,) = server.calls
        assert call.headers["authorization"] == "Bearer k"


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (Act("I prefer A."), "unparsable"),
        (Act(status=401, raw=b"no such key"), "HTTP 401"),
        (Act(status=404, raw=b"no such model"), "HTTP 404"),
    ],
)
def test_a_judge_without_a_verdict_is_named_with_the_reason(act: Act, words: str) -> None:
    with serving(lambda call: act) as server, pytest.raises(UserError) as refused:
        asyncio.run(try_judges(scoring("pairwise_dgr", server.url), {}))
    said = str(refused.value)
    assert words in said and server.url in said and "JUDGE_API_KEY" in said and "\n" not in said


def test_a_kind_that_asks_nobody_is_not_tried() -> None:
    assert asyncio.run(try_judges(ScoringOptions("chrf"), {})) == []


def taught(url: str, **more: Any) -> dict[str, Any]:
    model = {"url": url, "model": "m", "timeout": 5, **more}
    teacher = {**model, "candidates": {"models": [{**model, "name": "system"}]}}
    files = {"mt_grpo": str(ROOT / "config/example/pairs.tsv")}
    return load_experiment(ROOT, changes={"data": {"source": "files", "files": files}, "teacher": teacher})


def test_a_teacher_and_the_systems_beside_it_are_asked_one_question_each() -> None:
    with serving(lambda call: Act("Good morning.")) as server:
        findings = check_asked(taught(server.url, extra={"top_k": 5}))
        assert [(one.check, one.status) for one in findings] == [
            ("teacher", "ok"),
            ("teacher.candidates.models.0", "ok"),
        ]
        assert all("answers a question" in one.found for one in findings)
        assert [call.body["top_k"] for call in server.calls] == [5, 5]
        assert "Guten Morgen." in server.calls[0].prompt
    assert check_asked(load_experiment(ROOT)) == []


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (Act(status=401, raw=b"no such key"), "HTTP 401"),
        (Act(status=404, raw=b"no such model"), "HTTP 404"),
        (Act(raw=b"<html>gateway</html>"), "not a chat completion"),
        (Act(raw=b'{"error": {"message": "overloaded"}}'), "overloaded"),
    ],
)
def test_a_teacher_that_does_not_answer_fails_in_one_line(act: Act, words: str) -> None:
    with serving(lambda call: act) as server:
        findings = check_asked(taught(server.url))
    assert [one.status for one in findings] == ["failed", "failed"]
    assert words in findings[0].found and "\n" not in findings[0].found
    assert "TEACHER" in findings[0].remedy or "KEY" in findings[0].remedy
    (refused, _) = check_asked(taught("http://127.0.0.1:1/v1"))
    assert refused.status == "failed"


def test_the_reward_server_does_not_begin_with_a_judge_that_does_not_answer() -> None:
    flags = (
        "--kind",
        "pairwise_dgr",
        "--judge-url",
        "http://127.0.0.1:1/v1",
        "--judge-model",
        "m",
        "--port",
        "0",
    )
    with pytest.raises(UserError, match=r"asked one question, it gave no verdict: .*connection"):
        cli.main(["serve-reward", *flags])


def test_preflight_asks_the_judges_of_what_is_to_be_trained() -> None:
    config = load_experiment(ROOT, [ROOT / "config/judges.yaml"])
    assert check_judges(config) == []  # the toy judges itself
    with serving(lambda call: Act("<better>B</better>")) as server:
        config["alignment"]["grpo"]["reward"]["judge"] |= {"url": server.url, "model": "judge"}
        (finding,) = check_judges(config)
        assert (finding.status, finding.check) == ("ok", "judge of alignment_grpo")
        assert check_judges(config, {"mt_grpo"}) == []
        assert len(server.calls) == 1
    (finding,) = check_judges(config)
    assert finding.status == "failed"
    assert "alignment.grpo.reward.judge" in finding.remedy


# ---------------------------------------------------------------- outages, money


def test_a_judge_that_is_started_anew_is_waited_for() -> None:
    async def run() -> Any:
        async with JudgeServer(lambda call: Act("<better>A</better>")) as first:
            port = first._port
        options = JudgeOptions(
            "judge",
            f"http://127.0.0.1:{port}/v1",
            retries=1,
            backoff=0.05,
            max_backoff=0.1,
            outage_patience=20,
        )
        async with JudgeClient(options, {}) as client:
            asked = asyncio.ensure_future(client.decide([("q", parse_preference)]))
            await asyncio.sleep(0.8)
            assert not asked.done()
            async with JudgeServer(lambda call: Act("<better>A</better>"), port):
                return await asked

    (verdict,) = asyncio.run(run())
    assert verdict.value == "A"


def test_a_request_that_a_judge_cannot_answer_is_not_waited_for() -> None:
    async def run() -> Any:
        async with JudgeServer(lambda call: Act(status=500)) as server:
            options = JudgeOptions(
                "judge", server.url, retries=1, backoff=0.01, outage_patience=60, max_failure_share=1
            )
            async with JudgeClient(options, {}) as client:
                return await asyncio.wait_for(client.decide([("q", parse_preference)]), 5)

    (verdict,) = asyncio.run(run())
    assert verdict.reason == "server"


def test_a_budget_is_kept_before_it_is_spent(tmp_path: Path) -> None:
    ledger = tmp_path / "calls.jsonl"

    async def run(budget: float) -> tuple[int, float]:
        async with JudgeServer(lambda call: Act("<better>A</better>")) as server:
            options = JudgeOptions(
                "judge", server.url, max_tokens=100, prompt_price=1e4, completion_price=1e4,
                budget=budget, ledger=str(ledger), max_concurrency=4,
            )  # fmt: skip
            async with JudgeClient(options, {}) as client:
                with pytest.raises(UserError, match=f"of budget {budget:g} is spent.*raise judge.budget"):
                    for number in range(1000):
                        await client.decide([(f"{number} {i}", parse_preference) for i in range(4)])
                return len(server.calls), client.counts.cost

    calls, cost = asyncio.run(run(20.0))
    assert 0 < calls < 4000 and 0 < cost <= 20
    # What was spent before counts: nothing is asked any more.
    assert asyncio.run(run(cost))[0] == 0


def test_a_budget_needs_prices() -> None:
    with pytest.raises(UserError, match="nothing has a price"):
        JudgeOptions("judge", "http://x/v1", budget=1.0)


def test_answers_without_a_verdict_are_counted_in_the_ledger(tmp_path: Path) -> None:
    ledger = tmp_path / "calls.jsonl"

    async def run() -> None:
        async with JudgeServer(lambda call: Act("A" if call.number % 2 else "<better>A</better>")) as server:
            options = JudgeOptions(
                "judge",
                server.url,
                ledger=str(ledger),
                parse_retries=0,
                max_failure_share=1,
                max_concurrency=1,
            )
            async with JudgeClient(options, {}) as client:
                await client.decide([(str(number), parse_preference) for number in range(10)])

    asyncio.run(run())
    totals = total_calls([ledger])
    assert (totals["requests"], totals["failed"], totals["without_verdict"]) == (10, 0, 5)


# ---------------------------------------------------------------- servers


def test_fields_of_ones_own_go_to_the_server_and_those_it_refuses_are_left_out() -> None:
    extra = _fields('{"chat_template_kwargs": {"enable_thinking": false}, "seed": null, "max_tokens": null}')
    with serving(lambda call: Act("x")) as server:
        engine = Engine(base_url=server.url, extra={**extra, "max_completion_tokens": 7})
        with closing(open_backend("served", engine)) as backend:
            list(backend.generate([Request("a", 5)], Decoding(9)))
            assert backend.origin()["extra"] == engine.extra
        (call,) = server.calls
    assert call.body["chat_template_kwargs"] == {"enable_thinking": False}
    assert call.body["max_completion_tokens"] == 7
    assert not {"seed", "max_tokens"} & call.body.keys()
    assert "extra" not in open_backend("served", Engine(base_url=server.url)).origin()


def test_one_rule_says_where_a_key_stands() -> None:
    both = {"JUDGE_API_KEY": "judge", "OPENAI_API_KEY": "openai", "MINE": "mine"}
    assert Engine().key_variable == JudgeOptions.key_variable
    assert key_of(Engine().key_variable, both) == "judge"
    assert key_of(Engine().key_variable, {"OPENAI_API_KEY": "openai"}) == "openai"
    assert key_of("MINE", both) == "mine"
    assert key_of("OTHER", both) == ""


def test_everything_works_where_an_event_loop_runs_already() -> None:
    """As in a notebook."""
    with serving(
        lambda call: Act("Guten Morgen." if "translate" in call.prompt.lower() else "<score>7</score>")
    ) as server:

        async def cell() -> tuple[Any, Any]:
            prompt = ROOT / "config/prompts/translation_plain.yaml"
            rows = [{"src_text": "Good morning.", "src_lang": "en", "trg_lang": "de"}]
            translated = translate("served", rows, prompt, engine=Engine(base_url=server.url))
            judge = {"url": server.url, "model": "judge"}
            info = {"question": "2 + 2?"}
            scored = compute_scores(["s"], ["4"], [""], [info], kind="pointwise", judge=judge)
            return translated, scored

        translated, scored = asyncio.run(cell())
    assert translated[0].translation == "Guten Morgen."
    assert scored[0]["judged"] == 1


def test_a_local_model_without_what_runs_it_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "grrm.inference.transformers_backend", raising=False)
    with pytest.raises(UserError, match=r"torch is not installed here.*grrm\[infer\]") as refused:
        open_backend(tmp_path, Engine(backend="transformers"))
    assert "\n" not in str(refused.value)
