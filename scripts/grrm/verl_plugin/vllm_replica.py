"""`rollout.name=vllm`: verl's own servers, which end with their engine.

A vLLM server whose engine has died goes on as a Ray actor that refuses connections: whoever asks it tries
again, and counts failures. Once it has ended, the trainer's replay buffer names it (actors.py).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import Any

import ray
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer, vLLMReplica

_LOOK_EVERY = 1.0


class EndingServer(vLLMHttpServer):
    """verl's server, which watches its engine."""

    async def run_server(self, args: argparse.Namespace) -> None:
        """Start it, and watch from then on."""
        await super().run_server(args)
        self._watching = asyncio.create_task(end_with(self.engine))


async def end_with(engine: Any) -> None:
    """End this process as soon as the engine has died; that is no exception, which Ray would hand on."""
    while not engine.errored:
        await asyncio.sleep(_LOOK_EVERY)
    print(
        "vLLM's engine has ended, perhaps for want of memory: its server ends too",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


class EndingReplica(vLLMReplica):
    """verl's replica of such servers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.server_class = ray.remote(EndingServer)
