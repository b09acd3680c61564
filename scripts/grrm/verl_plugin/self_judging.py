"""The policy judges its own rollouts, with the weights that wrote them.

reward.reward_manager.module.path = pkg://grrm.verl_plugin.self_judging
reward.reward_manager.name = SelfJudgingRewardManager

verl's rollout servers are awake until every rollout of a step is rewarded, and get other weights only then.
So the judge is whoever wrote the rollouts: no second model, no memory for one, and never an older judge. How
it is asked stands in `reward.reward_kwargs.judge`: max_tokens, temperature, top_p.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import ray

from grrm.asking.client import JudgeClient
from grrm.judges.questions import Decider
from grrm.rewards.group import GroupOptions, GroupRewardManager
from grrm.rewards.group.manager import Served
from grrm.verl_plugin.rollout import server_name

_SERVERS = {"transformers": server_name(0)[:-1], "vllm": "vllm_server_"}
"""rollout.name -> what its servers' names begin with; numbers follow, of replica and machine."""


class SelfJudgingRewardManager(GroupRewardManager):
    """`GroupRewardManager` whose judge is the policy."""

    def judge_of(self, config: Any, options: GroupOptions, judge: str | None, tokenizer: Any) -> Served:
        """The policy, wherever its servers will listen: they are started after this."""
        return Policy(config, options, self._tokenizer)


class Policy(Served):
    """The rollout servers as a judge."""

    def __init__(self, config: Any, options: GroupOptions, tokenizer: Any) -> None:
        rollout, judge = config.actor_rollout_ref.rollout, options.judge
        self._engine = str(rollout.name)
        served = SimpleNamespace(
            name=self._engine,
            top_p=judge.get("top_p", 1.0),
            top_k=-1,
            prompt_length=rollout.prompt_length,
            response_length=judge["max_tokens"],
        )
        model = SimpleNamespace(model_path=config.actor_rollout_ref.model.path, rollout=served)
        super().__init__("", model, tokenizer, options.timeout)
        if self.together is not None:
            self.together.url = lambda: f"{self._urls()[0]}/chat/completions"

    def decider(self, options: GroupOptions) -> Callable[[], Decider]:
        """Each replica in turn, found when the first rollout is judged."""
        turns: list[itertools.cycle[JudgeClient]] = []

        def next_one() -> JudgeClient:
            if not turns:
                clients = [self._client_at(url, options) for url in self._urls()]
                turns.append(itertools.cycle(clients))
            return next(turns[0])

        return next_one

    def _client_at(self, url: str, options: GroupOptions) -> JudgeClient:
        return JudgeClient(self.client(options, url), environment={}, together=self.together)

    def _urls(self) -> list[str]:
        """Addresses of the replicas; of one that is spread over machines, the first of them answers."""
        start = _SERVERS[self._engine]
        names = sorted(name for name in ray.util.list_named_actors() if name.startswith(start))
        names = [name for name in names if _is_first(name.removeprefix(start))]
        addresses = ray.get([ray.get_actor(name).get_server_address.remote() for name in names])
        return [f"http://{f'[{host}]' if ':' in host else host}:{port}/v1" for host, port in addresses]


def _is_first(numbers: str) -> bool:
    """Whether it is "0" or "3_0", a replica's only or first server; those of judges are named otherwise."""
    replica, _, machine = numbers.partition("_")
    return replica.isdecimal() and machine in ("", "0")
