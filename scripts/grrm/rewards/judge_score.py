"""`compute_score` for verl as it is: a judge, checkpoint or metric as `reward.custom_reward_function`.

    reward.custom_reward_function.path=pkg://grrm.rewards.judge_score
    reward.custom_reward_function.name=compute_score
    +reward.custom_reward_function.reward_kwargs.kind=pairwise_dgr
    +reward.custom_reward_function.reward_kwargs.prompt=/path/to/judge_pairwise.yaml

verl hands such a function one response at a time. So kinds that compare need something to compare with: the
row's chosen response (extra_info.chosen, else the ground truth), against which each response is judged. To
have all responses to a prompt judged together, use `grrm.rewards.group.GroupRewardManager`, which needs no
change to verl either; or `compute_scores`, which takes the lists of a whole batch.

A response that could not be judged gets the mean of what is known: of the other responses to its question,
else of all judged so far (the last 1024). Any fixed reward would say something about it; the middle of the
scale, for one, is what a tie with the chosen response earns. Where nothing is known yet, that is an error.
"""

from __future__ import annotations

import asyncio
import os
import statistics
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from grrm import event_loop
from grrm.config import kind_of_environment
from grrm.extract import code_block
from grrm.files import UserError
from grrm.judges.groups import Group
from grrm.judges.prompts import shipped_prompt
from grrm.rewards.kinds import Scorer, ScoringOptions
from grrm.rewards.rows import read_row, response_text
from grrm.texts import unmark

_MEMORY = 1024
"""Judged responses that are remembered, for those that cannot be judged."""

Row = tuple[str, Any, Mapping[str, Any]]
"""A response, its ground truth and its extra_info."""

Known = deque[tuple[str, float]]
"""Questions and the points of responses to them, the latest last."""

# One scorer for each way of asking and event loop: its pool of connections belongs to the loop.
_SCORERS: dict[tuple[str, int], tuple[Scorer, Known]] = {}


