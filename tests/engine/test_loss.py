"""GSPO with the positive-advantage likelihood term, against a reference written out in plain Python."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from verl.trainer.ppo.core_algos import get_policy_loss_fn

from grrm.report.explained_group import gradient_weight
from grrm.verl_plugin.losses import GspoSftActorConfig, positive_advantage_nll

SEQUENCES, TOKENS = 8, 6


def actor_config(**changes: Any) -> GspoSftActorConfig:
    values: dict[str, Any] = {
        "strategy": "fsdp2",
        "rollout_n": 4,
        "ppo_micro_batch_size_per_gpu": 8,
        "sft_coef": 0.1,
        "loss_agg_mode": "seq-mean-token-mean",
        "policy_loss": {"loss_mode": "gspo_sft"},
        "clip_ratio_low": 3e-4,
        "clip_ratio_high": 4e-4,
    }
    from omegaconf import OmegaConf
    from verl.utils.config import omega_conf_to_dataclass
    from verl.workers.config import PolicyLossConfig

    policy_loss = {**values.pop("policy_loss"), **changes.pop("policy_loss", {})}
    return GspoSftActorConfig(
        **{**values, **changes},
        policy_loss=omega_conf_to_dataclass(OmegaConf.create(policy_loss), PolicyLossConfig),
    )


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Lengths 1 to 6, five positive advantages, two negative, one zero; the policy has moved a little."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([1, 2, 3, 4, 5, 6, 6, 3])
    advantage = torch.tensor([0.5, -0.5, 1.0, 0.25, 0.0, 2.0, -1.0, 0.75], dtype=torch.float64)
    old = -torch.rand(SEQUENCES, TOKENS, generator=generator, dtype=torch.float64) - 0.1
    return {
        "old_log_prob": old,
        "log_prob": old + 0.01 * torch.randn(SEQUENCES, TOKENS, generator=generator, dtype=torch.float64),
        "advantages": advantage[:, None].expand(SEQUENCES, TOKENS).clone(),
        "response_mask": torch.arange(TOKENS)[None] < lengths[:, None],
    }


def reference_loss(batch: dict[str, torch.Tensor], coef: float, low: float, high: float, mini: int) -> float:
    """One micro-batch of a mini-batch of `mini` sequences: sums over lists of floats."""
    gspo, nll = 0.0, []
    for row in range(len(batch["log_prob"])):
        steps = [t for t in range(TOKENS) if batch["response_mask"][row, t]]
        new = [batch["log_prob"][row, t].item() for t in steps]
        old = [batch["old_log_prob"][row, t].item() for t in steps]
        advantage = batch["advantages"][row, 0].item()
        ratio = math.exp(sum(n - o for n, o in zip(new, old, strict=True)) / len(steps))
        clipped = min(max(ratio, 1 - low), 1 + high)
        gspo += max(-advantage * ratio, -advantage * clipped)
        if advantage > 0:
            nll.append(sum(-advantage * n for n in new) / len(steps))
    share = len(batch["log_prob"]) / mini
    return gspo / mini + coef * (share * sum(nll) / len(nll) if nll else 0.0)


def test_a_rollouts_weight_in_the_gradient_is_what_the_docs_tell(batch: dict[str, torch.Tensor]) -> None:
    """docs/how_it_works.md: the first update on a policy's own rollouts, in one batch."""
    config = actor_config()
    config.global_batch_info.update(dp_size=1, global_batch_size=SEQUENCES, batch_num_tokens=None)
    log_prob = batch["old_log_prob"].clone().requires_grad_()
    loss, _ = get_policy_loss_fn("gspo_sft")(config=config, **{**batch, "log_prob": log_prob})
    (gradient,) = torch.autograd.grad(-loss, log_prob)
    advantages = batch["advantages"][:, 0].tolist()
    positive = sum(advantage > 0 for advantage in advantages)
    assert gradient.sum(dim=1).tolist() == pytest.approx(
        [gradient_weight(advantage, SEQUENCES, positive, config.sft_coef) for advantage in advantages]
    )


def micro_batches(batch: dict[str, torch.Tensor], size: int) -> Iterator[dict[str, torch.Tensor]]:
    for start in range(0, SEQUENCES, size):
        yield {name: tensor[start : start + size] for name, tensor in batch.items()}


