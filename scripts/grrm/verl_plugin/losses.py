"""GSPO plus the likelihood of good rollouts, registered as `policy_loss.loss_mode=gspo_sft`.

actor_rollout_ref.actor._target_=grrm.verl_plugin.losses.GspoSftActorConfig makes Hydra import this module in
the driver and in the workers, which registers the loss, and adds the key `actor_rollout_ref.actor.sft_coef`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from verl.trainer.ppo.core_algos import compute_policy_loss_gspo, register_policy_loss
from verl.workers.config import FSDPActorConfig

LOSS_MODE = "gspo_sft"


@dataclass
class GspoSftActorConfig(FSDPActorConfig):
    """verl's FSDP actor configuration with the coefficient of the likelihood term.

    Attributes:
        sft_coef: 0 or more; 0 is plain GSPO.
    """

    sft_coef: float = 0.0

    def __post_init__(self) -> None:
        """Check what the term needs.

        Raises:
            ValueError: a negative coefficient, or another loss or aggregation than the term is defined for.
        """
        super().__post_init__()
        if self.sft_coef < 0:
            raise ValueError(f"actor.sft_coef={self.sft_coef}: expected 0 or more")
        if self.sft_coef > 0 and self.policy_loss.loss_mode != LOSS_MODE:
            raise ValueError(
                f"actor.sft_coef={self.sft_coef} needs actor.policy_loss.loss_mode={LOSS_MODE}, "
                f"got {self.policy_loss.loss_mode}"
            )
        if self.sft_coef > 0 and self.loss_agg_mode != "seq-mean-token-mean":
            raise ValueError(
                f"actor.sft_coef={self.sft_coef} needs actor.loss_agg_mode=seq-mean-token-mean, "
                f"got {self.loss_agg_mode}"
            )


def positive_advantage_nll(
    log_prob: torch.Tensor, advantages: torch.Tensor, response_mask: torch.Tensor
) -> torch.Tensor:
    """Advantage-weighted negative log-likelihood of the rollouts that did better than their group.

    Token mean of -A log p over the tokens with A > 0, then the mean over the sequences that have any
    (NJUNLP/GRRM, verl/trainer/ppo/core_algos.py and workers/actor/dp_actor.py). Neither clipped nor
    weighted by a ratio.

    Args:
        log_prob: [sequences, tokens], of the policy being trained.
        advantages: [sequences, tokens].
        response_mask: [sequences, tokens], bool or 0/1.

    Returns:
        A scalar, in nats times advantage; 0 if no advantage is positive.
    """
    mask = response_mask.bool() & (advantages > 0)
    tokens = mask.sum(dim=-1)
    # where, not a product: masked positions may hold anything, and 0 * inf is not 0.
    weighted = torch.where(mask, advantages * log_prob, torch.zeros_like(log_prob))
    sequences = -weighted.sum(dim=-1) / tokens.clamp(min=1)
    return sequences.sum() / (tokens > 0).sum().clamp(min=1)


@register_policy_loss(LOSS_MODE)
def compute_policy_loss_gspo_sft(
    old_log_prob: torch.Tensor,
    log_prob: torch.Tensor,
    advantages: torch.Tensor,
    response_mask: torch.Tensor,
    loss_agg_mode: str = "seq-mean-token-mean",
    config: GspoSftActorConfig | None = None,
    rollout_is_weights: torch.Tensor | None = None,
) -> tuple[torch.Tensor, dict[str, Any]]:
    """verl's GSPO loss + sft_coef x `positive_advantage_nll`, for one micro-batch.

    Micro-batches weigh by their share of the mini-batch's sequences, whatever the number of positive ones in
    them, as published. Parameters and result: verl/trainer/ppo/core_algos.py, `compute_policy_loss_gspo`; the
    metric `actor/sft_loss` is the term before coefficient and share.

    Raises:
        TypeError: `config` is not a GspoSftActorConfig.
    """
    if not isinstance(config, GspoSftActorConfig):
        raise TypeError(
            f"loss_mode={LOSS_MODE} needs actor_rollout_ref.actor._target_="
            f"{GspoSftActorConfig.__module__}.{GspoSftActorConfig.__name__}, got {type(config).__name__}"
        )
    loss, metrics = compute_policy_loss_gspo(
        old_log_prob=old_log_prob,
        log_prob=log_prob,
        advantages=advantages,
        response_mask=response_mask,
        loss_agg_mode=loss_agg_mode,
        config=config,
        rollout_is_weights=rollout_is_weights,
    )
    if config.sft_coef == 0:
        return loss, metrics
    nll = positive_advantage_nll(log_prob, advantages, response_mask)
    sequences = response_mask.shape[0]
    # verl averages gradients over the data-parallel ranks: times their number, each share is of the whole.
    info = config.global_batch_info
    share = sequences / (info.get("global_batch_size") or sequences) * info.get("dp_size", 1)
    return loss + config.sft_coef * share * nll, {**metrics, "actor/sft_loss": nll.detach().item()}
