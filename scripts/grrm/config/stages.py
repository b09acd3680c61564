"""What the configuration says about stages: what is taken, compared, trained and kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from grrm.files import UserError

STAGES = ("grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo")
# Models that a stage needs: what it starts from, and its judge.
NEEDS = {"grrm_sft": (), "grrm_rlvr": ("grrm_sft",), "mt_sft": (), "mt_grpo": ("mt_sft", "grrm_rlvr")}


JUDGES = ("sft", "pointwise", "pairwise", "bradley_terry")


def taken_models(config: Mapping[str, Any]) -> dict[str, str]:
    """Models (folder or hub id) taken instead of made; what a stage starts from is the model before it.

    A judge's is called `<stage>_base`: each may start from another one.
    """
    taken = {
        "grrm_base": config["grrm_sft"]["start_from"],
        "grrm_sft": config["grrm_rlvr"]["start_from"],
        "mt_base": config["mt_sft"]["start_from"],
        "mt_sft": config["mt_grpo"]["start_from"],
        **{
            name: (config["comet"] if name == "comet" else config["evaluate"][name])["start_from"]
            for name in config["evaluate"]["metrics"]
            if name != "llm_judge"
        },
        "mt_reward": config["mt_grpo"]["reward"]["model"],
    }
    if config["alignment"] is not None:
        grpo = config["alignment"]["grpo"]
        taken |= {"alignment_policy": grpo["start_from"], "alignment_judge": grpo["reward"]["model"]}
    finished = {stage: model for stage, model in config["evaluate"]["start_from"].items() if model}
    judges = config["judges"] or {}
    bases = {f"judge_{name}_base": judges[name]["start_from"] for name in JUDGES if judges}
    return {name: model for name, model in (taken | finished | bases).items() if model}


_TAKEN_BY = {
    "mt_reward": "mt_grpo.reward.model",
    "alignment_policy": "alignment.grpo.start_from",
    "alignment_judge": "alignment.grpo.reward.model",
    "grrm_base": "grrm_sft.start_from",
    "grrm_sft": "grrm_rlvr.start_from",
    "mt_base": "mt_sft.start_from",
    "mt_sft": "mt_grpo.start_from",
    "comet": "comet.start_from",
}


def key_of_taken(config: Mapping[str, Any], name: str) -> str:
    """The key of the configuration that names a model that is taken, see `taken_models`."""
    if config["evaluate"]["start_from"].get(name):
        return f"evaluate.start_from.{name}"
    if name.startswith("judge_"):
        return f"judges.{name.removeprefix('judge_').removesuffix('_base')}.start_from"
    return _TAKEN_BY.get(name, f"evaluate.{name}.start_from")


def compared_models(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Models before and after reinforcement learning; without the first if only the second is there."""
    taken = taken_models(config)
    pairs = {"ranking": ["grrm_sft", "grrm_rlvr"], "translation": ["mt_sft", "mt_grpo"]}
    return {
        kind: [after] if after in taken and before not in taken else [before, after]
        for kind, (before, after) in pairs.items()
    }


def trained_stages(config: Mapping[str, Any]) -> list[str]:
    """Stages that are run for the models that are compared, and for the judge of the samples, in order."""
    wanted = {"grrm_rlvr", *(model for models in compared_models(config).values() for model in models)}
    run: set[str] = set()
    while wanted := wanted - set(taken_models(config)) - run:
        run |= wanted
        wanted = {need for stage in wanted for need in NEEDS[stage]}
    return [stage for stage in STAGES if stage in run]


