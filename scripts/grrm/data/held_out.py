"""Test sets that are held out of a user's own tables.

Rows that share a text, or have nearly the same one on any side (`grrm.data.leakage`), are one family. It is
trained on or tested on as a whole, whatever tables its rows are in; so the gate finds no leakage.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from grrm.catalogue.trainings import STAGES, TRAININGS
from grrm.data.leakage import near_duplicates, segments_of
from grrm.extract import code_block
from grrm.files import UserError
from grrm.schemas import read_table

Rows = list[tuple[str, int]]
"""Rows by table and number."""

_UNTESTED = ("analysis", "trg_text")  # of ranked groups


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
    chosen = _chosen(_families(paths, tables), rooms, seed)
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


def _families(paths: Mapping[str, Path], tables: Mapping[str, pa.Table]) -> list[Rows]:
    """All rows, those that have a text in common together; in the order of their first rows."""
    rows = [(name, row) for name, table in tables.items() for row in range(table.num_rows)]
    number_of = {row: number for number, row in enumerate(rows)}
    parents = list(range(len(rows)))

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = number = parents[parents[number]]
        return number

    segments = [segment for name, path in paths.items() for segment in segments_of(name, path)]
    for pair in near_duplicates(segments):
        one, other = sorted(root(number_of[segments[i].test, segments[i].row]) for i in pair)
        parents[other] = one
    families: dict[int, Rows] = {}
    for number, row in enumerate(rows):
        families.setdefault(root(number), []).append(row)
    return list(families.values())


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
    table = pa.concat_tables(parts, promote_options="default")
    keys = zip(*(table[name].to_pylist() for name in ("src_text", "src_lang", "trg_lang")), strict=True)
    first: dict[tuple[str, str, str], int] = {}
    for number, key in enumerate(keys):
        first.setdefault(key, number)
    return table.take(list(first.values()))


def _as_test(table: pa.Table) -> pa.Table:
    if "mt_texts" in table.column_names:
        table = table.drop_columns([name for name in _UNTESTED if name in table.column_names])
        place = table.column_names.index("scores")
        return table.set_column(place, "scores", table["scores"].cast(pa.list_(pa.float64())))
    if "response" in table.column_names:
        texts = [code_block(response) for response in table["response"].to_pylist()]
        return table.drop_columns("response").append_column("trg_text", pa.array(texts, pa.string()))
    return table
