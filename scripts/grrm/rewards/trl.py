"""Rewards of groups for TRL's GRPOTrainer (1.x).

    from grrm.rewards.trl import group_reward

    judge = {"url": "http://127.0.0.1:8000/v1", "model": "grrm"}
    reward = group_reward(kind="grrm", prompt="config/prompts/ranking.yaml", judge=judge)
    GRPOTrainer(model, reward_funcs=[reward], ...)

The completions of a prompt are judged together, in one call for the GRRM, and rewarded as by
`grrm.rewards.group.GroupRewardManager`. The data set needs the columns of the task: src_text, src_lang,
trg_lang and maybe trg_text, the reference, for a translation; question, chosen and turns for a conversation.
Its other columns can be named by prompts and are seen by functions.

Importable without TRL and torch.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from grrm.files import UserError
from grrm.rewards.group.collect import GroupRewards, Reward
from grrm.rewards.group.manager import asking_of
from grrm.rewards.group.options import GroupOptions
from grrm.rewards.group.plan import Rollout
from grrm.rewards.rows import read_row
from grrm.rewards.step_metrics import step_metrics

# What TRL hands over beside the columns of the data set.
_NOT_COLUMNS = frozenset({"trainer_state", "log_extra", "log_metric", "environments"})
# Without this a row is not this reward's: other rewards of a mixed data set may know it.
_SUBJECT = {"translation": "src_text", "conversation": "question"}


class GroupReward:
    """A reward function that TRL calls with whole batches; see `group_reward`."""

    def __init__(self, options: GroupOptions, name: str, num_generations: int) -> None:
        self.__name__ = name
        self._options, self._size = options, num_generations
        self._rewards = GroupRewards(options, asking_of(options))
        self._groups = 0

    async def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        *,
        trainer_state: Any = None,
        log_metric: Callable[[str, float], None] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """One reward per completion; None where the row is not about this reward's task.

        Args:
            prompts: one per completion; the completions of a prompt stand together.
            completions: texts, or conversations whose last message is the response.
            completion_ids: tokens of each completion, which only their number matters of.
            trainer_state: says which step it is.
            log_metric: takes figures of the step (`grrm.rewards.step_metrics`), as rewards/<name>/<figure>.
            log_extra: takes columns of the table of completions.
            **columns: of the data set, one value per completion.

        Raises:
            UserError: a group is not whole, a row lacks something, or too many judgements failed.
        """
        rows = self._rows(columns, len(prompts))
        lengths = [len(ids) for ids in completion_ids] if completion_ids else [0] * len(prompts)
        rollouts = [
            Rollout(_response(completion), length)
            for completion, length in zip(completions, lengths, strict=True)
        ]
        subject = _SUBJECT[self._options.task]
        groups = self._groups_of([(prompt, row[subject]) for prompt, row in zip(prompts, rows, strict=True)])
        step = int(getattr(trainer_state, "global_step", -1))
        judged = await asyncio.gather(
            *[self._judge(rows[group[0]], [rollouts[index] for index in group], step) for group in groups]
        )
        rewards: list[Reward | None] = [None] * len(prompts)
        for group, results in zip(groups, judged, strict=True):
            for index, reward in zip(group, results, strict=True):
                rewards[index] = reward
        self._log(groups, rewards, log_metric, log_extra)
        return [None if reward is None else reward.value for reward in rewards]

    def _rows(self, columns: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
        subject = _SUBJECT[self._options.task]
        if subject not in columns:
            raise UserError(
                f"the data set has no column {subject}, which a {self._options.task} is read from; it has "
                f"{', '.join(sorted(columns.keys() - _NOT_COLUMNS)) or 'prompts only'}"
            )
        own = {name: values for name, values in columns.items() if name not in _NOT_COLUMNS}
        return [{name: values[index] for name, values in own.items()} for index in range(count)]

    def _groups_of(self, asked: Sequence[tuple[Any, Any]]) -> list[list[int]]:
        """Numbers of the completions of each group: neighbours with the same prompt and subject."""
        groups = []
        for _, numbers in groupby(range(len(asked)), key=lambda number: _Same(asked[number])):
            group = list(numbers)
            size = self._size or len(group)
            if len(group) % size:
                raise UserError(
                    f"{len(group)} completions of a prompt stand together, expected {size} "
                    "(num_generations); let per_device_train_batch_size be a multiple of it, so that a group "
                    "is on one device"
                )
            groups += [group[start : start + size] for start in range(0, len(group), size)]
        return groups

    async def _judge(
        self, row: Mapping[str, Any], rollouts: Sequence[Rollout], step: int
    ) -> Sequence[Reward | None]:
        if row[_SUBJECT[self._options.task]] is None:
            return [None] * len(rollouts)
        source, self._groups = read_row(row, task=self._options.task), self._groups + 1
        uid = f"{step}:{self._groups}"
        return await asyncio.gather(
            *[
                self._rewards.reward(uid, rollout, source, expected=len(rollouts), step=step)
                for rollout in rollouts
            ]
        )

    def _log(
        self,
        groups: Sequence[Sequence[int]],
        rewards: Sequence[Reward | None],
        log_metric: Callable[[str, float], None] | None,
        log_extra: Callable[[str, list[Any]], None] | None,
    ) -> None:
        known = [
            (str(number), reward)
            for number, group in enumerate(groups)
            for reward in (rewards[index] for index in group)
            if reward is not None
        ]
        if log_metric is not None and known:
            values, infos = [reward.value for _, reward in known], [reward.info for _, reward in known]
            for name, value in step_metrics([group for group, _ in known], values, infos).items():
                if not math.isnan(value):  # nothing was judged that it could tell about
                    log_metric(f"rewards/{self.__name__}/{name.removeprefix('reward/')}", value)
        if log_extra is not None:
            scores = [
                reward.info["judge_score"] if reward is not None and reward.info["judged"] else None
                for reward in rewards
            ]
            log_extra(f"{self.__name__} score", scores)


def group_reward(*, name: str = "", num_generations: int = 0, **options: Any) -> GroupReward:
    """A reward function for `GRPOTrainer(reward_funcs=...)`.

    Args:
        name: what TRL's logs call it; by default the kind.
        num_generations: the trainer's, to be told when a group is split over devices; 0: a group are the
            completions that stand together with the same prompt and subject.
        **options: kind and the other options of `grrm.rewards.group.GroupOptions`, such as prompt, judge,
            model, function, parts, score_scale and default_reward.

    Raises:
        UserError: an option is unknown or out of range, or what the kind needs is missing.
    """
    read = GroupOptions.from_mapping(options)
    return GroupReward(read, name or read.kind, num_generations)


class _Same:
    """Compares by value, whatever the value is: prompts may be conversations."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and bool(self._value == other._value)


def _response(completion: Any) -> str:
    """The text of a completion; of a conversation, of its last message."""
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else None
    if isinstance(content, str) or content is None:
        return content or ""
    return "".join(part.get("text") or "" for part in content)
