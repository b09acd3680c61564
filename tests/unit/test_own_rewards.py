"""Functions of the user's own and mixtures as rewards, and a kind that is added at run time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_reward_kinds import QUICK, prompt_of, step, truthful, with_server

from grrm.files import UserError, read_jsonl
from grrm.judges.groups import Group
from grrm.rewards.group import GroupOptions
from grrm.rewards.kinds import Part, Scorer, ScoringOptions
from grrm.rewards.kinds.function import takes_single_responses
from grrm.rewards.kinds.mixture import normalised
from grrm.rewards.step_metrics import step_metrics
from judge_server import Act, Call

GROUP = Group(
    "es regnet",
    ("quality 3", "quality 9", "quality 1"),
    "quality 9",
    "de",
    "en",
    columns={"domain": "weather", "data_source": "mine", "ground_truth": "truth"},
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Writes a file with the function score; its name for the configuration."""

    def written(text: str) -> str:
        path = tmp_path / "my_rewards.py"
        path.write_text(text)
        return f"{path}:score"

    return written


def scored(function: str, group: Group = GROUP, **options: Any) -> Any:
    async def use() -> Any:
        async with Scorer(ScoringOptions("function", function=function, **options)) as scorer:
            result = await scorer.score_group(group)
            return result, scorer.points(result.scores)

    return asyncio.run(use())


# ---------------------------------------------------------------- functions


@pytest.mark.parametrize("sort", ["def", "async def"])
def test_a_function_gets_the_whole_group_with_all_columns_of_the_row(write: Any, sort: str) -> None:
    function = write(
        f"{sort} score(group):\n"
        "    assert group['source'] == 'es regnet' and group['domain'] == 'weather'\n"
        "    assert (group['src_lang'], group['trg_lang']) == ('de', 'en')\n"
        "    assert group['reference'] == 'quality 9' and group['chosen'] is None\n"
        "    return [int(text[-1]) for text in group['candidates']]\n"
    )
    result, points = scored(function)
    assert result.failures == ()
    assert points == [3, 9, 1]


def test_a_range_brings_a_functions_scores_to_points(write: Any) -> None:
    _, points = scored(write("def score(group): return [0.0, 1.0, 0.25]"), range=(0.0, 1.0))
    assert points == [0, 10, 2.5]


def test_a_function_for_single_responses_is_known_by_its_parameters(write: Any) -> None:
    function = write(
        "def score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):\n"
        "    assert (data_source, ground_truth, extra_info['domain']) == ('mine', 'truth', 'weather')\n"
        "    if solution_str == 'quality 1':\n"
        "        raise KeyError('no such word')\n"
        "    return {'score': int(solution_str[-1]), 'acc': 1.0}\n"
    )
    result, _ = scored(function)
    assert result.scores == (3, 9, None)
    assert result.failures == ("score: candidate 2: KeyError: 'no such word'",)


