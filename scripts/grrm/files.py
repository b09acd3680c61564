"""Reading and writing files so that an output is there whole or not at all."""

from __future__ import annotations

import glob
import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from grrm.yaml_text import parse_yaml


class UserError(Exception):
    """A mistake the user can repair: names the key, file or row, the value, and what to do."""


_SURROGATES = re.compile("[\ud800-\udfff]")


def is_text(text: str) -> bool:
    """Whether a string can be written as UTF-8: JSON may hold halves of characters (`\\ud800`) alone."""
    return _SURROGATES.search(text) is None


def as_text(text: str) -> str:
    """A string with a replacement character (U+FFFD) for every half of a character that stands alone."""
    return _SURROGATES.sub("\ufffd", text)


def temporary_sibling(path: Path) -> Path:
    """A fresh hidden name beside `path`, on the same file system so that a rename is atomic."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def remove_leftovers(path: Path) -> None:
    """Remove the temporary siblings of `path` that killed processes left; nobody may be writing it."""
    for partial in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}.tmp"):
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; rename it to `path` if the block succeeds, else remove it.

    Works for files and for folders. An existing `path` is replaced.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = temporary_sibling(final)
    try:
        yield partial
        if partial.is_dir() and final.is_dir():
            # A folder cannot be renamed over a full one: move the old one aside first.
            old = temporary_sibling(final)
            final.rename(old)
            partial.rename(final)
            shutil.rmtree(old)
        else:
            partial.replace(final)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_jsonl(path: str | Path, rows: Iterable[Any]) -> int:
    """Write one JSON object per line to `path` atomically; return how many."""
    count = 0
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing or is not JSON; the message names it.
    """
    text = _read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON ({error}); remove the file and make it again") from error


def read_jsonl(path: str | Path) -> list[Any]:
    """Read a JSON-lines file; empty lines are passed over.

    Raises:
        UserError: the file is missing, or a line is not JSON; the message names the line.
    """
    rows = []
    # Not str.splitlines: a JSON string may hold U+2028 and its kin.
    for number, line in enumerate(_read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not valid JSON ({error})") from error
    return rows


def read_yaml(path: str | Path) -> Any:
    """Read a file of YAML, see `grrm.yaml_text`.

    Raises:
        UserError: the file is missing, is not YAML, or holds what is refused (a key that stands twice or
            is no text, a number that is none, a date); the message names file, line or key.
    """
    text = _read_text(path)
    try:
        return parse_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({error})") from error


def errors_in_logs(folders: Iterable[str | Path], since: float) -> list[str]:
    """The errors that scripts ended with, each with its log file, from logs written after `since`.

    Args:
        folders: folders with files *.log.
        since: seconds since the epoch.
    """
    logs = [log for folder in folders for log in Path(folder).glob("*.log") if log.stat().st_mtime >= since]
    return [
        f"{log}: {line}"
        for log in sorted(logs, key=lambda log: log.stat().st_mtime)
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-50:]
        if line.startswith("error: ")
    ]


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error})") from error
