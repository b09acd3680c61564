"""Which of a training's processes are still there: Ray's actors, and the router before its judge."""

from __future__ import annotations

from collections.abc import Callable, Iterable

LOOK_EVERY = 10.0
"""Seconds."""


class ActorWatch:
    """Notices named processes that have ended; verl ends none of its own before the training does.

    verl 0.9.1 hands prompts to its agent loop workers and waits for what they put into a queue: nothing tells
    it that one of them was killed.

    Args:
        names: lists those that live.
    """

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._names = names
        self._seen: set[str] = set()
        self._next = float("-inf")

    def gone(self, now: float) -> list[str]:
        """Those that lived at an earlier look and do not any more; it looks every `LOOK_EVERY` seconds.

        Args:
            now: seconds of a monotonic clock.
        """
        if now < self._next:
            return []
        self._next = now + LOOK_EVERY
        living = set(self._names())
        gone = sorted(self._seen - living)
        self._seen |= living
        return gone
