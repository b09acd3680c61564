"""Data that judges are trained on: every published layout in (`grrm.data.layouts`), one out, and a split by
conversation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from grrm.data.layouts import UnusedRow, parse_row
from grrm.data.records import Kind, Record, both_orders
from grrm.data.rows import read_rows, row_files
from grrm.data.splits import split_records
from grrm.data.values import Row
from grrm.files import UserError, atomic_path, write_jsonl

BadRows: TypeAlias = Literal["error", "drop"]
Format: TypeAlias = Literal["jsonl", "parquet"]


def read_records(paths: Iterable[str | Path], kind: Kind, bad_rows: BadRows = "error") -> list[Any]:
    """The records of one kind in files of rows (`grrm.data.rows`), in order.

    What is left out, and why, is printed.

    Args:
        paths: files; of a folder, all such files in it, by name.
        kind: which records.
        bad_rows: "error" stops at the first bad row; "drop" leaves it out.

    Returns:
        at least one of `Graded`, `Compared`, `Preferred` or `Demonstration`, by kind.

    Raises:
        UserError: a file is missing or of another format; a row is of no known layout (the message shows it);
            no row is left.
    """
    files = list(_files(paths))
    rows = ((f"{path}, row {number}", row) for path in files for number, row in enumerate(read_rows(path)))
    return _parsed(rows, kind, bad_rows, ", ".join(map(str, files)))


def _parsed(rows: Iterable[tuple[str, Row]], kind: Kind, bad_rows: BadRows, source: str) -> list[Any]:
    """The records in rows, each behind what it is called."""
    records: list[Any] = []
    left_out: Counter[str] = Counter()
    for name, row in rows:
        try:
            records.append(parse_row(row, kind))
        except UnusedRow as reason:
            left_out[str(reason)] += 1
        except UserError as error:
            if bad_rows == "error":
                raise UserError(f"{name} (the first is 0): {error}") from error
            left_out[str(error).partition("; the row is")[0]] += 1
    for words, count in left_out.items():
        print(f"{count} rows left out: {words}", flush=True)
    if not records:
        raise UserError(f"{source}: no row for a training of kind {kind} is left")
    return records


def export_data(
    rows: Iterable[Row],
    folder: str | Path,
    kind: Kind,
    formats: Sequence[Format] = ("parquet",),
    shares: Mapping[str, float] | None = None,
    seed: int = 42,
    *,
    in_both_orders: bool = False,
    bad_rows: BadRows = "error",
) -> dict[Path, int]:
    """Write rows of any layout as data for the training of judges, as `grrm export-data` does.

    Args:
        rows: of layouts that are known for the kind.
        folder: where the files go: one per part and format, named after both, such as train.parquet.
        kind: what is to be trained.
        formats: parquet, jsonl or both.
        shares: name of each part to its share, see `split_records`; None: all in one, train.
        seed: of the split.
        in_both_orders: every comparison in both orders (pairwise).
        bad_rows: "error" stops at the first bad row; "drop" leaves it out.

    Returns:
        path of each file to the number of its rows.

    Raises:
        UserError: a row is of no known layout, none is left, or the shares do not do.
    """
    numbered = ((f"row {number}", row) for number, row in enumerate(rows))
    records = _parsed(numbered, kind, bad_rows, "rows")
    return export_records(records, folder, formats, shares, seed, in_both_orders=in_both_orders)


def export_records(
    records: Sequence[Any],
    folder: str | Path,
    formats: Sequence[Format] = ("parquet",),
    shares: Mapping[str, float] | None = None,
    seed: int = 42,
    *,
    in_both_orders: bool = False,
) -> dict[Path, int]:
    """As `export_data`, of records of one kind."""
    if in_both_orders:
        records = both_orders(records)
    parts = split_records(records, shares or {"train": 1}, seed)
    paths = {(name, ending): Path(folder) / f"{name}.{ending}" for name in parts for ending in formats}
    return {path: write_records(path, parts[name]) for (name, _), path in paths.items()}


def write_records(path: str | Path, records: Iterable[Record]) -> int:
    """Write records in the published layout, whole or not at all; return how many.

    Args:
        path: a file *.parquet, or *.jsonl.
        records: of one kind, at least one.

    Raises:
        UserError: the name ends otherwise, or there are no records.
    """
    rows = [record.row() for record in records]
    if not rows:
        raise UserError(f"{path}: no rows to write")
    if Path(path).suffix == ".jsonl":
        return write_jsonl(path, rows)
    if Path(path).suffix != ".parquet":
        raise UserError(f"{path}: expected a name that ends with .parquet or .jsonl")
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_path(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows), partial, compression="zstd")
    return len(rows)


def _files(paths: Iterable[str | Path]) -> Iterator[Path]:
    for path in map(Path, paths):
        yield from row_files(path) if path.is_dir() else [path]
