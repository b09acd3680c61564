"""Rollouts with seeds of their own, so that vLLM does not draw them from one stream in order of arrival.

rollout.agent.default_agent_loop = seeded_single_turn, defined in agent_loops.yaml beside this file. verl
0.9.1 sends vLLM no seed, or (full_determinism) the same one with every request, which makes siblings equal.
And it lets vLLM end a rollout at the end of a text alone: a base model, whose chat turns end with another
token, would go on and speak for the user. In a rehearsal some rollouts go on to the longest length.
"""

from __future__ import annotations

import hashlib
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from grrm.texts import end_of_turn


class SeededAgentLoop(SingleTurnAgentLoop):
    """verl's own single turn; each of its requests carries a seed, and what ends a turn."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ends = further_ends(self.tokenizer)

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        """Generate one rollout.

        Args:
            sampling_params: shared by the rollouts of a batch.
            kwargs: the row, with its step (`global_steps`) and the rollout's number among its siblings
                (`session_id`).
        """
        messages = [(str(message["role"]), str(message["content"])) for message in kwargs["raw_prompt"]]
        seed = rollout_seed(
            self.rollout_config.seed,
            int(kwargs["global_steps"]),
            (int(kwargs["index"]), messages),
            int(kwargs["session_id"]),
        )
        is_longest = (kwargs.get("extra_info") or {}).get("longest")
        ends = {"ignore_eos": True} if is_longest else self._ends
        output: AgentLoopOutput = await super().run({**sampling_params, **ends, "seed": seed}, **kwargs)
        return output


def further_ends(tokenizer: Any) -> dict[str, list[int]]:
    """The end of a turn, as a sampling parameter, where the tokenizer's end of a text is another token."""
    end = end_of_turn(tokenizer)
    return {} if end in (None, tokenizer.eos_token_id) else {"stop_token_ids": [end]}


def rollout_seed(experiment: int, step: int, prompt: tuple[int, list[tuple[str, str]]], number: int) -> int:
    """The seed of one rollout, in [0, 2^63).

    Args:
        experiment: its seed.
        step: of the training.
        prompt: number of the row, and its messages (role, content).
        number: of the rollout among those of the prompt.
    """
    key = repr((experiment, step, prompt, number)).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1
