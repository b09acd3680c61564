"""vLLM's CPU backend: whether this processor, and a model, can run on it."""

from __future__ import annotations

import json
import platform
from pathlib import Path

from grrm.catalogue.vllm import CPU_FLAGS, CPU_HEAD_SIZES
from grrm.files import UserError

_CPUINFO = Path("/proc/cpuinfo")


def check_processor(cpuinfo: Path = _CPUINFO, machine: str | None = None) -> None:
    """Refuse a machine that vLLM's CPU backend cannot run on, before it dies of an illegal instruction.

    Args:
        cpuinfo: what Linux says about its processors.
        machine: their architecture; None is this one's.

    Raises:
        UserError: it is not Linux on x86-64, or the processor lacks instructions.
    """
    machine = machine or platform.machine()
    expected = f"expected Linux on x86-64 with {' and '.join(sorted(CPU_FLAGS))}"
    advice = "take rollout_engine transformers (backend transformers), which runs on any"
    if machine != "x86_64" or not cpuinfo.exists():
        raise UserError(f"vLLM's CPU backend: this is {platform.system()} on {machine}, {expected}; {advice}")
    for line in cpuinfo.read_text(encoding="utf-8").splitlines():
        if line.startswith("flags") and (lacking := CPU_FLAGS - set(line.split())):
            raise UserError(
                f"vLLM's CPU backend: this processor lacks {', '.join(sorted(lacking))}, {expected}; {advice}"
            )


def check_heads(model: Path) -> None:
    """Refuse a model whose attention heads have a width that vLLM has no kernel for on a CPU.

    Raises:
        UserError: it names the width and those that there are.
    """
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config = config.get("text_config", config)
    if "num_attention_heads" not in config:
        return  # of a shape that is not known here: vLLM says what it thinks of it
    width = config.get("head_dim") or config["hidden_size"] / config["num_attention_heads"]
    if width not in CPU_HEAD_SIZES:
        known = ", ".join(map(str, CPU_HEAD_SIZES))
        raise UserError(
            f"{model}: attention heads of {width:g} numbers, expected one of {known} for vLLM on a CPU"
        )
