"""How far a run is: a bar on a terminal, plain lines in a log; always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
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
        cost: what has been spent by now, in words; with it rate and time left are shown, too. Answers that
            were there already, which come at once, are no measure of the others.
        there: answers that were there already.
    """

    def __init__(
        self,
        total: int,
        stream: TextIO | None = None,
        *,
        cost: Callable[[], str] | None = None,
        there: Callable[[], int] = int,
    ) -> None:
        self._total, self._cost, self._there = total, cost, there
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
                f"{done} of {self._total} answers, {failed} failed, {now - self._started:.1f} s"
                f"{self._further(done, now - self._started)}",
                file=self._stream,
                flush=True,
            )

    def _further(self, done: int, seconds: float) -> str:
        if self._cost is None:
            return ""
        rate = (done - min(self._there(), done)) / max(seconds, 1e-9)
        left = f"{(self._total - done) / rate:.0f} s left" if rate else "time left unknown"
        return f", {rate:.2f} a second, {self._cost()}, {left}"
