"""Keeping calls within what an endpoint can and may serve. For one event loop; times in seconds."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


class Slots:
    """At most `limit` calls at once; of those that wait, the one of the lowest rank goes first.

    So a call that is sent again goes before those of groups that came later, and groups end one by one.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @asynccontextmanager
    async def take(self, rank: int) -> AsyncIterator[None]:
        """Wait for a turn, and have it."""
        await self._acquire(rank)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, rank: int) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()  # it was given a turn that it does not take
            raise

    def _release(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Batch:
    """Calls that belong together, such as those about a group, and the time that they have.

    The time runs from the turn of the first: waiting behind other batches does not count.

    Args:
        rank: see `Slots`.
        seconds: the time.
    """

    def __init__(self, rank: int, seconds: float) -> None:
        self.rank = rank
        self._seconds = seconds
        self._end: float | None = None
        self._limits: set[asyncio.Timeout] = set()

    def start(self) -> None:
        """Let the time run, if it does not yet."""
        if self._end is None:
            self._end = asyncio.get_running_loop().time() + self._seconds
            for limit in self._limits:
                limit.reschedule(self._end)

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Raises TimeoutError when the time is over."""
        async with asyncio.timeout_at(self._end) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)


@dataclass
class Spending:
    """An amount spent at a time; over once its window is."""

    time: float
    amount: float
    over: bool = False


class Window:
    """At most `limit` units in any `period`; first come, first served. A limit of 0 is none."""

    def __init__(self, limit: float, period: float) -> None:
        self._limit, self._period = limit, period
        self._spendings: deque[Spending] = deque()
        self._spent = 0.0
        self._queue = asyncio.Lock()

    async def acquire(self, amount: float) -> Spending:
        """Wait until `amount` can be spent; more than the limit waits for an empty window."""
        if not self._limit:
            return Spending(0.0, amount)
        async with self._queue:
            while (wait := self._wait(amount)) > 0:
                await asyncio.sleep(wait)
            self._spendings.append(Spending(time.monotonic(), amount))
            self._spent += amount
            return self._spendings[-1]

    def correct(self, spending: Spending, amount: float) -> None:
        """Replace what was thought to be spent by what was."""
        if not spending.over:
            self._spent += amount - spending.amount
        spending.amount = amount

    def _wait(self, amount: float) -> float:
        now = time.monotonic()
        while self._spendings and self._spendings[0].time <= now - self._period:
            over = self._spendings.popleft()
            over.over = True
            self._spent -= over.amount
        if not self._spendings:
            self._spent = 0.0  # amounts need not be whole: no rounding is left over
        if not self._spendings or self._spent + amount <= self._limit:
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
