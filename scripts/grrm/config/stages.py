"""What the configuration says about stages: what is taken, compared, trained and kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from grrm.catalogue.metrics import METRICS, Metric, metrics_of
from grrm.catalogue.trainings import COMPARED, NEEDS, OWN_JUDGES, STAGES, TRAININGS, Engine, Training, of_part
from grrm.config.rewards import TAKEN_JUDGE, grpo_runs, judges_taken, pieces_of
from grrm.config.teacher import asked_sections, backend_of
from grrm.files import UserError


def value_of(config: Mapping[str, Any], path: str) -> Any:
    """What stands under a dotted path; None if nothing does."""
    value: Any = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def planned_trainings(config: Mapping[str, Any]) -> list[Training]:
    """The trainings whose section the configuration has."""
    return [row for row in TRAININGS.values() if value_of(config, row.section) is not None]


def checkpoint_metrics(config: Mapping[str, Any]) -> list[Metric]:
    """Metrics with checkpoints that the experiment scores with, or rewards translations by."""
    used = {metric.name for metric in metrics_of(config)}
    used |= {piece["kind"] for reward in grpo_runs(config).values() for piece in pieces_of(reward).values()}
    return [metric for metric in METRICS.values() if metric.checkpoint and metric.name in used]


def _keys_of_taken(config: Mapping[str, Any]) -> dict[str, str]:
    """Models that may be taken instead of made -> the key that names them."""
    keys: dict[str, str] = {}
    for row in TRAININGS.values():
        keys |= {row.taken: f"{row.section}.start_from", row.taken_judge: f"{row.section}.reward.model"}
    keys |= {metric.name: f"{metric.key}.start_from" for metric in checkpoint_metrics(config)}
    finished = config["evaluate"]["start_from"]
    return keys | {stage: f"evaluate.start_from.{stage}" for stage in finished if finished[stage]}


def taken_models(config: Mapping[str, Any]) -> dict[str, str]:
    """Models (folder or hub id) taken instead of made; what a stage starts from is the model before it.

    A judge's is called `<stage>_base`: each may start from another one.
    """
    taken = {name: value_of(config, key) for name, key in _keys_of_taken(config).items()}
    if taken[TAKEN_JUDGE] in OWN_JUDGES:
        taken[TAKEN_JUDGE] = None  # it is made here
    compared = {name: model for name, (_, model) in judges_taken(config).items()}
    return {name: model for name, model in taken.items() if name and model} | compared


def key_of_taken(config: Mapping[str, Any], name: str) -> str:
    """The key of the configuration that names a model that is taken, see `taken_models`."""
    compared = judges_taken(config)
    return compared[name][0] if name in compared else _keys_of_taken(config)[name]


def compared_models(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Models before and after reinforcement learning; without the first if only the second is there."""
    taken = taken_models(config)
    return {
        task: [after] if after in taken and before not in taken else [before, after]
        for task, (before, after) in COMPARED.items()
    }


def trained_stages(config: Mapping[str, Any]) -> list[str]:
    """Stages that are run for the models that are compared, and for the judge of the samples, in order."""
    wanted = {model for models in compared_models(config).values() for model in models}
    wanted |= {row.judge for row in of_part("") if row.judge}
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


# The path of a stage's section, the section, and the key of its number of steps.
Stage: TypeAlias = tuple[str, dict[str, Any], str]


def _stages(config: Mapping[str, Any], *engines: Engine) -> list[Stage]:
    rows = [row for row in planned_trainings(config) if row.engine in engines]
    return [(row.section, value_of(config, row.section), row.steps_key) for row in rows]


def sft_stages(config: Mapping[str, Any]) -> list[Stage]:
    """Supervised trainings."""
    return _stages(config, "sft", "bt")


def rl_stages(config: Mapping[str, Any]) -> list[Stage]:
    """Reinforcement learning, that of judges and against them last."""
    return _stages(config, "rl")


def judged_stages(config: Mapping[str, Any]) -> list[Stage]:
    """Reinforcement learning of judges, and against them."""
    return [stage for stage in rl_stages(config) if "." in stage[0]]


def rollout_engines(config: Mapping[str, Any]) -> dict[str, str]:
    """What generates rollouts and the answers of judges that verl serves: key -> transformers or vllm."""
    stages = [(name, stage) for name, stage, _ in rl_stages(config)]
    judges = [(f"{name}.reward", stage["reward"]) for name, stage in stages if "reward" in stage]
    return {f"{name}.rollout_engine": section["rollout_engine"] for name, section in [*stages, *judges]}


def stage_environments(config: Mapping[str, Any]) -> tuple[str, str]:
    """Environments of SFT, and of reinforcement learning and whatever runs models.

    On GPUs LLaMA-Factory and verl with vLLM need different versions of what they share.
    """
    if config["hardware"]["device"] == "cuda":
        return "sft_cuda", "rl_cuda"
    runs = {*rollout_engines(config).values(), config["evaluate"]["backend"]}
    runs |= {backend_of(section, "cpu") for section in asked_sections(config).values()}
    return "train", "vllm_cpu" if "vllm" in runs else "train"


def devices_of(config: Mapping[str, Any]) -> int:
    """Devices that the training stages run on."""
    return int(config["hardware"]["nodes"] * config["hardware"]["gpus_per_node"])


def base_trainings(config: Mapping[str, Any]) -> list[Training]:
    """Trainings that start from base models, less those whose model, or the next one, is taken."""
    taken = taken_models(config)
    first = [row for row in of_part("") if row.start not in TRAININGS]
    after = {row.start: row.name for row in of_part("") if row.start in TRAININGS}
    return [row for row in first if row.name not in taken and after[row.name] not in taken]
