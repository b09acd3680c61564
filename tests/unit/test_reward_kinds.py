"""Every kind of reward, on its own and through the group reward manager, with a scripted judge over HTTP."""

from __future__ import annotations

import asyncio
import json
import math
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from grrm.asking.ledger import total_calls
from grrm.asking.options import JudgeOptions
from grrm.catalogue.rewards import GENERAL_JUDGES, JUDGED_KINDS, KINDS, PAIRWISE
from grrm.files import UserError, read_jsonl
from grrm.judges.groups import Group
from grrm.prompts import ranking_answer
from grrm.rewards import judge_score
from grrm.rewards.group import STOP_MARK, GroupRewardManager
from grrm.rewards.kinds import Scorer, ScoringOptions
from grrm.rewards.model_scores import ModelOptions, ModelScores
from grrm.rewards.step_metrics import step_metrics
from judge_server import Act, Call, JudgeServer, Script, completion

ROOT = Path(__file__).parents[2]
PROMPTS = ROOT / "config" / "prompts"
pytestmark = pytest.mark.timeout(60)

TEXTS = ("quality 3", "quality 9", "quality 1", "quality 6")
GROUP = Group("es regnet", TEXTS, "quality 9", "de", "en")
QUICK = {
    "model": "judge",
    "timeout": 10.0,
    "deadline": 20.0,
    "retries": 1,
    "backoff": 0.01,
    "parse_retries": 0,
    "breaker_cooldown": 0.1,
    "breaker_patience": 0.3,
}


def prompt_of(kind: str) -> str:
    names = {"grrm": "ranking", "sqm": "sqm"}
    return str(PROMPTS / f"{names.get(kind) or 'translation_' + kind.partition('_')[0]}.yaml")


def truthful(call: Call) -> Act:
    """A judge that sees the quality that the candidates state."""
    prompt = call.prompt
    seen = [int(number) for number in re.findall(r"quality (\d)", prompt)]
    if "into German" in prompt or "Chinese" in prompt:
        raise AssertionError(prompt)
    if "<better>" in prompt:
        first, second = seen
        return Act(f"<better>{'A' if first > second else 'B' if second > first else 'tie'}</better>")
    if "<ranking>" in prompt:
        order = sorted(range(len(seen)), key=lambda i: -seen[i])
        return Act(f"<ranking>{' > '.join(str(i + 1) for i in order)}</ranking>")
    if "<score>" in prompt:
        return Act(f"<score>{seen[0]}</score>")
    return Act(ranking_answer("compared", seen) if len(seen) > 1 else f"fine\n{seen[0]}")


def with_server(script: Script, use: Callable[[str], Any]) -> Any:
    async def run() -> Any:
        async with JudgeServer(script) as server:
            result = await use(server.url)
            return result, server

    return asyncio.run(run())


# ---------------------------------------------------------------- each kind


@pytest.mark.parametrize("kind", sorted(JUDGED_KINDS))
def test_every_judge_kind_orders_candidates_as_the_judge_does(kind: Any) -> None:
    async def use(url: str) -> Any:
        judge = JudgeOptions.from_mapping({**QUICK, "url": url})
        async with Scorer(ScoringOptions(kind, prompt=prompt_of(kind), judge=judge)) as scorer:
            result = await scorer.score_group(GROUP)
            return result, scorer.points(result.scores)

    (result, points), _ = with_server(truthful, use)
    assert result.failures == ()
    assert np.argsort(points).tolist() == [2, 0, 3, 1]
    assert all(0 <= point <= 10 for point in points)


@pytest.mark.parametrize("kind", ["bleu", "chrf"])
def test_metrics_need_a_reference_and_no_judge(kind: Any) -> None:
    async def use() -> Any:
        async with Scorer(ScoringOptions(kind)) as scorer:
            known = await scorer.score_group(Group("x", ("the cat sat", "a dog"), "the cat sat", "de", "en"))
            unknown = await scorer.score_group(Group("x", ("the cat sat",), None, "de", "en"))
            return known, scorer.points(known.scores), unknown

    known, points, unknown = asyncio.run(use())
    assert known.scores[0] == pytest.approx(100)
    assert points[0] == pytest.approx(10)
    assert points[1] < 5
    assert unknown.scores == (None,)
    assert "no reference" in unknown.failures[0]


