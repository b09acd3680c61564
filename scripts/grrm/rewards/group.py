"""The reward of rollouts that are judged together: all rollouts of a prompt, by any of `grrm.rewards.kinds`.

verl hands rollouts over one by one; `GroupRewardManager` holds each until its siblings (same `uid`) are
there, has the group scored once and answers all of them. What is judged is either a translation, the code
block that ends the response, or the response itself without its thinking; then the preferred response of the
row (`chosen`) is judged among them. Two semantics:

strict (default)
    - Candidates are shown in a random order that depends only on the seed, the source and the set of
      candidates, so that neither the arrival order nor a position bias of the judge enters the reward.
    - A failed judgement is asked again at a higher temperature. If none succeeds, all valid rollouts of the
      group get the same neutral reward: no gradient among them, and more than an invalid rollout gets. A
      single candidate without a score gets the mean of its siblings, which is no gradient either.
    - If all valid rollouts have the same translation there is nothing to judge: they get the neutral score.
    - Each rollout pays its own length penalty.
paper
    As published (arXiv 2602.14028, reward_utils/rm_lib.py of NJUNLP/GRRM c000509), its slips included:
    first-seen order; no retry; a failed judgement gives every translation the score `default_reward`, which
    is then scaled like a score; one unique translation, or a judge prompt that is too long, gives every
    rollout `default_reward`; copies pay the length penalty of the first copy. Only for kind grrm.

Importable without verl and torch: only the manager's methods touch what verl passes in.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import statistics
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, get_args

from grrm.asking.client import JudgeClient
from grrm.asking.options import JudgeOptions
from grrm.extract import code_block, without_thinking
from grrm.files import UserError
from grrm.judges.groups import Group, Judged
from grrm.judges.pointwise import Scale
from grrm.prompts import load_ranking_prompt
from grrm.ranking import InvalidAnswer, labels, parse_answer
from grrm.rewards.kinds import JUDGE_KINDS, KINDS, MIDDLE, MODEL_KINDS, Kind, Scorer, ScoringOptions
from grrm.rewards.model_scores import ModelOptions

NEUTRAL_SCORE = MIDDLE
"""Score of a candidate nothing is known about: the middle of the scale, 0 to 10."""

STOP_MARK = "group reward: stopping:"
"""Starts the line printed when a run cannot go on; the launcher ends the run on seeing it."""

Outcome = Literal["judged", "identical", "invalid", "failed"]
Judge = Callable[[str, float], Awaitable[str]]
"""Asks the judge: (prompt, temperature) -> answer text. Raises if there is no answer; UserError, which stops
the run, if there is no judge any more."""
Render = Callable[..., str]
"""`RankingPrompt.render`: (*, src_text, mt_texts, src_lang, trg_lang) -> prompt of the judge."""
Task = Literal["translation", "conversation"]


@dataclass(frozen=True)
class GroupOptions:
    """How judgements become rewards (`mt_grpo.reward` and `alignment.reward` in the configuration).

    Raises:
        UserError: a value is out of range, or an invalid rollout would not be worse than a neutral one.
    """

    prompt: str = ""
    """File of the judge's prompt, see `ScoringOptions.prompt`."""
    kind: Kind = "grrm"
    """What scores a group; every kind's scores are brought to the scale 0 to 10 (`Scorer.points`)."""
    task: Task = "translation"
    """What the rows hold: translation (extra_info: src_text, src_lang, trg_lang, trg_text) or conversation
    (extra_info: question, chosen, turns)."""
    swap: bool = True
    """See `ScoringOptions`, as the next three."""
    scale: Scale = "absolute"
    reference: bool = False
    judge: Mapping[str, Any] = field(default_factory=dict)
    """Options of the judge's client (`JudgeOptions`)."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Options of a checkpoint that scores (`ModelOptions`)."""
    semantics: Literal["strict", "paper"] = "strict"
    seed: int = 0
    score_scale: float = 0.01
    """Factor on the scores, which go from 0 to 10 (paper, section 4.3: 0.01)."""
    default_reward: float = -0.04
    """Reward of a rollout without a translation (paper: -0.04)."""
    max_response_length: int = 0
    """Longest response of the policy in tokens; used by the length penalty only."""
    overlong_buffer: int = 0
    """Tokens before `max_response_length` in which the length penalty grows; 0 is off (paper: 2048)."""
    overlong_penalty: float = 0.04
    """Length penalty at `max_response_length` (paper: 0.04)."""
    temperature: float = 0.0
    """Of the judge's first answer."""
    retry_temperature: float = 1.0
    retries: int = 1
    """Times a failed judgement is asked again (strict only)."""
    deadline: float = 300.0
    """Seconds after a group's first rollout until it is judged without the missing ones."""
    timeout: float = 600.0
    """Seconds the judge may take for one answer."""
    max_failure_rate: float = 0.5
    """Share of failed judgements among the last `failure_window` past which the run stops."""
    failure_window: int = 64
    ledger: str = ""
    """File (JSON lines) to which every group is appended; empty is off."""
    ledger_texts: int = 2
    """Judged groups per step whose texts are kept in the ledger."""

    def __post_init__(self) -> None:
        """Check ranges and relations of the values."""
        if self.semantics not in ("strict", "paper"):
            raise UserError(f"reward: semantics is {self.semantics!r}, expected 'strict' or 'paper'")
        if self.task not in get_args(Task):
            raise UserError(f"reward: task is {self.task!r}, expected 'translation' or 'conversation'")
        if self.kind not in KINDS:
            raise UserError(f"reward: kind is {self.kind!r}, expected one of {', '.join(KINDS)}")
        if self.scale not in get_args(Scale):
            raise UserError(f"reward: scale is {self.scale!r}, expected 'absolute' or 'group'")
        if self.kind in JUDGE_KINDS and not self.prompt:
            raise UserError(f"reward: prompt is missing, the file of the prompt for kind {self.kind}")
        if self.reference and self.task == "conversation":
            raise UserError(
                "reward: reference is true, expected false for task 'conversation': its rows have none but "
                "chosen, which is judged itself"
            )
        if self.semantics == "paper" and self.kind != "grrm":
            raise UserError(f"reward: semantics 'paper' is that of kind grrm, but kind is {self.kind!r}")
        if not 0 <= self.max_failure_rate <= 1:
            raise UserError(
                f"reward: max_failure_rate is {self.max_failure_rate}, expected a share from 0 to 1"
            )
        for name in ("score_scale", "deadline", "timeout", "failure_window"):
            if getattr(self, name) <= 0:
                raise UserError(f"reward: {name} is {getattr(self, name)}, expected a number above 0")
        for name in ("overlong_buffer", "overlong_penalty", "retries", "temperature", "ledger_texts"):
            if getattr(self, name) < 0:
                raise UserError(f"reward: {name} is {getattr(self, name)}, expected a number of at least 0")
        if self.overlong_buffer > self.max_response_length:
            raise UserError(
                f"reward: overlong_buffer is {self.overlong_buffer}, longer than the longest response "
                f"({self.max_response_length} tokens)"
            )
        if self.semantics == "strict" and self.default_reward >= self.neutral_reward:
            raise UserError(
                f"reward: default_reward is {self.default_reward}, expected less than the neutral reward "
                f"{self.neutral_reward} ({NEUTRAL_SCORE} x score_scale): invalid must not pay"
            )

    @property
    def neutral_reward(self) -> float:
        """Reward of a valid rollout whose group could not be judged."""
        return NEUTRAL_SCORE * self.score_scale

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> GroupOptions:
        """Options from verl's `reward.reward_kwargs`.

        Raises:
            UserError: a key is unknown or missing.
        """
        known = {option.name for option in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UserError(
                f"reward.reward_kwargs: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )
        return cls(**values)

    def scoring(self, judge: JudgeOptions | None) -> ScoringOptions:
        """Options of the scorer, for kinds that are not judged by `judge_group`.

        Raises:
            UserError: what the kind needs is missing.
        """
        return ScoringOptions(
            kind=self.kind,
            prompt=self.prompt,
            swap=self.swap,
            scale=self.scale,
            reference=self.reference,
            judge=judge,
            model=ModelOptions(**self.model) if self.kind in MODEL_KINDS else None,
        )


@dataclass(frozen=True)
class Source:
    """What a group answers: a text to translate, or a conversation."""

    text: str
    language: str = ""
    target_language: str = ""
    reference: str | None = None
    """A translation that candidates may be compared with."""
    chosen: str | None = None
    """The preferred response, judged among the candidates."""
    turns: tuple[Mapping[str, str], ...] = ()
    """The conversation, if it has more than one turn."""


@dataclass(frozen=True)
class Rollout:
    """A response of the policy and its length in tokens."""

    text: str
    length: int


@dataclass(frozen=True)
class Plan:
    """What is to be judged of a group."""

    translations: tuple[str | None, ...]
    """One per rollout: its translation, or its response without thinking; None if there is none."""
    candidates: tuple[str, ...]
    """The distinct ones and the chosen response, in the order in which the judge sees them."""


@dataclass(frozen=True)
class Judgement:
    """What became of a group, and the judge's scores if there are any."""

    outcome: Outcome
    scores: tuple[float | None, ...] | None = None
    """One per candidate of the plan, in its order, 0 to 10; None unless the outcome is "judged"."""
    answer: str | None = None
    """The judge's last answer."""
    reason: str | None = None
    """Why the judgement, or a part of it, failed."""
    retries: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)
    """Counts of `FIGURES`."""


# ---------------------------------------------------------------- from responses to candidates


def plan_group(texts: Sequence[str], source: Source, options: GroupOptions) -> Plan:
    """Extract what is judged of a group's responses and decide what the judge is shown."""
    extract = response_text if options.task == "conversation" else code_block
    if options.semantics == "paper":
        extract = published_code_block
    translations = tuple(extract(text) for text in texts)
    unique = dict.fromkeys(translation for translation in translations if translation is not None)
    if options.semantics == "paper":
        return Plan(translations, tuple(unique))
    if unique and source.chosen is not None:
        unique.setdefault(source.chosen)
    candidates = sorted(unique)
    key = json.dumps([options.seed, source.text, source.language, source.target_language, candidates])
    random.Random(hashlib.sha256(key.encode()).digest()).shuffle(candidates)
    return Plan(translations, tuple(candidates))


def response_text(text: str) -> str | None:
    """A response without its thinking; None if nothing else is there."""
    return without_thinking(text).strip() or None


def published_code_block(text: str) -> str | None:
    """The translation as published: exactly two fences, the second at the end; a language tag stays in it."""
    text = text.strip()
    parts = text.split("```")
    if len(parts) != 3 or parts[2]:
        return None
    return parts[1].strip() or None


# ---------------------------------------------------------------- from the judge's answer to scores


def strict_scores(answer: str, count: int) -> tuple[int, ...]:
    """Scores of `count` candidates, in the order in which they were shown.

    Raises:
        ValueError: the answer is malformed; the message says how.
    """
    parsed = parse_answer(answer, count)
    if isinstance(parsed, InvalidAnswer):
        raise ValueError(f"{parsed.reason}: {parsed.detail}")
    return tuple(int(parsed.scores[label]) for label in labels(count))


def published_scores(answer: str, count: int) -> tuple[int, ...]:
    """Scores as published: from the last line only; ranking, surplus labels and range are not checked.

    Raises:
        ValueError: the last line does not hold a whole number for every label.
    """
    scores = {}
    for part in answer.strip().split("\n")[-1].split(","):
        if not part.strip():
            continue
        label, _, value = part.partition(":")
        scores[label.strip()] = int(value)
    if missing := [label for label in labels(count) if label not in scores]:
        raise ValueError(f"no score for {', '.join(missing)}")
    return tuple(scores[label] for label in labels(count))


# ---------------------------------------------------------------- from scores to rewards


def overlong_penalty(length: int, options: GroupOptions) -> float:
    """Penalty of a response of `length` tokens: 0 up to the buffer, then linear up to `overlong_penalty`."""
    if not options.overlong_buffer:
        return 0.0
    excess = length - (options.max_response_length - options.overlong_buffer)
    return options.overlong_penalty * min(max(excess / options.overlong_buffer, 0.0), 1.0)


def group_rewards(
    plan: Plan, judgement: Judgement, lengths: Sequence[int], options: GroupOptions
) -> list[float]:
    """One reward per rollout of the group."""
    rewards = _strict_rewards if options.semantics == "strict" else _paper_rewards
    return rewards(plan, judgement, lengths, options)


def _strict_rewards(
    plan: Plan, judgement: Judgement, lengths: Sequence[int], options: GroupOptions
) -> list[float]:
    scores = _score_of(plan, judgement)
    known = [scores[text] for text in plan.translations if text in scores]
    unknown = statistics.fmean(known) if known else NEUTRAL_SCORE

    def reward(translation: str | None, length: int) -> float:
        if translation is None:
            return options.default_reward
        if judgement.outcome == "failed":
            return options.neutral_reward
        score = scores.get(translation, unknown)
        return score * options.score_scale - overlong_penalty(length, options)

    return [reward(*member) for member in zip(plan.translations, lengths, strict=True)]


def _paper_rewards(
    plan: Plan, judgement: Judgement, lengths: Sequence[int], options: GroupOptions
) -> list[float]:
    if judgement.outcome in ("identical", "invalid") or judgement.reason == PROMPT_TOO_LONG:
        return [options.default_reward] * len(lengths)
    scores = _score_of(plan, judgement)
    first_length: dict[str | None, int] = {}
    for translation, length in zip(plan.translations, lengths, strict=True):
        first_length.setdefault(translation, length)
    return [
        options.default_reward
        if translation is None
        else scores.get(translation, options.default_reward) * options.score_scale
        - overlong_penalty(first_length[translation], options)
        for translation in plan.translations
    ]


def _score_of(plan: Plan, judgement: Judgement) -> dict[str, float]:
    if judgement.scores is None:
        return {}
    scored = zip(plan.candidates, judgement.scores, strict=True)
    return {candidate: float(score) for candidate, score in scored if score is not None}


def extra_info(
    plan: Plan, judgement: Judgement, lengths: Sequence[int], source: Source, options: GroupOptions
) -> list[dict[str, float]]:
    """verl's `reward_extra_info` of each rollout: the same numeric keys whatever happened.

    `judge_score` (0 to 10) counts only where `judged` is 1, `chosen_score` and `above_chosen` only where
    `compared` is; elsewhere they are 0 (`grrm.rewards.step_metrics`).
    """
    scores = _score_of(plan, judgement)
    figures = {} if options.kind == "grrm" else {name: judgement.figures.get(name, 0.0) for name in FIGURES}

    def info(translation: str | None, length: int) -> dict[str, float]:
        values = {
            "valid": float(translation is not None),
            "judged": float(translation in scores),
            "judge_score": scores.get(translation or "", 0.0),
            "judge_failed": float(judgement.outcome == "failed"),
            "judge_retries": float(judgement.retries),
            "identical_group": float(judgement.outcome == "identical"),
            "overlong_penalty": overlong_penalty(length, options),
            **figures,
        }
        if options.task == "conversation":
            compared = translation in scores and source.chosen in scores
            chosen = scores[source.chosen or ""] if compared else 0.0
            values["compared"] = float(compared)
            values["chosen_score"] = chosen
            values["above_chosen"] = float(compared and scores[translation or ""] > chosen)
        return values

    return [info(*member) for member in zip(plan.translations, lengths, strict=True)]


# ---------------------------------------------------------------- asking the judge

PROMPT_TOO_LONG = "prompt too long"

FIGURES = (
    "judgements",  # asked for: pairs in one order, candidates or groups
    "judgements_failed",
    "ties",
    "conflicts",  # results that an optimal order contradicts (pairwise_dgr)
    "pairs",  # judged in both orders
    "biased_pairs",  # in which the same place won twice
    "inconsistent_pairs",  # with any disagreement
)
"""Counts of a group, each reported with every rollout of it."""

Ask = Callable[[Plan, Source], Awaitable[Judgement]]
"""Has a group judged."""


async def judge_group(
    plan: Plan,
    source: Source,
    options: GroupOptions,
    *,
    render: Render,
    judge: Judge,
    fits: Callable[[str], bool],
) -> Judgement:
    """Judge a group with one call, or as many more as `options.retries` allows if the judgement fails.

    Args:
        plan: the group's translations and candidates.
        source: what was translated.
        options: semantics, retries, temperatures.
        render: makes the judge's prompt.
        judge: asks the judge.
        fits: whether a prompt is short enough for the judge.

    Raises:
        UserError: what the judge raises so; any other exception of its is a failed judgement.
    """
    if not plan.candidates:
        return Judgement("invalid")
    if len(plan.candidates) == 1:
        return Judgement("identical")
    prompt = render(
        src_text=source.text,
        mt_texts=plan.candidates,
        src_lang=source.language,
        trg_lang=source.target_language,
    )
    if not fits(prompt):
        return Judgement("failed", reason=PROMPT_TOO_LONG)
    strict = options.semantics == "strict"
    read = strict_scores if strict else published_scores
    answer, reason, retries = None, None, options.retries if strict else 0
    for attempt in range(1 + retries):
        try:
            answer = await judge(prompt, options.retry_temperature if attempt else options.temperature)
        except UserError:  # there is no judge any more
            raise
        except Exception as error:  # whatever the connection or the server may raise: a failed judgement
            reason = f"no answer: {type(error).__name__}: {error}"
            continue
        try:
            return Judgement("judged", read(answer, len(plan.candidates)), answer, retries=attempt)
        except ValueError as error:
            reason = f"malformed answer: {error}"
    return Judgement("failed", answer=answer, reason=reason, retries=retries)


async def score_plan(plan: Plan, source: Source, *, scorer: Scorer) -> Judgement:
    """Have a group scored by any kind; if no rollout's candidate gets a score, the judgement failed."""
    own = {text for text in plan.translations if text is not None}
    if not own:
        return Judgement("invalid")
    if len(plan.candidates) == 1 and scorer.options.relative:
        return Judgement("identical")
    group = Group(
        source.text,
        plan.candidates,
        source.reference,
        source.language,
        source.target_language,
        source.turns,
    )
    judged = await scorer.score_groups([group])
    (result,) = judged.groups
    figures = _figures(judged)
    reason = result.failures[0] if result.failures else None
    points = scorer.points(result.scores)
    if not any(score is not None for text, score in zip(plan.candidates, points, strict=True) if text in own):
        return Judgement("failed", reason=reason or "no score", figures=figures)
    return Judgement("judged", tuple(points), reason=reason, figures=figures)


def _figures(judged: Judged) -> dict[str, float]:
    metrics = judged.metrics
    pairs = metrics.get("pairs", 0.0)
    return {
        "judgements": metrics["judgements"],
        "judgements_failed": metrics["failed"],
        "ties": metrics.get("ties", 0.0),
        "conflicts": metrics.get("conflicts", 0.0),
        "pairs": pairs,
        "biased_pairs": pairs * metrics.get("position_bias", 0.0),
        "inconsistent_pairs": pairs * metrics.get("inconsistent", 0.0),
    }


# ---------------------------------------------------------------- collecting groups


@dataclass(frozen=True)
class Reward:
    """The reward of one rollout and verl's `reward_extra_info`."""

    value: float
    info: dict[str, float]


@dataclass
class _Waiting:
    """A group whose rollouts are not all there yet."""

    source: Source
    step: int
    expected: int
    rollouts: list[Rollout] = field(default_factory=list)
    answers: list[asyncio.Future[Reward]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None


class GroupRewards:
    """Collects rollouts into groups, has each group judged once and answers every rollout.

    Args:
        options: semantics and limits.
        ask: has a group judged: `judge_group` or `score_plan`.
    """

    def __init__(self, options: GroupOptions, ask: Ask) -> None:
        self._options = options
        self._ask = ask
        self._waiting: dict[str, _Waiting] = {}
        self._released: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: deque[bool] = deque(maxlen=options.failure_window)
        self._stopped: str | None = None
        self._ledger = Ledger(Path(options.ledger), options.ledger_texts) if options.ledger else None

    async def reward(self, uid: str, rollout: Rollout, source: Source, *, expected: int, step: int) -> Reward:
        """The reward of `rollout`, once its group of `expected` is complete or the deadline has passed.

        Raises:
            UserError: the run cannot go on: too many judgements failed, or judging raised.
        """
        if self._stopped:
            raise UserError(self._stopped)
        if uid in self._released:
            # Its siblings were judged without it: comparable with none of them, so nothing is known about it.
            plan = plan_group([rollout.text], source, self._options)
            late = Judgement("failed" if plan.candidates else "invalid", reason="came after the deadline")
            return self._finish(uid, _Waiting(source, step, expected, [rollout]), plan, late, 0.0)[0]
        loop = asyncio.get_running_loop()
        group = self._waiting.setdefault(uid, _Waiting(source, step, expected))
        group.rollouts.append(rollout)
        answer: asyncio.Future[Reward] = loop.create_future()
        group.answers.append(answer)
        if len(group.rollouts) == group.expected:
            self._release(uid)
        elif group.timer is None:
            group.timer = loop.call_later(self._options.deadline, self._release, uid, True)
        return await answer

    def _release(self, uid: str, overdue: bool = False) -> None:
        group = self._waiting.pop(uid)
        if group.timer is not None:
            group.timer.cancel()
        if overdue:
            self._released.add(uid)
        task = asyncio.get_running_loop().create_task(self._settle(uid, group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle(self, uid: str, group: _Waiting) -> None:
        start = time.monotonic()
        try:
            plan = plan_group([rollout.text for rollout in group.rollouts], group.source, self._options)
            judgement = await self._ask(plan, group.source)
            self._watch(judgement)
            rewards = self._finish(uid, group, plan, judgement, time.monotonic() - start)
        except Exception as error:
            # Nothing may be skipped in silence: verl would drop the group and go on.
            if not self._stopped:
                self._stop(str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
            for answer in group.answers:
                if not answer.done():
                    answer.set_exception(error)
            return
        for answer, reward in zip(group.answers, rewards, strict=True):
            if not answer.done():
                answer.set_result(reward)

    def _finish(
        self, uid: str, group: _Waiting, plan: Plan, judgement: Judgement, seconds: float
    ) -> list[Reward]:
        lengths = [rollout.length for rollout in group.rollouts]
        values = group_rewards(plan, judgement, lengths, self._options)
        infos = extra_info(plan, judgement, lengths, group.source, self._options)
        for info in infos:
            info["missing_siblings"] = float(group.expected - len(group.rollouts))
        if self._ledger:
            self._ledger.write(group.step, uid, group.source, plan, judgement, lengths, values, seconds)
        return [Reward(value, info) for value, info in zip(values, infos, strict=True)]

    def _watch(self, judgement: Judgement) -> None:
        if judgement.outcome not in ("judged", "failed"):
            return
        self._failures.append(judgement.outcome == "failed")
        rate = statistics.fmean(self._failures)
        if len(self._failures) == self._failures.maxlen and rate > self._options.max_failure_rate:
            self._stop(
                f"{sum(self._failures)} of the last {len(self._failures)} judgements failed, more than "
                f"max_failure_rate {self._options.max_failure_rate} allows. The last reason: "
                f"{judgement.reason}. Train the judge longer, give its answers more tokens "
                "(max_response_length), or raise the rate"
            )
            raise UserError(str(self._stopped))

    def _stop(self, reason: str) -> None:
        self._stopped = " ".join(reason.split())
        print(f"{STOP_MARK} {self._stopped}", flush=True)


class Ledger:
    """Appends every group to a file of JSON lines; the first judged ones of each step with all texts."""

    def __init__(self, path: Path, texts_per_step: int) -> None:
        self._path, self._texts_per_step = path, texts_per_step
        self._with_texts: dict[int, int] = {}
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(
        self,
        step: int,
        uid: str,
        source: Source,
        plan: Plan,
        judgement: Judgement,
        lengths: Sequence[int],
        rewards: Sequence[float],
        seconds: float,
    ) -> None:
        """Append one group. Texts are the source, the candidates as shown and the judge's answer."""
        place = {candidate: index for index, candidate in enumerate(plan.candidates)}
        row: dict[str, Any] = {
            "step": step,
            "uid": uid,
            "outcome": judgement.outcome,
            "reason": judgement.reason,
            "retries": judgement.retries,
            "seconds": round(seconds, 3),
            "scores": judgement.scores,
            # Which candidate each rollout is (None: no translation), so equal translations can be seen.
            "candidate": [None if t is None else place[t] for t in plan.translations],
            "lengths": list(lengths),
            "rewards": list(rewards),
        }
        asked = judgement.outcome in ("judged", "failed")
        if asked and self._with_texts.get(step, 0) < self._texts_per_step:
            self._with_texts = {step: self._with_texts.get(step, 0) + 1}
            row |= {
                "src_text": source.text,
                "src_lang": source.language,
                "trg_lang": source.target_language,
                "candidates": plan.candidates,
                "answer": judgement.answer,
            }
            if source.chosen is not None:
                row["chosen"] = place.get(source.chosen)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


# ---------------------------------------------------------------- verl


class GroupRewardManager:
    """A reward manager of verl 0.9.1 (`reward.reward_manager.source: importlib`).

    Options are `reward.reward_kwargs` (`GroupOptions`). If verl serves a reward model, it is the judge; its
    lengths, top_p and top_k are `reward.reward_model.rollout.*`. Else the judge is the endpoint `judge.url`.
    `reward.num_workers` must be 1, or siblings would not meet. The rows need `extra_info` with what the task
    needs and split: a prompt has `rollout.n` rollouts if the split is "train", else `rollout.val_kwargs.n`
    (verl does not tell its reward managers that it validates).

    Args:
        config: verl's configuration.
        tokenizer: tokenizer of the policy.
        compute_score: required by verl's interface, unused.
        reward_router_address: host:port of the judge.
        reward_model_tokenizer: tokenizer of the judge.

    Raises:
        UserError: the configuration does not allow judging in groups.
    """

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
    ) -> None:
        if config.reward.num_workers != 1:
            raise UserError(
                f"reward.num_workers is {config.reward.num_workers}, expected 1: with more workers the "
                "rollouts of a prompt would never meet in one place"
            )
        options = GroupOptions.from_mapping(_plain(config.reward.get("reward_kwargs") or {}))
        self._tokenizer, self._task = tokenizer, options.task
        rollout = config.actor_rollout_ref.rollout
        self._train_size, self._validation_size = int(rollout.n), int(rollout.val_kwargs.n)
        if options.kind not in JUDGE_KINDS:
            ask: Ask = partial(score_plan, scorer=Scorer(options.scoring(None)))
        elif reward_router_address is None:
            ask = _ask_endpoint(options)
        else:
            server = config.reward.reward_model
            ask = _ask_served(options, server, reward_router_address, reward_model_tokenizer)
        self._rewards = GroupRewards(options, ask)

    async def run_single(self, data: Any) -> dict[str, Any]:
        """Reward of one rollout (the last row of `data`, a DataProto of one trajectory)."""
        item = data[-1:][0]
        values = item.non_tensor_batch
        info = values["extra_info"]
        responses = item.batch["responses"]
        length = int(item.batch["attention_mask"][-responses.shape[-1] :].sum())
        reward = await self._rewards.reward(
            str(values["uid"]),
            Rollout(self._tokenizer.decode(responses[:length], skip_special_tokens=True), length),
            read_source(info, self._task),
            expected=self._train_size if info["split"] == "train" else self._validation_size,
            step=int(values.get("global_steps", -1)),
        )
        return {"reward_score": reward.value, "reward_extra_info": reward.info}

    @classmethod
    def assemble_rm_scores(cls, data: Any, scores: Sequence[float]) -> Any:
        """Put each score on its response's last token: a tensor of the shape of `responses`."""
        import torch

        responses = data.batch["responses"]
        mask = data.batch["attention_mask"][:, -responses.shape[1] :]
        result = torch.zeros_like(responses, dtype=torch.float32)
        result[torch.arange(len(scores)), mask.sum(dim=1) - 1] = result.new_tensor(scores)
        return result


def read_source(info: Mapping[str, Any], task: Task) -> Source:
    """What a row of verl's data is about, from its extra_info."""
    if task == "translation":
        return Source(info["src_text"], info["src_lang"], info["trg_lang"], info.get("trg_text"))
    turns = tuple(dict(turn) for turn in info["turns"])
    return Source(info["question"], chosen=info["chosen"], turns=turns)


def _ask_endpoint(options: GroupOptions) -> Ask:
    """The judge behind `judge.url`, or JUDGE_API_URL."""
    return _ask_client(options, JudgeOptions.from_mapping({**_judge_defaults(options), **options.judge}))


def _ask_served(options: GroupOptions, server: Any, address: str, tokenizer: Any) -> Ask:
    """The judge that verl serves."""
    rollout = server.rollout
    if options.kind != "grrm":
        served: dict[str, Any] = {
            "model": server.model_path,
            "url": f"http://{address}/v1",
            "top_p": rollout.top_p,
            "extra": {"top_k": rollout.top_k},
            "max_tokens": rollout.response_length,
            "temperature": options.temperature,
            "timeout": options.timeout,
            "deadline": 4 * options.timeout,  # all calls of a step may stand in the server's queue
            "max_concurrency": 256,
            "required": True,
        }
        values = {**_judge_defaults(options), **options.judge, **served}
        return _ask_client(options, JudgeOptions.from_mapping(values, environment={}))

    def fits(prompt: str) -> bool:
        message = {"role": "user", "content": prompt}
        tokens = tokenizer.apply_chat_template(
            [message], add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return len(tokens) <= int(rollout.prompt_length)

    request = {
        "model": server.model_path,
        "top_p": rollout.top_p,
        "top_k": rollout.top_k,
        "max_tokens": rollout.response_length,
    }
    return partial(
        judge_group,
        options=options,
        render=load_ranking_prompt(Path(options.prompt)).render,
        judge=chat_judge(address, request, options.timeout),
        fits=fits,
    )


def _judge_defaults(options: GroupOptions) -> dict[str, Any]:
    return {
        "max_failure_share": options.max_failure_rate,
        "parse_retries": options.retries,
        "retry_temperature": options.retry_temperature,
    }


def _ask_client(options: GroupOptions, judge: JudgeOptions) -> Ask:
    if options.kind != "grrm":
        return partial(score_plan, scorer=Scorer(options.scoring(judge)))
    client = JudgeClient(judge)

    async def ask(prompt: str, temperature: float) -> str:
        (reply,) = await client.ask([prompt], temperature=temperature)
        if reply.text is None:
            raise ConnectionError(f"{reply.reason}: {reply.detail}")
        return reply.text

    render = load_ranking_prompt(Path(options.prompt)).render
    return partial(judge_group, options=options, render=render, judge=ask, fits=lambda prompt: True)


def _plain(value: Any) -> Any:
    """A configuration of verl as plain mappings."""
    return {key: _plain(value[key]) for key in value} if isinstance(value, Mapping) else value


def chat_judge(
    address: str,
    request: Mapping[str, Any],
    timeout: float,
    pauses: Sequence[float] = (1.0, 4.0, 10.0),
) -> Judge:
    """The judge that verl serves, behind an OpenAI-style chat endpoint; connections are kept and used again.

    A judge that cannot be reached is a UserError: it died, and without it there is nothing to learn from.

    Args:
        address: host:port.
        request: fields of every request besides messages and temperature.
        timeout: seconds to wait for an answer once the request is sent.
        pauses: seconds between the tries to reach it.
    """
    session: Any = None

    async def ask(prompt: str, temperature: float) -> str:
        nonlocal session
        import aiohttp

        if session is None:
            # No limit on the total time: it would count the wait for a free connection.
            limits = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=timeout)
            # All groups of a step may ask at once; the router behind the address has its own limits.
            connections = aiohttp.TCPConnector(limit=0)
            session = aiohttp.ClientSession(connector=connections, timeout=limits, trust_env=False)
        body = {**request, "messages": [{"role": "user", "content": prompt}], "temperature": temperature}
        for pause in (*pauses, None):
            try:
                async with session.post(f"http://{address}/v1/chat/completions", json=body) as response:
                    if response.status == HTTPStatus.BAD_GATEWAY:  # verl's router reaches nobody behind it
                        raise ConnectionError(await response.text())
                    response.raise_for_status()
                    answer = await response.json()
                return str(answer["choices"][0]["message"]["content"])
            except TimeoutError:  # it may be slow: some of aiohttp's are connection errors as well
                raise
            except (ConnectionError, aiohttp.ClientConnectionError) as error:
                if pause is None:
                    raise UserError(
                        f"the judge that verl serves cannot be reached at {address} any more "
                        f"({type(error).__name__}: {error}); see in this log what ended it, and run the same "
                        "command again"
                    ) from error
                await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    return ask


def compute_score(*_args: Any, **_kwargs: Any) -> float:
    """Never called: verl asks for a reward function wherever there is a generative judge.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("rollouts are rewarded in groups, by GroupRewardManager")
