"""A policy that judges its own rollouts: found by its servers' names, asked like any judge, in turn."""

import asyncio
from types import SimpleNamespace

import pytest

pytest.importorskip("verl")

from omegaconf import OmegaConf

from configurations import ROOT
from grrm.rewards.verl_manager import Response
from grrm.verl_plugin import self_judging
from judge_server import Act
from serving import serving

SCORES = {"good": "9", "middling": "5", "bad": "1"}


def row(uid, number):
    """Of a rollout; groups have sources of their own, or the same question would be sent once."""
    texts = {"src_text": f"gut {uid}", "src_lang": "de", "trg_lang": "en", "trg_text": None}
    return {
        "uid": uid,
        "session_id": number,
        "global_steps": 1,
        "extra_info": {"split": "train", **texts},
    }


def config(engine):
    rollout = {
        "name": engine,
        "n": 3,
        "val_kwargs": {"n": 1},
        "prompt_length": 64,
        "response_length": 32,
    }
    kwargs = {
        "kind": "mixture",
        "parts": {
            "format": {"kind": "format"},
            "sqm": {"kind": "sqm", "prompt": str(ROOT / "config/prompts/sqm.yaml")},
        },
        "score_scale": 0.2,
        "default_reward": -1,
        "judge": {"max_tokens": 17, "temperature": 0.25, "top_p": 0.5},
        "temperature": 0.25,
        "retries": 0,
    }
    return OmegaConf.create(
        {
            "actor_rollout_ref": {"rollout": rollout, "model": {"path": "policy"}},
            "reward": {"num_workers": 1, "reward_kwargs": kwargs},
            "data": {"train_batch_size": 2},
        }
    )


class Actors:
    """In the place of Ray: servers by their names."""

    def __init__(self, urls):
        self.urls = urls

    def list_named_actors(self):
        return [*self.urls, "vllm_server_reward_0_0", "transformers_reward_server_0", "other"]

    def get_actor(self, name):
        host, port = self.urls[name].removeprefix("http://").removesuffix("/v1").split(":")
        remote = lambda: (host, int(port))  # noqa: E731
        return SimpleNamespace(get_server_address=SimpleNamespace(remote=remote))


def rewarded(monkeypatch, engine, names):
    """Rewards of two groups of three rollouts, and the servers that were asked."""

    def answer(call):
        shown = next(text for text in SCORES if f"\n{text}\n" in call.prompt)
        return Act(f"Some thoughts.\n{SCORES[shown]}")

    with serving(answer) as first, serving(answer) as second:
        actors = Actors(dict(zip(names, (first.url, second.url), strict=False)))
        ray = SimpleNamespace(util=actors, get_actor=actors.get_actor, get=lambda found: found)
        monkeypatch.setattr(self_judging, "ray", ray)

        async def run():
            manager = self_judging.SelfJudgingRewardManager(config(engine), tokenizer=None)
            texts = [f"so\n```\n{text}\n```" for text in SCORES]
            rollouts = [
                Response(text, 5, row(uid, number))
                for uid in ("a", "b")
                for number, text in enumerate([*texts[:2], "no block"] if uid == "b" else texts)
            ]
            return [value for value, _ in await asyncio.gather(*map(manager.reward, rollouts))]

        return asyncio.run(run()), first.calls, second.calls


@pytest.mark.parametrize(
    "names",
    [["vllm_server_0_0"], ["vllm_server_0_0", "vllm_server_1_0"], ["vllm_server_0_0", "vllm_server_0_1"]],
)
def test_whoever_wrote_the_rollouts_scores_them(monkeypatch, names):
    rewards, first, second = rewarded(monkeypatch, "vllm", names)
    # The mean of 10 points for the form and the score, times the scale.
    assert rewards == pytest.approx([1.9, 1.5, 1.1, 1.9, 1.5, -1])
    assert len(first) + len(second) == 5
    assert bool(second) == (names[-1] == "vllm_server_1_0")  # the second machine of a replica does not answer
    body = first[0].body
    assert (body["model"], body["max_tokens"], body["temperature"], body["top_p"]) == (
        "policy",
        17,
        0.25,
        0.5,
    )


def test_no_server_is_looked_for_before_there_is_something_to_judge(monkeypatch):
    def missing():
        raise AssertionError("servers are started after the reward workers")

    monkeypatch.setattr(self_judging, "ray", SimpleNamespace(util=SimpleNamespace(list_named_actors=missing)))
    for engine in ("vllm", "transformers"):
        self_judging.SelfJudgingRewardManager(config(engine), tokenizer=None)
