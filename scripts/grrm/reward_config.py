"""Rewards in the configuration: what a kind needs, what the environment says, what contradicts.

Imported while the Snakefile is parsed, so nothing heavy is imported here. The kinds themselves:
`grrm.rewards.kinds`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from grrm.files import UserError
from grrm.ranking import MAX_CANDIDATES
from grrm.urls import secret_in

PAIRWISE_MODES = ("winrate", "copeland", "dgr", "elo")
EVAL_MODES = ("pairwise", "pointwise", "listwise")
GENERAL_JUDGES = frozenset({"pointwise", "listwise", *(f"pairwise_{mode}" for mode in PAIRWISE_MODES)})
"""Kinds that ask a judge about texts of any sort."""
ASKED_JUDGES = GENERAL_JUDGES | {"sqm"}
"""Kinds whose judge is an endpoint unless the configuration names a model."""

# Names in the published documents of RM-Gallery -> key of the section judge, or of reward above it.
_JUDGE_VARIABLES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "JUDGE_API_URL": ("url", str),
    "JUDGE_MODEL_NAME": ("model", str),
    "MAX_WORKERS": ("max_concurrency", int),
    "LLM_TIMEOUT": ("timeout", float),
    "MAX_RETRIES": ("retries", int),
    "VERBOSE": ("verbose", lambda text: {"true": True, "1": True, "false": False, "0": False}[text.lower()]),
}
_REWARD_VARIABLES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "TEMPERATURE": ("temperature", float),
    "MAX_TOKENS": ("max_response_length", int),
}


def apply_environment(config: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Let what the environment says about judges stand in the configuration, so that it is recorded.

    The policy's alignment takes everything, EVAL_MODE and PAIRWISE_MODE among it, and asks the endpoint if
    JUDGE_API_URL is set; the translation model's reward takes it where it asks an endpoint. The API key
    stays in the environment.

    Raises:
        UserError: a value cannot be used; the message names the variable.
    """
    translation = config["mt_grpo"]["reward"]
    if any(_asks_endpoint(reward_of(translation, kind)) for kind in _kinds(config)):
        _apply(translation, environment)
    if config["alignment"] is not None:
        reward = config["alignment"]["grpo"]["reward"]
        _apply_modes(reward, environment)
        _apply(reward, environment)
        if environment.get("JUDGE_API_URL", "").strip():
            reward["model"] = None


def _kinds(config: Mapping[str, Any]) -> list[str]:
    """Kinds of reward that the translation model is trained with."""
    return [config["mt_grpo"]["reward"]["kind"], *config["reward_comparison"]]


def _asks_endpoint(reward: Mapping[str, Any]) -> bool:
    if reward["kind"] in ASKED_JUDGES:
        return reward["model"] is None
    return bool(reward["kind"] == "grrm" and reward["placement"] == "endpoint")


def _apply(reward: dict[str, Any], environment: Mapping[str, str]) -> None:
    for variables, section in ((_JUDGE_VARIABLES, reward["judge"]), (_REWARD_VARIABLES, reward)):
        for variable, (key, kind) in variables.items():
            text = environment.get(variable, "").strip()
            if not text:
                continue
            if variable == "JUDGE_API_URL" and (secret := secret_in(text)):
                # What stands in the configuration is written to disk.
                raise UserError(f"JUDGE_API_URL holds {secret}; put the key into JUDGE_API_KEY instead")
            try:
                section[key] = kind(text)
            except (ValueError, KeyError) as error:
                expected = "true or false" if variable == "VERBOSE" else "a number"
                raise UserError(
                    f"{variable} is {text!r}, expected {expected}; correct or unset it"
                ) from error


def _apply_modes(reward: dict[str, Any], environment: Mapping[str, str]) -> None:
    kind = kind_of_modes(reward["kind"], environment)
    if _family(kind) != _family(reward["kind"]):
        # It asks for another verdict.
        reward["prompt"] = None
    reward["kind"] = kind


def _family(kind: str) -> str:
    """What a judge is asked for: pairwise for pairwise_dgr."""
    return kind.partition("_")[0]


def kind_of_modes(kind: str, environment: Mapping[str, str]) -> str:
    """The kind of reward that EVAL_MODE and PAIRWISE_MODE in the environment make of another one.

    Raises:
        UserError: one of them is no mode.
    """
    mode = environment.get("EVAL_MODE", "").strip()
    pairwise = environment.get("PAIRWISE_MODE", "").strip()
    for variable, value, known in (
        ("EVAL_MODE", mode, EVAL_MODES),
        ("PAIRWISE_MODE", pairwise, PAIRWISE_MODES),
    ):
        if value and value not in known:
            raise UserError(f"{variable} is {value!r}, expected {', '.join(known)}; correct or unset it")
    if mode and mode != "pairwise":
        return mode
    if pairwise and (mode or _family(kind) == "pairwise"):
        return f"pairwise_{pairwise}"
    return "pairwise_dgr" if mode and _family(kind) != "pairwise" else kind


