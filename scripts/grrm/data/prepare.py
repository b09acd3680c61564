"""From source tables to the rows each training stage reads.

Supervised rows are chats, `{"messages": [user, assistant]}`, one line of JSON each. Rows for reinforcement
learning have verl's layout. Ranking rows can be augmented, as in the paper's released preparation:
`subgroup_augment` adds subsets of the candidates, `shuffle_augment` adds other orders of each. With 4 and 4,
a group of two candidates gives 2 rows, of three 11, and of four 17.8 on average.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from grrm.extract import code_block
from grrm.files import UserError, atomic_path
from grrm.prompts import RankingPrompt, TranslationPrompt, ranking_answer
from grrm.ranking import labels
from grrm.schemas import BadRows

Row = dict[str, Any]

BATCH_ROWS = 8192

_SOURCE = ("src_text", "src_lang", "trg_lang")

_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
_REWARD_MODEL = pa.struct([("style", pa.string()), ("ground_truth", pa.string())])


def _verl_schema(extra: Sequence[tuple[str, pa.DataType]]) -> pa.Schema:
    return pa.schema(
        [
            ("data_source", pa.string()),
            ("prompt", pa.list_(_MESSAGE)),
            ("ability", pa.string()),
            ("reward_model", _REWARD_MODEL),
            ("extra_info", pa.struct([("index", pa.int64()), ("split", pa.string()), *extra])),
        ]
    )


RANKING_ROWS = _verl_schema(
    [
        ("group", pa.int64()),  # row of the source table
        ("src_lang", pa.string()),
        ("trg_lang", pa.string()),
        ("src_text", pa.string()),
        ("mt_texts", pa.list_(pa.string())),  # as the prompt shows them
        ("shuffle_indices", pa.list_(pa.int64())),  # where they stand in the source row
    ]
)
TRANSLATION_ROWS = _verl_schema(
    [
        ("src_lang", pa.string()),
        ("trg_lang", pa.string()),
        ("src_text", pa.string()),
        ("trg_text", pa.string()),  # for reports; no judge sees it
    ]
)


def chat(user: list[dict[str, str]], answer: str) -> Row:
    """One supervised example: the user's messages and the answer to learn."""
    return {"messages": [*user, {"role": "assistant", "content": answer}]}


# ---------------------------------------------------------------- supervised fine-tuning


def ranking_chat(row: Row, prompt: RankingPrompt) -> Row:
    """A row of the grrm_sft table as a chat: the ranking prompt, then analysis, ranking and scores."""
    user = prompt.messages(**{name: row[name] for name in ("src_text", "mt_texts", "src_lang", "trg_lang")})
    return chat(user, ranking_answer(strip_verdict(row["analysis"]), row["scores"]))


def translation_chat(row: Row, prompt: TranslationPrompt) -> Row:
    """A row of the mt_sft table as a chat: the translation prompt, then the response as it is."""
    user = prompt.messages(**{name: row[name] for name in ("src_text", "src_lang", "trg_lang")})
    return chat(user, row["response"])


def rows_with_translation(rows: Sequence[Row], path: str | Path, bad_rows: BadRows) -> list[Row]:
    """The rows of an mt_sft table whose response ends with the translation in a code block.

    Args:
        rows: the rows.
        path: where they come from, for messages.
        bad_rows: "error" stops at the first other row; "drop" leaves such rows out and says how many.

    Raises:
        UserError: a row is bad or, with "drop", no row is good.
    """
    good = [row for row in rows if code_block(row["response"]) is not None]
    bad = [number for number, row in enumerate(rows) if code_block(row["response"]) is None]
    if bad and (bad_rows == "error" or not good):
        raise UserError(
            f"{path}, row {bad[0]}: response is {rows[bad[0]]['response']!r}; expected an analysis, then "
            f"the translation in one code block at the end ({len(bad)} of {len(rows)} rows are bad); repair "
            "them, or leave them out with --bad-rows drop"
        )
    if bad:
        print(f"{path}: {len(bad)} of {len(rows)} rows dropped: no translation in a code block at the end")
    return good


