"""Rows for the alignment of a policy against a judge: {x, chosen, rejected, source, unique_id}, as RM-Gallery
documents them (examples/train/rl_training).

`x` is the conversation before the response, `chosen` and `rejected` the same conversation with a better and
a worse one: lists of messages, JSON texts of such lists, or plain texts. Other layouts of preferences are
read too (`grrm.data.layouts`), ties left out. Any other row is an error that names the row and the key, never
an empty response or an invented prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from grrm.data.layouts import UnusedRow, asked, parse_row
from grrm.data.records import Conversation
from grrm.data.rows import read_rows
from grrm.data.values import closed
from grrm.files import UserError
from grrm.judges.conversation import question_text
from grrm.texts import mark_messages

Row = dict[str, Any]

DEFAULT_SOURCE = "alignment"
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

ROWS = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", _MESSAGES),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        (
            "extra_info",
            pa.struct(
                [
                    ("index", pa.int64()),
                    ("split", pa.string()),
                    ("unique_id", pa.string()),
                    ("question", pa.string()),
                    ("turns", _MESSAGES),
                    ("chosen", pa.string()),
                    ("rejected", pa.string()),
                ]
            ),
        ),
    ]
)
"""Columns of a row for verl."""


def verl_rows(path: Path, *, split: Literal["train", "test"], bad_rows: str = "error") -> list[Row]:
    """Rows of `ROWS`, one per row of the file.

    Args:
        path: a file of rows (`grrm.data.rows`).
        split: name of the split; verl asks for `rollout.n` responses to a row of "train".
        bad_rows: "error" stops at the first row of another layout; "drop" leaves it out and prints how many.

    Raises:
        UserError: a row is bad (or, with "drop", all are), or two rows have the same unique_id.
    """
    rows: list[Row] = []
    dropped: list[str] = []
    unused: Counter[str] = Counter()
    places: dict[str, int] = {}
    for number, row in enumerate(read_rows(path)):
        try:
            made = _verl_row(row, len(rows), split)
        except UnusedRow as reason:
            unused[str(reason)] += 1
            continue
        except UserError as error:
            dropped.append(f"{path}, row {number} (the first is 0): {error}")
            if bad_rows == "error":
                raise UserError(dropped[-1]) from error
            continue
        unique = made["extra_info"]["unique_id"]
        if unique and places.setdefault(unique, number) != number:
            raise UserError(
                f"{path}, row {number}: unique_id {unique!r} is also that of row {places[unique]}"
            )
        rows.append(made)
    if not rows:
        raise UserError(dropped[0] if dropped else f"{path}: no rows")
    for words, count in unused.items():
        print(f"{path}: {count} rows left out: {words}")
    if dropped:
        print(f"{path}: {len(dropped)} rows left out; the first: {dropped[0]}")
    return rows


def _verl_row(row: Mapping[str, Any], index: int, split: str) -> Row:
    """One row; UserError says what is wrong with it."""
    turns, chosen, rejected = _preference(row)
    if not turns:
        raise UserError(
            "x is missing and chosen holds a response only; expected the conversation in one of them"
        )
    if turns[-1]["role"] != "user":
        raise UserError(f"the conversation ends with the role {turns[-1]['role']!r}, expected 'user'")
    messages = [dict(turn) for turn in turns]
    return {
        "data_source": str(row.get("source") or DEFAULT_SOURCE),
        "prompt": mark_messages(messages),
        "ability": "alignment",
        "reward_model": {"style": "model", "ground_truth": ""},
        "extra_info": {
            "index": index,
            "split": split,
            "unique_id": str(row.get("unique_id") or ""),
            "question": question_text(turns),
            "turns": messages,
            "chosen": chosen.strip(),
            "rejected": None if rejected is None else rejected.strip(),
        },
    }


def _preference(row: Mapping[str, Any]) -> tuple[Conversation, str, str | None]:
    """What is answered, and the responses; a rejected one is not needed, and may be the same."""
    if row.get("chosen") is None:
        record = parse_row(row, "bradley_terry")
        return record.conversation, record.chosen, record.rejected
    before, chosen = closed(row["chosen"], "chosen")
    rejected = None if row.get("rejected") is None else closed(row["rejected"], "rejected")[1]
    turns = asked(row)
    if turns and turns[-1]["role"] != "user":
        raise UserError(f"x ends with the role {turns[-1]['role']!r}, expected 'user'")
    if before and turns and before != turns:
        raise UserError("chosen answers another conversation than x")
    return turns or before, chosen, rejected
