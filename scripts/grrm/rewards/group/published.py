"""The semantics as published (arXiv 2602.14028, reward_utils/rm_lib.py of NJUNLP/GRRM c000509), its slips
included; only for kind grrm.

First-seen order; no retry; a failed judgement gives every translation the score `default_reward`, which is
then scaled like a score; one unique translation, or a judge prompt that is too long, gives every rollout
`default_reward`; copies pay the length penalty of the first copy.
"""

from __future__ import annotations

from collections.abc import Sequence

from grrm.judges.groups import Group
from grrm.judges.translation import PROMPT_TOO_LONG
from grrm.ranking import labels
from grrm.rewards.group.options import GroupOptions
from grrm.rewards.group.plan import Judgement, Plan, overlong_penalty


class Published:
    """See the head of this module."""

    retries = 0

    def __init__(self, options: GroupOptions) -> None:
        self._options = options

    def extract(self, response: str) -> str | None:
        """See `published_code_block`."""
        return published_code_block(response)

    def plan(self, responses: Sequence[str], source: Group) -> Plan:
        """The distinct translations in the order in which they came."""
        translations = tuple(self.extract(response) for response in responses)
        return Plan(translations, tuple(dict.fromkeys(text for text in translations if text is not None)))

    def read(self, answer: str, count: int) -> Sequence[float]:
        """See `published_scores`."""
        return published_scores(answer, count)

    def rewards(self, plan: Plan, judgement: Judgement, lengths: Sequence[int]) -> list[float]:
        """Score x score_scale - length penalty of the first copy."""
        options = self._options
        if judgement.outcome in ("identical", "invalid") or judgement.reason == PROMPT_TOO_LONG:
            return [options.default_reward] * len(lengths)
        scores = judgement.score_of(plan)
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


def published_code_block(text: str) -> str | None:
    """The translation as published: exactly two fences, the second at the end; a language tag stays in it."""
    text = text.strip()
    parts = text.split("```")
    if len(parts) != 3 or parts[2]:
        return None
    return parts[1].strip() or None


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
