"""verl's reward router does not outlive a trainer that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

pytest.importorskip("verl")

from grrm.verl_plugin.router import end_router_with_trainer

TRAINER = """
import multiprocessing, time
from grrm.verl_plugin.router import ending_with_parent

process = multiprocessing.Process(target=ending_with_parent(time.sleep, 0.1), args=(60,), daemon=True)
process.start()
print(process.pid, flush=True)
time.sleep(60)
"""


def test_a_router_ends_when_its_trainer_is_killed():
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VERL_")}
    trainer = subprocess.Popen([sys.executable, "-c", TRAINER], stdout=subprocess.PIPE, env=environment)
    assert trainer.stdout is not None
    router = psutil.Process(int(trainer.stdout.readline()))
    assert router.is_running()
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    deadline = time.monotonic() + 10
    while router.is_running() and router.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_verls_router_is_replaced_once():
    from verl.experimental.reward_loop.router import naive_router

    end_router_with_trainer()
    replaced = naive_router.run_router
    assert replaced.__wrapped__.__module__ == naive_router.__name__
    end_router_with_trainer()
    assert naive_router.run_router is replaced
