"""The reward manager that verl loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from grrm.asking.client import JudgeClient
from grrm.asking.options import UNLIMITED, JudgeOptions
from grrm.asking.served import served_judge
from grrm.asking.together import Together
from grrm.judges.questions import Decider
from grrm.rewards.group.collect import GroupRewards, Place
from grrm.rewards.group.judging import Ask, AskJudge, asking_insistently, score_plan
from grrm.rewards.group.options import GroupOptions
from grrm.rewards.group.plan import Rollout
from grrm.rewards.kinds import Asking, Scorer
from grrm.rewards.rows import read_row
from grrm.rewards.verl_manager import STEP_GROUPS, STEP_NUMBER, Response, RewardManager
from grrm.texts import encode_chat


class GroupRewardManager(RewardManager):
    """A reward manager of verl 0.9.1 (`reward.reward_manager.source: importlib`).

    Options are `reward.reward_kwargs` (`GroupOptions`). If verl serves a reward model, it is the judge; its
    lengths, top_p and top_k are `reward.reward_model.rollout.*`. Else the judge is the endpoint `judge.url`.
    `reward.num_workers` must be 1, or siblings would not meet. The rows need `extra_info` with what the task
    needs and split: a prompt has `rollout.n` rollouts if the split is "train", else `rollout.val_kwargs.n`
    (verl does not tell its reward managers that it validates).

    Raises:
        UserError: the configuration does not allow judging in groups.
    """

    meeting = "the rollouts of a prompt would never meet in one place"

    def prepare(self, config: Any, judge: str | None, judge_tokenizer: Any) -> None:
        """Read the options, and load what scores."""
        options = GroupOptions.from_mapping(_plain(config.reward.get("reward_kwargs") or {}))
        self._task = options.task
        rollout = config.actor_rollout_ref.rollout
        self._train_size, self._validation_size = int(rollout.n), int(rollout.val_kwargs.n)
        data = getattr(config, "data", None)
        self._step_groups = int(data.train_batch_size) if data is not None else 0
        served = self.judge_of(config, options, judge, judge_tokenizer)
        together = served.together if served is not None else None
        rounds = together.rounds if together is not None else None
        self._rewards = GroupRewards(options, asking_of(options, served), rounds)

    def judge_of(
        self, config: Any, options: GroupOptions, judge: str | None, tokenizer: Any
    ) -> Served | None:
        """The judge that verl serves, if it serves one; arguments as of `prepare`."""
        if judge is None:
            return None
        return Served(judge, config.reward.reward_model, tokenizer, options.timeout)

    async def reward(self, response: Response) -> tuple[float, dict[str, Any]]:
        """The reward of one rollout, once its group is judged."""
        info = response.row["extra_info"]
        trains = info["split"] == "train"
        reward = await self._rewards.reward(
            str(response.row["uid"]),
            Rollout(response.text, response.length, int(response.row.get("session_id", 0))),
            read_row(info, response.row, task=self._task),
            expected=self._train_size if trains else self._validation_size,
            step=int(response.row.get("global_steps", -1)),
            groups=self._step_groups if trains else 0,
            place=Place(
                int(response.row.get("index", 0)),
                response.row.get(STEP_NUMBER),
                int(response.row.get(STEP_GROUPS, 0)),
            ),
        )
        return reward.value, reward.info


class Served:
    """The judge that verl serves.

    Args:
        address: host:port of its router.
        server: verl's configuration of it, `reward.reward_model`.
        tokenizer: the judge's.
        timeout: longest time for one call, in seconds.

    Attributes:
        together: sends what is asked about a step in one message; None if verl serves the judge by an engine
            that takes each call by itself.
    """

    def __init__(self, address: str, server: Any, tokenizer: Any, timeout: float) -> None:
        self._address, self._tokenizer = address, tokenizer
        self._model, self._rollout = server.model_path, server.rollout
        by_own_server = getattr(self._rollout, "name", "") == "transformers"
        url = f"http://{address}/v1/chat/completions"
        self.together = Together(url, timeout) if by_own_server else None
        files = str(getattr(tokenizer, "name_or_path", ""))
        self._files = files if Path(files).is_dir() else ""

    def client(self, options: GroupOptions, url: str = "") -> JudgeOptions:
        """How it is asked by kinds that make many calls a group; `url` where that is not by its address."""
        served = {
            "model": self._model,
            "url": url or f"http://{self._address}/v1",
            "top_p": self._rollout.top_p,
            "extra": {"top_k": self._rollout.top_k},
            "max_tokens": self._rollout.response_length,
            "temperature": options.temperature,
            "timeout": options.timeout,
            "deadline": 4 * options.timeout,  # all calls of a step may stand in the server's queue
            "max_concurrency": 256 if self.together is None else UNLIMITED,
            "required": True,
            "tokenizer": self._files,
        }
        values = {**options.client, **options.judge, **served}
        return JudgeOptions.from_mapping(values, environment={})

    def decider(self, options: GroupOptions) -> Callable[[], Decider]:
        """Who answers, as `Asking` wants it."""
        client = JudgeClient(self.client(options), environment={}, together=self.together)
        return lambda: client

    def ask(self, options: GroupOptions) -> AskJudge:
        """Asks it once, as is done for a whole group."""
        request = {
            "model": self._model,
            "top_p": self._rollout.top_p,
            "top_k": self._rollout.top_k,
            "max_tokens": self._rollout.response_length,
        }
        return served_judge(
            self._address, request, options.timeout, tokenizer=self._files, together=self.together
        )

    def fits(self, prompt: str) -> bool:
        """Whether a prompt is short enough for it."""
        message = {"role": "user", "content": prompt}
        tokens = encode_chat(self._tokenizer, [message], add_generation_prompt=True)
        return len(tokens) <= int(self._rollout.prompt_length)


def asking_of(options: GroupOptions, served: Served | None = None) -> Ask:
    """What has groups judged: with the judge that verl serves, if it serves one, else as the options say."""
    scoring = options.scoring(is_served=served is not None)
    asking = None
    by_verl = next((part.options for part in scoring.parts if part.options.served), scoring)
    if served is not None and by_verl.served:
        if by_verl.entry.has_semantics:
            asking = asking_insistently(options, served.ask(options), served.fits)
        else:
            asking = Asking(served.decider(options))
    elif scoring.entry.has_semantics and scoring.judge is not None:
        asking = asking_insistently(options, JudgeClient(scoring.judge).answer)
    return partial(score_plan, scorer=Scorer(scoring, asking=asking))


def _plain(value: Any) -> Any:
    """A configuration of verl as plain values."""
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def compute_score(*_args: Any, **_kwargs: Any) -> float:
    """Never called: verl asks for a reward function wherever there is a generative judge.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("rollouts are rewarded in groups, by GroupRewardManager")
