"""The most memory that what this process has started takes, on this machine and its GPUs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import psutil

from grrm.engines.memory import memory
from grrm.preflight.probes import used_memory
from grrm.process import going_on


@dataclass
class Peaks:
    """While the block runs, memory is looked at again and again.

    Attributes:
        every: seconds between two looks.
        told: called with `found` at the end of each minute, for what is killed before it can say anything.
        host: bytes of this process and its descendants, shared ones once; 0 before the first look.
        limit: bytes that they may have, and where the limit is.
        gpus: by number of the GPU its name, and bytes that were in use at most, and that it has.
    """

    every: float = 2.0
    told: Callable[[dict[str, Any]], None] = lambda found: None
    host: int = 0
    limit: int = 0
    where: str = ""
    gpus: dict[int, dict[str, Any]] = field(default_factory=dict)

    def __enter__(self) -> Peaks:
        limit = memory()
        self.limit, self.where = limit.total, limit.where
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="peaks", daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._watcher.join()

    @property
    def found(self) -> dict[str, Any]:
        """`host` with `peak`, `limit` and `where`, and `gpus`, each with `name`, `peak` and `limit`."""
        host = {"peak": self.host, "limit": self.limit, "where": self.where}
        return {"host": host, "gpus": [self.gpus[number] for number in sorted(self.gpus)]}

    def _watch(self) -> None:
        last = time.monotonic()
        while True:
            self._look()
            if time.monotonic() - last > 60:
                with going_on("the peaks of memory could not be noted"):
                    self.told(self.found)
                last = time.monotonic()
            if self._over.wait(self.every):
                return

    def _look(self) -> None:
        self.host = max(self.host, _held())
        for use in used_memory():
            entry = {"name": use.gpu.name, "peak": 0, "limit": use.gpu.memory * 2**20}
            known = self.gpus.setdefault(use.gpu.index, entry)
            known["peak"] = max(known["peak"], use.used)


def _held() -> int:
    """Bytes of this process and its descendants; of what several share each has its part."""
    held = 0
    own = psutil.Process()
    for process in [own, *own.children(recursive=True)]:
        try:
            held += process.memory_full_info().pss
        except (psutil.Error, OSError, AttributeError):
            continue
    return held
