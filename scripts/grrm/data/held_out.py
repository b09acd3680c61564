"""Test sets that are held out of a user's own tables.

Rows that share a text, or have nearly the same one on any side (`grrm.data.leakage`), are one family. It is
trained on or tested on as a whole, whatever tables its rows are in; so the gate finds no leakage.

To compare all rows with all takes memory and time: of large tables a part is drawn first, by its sources, and
only families that lie within it can be tested on. The others are read in batches.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from grrm.catalogue.trainings import STAGES, TRAININGS
from grrm.data.leakage import Index, near_duplicates, normalise, segments_of, training_texts
from grrm.extract import code_block
from grrm.files import UserError
from grrm.schemas import read_table

Rows = list[tuple[str, int]]
"""Rows by table and number."""

Masks = Mapping[str, npt.NDArray[np.bool_]]
"""Which rows of each table."""

_COMPARED = 200_000
"""Rows that are compared with one another, about: some 2 GB and a minute."""
_SPARE = 1.5
"""How many times the rows that are held out are drawn at least: some have relatives outside."""


def hold_out(
    paths: Mapping[str, Path], tasks: Collection[str], share: float, seed: int
) -> dict[str, pa.Table]:
    """The tables without what is held out, and a test table (`<task>_test`) for each task.

    Args:
        paths: training tables by stage.
        tasks: of which a test set is held out: ranking, translation.
        share: of the rows of each task that is held out, above 0 and below 1; less where families are large.
        seed: of the choice.

    Raises:
        UserError: a table cannot be read; there is too little to hold anything out, or nothing would be left.
    """
    tables = {name: read_table(path, name) for name, path in paths.items()}
    counts = {
        task: sum(len(t) for name, t in tables.items() if TRAININGS[name].task == task) for task in tasks
    }
    rooms = {task: max(1, round(share * count)) for task, count in counts.items()}
    drawn = _drawn(tables, share, seed)
    chosen = _chosen(_families(paths, drawn), rooms, seed)
    if missing := [task for task in tasks if not any(TRAININGS[name].task == task for name, _ in chosen)]:
        names = ", ".join(name for name in paths if TRAININGS[name].task == missing[0])
        raise UserError(
            f"of {counts[missing[0]]} rows ({names}) none can be held out at a share of {share:g}: they are "
            "too few, or near duplicates of one another; raise data.held_out, or give a test set "
            "(data.test_sets)"
        )
    masks = {name: np.zeros(table.num_rows, np.bool_) for name, table in tables.items()}
    for name, row in chosen:
        masks[name][row] = True
    if empty := [name for name, mask in masks.items() if mask.all()]:
        raise UserError(
            f"data.held_out is {share:g}: nothing of {empty[0]} is left to train on; lower it, or give more "
            "rows"
        )
    kept = {name: table.filter(pa.array(~masks[name])) for name, table in tables.items()}
    held = {name: table.filter(pa.array(masks[name])) for name, table in tables.items()}
    return kept | {f"{task}_test": _test_table(task, held) for task in tasks}


def _drawn(tables: Mapping[str, pa.Table], share: float, seed: int) -> Masks:
    """The rows among which families are sought: all, or those of some sources, drawn by the seed."""
    part = max(_COMPARED / sum(map(len, tables.values())), _SPARE * share)
    if part >= 1:
        return {name: np.ones(len(table), np.bool_) for name, table in tables.items()}

    def is_drawn(source: str) -> bool:
        return crc32(f"{seed} {normalise(source)}".encode()) < part * 2**32

    return {
        name: np.fromiter((is_drawn(text.as_py()) for text in table["src_text"]), np.bool_, len(table))
        for name, table in tables.items()
    }


def _families(paths: Mapping[str, Path], drawn: Masks) -> list[Rows]:
    """The drawn rows, those that have a text in common together, without those that are near any other row.

    They are in the order of their first rows.
    """
    rows = [(name, int(row)) for name, mask in drawn.items() for row in np.flatnonzero(mask)]
    number_of = {row: number for number, row in enumerate(rows)}
    parents = list(range(len(rows)))

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = number = parents[parents[number]]
        return number

    segments = [
        segment
        for name, path in paths.items()
        for segment in segments_of(name, path)
        if drawn[name][segment.row]
    ]
    for pair in near_duplicates(segments):
        one, other = sorted(root(number_of[segments[i].test, segments[i].row]) for i in pair)
        parents[other] = one
    families: dict[int, Rows] = {}
    for number, row in enumerate(rows):
        families.setdefault(root(number), []).append(row)
    if not all(mask.all() for mask in drawn.values()):
        for i in Index(segments).search(_others(paths, drawn)):
            families.pop(root(number_of[segments[i].test, segments[i].row]), None)
    return list(families.values())


def _others(paths: Mapping[str, Path], drawn: Masks) -> Iterator[list[tuple[int, str, str]]]:
    """Batches of the texts of rows that are not drawn."""
    for name, path in paths.items():
        for batch in training_texts(path):
            yield [text for text in batch if not drawn[name][text[0]]]


def _chosen(families: Sequence[Rows], rooms: Mapping[str, int], seed: int) -> Rows:
    """Rows of families that are drawn at random as long as there is room for their rows of each task."""
    rooms, chosen = dict(rooms), []
    for family in random.Random(seed).sample(families, len(families)):
        needed = {task: sum(TRAININGS[name].task == task for name, _ in family) for task in rooms}
        if any(needed.values()) and all(needed[task] <= room for task, room in rooms.items()):
            chosen += family
            rooms = {task: room - needed[task] for task, room in rooms.items()}
    return chosen


def _test_table(task: str, held: Mapping[str, pa.Table]) -> pa.Table:
    """What is held out of the tables of a task, each source in one direction once."""
    # Of a source in several tables the row of the last stage is tested on.
    names = [name for name in reversed(STAGES) if name in held and TRAININGS[name].task == task]
    parts = [_as_test(held[name]) for name in names]
    try:
        table = pa.concat_tables(parts, promote_options="default")
    except pa.ArrowException as error:
        raise UserError(
            f"{' and '.join(names)}: a further column is of another type in one of them ({error}); give it "
            "one type, or another name"
        ) from error
    keys = zip(*(table[name].to_pylist() for name in ("src_text", "src_lang", "trg_lang")), strict=True)
    first: dict[tuple[str, str, str], int] = {}
    for number, key in enumerate(keys):
        first.setdefault(key, number)
    return table.take(list(first.values()))


def _as_test(table: pa.Table) -> pa.Table:
    if "mt_texts" in table.column_names:
        table = _without(table, "analysis")
        place = table.column_names.index("scores")
        return table.set_column(place, "scores", table["scores"].cast(pa.list_(pa.float64())))
    if "response" in table.column_names:
        texts = [code_block(response) for response in table["response"].to_pylist()]
        if "trg_text" in table.column_names:  # a reference beside the reasoning
            given = table["trg_text"].to_pylist()
            texts = [one or other for one, other in zip(given, texts, strict=True)]
        return _without(table, "response", "trg_text").append_column("trg_text", pa.array(texts, pa.string()))
    return table


def _without(table: pa.Table, *columns: str) -> pa.Table:
    return table.drop_columns([name for name in columns if name in table.column_names])
