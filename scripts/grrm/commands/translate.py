"""`grrm translate`: one or several sources, or every row of a table."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from grrm.inference import command
from grrm.inference.runs import settings, translate_rows
from grrm.inference.tables import check_rows, read_rows
from grrm.prompts import TRANSLATION_PROMPTS, find_translation_prompt

HELP = "translate with a model that thinks first, or with another"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    command.add_options(parser, prompt="codeblock-think", prompts=list(TRANSLATION_PROMPTS))


def run(args: argparse.Namespace) -> None:
    """Print translations, or write an answer per row."""
    prompt = find_translation_prompt(args.prompt)
    command.run(
        args,
        partial(_rows, args, prompt.columns),
        partial(settings, "translate", prompt=prompt, runs=args.runs),
        partial(translate_rows, prompt=prompt),
        _text,
    )


def _rows(args: argparse.Namespace, further: Collection[str]) -> list[dict[str, Any]]:
    given: dict[str, Any] = {"src_lang": args.src_lang, "trg_lang": args.trg_lang, "further": further}
    if args.input:
        return read_rows(args.input, file_format=args.input_format, **given)
    rows = [("command line", {"src_text": text}) for text in args.source]
    return check_rows(rows, **given)


def _text(result: Mapping[str, Any]) -> str:
    """The translation on one line, as the source was; an empty line if there is none."""
    return " ".join((result["translation"] or "").splitlines())
