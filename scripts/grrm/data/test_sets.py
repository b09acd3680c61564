"""Test sets as their publishers give them, to the tables that evaluation reads (`grrm.schemas`).

Every reader returns the rows to translate, and how many were left out, and why. With `bad_rows="drop"` bad
rows are among these: texts that are empty or missing, keys of another type, unknown languages. Otherwise the
first one is an error that names file, row and key.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from grrm.data.rows import read_rows
from grrm.files import UserError, decoded, read_jsonl, read_lines, without_end
from grrm.languages import base_language, language_pair, region_of, script_of
from grrm.schemas import BadRows

Row = dict[str, str | None]
Rows = tuple[list[Row], Counter[str]]

_log = logging.getLogger(__name__)

_WMT23_ARCHIVE = "wmt23.v.0.1.tar.gz"


class _BadRowError(UserError):
    """A row that breaks its format, by the place and the value."""

    def __init__(self, where: str, what: str, value: object, expected: str) -> None:
        super().__init__(f"{where}: {what} is {value!r}, expected {expected}")
        self.reason = f"{what}: expected {expected}"


def is_of(found: str, declared: str) -> bool:
    """Whether a text of one language is of another, which may say less: pt_PT is pt, pt_BR is not pt_PT.

    Scripts have to be the same, said or not: zh_TW is not zh, which is mostly written in another one.
    """
    return (
        base_language(found) == base_language(declared)
        and script_of(found) == script_of(declared)
        and region_of(declared) in (None, region_of(found))
    )


def read_wmt24pp(path: str | Path, bad_rows: BadRows = "error") -> Rows:
    """WMT24++ (google/wmt24pp), JSON lines.

    Left out are rows whose source is marked bad, and canaries, which are no translations.

    Raises:
        UserError: a line lacks a key or has another type.
    """
    return _rows(_json_rows(path), _wmt24pp_row, bad_rows)


def _wmt24pp_row(where: str, item: Any) -> Row | str:
    _check(where, item, {"lp": str, "domain": str, "is_bad_source": bool})
    if item["domain"] == "canary":
        return "canary"
    if item["is_bad_source"]:
        return "bad source"
    source, target = _text(item, "source", where), _text(item, "target", where)
    try:
        languages = language_pair(item["lp"])
    except UserError as error:
        raise _BadRowError(where, "key 'lp'", item["lp"], f"a pair of known languages ({error})") from error
    return _row(source, target, languages)


def read_seedx(path: str | Path, pair: str, bad_rows: BadRows = "error") -> Rows:
    """Seed-X challenge set (`challenge_set/Challenge_set_<pair>.json`), JSON lines in spite of its name.

    The comment says what a segment tests and which renderings are wrong.

    Args:
        path: the file.
        pair: its languages, which the file does not say: zh-en or en-zh.
        bad_rows: what becomes of bad rows.

    Raises:
        UserError: a line lacks a key or has another type.
    """
    return _rows(_json_rows(path), partial(_seedx_row, language_pair(pair)), bad_rows)


def _seedx_row(languages: tuple[str, str], where: str, item: Any) -> Row:
    _check(where, item, {})
    comment = item.get("考察点") or ""
    if not isinstance(comment, str):
        raise _BadRowError(where, "key '考察点'", comment, "a text")
    source, target = _text(item, "src_text", where), _text(item, "参考译文", where)
    return _row(source, target, languages, comment.strip() or None)


def read_wmt23(
    archive: str | Path, pair: str, any_archive: bool = False, bad_rows: BadRows = "error"
) -> Rows:
    """WMT23 general task as sacrebleu reads it, so that segments and references are those of its scores.

    Args:
        archive: the archive that sacrebleu names; or a folder that is a cache of sacrebleu's ($SACREBLEU).
        pair: zh-en, for example.
        any_archive: take an archive with another checksum than sacrebleu's.
        bad_rows: what becomes of bad rows.

    Raises:
        UserError: the archive is another one or is damaged, or sacrebleu does not have the pair.
    """
    from sacrebleu.dataset import DATASETS

    languages = language_pair(pair)
    dataset = DATASETS["wmt23"]
    if pair not in dataset.langpairs:
        raise UserError(f"WMT23 has no {pair}; it has {', '.join(dataset.langpairs)}")
    archive = Path(archive)
    if archive.is_dir():
        return _sacrebleu_rows("wmt23", pair, languages, archive, bad_rows)
    if not archive.is_file():
        raise UserError(f"{archive}: no such file")
    _check_md5(archive, dataset.md5[0], any_archive)
    member = dataset.langpairs[pair]
    member = member["path"] if isinstance(member, dict) else member[0]
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "wmt23/raw"
        raw.mkdir(parents=True)
        try:
            with tarfile.open(archive) as tar:
                # Not tar.extract: its safe filter is missing from Python 3.11.0 to 3.11.3.
                content = tar.extractfile(member)
                if content is None:
                    raise KeyError(f"{member} is not a file")
                (raw / member).parent.mkdir(parents=True, exist_ok=True)
                (raw / member).write_bytes(content.read())
        except (KeyError, tarfile.TarError, EOFError, OSError) as error:
            raise UserError(
                f"{archive}: cannot read {member} from it ({error}); download it again"
            ) from error
        # With its archive in place, sacrebleu neither downloads nor unpacks.
        (raw / _WMT23_ARCHIVE).symlink_to(archive.resolve())
        return _sacrebleu_rows("wmt23", pair, languages, Path(folder), bad_rows)


def read_flores(source: str | Path, target: str | Path, pair: str, bad_rows: BadRows = "error") -> Rows:
    """FLORES-200 or FLORES+: two files of the same sentences.

    Args:
        source: sentences of the source language: one on each line, or JSON lines or Parquet with `text` and,
            optionally, `id`.
        target: those of the target language.
        pair: their languages, such as zh-en.
        bad_rows: what becomes of sentences without a text in either language.

    Raises:
        UserError: the files do not belong together, or lack texts.
    """
    languages = language_pair(pair)
    sources, targets = _flores_items(source), _flores_items(target)
    if len(sources) != len(targets):
        raise UserError(
            f"{source} has {len(sources)} sentences and {target} has {len(targets)}: expected as many"
        )
    pairs = list(zip(sources, targets, strict=True))
    for number, ((_, left), (_, right)) in enumerate(pairs, 1):
        if _id(left) != _id(right):
            raise UserError(
                f"sentence {number}: id is {_id(left)!r} in {source} and {_id(right)!r} in {target}"
            )

    def row_of(_: str, texts: Any) -> Row:
        for where, item in texts:
            _check(where, item, {"text": str})
        left, right = (_text(item, "text", where) for where, item in texts)
        return _row(left, right, languages)

    return _rows((("", texts) for texts in pairs), row_of, bad_rows)


def _rows(
    items: Iterable[tuple[str, Any]], row_of: Callable[[str, Any], Row | str], bad_rows: BadRows
) -> Rows:
    """Rows of items with their places; `row_of` gives a row, or why it is left out, or a _BadRowError."""
    rows: list[Row] = []
    dropped: Counter[str] = Counter()
    bad: list[_BadRowError] = []
    for where, item in items:
        try:
            row = row_of(where, item)
        except _BadRowError as error:
            if bad_rows == "error":
                raise
            bad.append(error)
            dropped[error.reason] += 1
            continue
        if isinstance(row, str):
            dropped[row] += 1
        else:
            rows.append(row)
    if bad and not rows:
        raise UserError(f"{bad[0]}; {len(bad)} rows are bad, and no good row is left")
    if bad:
        _log.warning("dropped %d bad rows; the first: %s", len(bad), bad[0])
    return rows, dropped


def _row(source: str, target: str, languages: tuple[str, str], comment: str | None = None) -> Row:
    return {
        # Space around a segment is no part of it (Seed-X has some).
        "src_text": source.strip(),
        "trg_text": target.strip(),
        "src_lang": languages[0],
        "trg_lang": languages[1],
        "comment": comment,
    }


def _json_rows(path: str | Path) -> Iterator[tuple[str, Any]]:
    """Each value of a JSON-lines file with its place."""
    return ((f"{path}, row {number}", item) for number, item in enumerate(read_jsonl(path), 1))


def _check(where: str, item: Any, keys: dict[str, type]) -> None:
    if not isinstance(item, dict):
        raise _BadRowError(where, "row", item, "an object")
    for key, kind in keys.items():
        if not isinstance(item.get(key), kind):
            raise _BadRowError(where, f"key {key!r}", item.get(key), kind.__name__)


def _text(item: dict[str, Any], key: str, where: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value.strip():
        raise _BadRowError(where, f"key {key!r}", value, "a text that is not empty")
    if "\0" in value:
        raise _BadRowError(where, f"key {key!r}", value, "a text without the character NUL")
    return value


def _flores_items(path: str | Path) -> Sequence[tuple[str, Any]]:
    """Objects with `text`, and perhaps `id`, each with its place."""
    suffix = Path(str(path).removesuffix(".gz")).suffix
    if suffix == ".jsonl":
        return list(_json_rows(path))
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    items = read_rows(path) if suffix == ".parquet" else ({"text": line} for line in read_lines(path))
    return [(f"{path}, row {number}", item) for number, item in enumerate(items, 1)]


def _id(item: Any) -> Any:
    return item.get("id") if isinstance(item, dict) else None


def _check_md5(archive: Path, expected: str, any_archive: bool) -> None:
    import hashlib

    with archive.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != expected and not any_archive:
        raise UserError(
            f"{archive}: MD5 is {found}, sacrebleu expects {expected}: download it again, or pass "
            "--any-archive if you know that it holds the same test set"
        )


def _sacrebleu_rows(
    test_set: str, pair: str, languages: tuple[str, str], cache: Path, bad_rows: BadRows
) -> Rows:
    command = [sys.executable, "-m", "sacrebleu", "-t", test_set, "-l", pair, "--echo", "src", "ref"]
    env = os.environ | {"SACREBLEU": str(cache), "PYTHONUTF8": "1"}
    result = subprocess.run(command, env=env, capture_output=True, check=False)
    if result.returncode != 0:
        reason = (result.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise UserError(f"sacrebleu cannot read {test_set} {pair} from {cache}: {reason}")

    def row_of(where: str, line: str) -> Row:
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) != 2 or not all(fields):
            raise _BadRowError(where, "segment", line, "source and reference")
        return _row(fields[0], fields[1], languages)

    places = (
        (f"{test_set} {pair}, row {number}", line) for number, line in enumerate(BytesIO(result.stdout), 1)
    )
    return _rows(((where, without_end(decoded(line, where))) for where, line in places), row_of, bad_rows)
