"""How far a run is: a bar on a terminal, plain lines in a log; always on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self, TextIO

from grrm.inference.runs import Tally

# Between two lines in a log.
_SECONDS = 10.0


class Progress:
    """To be used as `with Progress(total) as progress`, and called with the tally so far.

    Args:
        total: answers there will be; of a single one nothing is shown.
        stream: where it is shown.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._started = self._shown = time.monotonic()
        self._bar = None
        if total > 1 and self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="answer", file=self._stream, dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, tally: Tally) -> None:
        """Show a tally."""
        if self._total <= 1:
            return
        failed = tally.failures.total() + tally.unanswered.total()
        done = tally.usable + failed
        if self._bar is not None:
            self._bar.set_postfix(failed=failed, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if now - self._shown >= _SECONDS or done == self._total:
            self._shown = now
            print(
                f"{done} of {self._total} answers, {failed} failed, {now - self._started:.1f} s",
                file=self._stream,
                flush=True,
            )
