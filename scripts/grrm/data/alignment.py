"""Rows for the alignment of a policy against a judge: {x, chosen, rejected, source, unique_id}, as RM-Gallery
documents them (examples/train/rl_training).

`x` is the conversation before the response, `chosen` and `rejected` the same conversation with a better and
a worse one: lists of messages, JSON texts of such lists, or plain texts. A row of another layout is an error
that names the row and the key, never an empty response or an invented prompt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from grrm.files import UserError, read_jsonl
from grrm.judges.conversation import question_text

Message = dict[str, str]
Row = dict[str, Any]

DEFAULT_SOURCE = "alignment"
_ROLES = ("system", "user", "assistant")
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


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a Parquet or JSON-lines file, as they are.

    Raises:
        UserError: the file is missing or of another format.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.suffix in (".jsonl", ".json"):
        yield from read_jsonl(path)
        return
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: neither JSON lines (.jsonl) nor a Parquet file ({error})") from error


def verl_rows(path: Path, *, split: Literal["train", "test"], bad_rows: str = "error") -> list[Row]:
    """Rows of `ROWS`, one per row of the file.

    Args:
        path: rows {x, chosen, rejected, source, unique_id}.
        split: name of the split; verl asks for `rollout.n` responses to a row of "train".
        bad_rows: "error" stops at the first row of another layout; "drop" leaves it out and prints how many.

    Raises:
        UserError: a row is bad (or, with "drop", all are), or two rows have the same unique_id.
    """
    rows: list[Row] = []
    dropped: list[str] = []
    places: dict[str, int] = {}
    for number, row in enumerate(read_rows(path)):
        try:
            made = _verl_row(row, len(rows), split)
        except ValueError as error:
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
    if dropped:
        print(f"{path}: {len(dropped)} rows left out; the first: {dropped[0]}")
    return rows


def _verl_row(row: Mapping[str, Any], index: int, split: str) -> Row:
    """One row; ValueError says what is wrong with it."""
    conversation, chosen = _preferred(row, "chosen")
    rejected = _preferred(row, "rejected")[1] if row.get("rejected") is not None else None
    # Without x, what chosen answers.
    turns = _messages(row["x"], "x") if row.get("x") else conversation
    if not turns:
        raise ValueError(
            "x is missing and chosen holds a response only; expected the conversation in one of them"
        )
    if turns[-1]["role"] != "user":
        raise ValueError(f"x ends with the role {turns[-1]['role']!r}, expected 'user'")
    if conversation and conversation != turns:
        raise ValueError("chosen answers another conversation than x")
    return {
        "data_source": str(row.get("source") or DEFAULT_SOURCE),
        "prompt": turns,
        "ability": "alignment",
        "reward_model": {"style": "model", "ground_truth": ""},
        "extra_info": {
            "index": index,
            "split": split,
            "unique_id": str(row.get("unique_id") or ""),
            "question": question_text(turns),
            "turns": turns,
            "chosen": chosen,
            "rejected": rejected,
        },
    }


def _preferred(row: Mapping[str, Any], key: str) -> tuple[list[Message], str]:
    """The conversation of a response, empty if it stands alone, and the response."""
    if row.get(key) is None:
        raise ValueError(f"no {key}; the row has {', '.join(row)}")
    value = row[key]
    if isinstance(value, str) and not value.lstrip().startswith(("[", "{")):
        if not value.strip():
            raise ValueError(f"{key} is empty")
        return [], value.strip()
    messages = _messages(value, key)
    if messages[-1]["role"] != "assistant":
        raise ValueError(f"{key} ends with the role {messages[-1]['role']!r}, expected 'assistant'")
    return messages[:-1], messages[-1]["content"].strip()


def _messages(value: Any, key: str) -> list[Message]:
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.lstrip().startswith(("[", "{")) else value
        except json.JSONDecodeError as error:
            raise ValueError(f"{key} begins like JSON and is none ({error})") from error
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, Sequence) or not value:
        raise ValueError(f"{key} is {value!r:.200}, expected a list of messages with role and content")
    messages = []
    for message in value:
        if not isinstance(message, Mapping) or message.get("role") not in _ROLES:
            raise ValueError(
                f"{key} holds {message!r:.200}, expected a message with a role of {', '.join(_ROLES)}"
            )
        if not isinstance(message.get("content"), str) or not message["content"].strip():
            raise ValueError(f"{key} holds a message of the {message['role']} without content")
        messages.append({"role": message["role"], "content": message["content"]})
    return messages
