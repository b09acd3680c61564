"""A ranking as data: reading it, writing it, comparing two of them.

A ranking is a list of sets of candidate labels, best first; labels in one set are tied. Scores map labels to
numbers, higher is better. The answer of a group relative reward model (GRRM) holds both, after an analysis:

    {analysis}

    ### Final Ranking:

    B > A = C

    ### Scores:

    B: 9, A: 5, C: 5
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import combinations
from numbers import Integral
from string import ascii_uppercase

from grrm.extract import after_thinking

MIN_CANDIDATES = 2
MAX_CANDIDATES = len(ascii_uppercase)
MIN_SCORE = 0
MAX_SCORE = 10

RANKING_HEADER = "### Final Ranking:"
SCORES_HEADER = "### Scores:"

Ranking = Sequence[AbstractSet[str]]
Scores = Mapping[str, float]

_SIGN = re.compile(r"[ \t]*([>=])[ \t]*")
_RANKING_LINE = re.compile(r"[A-Z](?: [>=] [A-Z])*")
# ASCII digits only, no sign and no leading zero: int() would also take "２", "+2" and "2_0".
_SCORE = re.compile(r"\s*([A-Z])\s*:\s*(10|[0-9])\s*")
_DECIMAL_SCORE = re.compile(r"\s*([A-Z])\s*:\s*(10(?:\.0+)?|[0-9](?:\.[0-9]+)?)\s*")
# Marks of emphasis, and "8/10" for 8: habits of models that were not trained on this form.
_EMPHASIS = re.compile(r"[*_`#]")
_OUT_OF_TEN = re.compile(r"(?<=[0-9])\s*/\s*10(?![0-9.])")


@dataclass(frozen=True)
class RankingAnswer:
    """A well-formed answer.

    Attributes:
        analysis: the text before the ranking or the scores; never empty where both are asked for.
        ranking: sets of labels, best first.
        scores: label -> 0..10, in the order A, B, C...; where none are asked for, the levels of the ranking
            (`rank_levels`).
    """

    analysis: str
    ranking: list[set[str]]
    scores: dict[str, float]


@dataclass(frozen=True)
class InvalidAnswer:
    """An answer that cannot be used.

    Attributes:
        reason: one word for counting: incomplete, header, analysis, ranking, scores or contradiction.
        detail: what was found, in words.
    """

    reason: str
    detail: str


_ENDLESS = InvalidAnswer("incomplete", "the thinking never ends")


def labels(n: int) -> list[str]:
    """The labels of `n` candidates by position: A, B, C...

    Raises:
        ValueError: `n` is not in 1..26.
    """
    if not 1 <= n <= MAX_CANDIDATES:
        raise ValueError(f"{n} candidates; expected 1 to {MAX_CANDIDATES}")
    return list(ascii_uppercase[:n])


def is_score(value: object) -> bool:
    """Whether a value is an integer from 0 to 10; true and false are not."""
    return (
        isinstance(value, Integral) and not isinstance(value, bool) and MIN_SCORE <= int(value) <= MAX_SCORE
    )


def parse_ranking(text: str) -> list[set[str]]:
    """Read "B > A = C" as [{"B"}, {"A", "C"}]; spaces and tabs around labels and signs do not matter.

    Raises:
        ValueError: anything but single capital letters, each once, joined by ">" and "="; says what.
    """
    parts = _SIGN.split(text.strip())
    ranking: list[set[str]] = []
    seen: set[str] = set()
    for label, sign in zip(parts[::2], [">", *parts[1::2]], strict=True):
        if len(label) != 1 or label not in ascii_uppercase:
            raise ValueError(f"ranking {text!r}: {label!r} is not a candidate label (one letter A to Z)")
        if label in seen:
            raise ValueError(f"ranking {text!r}: candidate {label} appears more than once")
        seen.add(label)
        if sign == ">":
            ranking.append({label})
        else:
            ranking[-1].add(label)
    return ranking


def parse_scores(text: str, candidates: int, *, decimals: bool = False) -> dict[str, float]:
    """Read "B: 9, A: 5, C: 5" as {"A": 5, "B": 9, "C": 5}: any order in, A, B, C... out.

    Args:
        text: the line of scores.
        candidates: how many there are.
        decimals: whether "8.5" is a score too; whole numbers become integers in any case.

    Raises:
        ValueError: an entry is not "<label>: <0..10>", or the labels are not those of all candidates, once.
    """
    scores: dict[str, float] = {}
    for entry in text.split(","):
        match = (_DECIMAL_SCORE if decimals else _SCORE).fullmatch(entry)
        if match is None:
            kind = "number" if decimals else "integer"
            raise ValueError(
                f"score {entry.strip()!r} is not '<label>: <{kind} from {MIN_SCORE} to {MAX_SCORE}>'"
            )
        label, score = match.groups()
        if label in scores:
            raise ValueError(f"candidate {label} is scored more than once")
        scores[label] = int(float(score)) if float(score).is_integer() else float(score)
    expected = labels(candidates)
    if sorted(scores) != expected:
        raise ValueError(f"scores for {', '.join(sorted(scores))}; expected {', '.join(expected)}")
    return {label: scores[label] for label in expected}


def rank_scores(scores: Scores) -> list[set[str]]:
    """The ranking that scores say: {"A": 5, "B": 9, "C": 5} -> [{"B"}, {"A", "C"}]."""
    return [
        {label for label in scores if scores[label] == level}
        for level in sorted(set(scores.values()), reverse=True)
    ]


def rank_levels(ranking: Ranking) -> dict[str, int]:
    """The levels that a ranking says, 0 for the worst: [{"B"}, {"A", "C"}] -> {"B": 1, "A": 0, "C": 0}.

    Raises:
        ValueError: a label stands in two places.
    """
    levels = {label: level for level, tied in enumerate(reversed(ranking)) for label in tied}
    if len(levels) != sum(len(tied) for tied in ranking):
        raise ValueError(f"ranking {ranking!r}: a candidate appears more than once")
    return levels


def format_ranking(scores: Scores) -> str:
    """Write scores as a ranking: {"A": 5, "B": 9, "C": 5} -> "B > A = C"; ties in the order of labels.

    Raises:
        ValueError: there are no scores.
    """
    if not scores:
        raise ValueError("no scores to rank")
    return " > ".join(" = ".join(sorted(tied)) for tied in rank_scores(scores))


def format_scores(scores: Scores) -> str:
    """Write scores in ranking order: {"A": 5, "B": 9, "C": 5} -> "B: 9, A: 5, C: 5"."""
    return ", ".join(f"{label}: {scores[label]}" for tied in rank_scores(scores) for label in sorted(tied))


def ranking_accuracy(predicted: Ranking | Scores, reference: Ranking | Scores) -> float:
    """Share, in [0, 1], of candidate pairs in the same relation (better, worse, tied) on both sides.

    The paper's ranking accuracy of one group; a tie on one side only counts as wrong. Each side is a ranking
    or scores.

    Raises:
        ValueError: the sides have different labels, fewer than two, or a score that is not a finite number.
    """
    ours, theirs = _levels(predicted), _levels(reference)
    if ours.keys() != theirs.keys():
        raise ValueError(f"candidates differ: {sorted(ours)} predicted, {sorted(theirs)} in the reference")
    if len(ours) < MIN_CANDIDATES:
        raise ValueError(
            f"{len(ours)} candidates have no pairs to compare; expected {MIN_CANDIDATES} or more"
        )
    same = [relation(ours[x], ours[y]) == relation(theirs[x], theirs[y]) for x, y in pairs(ours)]
    return sum(same) / len(same)


def pairs(scores: Scores) -> Iterator[tuple[str, str]]:
    """All n(n-1)/2 pairs of labels, each once, in label order."""
    return combinations(sorted(scores), 2)


def relation(x: float, y: float) -> int:
    """1, 0 or -1 as x is better than, tied with or worse than y."""
    return (x > y) - (x < y)


def parse_answer(text: str, candidates: int) -> RankingAnswer | InvalidAnswer:
    """Read the whole answer of a GRRM about `candidates` candidates.

    The last four non-empty lines must be the two headers, each followed by its line; blank lines between
    them do not matter, nor does what the analysis contains. Thinking is left out, but may stand for the
    analysis. The ranking is written with single spaces ("B > A = C"): the form which is trained, and the only
    one that the published reader takes. It must agree with the scores, which may come in any order.

    Returns:
        the parsed answer, or the reason why it cannot be used.

    Raises:
        ValueError: `candidates` is not in 1..26 (a mistake of the caller's, not of the model's).
    """
    return _parse_blocks(text, candidates, tolerant=False)


def read_answer(text: str, candidates: int) -> RankingAnswer | InvalidAnswer:
    """Read the whole answer of any model about `candidates` candidates, as `parse_answer` does for a GRRM.

    Marks of emphasis, spaces in the ranking, "8/10" for 8, 8.5, and a header without its colon do not matter.
    Labels, range, and the agreement of ranking and scores do.
    """
    return _parse_blocks(text, candidates, tolerant=True)


def _parse_blocks(text: str, candidates: int, *, tolerant: bool) -> RankingAnswer | InvalidAnswer:
    expected = set(labels(candidates))
    answer = after_thinking(text)
    if answer is None:
        return _ENDLESS
    analysis, lines = _split_last_lines(answer, 4)
    if len(lines) < 4:
        return InvalidAnswer(
            "incomplete", f"{len(lines)} non-empty lines; expected an analysis and two blocks"
        )
    tidy = _tidy if tolerant else str.strip
    ranking_header, ranking_line, scores_header, scores_line = map(tidy, lines)
    for header, wanted in ((ranking_header, RANKING_HEADER), (scores_header, SCORES_HEADER)):
        if header != wanted and not (tolerant and header.rstrip(" :") == _tidy(wanted).rstrip(" :")):
            return InvalidAnswer("header", f"{header!r} where {wanted!r} should stand")
    analysis = analysis or _thinking(text, answer)
    if not analysis:
        return InvalidAnswer("analysis", "nothing before the final ranking")
    if not tolerant and _RANKING_LINE.fullmatch(ranking_line) is None:
        return InvalidAnswer("ranking", f"{ranking_line!r} is not written like 'B > A = C'")
    try:
        ranking = parse_ranking(ranking_line)
    except ValueError as error:
        return InvalidAnswer("ranking", str(error))
    if set().union(*ranking) != expected:
        return InvalidAnswer(
            "ranking", f"{ranking_line!r} does not rank exactly {', '.join(sorted(expected))}"
        )
    try:
        scores = parse_scores(scores_line, candidates, decimals=tolerant)
    except ValueError as error:
        return InvalidAnswer("scores", str(error))
    if ranking != rank_scores(scores):
        return InvalidAnswer(
            "contradiction", f"ranking {ranking_line!r}, but the scores say {format_ranking(scores)!r}"
        )
    return RankingAnswer(analysis, ranking, scores)


def parse_score_answer(text: str, candidates: int) -> RankingAnswer | InvalidAnswer:
    """Read an answer whose last non-blank line is "A: 5, B: 9, C: 5", in any order of labels.

    Markdown's marks of emphasis around them do not matter, "9/10" is 9, and 8.5 is a score.

    Returns:
        the parsed answer, with the ranking that the scores say, or the reason why it cannot be used.

    Raises:
        ValueError: `candidates` is not in 1..26.
    """
    labels(candidates)
    if (answer := after_thinking(text)) is None:
        return _ENDLESS
    analysis, line = _split_last_line(answer)
    if not line:
        return InvalidAnswer("incomplete", "an empty answer")
    try:
        scores = parse_scores(_tidy(line), candidates, decimals=True)
    except ValueError as error:
        return InvalidAnswer("scores", str(error))
    return RankingAnswer(analysis, rank_scores(scores), scores)


def parse_ranking_answer(text: str, candidates: int) -> RankingAnswer | InvalidAnswer:
    """Read an answer whose last non-blank line is "B > A = C"; marks of emphasis around it do not matter.

    Returns:
        the parsed answer, or the reason why it cannot be used.

    Raises:
        ValueError: `candidates` is not in 1..26.
    """
    expected = labels(candidates)
    if (answer := after_thinking(text)) is None:
        return _ENDLESS
    analysis, line = _split_last_line(answer)
    if not line:
        return InvalidAnswer("incomplete", "an empty answer")
    try:
        ranking = parse_ranking(_EMPHASIS.sub("", line))
    except ValueError as error:
        return InvalidAnswer("ranking", str(error))
    levels = rank_levels(ranking)
    if sorted(levels) != expected:
        return InvalidAnswer("ranking", f"{line!r} does not rank exactly {', '.join(expected)}")
    return RankingAnswer(
        analysis.removesuffix(RANKING_HEADER).strip(), ranking, {label: levels[label] for label in expected}
    )


def _thinking(text: str, answer: str) -> str:
    """What a model thought that wrote no analysis beside it; empty if it did not think."""
    return text.strip().removesuffix(answer.strip()).strip()


def _tidy(line: str) -> str:
    return _OUT_OF_TEN.sub("", _EMPHASIS.sub("", line)).strip()


def _split_last_lines(text: str, count: int) -> tuple[str, list[str]]:
    """What stands before the last non-blank lines, at most so many, and these: it is read from its end."""
    lines: list[str] = []
    end = len(text)
    while end > 0:
        start = text.rfind("\n", 0, end) + 1
        line = text[start:end].rstrip()
        if line and len(lines) == count:
            return text[: start + len(line)].lstrip(), lines[::-1]
        if line:
            lines.append(line.lstrip())
        end = start - 1
    return "", lines[::-1]


def _split_last_line(text: str) -> tuple[str, str]:
    analysis, _, line = text.strip().rpartition("\n")
    return analysis.strip(), line.strip()


def _levels(side: Ranking | Scores) -> Scores:
    if not isinstance(side, Mapping):
        return rank_levels(side)
    for label, score in side.items():
        if not math.isfinite(score):
            raise ValueError(f"score of candidate {label} is {score}; expected a finite number")
    return side
