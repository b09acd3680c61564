"""flash-attn where it is installed, torch's own kernels where it is not."""

from __future__ import annotations

from grrm.process import run_engine


def has_flash_attn(python: str) -> bool:
    """Whether flash-attn can be imported in an environment; if not, the log says what is used instead.

    Args:
        python: interpreter of the environment.
    """
    if run_engine([python, "-c", "import flash_attn"]) == 0:
        return True
    print("flash-attn cannot be imported: training with attention sdpa", flush=True)
    return False
