"""The semantics that training uses unless it is to reproduce what was published.

- Candidates are shown in a random order that depends only on the seed, the source and the set of candidates,
  so that neither the arrival order nor a position bias of the judge enters the reward.
- A failed judgement is asked again at a higher temperature. If none succeeds, all valid rollouts of the group
  get the same neutral reward: no gradient among them, and more than an invalid rollout gets. A single
  candidate about which no answer came gets the mean of its siblings, which is no gradient either; one about
  which the judge did answer, but nothing that can be read, the lowest score among them: nothing is gained by
  breaking the judge.
- If all valid rollouts have the same translation there is nothing to judge: they get the neutral score.
- Each rollout pays its own length penalty.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from grrm.judges.groups import Group
from grrm.judges.translation import drawn_order, strict_scores
from grrm.prompts import REWARDED_KINDS
from grrm.rewards.group.options import NEUTRAL_SCORE, GroupOptions
from grrm.rewards.group.plan import Judgement, Plan, overlong_penalty
from grrm.rewards.rows import response_text
from grrm.texts import unmark


class Strict:
    """See the head of this module."""

    def __init__(self, options: GroupOptions) -> None:
        self._options = options
        self._order = drawn_order(options.seed)
        self._read = REWARDED_KINDS[options.form]
        self.retries = options.retries

    def extract(self, response: str) -> str | None:
        """The translation in the form that its prompt asks for, or a response without its thinking; without
        marks."""
        text = (response_text if self._options.task == "conversation" else self._read)(response)
        return None if text is None else unmark(text)

    def plan(self, responses: Sequence[str], source: Group) -> Plan:
        """The distinct ones and the chosen response, in an order drawn from their texts."""
        translations = tuple(self.extract(response) for response in responses)
        unique = {translation for translation in translations if translation}
        wanted = self._options.chosen == "among" or len(unique) == 1
        if unique and wanted and source.chosen is not None:
            unique.add(source.chosen)
        group = replace(source, candidates=tuple(sorted(unique)))
        return Plan(translations, tuple(group.candidates[index] for index in self._order(group)))

    def read(self, answer: str, count: int) -> Sequence[float]:
        """Every label once, whole numbers from 0 to 10, ranking and scores agreeing."""
        return strict_scores(answer, count)

    def rewards(self, plan: Plan, judgement: Judgement, lengths: Sequence[int]) -> list[float]:
        """Score x score_scale - length penalty."""
        options, scores = self._options, judgement.score_of(plan)
        known = [scores[text] for text in plan.translations if text in scores]
        unknown = statistics.fmean(known) if known else NEUTRAL_SCORE
        lowest = min(known, default=NEUTRAL_SCORE)

        def reward(translation: str | None, length: int) -> float:
            if translation == "" and options.empty_reward is not None:
                return options.empty_reward
            if not translation:
                return options.default_reward
            if judgement.outcome == "failed":
                return options.neutral_reward
            score = scores.get(translation, lowest if translation in judgement.unreadable else unknown)
            return score * options.score_scale - overlong_penalty(length, options)

        return [reward(*member) for member in zip(plan.translations, lengths, strict=True)]
