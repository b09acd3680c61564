"""What `rank_candidates` and `translate_segments` share: all rows of a test set, answered resumably."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from grrm.inference.answers import Row
from grrm.inference.backends import BackendWhenAsked
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


@dataclass(frozen=True)
class Further:
    """Other answers to the same rows, which another call of the same program is to find there.

    Attributes:
        output: of that call.
        seed: of that call, which answers each row once.
        more: as in `answer_all`.
    """

    output: Path
    seed: int
    more: dict[str, Any] = field(default_factory=dict)


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
    further: Sequence[Further] = (),
    **more: Any,
) -> None:
    """Write what is missing of the answers into the journal, then publish it and print the tally.

    The model is loaded only if something is missing. Further answers are left in their journals, whole: the
    call that is to write them down need not load it.

    Args:
        args: options of `add_common_options`, model and output.
        task: as `grrm.inference.runs.settings` names it.
        rows: of the test set.
        prompt: of the task.
        answer: `rank_rows` or `translate_rows`.
        further: what the model is asked besides, once it is loaded.
        more: what `answer` takes besides; the answers depend on it.

    Raises:
        UserError: a server has not answered everything; the journals keep what there is.
    """
    decoding, retries = decoding_of(args), retries_of(args)
    asked = [(args.output, decoding, args.runs, more)]
    asked += [(one.output, replace(decoding, seed=one.seed), 1, one.more) for one in further]
    with closing(BackendWhenAsked(args.model, engine_of(args))) as backend, ExitStack() as opened:
        # Those further off first: when the output is there, nothing of this call is left to do.
        for output, how, runs, with_this in reversed(asked):
            made_from = settings(task, backend, rows, prompt, how, retries, runs, **with_this)
            journal = opened.enter_context(
                Journal(output, made_from, runs, len(rows), discard_stale=args.discard_stale)
            )
            with Progress(journal.total) as progress:
                tally = answer(
                    backend, rows, prompt, how, journal, retries=retries, watch=progress, **with_this
                )
        journal.publish()
    print(tally)
