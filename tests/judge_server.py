"""A scripted judge: an OpenAI-compatible server over real HTTP that can fail in every way a test asks for."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Call:
    """A request as it arrived; `number` counts from 0, `attempt` counts equal bodies from 0."""

    number: int
    attempt: int
    prompt: str
    body: dict[str, Any]
    headers: dict[str, str]
    time: float
    path: str = "/v1/chat/completions"


@dataclass(frozen=True)
class Act:
    """What the server does about a call."""

    text: str = ""
    """Content of the completion."""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    """The body, in place of a completion."""
    latency: float = 0.0
    keep: int | None = None
    """Bytes of the response sent before the connection is cut."""
    dribble: float = 0.0
    """Seconds between two bytes of the body."""


Script = Callable[[Call], Act]


class JudgeServer:
    """Serves on a free port of the loopback, in the running event loop: `async with JudgeServer(script)`.

    Attributes:
        calls: what arrived.
        connections: how many were opened.
        busiest: most calls served at once.
    """

    def __init__(self, script: Script, port: int = 0) -> None:
        self.calls: list[Call] = []
        self.connections = 0
        self.busiest = 0
        self._script, self._port = script, port
        self._busy = 0
        self._bodies: dict[bytes, int] = {}
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self._port, backlog=512)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Go down: connections are cut, new ones refused."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            self._server = None

    async def serve_forever(self) -> None:
        assert self._server is not None
        await self._server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        path = head[0].removeprefix("POST ").removesuffix(" HTTP/1.1")
        if path not in ("/v1/chat/completions", "/v1/completions"):
            writer.write(_response(404, {}, b'{"error": "no such path"}'))
            await writer.drain()
            return True
        request = json.loads(body)
        attempt = self._bodies[body] = self._bodies.get(body, -1) + 1
        call = Call(
            len(self.calls),
            attempt,
            request["messages"][-1]["content"] if "messages" in request else request["prompt"],
            request,
            headers,
            asyncio.get_running_loop().time(),
            path,
        )
        self.calls.append(call)
        self._busy += 1
        self.busiest = max(self.busiest, self._busy)
        try:
            return await self._act(self._script(call), writer)
        finally:
            self._busy -= 1

    async def _act(self, act: Act, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(act.latency)
        content = act.raw if act.raw is not None else completion(act.text)
        response = _response(act.status, act.headers, content)
        if act.keep is not None:
            writer.write(response[: act.keep])
            await writer.drain()
            return False
        if act.dribble:
            for byte in response:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(act.dribble)
        else:
            writer.write(response)
            await writer.drain()
        return True


def completion(text: str) -> bytes:
    """The body of a chat completion; every answer costs 10 + 5 tokens."""
    message = {"role": "assistant", "content": text}
    return json.dumps(
        {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }
    ).encode()


def _response(status: int, headers: dict[str, str], content: bytes) -> bytes:
    fields = {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode() + b"\r\n" + content


def main(argv: list[str] | None = None) -> None:
    """Serve until killed, with the same answer to every call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answer", default="<better>A</better>")
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    args = parser.parse_args(argv)

    async def serve() -> None:
        async with JudgeServer(lambda _: Act(args.answer, latency=args.latency)) as server:
            print(server.url, flush=True)
            await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
