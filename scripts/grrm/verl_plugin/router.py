"""verl's reward router ends with the trainer that started it.

It is a process forked by the trainer (verl/experimental/reward_loop/router/naive_router.py). Python ends such
a process when its parent ends in an orderly way only: after a SIGKILL it would listen for ever.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from grrm.verl_plugin.compatibility import check_signature


def end_router_with_trainer() -> None:
    """Replace `run_router`, which verl's launcher looks up when it forks; call this in the trainer's process.

    Raises:
        IncompatibleVerlError: `run_router` is not the one this was written for.
    """
    from verl.experimental.reward_loop.router import naive_router

    if hasattr(naive_router.run_router, "__wrapped__"):
        return
    where = "verl/experimental/reward_loop/router/naive_router.py"
    check_signature(naive_router.run_router, ["router_ip", "router_port", "worker_urls"], where)
    naive_router.run_router = ending_with_parent(naive_router.run_router)


def ending_with_parent(run: Callable[..., Any], poll_seconds: float = 1.0) -> Callable[..., Any]:
    """`run`, for a process of its own that ends as soon as its parent is gone."""

    @functools.wraps(run)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        parent = os.getppid()

        def watch() -> None:
            while os.getppid() == parent:
                time.sleep(poll_seconds)
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
        return run(*args, **kwargs)

    return guarded
