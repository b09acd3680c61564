"""What clients send, held within bounds while it comes."""

from __future__ import annotations

import asyncio

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Refuses requests whose body is too long, comes too slowly, or for which there is no room at the time.

    Args:
        app: what answers the others.
        limit: bytes of a body.
        together: bytes of all bodies that are being received.
        seconds: longest time for a body to come.
    """

    def __init__(self, app: ASGIApp, limit: int, together: int, seconds: float) -> None:
        self._app, self._limit, self._together, self._seconds = app, limit, together, seconds
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken, whole, announced = 0, False, _announced(scope)
        end = asyncio.get_running_loop().time() + self._seconds

        async def counted() -> Message:
            nonlocal taken, whole
            if whole:
                return await receive()
            self._check(announced)
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                detail = f"the body has not come within {self._seconds:g} s"
                raise HTTPException(408, detail) from None
            size = len(message.get("body", b""))
            self._check(taken + size, size)
            taken, self._held = taken + size, self._held + size
            if whole := not message.get("more_body", False):
                self._held, taken = self._held - taken, 0
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._held -= taken

    def _check(self, length: int, more: int = 0) -> None:
        if length > self._limit:
            raise HTTPException(
                413, f"the body is longer than {self._limit} bytes; send fewer responses at once"
            )
        if self._held + more > self._together:
            raise HTTPException(
                503,
                "too many bytes of other requests are on their way; ask again in a second",
                {"Retry-After": "1"},
            )


def _announced(scope: Scope) -> int:
    """The length that a request says its body has; 0: it says none."""
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return int(length) if length.isdigit() and len(length) < 19 else 0
