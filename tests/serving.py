"""The scripted judge in a thread of its own, for code that keeps the event loop of the test's thread busy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from judge_server import JudgeServer, Script


@contextmanager
def serving(script: Script, port: int = 0) -> Iterator[JudgeServer]:
    """A server that follows the script, at a free port unless one is given."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = JudgeServer(script, port)
    asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(5)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