@dataclass(frozen=True)
class ScoreOptions:
    """What `reward_kwargs` may hold."""

    kind: str = "pointwise"
    """See `grrm.rewards.kinds`; not given, EVAL_MODE and PAIRWISE_MODE in the environment name it."""
    prompt: str = ""
    """See `ScoringOptions`, as the next two; without one, that of `grrm.judges.prompts.shipped_prompt`."""
    swap: bool = True
    reference: bool = False
    judge: Mapping[str, Any] = field(default_factory=dict)
    """Options of the client (`JudgeOptions`); JUDGE_API_URL and so on in the environment come first."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Options of a checkpoint (`ModelOptions`)."""
    function: str = ""
    """See `ScoringOptions`, as the next two."""
    range: Sequence[float] | None = None
    parts: Sequence[Mapping[str, Any]] = ()
    code_block: bool = False
    """Judge the code block that ends the response, not the response without its thinking."""
    score_scale: float = 0.1
    """Factor on the score, 0 to 10."""
    default_reward: float = -0.1
    """Reward of a response in which there is nothing to judge."""

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Self:
        """Options from keyword arguments.

        Raises:
            UserError: one is unknown, or EVAL_MODE or PAIRWISE_MODE is none.
        """
        known = {option.name for option in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UserError(
                f"reward_kwargs: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )
        kind = None if "kind" in values else kind_of_environment(environment)
        return cls(**values) if kind is None else cls(kind=kind, **values)

    def scorer(self) -> Scorer:
        """Raises UserError if an option is wrong."""
        names = ("kind", "swap", "reference", "judge", "model", "function", "range", "parts")
        values = {name: getattr(self, name) for name in names}
        return Scorer(
            ScoringOptions.from_mapping({**values, "prompt": self.prompt or shipped_prompt(self.kind)})
        )


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    reward_router_address: str | None = None,
    reward_model_tokenizer: Any = None,
    **options: Any,
) -> dict[str, float]:
    """The reward of one response.

    Args:
        data_source: unused.
        solution_str: the response; what is no text is invalid.
        ground_truth: the chosen response or the reference, if extra_info does not hold one.
        extra_info: what the row is about: question, or x (messages), or src_text with src_lang and trg_lang;
            chosen (a text or messages) or trg_text.
        reward_router_address: of the reward model that verl serves, if it does: then that is the judge.
        reward_model_tokenizer: unused.
        **options: those of `ScoreOptions`.

    Returns:
        score; valid; judged; judge_failed; judge_score (0 to 10, where judged is 1). The same keys whatever
        happens. Where the judgement failed, judged is 0 and the score as the head of this module says.

    Raises:
        UserError: an option is wrong, the row lacks what the kind needs, too many judgements failed, or this
            one did before anything was judged.
    """
    if reward_router_address is not None:
        judge = {"model": "judge", **options.get("judge", {}), "url": f"http://{reward_router_address}/v1"}
        options = {**options, "judge": judge}
    chosen = ScoreOptions.from_mapping(options)
    key = (repr(chosen), id(asyncio.get_running_loop()))
    if key not in _SCORERS:
        _SCORERS[key] = chosen.scorer(), deque(maxlen=_MEMORY)
    scorer, known = _SCORERS[key]
    (result,) = await _score(scorer, known, [(solution_str, ground_truth, extra_info or {})], chosen)
    return result


def compute_scores(
    data_sources: Sequence[str],
    solution_strs: Sequence[str],
    ground_truths: Sequence[Any],
    extra_infos: Sequence[Mapping[str, Any]],
    **options: Any,
) -> list[dict[str, float]]:
    """The rewards of a batch, responses to the same question judged together with its chosen response.

    For reward managers that hand over lists, such as `batch` of verl before 0.7. Arguments, results and
    errors as those of `compute_score`.
    """
    chosen = ScoreOptions.from_mapping(options)

    async def run() -> list[dict[str, float]]:
        async with chosen.scorer() as scorer:
            rows = list(zip(solution_strs, ground_truths, extra_infos, strict=True))
            return await _score(scorer, deque(maxlen=max(_MEMORY, len(rows))), rows, chosen)

    return event_loop.run(run())


async def _score(
    scorer: Scorer, known: Known, rows: Sequence[Row], options: ScoreOptions
) -> list[dict[str, float]]:
    """The rewards of `rows`; their points are added to what is `known`."""
    extract = code_block if options.code_block else response_text
    texts = [
        unmark(extract(response) or "") or None if isinstance(response, str) else None
        for response, _, _ in rows
    ]
    # Rows about the same question are one group.
    contexts = [read_context(truth, info) for _, truth, info in rows]
    groups: dict[tuple[str, str | None], list[int]] = {}
    for index, context in enumerate(contexts):
        groups.setdefault((context.question, context.reference), []).append(index)
    points: dict[int, float] = {}
    failures: dict[int, str] = {}
    asked: list[tuple[list[int], Group]] = []
    for members in groups.values():
        valid = [index for index in members if texts[index] is not None]
        if valid:
            asked.append(
                (valid, _group(contexts[members[0]], [texts[i] or "" for i in valid], scorer.options))
            )
    judged = await scorer.score_groups([group for _, group in asked])
    for (valid, group), result in zip(asked, judged.groups, strict=True):
        scored = dict(zip(group.candidates, scorer.points(result.scores), strict=True))
        for index in valid:
            found = scored[texts[index] or ""]
            if found is None:
                failures[index] = result.failures[0] if result.failures else "no score"
            else:
                points[index] = found
                known.append((group.question, found))
    return [
        _result(
            options,
            points=points.get(index),
            stand_in=_stand_in(known, contexts[index].question, failures[index])
            if index in failures
            else None,
        )
        for index in range(len(rows))
    ]


def _stand_in(known: Iterable[tuple[str, float]], question: str, failure: str) -> float:
    """Points of a response that could not be judged: the mean of those to its question, else of all."""
    everything = [points for _, points in known]
    if not everything:
        raise UserError(
            f"the judge failed on a response to {question!r:.80} before it had judged any, so nothing is "
            f"known to reward it by: {failure}"
        )
    return statistics.fmean([points for asked, points in known if asked == question] or everything)


def _group(context: Group, texts: Sequence[str], options: ScoringOptions) -> Group:
    candidates = set(texts)
    if options.relative and context.reference is not None:
        candidates.add(context.reference)
    elif options.relative and len(texts) == 1:
        raise UserError(
            f"kind {options.kind} compares, but there is one response to {context.question!r:.80} and no "
            "chosen one in extra_info.chosen; add it, or take a kind that scores each response by itself"
        )
    return replace(context, candidates=tuple(sorted(candidates)))


def _result(options: ScoreOptions, *, points: float | None, stand_in: float | None) -> dict[str, float]:
    """What a response earns by its points, by those in their stead, or, without either, as an invalid one."""
    earned = stand_in if points is None else points
    return {
        "score": options.default_reward if earned is None else earned * options.score_scale,
        "valid": float(earned is not None),
        "judged": float(points is not None),
        "judge_failed": float(stand_in is not None),
        "judge_score": 0.0 if points is None else points,
    }


def read_context(truth: Any, info: Mapping[str, Any]) -> Group:
    """What a row is about: a group without candidates, whose reference is the chosen response or reference
    translation, by default the ground truth.

    Raises:
        UserError: the row does not say what is answered.
    """
    group = read_row(info)
    wanted = group.reference if group.chosen is None else group.chosen
    if wanted is None and isinstance(truth, str) and truth.strip():
        wanted = truth
    return replace(group, reference=wanted, columns={"ground_truth": truth, **group.columns})
