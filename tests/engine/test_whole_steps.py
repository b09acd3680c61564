"""What is asked of the rollout server in one message, who sends it, and the order of a buffer's batch."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import numpy as np
import pytest
import torch

pytest.importorskip("verl")

from verl.trainer.ppo.v1 import agent_loop_tq, replay_buffer
from verl.utils import tensordict_utils

from grrm.asking.client import JudgeClient
from grrm.asking.options import UNLIMITED, JudgeOptions
from grrm.asking.together import Together
from grrm.verl_plugin import server, whole_steps
from grrm.verl_plugin.generation import Request, generate
from grrm.verl_plugin.sampler import FastPollReplayBuffer
from grrm.verl_plugin.server import ServerSettings, TransformersServer
from grrm.verl_plugin.whole_steps import StepWorker, cut

Batches = list[list[list[int]]]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Batches:
    """The prompts of each batch that a server made."""
    made: Batches = []

    def noting(model: Any, requests: list[Request], *args: Any) -> None:
        made.append([request.prompt for request in requests])
        generate(model, requests, *args)

    monkeypatch.setattr(server, "generate", noting)
    return made


def serve(folder: Path, use: Callable[[TransformersServer], Awaitable[Any]], **changes: Any) -> Any:
    values = {"prompt_length": 32, "response_length": 8, "seed": 3, **changes}

    async def run() -> Any:
        instance = TransformersServer(
            ServerSettings(model_path=str(folder), tokenizer_path=str(folder), **values)
        )
        try:
            return await asyncio.wait_for(use(instance), 60)
        finally:
            await instance.stop_server()

    return asyncio.run(run())


def asked(*prompt: int, **more: Any) -> dict[str, Any]:
    return {
        "request_id": str(prompt),
        "prompt_ids": list(prompt),
        "sampling_params": {"max_tokens": 3},
        **more,
    }


# ---------------------------------------------------------------- the server


def test_a_message_is_cut_as_it_stands_whatever_else_comes(tiny_model: Path, batches: Batches) -> None:
    async def use(instance: TransformersServer) -> None:
        async def alone(number: int) -> Any:
            await asyncio.sleep(random.uniform(0, 0.1))
            return await instance.generate([99, number], {"max_tokens": 3}, "alone")

        messages = [[asked(5, number + 10 * message) for number in range(9)] for message in range(2)]
        outputs = await asyncio.gather(
            *map(instance.generate_together, messages), *[alone(number) for number in range(6)]
        )
        assert [len(output) for output in outputs[:2]] == [9, 9]
        assert all(out.stop_reason == "completed" for output in outputs[:2] for out in output)

    serve(tiny_model, use, max_num_seqs=4)
    ours = [batch for batch in batches if batch[0][0] == 5]
    assert [len(batch) for batch in ours] == [4, 4, 1, 4, 4, 1]
    assert [prompt for batch in ours for prompt in batch] == [
        [5, number + 10 * message] for message in range(2) for number in range(9)
    ]
    assert all(prompt[0] == 99 for batch in batches if batch not in ours for prompt in batch)


def test_a_bad_request_is_answered_in_its_place(tiny_model: Path, batches: Batches) -> None:
    async def use(instance: TransformersServer) -> None:
        requests = [asked(5), asked(99999), asked(6), asked(7, image_data=["x"])]
        first, second, third, fourth = await instance.generate_together(requests)
        assert first.token_ids and third.token_ids
        assert "outside 0" in str(second)
        assert "text only" in str(fourth)

    serve(tiny_model, use)
    assert batches == [[[5], [6]]]


def test_equal_prompts_of_a_message_draw_in_its_order(tiny_model: Path) -> None:
    async def use(instance: TransformersServer) -> list[list[int]]:
        outputs = await instance.generate_together([asked(5, 6) for _ in range(4)])
        return [output.token_ids for output in outputs]

    first = serve(tiny_model, use)
    assert first == serve(tiny_model, use)
    assert len({tuple(tokens) for tokens in first}) > 1


def test_an_aborted_message_ends_whole(tiny_model: Path) -> None:
    async def use(instance: TransformersServer) -> None:
        long = {"max_tokens": 200, "ignore_eos": True}
        requests = [{**asked(5, number), "sampling_params": long} for number in range(4)]
        under_way = asyncio.create_task(instance.generate_together(requests))
        async with asyncio.timeout(60):
            while len(instance._running) < 2:
                await asyncio.sleep(0.005)
        assert (await instance.abort_all_requests())["aborted_count"] == 4
        assert [output.stop_reason for output in await under_way] == ["aborted"] * 4
        await instance.resume_generation()
        assert (await instance.generate_together([asked(5)]))[0].stop_reason == "completed"

    serve(tiny_model, use, max_num_seqs=2)


# ---------------------------------------------------------------- over HTTP


def over_http(folder: Path, use: Callable[[str], Awaitable[None]], **changes: Any) -> None:
    async def run(instance: TransformersServer) -> None:
        host, port = await instance.launch_server()
        await use(f"http://{host}:{port}/v1/chat/completions")

    serve(folder, run, **changes)


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 4, **more}


def test_chats_of_a_message_are_answered_each_with_a_status(tiny_model: Path, batches: Batches) -> None:
    async def use(url: str) -> None:
        async with aiohttp.ClientSession() as session:
            body = {"requests": [chat("a"), chat("b", stream=True), chat("c")]}
            async with session.post(f"{url}/together", json=body) as response:
                assert response.status == 200
                answers = (await response.json())["answers"]
            assert [answer["status"] for answer in answers] == [200, 400, 200]
            assert answers[0]["body"]["object"] == "chat.completion"
            assert "stream=True" in answers[1]["body"]["error"]["message"]
            for bad in ("[]", "{}", "{no"):
                async with session.post(f"{url}/together", data=bad) as response:
                    assert response.status == 400
                    assert "requests" in (await response.json())["error"]["message"]

    over_http(tiny_model, use)
    assert [len(batch) for batch in batches] == [2]


def test_a_judges_questions_of_a_round_share_batches_however_late_they_come(
    tiny_model: Path, batches: Batches
) -> None:
    """Two groups with three questions, one with none; verdicts that cannot be read are asked for again."""

    async def use(url: str) -> None:
        together = Together(url, 60.0)
        options = JudgeOptions(
            model="judge",
            url=url,
            temperature=0.0,
            max_tokens=4,
            max_concurrency=UNLIMITED,
            max_failure_share=1.0,
            parse_retries=1,
        )
        together.rounds.enter(3)

        def refuse(text: str) -> str:
            raise ValueError("no verdict")

        async with JudgeClient(options, {}, together=together) as client:

            async def group(name: str, parse: Callable[[str], str], count: int) -> Any:
                await asyncio.sleep(random.uniform(0, 0.1))
                try:
                    return await client.decide([(f"{name}{number}", parse) for number in range(count)])
                finally:
                    together.rounds.leave()

            read, again, none = await asyncio.gather(
                group("same", str, 3), group("same", refuse, 3), group("x", str, 0)
            )
        finished = [verdict.reason in (None, "unfinished") for verdict in read]
        assert finished == [True] * 3
        assert [verdict.reason in ("unparsable", "unfinished") for verdict in again] == [True] * 3
        assert none == []

    over_http(tiny_model, use)
    assert len(batches[0]) == 6  # equal questions are asked each for itself
    assert batches[0] == sorted(batches[0])
    assert len(batches) == 2  # all that is asked again


# ---------------------------------------------------------------- verl's workers


def test_shares_of_several_servers() -> None:
    assert cut([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4, 5]]
    assert cut([1], 2) == [[], [1]]


class Loop(StepWorker):
    """A worker without verl's: two prompts, three rollouts each, some of which never ask."""

    def __init__(self, fails: Callable[[str, int], bool]) -> None:
        rollout = SimpleNamespace(n=3, val_kwargs=SimpleNamespace(n=2))
        self.config = SimpleNamespace(actor_rollout_ref=SimpleNamespace(rollout=rollout))
        self.messages: list[list[str]] = []
        self.llm_client = whole_steps.StepClient(1)
        self.llm_client.send = self.send  # type: ignore[method-assign]
        self._seats = {}
        self.fails = fails

    async def send(self, requests: list[dict[str, Any]]) -> list[Any]:
        self.messages.append([request["prompt_ids"] for request in requests])
        return [SimpleNamespace(extra_fields={"global_steps": 7}) for _ in requests]


