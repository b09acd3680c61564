"""A reward worker of verl in a Ray actor of its own takes more than Ray's 1000 calls at once."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("verl")

import ray
from omegaconf import OmegaConf
from verl.experimental.reward_loop import reward_loop

from grrm.judges.groups import Group
from grrm.rewards.consistency import PairRewards
from grrm.rewards.group import GroupOptions, GroupRewards, Judgement, Rollout
from grrm.rewards.pairwise import compute_score
from grrm.verl_plugin.main_ppo import local_ray_environment
from grrm.verl_plugin.reward_calls import hold_whole_steps

GROUPS, SIZE = 300, 8


class Worker:
    """Stands for `RewardLoopWorker`: its calls wait for their siblings."""

    def __init__(self, config: Any, router: str | None = None) -> None:
        async def judge(plan: Any, source: Any) -> Judgement:
            return Judgement("judged", tuple(float(index) for index in range(len(plan.candidates))))

        options = GroupOptions(kind="chrf", deadline=60.0, max_failure_rate=0.2)
        self._groups = GroupRewards(options, judge)
        self._pairs = PairRewards(SIZE // 2, 0.5, deadline=60.0)

    async def group(self, uid: int, text: str) -> float:
        source = Group("x", (), "y", "de", "en")
        reward = await self._groups.reward(
            str(uid), Rollout(f"```\n{text}\n```", 3), source, expected=SIZE, step=1, groups=GROUPS
        )
        return reward.info["missing_siblings"]

    async def pair(self, pair: int, order: str) -> float:
        result = compute_score("x", "<better>A</better>", "A")
        return float((await self._pairs.reward(str(pair), order, result, 1))["other_order"])


@pytest.fixture
def workers(tmp_path_factory, monkeypatch):
    """The reward workers that verl's manager makes, with the patch."""
    for name, value in local_ray_environment().items():
        monkeypatch.setenv(name, value)
    original = reward_loop.RewardLoopManager._init_reward_loop_workers
    monkeypatch.setattr(reward_loop, "RewardLoopWorker", Worker)
    monkeypatch.setattr(reward_loop.RewardLoopManager, "_init_reward_loop_workers", original)
    hold_whole_steps()
    ray.init(
        num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", object_store_memory=100_000_000
    )
    manager = SimpleNamespace(
        config=OmegaConf.create(
            {
                "reward": {"num_workers": 1},
                "data": {"train_batch_size": GROUPS, "val_batch_size": None},
                "actor_rollout_ref": {"rollout": {"n": SIZE, "val_kwargs": {"n": 1}}},
            }
        ),
        reward_router_address=None,
        reward_loop_workers_class=None,
    )
    try:
        reward_loop.RewardLoopManager._init_reward_loop_workers(manager)
        yield manager.reward_loop_workers
    finally:
        ray.shutdown()


def test_all_rollouts_of_a_step_wait_together_in_whatever_order_they_come(workers) -> None:
    (worker,) = workers
    draw = random.Random(0)
    arrivals = [(uid, "abcdefgh"[place]) for uid in range(GROUPS) for place in range(SIZE)]
    draw.shuffle(arrivals)
    # The last rollout of every group comes after all the others: 2,100 calls are held.
    arrivals.sort(key=lambda arrival: arrival[1] == "h")
    missing = ray.get([worker.group.remote(*arrival) for arrival in arrivals], timeout=50)
    assert missing == [0.0] * GROUPS * SIZE

    orders = [(pair, order) for order in "ab" for pair in range(GROUPS) for _ in range(SIZE // 2)]
    assert ray.get([worker.pair.remote(*order) for order in orders], timeout=50) == [1.0] * len(orders)
