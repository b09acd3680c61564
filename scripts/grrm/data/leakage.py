"""Overlaps between what is trained on and what is tested on.

Texts are compared within a language, whatever side they stand on: a reference of one direction is a source of
the other. A test text leaks if a training text equals it but for case, punctuation and spaces (exact), or
has a given share of its distinct n-grams (near). N-grams are of words, and of characters where spaces do not
set words apart or the words between them take many forms (Chinese, Japanese, Korean, Thai...).

Only the test side is held in memory; training tables are read in batches.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from grrm.data.augment import mix
from grrm.files import UserError
from grrm.languages import WITHOUT_SPACES, base_language, script_of

Side = Literal["source", "target"]

# Columns with text, and the column that names their language.
_TEXTS: dict[str, tuple[Side, str]] = {
    "src_text": ("source", "src_lang"),
    "trg_text": ("target", "trg_lang"),
    "references": ("target", "trg_lang"),
    "mt_texts": ("target", "trg_lang"),
    "response": ("target", "trg_lang"),
}
_BY_CHARACTER = WITHOUT_SPACES | {"Kore"}
_SEPARATORS = re.compile(r"[\W_]+")
_BATCH = 4096
# Pairs of a training text and a test text that share an n-gram, looked at together: about 200 MB.
_MAX_PAIRS = 8_000_000


@dataclass(frozen=True)
class Settings:
    """What counts as a near duplicate.

    Attributes:
        words: length of n-grams in languages written in words.
        characters: length of n-grams in the others.
        overlap: share (0..1] of a test text's distinct n-grams that one training text must have. Test texts
            of fewer than twice `words` (`characters`) are too short to judge: compared exactly only.
    """

    words: int = 4
    characters: int = 6
    overlap: float = 0.6

    def size(self, language: str) -> int:
        """Length of the n-grams of a language."""
        return self.characters if by_character(language) else self.words


@dataclass(frozen=True)
class Overlap:
    """What one training table shares with one test set: numbers of test rows.

    Attributes:
        train: name of the training table.
        test: name of the test set.
        rows: rows of the test set.
        exact_source: rows whose source is in the training table.
        near_source: rows whose source nearly is.
        exact_target: rows whose reference, or one of whose candidates, is in the training table.
        near_target: rows of which one of these nearly is.
        leaked: rows to which any of the above applies.
    """

    train: str
    test: str
    rows: int
    exact_source: int
    near_source: int
    exact_target: int
    near_target: int
    leaked: int

    @property
    def share(self) -> float:
        """Leaked rows among all rows, 0..1."""
        return self.leaked / self.rows


class Match(NamedTuple):
    """The training text that shares most with a test text; `overlap` is 0..1, `row` counts from 0."""

    overlap: float
    exact: bool
    row: int
    text: str


class Segment(NamedTuple):
    """A text of a test set."""

    test: str
    row: int
    side: Side
    language: str
    text: str


def check(
    train: Mapping[str, str | Path],
    test: Mapping[str, str | Path],
    settings: Settings = Settings(),
    examples: int = 5,
    apart: Collection[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Compare every training table with every test set.

    Args:
        train: Parquet files of training tables, by name.
        test: Parquet files of test sets, by name.
        settings: what counts as a near duplicate.
        examples: pairs of texts shown for each pair of a table and a set, at most.
        apart: pairs of a training table and a test set whose overlap does not count for the set.

    Returns:
        JSON object: settings; overlaps (one for each pair, see `Overlap`, with its share); tests (for each
        test set the rows that leaked to any training table but those `apart`, and their share); examples.

    Raises:
        UserError: a file is missing, is not Parquet, or lacks texts or their languages.
    """
    segments = [segment for name, path in test.items() for segment in segments_of(name, path)]
    rows = {name: _open(path).metadata.num_rows for name, path in test.items()}
    if empty := [name for name, count in rows.items() if count == 0]:
        raise UserError(f"{test[empty[0]]}: the test set has no rows")
    index = Index(segments, settings)
    overlaps, shown = [], []
    leaked_to_any: dict[str, set[int]] = {name: set() for name in test}
    for table, path in train.items():
        matches = index.search(training_texts(path))
        for name in test:
            found = {i: match for i, match in matches.items() if segments[i].test == name}
            overlaps.append(_count(table, name, rows[name], {segments[i]: m for i, m in found.items()}))
            if (table, name) not in apart:
                leaked_to_any[name] |= {segments[i].row for i in found}
            worst = sorted(found, key=lambda i: (-found[i].exact, -found[i].overlap, i))[:examples]
            shown += [_example(table, segments[i], found[i]) for i in worst]
    return {
        "settings": asdict(settings),
        "overlaps": [asdict(overlap) | {"share": overlap.share} for overlap in overlaps],
        "tests": [
            {"test": name, "rows": rows[name], "leaked": len(found), "share": len(found) / rows[name]}
            for name, found in leaked_to_any.items()
        ],
        "examples": shown,
    }


