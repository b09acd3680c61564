"""Every way to score a group of candidates, behind one name: `reward.kind`.

    judge = JudgeOptions(model="judge", url="http://127.0.0.1:8000/v1")
    options = ScoringOptions("pairwise_dgr", prompt="config/prompts/judge_pairwise.yaml", judge=judge)
    async with Scorer(options) as scorer:
        result = await scorer.score_group(Group("What is 2 + 2?", ("4", "5")))
        result.scores  # one per candidate, on the kind's own scale; None if nothing is known about it
        scorer.points(result.scores)  # the same on one scale for all kinds, 0 to 10

Importable without verl and torch. A failure is None with a reason, never a score.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, TypeAlias, cast, get_args

from grrm.asking.client import JudgeClient
from grrm.asking.options import JudgeOptions
from grrm.files import UserError
from grrm.judges.groups import Group, GroupScores, Judged, common_metrics
from grrm.judges.listwise import judge_listwise
from grrm.judges.pairwise import judge_pairwise
from grrm.judges.pointwise import Scale, judge_pointwise
from grrm.judges.prompts import Kind as PromptKind
from grrm.judges.prompts import load_judge_prompt
from grrm.judges.translation import judge_quality, judge_ranking
from grrm.prompts import (
    TRANSLATION_KINDS,
    load_pointwise_prompt,
    load_ranking_prompt,
    load_translation_prompt,
)
from grrm.rewards.model_scores import ModelOptions, ModelScores
from grrm.rewards.text_metrics import score_with_bleu, score_with_chrf
from grrm.tournament import Method

Kind: TypeAlias = Literal[
    "grrm",  # one call per group of translations: ranking and scores, 0 to 10
    "sqm",  # one call per translation: 0 to 10
    "pairwise_winrate",  # two calls per pair (one without swap): -1 to 1
    "pairwise_copeland",
    "pairwise_dgr",
    "pairwise_elo",
    "pointwise",  # one call per candidate: -1 to 1
    "listwise",  # one call per group: -1 to 1
    "bradley_terry",  # logit of a sequence-classification checkpoint
    "bleu",  # 0 to 100
    "chrf",  # 0 to 100
    "comet",  # about 0 to 1
]

KINDS: tuple[Kind, ...] = get_args(Kind)
PAIRWISE = frozenset({"pairwise_winrate", "pairwise_copeland", "pairwise_dgr", "pairwise_elo"})
JUDGE_KINDS = PAIRWISE | {"grrm", "sqm", "pointwise", "listwise"}
MODEL_KINDS = frozenset({"bradley_terry", "comet"})
REFERENCE_KINDS = frozenset({"bleu", "chrf", "comet"})
"""Compare with a reference (comet unless the checkpoint does without)."""
TRANSLATION_ONLY = frozenset({"grrm", "sqm", "bleu", "chrf", "comet"})

MIDDLE = 5.0
"""Points of a candidate about which nothing is known."""


@dataclass(frozen=True)
class ScoringOptions:
    """How groups are scored.

    Raises:
        UserError: the kind is unknown, or what it needs is missing.
    """

    kind: Kind
    prompt: str = ""
    """Prompt file: of kind ranking_score (grrm), sqm, or judge_pairwise, judge_pointwise and judge_listwise,
    in whose place path/to/file.py:function may stand. bradley_terry: a translation prompt, which makes the
    user's turn; empty: the question as it is."""
    swap: bool = True
    """Ask about each pair in both orders; answers that disagree are a tie (pairwise)."""
    scale: Scale = "absolute"
    """How 1 to 10 becomes -1 to 1 (pointwise): absolute keeps the level; group stretches each group."""
    reference: bool = False
    """Show the judge the reference, if there is one (pairwise, pointwise, listwise)."""
    judge: JudgeOptions | None = None
    """Whom to ask (kinds with a judge)."""
    model: ModelOptions | None = None
    """Checkpoint (bradley_terry, comet)."""

    def __post_init__(self) -> None:
        """Check that what the kind needs is there."""
        if self.kind not in KINDS:
            raise UserError(f"reward: kind is {self.kind!r}, expected one of {', '.join(KINDS)}")
        if self.scale not in get_args(Scale):
            raise UserError(f"reward: scale is {self.scale!r}, expected absolute or group")
        if self.kind in JUDGE_KINDS and self.judge is None:
            raise UserError(f"reward: kind {self.kind} asks a judge; set judge.url and judge.model")
        if self.kind in JUDGE_KINDS and not self.prompt:
            raise UserError(f"reward: kind {self.kind} needs a prompt; name its file")
        if self.kind in MODEL_KINDS and self.model is None:
            raise UserError(f"reward: kind {self.kind} needs a checkpoint; set model.model")

    @property
    def relative(self) -> bool:
        """Whether scores say something within their group only, so that a single candidate has none."""
        if self.kind == "pointwise":
            return self.scale == "group"
        return self.kind in PAIRWISE | {"grrm", "listwise", "bradley_terry"}


