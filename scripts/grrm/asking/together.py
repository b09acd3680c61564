"""Asking a judge that verl serves with this project's own server: all that is asked at once, in one message.

The server cuts a message into batches as it stands, so that the answers do not depend on when each question
came (`grrm.verl_plugin.completions`). All else about a call is as everywhere: what is in it, and how its
answer or failure is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import httpx

from grrm.rounds import PLACE, TOGETHER, Rounds

_JSON = {"Content-Type": "application/json"}


class Together:
    """Calls that wait for each other; for one event loop.

    Args:
        url: of chat completions; or what tells it once somebody asks.
        timeout: longest time for one call, in seconds; a message has as many times that as it has calls.

    Attributes:
        url: see above.
        rounds: who may ask is counted there.
    """

    def __init__(self, url: str | Callable[[], str], timeout: float) -> None:
        self.url, self._timeout = url, timeout
        self._http: httpx.AsyncClient | None = None
        self.rounds: Rounds[bytes, httpx.Response] = Rounds(self._send)

    async def post(self, content: bytes) -> httpx.Response:
        """What the judge answers to one call.

        Raises:
            TimeoutError: the message was not answered in time.
            httpx.HTTPError: it was not answered at all.
        """
        return await self.rounds.ask(content, (PLACE.get(), content))

    async def close(self) -> None:
        """Close the connection."""
        if self._http is not None:
            await self._http.aclose()

    async def _send(self, contents: list[bytes]) -> Sequence[httpx.Response]:
        if self._http is None:
            self._http = httpx.AsyncClient(timeout=None, trust_env=False)
        message = b'{"requests": [' + b", ".join(contents) + b"]}"
        url = self.url if isinstance(self.url, str) else self.url()
        seconds = self._timeout * len(contents)
        try:
            async with asyncio.timeout(seconds):
                response = await self._http.post(f"{url}{TOGETHER}", content=message, headers=_JSON)
        except TimeoutError as error:
            raise TimeoutError(f"no answer to {len(contents)} calls within {seconds:g} s") from error
        try:
            answers = response.json()["answers"]
            found = [httpx.Response(answer["status"], json=answer["body"]) for answer in answers]
        except (ValueError, KeyError, TypeError):  # of the router, or the server as a whole
            found = []
        return found if len(found) == len(contents) else [response] * len(contents)
