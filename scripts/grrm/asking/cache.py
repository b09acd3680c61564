"""Answers of a judge on disk (SQLite), keyed by model, prompt and sampling; processes may share it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grrm.files import UserError

_TABLE = (
    "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, request TEXT NOT NULL, reply TEXT NOT NULL)"
)


def cache_key(request: Mapping[str, Any], sample: int, content: str | None = None) -> str:
    """SHA-256 of a request (model, messages, sampling; not the address) and the number of the draw.

    Args:
        request: its fields.
        sample: number of the draw.
        content: hash of the model's files where the request names their folder, see `grrm.content`.
    """
    text = json.dumps([request, sample, *([content] if content else [])], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class ReplyCache:
    """A table of answers.

    Raises:
        UserError: the file is not such a table or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            # A lost entry is asked for again: not worth a wait for the disk at every answer.
            self._connection.execute("PRAGMA synchronous = OFF")
            self._connection.execute(_TABLE)
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"{path}: cannot be used as a cache of answers ({error}); name another file"
            ) from error

    def get(self, key: str) -> dict[str, Any] | None:
        """The stored reply, or None.

        Raises:
            UserError: the file cannot be read.
        """
        try:
            row = self._connection.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise UserError(f"{self._path}: cannot be read ({error}); remove the file") from error
        return None if row is None else json.loads(row[0])

    def put(self, key: str, request: Mapping[str, Any], reply: Mapping[str, Any]) -> None:
        """Store a reply; one that is there already stays.

        Raises:
            UserError: the file cannot be written.
        """
        try:
            self._connection.execute(
                "INSERT OR IGNORE INTO replies VALUES (?, ?, ?)",
                (key, json.dumps(request), json.dumps(reply)),
            )
        except sqlite3.Error as error:
            raise UserError(f"{self._path}: cannot be written ({error})") from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