def normalise(text: str) -> str:
    """Text without what copies differ in: case, width, punctuation, spaces."""
    return _SEPARATORS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def tokens(text: str, language: str) -> Sequence[str]:
    """The words of a normalised text, or its characters in a language without such words."""
    return text.replace(" ", "") if by_character(language) else text.split()


def by_character(language: str) -> bool:
    """Whether the n-grams of a language are of characters."""
    return script_of(language) in _BY_CHARACTER


def segments_of(name: str, path: str | Path) -> Iterator[Segment]:
    """The texts of a test set that have anything to compare."""
    for row, side, language, text in _texts(path):
        if normalise(text):
            yield Segment(name, row, side, language, text)


def training_texts(path: str | Path) -> Iterator[list[tuple[int, str, str]]]:
    """Batches of (row, language, text) of a training table."""
    batch = []
    for row, _, language, text in _texts(path):
        batch.append((row, language, text))
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class Index:
    """The n-grams of the test texts, language by language."""

    def __init__(self, segments: Sequence[Segment], settings: Settings = Settings()) -> None:
        by_language: dict[str, list[int]] = {}
        for i, segment in enumerate(segments):
            by_language.setdefault(segment.language, []).append(i)
        self._parts = {
            language: _LanguageIndex(language, ids, [segments[i].text for i in ids], settings)
            for language, ids in by_language.items()
        }

    def search(self, batches: Iterable[list[tuple[int, str, str]]]) -> dict[int, Match]:
        """For each test text that leaks, by its number, the training text that shares most with it.

        Among equals it is the first one, so that the size of the batches does not matter.
        """
        best: dict[int, Match] = {}
        for batch in batches:
            by_language: dict[str, list[tuple[int, str]]] = {}
            for row, language, text in batch:
                by_language.setdefault(language, []).append((row, text))
            for language, texts in by_language.items():
                if part := self._parts.get(language):
                    for segment, match in part.search(texts):
                        if segment not in best or _better(match, best[segment]):
                            best[segment] = match
        return best


def near_duplicates(
    segments: Sequence[Segment], settings: Settings = Settings()
) -> Iterator[tuple[int, int]]:
    """Pairs of texts, by their numbers, that are the same or nearly so, as `check` has it.

    Of texts that are equal each is paired with the first of them.
    """
    by_language: dict[str, dict[str, int]] = {}
    for number, segment in enumerate(segments):
        first = by_language.setdefault(segment.language, {}).setdefault(normalise(segment.text), number)
        if first != number:
            yield first, number
    for language, texts in by_language.items():
        numbers = list(texts.values())
        index = _LanguageIndex(language, numbers, list(texts), settings)
        for start in range(0, len(numbers), _BATCH):
            batch = numbers[start : start + _BATCH]
            for other, match in index.search([(number, segments[number].text) for number in batch]):
                if other != match.row:
                    yield other, match.row


