"""Schemas of the workflow's source tables, and reading and writing them with every row checked.

The columns are those of the paper's published datasets. A table may have further columns; they are kept.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from grrm.arrow_types import is_list, is_text, usual
from grrm.catalogue.trainings import STAGES, TRAININGS
from grrm.files import UserError, atomic_path
from grrm.languages import language_code
from grrm.prompts import check_columns
from grrm.ranking import MAX_CANDIDATES, MAX_SCORE, MIN_CANDIDATES, MIN_SCORE

Mask = npt.NDArray[np.bool_]
BadRows = Literal["error", "drop"]

_TEXT = pa.string()
_LANGUAGE_COLUMNS = ("src_lang", "trg_lang")

# Of the GRRM's trainings: groups of candidates with the annotator's analysis and its score of each candidate.
RANKING = pa.schema(
    [
        pa.field("src_text", _TEXT),
        pa.field("trg_text", _TEXT, metadata={"left_out": "true"}),  # no judge sees it: it may be missing
        pa.field("src_lang", _TEXT),
        pa.field("trg_lang", _TEXT),
        pa.field("mt_texts", pa.list_(_TEXT)),
        pa.field("analysis", _TEXT),
        pa.field("scores", pa.list_(pa.int64())),
    ]
)

# Of the translation model's SFT: responses that reason before they translate.
COT = pa.schema({"src_text": _TEXT, "src_lang": _TEXT, "trg_lang": _TEXT, "response": _TEXT})

# Of its GRPO: sentence pairs.
PAIRS = pa.schema({"src_text": _TEXT, "trg_text": _TEXT, "src_lang": _TEXT, "trg_lang": _TEXT})

# Groups of candidates that nobody has judged yet.
CANDIDATES = pa.schema([*PAIRS, pa.field("mt_texts", pa.list_(_TEXT))])

# ranking_test: groups of candidates with human scores on any scale (MQM among them), higher is better.
RANKING_TEST = pa.schema(
    {
        "src_text": _TEXT,
        "src_lang": _TEXT,
        "trg_lang": _TEXT,
        "mt_texts": pa.list_(_TEXT),
        "scores": pa.list_(pa.float64()),
    }
)

# The same of its RLVR, whose rewards need no analysis.
GRADES = RANKING.set(
    RANKING.get_field_index("analysis"), pa.field("analysis", _TEXT, metadata={"left_out": "true"})
)

# translation_test: segments with a reference and, for some, a comment on what is hard about them. Those of a
# test set without references have none; of several, `references` has them all, and trg_text the first.
TRANSLATION_TEST = pa.schema(
    [
        pa.field("src_text", _TEXT),
        pa.field("trg_text", _TEXT, metadata={"nullable": "true"}),
        pa.field("src_lang", _TEXT),
        pa.field("trg_lang", _TEXT),
        pa.field("comment", _TEXT, metadata={"optional": "true"}),
        pa.field("references", pa.list_(_TEXT), metadata={"left_out": "true", "nullable": "true"}),
    ]
)
# Test sets that are published with references.
REFERENCED = TRANSLATION_TEST.set(1, pa.field("trg_text", _TEXT))

# By the name of the schema and by the name of the table.
SCHEMAS = {
    "ranking": RANKING,
    "cot": COT,
    "pairs": PAIRS,
    "candidates": CANDIDATES,
    "ranking_test": RANKING_TEST,
    "translation_test": TRANSLATION_TEST,
    "referenced": REFERENCED,
}
SCHEMAS |= {stage: SCHEMAS[TRAININGS[stage].table] for stage in STAGES}
SCHEMAS |= {
    stage: GRADES
    for stage in STAGES
    if TRAININGS[stage].table == "ranking" and TRAININGS[stage].engine == "rl"
}

# Rows that are read and checked together, and bytes of each column read at once.
BATCH_ROWS = 8192
_BUFFER_BYTES = 2**20

_NO_NUL = "without the character NUL"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Fault:
    """Rows of which one column breaks one rule: a mask over the rows, and the rule in words."""

    column: str
    rows: Mask
    expected: str


def read_table(path: str | Path, schema: pa.Schema | str, bad_rows: BadRows = "error") -> pa.Table:
    """Read a Parquet table and check every row.

    Args:
        path: the file.
        schema: one of this module's schemas, or its name (`SCHEMAS`, in either case of letters).
        bad_rows: "error" stops at the first bad row; "drop" leaves bad rows out and logs how many, and why.

    Returns:
        at least one row; the schema's columns in its order and types, then the file's further columns.

    Raises:
        UserError: the file is missing, damaged or not Parquet; a column is missing or of another type; a row
            is bad (empty texts, unknown languages, not 2 to 26 candidates, not one valid score for each) or,
            with "drop", no row is good.
    """
    return pa.concat_tables(read_batches(path, schema, bad_rows)).combine_chunks()


def select_columns(
    path: str | Path,
    schema: pa.Schema | str,
    columns: Sequence[str],
    prompt: str | Path,
    asked: Iterable[str],
) -> list[dict[str, Any]]:
    """Rows with these columns and those that a prompt asks for.

    Raises:
        UserError: as `read_table`, or the prompt names a column that is not there.
    """
    table = read_table(path, schema)
    check_columns(prompt, asked, table.column_names)
    return list(table.select([*columns, *sorted(set(asked) - set(columns))]).to_pylist())


def read_batches(
    path: str | Path,
    schema: pa.Schema | str,
    bad_rows: BadRows = "error",
    names: Mapping[str, str] | None = None,
) -> Iterator[pa.Table]:
    """The same piece by piece, so that memory does not grow with the number of rows.

    A bad row raises at the end, when the bad rows are counted; nothing more is yielded after the first.

    Args:
        path: the file.
        schema: as in `read_table`.
        bad_rows: likewise.
        names: columns of the schema that have other names in the file, with these.
    """
    schema = _schema(schema)
    yield from _checked(_stored(path, schema, names or {}), schema, path, bad_rows)


def write_table(
    path: str | Path, rows: pa.Table | Iterable[Mapping[str, Any]], schema: pa.Schema | str
) -> None:
    """Check rows and write them as a Parquet file, whole or not at all.

    Args:
        path: the file; replaced if it is there.
        rows: a table, or one mapping per row; every row has the same keys.
        schema: as in `read_table`.

    Raises:
        UserError: as in `read_table`.
    """
    schema = _schema(schema)
    table = rows if isinstance(rows, pa.Table) else _from_rows(rows, path)
    table = _conform(table, schema, path)
    if table.num_rows == 0:
        raise UserError(f"{path}: no rows to write")
    (table,) = _checked([table], schema, path, "error")
    with atomic_path(path) as partial:
        pq.write_table(table, partial, compression="zstd", write_page_checksum=True)


def write_batches(path: str | Path, tables: Iterator[pa.Table]) -> int:
    """Write pieces of a table, at least one, as a Parquet file, whole or not at all; return how many rows."""
    rows = 0
    with atomic_path(path) as partial:
        first = next(tables)
        with pq.ParquetWriter(partial, first.schema, compression="zstd", write_page_checksum=True) as writer:
            for table in chain([first], tables):
                writer.write_table(table)
                rows += table.num_rows
    return rows


def _schema(schema: pa.Schema | str) -> pa.Schema:
    if not isinstance(schema, str):
        return schema
    if schema.lower() not in SCHEMAS:
        raise ValueError(f"unknown schema {schema!r}; known are {', '.join(SCHEMAS)}")
    return SCHEMAS[schema.lower()]


def _stored(path: str | Path, schema: pa.Schema, names: Mapping[str, str]) -> Iterator[pa.Table]:
    """The pieces of a Parquet file, with their columns in order."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    try:
        # Not pq.read_table: it takes "key=value" in a folder's name for a column.
        with pq.ParquetFile(path, page_checksum_verification=True, buffer_size=_BUFFER_BYTES) as file:
            empty = file.schema_arrow.empty_table()
            str(empty.schema)  # a damaged name shows itself only when it is read
            _conform(_renamed(empty, names, path), schema, path)
            if file.metadata.num_rows == 0:
                raise UserError(f"{path}: the table has no rows")
            for batch in file.iter_batches(BATCH_ROWS):
                batch.validate(full=True)
                yield _conform(_renamed(pa.Table.from_batches([batch]), names, path), schema, path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise damaged(path, error) from error


def damaged(path: str | Path, error: Exception) -> UserError:
    """What is said, in one line, of a table that cannot be read."""
    said = " ".join(str(error).split())
    return UserError(f"{path}: not a Parquet file, or a damaged one ({said}); fetch or make it again")


def _renamed(table: pa.Table, names: Mapping[str, str], path: str | Path) -> pa.Table:
    """The table with columns named as in the schema; `names` has the file's name for each that is another."""
    others = {theirs: ours for ours, theirs in names.items() if ours != theirs}
    if not others:
        return table
    if missing := [name for name in others if name not in table.column_names]:
        raise UserError(f"{path}: no column {', '.join(missing)}; found {', '.join(table.column_names)}")
    # A column that bears the name of the schema while another one is meant.
    table = table.drop_columns([ours for ours in others.values() if ours in table.column_names])
    return table.rename_columns([others.get(name, name) for name in table.column_names])


def _from_rows(rows: Iterable[Mapping[str, Any]], path: str | Path) -> pa.Table:
    rows = list(rows)
    for number, row in enumerate(rows):
        if row.keys() != rows[0].keys():
            raise UserError(f"{path}, row {number}: keys are {list(row)}; row 0 has {list(rows[0])}")
    try:
        return pa.Table.from_pylist(rows)
    except (pa.ArrowException, OverflowError) as error:
        raise UserError(f"{path}: the rows do not make a table ({error})") from error


def _conform(table: pa.Table, schema: pa.Schema, path: str | Path) -> pa.Table:
    """The table with its columns in order, each of them one plain array of the right kind.

    Scores may still be floating-point numbers: whether they are whole is a matter of rows, not of the column.
    """
    missing = [
        field.name
        for field in schema
        if field.name not in table.column_names and not (_optional(field) or _left_out(field))
    ]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}; found {', '.join(table.column_names)}")
    if len(set(table.column_names)) != table.num_columns:
        raise UserError(f"{path}: two columns have the same name; found {', '.join(table.column_names)}")
    columns = {}
    for field in schema:
        if field.name in table.column_names:
            columns[field.name] = _plain(table[field.name], field, path)
        elif not _left_out(field):
            columns[field.name] = pa.nulls(table.num_rows, field.type)
    further = [name for name in table.column_names if name not in columns]
    columns |= {name: usual(table[name], decimals=False) for name in further}
    return pa.table(columns)


