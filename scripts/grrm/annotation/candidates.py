"""Candidates for every source: of models, files, the reference, and degraded copies; a few a group."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from grrm.annotation.asked import Asked, chunks, in_order
from grrm.annotation.degrade import degrade
from grrm.annotation.rankings import SEPARATOR, key_of
from grrm.annotation.selection import Candidate, choose, distinct, group_size
from grrm.files import UserError, is_text, read_lines
from grrm.inference.answers import translate_each
from grrm.inference.attempts import seed_of
from grrm.inference.tables import parse_rows
from grrm.prompts import TranslationPrompt

Row = dict[str, Any]
Texts = list[list[str]]
"""What a system gave, by the number of the row."""

_TOGETHER = 4096


def sample_pairs(rows: Sequence[Row], groups: int | None, seed: int) -> list[Row]:
    """The sources that are asked about, in the sequence of the table: all, or so many drawn by the seed.

    A source that stands in several rows is asked about once, with its first reference.

    Who is in does not change when the table grows at its end or the seed of others does: each row has a place
    of its own by the hash of its texts.
    """
    known: dict[int, Row] = {}
    for row in rows:
        known.setdefault(key_of(row), row)
    rows = list(known.values())
    if groups is None or groups >= len(rows):
        return rows
    places = [(seed_of(seed, key_of(row)), i) for i, row in enumerate(rows)]
    return [rows[i] for i in sorted(i for _, i in sorted(places)[:groups])]


def of_file(system: Mapping[str, Any], rows: Sequence[Row]) -> Texts:
    """Translations of a system that was run elsewhere, found by their sources.

    Args:
        system: `file`, and `source_file` with the sources line by line, or without it `column` of a table
            that has src_text beside it.
        rows: what is to be translated.

    Raises:
        UserError: a file cannot be read, the two have different numbers of lines, or no source is known.
    """
    path = Path(system["file"])
    if sources := system.get("source_file"):
        texts, of = list(read_lines(path)), list(read_lines(sources))
        if len(texts) != len(of):
            raise UserError(
                f"{path}: {len(texts)} lines, but {sources} has {len(of)}; expected a translation for each "
                "line of the sources"
            )
        pairs = [(source, text) for source, text in zip(of, texts, strict=True) if text.strip()]
    else:
        pairs = list(_of_table(path, system["column"]))
    known: dict[str, list[str]] = {}
    for source, text in pairs:
        known.setdefault(source.strip(), []).append(text)
    found = [known.get(row["src_text"].strip(), []) for row in rows]
    if not any(found):
        raise UserError(
            f"{path}: translates none of the {len(rows)} sources, such as "
            f"{rows[0]['src_text'][:80]!r}; expected the same texts in src_text (or in source_file)"
        )
    return found


def _of_table(path: Path, column: str) -> Iterator[tuple[str, str]]:
    for where, row in parse_rows(str(path)):
        for name in ("src_text", column):
            value = row.get(name)
            if not isinstance(value, str):
                found = f"is {value!r}" if name in row else f"is missing; found {', '.join(map(str, row))}"
                raise UserError(f"{where}: {name} {found}; expected a text")
        if row[column].strip():
            yield row["src_text"], row[column]


def of_model(
    asked: Asked, rows: Sequence[Row], prompt: TranslationPrompt, samples: int, seed: int
) -> tuple[Texts, Counter[str]]:
    """Translations by a model, and why there are none, by reason.

    Args:
        asked: the model.
        rows: what is to be translated.
        prompt: what it is asked.
        samples: draws for each row.
        seed: of sampling; it depends on the row's texts besides, not on its place.
    """
    found: Texts = [[] for _ in rows]
    questions = [(i, draw) for i in range(len(rows)) for draw in range(samples)]
    with asked.progress(len(questions)) as progress:
        for together in chunks(questions, _TOGETHER):
            answers = translate_each(
                asked.backend,
                [rows[i] for i, _ in together],
                prompt,
                asked.decoding,
                retries=asked.retries,
                keys=[(seed, key_of(rows[i]), draw) for i, draw in together],
            )
            for (i, _), answer in zip(together, in_order(answers, asked.tally, progress), strict=True):
                if answer.translation is not None:
                    found[i].append(answer.translation)
    return found, asked.tally.failures + asked.tally.unanswered


def of_degraded(system: Mapping[str, Any], rows: Sequence[Row], originals: Texts, seed: int) -> Texts:
    """Degraded copies of what another system gave, for a share of the rows.

    Args:
        system: `name`, `how` (`grrm.annotation.degrade.WAYS`), `share` of a text that is damaged, `rate` of
            rows that get a copy.
        rows: what was translated.
        originals: by the other system; of several the first is taken.
        seed: of rows and places.
    """
    found: Texts = []
    for row, texts in zip(rows, originals, strict=True):
        rng = random.Random(f"{seed_of(seed, key_of(row))} {system['name']}")
        copy = None
        if texts and rng.random() < system["rate"]:
            copy = degrade(texts[0], row["src_text"], system["how"], system["share"], rng)
        found.append([] if copy is None else [copy])
    return found


def group_of(row: Row, texts: Mapping[str, Sequence[str]], sizes: Sequence[int], seed: int) -> Row | None:
    """The group of a source, its candidates in a seeded order; None where too few differ.

    Args:
        row: of the table of pairs.
        texts: by system.
        sizes: of groups, see `group_size`.
        seed: of size and order.
    """
    rng = random.Random(seed_of(seed, key_of(row)))
    usable = [
        Candidate(text, (name,))
        for name, given in texts.items()
        for text in given
        if "\0" not in text and is_text(text)
    ]
    found = distinct(usable)
    size = group_size(sizes, len(found), rng)
    if size is None:
        return None
    chosen = choose(found, size)
    rng.shuffle(chosen)
    return {
        **row,
        "mt_texts": [candidate.text for candidate in chosen],
        "systems": [SEPARATOR.join(candidate.systems) for candidate in chosen],
    }