_RANK = r"[A-Z](?:\s*[>=]\s*[A-Z])+"
_SCORE = r"[A-Z]\s*[:=：]\s*\d+(?:\.\d+)?(?:\s*/\s*10)?"
_HEADING = r"(?i:(?:final\s+|overall\s+)?(?:rankings?|scores?|scoring))\s*[:：]?"
_VERDICT = re.compile(
    rf"[#*\s]*(?:{_HEADING}[*\s]*(?:{_RANK}|{_SCORE}(?:\s*[,;，；]\s*{_SCORE})*)?"
    rf"|{_RANK}|{_SCORE}(?:\s*[,;，；]\s*{_SCORE})+)[*.\s]*"
)


def is_verdict(line: str) -> bool:
    """Whether a line is nothing but a ranking ("B > A"), scores ("A: 8, B: 9") or the heading of either."""
    return _VERDICT.fullmatch(line) is not None


def strip_verdict(analysis: str) -> str:
    """Take the last line off an analysis if it is a ranking or score line; prose about scores stays."""
    body, _, last = analysis.rstrip().rpartition("\n")
    return body.rstrip() if body.strip() and is_verdict(last) else analysis.rstrip()


# ---------------------------------------------------------------- reinforcement learning: ranking


@dataclass(frozen=True)
class RankingItem:
    """One ranking question: a row of the source table, and which of its candidates it shows, in order."""

    group: int
    indices: tuple[int, ...]


def augment(
    size: int, subgroup_augment: int, shuffle_augment: int, rng: random.Random
) -> list[tuple[int, ...]]:
    """The candidate orders made from one group: the group itself first, no order twice.

    Args:
        size: candidates of the group, at least 2.
        subgroup_augment: most random subsets of 2..size-1 candidates that are added.
        shuffle_augment: most random other orders added for the group and for each subset.
        rng: source of randomness.
    """
    full = tuple(range(size))
    chosen = [full, *_random_subsets(size, subgroup_augment, rng)]
    return [order for subset in chosen for order in (subset, *_random_orders(subset, shuffle_augment, rng))]


def _random_subsets(size: int, count: int, rng: random.Random) -> list[tuple[int, ...]]:
    proper = 2**size - size - 2  # without the empty set, single candidates and the whole group
    subsets: dict[tuple[int, ...], None] = {}
    while len(subsets) < min(count, proper):
        bits = rng.getrandbits(size)
        subset = tuple(index for index in range(size) if bits >> index & 1)
        if 2 <= len(subset) < size:
            subsets[subset] = None
    return list(subsets)


def _random_orders(subset: tuple[int, ...], count: int, rng: random.Random) -> list[tuple[int, ...]]:
    orders: dict[tuple[int, ...], None] = {}
    while len(orders) < min(count, math.factorial(len(subset)) - 1):
        order = tuple(rng.sample(subset, len(subset)))
        if order != subset:
            orders[order] = None
    return list(orders)


def plan_ranking_rows(
    sizes: Iterable[int], seed: int, subgroup_augment: int, shuffle_augment: int
) -> list[RankingItem]:
    """Augment groups of the given sizes and shuffle all items; the same arguments give the same plan."""
    rng = random.Random(seed)
    plan = [
        RankingItem(group, order)
        for group, size in enumerate(sizes)
        for order in augment(size, subgroup_augment, shuffle_augment, rng)
    ]
    rng.shuffle(plan)
    return plan


