"""vLLM's CPU backend: whether this processor, and a model, can run on it, and what is mended of it.

Importing this module imports no vLLM.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from grrm.catalogue.vllm import CPU_FLAGS, CPU_HEAD_SIZES
from grrm.files import UserError
from grrm.model_folder import configuration

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
    config = configuration(model)
    config = config.get("text_config", config)
    if "num_attention_heads" not in config:
        return  # of a shape that is not known here: vLLM says what it thinks of it
    width = config.get("head_dim") or config["hidden_size"] / config["num_attention_heads"]
    if width not in CPU_HEAD_SIZES:
        known = ", ".join(map(str, CPU_HEAD_SIZES))
        raise UserError(
            f"{model}: attention heads of {width:g} numbers, expected one of {known} for vLLM on a CPU"
        )


def rewind_seeds() -> None:
    """vllm/v1/worker/gpu_model_runner.py, `_bookkeeping_sync`: what it does to seeds, done for a CPU.

    A prompt that is read in pieces is sampled after every piece, and all but the last draw are thrown away.
    vLLM then sets the generator of a seeded request back by CUDA's offset, which a CPU's has not: the engine
    dies. Here the generator's state of before the draw is put back.
    """
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    sample, keep_books = CPUModelRunner._sample, CPUModelRunner._bookkeeping_sync
    if sample.__module__ == __name__:  # done before
        return

    def rewinding(self: Any, *args: Any, **kwargs: Any) -> Any:
        thrown_away = self.discard_request_mask.np[: self.input_batch.num_reqs].nonzero()[0]
        generators = [self.input_batch.generators.get(int(row)) for row in thrown_away]
        states = [(generator, generator.get_state()) for generator in generators if generator is not None]
        output = sample(self, *args, **kwargs)
        for generator, state in states:
            generator.set_state(state)
        return output

    def without_generators(self: Any, *args: Any, **kwargs: Any) -> Any:
        generators, self.input_batch.generators = self.input_batch.generators, {}
        try:
            return keep_books(self, *args, **kwargs)
        finally:
            self.input_batch.generators = generators

    CPUModelRunner._sample, CPUModelRunner._bookkeeping_sync = rewinding, without_generators
