"""Rows of the longest lengths that a training allows, made of its own; run in the environment of its engine.

python -m grrm.engines.longest_rows KIND --data prepared --model FOLDER --longest 1600 --batch 512 \
    --output rows --tokens tokens.json

Of reinforcement learning (policy) the rows of the first step are the prepared ones as they are, so that
answers end and can be judged; those of the second have the longest prompt, and a mark by which their rollouts
do not end before the longest answer. All rows of supervised trainings are as long as is allowed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from grrm.data.judge_data import read_records
from grrm.data.records import Preferred
from grrm.engines.rendering import prompt_tokens
from grrm.files import UserError, atomic_path, read_jsonl, write_json, write_jsonl
from grrm.judges.conversation import with_response
from grrm.process import run_main
from grrm.texts import encode_chat

STEPS = 2
"""Of a rehearsal: the first, with all that is started and compiled on the way, and one that is measured."""
LONGEST = "longest"
"""In `extra_info` of a row: its rollouts go on to the longest length."""

Row = dict[str, Any]
Messages = Sequence[Mapping[str, Any]]
T = TypeVar("T")

# A text is lengthened piece by piece: none of them has many tokens in any language.
_PIECE = re.compile(r"\s*\S{1,4}")
_DIFFERENT = 32
"""Rows of a supervised training that are made; the others are copies."""


def main(argv: list[str] | None = None) -> None:
    """Write the rows, and how long they are in the mean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["policy", "demonstrations", "preferences"])
    parser.add_argument("--data", type=Path, required=True, help="prepared rows")
    parser.add_argument("--model", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--longest", type=int, required=True, help="tokens of a prompt (policy) or a row")
    parser.add_argument("--batch", type=int, required=True, help="rows of a step")
    parser.add_argument(
        "--plain", action="store_true", help="of demonstrations: ChatML, whatever the model's"
    )
    parser.add_argument("--output", type=Path, required=True, help="rows to write")
    parser.add_argument("--tokens", type=Path, required=True, help="mean number of tokens to write (JSON)")
    args = parser.parse_args(argv)
    # Tokenizers need no torch, which takes longer to import than all of this.
    sys.modules["torch"] = None  # type: ignore[assignment]
    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"
    from transformers import AutoTokenizer

    tokenizer, count = AutoTokenizer.from_pretrained(args.model), STEPS * args.batch
    if args.kind == "policy":
        rows, tokens = policy_rows(_read_parquet(args.data), tokenizer, args.longest, args.batch)
        _write_parquet(args.output, args.data, rows)
    elif args.kind == "demonstrations":
        given = read_jsonl(args.data)
        rows, tokens = demonstrations(given, tokenizer, args.longest, count, plain=args.plain)
        write_jsonl(args.output, rows)
    else:
        records = read_records([args.data], "bradley_terry")
        rows, tokens = preferences(records, tokenizer, args.longest, count)
        write_jsonl(args.output, rows)
    write_json(args.tokens, {"tokens": tokens})


def policy_rows(rows: Sequence[Row], tokenizer: Any, longest: int, batch: int) -> tuple[list[Row], float]:
    """verl's rows of two steps: as they are, then as long as a prompt may be.

    Args:
        rows: prepared ones.
        tokenizer: of transformers.
        longest: tokens of a prompt.
        batch: rows of a step.

    Returns:
        the rows, and the mean number of tokens of the long ones.

    Raises:
        UserError: no row has room in a prompt.
    """

    def tokens(messages: Messages) -> int:
        return len(prompt_tokens(tokenizer, messages))

    made = ((row, lengthened(row["prompt"], tokens, longest)) for row in rows)
    pairs = _first(((row, {**row, "prompt": messages}) for row, messages in made if messages), batch, longest)
    steps = [(short, False) for short, _ in _repeated(pairs, batch)]
    steps += [(long, True) for _, long in _repeated(pairs, batch)]
    numbered = [
        {**row, "extra_info": {**row["extra_info"], "index": number, LONGEST: is_long}}
        for number, (row, is_long) in enumerate(steps)
    ]
    return numbered, _mean(tokens(row["prompt"]) for row in numbered[batch:])


def demonstrations(
    rows: Sequence[Row], tokenizer: Any, longest: int, count: int, *, plain: bool
) -> tuple[list[Row], float]:
    """LLaMA-Factory's rows, as long as they may be.

    Args:
        rows: prepared ones.
        tokenizer: of transformers.
        longest: tokens of a row.
        count: how many.
        plain: ChatML, written by LLaMA-Factory itself; else the tokenizer's chat template.

    Returns:
        the rows, and their mean number of tokens.

    Raises:
        UserError: no row has so few tokens.
    """

    def tokens(messages: Messages) -> int:
        if not plain:
            return len(encode_chat(tokenizer, messages))
        turns = "".join(f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in messages)
        return len(tokenizer(turns, add_special_tokens=False)["input_ids"])

    made = (lengthened(row["messages"], tokens, longest) for row in rows)
    long = _first(filter(None, made), min(count, _DIFFERENT), longest)
    return [{"messages": messages} for messages in _repeated(long, count)], _mean(map(tokens, long))


def preferences(
    records: Iterable[Preferred], tokenizer: Any, longest: int, count: int
) -> tuple[list[Row], float]:
    """Chosen and rejected responses, each as long as it may be; see `demonstrations`. A row is both."""

    def tokens(messages: Messages) -> int:
        return len(encode_chat(tokenizer, messages))

    def longer(record: Preferred, text: str) -> str | None:
        messages = lengthened(with_response(record.conversation, text), tokens, longest)
        return None if messages is None else str(messages[-1]["content"])

    sides = ((record, longer(record, record.chosen), longer(record, record.rejected)) for record in records)
    made = (
        replace(record, chosen=chosen, rejected=rejected).row()
        for record, chosen, rejected in sides
        if chosen and rejected
    )
    rows = _first(made, min(count, _DIFFERENT), longest)
    mean = _mean(tokens(row[side]) for row in rows for side in ("chosen", "rejected"))
    return list(_repeated(rows, count)), 2 * mean


def lengthened(
    messages: Messages, tokens: Callable[[Messages], int], longest: int
) -> list[dict[str, Any]] | None:
    """Messages whose last one goes on with its own words as far as there is room; None if there is none.

    Args:
        messages: with role and content.
        tokens: counts those of messages.
        longest: tokens that they may have.
    """
    *before, last = map(dict, messages)
    pieces = _PIECE.findall(str(last["content"])) or [" a"]

    def with_pieces(count: int) -> list[dict[str, Any]]:
        more = "".join(itertools.islice(itertools.cycle(pieces), count))
        return [*before, {**last, "content": f"{last['content']}\n{more}" if count else last["content"]}]

    if tokens(messages) > longest:
        return None
    fits, over = 0, 1
    while tokens(with_pieces(over)) <= longest:
        fits, over = over, 2 * over
    while over - fits > 1:
        middle = (fits + over) // 2
        fits, over = (middle, over) if tokens(with_pieces(middle)) <= longest else (fits, middle)
    return with_pieces(fits)


def _first(rows: Iterable[T], count: int, longest: int) -> list[T]:
    """The first ones, at least one."""
    if found := list(itertools.islice(rows, count)):
        return found
    raise UserError(f"no prepared row has at most {longest} tokens, as is configured; raise the limit")


def _repeated(rows: Iterable[T], count: int) -> Iterator[T]:
    return itertools.islice(itertools.cycle(rows), count)


def _mean(values: Iterable[int]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow.parquet as pq

    rows: list[Row] = pq.read_table(path).to_pylist()
    return rows


def _write_parquet(path: Path, like: Path, rows: Iterable[Row]) -> None:
    """Write rows in the schema of another file, and the mark."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(like)
    place = schema.get_field_index("extra_info")
    info = [*schema.field(place).type, pa.field(LONGEST, pa.bool_())]
    marked = schema.set(place, pa.field("extra_info", pa.struct(info)))
    with atomic_path(path) as partial:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=marked), partial)


if __name__ == "__main__":
    run_main(main)
