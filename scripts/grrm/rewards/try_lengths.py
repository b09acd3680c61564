"""Count the rows whose candidates the judge that verl serves cannot be shown, before a training begins.

python -m grrm.rewards.try_lengths --options '{"prompt": ...}' --data rows.parquet --judge FOLDER
    --longest 2048 --rollouts 4

A row is out of reach if two candidates of one letter make too long a prompt: it can never be judged. More
than `max_failure_rate` of such rows are refused, for they would end the training. It is likely to be if
candidates as long as the reference (without one, as the source) do: that is said with its number.
"""

from __future__ import annotations

import argparse
import asyncio
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from grrm.files import UserError
from grrm.json_text import parse_json
from grrm.judges.groups import Group
from grrm.own_process import do_without_torch
from grrm.process import run_main
from grrm.rewards.group.judging import asking_insistently
from grrm.rewards.group.options import GroupOptions
from grrm.rewards.kinds import Scorer
from grrm.rewards.rows import Task, read_row
from grrm.texts import encode_chat

_LOOKED_AT = 1000
"""Rows, evenly spread."""
_SPARE = 16
"""Tokens by which a chat template may grow with what stands in it."""


def main(argv: list[str] | None = None) -> None:
    """Print one line if rows are too long; end with it if they are too many."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--options", type=parse_json, required=True, help="of the reward manager, as JSON")
    parser.add_argument("--data", type=Path, required=True, help="rows as verl reads them (Parquet)")
    parser.add_argument("--judge", type=Path, required=True, help="folder with the judge's tokenizer")
    parser.add_argument("--longest", type=int, required=True, help="longest prompt of the judge, in tokens")
    parser.add_argument("--rollouts", type=int, required=True, help="of a prompt")
    args = parser.parse_args(argv)
    do_without_torch()
    from transformers import AutoTokenizer

    options = GroupOptions.from_mapping(args.options)
    tokenizer = AutoTokenizer.from_pretrained(args.judge)
    rows = spread_rows(args.data, options.task)
    report = check_lengths(options, rows, tokenizer, longest=args.longest, rollouts=args.rollouts)
    if report:
        print(f"{args.data}: {report}", flush=True)


def spread_rows(data: Path, task: Task) -> list[Group]:
    """What at most `_LOOKED_AT` rows are about, evenly spread over the file."""
    import pyarrow.parquet as pq

    table = pq.read_table(data)
    count = min(table.num_rows, _LOOKED_AT)
    rows = table.take([index * table.num_rows // count for index in range(count)]).to_pylist()
    return [read_row(row["extra_info"], row, task=task) for row in rows]


def check_lengths(
    options: GroupOptions, rows: Sequence[Group], tokenizer: Any, *, longest: int, rollouts: int
) -> str:
    """How many rows make too long prompts, in one line; empty if none does.

    Args:
        options: of the reward, kind grrm.
        rows: their candidates are not looked at.
        tokenizer: the judge's, of transformers.
        longest: prompt of the judge, in tokens.
        rollouts: of a prompt.

    Raises:
        UserError: more than `max_failure_rate` of the rows can never be judged.
    """
    usual = [replace(row, candidates=_usual(row, rollouts)) for row in rows]
    likely = prompt_lengths(options, usual, tokenizer, enough=longest)
    too_long = [row for row, length in zip(rows, likely, strict=True) if length > longest]
    if not too_long:
        return ""
    shortest = [replace(row, candidates=("a", "b")) for row in too_long]
    least = prompt_lengths(options, shortest, tokenizer, enough=longest)
    never = sum(length > longest for length in least)
    advice = "raise reward.max_prompt_length, or leave long sources out"
    if never > options.max_failure_rate * len(rows):
        raise UserError(
            f"{never} of {len(rows)} rows (looked at) can never be judged: two candidates of one letter make "
            f"a prompt of up to {max(least)} tokens, the judge takes {longest}; more than max_failure_rate "
            f"{options.max_failure_rate:g} allows: {advice}"
        )
    return (
        f"{len(too_long)} of {len(rows)} rows (looked at) are likely to make prompts over the judge's "
        f"{longest} tokens, up to {max(likely)} with {rollouts} candidates as long as the reference, and are "
        f"then not judged ({never} never can be); {advice}"
    )


def _usual(row: Group, rollouts: int) -> tuple[str, ...]:
    """Different candidates, about as long as what is wanted."""
    text = row.reference or row.chosen or row.question
    return tuple(text + "." * number for number in range(rollouts))


def prompt_lengths(
    options: GroupOptions, groups: Sequence[Group], tokenizer: Any, *, enough: int = 0
) -> list[int]:
    """Tokens of the prompt about each group, as the judge that verl serves gets it.

    Args:
        options: of the reward, kind grrm.
        groups: with candidates.
        tokenizer: the judge's.
        enough: tokens that there is room for. What fits by its bytes alone, of which no token has less than
            one, is not encoded, and its bytes are given.
    """
    lengths: list[int] = []
    around = _tokens(tokenizer, "") + _SPARE

    def measured(prompt: str) -> bool:
        most = max(len(form.encode()) for form in (prompt, unicodedata.normalize("NFKD", prompt))) + around
        lengths.append(most if most <= enough else _tokens(tokenizer, prompt))
        return False  # nobody is asked

    async def nobody(prompt: str, temperature: float) -> str:
        raise AssertionError("a prompt that does not fit is not sent")

    asking = asking_insistently(options, nobody, measured)
    asyncio.run(_render(options, asking, groups))
    return lengths


def _tokens(tokenizer: Any, prompt: str) -> int:
    message = {"role": "user", "content": prompt}
    return len(encode_chat(tokenizer, [message], add_generation_prompt=True))


async def _render(options: GroupOptions, asking: Any, groups: Sequence[Group]) -> None:
    async with Scorer(options.scoring(is_served=True), asking=asking) as scorer:
        await scorer.score_groups(groups)


if __name__ == "__main__":
    run_main(main)
