"""Rewards for OpenRLHF without a server: what stands in the file that `--reward.remote_url` names.

A file of one's own, reward.py, which is loaded by every process that generates:

    from grrm.rewards.openrlhf import reward_function

    judge = {"url": "http://127.0.0.1:8000/v1", "model": "grrm"}
    reward_func = reward_function(
        kind="grrm", prompt="config/prompts/ranking.yaml", judge=judge, group_size=8,
        extract="code_block", invalid_reward=-4,
    )

This file itself will do as well; then GRRM_REWARD names a YAML file with the same options. What labels hold,
groups and failures are as with the server (`grrm serve-reward`).

Importable without OpenRLHF and torch.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from grrm.asking.options import PATIENT
from grrm.files import UserError, read_yaml
from grrm.judges.prompts import shipped_prompt
from grrm.rewards.kinds import Scorer, ScoringOptions
from grrm.rewards.labelled import Reading, checker, scoring
from grrm.rewards.responses import items_of
from grrm.rewards.siblings import Collector, Reward, rewarded
from grrm.rewards.trial import check_checkpoints

T = TypeVar("T")

# OpenRLHF waits for each response in a thread of its event loop's pool, which by itself has 32 at most: too
# few where responses wait for their siblings.
_THREADS = 4096


class RewardFunction:
    """What OpenRLHF calls with responses, one at a time; see `reward_function`."""

    def __init__(
        self,
        options: ScoringOptions,
        reading: Reading,
        *,
        group_size: int,
        patience: float,
        concurrency: int,
    ) -> None:
        if options.compares(points=reading.points) and group_size < 2:
            raise UserError(
                f"group_size: {group_size}, but {options.kind} compares the responses of a group, which "
                "OpenRLHF hands over one by one; expected its samples per prompt"
            )
        self._options, self._reading, self._size = options, reading, group_size
        self._patience, self._concurrency = patience, concurrency
        check_checkpoints(options)
        self._check = checker(options.kind, Scorer(options))  # a prompt that cannot be used is said now
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._collector: Collector | None = None
        with suppress(RuntimeError):  # no loop runs where it is only looked at
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))

    def __call__(
        self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any] | None, **_: Any
    ) -> dict[str, Any]:
        """Rewards of responses, once their siblings have come: tensors rewards and scores, and extra_logs.

        Args:
            queries: each prompt with its response.
            prompts: the prompts alone.
            labels: what the training data say about each prompt.

        Raises:
            UserError: they cannot be understood, or there is no reward, and why.
            IncompleteError: siblings of a response did not come in time.
        """
        items = items_of(queries, prompts, labels)
        for item in items:
            self._check(item)
        rewards = self._run(lambda: self._rewards(items))
        values, shares = rewarded(rewards)
        logs = {key: [reward.info[key] for reward in rewards] for key in rewards[0].info}
        return {
            "rewards": _tensor(values),
            "scores": _tensor(shares),
            "extra_logs": {key: _tensor(figures) for key, figures in logs.items()},
        }

    async def _rewards(self, items: Sequence[Any]) -> list[Reward]:
        if self._collector is None:
            self._scoring = scoring(self._options, self._reading)
            self._collector = Collector(
                await self._scoring.__aenter__(),
                size=self._size,
                patience=self._patience,
                concurrency=self._concurrency,
            )
        return await self._collector.rewards(items)

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Done in one event loop, whichever threads ask: siblings meet there."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, daemon=True, name="grrm rewards").start()
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result()


def reward_function(
    *,
    group_size: int = 0,
    extract: Any = "none",
    invalid_reward: float | None = None,
    points: bool = False,
    on_failure: Any = "error",
    patience: float = 3600.0,
    concurrency: int = 64,
    **options: Any,
) -> RewardFunction:
    """`reward_func` of a file that `--reward.remote_url` names.

    Args:
        group_size: responses to a prompt that are judged together: OpenRLHF's samples per prompt; 0: each
            call's, for kinds that judge each response by itself.
        extract: what of a response is judged (`grrm.rewards.labelled.Reading`), as the next three.
        invalid_reward: reward of a response in which there is no such part.
        points: rewards from 0 to 10 whatever the kind.
        on_failure: what a response earns about which the judge gave no answer: error or mean.
        patience: seconds a response waits for its siblings, which nobody asks about again: longer than the
            longest generation.
        concurrency: groups scored at once.
        **options: kind and the other options of `grrm.rewards.kinds.ScoringOptions`.

    Raises:
        UserError: an option is unknown or out of range, or what the kind needs is missing.
    """
    given = {"prompt": shipped_prompt(str(options.get("kind"))), **options}
    scorer = ScoringOptions.from_mapping(given, judge=PATIENT)
    reading = Reading(extract, invalid_reward, points, on_failure)
    return RewardFunction(scorer, reading, group_size=group_size, patience=patience, concurrency=concurrency)


def _tensor(values: Sequence[float | None]) -> Any:
    import torch

    return torch.tensor(values)


def _configured() -> RewardFunction:
    """The function of the options in the file that GRRM_REWARD names."""
    path = os.environ.get("GRRM_REWARD")
    if not path:
        raise UserError("GRRM_REWARD is not set; expected a YAML file with the options of reward_function")
    options = read_yaml(path)
    if not isinstance(options, dict):
        raise UserError(f"GRRM_REWARD: {path} holds {options!r}, expected options of reward_function")
    return reward_function(**options)


def __getattr__(name: str) -> Any:
    """`reward_func`, made when OpenRLHF asks for it: only then are options needed."""
    if name != "reward_func":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = _configured()
    return globals()[name]
