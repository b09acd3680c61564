"""Options of the programs that prepare rows, for tables whose columns do not have the published names."""

from __future__ import annotations

import argparse

# Column -> option, as the published programs have it.
_OPTIONS = {
    "mt_texts": "--mt-key",
    "scores": "--score-key",
    "analysis": "--analysis-key",
    "response": "--response-key",
}


def add_columns(parser: argparse.ArgumentParser, *columns: str) -> None:
    """Add the options that name these columns of the input table."""
    for column in columns:
        parser.add_argument(
            _OPTIONS[column], dest=column, default=column, metavar="COLUMN", help=f"default: {column}"
        )


def columns_named(args: argparse.Namespace) -> dict[str, str]:
    """What the input table calls the columns, for `grrm.schemas.read_batches`."""
    return {column: getattr(args, column) for column in _OPTIONS if hasattr(args, column)}
