"""`python -m verl.trainer.main_ppo` for one machine without an accelerator: same arguments, quicker, local.

- Ray's workers are forked from a process that has imported the heavy libraries (fork_server.py).
- Ray listens on the loopback interface only, guarded by a token made for this run.
- All of Ray is shut down at the end.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import sys

from grrm.verl_plugin import fork_server

# What verl's processes import, without Ray. Missing ones are no loss: a worker imports what it needs.
HEAVY_MODULES = (
    "torch",
    "torch._dynamo",
    "torch._inductor",
    "torch.distributed.fsdp",
    "torch.distributed.tensor",
    "torchdata.stateful_dataloader",
    "tensordict",
    "transformers",
    "transformers.generation.utils",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.qwen2.modeling_qwen2",
    "transformers.processing_utils",
    "torchvision",
    "accelerate",
    "peft",
    "datasets",
    "pandas",
    "scipy.optimize",
    "sympy",
    "aiohttp.web",
    "fastapi",
    "uvicorn",
    "hydra",
    "omegaconf",
    "pydantic",
    "msgspec",
    "zmq",
)


def local_ray_environment() -> dict[str, str]:
    """Variables that keep Ray and gloo on this machine; Ray reads them when it is imported.

    Ray turns `_node_ip_address=127.0.0.1` into the machine's public address unless clusters are disabled; the
    switch is named after the systems where that is the default.
    """
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else Ray keeps one in the home folder
        "GLOO_SOCKET_IFNAME": "lo",
    }


def hydra_string(text: str) -> str:
    """`text`, which holds no backslash, as a quoted string of Hydra's override grammar."""
    escaped = text.replace('"', '\\"')
    return f'"{escaped}"'


def main() -> None:
    """Run verl's trainer with the command line's overrides."""
    os.environ.update(local_ray_environment())
    if sys.platform == "linux":
        for name in HEAVY_MODULES:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        server = fork_server.start()
        if isinstance(server, fork_server.Job):
            server.run()
            return
        executable = hydra_string(fork_server.interpreter(server))
        sys.argv.append(f"+ray_kwargs.ray_init.runtime_env.py_executable={executable}")

    import ray
    from verl.trainer.main_ppo import main as train

    try:
        train()
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
