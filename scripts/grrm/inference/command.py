"""What `grrm rank`, `grrm translate` and `grrm grade` share: options, input, output, ends."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from grrm.files import UserError
from grrm.inference.answers import Row
from grrm.inference.attempts import DEFAULT_RETRIES
from grrm.inference.backends import Backend, Decoding, Engine, fit, open_backend
from grrm.inference.journal import Journal, Printer
from grrm.inference.options import (
    add_decoding_options,
    add_engine_options,
    decoding_of,
    engine_of,
    retries_of,
)
from grrm.inference.process_environment import enter
from grrm.inference.progress import Progress
from grrm.inference.runs import Tally
from grrm.inference.tables import FORMATS

STDOUT = "-"

SOME_FAILED = 1
INTERRUPTED = 130


def add_options(parser: argparse.ArgumentParser, *, prompt: str, prompts: Sequence[str]) -> None:
    """Options of both commands."""
    parser.add_argument(
        "--model",
        required=True,
        help="model folder, model of the hub (owner/name), or name at --base-url",
    )
    parser.add_argument(
        "--prompt",
        default=prompt,
        help=f"{', '.join(prompts)}, or a prompt file (default: {prompt})",
    )
    parser.add_argument("--source", action="append", metavar="TEXT", help="a source text")
    parser.add_argument("--from", dest="src_lang", metavar="CODE", help="language of the sources (en, zh...)")
    parser.add_argument("--to", dest="trg_lang", metavar="CODE", help="language to translate into")
    parser.add_argument("--input", metavar="FILE", help="a table, or - for standard input")
    parser.add_argument(
        "--input-format", choices=FORMATS, help="default: by the file's ending; jsonl for standard input"
    )
    parser.add_argument(
        "--output", default=STDOUT, metavar="FILE", help="answers to write; - is standard output (default)"
    )
    parser.add_argument(
        "--output-format",
        choices=["text", "jsonl"],
        help="jsonl: whole answers; text: what was asked for. Default: text with --source on standard "
        "output, else jsonl",
    )
    parser.add_argument("--overwrite", action="store_true", help="begin anew, whatever is in the output")
    add_decoding_options(parser, max_new_tokens=Decoding.max_new_tokens, retries=DEFAULT_RETRIES.count)
    add_engine_options(parser)


def run(
    args: argparse.Namespace,
    rows: Callable[[], Sequence[Row]],
    settings: Callable[..., Mapping[str, Any]],
    answer: Callable[..., Tally],
    text: Callable[[Mapping[str, Any]], str],
    load: Callable[[str, Engine], Backend] = open_backend,
) -> None:
    """Answer all rows; ends the process with status 1 if some answers cannot be used, 130 if interrupted.

    Args:
        args: options of `add_options`.
        rows: reads the input.
        settings: `grrm.inference.runs.settings` with task and prompt filled in.
        answer: `rank_rows` or `translate_rows` with the prompt filled in.
        text: a result as text.
        load: gets the model ready.

    Raises:
        UserError: options contradict each other, or the input, the model or the output is no good.
    """
    as_text = _check(args)
    engine, decoding, retries = engine_of(args), decoding_of(args), retries_of(args)
    # Standard input can be read once, so not before the process has become the one that asks the model.
    enter(engine)
    table = rows()
    try:
        with closing(load(args.model, engine)) as backend:
            common = {
                "backend": backend,
                "rows": table,
                "decoding": _fitting(decoding, backend),
                "retries": retries,
            }
            if args.output == STDOUT:
                tally = _print(
                    args, common, answer, text if as_text else partial(json.dumps, ensure_ascii=False)
                )
            else:
                tally = _write(args, common, answer, settings)
    except KeyboardInterrupt:
        kept = f": what was answered is in {args.output}.partial, the same command goes on"
        print(f"interrupted{'' if args.output == STDOUT else kept}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Who reads the answers has enough (| head). Python would complain once more when it ends.
        sys.stderr.close()
        sys.exit(SOME_FAILED)
    if tally.remark:
        print(tally.remark, file=sys.stderr)
    if tally.failures:
        print(tally, file=sys.stderr)
        sys.exit(SOME_FAILED)


def _check(args: argparse.Namespace) -> bool:
    """Whether answers are to be text; UserError if options contradict each other."""
    if bool(args.source) == bool(args.input):
        raise UserError("what is to be done? Give --source, or --input (a file, or - for standard input)")
    if args.runs < 1:
        raise UserError(f"--runs {args.runs}: expected 1 or more")
    kind = args.output_format or ("text" if args.source and args.output == STDOUT else "jsonl")
    if kind == "text" and args.output != STDOUT:
        raise UserError("--output-format text is for standard output; leave out --output, and redirect it")
    if args.input and args.input == args.output != STDOUT:
        raise UserError(f"{args.input}: input and output are the same file; name another output")
    return bool(kind == "text")


def _fitting(decoding: Decoding, backend: Backend) -> Decoding:
    fitting = fit(decoding, backend)
    if fitting != decoding:
        print(
            f"the model's context has {backend.context()} tokens: answers of at most "
            f"{fitting.max_new_tokens}",
            file=sys.stderr,
        )
    return fitting


def _print(
    args: argparse.Namespace,
    common: Mapping[str, Any],
    answer: Callable[..., Tally],
    line: Callable[[Mapping[str, Any]], str],
) -> Tally:
    printer = Printer(sys.stdout, line, args.runs, len(common["rows"]))
    try:
        with Progress(printer.total) as progress:
            return answer(journal=printer, watch=progress, **common)
    finally:
        printer.publish()


def _write(
    args: argparse.Namespace,
    common: Mapping[str, Any],
    answer: Callable[..., Tally],
    settings: Callable[..., Mapping[str, Any]],
) -> Tally:
    with (
        Journal(
            args.output, settings(**common), args.runs, len(common["rows"]), overwrite=args.overwrite
        ) as journal,
        Progress(journal.total) as progress,
    ):
        if done := journal.total - len(journal.missing()):
            print(f"{done} of {journal.total} answers are there already", file=sys.stderr)
        tally = answer(journal=journal, watch=progress, **common)
        journal.publish()
        return tally
