"""`grrm rank`: a judge scores the candidate translations of one source, or of every row of a table."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from grrm.files import UserError
from grrm.inference import command
from grrm.inference.runs import rank_rows, settings
from grrm.inference.tables import check_rows, read_rows
from grrm.prompts import RANKING_PROMPTS, PointwisePrompt, find_ranking_prompt
from grrm.ranking import MIN_CANDIDATES

HELP = "let a judge score candidate translations"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "--candidate", action="append", metavar="TEXT", help="a translation of --source; give two or more"
    )
    parser.add_argument(
        "--candidate-order",
        choices=["row", "shuffled"],
        default="row",
        help="show candidates as they are given (default), or shuffled by the seed",
    )
    command.add_options(parser, prompt="ranking_score", prompts=list(RANKING_PROMPTS))


def run(args: argparse.Namespace) -> None:
    """Print a score per candidate, or write an answer per row."""
    prompt = find_ranking_prompt(args.prompt)
    order = args.candidate_order
    command.run(
        args,
        partial(_rows, args, 1 if isinstance(prompt, PointwisePrompt) else MIN_CANDIDATES, prompt.columns),
        partial(settings, "rank", prompt=prompt, runs=args.runs, candidate_order=order),
        partial(rank_rows, prompt=prompt, candidate_order=order),
        partial(_text, args.candidate),
    )


def _rows(args: argparse.Namespace, least: int, further: Collection[str]) -> list[dict[str, Any]]:
    given: dict[str, Any] = {"src_lang": args.src_lang, "trg_lang": args.trg_lang, "further": further}
    if args.input:
        if args.candidate:
            raise UserError("--candidate goes with --source; a table (--input) has candidates of its own")
        if args.output_format == "text":
            raise UserError("--output-format text is for one source (--source); leave it out")
        return read_rows(args.input, candidates=least, file_format=args.input_format, **given)
    if len(args.source) > 1:
        raise UserError("--source is given more than once; put several groups into a table (--input)")
    row = {"src_text": args.source[0], "mt_texts": args.candidate or []}
    return check_rows([("command line", row)], candidates=least, **given)


def _text(candidates: Sequence[str], result: Mapping[str, Any]) -> str:
    """A line per candidate: score, tab, candidate; or why there are no scores."""
    if result["scores"] is None:
        return f"no scores ({result['failure']}): {result['detail']}"
    return "\n".join(f"{score:g}\t{text}" for score, text in zip(result["scores"], candidates, strict=True))
