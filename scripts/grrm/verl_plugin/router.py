"""verl's reward router ends with the trainer that started it, and tells when no judge is left to ask.

It is a process forked by the trainer (verl/experimental/reward_loop/router/naive_router.py). Python ends such
a process when its parent ends in an orderly way only: after a SIGKILL it would listen for ever. And whatever
goes wrong, it answers 500. Where it ends itself, verl does not notice: every judgement fails from then on.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import aiohttp
from fastapi.responses import JSONResponse

from grrm.verl_plugin.compatibility import check_signature

ROUTER = "reward_router"


def end_router_with_trainer() -> None:
    """Replace `run_router`, which verl's launcher looks up when it forks; call this in the trainer's process.

    And have the launcher remember what it starts (`living_routers`).

    Raises:
        IncompatibleVerlError: they are not those that this was written for.
    """
    from verl.experimental.reward_loop.router import naive_router

    if hasattr(naive_router.run_router, "__wrapped__"):
        return
    where = "verl/experimental/reward_loop/router/naive_router.py"
    check_signature(naive_router.run_router, ["router_ip", "router_port", "worker_urls"], where)
    check_signature(naive_router.launch_router_process, ["worker_urls"], where)
    naive_router.run_router = ending_with_parent(naive_router.run_router)
    naive_router.launch_router_process = _remembered(naive_router.launch_router_process)


_started: list[multiprocessing.Process] = []


def _remembered(launch: Callable[..., Any]) -> Callable[..., Any]:
    """verl throws away what it starts."""

    @functools.wraps(launch)
    def launched(*args: Any, **kwargs: Any) -> Any:
        address, process = launch(*args, **kwargs)
        _started.append(process)
        return address, process

    return launched


def living_routers() -> list[str]:
    """Names of the routers that this process has started and that live."""
    return [f"{ROUTER}_{number}" for number, process in enumerate(_started) if process.is_alive()]


def answer_for_judges() -> None:
    """Have verl's router pass on the status that a judge answered, and answer 502 where it reaches none.

    Call this in the trainer's process, like `end_router_with_trainer`.

    Raises:
        IncompatibleVerlError: the router is not the one this was written for.
    """
    from verl.experimental.reward_loop.router import naive_router

    original = naive_router.NaiveRouter.__init__
    if hasattr(original, "__wrapped__"):
        return
    where = "verl/experimental/reward_loop/router/naive_router.py"
    tries = ["max_connections", "timeout", "max_attempts", "retry_delay"]
    check_signature(original, ["self", "worker_urls", *tries, "verbose"], where)

    @functools.wraps(original)
    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.app.add_exception_handler(aiohttp.ClientResponseError, _pass_on)
        # What it raises after its last try.
        for kind in (aiohttp.ClientError, OSError, RuntimeError):
            self.app.add_exception_handler(kind, _bad_gateway)

    naive_router.NaiveRouter.__init__ = initialize


async def _pass_on(_request: Any, error: Any) -> JSONResponse:
    return JSONResponse({"error": error.message}, status_code=error.status)


async def _bad_gateway(_request: Any, error: Exception) -> JSONResponse:
    return JSONResponse({"error": f"{type(error).__name__}: {error}"}, status_code=HTTPStatus.BAD_GATEWAY)


def ending_with_parent(run: Callable[..., Any], poll_seconds: float = 1.0) -> Callable[..., Any]:
    """`run`, for a `multiprocessing.Process` that ends as soon as its parent is gone.

    Raises:
        RuntimeError: when called in a process that multiprocessing did not start.
    """

    @functools.wraps(run)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        parent = multiprocessing.parent_process()
        if parent is None:
            raise RuntimeError("only a process that multiprocessing started has a parent to end with")

        def watch() -> None:
            while os.getppid() == parent.pid:  # another one from the first look on, if it died before
                time.sleep(poll_seconds)
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
        return run(*args, **kwargs)

    return guarded
