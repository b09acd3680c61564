"""Libraries held to AVX2 give the same weights, to the bit, on another processor (an emulated Haswell).

The emulator needs some minutes for what takes seconds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from configurations import ROOT
from grrm.report.machine import HELD_TO_AVX2

EMULATOR = "qemu-x86_64"


def digests(*emulated: str, **variables: str) -> list[str]:
    done = subprocess.run(
        [*emulated, sys.executable, ROOT / "tests/training_steps.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        timeout=1700,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_torch_is_told_by_the_flags_of_the_processor() -> None:
    import torch

    from grrm.report.machine import processor

    assert processor({})["capability"] == torch.backends.cpu.get_cpu_capability()


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which(EMULATOR) is None, reason=f"no {EMULATOR}: on Debian, apt install qemu-user")
def test_steps_of_sft_and_rl_are_equal_on_another_processor() -> None:
    native = digests(**HELD_TO_AVX2)
    assert native[0] == "capability AVX2"
    assert len(set(native)) == 7, "every step changes the weights"
    assert digests(EMULATOR, "-cpu", "Haswell", **HELD_TO_AVX2) == native