class _LanguageIndex:
    def __init__(self, language: str, ids: Sequence[int], texts: Sequence[str], settings: Settings) -> None:
        self._language = language
        self._size = settings.size(language)
        self._overlap = settings.overlap
        self._ids = ids
        normal = [normalise(text) for text in texts]
        self._exact: dict[str, list[int]] = {}
        for segment, text in enumerate(normal):
            self._exact.setdefault(self._key(text), []).append(segment)
        # 0 stands for whatever is in no test text: n-grams with it cannot match.
        words = [tokens(text, language) for text in normal]
        self._vocabulary = {word: i for i, word in enumerate(dict.fromkeys(chain.from_iterable(words)), 1)}
        long = [word if len(word) >= 2 * self._size else "" for word in words]
        owner, hashes = self._grams(long)
        # Distinct n-grams of each text; for each n-gram, the texts that have it.
        pairs = np.unique(np.stack([hashes, owner.astype(np.uint64)], axis=1), axis=0)
        self._hashes, starts = np.unique(pairs[:, 0], return_index=True)
        self._owners = pairs[:, 1].astype(np.int64)
        self._starts = np.append(starts, len(pairs)).astype(np.int64)
        self._distinct = np.bincount(self._owners, minlength=len(texts))

    def search(self, texts: Sequence[tuple[int, str]]) -> Iterator[tuple[int, Match]]:
        """Matches of training texts, (row, text) each, by the number of the test text."""
        normal = [normalise(text) for _, text in texts]
        for i, text in enumerate(normal):
            for segment in self._exact.get(self._key(text), ()) if text else ():
                yield self._ids[segment], Match(1.0, True, *texts[i])
        for i, segment, overlap in self._near([tokens(text, self._language) for text in normal]):
            exact = self._key(normal[i])
            if segment not in self._exact.get(exact, ()):
                yield self._ids[segment], Match(overlap, False, *texts[i])

    def _key(self, normal: str) -> str:
        # Where characters count, spaces between them do not.
        return normal.replace(" ", "") if by_character(self._language) else normal

    def _near(self, words: Sequence[Sequence[str]]) -> Iterator[tuple[int, int, float]]:
        """(training text, test text, overlap) of each pair above the threshold."""
        owner, hashes = self._grams(words)
        place = np.searchsorted(self._hashes, hashes)
        place[place == len(self._hashes)] = 0
        known = self._hashes[place] == hashes if len(self._hashes) else np.zeros(len(hashes), np.bool_)
        owner, place = owner[known], place[known]
        grams = np.unique(owner * max(len(self._hashes), 1) + place)
        owner, place = np.divmod(grams, max(len(self._hashes), 1))
        counts = self._starts[place + 1] - self._starts[place]
        if counts.sum() > _MAX_PAIRS and len(words) > 1:
            half = len(words) // 2
            yield from self._near(words[:half])
            yield from ((half + i, segment, overlap) for i, segment, overlap in self._near(words[half:]))
            return
        # All (training text, test text) that share a gram, once for each gram they share.
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        segments = self._owners[np.repeat(self._starts[place], counts) + within]
        pairs, shared = np.unique(
            np.repeat(owner, counts) * len(self._distinct) + segments, return_counts=True
        )
        owner, segments = np.divmod(pairs, len(self._distinct))
        overlap = shared / self._distinct[segments]
        for i in np.flatnonzero(overlap >= self._overlap):
            yield int(owner[i]), int(segments[i]), float(overlap[i])

    def _grams(self, words: Sequence[Sequence[str]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
        """For every n-gram of known words, the number of its text and a 64-bit hash."""
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        flat = chain.from_iterable(words)
        ids = np.fromiter(map(self._vocabulary.get, flat, repeat(0)), np.uint64, int(lengths.sum()))
        owner = np.repeat(np.arange(len(words)), lengths)
        last = len(ids) - self._size + 1
        if last <= 0:
            return np.zeros(0, np.int64), np.zeros(0, np.uint64)
        usable = owner[:last] == owner[self._size - 1 :]
        for offset in range(self._size):
            usable &= ids[offset : offset + last] != 0
        starts = np.flatnonzero(usable)
        hashes = np.zeros(len(starts), np.uint64)
        for offset in range(self._size):
            hashes = mix(hashes ^ ids[starts + offset])
        return owner[starts], hashes


def _better(match: Match, other: Match) -> bool:
    return (match.exact, match.overlap, -match.row) > (other.exact, other.overlap, -other.row)


def _count(train: str, test: str, rows: int, found: Mapping[Segment, Match]) -> Overlap:
    def having(side: Side, exact: bool) -> set[int]:
        return {s.row for s, match in found.items() if s.side == side and match.exact == exact}

    exact_source, exact_target = having("source", True), having("target", True)
    return Overlap(
        train,
        test,
        rows,
        len(exact_source),
        len(having("source", False) - exact_source),
        len(exact_target),
        len(having("target", False) - exact_target),
        len({segment.row for segment in found}),
    )


def _example(train: str, segment: Segment, match: Match) -> dict[str, Any]:
    return {
        "train": train,
        "train_row": match.row,
        "train_text": match.text,
        "test": segment.test,
        "test_row": segment.row,
        "test_text": segment.text,
        "side": segment.side,
        "exact": match.exact,
        "overlap": round(match.overlap, 4),
    }


def _texts(path: str | Path) -> Iterator[tuple[int, Side, str, str]]:
    """(row, side, language, text) of every text of a table."""
    with _open(path) as file:
        present = file.schema_arrow.names
        wanted = [name for name in _TEXTS if name in present]
        languages = {_TEXTS[name][1] for name in wanted}
        if not wanted or languages - set(present):
            missing = ", ".join(sorted(languages - set(present)) or _TEXTS)
            raise UserError(f"{path}: no column {missing}; found {', '.join(present)}")
        first = 0
        for batch in file.iter_batches(_BATCH, columns=[*wanted, *sorted(languages)]):
            codes = {
                name: [base_language(code or "") for code in batch[name].to_pylist()] for name in languages
            }
            for name in wanted:
                side, language = _TEXTS[name]
                for offset, value in enumerate(batch[name].to_pylist()):
                    for text in value if isinstance(value, list) else [value]:
                        if text:
                            yield first + offset, side, codes[language][offset], text
            first += batch.num_rows


def _open(path: str | Path) -> pq.ParquetFile:
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a Parquet file, or a damaged one ({error})") from error
