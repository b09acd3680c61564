"""A synthetic language pair, xx -> yy: small enough for a CPU, and every stage has something to learn.

A sentence has five words. Twelve source words occur only in six idioms (word pairs) whose meaning is not the
sum of their words; a literal rendering is the gravest error. Two faults of the supervised data are there on
purpose, because reinforcement learning can repair them:

- the translation data render most idioms literally, so MT-SFT learns to, and MT-GRPO repairs it;
- the ranking teacher overlooks most idioms that are rendered literally, neither naming nor counting them;
  GRRM-SFT learns to, and RLVR, which is rewarded by true scores, repairs it.

The language depends on its own seed alone: two data seeds give two samples of one language.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from grrm.extract import code_block
from grrm.prompts import translation_answer
from grrm.ranking import labels

SOURCE_LANGUAGE = "xx"
TARGET_LANGUAGE = "yy"
LANGUAGE_SEED = 1234
WORDS_PER_SENTENCE = 5
MAX_SCORE = 10
LITERAL_PENALTY = 3  # an idiom rendered word by word
WORD_PENALTY = 2  # a wrong, missing or additional word
DEFAULT_ROWS: dict[str, int] = {
    "grrm_sft": 12000,
    "grrm_rlvr": 1000,
    "mt_sft": 3000,
    "mt_grpo": 800,
    "ranking_test": 300,
    "translation_test": 200,
}

_IDIOMS_PER_SENTENCE = {0: 0.2, 1: 0.7, 2: 0.1}  # of two idioms there are but 1,800 sentences
_LITERAL_IN_MT_SFT = 0.62  # most idioms literal, yet often enough right for sampling to find it
_NOISE_IN_MT_SFT = 0.02
_OMISSION_IN_MT_SFT = 0.01
_LITERAL_IN_CANDIDATES = 0.5
_NOISE_IN_CANDIDATES = (0.0, 0.0, 0.15, 0.3)
_COPIED_CANDIDATES = 0.12
_UNTRANSLATED_NOISE = 0.8  # an error that is easy to see; the other 20 % need the dictionary
_OVERLOOKED = 0.6  # of the literal idioms, each by itself; what is named is right, so naming more earns more
_LITERAL = "literal"

Unit = tuple[str, ...]  # one plain word, or the two words of an idiom
Row = dict[str, Any]


@dataclass(frozen=True)
class ToyLanguage:
    """The language pair: a one-to-one dictionary, and idioms that override it for pairs of words.

    Attributes:
        dictionary: source word -> target word, for all source words.
        idioms: pair of source words -> pair of target words that occur nowhere else.
    """

    dictionary: Mapping[str, str]
    idioms: Mapping[Unit, Unit]

    @property
    def words(self) -> list[str]:
        """All words of both languages."""
        return [*self.dictionary, *self.dictionary.values(), *itertools.chain(*self.idioms.values())]

    @property
    def plain_words(self) -> list[str]:
        """The source words that are in no idiom."""
        in_idioms = set(itertools.chain(*self.idioms))
        return [word for word in self.dictionary if word not in in_idioms]

    def units(self, source: str) -> list[Unit]:
        """Split a source text into idioms and plain words, in order."""
        words = source.split()
        units: list[Unit] = []
        at = 0
        while at < len(words):
            pair = tuple(words[at : at + 2])
            units.append(pair if pair in self.idioms else (words[at],))
            at += len(units[-1])
        return units

    def idioms_in(self, source: str) -> list[Unit]:
        """The idioms of a source text, in order."""
        return [unit for unit in self.units(source) if unit in self.idioms]

    def word_by_word(self, unit: Unit) -> Unit:
        """The literal rendering of a unit."""
        return tuple(self.dictionary[word] for word in unit)

    def render(self, source: str, literal: Sequence[bool] = ()) -> list[str]:
        """Translate without errors other than idioms rendered literally.

        Args:
            source: source text.
            literal: one flag for each idiom of `source`, in order; () renders every idiom rightly.
        """
        flags = iter(literal or [False] * len(self.idioms_in(source)))
        words: list[str] = []
        for unit in self.units(source):
            idiomatic = unit in self.idioms and not next(flags)
            words.extend(self.idioms[unit] if idiomatic else self.word_by_word(unit))
        return words

    def reference(self, source: str) -> str:
        """The right translation."""
        return " ".join(self.render(source))


def make_language(seed: int = LANGUAGE_SEED, words: int = 32, idioms: int = 6) -> ToyLanguage:
    """Draw a language: `words` source words, `idioms` idioms made of 2 * `idioms` of them."""
    rng = random.Random(seed)
    source = _draw_words(rng, words, "ptkmnslr", 2, set())
    target: list[str] = _draw_words(rng, words, "bdgvzfhj", 2, set())
    idiomatic = _draw_words(rng, 2 * idioms, "bdgvzfhj", 3, set(target))
    members = rng.sample(source, 2 * idioms)
    pairs = zip(_pairs(members), _pairs(idiomatic), strict=True)
    return ToyLanguage(dict(zip(source, target, strict=True)), dict(pairs))


def penalty(language: ToyLanguage, source: str, translation: str) -> int:
    """The cost of a translation's errors: 3 for a literal idiom, 2 for a wrong, missing or additional word.

    Where several diagnoses fit, the cheapest counts (exact alignment against every choice of literal idioms).
    """
    words = translation.split()
    choices = itertools.product([False, True], repeat=len(language.idioms_in(source)))
    return min(
        LITERAL_PENALTY * sum(literal)
        + WORD_PENALTY * _edit_distance(language.render(source, literal), words)
        for literal in choices
    )


def true_score(language: ToyLanguage, source: str, translation: str) -> int:
    """The quality of a translation, 0..10: ten less its penalty, at least zero."""
    return max(0, MAX_SCORE - penalty(language, source, translation))


def find_errors(language: ToyLanguage, source: str, translation: str) -> list[str]:
    """Name the errors of a translation, such as ["literal", "rali wrong"].

    Naming the wrong words, not only counting them, is what makes the ranking learnable.

    Raises:
        ValueError: the translation has more or fewer words than the source.
    """
    words = translation.split()
    if len(words) != len(source.split()):
        raise ValueError(f"expected {len(source.split())} words, as in {source!r}, found {translation!r}")
    errors: list[str] = []
    for unit in language.units(source):
        found, words = words[: len(unit)], words[len(unit) :]
        literal = language.word_by_word(unit)
        right = language.idioms.get(unit, literal)
        wrong, wrong_if_literal = _mismatches(found, right), _mismatches(found, literal)
        if right != literal and LITERAL_PENALTY + WORD_PENALTY * len(wrong_if_literal) < WORD_PENALTY * len(
            wrong
        ):
            errors.append(_LITERAL)
            wrong = wrong_if_literal
        errors.extend(f"{word} wrong" for word in wrong)
    return errors


def describe_errors(language: ToyLanguage, source: str, translation: str) -> str:
    """The errors of a translation in one phrase (`find_errors`); "good" if there are none."""
    return _phrase(find_errors(language, source, translation))


def make_tables(seed: int, rows: Mapping[str, int] | None = None) -> dict[str, list[Row]]:
    """Make the six source tables; no source text occurs twice, within a table or across tables.

    Args:
        seed: seed of the data; the language stays the same.
        rows: rows of each table, by name; default `DEFAULT_ROWS`.
    """
    rows = dict(DEFAULT_ROWS if rows is None else rows)
    if set(rows) != set(DEFAULT_ROWS):
        raise ValueError(f"expected rows of {sorted(DEFAULT_ROWS)}, found {sorted(rows)}")
    language = make_language()
    sentences = unique_sentences(language, random.Random(f"{seed}/sentences"))
    # The small tables first: tests must not get what the large ones leave of the rare sentences.
    small_first = sorted(rows.items(), key=lambda table: table[1])
    sources = {name: list(itertools.islice(sentences, count)) for name, count in small_first}
    rngs = {name: random.Random(f"{seed}/{name}") for name in rows}
    tested = {language.reference(s) for name in ("ranking_test", "translation_test") for s in sources[name]}

    def rankings(name: str, apart: Set[str], teacher: bool = False) -> list[Row]:
        return [_ranking_row(language, rngs[name], s, apart, teacher) for s in sources[name]]

    trained = {
        "grrm_sft": rankings("grrm_sft", tested, teacher=True),
        "grrm_rlvr": rankings("grrm_rlvr", tested),
        "mt_sft": [_cot_row(language, rngs["mt_sft"], source, tested) for source in sources["mt_sft"]],
        "mt_grpo": [_pair_row(language, source) for source in sources["mt_grpo"]],
    }
    return trained | {
        "ranking_test": rankings(
            "ranking_test", {text for rows in trained.values() for text in _texts(rows)}
        ),
        "translation_test": [
            {**_pair_row(language, source), "comment": _comment(language, source)}
            for source in sources["translation_test"]
        ],
    }


def unique_sentences(language: ToyLanguage, rng: random.Random) -> Iterator[str]:
    """Sentences of the source language without end, none of them twice."""
    seen: set[str] = set()
    while True:
        sentence = _sentence(language, rng)
        if sentence not in seen:
            seen.add(sentence)
            yield sentence


def _sentence(language: ToyLanguage, rng: random.Random) -> str:
    while True:
        count = rng.choices(list(_IDIOMS_PER_SENTENCE), list(_IDIOMS_PER_SENTENCE.values()))[0]
        units: list[Unit] = rng.sample(list(language.idioms), count)
        units += [(rng.choice(language.plain_words),) for _ in range(WORDS_PER_SENTENCE - 2 * count)]
        rng.shuffle(units)
        words = list(itertools.chain(*units))
        # No word twice: an error's name must tell which word is meant.
        if len(set(words)) == len(words):
            return " ".join(words)


def _texts(rows: Sequence[Row]) -> Iterator[str]:
    """All texts of the target language in the rows of a table."""
    for row in rows:
        yield from row.get("mt_texts", ())
        yield from filter(None, (row.get("trg_text"), code_block(row.get("response", ""))))


def _apart(draw: Callable[[], list[str]], others: Set[str]) -> list[str]:
    """Translations as `draw` makes them, none of them among `others`.

    Noise can make of one sentence what another one means, or what noise made of that: too seldom to change
    what is learned, but nothing that is tested may stand in what is trained on.
    """
    while not others.isdisjoint(texts := draw()):
        pass
    return texts


def _candidates(language: ToyLanguage, rng: random.Random, source: str) -> list[str]:
    candidates: list[str] = []
    for _ in range(rng.randint(2, 4)):
        if candidates and rng.random() < _COPIED_CANDIDATES:
            candidates.append(rng.choice(candidates))
            continue
        literal = [rng.random() < _LITERAL_IN_CANDIDATES for _ in language.idioms_in(source)]
        noise = rng.choice(_NOISE_IN_CANDIDATES)
        candidates.append(" ".join(with_noise(language, rng, language.render(source, literal), noise)))
    rng.shuffle(candidates)
    return candidates


def _ranking_row(
    language: ToyLanguage, rng: random.Random, source: str, apart: Set[str], teacher: bool
) -> Row:
    candidates = _apart(lambda: _candidates(language, rng, source), apart)
    errors = [find_errors(language, source, candidate) for candidate in candidates]
    if teacher:
        errors = [[e for e in found if e != _LITERAL or rng.random() >= _OVERLOOKED] for found in errors]
    scores = [_score_of(found) for found in errors]
    # With its points: ranking and scores then only repeat what was found, and contradict it less often.
    named = zip(labels(len(errors)), errors, scores, strict=True)
    findings = [f"{label} {_phrase(found)} {score}" for label, found, score in named]
    return {
        **_pair_row(language, source),
        "mt_texts": candidates,
        "analysis": f"Analysis: {', '.join(findings)}",
        "scores": scores,
    }


def _score_of(errors: Sequence[str]) -> int:
    return max(0, MAX_SCORE - sum(LITERAL_PENALTY if error == _LITERAL else WORD_PENALTY for error in errors))


def _phrase(errors: Sequence[str]) -> str:
    return " ".join(errors) or "good"


def _cot_row(language: ToyLanguage, rng: random.Random, source: str, apart: Set[str]) -> Row:
    idioms = language.idioms_in(source)
    literal = [rng.random() < _LITERAL_IN_MT_SFT for _ in idioms]
    meanings = [
        f"{' '.join(idiom)} = {' '.join(language.word_by_word(idiom) if flag else language.idioms[idiom])}"
        for idiom, flag in zip(idioms, literal, strict=True)
    ]
    words = language.render(source, literal)

    def noisy() -> list[str]:
        return [" ".join(with_noise(language, rng, words, _NOISE_IN_MT_SFT, _OMISSION_IN_MT_SFT))]

    [translation] = _apart(noisy, apart)
    return {
        "src_text": source,
        "src_lang": SOURCE_LANGUAGE,
        "trg_lang": TARGET_LANGUAGE,
        "response": translation_answer(f"Analysis: {', '.join(meanings) or 'none'}", translation),
    }


def _pair_row(language: ToyLanguage, source: str) -> Row:
    return {
        "src_text": source,
        "trg_text": language.reference(source),
        "src_lang": SOURCE_LANGUAGE,
        "trg_lang": TARGET_LANGUAGE,
    }


def _comment(language: ToyLanguage, source: str) -> str | None:
    """What is hard about a test sentence; None if nothing is."""
    idioms = language.idioms_in(source)
    return "; ".join(f"{' '.join(i)} means {' '.join(language.idioms[i])}" for i in idioms) or None


def with_noise(
    language: ToyLanguage,
    rng: random.Random,
    words: Sequence[str],
    noise: float,
    omission: float = 0.0,
    untranslated: float = _UNTRANSLATED_NOISE,
) -> list[str]:
    """Replace each word with probability `noise`, leave it out with probability `omission`.

    A share `untranslated` of what is replaced stays in the source language; the rest becomes another word.
    """
    back = {target: source for source, target in language.dictionary.items()}
    for pair, idiom in language.idioms.items():
        back.update(zip(idiom, pair, strict=True))
    noisy: list[str] = []
    for word in words:
        draw = rng.random()
        if draw < noise and rng.random() < untranslated:
            noisy.append(back[word])
        elif draw < noise:
            noisy.append(rng.choice([other for other in language.dictionary.values() if other != word]))
        elif draw >= noise + omission:
            noisy.append(word)
    return noisy or list(words)


def _draw_words(
    rng: random.Random, count: int, consonants: str, syllables: int, taken: set[str]
) -> list[str]:
    """`count` different words of consonant-vowel syllables, none of them in `taken`."""
    words: dict[str, None] = {}
    while len(words) < count:
        word = "".join(rng.choice(consonants) + rng.choice("aeiou") for _ in range(syllables))
        if word not in taken:
            words[word] = None
    return list(words)


def _pairs(words: Sequence[str]) -> list[Unit]:
    return list(zip(words[::2], words[1::2], strict=True))


def _mismatches(found: Sequence[str], expected: Sequence[str]) -> list[str]:
    return [word for word, other in zip(found, expected, strict=True) if word != other]


def _edit_distance(left: Sequence[str], right: Sequence[str]) -> int:
    """Word-level Levenshtein distance."""
    row = list(range(len(right) + 1))
    for i, word in enumerate(left, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(right, 1):
            diagonal, row[j] = row[j], min(diagonal + (word != other), row[j] + 1, row[j - 1] + 1)
    return row[-1]