@pytest.mark.parametrize("size", [8, 4, 2, 1])
def test_the_loss_and_its_gradient_equal_the_reference(batch: dict[str, torch.Tensor], size: int) -> None:
    config = actor_config()
    config.global_batch_info.update(dp_size=1, global_batch_size=SEQUENCES, batch_num_tokens=None)
    batch["log_prob"].requires_grad_()
    total = 0.0
    for part in micro_batches(batch, size):
        loss, _ = get_policy_loss_fn("gspo_sft")(
            **part, loss_agg_mode="seq-mean-token-mean", config=config, rollout_is_weights=None
        )
        expected = reference_loss(part, 0.1, 3e-4, 4e-4, SEQUENCES)
        assert loss.item() == pytest.approx(expected, abs=1e-12)
        loss.backward()
        total += expected
    assert torch.isfinite(batch["log_prob"].grad).all()
    # The gradient, numerically, at one token of every sequence.
    for row in range(SEQUENCES):
        moved = {name: tensor.detach().clone() for name, tensor in batch.items()}
        moved["log_prob"][row, 0] += 1e-7
        after = sum(reference_loss(part, 0.1, 3e-4, 4e-4, SEQUENCES) for part in micro_batches(moved, size))
        assert batch["log_prob"].grad[row, 0].item() == pytest.approx((after - total) / 1e-7, abs=1e-6)


def test_two_ranks_average_to_the_loss_of_one(batch: dict[str, torch.Tensor]) -> None:
    fn = get_policy_loss_fn("gspo_sft")
    ranks = []
    for part in micro_batches(batch, 4):
        config = actor_config()
        config.global_batch_info.update(dp_size=2, global_batch_size=SEQUENCES, batch_num_tokens=None)
        ranks.append(fn(**part, loss_agg_mode="seq-mean-token-mean", config=config)[0].item())
    expected = sum(reference_loss(part, 0.1, 3e-4, 4e-4, SEQUENCES) for part in micro_batches(batch, 4))
    assert sum(ranks) / 2 == pytest.approx(expected, abs=1e-12)


def test_coefficient_zero_is_plain_gspo(batch: dict[str, torch.Tensor]) -> None:
    config = actor_config(sft_coef=0.0)
    with_term, metrics = get_policy_loss_fn("gspo_sft")(**batch, config=config)
    plain, plain_metrics = get_policy_loss_fn("gspo")(**batch, config=config)
    assert with_term.item() == plain.item()
    assert metrics == plain_metrics


def test_the_term_is_zero_without_a_positive_advantage(batch: dict[str, torch.Tensor]) -> None:
    batch["log_prob"].requires_grad_()
    nll = positive_advantage_nll(batch["log_prob"], -batch["advantages"].abs(), batch["response_mask"])
    nll.backward()
    assert nll.item() == 0
    assert not batch["log_prob"].grad.any()


def test_what_is_masked_may_be_infinite(batch: dict[str, torch.Tensor]) -> None:
    expected = positive_advantage_nll(batch["log_prob"], batch["advantages"], batch["response_mask"])
    batch["log_prob"][~batch["response_mask"]] = float("-inf")
    found = positive_advantage_nll(batch["log_prob"], batch["advantages"], batch["response_mask"])
    assert found.item() == expected.item()


def test_the_metric_is_the_mean_over_positive_sequences(batch: dict[str, torch.Tensor]) -> None:
    _, metrics = get_policy_loss_fn("gspo_sft")(**batch, config=actor_config())
    expected = positive_advantage_nll(batch["log_prob"], batch["advantages"], batch["response_mask"])
    assert metrics["actor/sft_loss"] == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sft_coef": -0.1}, "sft_coef=-0.1"),
        ({"policy_loss": {"loss_mode": "gspo"}}, "loss_mode=gspo_sft"),
        ({"loss_agg_mode": "token-mean"}, "seq-mean-token-mean"),
    ],
)
def test_a_configuration_that_would_not_do_what_it_says(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        actor_config(**changes)


def test_another_actor_class_is_refused(batch: dict[str, torch.Tensor]) -> None:
    from verl.workers.config import FSDPActorConfig

    config = FSDPActorConfig(strategy="fsdp2", rollout_n=4, ppo_micro_batch_size_per_gpu=8)
    with pytest.raises(TypeError, match=r"_target_=grrm\.verl_plugin\.losses\.GspoSftActorConfig"):
        get_policy_loss_fn("gspo_sft")(**batch, config=config)