def ranking_batches(
    table: pa.Table,
    prompt: RankingPrompt,
    *,
    seed: int,
    subgroup_augment: int,
    shuffle_augment: int,
    data_source: str,
    split: str,
) -> Iterator[pa.RecordBatch]:
    """Batches of verl rows (`RANKING_ROWS`) from a table of ranked groups.

    The ground truth is a JSON object from label to score, such as '{"A": 8, "B": 3}'.
    """
    groups = table.select(["src_text", "src_lang", "trg_lang", "mt_texts", "scores"]).to_pydict()
    sizes = [len(texts) for texts in groups["mt_texts"]]
    plan = plan_ranking_rows(sizes, seed, subgroup_augment, shuffle_augment)
    names = {size: labels(size) for size in range(2, max(sizes, default=2) + 1)}
    for start, items in _batched(plan):
        texts = [[groups["mt_texts"][item.group][i] for i in item.indices] for item in items]
        scores = [[groups["scores"][item.group][i] for i in item.indices] for item in items]
        shown = {name: [groups[name][item.group] for item in items] for name in _SOURCE} | {"mt_texts": texts}
        yield _verl_batch(
            RANKING_ROWS,
            start,
            prompts=[prompt.render(**row) for row in _rows(shown)],
            truths=[json.dumps(dict(zip(names[len(s)], s, strict=True))) for s in scores],
            data_source=data_source,
            ability="ranking",
            split=split,
            extra={
                **shown,
                "group": [item.group for item in items],
                "shuffle_indices": [item.indices for item in items],
            },
        )


# ---------------------------------------------------------------- reinforcement learning: translation


def translation_batches(
    table: pa.Table, prompt: TranslationPrompt, *, seed: int, data_source: str, split: str
) -> Iterator[pa.RecordBatch]:
    """Batches of verl rows (`TRANSLATION_ROWS`) from a table of translation pairs, shuffled.

    There is no ground truth: the judge sees the source text and the candidates only.
    """
    pairs = table.select(["src_lang", "trg_lang", "src_text", "trg_text"]).to_pydict()
    order = list(range(table.num_rows))
    random.Random(seed).shuffle(order)
    for start, rows in _batched(order):
        columns = {name: [values[row] for row in rows] for name, values in pairs.items()}
        shown = {name: columns[name] for name in _SOURCE}
        yield _verl_batch(
            TRANSLATION_ROWS,
            start,
            prompts=[prompt.render(**row) for row in _rows(shown)],
            truths=[""] * len(rows),
            data_source=data_source,
            ability="translation",
            split=split,
            extra=columns,
        )


def _verl_batch(
    schema: pa.Schema,
    start: int,
    *,
    prompts: list[str],
    truths: list[str],
    data_source: str,
    ability: str,
    split: str,
    extra: dict[str, list[Any]],
) -> pa.RecordBatch:
    """Put columns together; arrays are built column by column, which is far faster than row by row."""
    count = len(prompts)
    messages = _struct(_MESSAGE, {"role": ["user"] * count, "content": prompts})
    info: dict[str, list[Any]] = {
        "index": list(range(start, start + count)),
        "split": [split] * count,
        **extra,
    }
    return pa.RecordBatch.from_arrays(
        [
            pa.array([data_source] * count, pa.string()),
            pa.ListArray.from_arrays(pa.array(range(count + 1), pa.int32()), messages),
            pa.array([ability] * count, pa.string()),
            _struct(_REWARD_MODEL, {"style": ["rule"] * count, "ground_truth": truths}),
            _struct(schema.field("extra_info").type, info),
        ],
        schema=schema,
    )


def _struct(kind: pa.StructType, columns: dict[str, list[Any]]) -> pa.StructArray:
    arrays = [pa.array(columns[field.name], field.type) for field in kind]
    return pa.StructArray.from_arrays(arrays, fields=list(kind))


def _rows(columns: dict[str, list[Any]]) -> Iterator[Row]:
    return (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))


def _batched(items: Sequence[Any]) -> Iterator[tuple[int, Sequence[Any]]]:
    for start in itertools.count(0, BATCH_ROWS):
        if start >= len(items):
            return
        yield start, items[start : start + BATCH_ROWS]


def write_rows(path: str | Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write batches as one Parquet file, whole or not at all; return the number of rows."""
    rows = 0
    with atomic_path(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows
