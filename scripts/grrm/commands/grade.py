"""`grrm grade`: a trained judge grades responses, asked as it was trained."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any, get_args

from grrm.data.records import Candidates
from grrm.data.rows import STDIN
from grrm.files import UserError
from grrm.inference import command, grading
from grrm.inference.judge_backend import open_judge
from grrm.inference.options import add_decoding_options, add_engine_options
from grrm.inference.tables import FORMATS, parse_rows
from grrm.judges.card import FILE, MODES
from grrm.tournament import Method

HELP = "let a trained judge grade responses: scores, or ranks by comparing them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--model", required=True, help="folder of the judge, or its name at --base-url")
    parser.add_argument("--mode", choices=MODES, help="default: what the judge was trained for")
    parser.add_argument(
        "--card", type=Path, metavar="FOLDER", help=f"folder with the judge's {FILE} (default: the model's)"
    )
    parser.add_argument(
        "--input",
        default=STDIN,
        metavar="FILE",
        help="rows of any published layout, such as question (or messages) and response (or responses); - is "
        "standard input (default)",
    )
    parser.add_argument(
        "--input-format",
        choices=[name for name in FORMATS if name != "text"],
        help="default: by the file's ending; jsonl for standard input",
    )
    parser.add_argument(
        "--output",
        default=command.STDOUT,
        metavar="FILE",
        help="grades to write; - is standard output (default)",
    )
    parser.add_argument("--overwrite", action="store_true", help="begin anew, whatever is in the output")
    parser.add_argument(
        "--method", choices=get_args(Method), default="dgr", help="from comparisons to scores (default: dgr)"
    )
    parser.add_argument("--reference", action="store_true", help="show the judge the reference of a row")
    add_decoding_options(parser, max_new_tokens=0, retries=1)
    add_engine_options(parser)
    parser.set_defaults(source=None, output_format="jsonl")


def run(args: argparse.Namespace) -> None:
    """Write a grade per row."""
    if args.base_url and args.card is None:
        raise UserError(
            f"--base-url: a server does not tell how its judge was trained; name --card, the folder "
            f"with its {FILE}"
        )
    used = grading.judge_use(args.card or args.model, args.mode)
    if not args.max_new_tokens:
        args.max_new_tokens = grading.default_decoding(used).max_new_tokens
    how = {"used": used, "method": args.method, "reference": args.reference}
    annotated: list[Candidates] = []

    def rows() -> list[dict[str, Any]]:
        table = parse_rows(args.input, args.input_format)
        annotated.extend(grading.read_candidates(row, where) for where, row in table)
        asked = grading.columns_of(used)
        return [
            grading.asked_about(row, found, where, asked)
            for (where, row), found in zip(table, annotated, strict=True)
        ]

    command.run(
        args,
        rows,
        partial(grading.settings, runs=args.runs, **how),
        partial(grading.grade_rows, annotated=annotated, **how),
        partial(json.dumps, ensure_ascii=False),
        lambda model, engine: open_judge(model, engine, used),
    )
