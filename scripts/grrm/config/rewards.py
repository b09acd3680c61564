"""The sections `reward` of the configuration: what a kind needs, and which trainings there are.

The kinds themselves: `grrm.rewards.kinds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PAIRWISE_MODES = ("winrate", "copeland", "dgr", "elo")
EVAL_MODES = ("pairwise", "pointwise", "listwise")
GENERAL_JUDGES = frozenset({"pointwise", "listwise", *(f"pairwise_{mode}" for mode in PAIRWISE_MODES)})
"""Kinds that ask a judge about texts of any sort."""
ASKED_JUDGES = GENERAL_JUDGES | {"sqm"}
"""Kinds whose judge is an endpoint unless the configuration names a model."""


def compared_kinds(config: Mapping[str, Any]) -> list[str]:
    """Kinds of reward that the translation model is trained with."""
    return [config["mt_grpo"]["reward"]["kind"], *config["reward_comparison"]]


def asks_endpoint(reward: Mapping[str, Any]) -> bool:
    """Whether the judge is asked at an address, not served by verl."""
    if reward["kind"] in ASKED_JUDGES:
        return reward["model"] is None
    return bool(reward["kind"] == "grrm" and reward["placement"] == "endpoint")


def family(kind: str) -> str:
    """What a judge is asked for: pairwise for pairwise_dgr."""
    return kind.partition("_")[0]


def reward_of(reward: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The section reward for another kind: prompt and model are that kind's own."""
    if kind == reward["kind"]:
        return dict(reward)
    same_judge = kind in ASKED_JUDGES and reward["kind"] in ASKED_JUDGES
    return {
        **reward,
        "kind": kind,
        "prompt": None,
        "model": reward["model"] if same_judge else None,
        "semantics": "strict",
    }


def grpo_runs(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Trainings of the translation model by GRPO, each with its section reward.

    `mt_grpo` is the experiment's own, `mt_grpo_<kind>` that with another kind that is compared.
    """
    own = config["mt_grpo"]["reward"]
    return {"mt_grpo": own} | {
        f"mt_grpo_{kind}": reward_of(own, kind) for kind in config["reward_comparison"] if kind != own["kind"]
    }


def is_served_apart(reward: Mapping[str, Any], judge: str | None) -> bool:
    """Whether verl serves the judge on devices of its own.

    Args:
        reward: the section of that name.
        judge: the model or checkpoint that scores; None if none does, or if an endpoint is asked.
    """
    checkpoint = reward["kind"] in ("comet", "bradley_terry")  # scores where the reward is computed
    return judge is not None and not checkpoint and reward["placement"] == "dedicated"


def scoring_model_of(reward: Mapping[str, Any]) -> str | None:
    """Name of the model or checkpoint that scores translations; None if none does."""
    kind = reward["kind"]
    if kind in ("bleu", "chrf"):
        return None
    if kind == "comet":
        return "comet"
    if reward["model"] is not None:
        return "mt_reward"
    return "grrm_rlvr" if kind == "grrm" and reward["placement"] != "endpoint" else None


def translation_prompt_of(reward: Mapping[str, Any], ranking: str) -> str | None:
    """Prompt of the judge of translations; None if the kind needs none.

    Args:
        reward: the section of that name.
        ranking: the ranking prompt of the experiment.
    """
    kind = reward["kind"]
    if kind in ("bleu", "chrf", "comet"):
        return None
    if reward["prompt"] is not None:
        return str(reward["prompt"])
    if kind == "grrm":
        return ranking
    if kind == "bradley_terry":
        return "config/prompts/translation_plain.yaml"
    if kind == "sqm":
        return "config/prompts/sqm.yaml"
    return f"config/prompts/translation_{family(kind)}.yaml"


def has_alignment_judge(alignment: Mapping[str, Any]) -> bool:
    """Whether a model or checkpoint scores the policy's responses, not an endpoint."""
    reward = alignment["grpo"]["reward"]
    if reward["model"] is not None:
        return True
    return reward["judge"]["url"] is None and not reward["judge"]["replay"]


def alignment_prompt_of(reward: Mapping[str, Any]) -> str | None:
    """Prompt of the judge of any responses; None if the kind needs none."""
    if reward["kind"] not in GENERAL_JUDGES:
        return None
    return reward["prompt"] or f"config/prompts/judge_{family(reward['kind'])}.yaml"


def prompt_file(prompt: str | None) -> str | list[str]:
    """The file of a prompt, for a rule's input: without the name of a function in it."""
    if prompt is None:
        return []
    path, colon, _ = prompt.rpartition(":")
    return path if colon and path.endswith(".py") else prompt
