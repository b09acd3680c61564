"""Try the functions that are to score rollouts on one row of the data, in the environment of the training.

python -m grrm.rewards.try_functions --options '{"kind": "function", ...}' --data rows.parquet
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from grrm import event_loop
from grrm.files import UserError
from grrm.json_text import parse_json
from grrm.judges.groups import Group
from grrm.process import run_main
from grrm.rewards.group.options import GroupOptions
from grrm.rewards.kinds import Scorer, ScoringOptions
from grrm.rewards.rows import Task, read_row


def main(argv: list[str] | None = None) -> None:
    """End with one line that says what is wrong, if anything is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--options", type=parse_json, required=True, help="of the reward manager, as JSON")
    parser.add_argument("--data", type=Path, required=True, help="rows as verl reads them (Parquet)")
    args = parser.parse_args(argv)
    options = GroupOptions.from_mapping(args.options)
    for scoring in functions_of(options):
        try_function(scoring, first_row(args.data, options.task))


def functions_of(options: GroupOptions) -> list[ScoringOptions]:
    """The functions that score, alone or as parts of a mixture."""
    scoring = options.scoring(is_served=True)
    return [one for one in (scoring, *(part.options for part in scoring.parts)) if one.function]


def first_row(data: Path, task: Task) -> Group:
    """What the first row is about, with two candidates: what is wanted there, and its subject.

    Raises:
        UserError: there is none, or it is of another task.
    """
    import pyarrow.parquet as pq

    batch = next(pq.ParquetFile(data).iter_batches(batch_size=1), None)
    if batch is None or not batch.num_rows:
        raise UserError(f"{data}: has no rows")
    row = batch.to_pylist()[0]
    group = read_row(row["extra_info"], row, task=task)
    wanted = group.chosen or group.reference or "a candidate"
    return replace(group, candidates=tuple(dict.fromkeys([wanted, group.question, "another candidate"]))[:2])


def try_function(options: ScoringOptions, group: Group) -> None:
    """Score one group.

    Raises:
        UserError: the function cannot be imported, or gives a candidate no score.
    """

    async def score() -> tuple[str, ...]:
        async with Scorer(options) as scorer:
            return (await scorer.score_group(group)).failures

    if failures := event_loop.run(score()):
        raise UserError(
            f"{options.function}: tried on the first row of the data, it gives no score: {failures[0]}"
        )


if __name__ == "__main__":
    run_main(main)
