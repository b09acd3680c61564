"""Keeping calls within what an endpoint can and may serve. For one event loop; times in seconds."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass


@dataclass
class Spending:
    """An amount spent at a time."""

    time: float
    amount: float


class Window:
    """At most `limit` units in any `period`; first come, first served. A limit of 0 is none."""

    def __init__(self, limit: float, period: float) -> None:
        self._limit, self._period = limit, period
        self._spendings: deque[Spending] = deque()
        self._queue = asyncio.Lock()

    async def acquire(self, amount: float) -> Spending:
        """Wait until `amount` can be spent; more than the limit waits for an empty window."""
        if not self._limit:
            return Spending(0.0, amount)
        async with self._queue:
            while (wait := self._wait(amount)) > 0:
                await asyncio.sleep(wait)
            self._spendings.append(Spending(time.monotonic(), amount))
            return self._spendings[-1]

    def correct(self, spending: Spending, amount: float) -> None:
        """Replace what was thought to be spent by what was."""
        spending.amount = amount

    def _wait(self, amount: float) -> float:
        now = time.monotonic()
        while self._spendings and self._spendings[0].time <= now - self._period:
            self._spendings.popleft()
        if not self._spendings or sum(s.amount for s in self._spendings) + amount <= self._limit:
            return 0.0
        return self._spendings[0].time + self._period - now


class Breaker:
    """Holds calls back while an endpoint is down.

    After `failures` failed calls in a row calls wait; every `cooldown` one of them is let through as a probe.
    The first success lets all go. `patience` after the last of those failures, calls that are no probe are
    refused instead of kept waiting.
    """

    def __init__(self, failures: int, cooldown: float, patience: float) -> None:
        self._threshold, self._cooldown, self._patience = failures, cooldown, patience
        self._failures = 0
        self._opened: float | None = None
        self._next_probe = 0.0

    async def admit(self) -> bool:
        """Wait for leave to call; False: the endpoint has been down for too long."""
        while self._opened is not None:
            now = time.monotonic()
            if now >= self._next_probe:
                self._next_probe = now + self._cooldown
                return True
            refusal = self._opened + self._patience
            if now >= refusal:
                return False
            # Woken at least every tenth of a second, to notice that another call has succeeded.
            await asyncio.sleep(max(0.001, min(self._next_probe - now, refusal - now, 0.1)))
        return True

    def record(self, success: bool) -> None:
        """Tell how a call ended."""
        if success:
            self._failures, self._opened = 0, None
            return
        self._failures += 1
        if self._failures >= self._threshold and self._opened is None:
            self._opened = time.monotonic()
            self._next_probe = self._opened + self._cooldown
