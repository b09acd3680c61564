"""All rollouts of a step reach the rollout server in one message, in the order of the step's prompts.

actor_rollout_ref.rollout.agent.agent_loop_manager_class = grrm.verl_plugin.whole_steps.StepManager. verl
sends a request for each rollout by itself; which of them meet in a batch would depend on what else the
machine does.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

import ray
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ
from verl.utils import tensordict_utils as tu

from grrm.rewards.verl_manager import STEP_GROUPS, STEP_NUMBER
from grrm.rounds import Asker, Rounds
from grrm.verl_plugin.compatibility import check_signature
from grrm.verl_plugin.rollout import server_name

_Worker: Any = AgentLoopWorkerTQ.__ray_metadata__.modified_class.__ray_actor_class__

_WHERE = "verl/trainer/ppo/v1/agent_loop_tq.py"
check_signature(_Worker.generate_sequences, ["self", "batch"], _WHERE)
check_signature(_Worker._run_prompt, ["self", "prompt", "sampling_params", "trajectory", "trace"], _WHERE)
check_signature(_Worker._agent_loop_postprocess, ["self", "output", "validate", "kwargs"], _WHERE)

_ASKER: ContextVar[Asker[dict[str, Any], Any]] = ContextVar("asker")


class StepClient:
    """In place of verl's client of the rollout servers: asks them once all rollouts of a step have asked.

    Args:
        servers: number of replicas. Each gets its share of the requests, neighbours together.
    """

    def __init__(self, servers: int) -> None:
        self._servers = servers

    async def generate(self, request_id: str, **request: Any) -> Any:
        """Parameters and result: verl/workers/rollout/llm_server.py, `LLMServerClient.generate`."""
        output = await _ASKER.get().ask(request)
        version = output.extra_fields.get("global_steps")
        output.extra_fields.setdefault("min_global_steps", version)
        output.extra_fields.setdefault("max_global_steps", version)
        return output

    async def send(self, requests: list[dict[str, Any]]) -> list[Any]:
        """Outputs, in the order of the requests; an exception in place of one that is refused."""
        named = [{"request_id": uuid4().hex, **request} for request in requests]
        handles = [ray.get_actor(server_name(rank)) for rank in range(self._servers)]
        shares = cut(named, len(handles))
        outputs = await asyncio.gather(
            *[
                handle.generate_together.remote(share)
                for handle, share in zip(handles, shares, strict=True)
                if share
            ]
        )
        return list(itertools.chain.from_iterable(outputs))


def cut(items: Sequence[Any], count: int) -> list[list[Any]]:
    """`count` runs of neighbours whose lengths differ by one at most."""
    ends = [len(items) * number // count for number in range(count + 1)]
    return [list(items[start:end]) for start, end in itertools.pairwise(ends)]


class StepWorker(_Worker):
    """verl's agent loop worker. Each of its rollouts is counted before the first of them asks for tokens."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        trainer = self.config.trainer
        self.llm_client = StepClient(trainer.nnodes * trainer.n_gpus_per_node)
        self._seats: dict[str, list[Asker[dict[str, Any], Any]]] = {}

    async def generate_sequences(self, batch: Any) -> None:
        """As verl's."""
        rounds: Rounds[dict[str, Any], Any] = Rounds(self.llm_client.send)
        for place, (uid, count) in enumerate(zip(self._uids(batch), self._rollouts(batch), strict=True)):
            self._seats[uid] = [Asker(rounds, (place, session)) for session in range(count)]
        await super().generate_sequences(batch)

    @staticmethod
    def _uids(batch: Any) -> list[str]:
        return [str(getattr(uid, "data", uid)) for uid in batch["uid"]]

    def _rollouts(self, batch: Any) -> list[int]:
        rollout = self.config.actor_rollout_ref.rollout
        validates = "validate" in batch and bool(getattr(batch["validate"], "data", batch["validate"]))
        if "__rollout_n__" in batch:
            return [int(getattr(count, "data", count)) for count in batch["__rollout_n__"]]
        return [int(rollout.val_kwargs.n if validates else rollout.n)] * len(batch)

    async def _run_prompt(self, prompt: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        uid = prompt["uid"]
        try:
            await super()._run_prompt(prompt, *args, **kwargs)
        finally:
            # Whatever went wrong: nobody waits for a rollout that will not come.
            for seat in self._seats.pop(uid):
                seat.leave()

    async def _run_agent_loop(self, *args: Any, **kwargs: Any) -> Any:
        seat = self._seats[kwargs["uid"]][kwargs["session_id"]]
        _ASKER.set(seat)  # of this rollout's task alone
        try:
            return await super()._run_agent_loop(*args, **kwargs)
        finally:
            seat.leave()

    async def _agent_loop_postprocess(self, *args: Any, **kwargs: Any) -> Any:
        _ASKER.get().leave()  # what is left is its reward, which may wait for its siblings
        return await super()._agent_loop_postprocess(*args, **kwargs)


class StepManager(AgentLoopManagerTQ):
    """verl's agent loop manager with such workers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(StepWorker)
        self._steps = itertools.count()

    def generate_sequences(self, prompts: Any) -> None:
        """As verl's; every prompt knows how many are to be rewarded with it."""
        tu.assign_non_tensor_data(prompts, STEP_GROUPS, len(prompts))
        tu.assign_non_tensor_data(prompts, STEP_NUMBER, next(self._steps))
        super().generate_sequences(prompts)