def test_bleu_takes_the_tokeniser_of_the_language() -> None:
    async def use() -> Any:
        async with Scorer(ScoringOptions("bleu")) as scorer:
            return await scorer.score_group(
                Group("the weather is fine", ("今天天气真好",), "今天天气很好", "en", "zh")
            )

    # Characters overlap; as one "word" they would not.
    assert asyncio.run(use()).scores[0] > 20


def test_a_bradley_terry_score_is_worth_what_it_says_against_the_mean_of_its_group() -> None:
    scorer = Scorer(ScoringOptions("bradley_terry", model=ModelOptions("folder")))
    assert scorer.points([7.0, 7.0]) == [5.0, 5.0]
    shifted = scorer.points([101.0, 99.0, None])
    assert shifted == scorer.points([1.0, -1.0, None])
    assert shifted[0] == pytest.approx(10 / (1 + np.exp(-1.0)))
    assert shifted[2] is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "elo"}, "kind is 'elo', expected one of grrm, sqm"),
        ({"kind": "pointwise", "prompt": "p"}, "kind pointwise asks a judge"),
        ({"kind": "sqm", "judge": JudgeOptions(model="j", url="http://h/v1")}, "needs a prompt"),
        ({"kind": "comet"}, "kind comet needs a checkpoint"),
        ({"kind": "bleu", "scale": "both"}, "scale is 'both'"),
    ],
)
def test_what_a_kind_lacks_is_said(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ScoringOptions(**values)


def test_a_prompt_that_names_languages_is_for_translations_only() -> None:
    async def use(url: str) -> Any:
        judge = JudgeOptions.from_mapping({**QUICK, "url": url})
        async with Scorer(
            ScoringOptions("pairwise_dgr", prompt=prompt_of("pairwise"), judge=judge)
        ) as scorer:
            await scorer.score_group(Group("hello", ("quality 1", "quality 2")))

    with pytest.raises(UserError, match=r"asks for source_language, target_language.*no translation"):
        with_server(truthful, use)


# ---------------------------------------------------------------- the checkpoint's process


SCORING = """
import json, sys
for line in sys.stdin:
    items = json.loads(line)
    if any(item["mt"] == "die" for item in items):
        sys.exit(3)
    if any(item["mt"] == "die writing" for item in items):
        print('{"scor', end="", flush=True)
        sys.exit(4)
    print(json.dumps({"scores": [[len(item["mt"]), ""] for item in items]}), flush=True)
"""


def process(tmp_path: Path) -> ModelScores:
    scores = ModelScores("module:load", ModelOptions("folder"))
    script = tmp_path / "scores.py"
    script.write_text(SCORING)
    scores._command = [sys.executable, str(script)]
    return scores


def test_what_comes_while_the_process_is_busy_is_scored_together(tmp_path: Path) -> None:
    async def use() -> Any:
        scores = process(tmp_path)
        calls = [scores.score([{"mt": "x" * n}, {"mt": ""}]) for n in range(5)]
        result = await asyncio.gather(*calls)
        scores.close()
        return result

    assert asyncio.run(use()) == [[(n, ""), (0, "")] for n in range(5)]


def test_when_the_process_ends_the_run_stops(tmp_path: Path) -> None:
    async def use() -> None:
        await process(tmp_path).score([{"mt": "die"}])

    with pytest.raises(UserError, match="ended with status 3"):
        asyncio.run(use())


def test_a_process_that_is_gone_is_closed_all_the_same(tmp_path: Path) -> None:
    async def use() -> None:
        scores = process(tmp_path)
        for words in ("ended with status 3", "cannot be used"):
            with pytest.raises(UserError, match=words):
                await scores.score([{"mt": "die"}])
        gone = scores._process
        scores.close()
        assert gone is not None and gone.returncode == 3 and scores._process is None

    asyncio.run(use())


def test_a_process_that_ends_while_it_writes_has_ended(tmp_path: Path) -> None:
    async def use() -> None:
        await process(tmp_path).score([{"mt": "die writing"}])

    with pytest.raises(UserError, match="ended with status 4"):
        asyncio.run(use())


@pytest.mark.parametrize("value", ["8", 0, True, 1.5])
def test_a_number_of_the_process_is_a_whole_one(value: Any) -> None:
    with pytest.raises(UserError, match=r"batch_size is .*, expected a whole number of 1 or more"):
        ModelOptions("folder", batch_size=value)


# ---------------------------------------------------------------- through the reward manager


class Tokenizer:
    def decode(self, ids: Any, skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return "".join(map(chr, ids))

    def apply_chat_template(self, messages: Any, **_: Any) -> list[str]:
        words: list[str] = messages[0]["content"].split()
        return words


def manager(
    kind: str, url: str = "", n: int = 4, served: str | None = None, **reward: Any
) -> GroupRewardManager:
    """With a judge at an endpoint, or served by verl behind a router (`served`, host:port)."""
    values = {
        "kind": kind,
        "semantics": "strict",
        "score_scale": 0.1,
        "default_reward": -0.4,
        "retries": 0,
        "max_failure_rate": 1.0,
        **({"prompt": prompt_of(kind)} if kind in JUDGED_KINDS else {}),
        **({"judge": {**QUICK, "url": url}} if url else {}),
        **reward,
    }
    config = SimpleNamespace(
        actor_rollout_ref=SimpleNamespace(rollout=SimpleNamespace(n=n, val_kwargs=SimpleNamespace(n=1))),
        reward=SimpleNamespace(
            num_workers=1,
            get={"reward_kwargs": values}.get,
            reward_model=SimpleNamespace(
                model_path="/models/judge",
                rollout=SimpleNamespace(top_p=0.9, top_k=20, prompt_length=512, response_length=64),
            ),
        ),
    )
    tokenizer = Tokenizer()
    return GroupRewardManager(
        config, tokenizer, reward_router_address=served, reward_model_tokenizer=tokenizer
    )


class Data(list[Any]):
    """One trajectory, as a DataProto of verl."""

    def __init__(self, uid: str, text: str, **info: Any) -> None:
        letters = np.array([ord(letter) for letter in text])
        translation = {"src_text": f"s{uid}", "src_lang": "de", "trg_lang": "en", "trg_text": "quality 9"}
        super().__init__(
            [
                SimpleNamespace(
                    batch={"responses": letters, "attention_mask": np.ones(3 + len(text))},
                    non_tensor_batch={
                        "uid": uid,
                        "extra_info": {"split": "train", **(info or translation)},
                        "global_steps": 1,
                    },
                )
            ]
        )


def step(
    kind: str, url: str, texts: tuple[str, ...] = TEXTS, groups: int = 4, **reward: Any
) -> Callable[[], Any]:
    """One step of a training: every rollout of every group at once."""

    async def run() -> Any:
        reward_manager = manager(kind, url, n=len(texts), **reward)
        rollouts = [(str(uid), f"so\n```\n{text}\n```") for uid in range(groups) for text in texts]
        results = await asyncio.gather(*[reward_manager.run_single(Data(*rollout)) for rollout in rollouts])
        rewards = [result["reward_score"] for result in results]
        infos = [result["reward_extra_info"] for result in results]
        return rewards, step_metrics([uid for uid, _ in rollouts], rewards, infos)

    return run


@pytest.mark.parametrize(
    "kind",
    [
        name
        for name, entry in KINDS.items()
        if entry.asks != "checkpoint" and entry.family not in ("format", "function", "mixture")
    ],
)
def test_one_switch_for_every_kind(kind: str) -> None:
    async def use(url: str) -> Any:
        return await step(kind, url if kind in JUDGED_KINDS else "", groups=2)()

    (rewards, metrics), server = with_server(truthful, use)
    order = np.argsort(np.array(rewards).reshape(2, 4), axis=1, kind="stable").tolist()
    assert [row[-1] for row in order] == [1, 1], "the best translation has the highest reward"
    assert metrics["reward/zero_variance_groups"] == 0
    assert metrics["reward/judge_failed"] == 0
    assert bool(server.calls) == (kind in JUDGED_KINDS)


FAULTS: dict[str, Script] = {
    "500": lambda _: Act(status=500),
    "garbage": lambda _: Act("I like both of them."),
    "not JSON": lambda _: Act(raw=b"<html>"),
    "truncated JSON": lambda _: Act(raw=completion("<better>A</better>")[:-20]),
    "cut connection": lambda _: Act("<better>A</better>", keep=30),
    "no answer": lambda _: Act("<better>A</better>", latency=30),
    "byte by byte": lambda _: Act("<better>A</better>", dribble=0.5),
    "401": lambda _: Act(status=401),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("kind", ["pairwise_dgr", "listwise"])
def test_a_judge_that_fails_gives_no_signal_in_bounded_time(name: str, kind: str) -> None:
    async def use(url: str) -> Any:
        impatient = {**QUICK, "url": url, "timeout": 0.4, "deadline": 4.0}
        return await step(kind, url, ("quality 3", "quality 9"), groups=3, judge=impatient)()

    started = time.monotonic()
    (rewards, metrics), _ = with_server(FAULTS[name], use)
    assert time.monotonic() - started < 10
    assert set(rewards) == {0.5}, "the neutral reward, for everybody"
    assert metrics["reward/judge_failed"] == 1
    assert metrics["reward/judgement_failure_rate"] == 1
    assert metrics["reward/zero_variance_groups"] == 1
    assert math.isnan(metrics["reward/judge_score"])


def test_a_dead_server_is_a_failure_too_and_stops_the_run_past_the_limit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = step("pairwise_dgr", "http://127.0.0.1:9/v1", groups=10, max_failure_rate=0.5, failure_window=8)
    with pytest.raises(UserError, match=r"failed"):
        asyncio.run(run())
    out = capsys.readouterr().out
    assert out.startswith(STOP_MARK)
    assert "max_failure" in out


def test_a_judge_that_is_busy_is_waited_for() -> None:
    def busy(call: Call) -> Act:
        return truthful(call) if call.attempt else Act(status=429, headers={"Retry-After": "0.3"})

    async def use(url: str) -> Any:
        return await step("pairwise_copeland", url, groups=2)()

    (rewards, metrics), server = with_server(busy, use)
    assert metrics["reward/judgements_failed"] == 0
    assert rewards[1] == max(rewards[:4])
    assert len(server.calls) == 2 * 2 * 12


@pytest.mark.parametrize("kind", sorted(PAIRWISE))
def test_a_judge_that_always_says_a_gives_no_signal_and_is_seen(kind: str) -> None:
    async def use(url: str) -> Any:
        return await step(kind, url)()

    (rewards, metrics), _ = with_server(lambda _: Act("<better>A</better>"), use)
    assert set(rewards) == {0.5}
    assert metrics["reward/position_bias"] == 1
    assert metrics["reward/ties"] == metrics["reward/pairs"] == 4 * 6
    assert metrics["reward/judge_failed"] == 0


def breaking(act: Act) -> Script:
    """A judge whose answers about one response are of no use: what that response says may be why."""
    return lambda call: act if "quality 1" in call.prompt else truthful(call)


BROKEN = {
    "no verdict": Act("Whatever you say."),
    "cut off": Act(raw=completion("<better>A").replace(b'"stop"', b'"length"')),
    "refusing": Act(
        raw=completion("I").replace(b'"content"', b'"refusal": "I will not judge it", "content"')
    ),
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("kind", ["sqm", "pointwise", *sorted(PAIRWISE)])
def test_nothing_is_gained_by_breaking_the_judge(kind: str, how: str) -> None:
    """Eight candidates; the worst one breaks its judge: it stays last, and the others in their order."""
    texts = tuple(f"quality {number}" for number in (3, 9, 1, 8, 5, 7, 2, 6))

    async def use(url: str) -> Any:
        return await step(kind, url, texts, groups=1)()

    (rewards, metrics), _ = with_server(breaking(BROKEN[how]), use)
    siblings = [reward for text, reward in zip(texts, rewards, strict=True) if text != "quality 1"]
    assert rewards[2] == min(siblings)
    assert sorted(siblings) == [rewards[texts.index(f"quality {n}")] for n in (2, 3, 5, 6, 7, 8, 9)]
    assert metrics["reward/judged"] == pytest.approx(7 / 8)


@pytest.mark.parametrize("kind", ["sqm", "pointwise", *sorted(PAIRWISE)])
def test_what_no_response_is_to_blame_for_is_no_low_score(kind: str) -> None:
    async def use(url: str) -> Any:
        return await step(kind, url, ("quality 3", "quality 9", "quality 1", "quality 8"), groups=1)()

    (rewards, _), _ = with_server(breaking(Act(status=500)), use)
    assert rewards[2] == pytest.approx(np.mean([rewards[0], rewards[1], rewards[3]]))


def test_a_part_of_a_mixture_that_is_broken_gains_nothing_either() -> None:
    async def use(url: str) -> Any:
        prompt = str(PROMPTS / "judge_pointwise.yaml")
        judge = {"kind": "pointwise", "prompt": prompt, "judge": {**QUICK, "url": url}, "scale": "absolute"}
        parts = [judge, {"kind": "chrf", "weight": 0.01}]
        return await step("mixture", "", groups=1, parts=parts)()

    (rewards, _), _ = with_server(breaking(BROKEN["no verdict"]), use)
    place = TEXTS.index("quality 1")
    assert rewards[place] == min(rewards) and len(set(rewards)) == len(rewards) - 1


def speechless_about_1(call: Call) -> Act:
    return Act(status=400) if "quality 1" in call.prompt else truthful(call)


@pytest.mark.parametrize(("kind", "known"), [("sqm", [0.3, 0.9, 0.8]), ("pointwise", [2 / 9, 8 / 9, 7 / 9])])
def test_a_candidate_without_a_score_gets_the_mean_of_its_siblings(kind: str, known: list[float]) -> None:
    """Uneven siblings: their mean is neither the neutral reward nor one of theirs."""

    async def use(url: str) -> Any:
        return await step(kind, url, ("quality 3", "quality 9", "quality 1", "quality 8"), groups=1)()

    (rewards, metrics), _ = with_server(speechless_about_1, use)
    assert [rewards[0], rewards[1], rewards[3]] == pytest.approx(known)
    assert rewards[2] == pytest.approx(np.mean(known))
    assert abs(rewards[2] - 0.5) > 0.1, "not the neutral reward"
    assert metrics["reward/judgement_failure_rate"] == pytest.approx(0.25)
    assert metrics["reward/judged"] == pytest.approx(0.75)


def test_one_failed_answer_is_missing_and_not_a_tie() -> None:
    """Quality 1 is compared with nobody: what the others earn is not changed by it."""

    async def use(url: str) -> Any:
        return await step("pairwise_dgr", url, groups=1)()

    (rewards, metrics), _ = with_server(speechless_about_1, use)
    assert [rewards[0], rewards[1], rewards[3]] == pytest.approx([0.0, 1.0, 0.5])
    assert metrics["reward/judgement_failure_rate"] == pytest.approx(0.5)
    assert metrics["reward/judged"] == pytest.approx(0.75)


def test_an_answer_that_is_cut_is_no_verdict() -> None:
    def script(call: Call) -> Act:
        body = json.loads(completion("analysis\n1"))  # of "10"
        body["choices"][0]["finish_reason"] = "length"
        return Act(raw=json.dumps(body).encode())

    async def use(url: str) -> Any:
        return await step("sqm", url, ("quality 3", "quality 9"), groups=1)()

    (rewards, metrics), _ = with_server(script, use)
    assert set(rewards) == {0.5}
    assert metrics["reward/judge_failed"] == 1


def test_equal_answers_are_asked_about_once_and_the_calls_are_noted(tmp_path: Path) -> None:
    ledger, cache = tmp_path / "calls.jsonl", tmp_path / "cache.sqlite"

    async def use(url: str) -> Any:
        judge = {**QUICK, "url": url, "ledger": str(ledger), "cache": str(cache), "prompt_price": 2.0}
        texts = ("quality 3", "quality 9", "quality 3", "quality 3")
        first = await step("pairwise_winrate", url, texts, groups=1, judge=judge)()
        again = await step("pairwise_winrate", url, texts, groups=1, judge=judge)()
        return first, again

    ((rewards, _), (replayed, _)), server = with_server(truthful, use)
    assert replayed == rewards
    assert rewards == pytest.approx([0.0, 1.0, 0.0, 0.0])
    assert len(server.calls) == 2
    totals = total_calls([ledger, tmp_path / "missing"])
    assert (totals["requests"], totals["answered"], totals["cached"], totals["failed"]) == (4, 2, 2, 0)
    assert totals["prompt_tokens"] == 40
    assert totals["cost"] == pytest.approx(2 * 10 * 2.0 / 1e6)
    assert all("Bearer" not in json.dumps(row) for row in read_jsonl(ledger))


# ---------------------------------------------------------------- conversations, and the chosen response


def conversation(kind: str, url: str, texts: tuple[str, ...], split: str = "train", **reward: Any) -> Any:
    info = {"question": "Which?", "chosen": "quality 5", "turns": [], "split": split}
    general = str(PROMPTS / f"judge_{kind.partition('_')[0]}.yaml")

    async def run() -> Any:
        n = len(texts) if split == "train" else 4
        reward_manager = manager(kind, url, n=n, task="conversation", prompt=general, **reward)
        results = await asyncio.gather(*[reward_manager.run_single(Data("u", t, **info)) for t in texts])
        return [r["reward_score"] for r in results], [r["reward_extra_info"] for r in results]

    return run


@pytest.mark.parametrize("kind", [*sorted(PAIRWISE), "pointwise", "listwise"])
def test_the_chosen_response_is_judged_among_the_candidates(kind: str) -> None:
    async def use(url: str) -> Any:
        return await conversation(kind, url, ("quality 3", "<think>hm</think>quality 9", "<think>only"))()

    (rewards, infos), _ = with_server(truthful, use)
    metrics = step_metrics(["u"] * 3, rewards, infos)
    assert rewards[2] == -0.4
    assert rewards[0] < rewards[1]
    assert [info["above_chosen"] for info in infos] == [0, 1, 0]
    assert metrics["reward/above_chosen"] == 0.5
    assert metrics["reward/valid"] == pytest.approx(2 / 3)
    assert infos[0]["judge_score"] < metrics["reward/chosen_score"] < infos[1]["judge_score"]


def test_validation_with_one_response_compares_it_with_the_chosen_one() -> None:
    async def use(url: str) -> Any:
        worse = await conversation("pairwise_dgr", url, ("quality 3",), split="test")()
        better = await conversation("pairwise_dgr", url, ("quality 7",), split="test")()
        return worse, better

    (worse, better), _ = with_server(truthful, use)
    assert (worse[0], better[0]) == (pytest.approx([0.0]), pytest.approx([1.0]))
    assert better[1][0]["above_chosen"] == 1


# ---------------------------------------------------------------- the GRRM's judgement, wherever it is asked

BOLD = ranking_answer("compared", [9, 3]).replace("### Scores:", "**Scores:**").replace(": 9", ": 9/10")


@pytest.mark.parametrize("seed", range(3))
def test_training_and_serving_ask_the_grrm_the_same(seed: int) -> None:
    async def use(url: str) -> None:
        address = url.removeprefix("http://").removesuffix("/v1")
        await step("grrm", "", groups=2, served=address, seed=seed)()
        judge = JudgeOptions.from_mapping({**QUICK, "url": url})
        async with Scorer(ScoringOptions("grrm", prompt=prompt_of("grrm"), judge=judge, seed=seed)) as scorer:
            await scorer.score_groups([Group(f"s{n}", TEXTS[::-1], None, "de", "en") for n in range(2)])

    _, server = with_server(truthful, use)
    trained, served = [
        sorted(call.prompt for call in calls) for calls in (server.calls[:2], server.calls[2:])
    ]
    assert trained == served


def test_training_and_serving_read_the_grrms_answer_the_same() -> None:
    async def use(url: str) -> Any:
        address = url.removeprefix("http://").removesuffix("/v1")
        texts = ("quality 3", "quality 9")
        rewards, _ = await step("grrm", "", texts, groups=1, served=address)()
        judge = JudgeOptions.from_mapping({**QUICK, "url": url})
        scores = []
        for tolerant in (False, True):
            options = ScoringOptions("grrm", prompt=prompt_of("grrm"), judge=judge, tolerant=tolerant)
            async with Scorer(options) as scorer:
                scores.append(await scorer.score_group(Group("s", texts, None, "de", "en")))
        return rewards, *scores

    (rewards, strict, tolerant), _ = with_server(lambda _: Act(BOLD), use)
    assert rewards == [0.5, 0.5]
    assert strict.scores == (None, None)
    assert strict.failures[0].startswith("malformed answer: header")
    assert sorted(tolerant.scores) == [3, 9]


# ---------------------------------------------------------------- a judge that verl itself serves


@pytest.mark.parametrize("kind", [*sorted(PAIRWISE), "pointwise", "listwise"])
def test_a_judge_served_by_verl_judges_every_kind(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint named in the environment is that of another judge."""
    monkeypatch.setenv("JUDGE_API_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("JUDGE_MODEL_NAME", "another")

    async def use(url: str) -> Any:
        address = url.removeprefix("http://").removesuffix("/v1")
        texts = ("quality 3", "<think>hm</think>quality 9", "<think>only")
        return await conversation(kind, "", texts, served=address, temperature=0.5)()

    (rewards, infos), server = with_server(truthful, use)
    assert rewards[2] == -0.4
    assert rewards[0] < rewards[1]
    assert [info["above_chosen"] for info in infos] == [0, 1, 0]
    assert [info["judged"] for info in infos] == [1, 1, 0]
    assert len(server.calls) == {"pointwise": 3, "listwise": 1}.get(kind, 6)
    asked = {"model": "/models/judge", "top_p": 0.9, "top_k": 20, "max_tokens": 64, "temperature": 0.5}
    for call in server.calls:
        assert {key: call.body[key] for key in asked} == asked
        assert "authorization" not in call.headers


@pytest.mark.parametrize("kind", ["pairwise_dgr", "listwise"])
def test_a_judge_served_by_verl_that_fails_gives_no_signal(kind: str) -> None:
    async def use(url: str) -> Any:
        address = url.removeprefix("http://").removesuffix("/v1")
        return await conversation(kind, "", ("quality 3", "quality 9"), served=address)()

    (rewards, infos), server = with_server(FAULTS["garbage"], use)
    assert server.calls
    assert rewards == [0.5, 0.5]
    assert [(info["judge_failed"], info["judged"], info["compared"]) for info in infos] == [(1, 0, 0)] * 2


def test_a_served_judge_that_keeps_failing_stops_the_run() -> None:
    async def use(url: str) -> Any:
        address = url.removeprefix("http://").removesuffix("/v1")
        limits = {"max_failure_rate": 0.5, "failure_window": 8}
        return await step("pairwise_dgr", "", groups=10, served=address, **limits)()

    with pytest.raises(UserError, match="failed"):
        with_server(FAULTS["garbage"], use)


@pytest.mark.parametrize("finish", ["length", "abort", "content_filter", None])
@pytest.mark.parametrize("semantics", ["strict", "paper"])
@pytest.mark.parametrize("endpoint", [False, True])
def test_a_cut_answer_of_the_grrm_is_a_failure_with_its_reason(
    semantics: str, finish: str | None, endpoint: bool, tmp_path: Path
) -> None:
    """A whole answer but for its end: its scores could be read."""
    ledger = tmp_path / "groups.jsonl"

    def cut(call: Call) -> Act:
        said = json.loads(completion(truthful(call).text))
        said["choices"][0]["finish_reason"] = finish
        return Act(raw=json.dumps(said).encode())

    async def use(url: str) -> Any:
        address = None if endpoint else url.removeprefix("http://").removesuffix("/v1")
        values = {"groups": 1, "semantics": semantics, "ledger": str(ledger), "served": address}
        return await step("grrm", url if endpoint else "", **values)()

    (rewards, metrics), server = with_server(cut, use)
    assert server.calls
    assert metrics["reward/judge_failed"] == 1
    assert rewards == pytest.approx([0.5 if semantics == "strict" else -0.04] * 4)
    (row,) = read_jsonl(ledger)
    assert row["outcome"] == "failed"
    assert row["reason"].startswith("no answer: ")
    assert ("refused" if finish == "content_filter" else "unfinished") in row["reason"]


# ---------------------------------------------------------------- compute_score for verl as it is


def test_a_response_alone_is_judged_against_the_chosen_one() -> None:
    async def use(url: str) -> Any:
        options = {
            "kind": "pairwise_dgr",
            "prompt": str(PROMPTS / "judge_pairwise.yaml"),
            "judge": {**QUICK, "url": url},
        }
        asked = [{"role": "user", "content": "Which?"}]
        chosen = [*asked, {"role": "assistant", "content": "quality 5"}]
        info = {"x": asked, "chosen": chosen}
        return [
            await judge_score.compute_score("s", text, "", info, **options)
            for text in ("quality 7", "quality 2", "<think>", None)
        ]

    (better, worse, empty, no_text), _ = with_server(truthful, use)
    assert [better["score"], worse["score"], empty["score"]] == pytest.approx([1.0, 0.0, -0.1])
    assert better.keys() == worse.keys() == empty.keys()
    assert no_text == empty


def test_a_batch_is_judged_in_groups() -> None:
    async def use(url: str) -> Any:
        options = {
            "kind": "pairwise_copeland",
            "prompt": str(PROMPTS / "judge_pairwise.yaml"),
            "judge": {**QUICK, "url": url},
        }
        infos = [{"question": "Which?"}] * 3 + [{"question": "Who?", "chosen": "quality 2"}]
        texts = ["quality 3", "quality 9", "quality 1", "quality 4"]
        return await asyncio.to_thread(
            judge_score.compute_scores, ["s"] * 4, texts, [""] * 4, infos, **options
        )

    results, server = with_server(truthful, use)
    assert [result["score"] for result in results] == pytest.approx([0.5, 1.0, 0.0, 1.0])
    assert len(server.calls) == 2 * 3 + 2


def speechless(call: Call) -> Act:
    """A judge that says nothing about quality 4."""
    return Act("hm") if "quality 4" in call.prompt else truthful(call)


def compared(url: str) -> dict[str, Any]:
    prompt = str(PROMPTS / "judge_pairwise.yaml")
    return {"kind": "pairwise_copeland", "prompt": prompt, "judge": {**QUICK, "url": url}}


WHICH = {"question": "Which?", "chosen": "quality 5"}
WHO = {"question": "Who?", "chosen": "quality 5"}


def test_a_failed_judgement_of_a_response_alone_is_no_tie() -> None:
    async def use(url: str) -> Any:
        async def reward(text: str, info: dict[str, Any]) -> dict[str, float]:
            return await judge_score.compute_score("s", text, "", info, **compared(url))

        with pytest.raises(UserError, match=r"before it had judged any, .* no complete <better>"):
            await reward("quality 4", WHICH)
        judged = [await reward(f"quality {n}", info) for n, info in ((7, WHICH), (9, WHICH), (2, WHO))]
        return [*judged, await reward("quality 5", WHICH)], [await reward("quality 4", WHO)]

    (judged, (failed,)), _ = with_server(speechless, use)
    assert [result["score"] for result in judged] == pytest.approx([1, 1, 0, 0.5])
    assert failed == {"score": 0.0, "valid": 1.0, "judged": 0.0, "judge_failed": 1.0, "judge_score": 0.0}


def test_a_failed_judgement_in_a_batch_gets_the_mean_of_the_same_question_else_of_all() -> None:
    async def use(url: str) -> Any:
        def rewards(texts: list[str], infos: list[dict[str, Any]]) -> list[dict[str, float]]:
            n = len(texts)
            return judge_score.compute_scores(["s"] * n, texts, [""] * n, infos, **compared(url))

        why = {"question": "Why?", "chosen": "quality 5"}
        numbers, infos = (7, 9, 4, 2, 4, 4), [WHICH] * 3 + [WHO] * 2 + [why] * 2
        texts = [*(f"quality {number}" for number in numbers), "<think>"]
        batch = await asyncio.to_thread(rewards, texts, infos)
        with pytest.raises(UserError, match="nothing is known to reward it by"):
            await asyncio.to_thread(rewards, ["quality 4"], [WHICH])
        return batch

    results, _ = with_server(speechless, use)
    scores = [r["score"] for r in results]
    assert scores == pytest.approx([0.5, 1, (0.5 + 1) / 2, 0, 0, (0.5 + 1 + 0) / 3, -0.1])
    assert [r["judge_failed"] for r in results] == [0, 0, 1, 0, 1, 1, 0]
    assert [r["judged"] for r in results] == [1, 1, 0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("options", "info", "message"),
    [
        ({"kind": "bleu", "color": 1}, {"src_text": "x"}, "unknown color; known are"),
        ({"kind": "bleu"}, {"a": 1}, "keys a, expected question, x or src_text"),
        ({"kind": "listwise", "prompt": "p"}, {"question": "x"}, "model is missing"),
    ],
)
def test_what_a_row_or_an_option_lacks_is_said(
    options: dict[str, Any], info: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        asyncio.run(judge_score.compute_score("s", "text", "", info, **options))


@pytest.mark.parametrize(
    ("values", "environment", "kind"),
    [
        ({}, {}, "pointwise"),
        ({}, {"EVAL_MODE": "pairwise", "PAIRWISE_MODE": "copeland"}, "pairwise_copeland"),
        ({}, {"EVAL_MODE": "listwise"}, "listwise"),
        ({"kind": "bleu"}, {"EVAL_MODE": "listwise"}, "bleu"),
    ],
)
def test_the_environment_names_the_kind_of_a_function_that_is_given_none(
    values: dict[str, Any], environment: dict[str, str], kind: str
) -> None:
    assert judge_score.ScoreOptions.from_mapping(values, environment).kind == kind
    with pytest.raises(UserError, match="EVAL_MODE is 'best'"):
        judge_score.ScoreOptions.from_mapping({}, {"EVAL_MODE": "best"})


@pytest.mark.parametrize("kind", sorted(GENERAL_JUDGES))
def test_a_function_that_is_given_no_prompt_asks_by_that_of_its_kind(kind: Any) -> None:
    judge = {"model": "j", "url": "http://h/v1"}
    scorer = judge_score.ScoreOptions.from_mapping({"kind": kind, "judge": judge}).scorer()
    assert Path(scorer.options.prompt) == PROMPTS / f"judge_{kind.partition('_')[0]}.yaml"
