"""What reward managers of verl 0.9.1 share (`reward.reward_manager.source: importlib`).

Importable without verl and torch: only the methods touch what verl passes in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from grrm.files import UserError

STOP_MARK = "group reward: stopping:"
"""Starts the line printed when a run cannot go on; the launcher ends the run on seeing it."""

STEP_GROUPS, STEP_NUMBER = "step_groups", "step_number"
"""Fields that a training may add to its rows: how many prompts are rewarded together (a step, or a batch of
the validation), and the number of those among all that are."""


def held_calls(config: Any) -> int:
    """Rollouts whose calls may wait for siblings at once: of a step, or of a batch of the validation."""
    rollout, data = config.actor_rollout_ref.rollout, config.data
    train = int(data.train_batch_size) * int(rollout.n)
    # Without a size the whole validation set is one batch; what is in it is not known here.
    validation = int(data.get("val_batch_size") or 0) * int(rollout.val_kwargs.n)
    return max(train, validation)


@dataclass(frozen=True)
class Response:
    """A response of the policy.

    Attributes:
        text: without special tokens.
        length: in tokens.
        row: what the row of the data holds, and uid and global_steps.
    """

    text: str
    length: int
    row: Mapping[str, Any]


class RewardManager(ABC):
    """Rewards responses that have to meet in one worker.

    Args:
        config: verl's configuration.
        tokenizer: tokenizer of the policy.
        compute_score: required by verl's interface, unused.
        reward_router_address: host:port of the judge that verl serves, if it serves one.
        reward_model_tokenizer: tokenizer of that judge.

    Raises:
        UserError: `reward.num_workers` is not 1, or the configuration is wrong.
    """

    meeting: ClassVar[str]
    """What would go wrong with more than one worker."""

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
    ) -> None:
        if config.reward.num_workers != 1:
            raise UserError(
                f"reward.num_workers is {config.reward.num_workers}, expected 1: with more workers "
                f"{self.meeting}"
            )
        self._tokenizer = tokenizer
        self.prepare(config, reward_router_address, reward_model_tokenizer)

    @abstractmethod
    def prepare(self, config: Any, judge: str | None, judge_tokenizer: Any) -> None:
        """Read the configuration. Judge: host:port of the one that verl serves."""

    @abstractmethod
    async def reward(self, response: Response) -> tuple[float, dict[str, Any]]:
        """The reward of a response, and what is logged of it: the same keys whatever happens."""

    async def run_single(self, data: Any) -> dict[str, Any]:
        """Reward of one rollout (the last row of `data`, a DataProto of one trajectory)."""
        item = data[-1:][0]
        responses = item.batch["responses"]
        length = int(item.batch["attention_mask"][-responses.shape[-1] :].sum())
        text = self._tokenizer.decode(responses[:length], skip_special_tokens=True)
        value, info = await self.reward(Response(text, length, item.non_tensor_batch))
        return {"reward_score": value, "reward_extra_info": info}

    @classmethod
    def assemble_rm_scores(cls, data: Any, scores: Sequence[float]) -> Any:
        """Put each score on its response's last token: a tensor of the shape of `responses`."""
        import torch

        responses = data.batch["responses"]
        mask = data.batch["attention_mask"][:, -responses.shape[1] :]
        result = torch.zeros_like(responses, dtype=torch.float32)
        result[torch.arange(len(scores)), mask.sum(dim=1) - 1] = result.new_tensor(scores)
        return result
