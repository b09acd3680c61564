"""From graded and compared responses to the prompts of judges and to verl's rows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from grrm.data.records import Compared, Demonstration, Graded, conversation_key, distinct_pairs
from grrm.files import UserError, atomic_path
from grrm.judges.conversation import question_text
from grrm.judges.prompts import JudgePrompt
from grrm.texts import mark_messages


def marked(record: Demonstration) -> Demonstration:
    """A conversation to imitate as an engine is to render it (`grrm.texts.mark`)."""
    return replace(record, messages=tuple(mark_messages(record.messages)))


def judge_prompt(record: Graded | Compared, prompt: JudgePrompt) -> str:
    """What a judge is asked about a graded response, or about two compared ones in their order."""
    question = question_text(record.conversation)
    if isinstance(record, Graded):
        return prompt.render(question=question, response=record.response)
    return prompt.render(question=question, first=record.first, second=record.second)


def judge_rows(
    records: Sequence[Graded] | Sequence[Compared],
    prompt: JudgePrompt,
    *,
    both: bool = False,
    split: str = "train",
    seed: int = 0,
) -> list[dict[str, Any]]:
    """verl rows, shuffled; with `both`, both orders of every comparison follow each other.

    Each two rows are then a pair, also where the data hold both orders already or the responses are equal: a
    step of an even number of rows holds whole pairs.

    `prompt` is the whole question to the judge, so limits of its length apply to what is really asked.
    `reward_model.ground_truth` is the score or the preference, `extra_info.pair` the number of the record,
    the same for both orders.
    """
    if both:
        records = distinct_pairs(record for record in records if isinstance(record, Compared))
    order = list(range(len(records)))
    random.Random(seed).shuffle(order)
    rows: list[dict[str, Any]] = []
    for number in order:
        record = records[number]
        shown = [record, record.swapped()] if both and isinstance(record, Compared) else [record]
        for place in shown:
            truth = str(place.score) if isinstance(place, Graded) else place.preference
            rows.append(
                {
                    "data_source": record.source or "judge",
                    "prompt": mark_messages([{"role": "user", "content": judge_prompt(place, prompt)}]),
                    "ability": "judge",
                    "reward_model": {"style": "rule", "ground_truth": truth},
                    "extra_info": {
                        "index": len(rows),
                        "split": split,
                        "pair": number,
                        "conversation": conversation_key(record),
                    },
                }
            )
    return rows


def write_judge_rows(path: str | Path, rows: Sequence[dict[str, Any]]) -> int:
    """Write verl rows as a Parquet file, whole or not at all; return how many.

    Raises:
        UserError: there are none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not rows:
        raise UserError(f"{path}: no rows to write")
    with atomic_path(path) as partial:
        pq.write_table(pa.Table.from_pylist(list(rows)), partial, compression="zstd")
    return len(rows)
