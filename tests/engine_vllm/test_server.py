"""verl's own vLLM server on a CPU, as the workflow configures it: weights, tokens, HTTP, aborts, sleep.

Ray is not started: the server is an ordinary object here, and its engine a process of its own as ever.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import aiohttp
import psutil
import pytest
import torch
from hydra import compose, initialize_config_module
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from verl.workers.rollout.vllm_rollout.bucketed_weight_transfer import BucketedWeightSender

from configurations import experiment, render_rl
from grrm.engines.verl import MODEL
from grrm.engines.verl_launch import hydra_arguments
from grrm.verl_plugin import vllm_replica
from grrm.verl_plugin.lora import merged_weights
from grrm.verl_plugin.vllm_replica import EndingServer
from vllm_server import server_alone, without_ray

PROMPTS = [[1, 5, 9, 100 + i] for i in range(8)]
SAMPLED = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "logprobs": True}
# In float32, measured of these samples: 1e-6 to 1.6e-5; with other weights over 0.1.
SAME = 3e-5


@dataclass
class Served:
    """A server, the weights that it should have, and the loop that it lives in."""

    server: EndingServer
    actor: torch.nn.Module
    runner: asyncio.Runner
    transfers: int = 0

    def do(self, work: Callable[[EndingServer], Awaitable[Any]], seconds: float = 60) -> Any:
        return self.runner.run(asyncio.wait_for(work(self.server), seconds))

    def sample(self, prompts: list[list[int]], **changes: Any) -> list[Any]:
        """One answer for each prompt, all at once."""

        async def ask(server: EndingServer) -> Any:
            params = SAMPLED | changes
            return await asyncio.gather(*(server.generate(p, dict(params), uuid4().hex) for p in prompts))

        return self.do(ask)

    def difference(self) -> float:
        """The largest difference of the actor's log-probabilities of what the server samples.

        Seeded: the same tokens at every run, so that what was measured of them holds.
        """
        worst = 0.0
        for prompt, output in zip(PROMPTS, self.sample(PROMPTS, seed=1), strict=True):
            tokens = list(output.token_ids)
            with torch.no_grad():
                logits = self.actor(torch.tensor([prompt + tokens])).logits[0].double()
            logp = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1]
            own = logp.gather(-1, torch.tensor(tokens)[:, None])[:, 0]
            worst = max(worst, float((own - torch.tensor(output.log_probs)).abs().max()))
        return worst

    def send_weights(self, weights: Iterable[tuple[str, torch.Tensor]] | None = None) -> None:
        """As verl's trainer does it after an update: in buckets, through shared memory; the actor's."""
        self.transfers += 1
        socket = f"ipc:///tmp/rl-colocate-zmq-{os.environ['VERL_RAY_JOB_ID']}-replica-0-rank-0.sock"
        sender = BucketedWeightSender(zmq_handle=socket, bucket_size_mb=1, use_shm=True)
        weights = self.actor.state_dict().items() if weights is None else weights
        sent = [(name, weight.detach()) for name, weight in weights]

        async def transfer(server: EndingServer) -> None:
            received = asyncio.create_task(
                server.collective_rpc("update_weights_from_ipc", kwargs={"use_shm": True})
            )
            await asyncio.to_thread(lambda: asyncio.run(sender.async_send_weights(iter(sent))))
            await received
            await server.clear_kv_cache()
            await server.set_global_steps(self.transfers)

        self.do(transfer)


@pytest.fixture(scope="module")
def served(tiny_model: Path) -> Iterator[Served]:
    config = experiment("vllm")
    rendered = render_rl(config, "mt_grpo", max_prompt_length=64, max_response_length=32)
    rendered[MODEL] = str(tiny_model)
    with initialize_config_module("verl.trainer.config", version_base=None):
        whole = compose("ppo_trainer", overrides=hydra_arguments(rendered)).actor_rollout_ref
    patch, runner = pytest.MonkeyPatch(), asyncio.Runner()
    without_ray(patch.setattr, f"test{os.getpid()}")
    runner.get_loop()
    server = server_alone(whole.rollout, whole.model)
    actor = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    served = Served(server, actor, runner)
    try:
        served.do(lambda server: server.launch_server(), seconds=240)
        yield served
    finally:
        if hasattr(server, "engine"):
            server.engine.shutdown()
        runner.close()
        patch.undo()


def test_it_starts_without_the_actors_weights(served: Served) -> None:
    assert served.difference() > 0.1


@pytest.mark.parametrize("step", [1, 2, 3])
def test_every_transfer_arrives_whole(served: Served, step: int) -> None:
    torch.manual_seed(step)
    with torch.no_grad():
        for weight in served.actor.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    assert served.difference() > 100 * SAME
    served.send_weights()
    assert served.difference() < SAME
    assert {output.extra_fields["global_steps"] for output in served.sample(PROMPTS)} == {served.transfers}


def test_adapters_arrive_merged(served: Served) -> None:
    torch.manual_seed(4)
    before = served.actor
    adapted = get_peft_model(deepcopy(before), LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.copy_(0.2 * torch.randn_like(weight))
    served.actor = adapted.eval()
    assert served.difference() > 0.1
    served.send_weights(merged_weights(adapted))
    assert served.difference() < SAME
    served.actor = before
    served.send_weights()
    assert served.difference() < SAME


def test_a_request_may_have_a_seed_of_its_own(served: Served) -> None:
    prompt = PROMPTS[0]
    first, same, other = (
        [tuple(output.token_ids) for output in served.sample([prompt] * 8, seed=seed)] for seed in (7, 7, 8)
    )
    assert len({*first, *same}) == 1 and {*first} != {*other}
    # Batched with others and alone.
    assert served.sample([prompt], seed=7)[0].token_ids == list(first[0])


def test_without_a_seed_siblings_differ(served: Served) -> None:
    assert len({tuple(output.token_ids) for output in served.sample([PROMPTS[0]] * 8)}) > 1


def chat(served: Served, **changes: Any) -> tuple[int, dict[str, Any]]:
    async def post(server: EndingServer) -> tuple[int, dict[str, Any]]:
        host, port = server.get_server_address()
        body = {
            "model": server.model_config.local_path,
            "messages": [{"role": "user", "content": "a frog in the throat"}],
            "max_tokens": 8,
            "temperature": 0.0,
            **changes,
        }
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://{host}:{port}/v1/chat/completions", json=body) as response,
        ):
            return response.status, await response.json()

    return served.do(post)


def test_it_answers_a_chat(served: Served) -> None:
    status, answer = chat(served)
    assert status == 200 and answer["choices"][0]["finish_reason"] in ("stop", "length")
    assert answer["usage"]["completion_tokens"] <= 8
    assert chat(served)[1]["choices"][0]["message"] == answer["choices"][0]["message"]


def test_more_than_the_context_holds_is_a_bad_request(served: Served) -> None:
    status, answer = chat(served, max_tokens=4000)
    assert status == 400 and "256" in str(answer["error"])


def test_what_is_aborted_says_so_and_generation_goes_on(served: Served) -> None:
    async def abort(server: EndingServer) -> Any:
        params = SAMPLED | {"max_tokens": 240, "ignore_eos": True}
        long = asyncio.create_task(server.generate([1, 5], params, "long"))
        async with asyncio.timeout(60):
            while not server.engine.output_processor.request_states:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await server.abort_all_requests()
        output = await long
        await server.resume_generation()
        return output

    output = served.do(abort)
    assert output.stop_reason == "aborted" and len(output.token_ids) < 240
    assert served.difference() < SAME


def test_calls_of_sleep_and_wake_leave_the_weights_alone(served: Served) -> None:
    assert served.server.config.free_cache_engine

    async def rest(server: EndingServer) -> None:
        await server.sleep()
        await server.wake_up()

    served.do(rest)
    assert served.difference() < SAME


def test_nothing_listens_beyond_this_machine(served: Served) -> None:
    assert served.server.get_server_address()[0] == "127.0.0.1"
    addresses = set()
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        connections = process.net_connections(kind="inet")
        addresses |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}


def test_the_engine_is_one_process(served: Served) -> None:
    engines = [p for p in psutil.Process().children(recursive=True) if "EngineCore" in " ".join(p.cmdline())]
    assert len(engines) == 1 and not engines[0].children()


def test_a_server_ends_once_its_engine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SimpleNamespace(errored=False)

    class Ended(BaseException):
        """What ends a process leaves no one to return to."""

    def leave(status: int) -> None:
        raise Ended(status)

    async def watch() -> None:
        watching = asyncio.create_task(vllm_replica.end_with(engine))
        await asyncio.sleep(0.05)
        assert not watching.done()
        engine.errored = True
        with pytest.raises(Ended):
            await watching

    monkeypatch.setattr(vllm_replica, "_LOOK_EVERY", 0.01)
    monkeypatch.setattr(os, "_exit", leave)
    asyncio.run(watch())