def leakage_limits(
    limit: float | Mapping[str, float], trained: Iterable[str], tests: Iterable[str], known: Iterable[str]
) -> dict[str, float]:
    """Share of each test set that may stand in training data, and `default` for those that are not named.

    Args:
        limit: `data.max_leakage`, by test sets, or by a training table and a test set (`mt_grpo:news`).
        trained: training tables of the experiment.
        tests: test sets of the experiment; only their limits are returned.
        known: test sets that may be named, those of other experiments among them.

    Raises:
        UserError: another one is named.
    """
    limits = dict(limit) if isinstance(limit, Mapping) else {"default": limit}
    allowed = ["default", *dict.fromkeys([*tests, *known])]
    pairs = {f"{stage}:{test}" for stage in STAGES for test in allowed[1:]}
    if unknown := [name for name in limits if name not in {*allowed, *pairs}]:
        raise UserError(
            f"key 'data.max_leakage' names {unknown[0]!r}, expected default, a test set "
            f"({', '.join(allowed[1:])}), or a stage ({', '.join(STAGES)}), a colon and a test set"
        )
    here = {"default", *tests, *(f"{stage}:{test}" for stage in trained for test in tests)}
    return {name: share for name, share in limits.items() if name in here}


def kept_checkpoints(config: Mapping[str, Any]) -> list[int]:
    """Steps of mt_grpo before its last whose models are kept and evaluated; none if it is not run."""
    stage, wanted = config["mt_grpo"], config["evaluate"]["checkpoints"]
    if "mt_grpo" not in trained_stages(config):
        return []
    if wanted == "all":
        return list(range(stage["save_steps"], stage["steps"], stage["save_steps"]))
    return sorted(wanted)


# A stage's name, its section, and the key of its number of steps.
Stage: TypeAlias = tuple[str, dict[str, Any], str]


def sft_stages(config: Mapping[str, Any]) -> list[Stage]:
    """Supervised trainings."""
    stages: list[Stage] = [(name, config[name], "max_steps") for name in ("grrm_sft", "mt_sft")]
    if judges := config["judges"]:
        stages += [(f"judges.{name}", judges[name], "max_steps") for name in ("sft", "bradley_terry")]
    if alignment := config["alignment"]:
        names = [name for name in ("policy_sft", "judge_sft") if name in alignment]
        stages += [(f"alignment.{name}", alignment[name], "max_steps") for name in names]
    return stages


def rl_stages(config: Mapping[str, Any]) -> list[Stage]:
    """Reinforcement learning, that of judges and against them last."""
    own: list[Stage] = [(name, config[name], "steps") for name in ("grrm_rlvr", "mt_grpo")]
    return own + judged_stages(config)


def judged_stages(config: Mapping[str, Any]) -> list[Stage]:
    """Reinforcement learning of judges, and against them."""
    stages: list[Stage] = []
    if judges := config["judges"]:
        stages += [(f"judges.{name}", judges[name], "steps") for name in ("pointwise", "pairwise")]
    if alignment := config["alignment"]:
        stages.append(("alignment.grpo", alignment["grpo"], "steps"))
    return stages


def rollout_engines(config: Mapping[str, Any]) -> dict[str, str]:
    """What generates rollouts and the answers of judges that verl serves: key -> transformers or vllm."""
    engines = {f"{name}.rollout_engine": stage["rollout_engine"] for name, stage, _ in rl_stages(config)}
    engines["mt_grpo.reward.rollout_engine"] = config["mt_grpo"]["reward"]["rollout_engine"]
    if config["alignment"] is not None:
        reward = config["alignment"]["grpo"]["reward"]
        engines["alignment.grpo.reward.rollout_engine"] = reward["rollout_engine"]
    return engines


def stage_environments(config: Mapping[str, Any]) -> tuple[str, str]:
    """Environments of SFT, and of reinforcement learning and whatever runs models.

    On GPUs LLaMA-Factory and verl with vLLM need different versions of what they share.
    """
    if config["hardware"]["device"] == "cuda":
        return "sft_cuda", "rl_cuda"
    runs = {*rollout_engines(config).values(), config["evaluate"]["backend"]}
    return "train", "vllm_cpu" if "vllm" in runs else "train"


def has_sft(config: Mapping[str, Any], name: str) -> bool:
    """Whether the SFT stage of `name` is part of the experiment."""
    after = {"grrm": "grrm_rlvr", "mt": "mt_grpo"}[name]
    finished = config["evaluate"]["start_from"]
    later = config[after]["start_from"] or finished[after] or finished[f"{name}_sft"]
    return later is None
