"""Whole columns at a time: texts on disk, taken by number, and prompts filled for many rows at once."""

from __future__ import annotations

import mmap
import re
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from grrm.languages import base_language, language_name
from grrm.prompts import (
    RankingPrompt,
    TranslationPrompt,
    as_it_is,
    check_columns,
    column_text,
    keeping_layout,
)
from grrm.ranking import MAX_CANDIDATES, labels
from grrm.texts import FAMILIES, mark

Numbers = npt.NDArray[np.int64]

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_LABELS = pa.array(labels(MAX_CANDIDATES))
_ALL_LABELS = pa.array([""] + [", ".join(labels(n)) for n in range(1, MAX_CANDIDATES + 1)])
_SHORTEST_FENCE = 3
# Beyond this, pages of a file of texts are given back after each use: memory stays bounded.
_RESIDENT_BYTES = 64 * 2**20


class TextFile:
    """Texts in a temporary file: added in order, then taken by number. Memory holds 8 bytes for each."""

    def __init__(self, folder: str | Path) -> None:
        # It has no name: it is gone with this process, however that ends.
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._lengths: list[Numbers] = []
        self._fences: list[npt.NDArray[np.int32]] = []
        self._map: mmap.mmap | None = None
        self._texts: pa.LargeStringArray | None = None

    def add(self, texts: pa.Array) -> None:
        """Add texts (strings, none of them missing) behind those that are there."""
        texts = texts.cast(pa.large_string())
        _, offsets, data = texts.buffers()
        bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        self._file.write(memoryview(data)[bounds[0] : bounds[-1]])
        self._lengths.append(np.diff(bounds))
        self._fences.append(_fence_lengths(texts))

    def close(self) -> None:
        """No more texts are added from here on."""
        self._file.flush()
        bounds = np.concatenate([[0], *self._lengths]).astype(np.int64).cumsum()
        self._lengths.clear()
        self.fences = np.concatenate(self._fences)
        self._fences.clear()
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self._texts = pa.LargeStringArray.from_buffers(
            len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(self._map)
        )

    def take(self, numbers: npt.NDArray[np.integer]) -> pa.StringArray:
        """The texts of those numbers, in that order."""
        assert self._texts is not None and self._map is not None, "closed before texts are taken"
        taken = self._texts.take(pa.array(numbers)).cast(pa.string())
        if len(self._map) > _RESIDENT_BYTES:
            self._map.madvise(mmap.MADV_DONTNEED)
        return taken


class LanguageColumn:
    """Codes of languages, 4 bytes each: added in order, then taken by number."""

    def __init__(self) -> None:
        self._chunks: list[pa.DictionaryArray] = []

    def add(self, codes: pa.Array) -> None:
        """Add codes behind those that are there."""
        self._chunks.append(codes.dictionary_encode())

    def close(self) -> None:
        """No more codes are added from here on."""
        codes = pa.chunked_array(self._chunks).unify_dictionaries().combine_chunks()
        self._chunks.clear()
        self._numbers, self._codes = codes.indices, codes.dictionary

    def take(self, numbers: npt.NDArray[np.integer]) -> pa.StringArray:
        """The codes of those numbers, in that order."""
        return self._codes.take(self._numbers.take(pa.array(numbers)))


