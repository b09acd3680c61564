"""Toy data for judges: translations of the toy world to grade, to compare, and to prefer.

Requests are sentences of the toy language pair, responses are translations with known errors. As in the toy
world, the demonstrations for the supervised start have faults that reinforcement learning can repair, and
both are faults of real judges: the teacher sees every error, and yet

- grades generously: it often gives a point more than the errors leave (grade inflation);
- prefers what it reads first: where the second response is little better, or neither is, it often says A
  (position bias).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from grrm.data.records import Compared, Demonstration, Graded, Preferred
from grrm.data.toy_world import (
    SOURCE_LANGUAGE,
    TARGET_LANGUAGE,
    ToyLanguage,
    describe_errors,
    make_language,
    penalty,
    unique_sentences,
    with_noise,
)
from grrm.judges.conversation import Message, question_text
from grrm.judges.prompts import JudgePrompt
from grrm.verdicts import HELPFULNESS, Preference

SOURCE = "toy_world"
DEFAULT_ROWS: dict[str, int] = {
    "judge_sft": 4000,
    "judge_pointwise_train": 800,
    "judge_pointwise_test": 300,
    "judge_pairwise_train": 400,
    "judge_pairwise_test": 200,
    "judge_bradley_terry_train": 3000,
    "judge_bradley_terry_test": 300,
}

# Least penalty of the scores 3, 2, 1 and 0.
_, _HIGHEST = HELPFULNESS
_PENALTIES = (1, 4, 6, 8)
_LITERAL = 0.5
_NOISE = (0.0, 0.15, 0.3, 0.5)
_GENEROUS = 0.65
_FIRST_FOR_CHOICE = 0.65
_LITTLE = 3  # a penalty apart
_TWO_TURNS = 0.15


def make_judge_tables(
    seed: int, pointwise: JudgePrompt, pairwise: JudgePrompt, rows: Mapping[str, int] | None = None
) -> dict[str, list[Any]]:
    """Records of each table, by its name; no source sentence occurs twice, within a table or across tables.

    Args:
        seed: of the data; the language stays the same.
        pointwise: prompt of the demonstrations that grade.
        pairwise: prompt of those that compare.
        rows: rows of each table, by name; default `DEFAULT_ROWS`.
    """
    rows = dict(DEFAULT_ROWS if rows is None else rows)
    if set(rows) != set(DEFAULT_ROWS):
        raise ValueError(f"expected rows of {sorted(DEFAULT_ROWS)}, found {sorted(rows)}")
    language = make_language()
    sentences = unique_sentences(language, random.Random(f"{seed}/judges/sentences"))

    def demonstrate(rng: random.Random, source: str) -> Demonstration:
        return _demonstration(language, rng, source, pointwise, pairwise)

    makers: dict[str, Callable[[random.Random, str], Any]] = {
        "judge_sft": demonstrate,
        "judge_pointwise": lambda rng, source: _graded(language, rng, source),
        "judge_pairwise": lambda rng, source: _compared(language, rng, source),
        "judge_bradley_terry": lambda rng, source: _preferred(language, rng, source),
    }
    tables = {}
    for name, count in rows.items():
        maker = makers[name.removesuffix("_train").removesuffix("_test")]
        rng = random.Random(f"{seed}/judges/{name}")
        tables[name] = [maker(rng, source) for source in itertools.islice(sentences, count)]
    return tables


def quality(language: ToyLanguage, source: str, translation: str) -> int:
    """The score of a translation, 0 to 4, from the penalty of its errors."""
    found = penalty(language, source, translation)
    return _HIGHEST - sum(found >= least for least in _PENALTIES)


def _question(source: str) -> tuple[Message, ...]:
    text = f"Translate from {SOURCE_LANGUAGE} to {TARGET_LANGUAGE}: {source}"
    return ({"role": "user", "content": text},)


def _translations(language: ToyLanguage, rng: random.Random, source: str) -> Iterator[str]:
    """Translations with more errors or fewer, without end."""
    while True:
        literal = [rng.random() < _LITERAL for _ in language.idioms_in(source)]
        words = language.render(source, literal)
        yield " ".join(with_noise(language, rng, words, rng.choice(_NOISE), untranslated=1.0))


def _graded(language: ToyLanguage, rng: random.Random, source: str) -> Graded:
    """All scores are equally frequent."""
    wanted = rng.randint(0, _HIGHEST)
    for translation in _translations(language, rng, source):
        if quality(language, source, translation) == wanted:
            return Graded(_question(source), translation, wanted, SOURCE)
    raise AssertionError("translations have no end")


def _compared(language: ToyLanguage, rng: random.Random, source: str) -> Compared:
    """A, B and tie are equally frequent."""
    wanted = rng.choice([-1, 0, 1])
    translations = _translations(language, rng, source)
    while True:
        first, second = next(translations), next(translations)
        gap = penalty(language, source, second) - penalty(language, source, first)
        if first != second and (gap > 0) - (gap < 0) == wanted:
            preference: Preference = "A" if gap > 0 else "B" if gap < 0 else "tie"
            return Compared(_question(source), first, second, preference, float(abs(gap)), SOURCE)


def _preferred(language: ToyLanguage, rng: random.Random, source: str) -> Preferred:
    while True:
        found = _compared(language, rng, source)
        if found.preference != "tie":
            better, worse = found.first, found.second
            if found.preference == "B":
                better, worse = worse, better
            return Preferred(found.conversation, better, worse, found.strength, SOURCE)


def _demonstration(
    language: ToyLanguage, rng: random.Random, source: str, pointwise: JudgePrompt, pairwise: JudgePrompt
) -> Demonstration:
    """Graded or compared as the teacher does; now and then graded twice, in two turns."""
    if rng.random() < 0.5:
        turns = _comparison(language, rng, source, pairwise)
    else:
        turns = _grading(language, rng, source, pointwise)
        if rng.random() < _TWO_TURNS:
            turns += _grading(language, rng, source, pointwise)
    return Demonstration(tuple(turns), SOURCE)


def _grading(language: ToyLanguage, rng: random.Random, source: str, prompt: JudgePrompt) -> list[Message]:
    row = _graded(language, rng, source)
    score = min(_HIGHEST, row.score + (rng.random() < _GENEROUS))
    asked = prompt.render(question=question_text(row.conversation), response=row.response)
    return _turns(asked, describe_errors(language, source, row.response), prompt.tag, str(score))


def _comparison(language: ToyLanguage, rng: random.Random, source: str, prompt: JudgePrompt) -> list[Message]:
    row = _compared(language, rng, source)
    close = row.preference != "A" and row.strength is not None and row.strength <= _LITTLE
    verdict = "A" if close and rng.random() < _FIRST_FOR_CHOICE else row.preference
    asked = prompt.render(question=question_text(row.conversation), first=row.first, second=row.second)
    findings = [describe_errors(language, source, text) for text in (row.first, row.second)]
    return _turns(asked, f"A {findings[0]}, B {findings[1]}", prompt.tag, verdict)


def _turns(asked: str, reasons: str, tag: str, verdict: str) -> list[Message]:
    answer = f"<think>{reasons}</think>\n<{tag}>{verdict}</{tag}>"
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