class Scorer:
    """Scores groups of candidates by one kind; to be used in one event loop, `async with` or with `close`.

    All groups, also those of concurrent calls, share one pool of connections to the judge, or one process.

    Args:
        options: the kind and what it needs.
        environment: where the judge's API key is looked up.

    Raises:
        UserError: the prompt cannot be used.
    """

    def __init__(self, options: ScoringOptions, environment: Mapping[str, str] = os.environ) -> None:
        self.options = options
        self._environment = environment
        self._client: JudgeClient | None = None
        self._model: ModelScores | None = None
        kind, prompt = options.kind, options.prompt
        if kind == "grrm":
            self._ranking = load_ranking_prompt(prompt)
        elif kind == "sqm":
            self._quality = load_pointwise_prompt(prompt)
        elif kind in JUDGE_KINDS:
            name = "pairwise" if kind in PAIRWISE else kind
            self._prompt = load_judge_prompt(prompt, cast(PromptKind, f"judge_{name}"))
        elif kind == "bradley_terry":
            self._request = load_translation_prompt(prompt, *TRANSLATION_KINDS) if prompt else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close connections and end processes."""
        if self._client is not None:
            await self._client.__aexit__(None, None, None)
            self._client = None
        if self._model is not None:
            self._model.close()
            self._model = None

    @property
    def ledger(self) -> dict[str, float]:
        """What the judge was asked so far: calls, tokens, cost, failures (`grrm.asking.ledger.Counts`)."""
        return self._client.counts.as_dict() if self._client is not None else {}

    async def score_group(self, group: Group) -> GroupScores:
        """Scores of one group; raises what `score_groups` raises."""
        return (await self.score_groups([group])).groups[0]

    async def score_groups(self, groups: Sequence[Group]) -> Judged:
        """Scores of all groups, on the kind's own scale (`Kind`), and figures about them.

        A candidate about which nothing is known has the score None, and the group a reason. Scores that are
        `relative` tell nothing if there is nothing to choose: then they are the middle of their scale.

        Raises:
            UserError: too many judgements failed, a process that scores ended, or a tokeniser is missing.
        """
        kind = self.options.kind
        if kind in ("bleu", "chrf"):
            results = (score_with_bleu if kind == "bleu" else score_with_chrf)(groups)
            return _judged(results)
        if kind in MODEL_KINDS:
            return _judged(await self._score_with_model(groups))
        if not self.options.reference:
            groups = [_without_reference(group) for group in groups]
        client = self._judge()
        if kind == "grrm":
            return await judge_ranking(client, groups, self._ranking)
        if kind == "sqm":
            return await judge_quality(client, groups, self._quality)
        if kind == "pointwise":
            return await judge_pointwise(client, groups, self._prompt, self.options.scale)
        if kind == "listwise":
            return await judge_listwise(client, groups, self._prompt)
        method = cast(Method, kind.removeprefix("pairwise_"))
        return await judge_pairwise(client, groups, self._prompt, method, self.options.swap)

    def points(self, scores: Sequence[float | None]) -> list[float | None]:
        """Scores of one group on the scale of all kinds, 0 to 10.

        Judges' and metrics' scales are shifted and stretched (COMET may leave 0 to 1, and then 0 to 10). A
        Bradley-Terry score is defined up to a constant per question; its points are ten times the probability
        that the model prefers the candidate to one with its group's mean score.
        """
        kind = self.options.kind
        if kind == "bradley_terry":
            known = [score for score in scores if score is not None]
            mean = math.fsum(known) / len(known) if known else 0.0
            return [None if score is None else 10 * _sigmoid(score - mean) for score in scores]
        low, high = _RANGES[kind]
        return [None if score is None else 10 * (score - low) / (high - low) for score in scores]

    def _judge(self) -> JudgeClient:
        if self._client is None:
            assert self.options.judge is not None
            self._client = JudgeClient(self.options.judge, self._environment)
        return self._client

    async def _score_with_model(self, groups: Sequence[Group]) -> list[GroupScores]:
        if self._model is None:
            assert self.options.model is not None
            self._model = ModelScores(
                "comet" if self.options.kind == "comet" else "bradley_terry", self.options.model
            )
        items = [self._item(group, text) for group in groups for text in group.candidates]
        scored = iter(await self._model.score(items))
        results = []
        for group in groups:
            own = [next(scored) for _ in group.candidates]
            failures = [f"candidate {i}: {reason}" for i, (score, reason) in enumerate(own) if score is None]
            results.append(GroupScores(tuple(score for score, _ in own), tuple(failures)))
        return results

    def _item(self, group: Group, text: str) -> dict[str, object]:
        if self.options.kind == "comet":
            return {"src": group.question, "mt": text, "ref": group.reference}
        messages = group.messages
        if self._request is not None:
            request = self._request.render(
                src_text=group.question, src_lang=group.src_lang, trg_lang=group.trg_lang
            )
            messages = [{"role": "user", "content": request}]
        return {"messages": [*messages, {"role": "assistant", "content": text}]}


_RANGES: dict[Kind, tuple[float, float]] = {
    "grrm": (0, 10),
    "sqm": (0, 10),
    "pairwise_winrate": (-1, 1),
    "pairwise_copeland": (-1, 1),
    "pairwise_dgr": (-1, 1),
    "pairwise_elo": (-1, 1),
    "pointwise": (-1, 1),
    "listwise": (-1, 1),
    "bleu": (0, 100),
    "chrf": (0, 100),
    "comet": (0, 1),
}


def _sigmoid(value: float) -> float:
    return 0.5 * (1 + math.tanh(value / 2))


def _without_reference(group: Group) -> Group:
    return Group(group.question, group.candidates, None, group.src_lang, group.trg_lang, group.turns)


def _judged(results: Sequence[GroupScores]) -> Judged:
    """Figures of kinds that are computed: one judgement per candidate."""
    scores = [score for result in results for score in result.scores]
    return Judged(
        tuple(results), common_metrics(results, len(scores), sum(score is None for score in scores))
    )
