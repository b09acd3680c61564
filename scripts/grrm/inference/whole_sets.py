"""What `rank_candidates` and `translate_segments` share: all rows of a test set, answered resumably."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from grrm.inference.answers import Row
from grrm.inference.backends import open_backend
from grrm.inference.journal import Journal
from grrm.inference.options import (
    add_decoding_options,
    add_engine_options,
    add_stale_option,
    decoding_of,
    engine_of,
    retries_of,
)
from grrm.inference.progress import Progress
from grrm.inference.runs import Tally, settings


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Options of both programs besides what they read and write."""
    add_decoding_options(parser)
    add_engine_options(parser)
    add_stale_option(parser)


def answer_all(
    args: argparse.Namespace,
    task: str,
    rows: Sequence[Row],
    prompt: Any,
    answer: Callable[..., Tally],
    **more: Any,
) -> None:
    """Write what is missing of the answers into the journal, then publish it and print the tally.

    Args:
        args: options of `add_common_options`, model and output.
        task: as `grrm.inference.runs.settings` names it.
        rows: of the test set.
        prompt: of the task.
        answer: `rank_rows` or `translate_rows`.
        more: what it takes besides; the answers depend on it.

    Raises:
        UserError: a server has not answered everything; the journal keeps what there is.
    """
    decoding, retries = decoding_of(args), retries_of(args)
    with closing(open_backend(args.model, engine_of(args))) as backend:
        made_from = settings(task, backend, rows, prompt, decoding, retries, args.runs, **more)
        with (
            Journal(
                args.output, made_from, args.runs, len(rows), discard_stale=args.discard_stale
            ) as journal,
            Progress(journal.total) as progress,
        ):
            tally = answer(backend, rows, prompt, decoding, journal, retries=retries, watch=progress, **more)
            journal.publish()
    print(tally)