def kind_of_environment(environment: Mapping[str, str]) -> str | None:
    """The kind of reward that EVAL_MODE and PAIRWISE_MODE name, pairwise DGR unless they say more; None
    without them.

    Raises:
        UserError: see `kind_of_modes`.
    """
    named = any(environment.get(variable, "").strip() for variable in ("EVAL_MODE", "PAIRWISE_MODE"))
    return kind_of_modes("pairwise_dgr", environment) if named else None


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
    return f"config/prompts/translation_{_family(kind)}.yaml"


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
    return reward["prompt"] or f"config/prompts/judge_{_family(reward['kind'])}.yaml"


def prompt_file(prompt: str | None) -> str | list[str]:
    """The file of a prompt, for a rule's input: without the name of a function in it."""
    if prompt is None:
        return []
    path, colon, _ = prompt.rpartition(":")
    return path if colon and path.endswith(".py") else prompt


def _reachable(reward: Mapping[str, Any]) -> bool:
    judge = reward["judge"]
    return judge["model"] is not None and (judge["url"] is not None or judge["replay"])


def _secrets(where: str, reward: Mapping[str, Any]) -> Iterator[str]:
    if secret := secret_in(reward["judge"]["url"] or ""):
        yield f"{where}.judge.url holds {secret}, expected none: put the key into JUDGE_API_KEY"


_NO_JUDGE = (
    "no judge for kind {kind!r}; expected judge.url (or JUDGE_API_URL) and judge.model (or "
    "JUDGE_MODEL_NAME), or model for one that verl serves"
)


def contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """What does not go together, in words."""
    translation, rollouts = config["mt_grpo"]["reward"], config["mt_grpo"]["rollouts"]
    yield from _secrets("mt_grpo.reward", translation)
    for kind in dict.fromkeys(_kinds(config)):
        reward = reward_of(translation, kind)
        if kind == "grrm" and rollouts > MAX_CANDIDATES:  # other judges number what they are shown
            yield (
                f"mt_grpo.rollouts is {rollouts}, expected at most {MAX_CANDIDATES} for reward {kind!r}: its "
                "judge is shown all rollouts of a prompt, one a letter from A to Z"
            )
        if _asks_endpoint(reward) and not _reachable(reward):
            yield f"mt_grpo.reward: {_NO_JUDGE.format(kind=kind)}"
        if reward["placement"] == "endpoint" and reward["model"] is not None:
            yield "mt_grpo.reward.placement is 'endpoint', expected null for mt_grpo.reward.model"
        if kind == "bradley_terry" and reward["model"] is None:
            yield "mt_grpo.reward.model is null, expected a checkpoint for kind 'bradley_terry'"
        if kind == "comet" and reward["model"] is not None:
            yield "mt_grpo.reward.model is set, expected null for kind 'comet': its model is comet.start_from"
        if kind in ("bleu", "chrf", "comet") and config["mt_grpo"]["cross_lingual_augmentation"]:
            yield (
                f"mt_grpo.cross_lingual_augmentation is true, expected false for reward {kind!r}: what is "
                "translated into a random language has no reference to compare with"
            )
        if reward["semantics"] == "paper" and kind != "grrm":
            yield f"mt_grpo.reward.semantics is 'paper', expected 'strict' for kind {kind!r}"
        if config["rl_engine"] == "gen_rm_fork" and kind != "grrm":
            yield f"mt_grpo.reward.kind is {kind!r}, expected 'grrm' with rl_engine 'gen_rm_fork'"
    if config["alignment"] is None:
        return
    reward = config["alignment"]["grpo"]["reward"]
    where = "alignment.grpo.reward"
    yield from _secrets(where, reward)
    if reward["kind"] not in GENERAL_JUDGES | {"bradley_terry"}:
        allowed = ", ".join(sorted(GENERAL_JUDGES | {"bradley_terry"}))
        yield f"{where}.kind is {reward['kind']!r}, expected one of {allowed}"
    if reward["kind"] == "bradley_terry" and reward["model"] is None:
        yield f"{where}.model is null, expected a checkpoint for kind 'bradley_terry'"
    if reward["reference"]:
        yield f"{where}.reference is true, expected false: rows have none but chosen, which is judged itself"
    data = config["alignment"]["data"]
    if (data["train"] is None) != (data["validation"] is None):
        yield "alignment.data.train and .validation: expected a file for both or null for both"
    if config["alignment"]["grpo"]["start_from"] is None and "policy_sft" not in config["alignment"]:
        yield "alignment.grpo.start_from is null, expected a model (or alignment.policy_sft, for the toy)"
    if reward["kind"] not in GENERAL_JUDGES or reward["model"] is not None:
        return
    if has_alignment_judge(config["alignment"]) and "judge_sft" in config["alignment"]:
        if _family(reward["kind"]) != "pairwise":
            yield (
                f"{where}.kind is {reward['kind']!r}, expected a kind of pairwise: that is what the toy's "
                "judge is trained for; name another by judge.url (or JUDGE_API_URL) or model"
            )
    elif not _reachable(reward):
        yield f"{where}: {_NO_JUDGE.format(kind=reward['kind'])}"
