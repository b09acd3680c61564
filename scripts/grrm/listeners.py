"""Listeners that vLLM opens to the world, and need not. Imports neither verl nor vLLM."""

from __future__ import annotations

from typing import Any


def listen_nowhere() -> None:
    """torch/distributed, `init_process_group`: vLLM's group of one process needs no listener.

    The store behind tcp:// listens on all addresses of the machine, whatever address it is given.
    """
    import torch.distributed

    original = torch.distributed.init_process_group
    if original.__module__ == __name__:  # done before
        return

    def initialize(*args: Any, **kwargs: Any) -> None:
        if kwargs.get("world_size") == 1 and str(kwargs.get("init_method", "")).startswith("tcp://"):
            kwargs |= {"init_method": None, "store": torch.distributed.HashStore()}
        original(*args, **kwargs)

    torch.distributed.init_process_group = initialize