def _optional(field: pa.Field) -> bool:
    return b"optional" in (field.metadata or {})


def _nullable(field: pa.Field) -> bool:
    """Whether a row may be without a value; what it has is checked."""
    return b"nullable" in (field.metadata or {})


def _left_out(field: pa.Field) -> bool:
    """Whether a table may be without the column; where it has it, its rows are checked like others."""
    return b"left_out" in (field.metadata or {})


def _plain(column: pa.ChunkedArray, field: pa.Field, path: str | Path) -> pa.Array:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    array = usual(array)
    if not _same_kind(array.type, field.type):
        raise UserError(f"{path}: column {field.name} is of type {array.type}; expected {field.type}")
    floating = is_list(array.type) and pa.types.is_floating(array.type.value_type)
    try:
        return array.cast(pa.list_(pa.float64()) if floating else field.type)
    except pa.ArrowException as error:
        raise UserError(f"{path}: column {field.name} cannot be read as {field.type} ({error})") from error


def _same_kind(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_null(found):
        return True  # every value is missing: told row by row
    if is_list(wanted):
        return is_list(found) and _same_kind(found.value_type, wanted.value_type)
    if not pa.types.is_string(wanted):
        return bool(pa.types.is_integer(found) or pa.types.is_floating(found))
    return is_text(found)


def _checked(
    tables: Iterable[pa.Table], schema: pa.Schema, path: str | Path, bad_rows: BadRows
) -> Iterator[pa.Table]:
    """The good rows of a table that comes in pieces, in the schema's types."""
    rows = bad = 0
    first = ""
    dropped: Counter[tuple[str, str]] = Counter()
    for table in tables:
        faults = [fault for fault in _faults(table, schema) if fault.rows.any()]
        good = table
        if faults:
            first = first or _describe(faults[0], table, path, rows)
            mask = np.logical_or.reduce([fault.rows for fault in faults])
            bad += int(mask.sum())
            dropped.update({(fault.column, fault.expected): int(fault.rows.sum()) for fault in faults})
            good = table.filter(pa.array(~mask))
        rows += table.num_rows
        if good.num_rows and (bad_rows == "drop" or not first):
            yield _cast(good, schema, path)
    if bad and (bad_rows == "error" or bad == rows):
        left = "; no good row is left" if bad_rows == "drop" else ""
        raise UserError(f"{first}; {bad} of {rows} rows are bad: repair them, or let them be dropped{left}")
    for (column, expected), count in dropped.items():
        _log.warning("%s: dropped %d rows: %s: expected %s", path, count, column, expected)
    if bad:
        _log.warning("%s: dropped %d bad rows of %d", path, bad, rows)


def _describe(fault: _Fault, table: pa.Table, path: str | Path, before: int) -> str:
    row = int(fault.rows.argmax())
    value = repr(table[fault.column][row].as_py())
    shown = value if len(value) <= 200 else f"{value[:200]}..."
    return (
        f"{path}, row {before + row} (the first is 0): column {fault.column} is {shown}; expected "
        f"{fault.expected}"
    )


def _faults(table: pa.Table, schema: pa.Schema) -> Iterator[_Fault]:
    for field in schema:
        if _optional(field) or field.name not in table.column_names:
            continue
        column = table[field.name].combine_chunks()
        if field.name == "references":
            texts = column.flatten()
            yield _Fault(field.name, _holders(column, _empty(texts)), "references with text in them")
            yield _Fault(field.name, _holders(column, _with_nul(texts)), f"references {_NO_NUL}")
        elif field.name in _LANGUAGE_COLUMNS:
            yield _Fault(
                field.name, _unknown_languages(column), "the tag of a known language, such as en or zh_TW"
            )
        elif field.name == "mt_texts":
            size = pc.list_value_length(column)
            wrong_size = pc.or_(pc.less(size, MIN_CANDIDATES), pc.greater(size, MAX_CANDIDATES))
            yield _Fault(field.name, _mask(wrong_size), f"{MIN_CANDIDATES} to {MAX_CANDIDATES} candidates")
            texts = column.flatten()
            yield _Fault(field.name, _holders(column, _empty(texts)), "candidates with text in them")
            yield _Fault(field.name, _holders(column, _with_nul(texts)), f"candidates {_NO_NUL}")
        elif field.name == "scores":
            candidates = pc.list_value_length(table["mt_texts"].combine_chunks())
            wrong_size = pc.not_equal(pc.list_value_length(column), candidates)
            yield _Fault(field.name, _mask(wrong_size), "as many scores as there are mt_texts")
            if pa.types.is_integer(field.type.value_type):
                wrong, expected = _not_grades(column.flatten()), f"integers from {MIN_SCORE} to {MAX_SCORE}"
            else:
                wrong, expected = _mask(pc.invert(pc.is_finite(column.flatten()))), "finite numbers"
            yield _Fault(field.name, _holders(column, wrong), expected)
        else:
            empty = _empty(column)
            if _nullable(field):
                empty &= column.is_valid().to_numpy(zero_copy_only=False)
            yield _Fault(field.name, empty, "a text that is not empty")
            yield _Fault(field.name, _with_nul(column), f"a text {_NO_NUL}")


def _mask(flags: pa.Array) -> Mask:
    """Flags as numpy; a missing flag comes from a missing value, which is bad."""
    return np.asarray(pc.fill_null(flags, True).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _empty(texts: pa.Array) -> Mask:
    return _mask(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0))


def _with_nul(texts: pa.Array) -> Mask:
    # Tokenisers in C end a text there: of BLEU in Japanese and Korean, most is lost.
    return _mask(pc.fill_null(pc.match_substring(texts, "\0"), False))


def _not_grades(values: pa.Array) -> Mask:
    in_range = pc.and_(pc.greater_equal(values, MIN_SCORE), pc.less_equal(values, MAX_SCORE))
    out_of_range = pc.invert(in_range)
    if not pa.types.is_floating(values.type):
        return _mask(out_of_range)
    return _mask(pc.or_(out_of_range, pc.not_equal(values, pc.floor(values))))


def _holders(lists: pa.Array, items: Mask) -> Mask:
    """The rows of a list column that hold at least one of the flagged items."""
    rows = np.zeros(len(lists), dtype=np.bool_)
    rows[pc.list_parent_indices(lists).to_numpy()[items]] = True
    return rows


def _unknown_languages(codes: pa.Array) -> Mask:
    known = [code for code in pc.unique(codes).to_pylist() if code is not None and _is_known(code)]
    return _mask(pc.invert(pc.is_in(codes, value_set=pa.array(known, pa.string()))))


def _is_known(code: str) -> bool:
    try:
        language_code(code)
    except UserError:
        return False
    return True


def _cast(table: pa.Table, schema: pa.Schema, path: str | Path) -> pa.Table:
    further = [table.schema.field(name) for name in table.column_names if name not in schema.names]
    own = [field.remove_metadata() for field in schema if field.name in table.column_names]
    return table.cast(pa.schema([*own, *further]))
