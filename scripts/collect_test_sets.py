"""Put test sets of one kind together in one table, with the name of its set beside each row."""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa

from grrm.files import UserError
from grrm.process import run_main
from grrm.schemas import SCHEMAS, read_table, write_table


def main(argv: list[str] | None = None) -> None:
    """Write the rows of all test sets, in the order given, with the further column test_set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", nargs="+", required=True, metavar="NAME=PARQUET", help="test sets")
    parser.add_argument("--schema", required=True, choices=["ranking_test", "translation_test"])
    parser.add_argument("--output", type=Path, required=True, help="their rows (Parquet)")
    parser.add_argument("--further", action="store_true", help="keep columns beside those of the schema")
    args = parser.parse_args(argv)

    collected = []
    for pair in args.input:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise UserError(f"{pair!r}: expected NAME=PARQUET")
        table = read_table(path, args.schema)
        if not args.further:
            table = table.select([name for name in SCHEMAS[args.schema].names if name in table.column_names])
        elif "test_set" in table.column_names:
            table = table.drop_columns("test_set")
        collected.append(table.append_column("test_set", pa.repeat(pa.scalar(name), table.num_rows)))
    try:
        # What a set does not have is missing in its rows.
        table = pa.concat_tables(collected, promote_options="default")
    except pa.ArrowException as error:
        raise UserError(f"a further column is of another type in another test set ({error})") from error
    write_table(args.output, table, args.schema)
    print(f"{args.output}: {table.num_rows} rows of {len(collected)} test sets")


if __name__ == "__main__":
    run_main(main)
