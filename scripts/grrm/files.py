"""Reading and writing files so that an output is there whole or not at all."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import shutil
import sysconfig
import uuid
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from grrm.json_text import as_text, is_text, json_line, parse_json
from grrm.own_process import machine, start_ticks
from grrm.yaml_text import parse_yaml

__all__ = [
    "UserError",
    "as_text",
    "atomic_path",
    "decoded",
    "errors_in_logs",
    "is_text",
    "naming",
    "read_json",
    "read_jsonl",
    "read_lines",
    "read_text",
    "read_yaml",
    "remove_leftovers",
    "sha256",
    "temporary_sibling",
    "uncompressed",
    "without_end",
    "write_json",
    "write_jsonl",
    "write_text",
]
_GZIP = b"\x1f\x8b"


class UserError(Exception):
    """A mistake the user can repair: names the key, file or row, the value, and what to do."""


class PassingError(UserError):
    """What may be over by itself, such as a machine that does not answer: worth another try as it is."""


def temporary_sibling(path: Path) -> Path:
    """A fresh hidden name beside `path`, on the same file system so that a rename is atomic.

    It says whose it is: the machine (with its boot and its container), the process there, when that started.
    """
    short = path.name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    return path.with_name(f".{short}.{_owner(os.getpid())}-{uuid.uuid4().hex[:8]}.tmp")


def remove_leftovers(path: Path, *, of_others: bool = True) -> None:
    """Remove the temporary siblings of `path` that killed processes left.

    Args:
        path: final name.
        of_others: also those of other machines, whose processes cannot be seen from here; then nobody may be
            writing `path`.
    """
    short = path.name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    name = re.compile(re.escape(f".{short}.") + _OWNED)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        for partial in path.parent.iterdir():
            if (match := name.fullmatch(partial.name)) and (of_others or _is_gone(match["owner"])):
                _remove(partial)


# Machine, process and start of it; those of before say nothing.
_OWNED = r"((?P<owner>[0-9a-f]{8}-[0-9a-f]+-[0-9a-f]+)-)?[0-9a-f]{8}\.tmp"
_LONGEST_NAME = 180  # bytes, of 255: the rest is the owner's


def _owner(pid: int) -> str:
    where = hashlib.sha256((machine() or os.uname().nodename).encode()).hexdigest()[:8]
    return f"{where}-{pid:x}-{start_ticks(pid) or 0:x}"


def _is_gone(owner: str | None) -> bool:
    """Whether a process is known not to be there any more: it was one of this machine since its boot."""
    here = _owner(os.getpid()).partition("-")[0]
    if owner is None or not owner.startswith(f"{here}-"):
        return False
    pid = int(owner.split("-")[1], 16)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        pass
    return owner != _owner(pid)


def remove_tree(folder: Path) -> None:
    """Remove a folder; of a link to one elsewhere, such as on another disk, the link alone."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Let errors of the operating system in this block name `path` (a full disk names no file by itself)."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; rename it to `path` if the block succeeds, else remove it.

    Works for files and for folders. An existing `path` is replaced. What a killed process of this machine
    left under such a name is removed first.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(final, of_others=False)
    partial = temporary_sibling(final)
    try:
        with naming(final):
            yield partial
        if partial.is_dir() and final.is_dir():
            # A folder cannot be renamed over a full one: move the old one aside first.
            old = temporary_sibling(final)
            final.rename(old)
            partial.rename(final)
            remove_tree(old)
        else:
            partial.replace(final)
    except OSError as error:
        if error.filename is not None and str(error.filename) == str(partial):
            error.filename, error.filename2 = str(final), None
        raise
    finally:
        _remove(partial)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically; a number that is none is null."""
    write_text(path, json_line(value, indent=2) + "\n")


def write_jsonl(path: str | Path, rows: Iterable[Any]) -> int:
    """Write one JSON object per line to `path` atomically; return how many. A number that is none is null."""
    count = 0
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json_line(row) + "\n")
            count += 1
    return count


def read_json(path: str | Path, *, any_size: bool = False, gaps: bool = False) -> Any:
    """Read a JSON file, see `grrm.json_text.parse_json`.

    Raises:
        UserError: the file is missing or is not JSON; the message names it.
    """
    text = read_text(path)
    try:
        return parse_json(text, any_size=any_size, gaps=gaps)
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); remove the file and make it again") from error


def read_jsonl(path: str | Path, *, gaps: bool = False, cut: bool = False) -> list[Any]:
    """Read a JSON-lines file, see `grrm.json_text.parse_json`; empty lines are passed over.

    Args:
        path: the file.
        gaps: see `parse_json`.
        cut: pass over a last line without an end, too: a kill may have cut it off.

    Raises:
        UserError: the file is missing, or a line is not JSON; the message names the line.
    """
    rows = []
    for number, line in enumerate(read_lines(path, ends=True, cut=cut), 1):
        if not line.strip():
            continue
        try:
            rows.append(parse_json(line, gaps=gaps))
        except ValueError as error:
            raise UserError(f"{path}, line {number}: not valid JSON ({error})") from error
    return rows


def read_yaml(path: str | Path) -> Any:
    """Read a file of YAML, see `grrm.yaml_text`.

    Raises:
        UserError: the file is missing, is not YAML, or holds what is refused (a key that stands twice or
            is no text, a number that is none, a date); the message names file, line or key.
    """
    text = read_text(path)
    try:
        return parse_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({error})") from error


def read_text(path: str | Path) -> str:
    """The text of a file, without a byte order mark, uncompressed if it is gzip's; line ends as they are.

    Raises:
        UserError: the file is missing, cannot be read, or is not UTF-8; the message names it.
    """
    return "\n".join(read_lines(path, ends=True))


def read_lines(path: str | Path, *, ends: bool = False, cut: bool = False) -> Iterator[str]:
    """The lines of a file, blank ones too, as `decoded_lines` gives them; it may be compressed by gzip.

    Args:
        path: the file.
        ends: keep what stands before \\n, and give one more, empty line behind the last \\n.
        cut: leave out a last line without an end, which a kill may have cut off within a character.

    Raises:
        UserError: the file is missing, cannot be read, or is not UTF-8; the message names it.
    """
    try:
        with Path(path).open("rb") as file, uncompressed(file) as content:
            last = b"\n"
            for number, line in enumerate(content, 1):
                if cut and not line.endswith(b"\n"):
                    return
                last = line
                text = decoded(line, f"{path}, line {number}", number == 1)
                yield text.removesuffix("\n") if ends else without_end(text)
            if ends and last.endswith(b"\n"):
                yield ""
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


@contextmanager
def uncompressed(file: Any) -> Iterator[Any]:
    """The bytes of a buffered file as they are, or as gzip unpacks them."""
    if file.peek(len(_GZIP)).startswith(_GZIP):
        with gzip.GzipFile(fileobj=file) as inner:
            yield inner
    else:
        yield file


def decoded(line: bytes, where: str, first: bool = False) -> str:
    """A line of UTF-8, without the byte order mark that may stand in the `first` one.

    Raises:
        UserError: it is not UTF-8; says where.
    """
    try:
        return line.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 text ({error}); save the file as UTF-8") from error


def without_end(line: str) -> str:
    """A line without its end, \\n or \\r\\n; nothing else ends one (\\r, U+2028 and their kin are text)."""
    return line.removesuffix("\n").removesuffix("\r")


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


def shipped(path: str) -> Path:
    """What comes with the library, such as "config/prompts": of this checkout, or of an installed package."""
    checkout = Path(__file__).parents[2]
    installed = Path(sysconfig.get_path("data")) / "share/grrm"
    return (checkout if (checkout / "config/prompts").is_dir() else installed) / path


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
