"""A reward worker of verl, in a Ray actor of its own, takes more than Ray's 1000 calls at once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("verl")

from grrm.judges.groups import Group
from grrm.rewards.consistency import PairRewards
from grrm.rewards.group import GroupOptions, GroupRewards, Judgement, Rollout
from grrm.rewards.pairwise import compute_score
from grrm.verl_plugin.main_ppo import local_ray_environment

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
        """Siblings that were missing."""
        rollout, source = Rollout(f"```\n{text}\n```", 3), Group("x", (), src_lang="de", trg_lang="en")
        reward = await self._groups.reward(str(uid), rollout, source, expected=SIZE, step=1, groups=GROUPS)
        return reward.info["missing_siblings"]

    async def pair(self, pair: int, order: str) -> float:
        """Whether the other order was there."""
        result = compute_score("x", "<better>A</better>", "A")
        return float((await self._pairs.reward(str(pair), order, result, 1))["other_order"])


def test_all_rollouts_of_a_step_wait_together_in_whatever_order_they_come() -> None:
    # Ray reads its environment when it is imported.
    environment = {**os.environ, **local_ray_environment()}
    done = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-2:] == ["groups:2400:0.0", "pairs:2400:1.0"]


def main() -> None:
    """Send all calls of a step to the worker that verl's manager makes, and print what came of them."""
    import ray
    from omegaconf import OmegaConf
    from verl.experimental.reward_loop import reward_loop

    from grrm.verl_plugin.reward_calls import hold_whole_steps

    reward_loop.RewardLoopWorker = Worker
    hold_whole_steps()
    ray.init(
        num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", object_store_memory=100_000_000
    )
    settings = {
        "reward": {"num_workers": 1},
        "data": {"train_batch_size": GROUPS, "val_batch_size": None},
        "actor_rollout_ref": {"rollout": {"n": SIZE, "val_kwargs": {"n": 1}}},
    }
    manager = SimpleNamespace(config=OmegaConf.create(settings), reward_router_address=None)
    reward_loop.RewardLoopManager._init_reward_loop_workers(manager)
    (worker,) = manager.reward_loop_workers
    arrivals = [(uid, "abcdefgh"[place]) for uid in range(GROUPS) for place in range(SIZE)]
    random.Random(0).shuffle(arrivals)
    # The last rollout of every group comes after all others: then 2,100 calls are held.
    arrivals.sort(key=lambda arrival: arrival[1] == "h")
    missing = ray.get([worker.group.remote(*arrival) for arrival in arrivals], timeout=90)
    print(f"groups:{len(missing)}:{max(missing)}")
    orders = [(pair, order) for order in "ab" for pair in range(GROUPS) for _ in range(SIZE // 2)]
    met = ray.get([worker.pair.remote(*order) for order in orders], timeout=90)
    print(f"pairs:{len(met)}:{min(met)}")
    ray.shutdown()


if __name__ == "__main__":
    main()
