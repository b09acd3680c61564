"""What vLLM 0.24.0 needs of its surroundings, and what its CPU backend can run."""

from __future__ import annotations

EVERYWHERE = {
    # FlashInfer's would be compiled when it is first used, with nvcc and ninja.
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
}
"""Variables of the environment of all its processes."""

ON_CPU = {
    # As many threads as OMP_NUM_THREADS says: vLLM would bind them to all cores.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # The engine makes the worker itself: a process less.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_HOST_IP": "127.0.0.1",
    # Even with enforce_eager the sampler would be compiled, for 40 processor-seconds.
    "TORCHDYNAMO_DISABLE": "1",
}
"""Those of a server on a CPU besides."""

CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""Widths of an attention head that its CPU kernels know."""

CPU_FLAGS = frozenset({"avx2", "f16c"})
"""What the processor must have, by the names of /proc/cpuinfo: the least that the wheel has kernels for."""
