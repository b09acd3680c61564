"""What files hold, by hash: sizes and times are none, they say when it must be made again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

from grrm.files import UserError, sha256, write_text
from grrm.model_folder import files_of

CACHE = Path(".snakemake/content")
"""Hashes of files that are large, one small file each; only where Snakemake works."""
_LARGE = 2**20
# A file written within a clock's tick of the look at it may be written once more in that tick. Seconds.
_TICK = 2.0


def file_hash(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read again only if its inode, size or times are others than last time.

    Raises:
        UserError: it cannot be read.
    """
    try:
        while True:
            before = path.stat()
            known = _known(path, before)
            if known is not None and (found := _read(known)):
                return found
            digest = sha256(path)
            after = path.stat()
            if _marks(before) == _marks(after):
                break
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    settled = time.time() - max(after.st_mtime, after.st_ctime) > _TICK
    if known is not None and settled:
        with contextlib.suppress(OSError):  # a full or read-only disk: it is made again next time
            write_text(known, f"{digest}\n")
    return digest


def files_hash(files: Mapping[str, Path]) -> str:
    """One SHA-256 of files by their names, in any order.

    Raises:
        UserError: one cannot be read.
    """
    return _hash([(name, file_hash(files[name])) for name in sorted(files)])


def model_hash(model: str) -> str | None:
    """The content of a model that is named by its folder; None of a name that is no folder."""
    # A name with a line end or NUL, or one too long, is no folder.
    with contextlib.suppress(OSError, ValueError):
        if model and Path(model).is_dir():
            return files_hash(files_of(Path(model)))
    return None


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _marks(status: os.stat_result) -> tuple[int, ...]:
    """What a file that was replaced or written does not keep; its ctime nobody can set back."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _known(path: Path, status: os.stat_result) -> Path | None:
    if status.st_size < _LARGE or not CACHE.parent.is_dir():
        return None
    return CACHE / _hash([str(path.resolve()), *_marks(status)])


def _read(known: Path) -> str | None:
    """A hash that was kept; None if there is none, or the file is torn."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if found := re.fullmatch(r"([0-9a-f]{64})\n", known.read_text(encoding="utf-8")):
            return found[1]
    return None
