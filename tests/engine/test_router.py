"""verl's reward router does not outlive a trainer that was killed, and says what became of a judge."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

pytest.importorskip("verl")

from aiohttp import web
from fastapi.testclient import TestClient

from grrm.verl_plugin.router import answer_for_judges, end_router_with_trainer, living_routers

TRAINER = """
import multiprocessing, time
from grrm.verl_plugin.router import ending_with_parent

process = multiprocessing.Process(target=ending_with_parent(time.sleep, 0.1), args=(60,), daemon=True)
process.start()
print(process.pid, flush=True)
time.sleep(60)
"""
# The trainer dies before the router has begun to watch it.
SLOW_FORK = "import os, time; os.register_at_fork(after_in_child=lambda: time.sleep(1))"


@pytest.mark.parametrize("before", ["", SLOW_FORK])
def test_a_router_ends_when_its_trainer_is_killed(before):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VERL_")}
    trainer = subprocess.Popen(
        [sys.executable, "-c", before + TRAINER], stdout=subprocess.PIPE, env=environment
    )
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


def test_a_router_that_ended_is_not_among_those_that_live(monkeypatch):
    import ray
    from verl.experimental.reward_loop.router import naive_router

    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    end_router_with_trainer()
    before = living_routers()
    _, process = naive_router.launch_router_process(worker_urls=["http://127.0.0.1:9"])
    (name,) = set(living_routers()) - set(before)
    assert name.startswith("reward_router_")
    process.kill()
    process.join()
    assert living_routers() == before


def status_of_router(*judges):
    """What verl's router answers in front of these judges."""
    from verl.experimental.reward_loop.router import naive_router

    answer_for_judges()
    router = naive_router.NaiveRouter(worker_urls=list(judges), retry_delay=0.0)
    with TestClient(router.app) as client:
        return client.post("/v1/chat/completions", json={}).status_code


def test_a_judge_that_is_gone_is_a_bad_gateway():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert status_of_router(f"http://127.0.0.1:{port}") == 502


def test_the_status_that_a_judge_answers_is_passed_on():
    async def refuse(_request):
        return web.Response(status=400)

    async def main():
        app = web.Application()
        app.router.add_post("/v1/chat/completions", refuse)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            address = f"http://127.0.0.1:{runner.addresses[0][1]}"
            return await asyncio.to_thread(status_of_router, address)
        finally:
            await runner.cleanup()

    assert asyncio.run(main()) == 400
