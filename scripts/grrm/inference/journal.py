"""Results on disk as they come, so that an interrupted run goes on where it stopped.

While a run lasts, its results lie in `<output>.partial`: the settings of the run in the first line, then one
result per line, in the order in which they were finished. When all are there, `<output>` is written whole, in
the order of runs and rows, and the partial file is removed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from grrm import lock
from grrm.files import UserError, atomic_path, naming
from grrm.json_text import json_line, parse_json

Key = tuple[int, int]

FILES = "files"
"""Of the settings: what is read of a model besides its weights. Journals of version 0.1 do not say it, and go
on whatever it is."""


class Journal:
    """The results of a run so far; to be used as `with Journal(...) as journal`.

    Args:
        output: where the finished results are to be.
        settings: what the results depend on: JSON values, by name.
        runs: how often each row is answered.
        rows: how many there are.
        overwrite: begin anew, whatever is there.
        discard_stale: begin anew, and say so, if the output, or what is left of an interrupted run, has other
            settings.

    Raises:
        UserError: the output, or what is left of an interrupted run, was made with other settings or from
            another input; another process writes the same output.
    """

    def __init__(
        self,
        output: str | Path,
        settings: Mapping[str, Any],
        runs: int,
        rows: int,
        *,
        overwrite: bool = False,
        discard_stale: bool = False,
    ) -> None:
        self.output = Path(output)
        self.path = self.output.with_name(f"{self.output.name}.partial")
        self._settings = json.loads(json.dumps(settings))
        self._digest = _digest(settings)
        self._keys = [(run, index) for run in range(runs) for index in range(rows)]
        self._places: dict[Key, tuple[int, int]] = {}
        if self.output.is_dir():
            raise UserError(f"{self.output}: a folder; expected the name of a file")
        self.finished = self.output.exists() and not overwrite and not self._is_outdated(discard_stale)
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.output.open("rb") if self.finished else self.path.open("a+b")
        self._held = ExitStack()
        self._held.enter_context(self._file)
        try:
            if not self.finished:
                self._lock()
                self._recover(overwrite, discard_stale)
        except BaseException:
            self._held.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    @property
    def hint(self) -> str:
        """What to do when not everything was answered."""
        return f"what was is in {self.path}: the same command asks for the rest"

    @property
    def total(self) -> int:
        """How many results there will be."""
        return len(self._keys)

    def missing(self) -> list[Key]:
        """Run and row number of what there is no result of yet, in order."""
        return [] if self.finished else [key for key in self._keys if key not in self._places]

    def add(self, run: int, index: int, result: Mapping[str, Any]) -> None:
        """Keep a result; it survives the end of this process, however it comes, but not a power cut."""
        line = self._line({"index": index, "run": run, **result})
        with naming(self.path):
            start = self._file.seek(0, os.SEEK_END)
            self._file.write(line)
            self._file.flush()
        self._places[run, index] = (start, len(line))

    def results(self) -> Iterator[dict[str, Any]]:
        """The results so far, in the order of runs and rows."""
        source = self.output if self.finished else self.path
        for number, line in enumerate(self._lines(), 1):
            if (row := _row(line, f"{source}, line {number}")) is not None:
                yield row

    def publish(self, rows: Iterable[Mapping[str, Any]] | None = None) -> None:
        """Write the output, the results or `rows` made of them, and remove the partial file."""
        if self.finished:
            return
        assert rows is not None or not self.missing(), self.output
        lines = self._lines() if rows is None else map(self._line, rows)
        with atomic_path(self.output) as partial, partial.open("wb") as out:
            out.writelines(lines)
        self.path.unlink(missing_ok=True)

    def _line(self, row: Mapping[str, Any]) -> bytes:
        return json_line({**row, "settings": self._digest}).encode() + b"\n"

    def _lines(self) -> Iterator[bytes]:
        if self.finished:
            self._file.seek(0)
            yield from self._file
        for key in self._keys:
            if key in self._places:
                start, length = self._places[key]
                self._file.seek(start)
                yield self._file.read(length)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                # The file system has no such locks (some network and FUSE ones): a file beside it is one.
                self._held.enter_context(lock.held(self.path, patience=0))
                return
            raise UserError(
                f"{self.path}: another process is writing it; wait for its end, or name another output"
            ) from error

    def _recover(self, overwrite: bool, discard_stale: bool) -> None:
        """Take up what an earlier process left; a line that it did not finish is cut off."""
        position, known = 0, set(self._keys)
        self._file.seek(0)
        for number, line in enumerate([] if overwrite else self._file):
            row = _row(line, f"{self.path}, line {number + 1}")
            if row is None:
                break
            if number == 0:
                if self._is_stale(row.get("settings"), discard_stale):
                    break
            elif (key := (row.get("run"), row.get("index"))) in known:
                self._places[key] = (position, len(line))
            else:
                break
            position += len(line)
        self._file.truncate(position)
        if position == 0:
            self._file.write(json_line({"settings": self._settings}).encode() + b"\n")
            self._file.flush()

    def _is_stale(self, earlier: Any, discard_stale: bool) -> bool:
        """Whether what is left was made with other settings and is to be given up; an error if it is not."""
        if earlier == self._settings:
            return False
        if earlier == _without_files(self._settings):
            self._digest = _digest(earlier)  # of one output, all lines have the same
            return False
        found = (
            f"{self.path}: holds the results of an interrupted run that differs in "
            f"{'; '.join(_differences(earlier, self._settings)) or 'everything'}"
        )
        if not discard_stale:
            raise UserError(
                f"{found}. Go back to the earlier settings to finish it, remove the file to begin anew, or "
                "name another output"
            )
        print(f"{found}: discarded", file=sys.stderr)
        return True

    def _is_outdated(self, discard_stale: bool) -> bool:
        """Whether the output is to be made anew, not being what this run would make."""
        with self.output.open("rb") as file:
            first = _row(file.readline(), f"{self.output}, line 1")
        if first is None or "settings" not in first:
            raise UserError(f"{self.output}: exists, and is no output of this command; name another output")
        if first["settings"] in (self._digest, _digest(_without_files(self._settings))):
            return False
        recorded = {key: first[key] for key in self._settings if key in first}
        differences = "; ".join(_differences(recorded, self._settings)) or "its rows, prompt, runs or retries"
        found = (
            f"{self.output}: exists, and was made with other settings or from another input ({differences})"
        )
        if not discard_stale:
            raise UserError(f"{found}; name another output, or remove this one")
        print(f"{found}: made anew", file=sys.stderr)
        return True


class Printer:
    """Results on a stream, in the order of runs and rows, each as soon as all before it have come.

    Args:
        stream: where they are printed.
        line: what is printed of a result, without its line end.
        runs: how often each row is answered.
        rows: how many there are.
    """

    hint = "what was has been printed; an output file (--output) would be completed by the same command"

    def __init__(
        self, stream: TextIO, line: Callable[[Mapping[str, Any]], str], runs: int, rows: int
    ) -> None:
        self._stream, self._line = stream, line
        self._keys = [(run, index) for run in range(runs) for index in range(rows)]
        self._waiting: dict[Key, str] = {}
        self._next = 0
        self.total = len(self._keys)

    def missing(self) -> list[Key]:
        """Run and row number of everything."""
        return self._keys

    def results(self) -> Iterator[dict[str, Any]]:
        """None are kept."""
        return iter(())

    def add(self, run: int, index: int, result: Mapping[str, Any]) -> None:
        """Print a result, or keep it until those before it have come."""
        self._waiting[run, index] = self._line({"index": index, "run": run, **result})
        while self._next < self.total and self._keys[self._next] in self._waiting:
            self._print(self._waiting.pop(self._keys[self._next]))
            self._next += 1

    def publish(self) -> None:
        """Print what still waits for results that will not come."""
        for key in sorted(self._waiting):
            self._print(self._waiting[key])
        self._waiting.clear()

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


def rows_digest(rows: Iterable[Any]) -> str:
    """SHA-256 of rows of JSON values."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _without_files(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != FILES}


def _row(line: bytes, where: str) -> dict[str, Any] | None:
    """What a line holds; None if it is cut off. UserError if it holds what no journal does, such as NaN."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = parse_json(line.decode(), any_size=True)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON ({error}); remove this line: it is asked again") from error
    return row if isinstance(row, dict) else None


def _differences(earlier: Any, now: Any, name: str = "") -> list[str]:
    if isinstance(earlier, dict) and isinstance(now, dict):
        return [
            difference
            for key in sorted(earlier.keys() & now.keys())
            for difference in _differences(earlier[key], now[key], f"{name}.{key}" if name else key)
        ]
    return [] if earlier == now else [f"{name}: {_short(earlier)} there, {_short(now)} now"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
