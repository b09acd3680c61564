"""A model of this process whose completions are kept on disk as they come, in a table like a server's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from grrm.asking.cache import ReplyCache, cache_key
from grrm.inference.backends import Backend, Completion, Decoding, Request


class JournalledBackend:
    """Asks a backend for what is not in the journal only.

    Args:
        backend: runs the model.
        journal: file of the completions so far.

    Attributes:
        found: completions that were there.
    """

    def __init__(self, backend: Backend, journal: Path) -> None:
        self._backend, self._journal = backend, ReplyCache(journal)
        # Not its name: a folder may be moved.
        self._made_by = {name: value for name, value in backend.origin().items() if name != "model"}
        self._made_by["files"] = backend.other_files()
        self.found = 0

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        """As `Backend.generate`."""
        fields = [self._fields(request, decoding) for request in requests]
        keys = [cache_key(one, request.seed) for one, request in zip(fields, requests, strict=True)]
        missing = []
        for position, key in enumerate(keys):
            if (row := self._journal.get(key)) is None:
                missing.append(position)
            else:
                self.found += 1
                yield position, _completion(row)
        asked = [requests[position] for position in missing]
        for number, completion in self._backend.generate(asked, decoding) if asked else ():
            position = missing[number]
            self._journal.put(keys[position], fields[position], asdict(completion))
            yield position, completion

    def origin(self) -> dict[str, Any]:
        """As `Backend.origin`."""
        return self._backend.origin()

    def other_files(self) -> dict[str, str]:
        """As `Backend.other_files`."""
        return self._backend.other_files()

    def context(self) -> int | None:
        """As `Backend.context`."""
        return self._backend.context()

    def close(self) -> None:
        """Free the model, and the file."""
        self._backend.close()
        self._journal.close()

    def _fields(self, request: Request, decoding: Decoding) -> dict[str, Any]:
        # The seed of the whole run does not matter: each request has its own.
        how = {name: value for name, value in asdict(decoding).items() if name != "seed"}
        return {**self._made_by, "text": str(request.text), "chat": request.chat, **how}


def _completion(row: Mapping[str, Any]) -> Completion:
    return Completion(row["text"], row["failure"], row["detail"])