@pytest.mark.parametrize(
    ("body", "scores", "reason"),
    [
        ("1 / 0", (None, None, None), "score: ZeroDivisionError: division by zero"),
        ("return [1.0, 2.0]", (None, None, None), "score: 2 answers for 3 candidates"),
        ("return 7", (None, None, None), "TypeError: answered 7, expected one number or None"),
        ("return [1.0, float('nan'), 2.0]", (1, None, 2), "candidate 1: nan is no finite number"),
        ("return [1.0, 2.0, float('inf')]", (1, 2, None), "candidate 2: inf is no finite number"),
        ("return [1.0, None, 2.0]", (1, None, 2), "candidate 1: no score"),
        ("return [1.0, '2', 2.0]", (1, None, 2), "candidate 1: '2' is no finite number"),
    ],
)
def test_what_is_no_score_is_a_failed_judgement_with_its_reason(
    write: Any, body: str, scores: Any, reason: str
) -> None:
    result, _ = scored(write(f"def score(group):\n    {body}\n"))
    assert result.scores == scores
    assert reason in result.failures[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def other(group): ...", "no function score"),
        ("import no_such_package", "cannot be loaded .*no_such_package"),
        ("def score(a, b): ...", "takes a, b; expected one parameter, the group, or data_source"),
        ("def score(group, *, strict): ...", "takes group, strict; expected one parameter"),
    ],
)
def test_a_function_that_cannot_be_used_is_refused(write: Any, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        scored(write(text))


def test_a_group_function_may_have_defaults() -> None:
    def score(group: Any, strict: bool = True, **more: Any) -> None: ...

    assert takes_single_responses("f.py:score", score) is False


def test_a_failing_function_stops_the_run_past_the_limit(write: Any) -> None:
    function = write("def score(group): raise ValueError('broken')")
    run = step("function", "", groups=9, function=function, max_failure_rate=0.5, failure_window=4)
    with pytest.raises(UserError, match=r"9 of the last 9 judgements failed.*9 score: ValueError.*: broken"):
        asyncio.run(run())


def test_a_function_rewards_through_the_manager(write: Any, tmp_path: Path) -> None:
    function = write("def score(group): return [int(text[-1]) / 10 for text in group['candidates']]")
    ledger = tmp_path / "groups.jsonl"
    rewards, metrics = asyncio.run(
        step("function", "", groups=1, function=function, range=[0, 1], ledger=str(ledger))()
    )
    assert rewards == pytest.approx([0.3, 0.9, 0.1, 0.6])
    assert metrics["reward/judgements"] == 4
    assert "parts" not in next(iter(read_jsonl(ledger)))


# ---------------------------------------------------------------- mixtures


def test_a_mixture_is_the_mean_of_its_parts_points_by_weight() -> None:
    parts = [{"kind": "bleu", "weight": 1}, {"kind": "chrf", "weight": 3}]
    options = ScoringOptions.from_mapping({"kind": "mixture", "parts": parts})
    group = Group("x", ("the cat sat down", "a dog ran"), "the cat sat down there", "de", "en")

    async def use() -> Any:
        results = []
        for one in (options, *(part.options for part in options.parts)):
            async with Scorer(one) as scorer:
                result = await scorer.score_group(group)
                results.append((result, scorer.points(result.scores)))
        return results

    (mixed, points), (_, bleu), (_, chrf) = asyncio.run(use())
    assert points == pytest.approx([(b + 3 * c) / 4 for b, c in zip(bleu, chrf, strict=True)])
    assert mixed.parts == {"bleu": tuple(bleu), "chrf": tuple(chrf)}


def test_a_part_that_is_normalised_counts_by_the_spread_of_its_group() -> None:
    points = normalised([2.0, 4.0, None, 6.0])
    known = [value for value in points if value is not None]
    assert points[2] is None
    assert np.mean(known) == pytest.approx(5)
    assert np.std(known) == pytest.approx(1)
    assert normalised([3.0, 3.0, None]) == (5.0, 5.0, None)
    best = normalised([0.0] * 25 + [1.0])[-1]
    assert best is not None and math.isclose(best, 10.0)


def test_none_of_a_part_is_a_failure_of_that_candidate_and_no_zero(write: Any) -> None:
    function = write(
        "def score(group): return [None if t == 'quality 1' else 8 for t in group['candidates']]"
    )
    parts = [{"kind": "function", "function": function, "name": "mine"}, {"kind": "chrf"}]
    rewards, metrics = asyncio.run(step("mixture", "", groups=1, parts=parts)())
    known = [rewards[0], rewards[1], rewards[3]]
    assert len(set(known)) > 1
    assert rewards[2] == pytest.approx(np.mean(known))
    assert metrics["reward/judged"] == pytest.approx(0.75)
    assert metrics["reward/part_mine"] == pytest.approx(8)


def test_every_part_is_logged_by_name_whatever_happens(write: Any, tmp_path: Path) -> None:
    def script(call: Call) -> Act:
        return Act(status=400) if "s1" in call.prompt else truthful(call)

    ledger = tmp_path / "groups.jsonl"

    async def use(url: str) -> Any:
        judge = {**QUICK, "url": url}
        parts = {
            "judge": {"kind": "grrm", "weight": 0.7, "prompt": prompt_of("grrm"), "judge": judge},
            "bleu": {"kind": "bleu", "weight": 0.3, "normalise": "group"},
        }
        return await step("mixture", "", groups=2, parts=parts, ledger=str(ledger))()

    (rewards, metrics), server = with_server(script, use)
    assert len(server.calls) == 2, "one call a group"
    assert rewards[1] == max(rewards[:4])
    assert len(set(rewards[4:])) == 1, "the GRRM has not judged the second group"
    assert metrics["reward/part_judge"] == pytest.approx((3 + 9 + 1 + 6) / 4)
    assert metrics["reward/judge_failed"] == 0.5
    rows = {row["uid"]: row for row in read_jsonl(ledger)}
    assert rows["0"]["parts"].keys() == {"judge", "bleu"}
    assert rows["1"]["reason"].startswith("judge: no answer: rejected: HTTP 400")


@pytest.mark.parametrize(("kind", "calls"), [("grrm", 1), ("pairwise_copeland", 12), ("sqm", 4)])
def test_a_part_may_be_the_judge_that_verl_serves(kind: str, calls: int) -> None:
    async def use(url: str) -> Any:
        address = url.removeprefix("http://").removesuffix("/v1")
        parts = {"judge": {"kind": kind, "prompt": prompt_of(kind)}, "chrf": {"kind": "chrf"}}
        return await step("mixture", "", groups=1, served=address, parts=parts)()

    (rewards, metrics), server = with_server(truthful, use)
    assert len(server.calls) == calls
    asked = {"model": "/models/judge", "top_p": 0.9, "top_k": 20, "max_tokens": 64, "temperature": 0.0}
    for call in server.calls:
        assert {key: call.body[key] for key in asked} == asked
    assert np.argsort(rewards).tolist()[-1] == 1
    assert metrics["reward/judge_failed"] == 0


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([{"kind": "mixture"}], "kind is 'mixture', expected one of grrm, .*function$"),
        ([{"kind": "bleu"}, {"kind": "bleu"}], "two are named bleu"),
        ([{"kind": "bleu", "weight": 0}], "bleu: weight is 0, expected a number above 0"),
        ([{"kind": "bleu", "normalise": "batch"}], "normalise is 'batch', expected none or group"),
        ([{"kind": "bleu", "color": 1}], "unknown color"),
        (
            [{"kind": kind, "prompt": "p", "served": True} for kind in ("grrm", "sqm")],
            "grrm and sqm are served by verl, expected at most one",
        ),
        ([], "kind mixture has 0 parts, expected at least one"),
    ],
)
def test_wrong_mixtures_are_refused(parts: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ScoringOptions.from_mapping({"kind": "mixture", "parts": parts})


def test_the_same_figures_are_reported_of_a_mixture_that_fails() -> None:
    options = GroupOptions(kind="mixture", parts={"a": {"kind": "bleu"}, "b": {"kind": "chrf"}})
    assert options.part_names == ("a", "b")
    infos = [{"judged": 1.0, "part_a": 4.0}, {"judged": 0.0, "part_a": 0.0}]
    assert step_metrics(["u", "u"], [1.0, 1.0], infos)["reward/part_a"] == 4.0


def test_only_relative_parts_make_a_relative_mixture() -> None:
    relative = Part("a", 1.0, ScoringOptions("bleu"), "group")
    assert ScoringOptions("mixture", parts=(relative,)).relative
    absolute = Part("b", 1.0, ScoringOptions("chrf"))
    assert not ScoringOptions("mixture", parts=(relative, absolute)).relative


# ---------------------------------------------------------------- what is no number


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_a_failure_whatever_kind_it_comes_from(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grrm.judges.groups import GroupScores, judged_singly
    from grrm.rewards.kinds import Scoring, chrf

    async def score(groups: Any) -> Any:
        return judged_singly([GroupScores((1.0, value, 3.0)) for _ in groups])

    monkeypatch.setattr(chrf, "load", lambda options, asking: Scoring(score))

    async def use() -> Any:
        async with Scorer(ScoringOptions("chrf")) as scorer:
            return await scorer.score_group(Group("x", ("a", "b", "c"), "a", "de", "en"))

    result = asyncio.run(use())
    assert result.scores == (1.0, None, 3.0)
    assert result.failures == (f"candidate 1: {value} is no finite number",)


def test_a_training_on_scores_that_are_no_numbers_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    from grrm.judges.groups import GroupScores, judged_singly
    from grrm.rewards.kinds import Scoring, chrf

    async def score(groups: Any) -> Any:
        return judged_singly([GroupScores((math.nan,) * len(group.candidates)) for group in groups])

    monkeypatch.setattr(chrf, "load", lambda options, asking: Scoring(score))
    with pytest.raises(UserError, match=r"4 of the last 4 judgements failed.*nan is no finite number"):
        asyncio.run(step("chrf", "", max_failure_rate=0.5, failure_window=4)())