class FurtherColumns:
    """Columns of a table that prompts name beside the texts, in memory: added in order, taken by number.

    Args:
        asked: name of the column -> file of the prompt that cannot do without it.
        wished: columns that are kept if they are there; None: all of the table.
    """

    def __init__(self, asked: Mapping[str, str | Path], wished: Collection[str] | None = ()) -> None:
        self._asked, self._wished = asked, wished
        self._chunks: dict[str, list[pa.Array]] = {}
        self._columns: dict[str, pa.Array] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows behind those that are there.

        Raises:
            UserError: a column that a prompt names is not there.
        """
        names = batch.schema.names
        for name, file in self._asked.items():
            check_columns(file, [name], names)
        wished = names if self._wished is None else self._wished
        for name in [name for name in names if name in self._asked or name in wished]:
            self._chunks.setdefault(name, []).append(batch[name])

    def close(self) -> None:
        """No more rows are added from here on."""
        self._columns = {
            name: pa.chunked_array(chunks).combine_chunks() for name, chunks in self._chunks.items()
        }
        self._chunks.clear()

    def take(self, numbers: npt.NDArray[np.integer]) -> dict[str, pa.Array]:
        """The columns of the rows of those numbers, in that order."""
        return {name: column.take(pa.array(numbers)) for name, column in self._columns.items()}


def column_texts(columns: Mapping[str, pa.Array]) -> dict[str, pa.StringArray]:
    """What stands in the places of columns in prompts: `grrm.prompts.column_text` of each value."""
    return {
        name: pc.fill_null(column, "")
        if pa.types.is_string(column.type)
        else pa.array(map(column_text, column.to_pylist()), pa.string())
        for name, column in columns.items()
    }


def language_names(codes: pa.StringArray) -> pa.StringArray:
    """The English name of each language.

    Raises:
        UserError: a language is not known.
    """
    return _each(language_name, codes)


def language_codes(codes: pa.StringArray) -> pa.StringArray:
    """The code of each language, without region and script; raises what `language_names` raises."""
    return _each(base_language, codes)


def _each(function: Callable[[str], str], codes: pa.StringArray) -> pa.StringArray:
    coded = codes.dictionary_encode()
    values = pa.array([function(code) for code in coded.dictionary.to_pylist()], pa.string())
    return values.take(coded.indices)


def ranking_prompts(
    prompt: RankingPrompt,
    *,
    src_texts: pa.StringArray,
    src_langs: pa.StringArray,
    trg_langs: pa.StringArray,
    mt_texts: pa.StringArray,
    sizes: Numbers,
    fences: npt.NDArray[np.integer],
    columns: Mapping[str, pa.StringArray] = MappingProxyType({}),
) -> pa.StringArray:
    """The prompts for many groups: what `prompt.messages` gives for each.

    Args:
        prompt: the prompt.
        src_texts: source of each group.
        src_langs: its language.
        trg_langs: language of its candidates.
        mt_texts: the candidates of all groups, one after another.
        sizes: number of candidates of each group.
        fences: length of the fence that each group needs (`group_fences`).
        columns: those that the prompt names, one text for each group.
    """
    starts = np.concatenate([[0], sizes.cumsum()])
    places = np.arange(starts[-1]) - np.repeat(starts[:-1], sizes)
    fence = _fence_texts(with_fences(fences, columns))
    templates = prompt.prompt, prompt.candidate
    columns = {name: placed(column) for name, column in columns.items()}
    groups = pa.array(np.repeat(np.arange(len(sizes)), sizes))
    candidates = fill_column(
        prompt.candidate,
        {
            **{name: column.take(groups) for name, column in columns.items()},
            "label": _LABELS.take(pa.array(places)),
            "text": placed(mt_texts, *templates),
            "fence": fence.take(groups),
        },
    )
    return fill_column(
        prompt.prompt,
        {
            **columns,
            "source_language": language_names(src_langs),
            "target_language": language_names(trg_langs),
            "source": placed(src_texts, *templates),
            "candidates": pc.binary_join(as_lists(candidates, starts), "\n"),
            "fence": fence,
            "count": pa.array(sizes).cast(pa.string()),
            "labels": _ALL_LABELS.take(pa.array(sizes)),
            "example": pa.scalar(prompt.example),
        },
    )


def translation_prompts(
    prompt: TranslationPrompt,
    *,
    src_texts: pa.StringArray,
    src_langs: pa.StringArray,
    trg_langs: pa.StringArray,
    fences: npt.NDArray[np.integer],
    columns: Mapping[str, pa.StringArray] = MappingProxyType({}),
) -> pa.StringArray:
    """The prompts for many segments: what `prompt.messages` gives for each (see `ranking_prompts`)."""
    return fill_column(
        prompt.prompt,
        {
            **{name: placed(column) for name, column in columns.items()},
            "source_language": language_names(src_langs),
            "target_language": language_names(trg_langs),
            "target_code": language_codes(trg_langs),
            "source": placed(src_texts),
            "fence": _fence_texts(with_fences(fences, columns)),
        },
    )


def with_fences(
    fences: npt.NDArray[np.integer], columns: Mapping[str, pa.StringArray]
) -> npt.NDArray[np.integer]:
    """Lengths of fences, longer where the texts of these columns need it."""
    for column in columns.values():
        fences = np.maximum(fences, _fence_lengths(column.cast(pa.large_string())))
    return fences


def placed(texts: pa.StringArray, *templates: str) -> pa.StringArray:
    """Texts as they stand in prompts for an engine to render: kept in their place, and marked.

    What `grrm.prompts.keeping_layout` and `grrm.texts.mark` give for each.
    """
    keep = keeping_layout(*templates)
    numbers = np.arange(len(texts))
    if keep is as_it_is:
        # Few texts hold what is marked; those that do are looked at one by one.
        found = [
            pc.match_substring_regex(form, FAMILIES.pattern).to_numpy(zero_copy_only=False)
            for form in (texts, pc.utf8_normalize(texts, "NFKC"))
        ]
        numbers = np.flatnonzero(found[0] | found[1])
    old_texts = texts.take(pa.array(numbers)).to_pylist()
    changed = {
        number: text
        for number, old in zip(numbers.tolist(), old_texts, strict=True)
        if (text := mark(keep(old))) != old
    }
    if not changed:
        return texts
    mask = np.zeros(len(texts), bool)
    mask[list(changed)] = True
    values = pa.array([changed[number] for number in sorted(changed)], texts.type)
    return pc.replace_with_mask(texts, pa.array(mask), values)


def fill_column(template: str, values: Mapping[str, pa.StringArray | pa.StringScalar]) -> pa.StringArray:
    """`grrm.prompts.fill_template` for every row of the columns, the first of which is no scalar."""
    # Text and names of placeholders take turns.
    parts = _PLACEHOLDER.split(template)
    pieces = [values[part] if number % 2 else pa.scalar(part) for number, part in enumerate(parts) if part]
    rows = len(next(iter(values.values())))
    if not any(isinstance(piece, pa.Array) for piece in pieces):
        return pa.repeat(pa.scalar(template), rows)
    return pc.binary_join_element_wise(*pieces, "")


def as_lists(values: pa.Array, starts: npt.NDArray[np.integer]) -> pa.ListArray:
    """Lists of values that stand one after another; `starts` has one more number than there are lists."""
    return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), values)


def group_fences(
    of_source: npt.NDArray[np.integer], of_candidates: npt.NDArray[np.integer], sizes: Numbers
) -> npt.NDArray[np.integer]:
    """The length of fence that each group needs, from those that its texts need."""
    starts = np.concatenate([[0], sizes.cumsum()[:-1]])
    fences: npt.NDArray[np.integer] = np.maximum(of_source, np.maximum.reduceat(of_candidates, starts))
    return fences


def _fence_lengths(texts: pa.LargeStringArray) -> npt.NDArray[np.int32]:
    """Backticks of the fence that each text needs, as `grrm.prompts.code_fence` makes it."""
    lengths = np.full(len(texts), _SHORTEST_FENCE, np.int32)
    fenced = pc.match_substring(texts, "`" * _SHORTEST_FENCE)
    for number in np.flatnonzero(fenced.to_numpy(zero_copy_only=False)):
        lengths[number] = 1 + max(len(run) for run in re.findall("`+", texts[number].as_py()))
    return lengths


def _fence_texts(lengths: npt.NDArray[np.integer]) -> pa.StringArray:
    distinct, numbers = np.unique(lengths, return_inverse=True)
    return pa.array(["`" * length for length in distinct.tolist()], pa.string()).take(pa.array(numbers))
