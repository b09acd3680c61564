"""Groups of candidates, and what all ways to judge them share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grrm.languages import language_name
from grrm.tournament import Comparison


@dataclass(frozen=True)
class Group:
    """Candidates for the same question.

    Attributes:
        question: what the candidates answer (a conversation, a text to translate and so on).
        candidates: the texts to judge; equal ones are judged once.
        reference: a text that the judge may see but does not judge.
        src_lang: language of the question, if the candidates are its translations; else empty.
        trg_lang: language of the candidates, likewise.
        turns: the conversation that the candidates continue, if it has more than the question as the user's
            only turn; messages with role and content.
        chosen: the preferred response of the row, which whoever forms the group judges among the candidates.
        columns: all that the row holds, by name.
    """

    question: str
    candidates: tuple[str, ...]
    reference: str | None = None
    src_lang: str = ""
    trg_lang: str = ""
    turns: tuple[Mapping[str, str], ...] = ()
    chosen: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def messages(self) -> list[Mapping[str, str]]:
        """The conversation before the candidates."""
        return list(self.turns) or [{"role": "user", "content": self.question}]

    @property
    def context(self) -> dict[str, str]:
        """What prompts may name beside the texts: the languages of a translation."""
        if not (self.src_lang and self.trg_lang):
            return {}
        return {
            "source_language": language_name(self.src_lang),
            "target_language": language_name(self.trg_lang),
        }


@dataclass(frozen=True)
class GroupScores:
    """What became of a group.

    Attributes:
        scores: one per candidate, on the scale of what judges them, higher is better; None if nothing is
            known about it. A group in which there is nothing to choose, of one candidate or of equal ones,
            gets the middle of the scale.
        failures: why judgements are missing, one text each.
        unreadable: candidates without a score about which the judge did answer, by index: what they say may
            be why (`grrm.judges.questions.UNUSABLE`).
        comparisons: of pairs of distinct candidates, by index into `candidates` (pairwise only).
        conflicts: results that an optimal order contradicts (dgr only).
        answer: the judge's last answer about the whole group (GRRM only).
        retries: times that the group was asked about again (GRRM only).
        parts: points, 0 to 10, of each part by its name, one per candidate (mixtures only).
    """

    scores: tuple[float | None, ...]
    failures: tuple[str, ...] = ()
    unreadable: frozenset[int] = frozenset()
    comparisons: tuple[Comparison, ...] = ()
    conflicts: int = 0
    answer: str | None = None
    retries: int = 0
    parts: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """All groups of a step.

    Attributes:
        groups: in the order of the groups that were given.
        metrics: flat names -> numbers, for logs.
    """

    groups: tuple[GroupScores, ...]
    metrics: dict[str, float]


def distinct(candidates: Sequence[str]) -> list[int]:
    """The index of the first of each kind of candidate: ["x", "y", "x"] -> [0, 1]."""
    return list({text: index for index, text in reversed(list(enumerate(candidates)))}.values())[::-1]


def spread(
    candidates: Sequence[str], chosen: Sequence[int], scores: Sequence[float | None]
) -> tuple[float | None, ...]:
    """Give each candidate the score of the equal one among those `chosen`."""
    by_text = {candidates[index]: score for index, score in zip(chosen, scores, strict=True)}
    return tuple(by_text[text] for text in candidates)


def draw(*texts: str) -> int:
    """A number that looks random and depends on nothing but the texts."""
    digest = hashlib.sha256("\0".join(texts).encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8])


def shown_first(question: str, one: str, other: str) -> str:
    """Which of two responses is shown first where one order is asked for: drawn from the texts alone.

    So what says which is better (an index, a key such as "chosen") says nothing about the place.
    """
    low, high = sorted((one, other))
    return low if draw(question, low, high) % 2 == 0 else high


def share(part: float, whole: float) -> float:
    """`part` / `whole`; 0 of nothing."""
    return part / whole if whole else 0.0


def common_metrics(groups: Sequence[GroupScores], judgements: int, failed: int) -> dict[str, float]:
    """Metrics of every way to judge."""
    return {
        "groups": len(groups),
        "judgements": judgements,
        "failed": failed,
        "failed_share": share(failed, judgements),
        "candidates_without_score": sum(score is None for group in groups for score in group.scores),
        "groups_without_signal": sum(len({s for s in g.scores if s is not None}) < 2 for g in groups),
    }


def judged_singly(results: Sequence[GroupScores]) -> Judged:
    """What kinds answer that judge every candidate by itself, with the figures of all kinds."""
    scores = [score for result in results for score in result.scores]
    return Judged(
        tuple(results), common_metrics(results, len(scores), sum(score is None for score in scores))
    )