@pytest.fixture
def verls_loops(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """verl's own handling of prompts, with a loop that asks after a while or fails; statuses of prompts."""
    statuses: dict[str, str] = {}

    async def put(key: str, partition_id: str, tag: dict[str, str]) -> None:
        statuses[key] = tag["status"]

    async def generate_sequences(self: Any, batch: dict[str, Any]) -> None:
        for uid in batch["uid"]:
            trajectory = {"validate": batch.get("validate", False)}
            await self._run_prompt({"uid": uid}, {}, trajectory=trajectory, trace=False)

    async def run_agent_loop(self: Any, params: Any, trajectory: Any, trace: bool, **kwargs: Any) -> None:
        await asyncio.sleep(random.uniform(0, 0.05))
        uid, session = kwargs["uid"], kwargs["session_id"]
        if self.fails(uid, session):
            raise ValueError("no prompt")
        output = await self.llm_client.generate(request_id="x", prompt_ids=f"{uid}{session}")
        assert output.extra_fields["min_global_steps"] == output.extra_fields["max_global_steps"] == 7

    monkeypatch.setattr(agent_loop_tq.tq, "async_kv_put", put)
    base: Any = StepWorker.__mro__[1]
    monkeypatch.setattr(base, "generate_sequences", generate_sequences)
    monkeypatch.setattr(base, "_run_agent_loop", run_agent_loop)
    return statuses


class Batch(dict[str, Any]):
    def __len__(self) -> int:
        return len(self["uid"])


def rolled_out(batch: Batch, fails: Callable[[str, int], bool]) -> list[list[str]]:
    async def run() -> list[list[str]]:
        worker = Loop(fails)
        base: Any = StepWorker.__mro__[1]
        original = base.generate_sequences

        async def at_once(self: Any, batch: Batch) -> None:
            await asyncio.gather(*[original(self, Batch(batch, uid=[uid])) for uid in batch["uid"]])

        base.generate_sequences = at_once
        await asyncio.wait_for(worker.generate_sequences(batch), 10)
        assert worker._seats == {}
        return worker.messages

    return asyncio.run(run())


def test_all_rollouts_of_a_step_are_one_message(verls_loops: dict[str, str]) -> None:
    messages = rolled_out(Batch(uid=["b", "a"]), lambda uid, session: False)
    assert messages == [["b0", "b1", "b2", "a0", "a1", "a2"]]
    assert verls_loops == {"a": "finished", "b": "finished"}


def test_a_validation_has_its_own_number_of_rollouts(verls_loops: dict[str, str]) -> None:
    assert rolled_out(Batch(uid=["b"], validate=True), lambda uid, session: False) == [["b0", "b1"]]


@pytest.mark.parametrize(("validates", "count"), [(None, 3), (True, 2), (False, 3)])
def test_rollouts_are_counted_as_verl_hands_batches_over(validates: bool | None, count: int) -> None:
    batch = tensordict_utils.get_tensordict(
        {"uid": np.array(["b", "a", "c"], dtype=object), "index": torch.tensor([4, 2, 9])}
    )
    if validates is not None:
        tensordict_utils.assign_non_tensor_data(batch, "validate", validates)
    for part in batch.chunk(2):
        worker = Loop(lambda uid, session: False)
        assert worker._rollouts(part) == [count] * len(part)
        assert all(isinstance(uid, str) for uid in worker._uids(part))
    assert worker._uids(batch) == ["b", "a", "c"]


def test_nobody_waits_for_a_rollout_that_fails_before_it_asks(verls_loops: dict[str, str]) -> None:
    messages = rolled_out(Batch(uid=["b", "a"]), lambda uid, session: (uid, session) == ("b", 1))
    assert messages == [["b0", "b2", "a0", "a1", "a2"]]
    assert verls_loops == {"a": "finished", "b": "failure"}


# ---------------------------------------------------------------- the buffer


def test_a_batch_has_the_order_of_the_steps_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_buffer.tq, "kv_clear", lambda **_: None)
    uids = [f"{random.getrandbits(64):x}" for _ in range(12)]
    keys = [f"{uid}_{session}_0" for uid in uids for session in range(11)]
    buffer = object.__new__(FastPollReplayBuffer)
    buffer.prompt_global_steps = {"train": dict.fromkeys(uids, 1)}
    finished = random.sample(keys, len(keys))
    buffer.partitions = {"train": {key: {"key": key} for key in finished}}
    selected, snapshot, _ = buffer._select_prompt_uids("train", set(uids), 8)
    assert selected == uids[:8]
    batch = buffer._materialize_batch("train", selected, snapshot)
    assert batch.keys == keys[: 8 * 11]
    assert [tag["key"] for tag in batch.tags] == batch.keys
