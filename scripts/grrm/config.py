"""The workflow's configuration: checked against its schema, defaults filled in.

Imported while the Snakefile is parsed, so nothing heavier than PyYAML and jsonschema is imported here.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from grrm.files import UserError
from grrm.reward_config import apply_environment, contradictions


def resolve(config: Mapping[str, Any], schema_path: str | Path) -> dict[str, Any]:
    """A checked copy of `config` with the schema's defaults filled in.

    Raises:
        UserError: a key is unknown or missing, or a value is not allowed; the message gives the
            key's path, the value and what is allowed.
    """
    schema = yaml.safe_load(Path(schema_path).read_text(encoding="utf-8"))
    resolved = copy.deepcopy(dict(config))
    _fill_defaults(resolved, schema, schema)
    validator = jsonschema.Draft202012Validator(schema)
    problems = [_explain(error) for error in validator.iter_errors(resolved)]
    if problems:
        raise UserError("configuration: " + "; ".join(sorted(set(problems))))
    return resolved


STAGES = ("grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo")
# Models that a stage needs: what it starts from, and its judge.
NEEDS = {"grrm_sft": (), "grrm_rlvr": ("grrm_sft",), "mt_sft": (), "mt_grpo": ("mt_sft", "grrm_rlvr")}


def load_experiment(folder: str | Path, overlays: Iterable[str | Path] = ()) -> dict[str, Any]:
    """The configuration as the workflow reads it: config/config.yaml, with other files laid over it in order.

    Args:
        folder: that of the workflow.
        overlays: files, as after --configfile.

    Raises:
        UserError: a file is missing or not YAML; or see `resolve_experiment`.
    """
    config: dict[str, Any] = {}
    for path in (Path(folder) / "config/config.yaml", *overlays):
        try:
            layer = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        except yaml.YAMLError as error:
            raise UserError(f"{path}: not valid YAML ({error})") from error
        if not isinstance(layer, dict):
            raise UserError(f"{path}: expected keys and values, found {type(layer).__name__}")
        _lay_over(config, layer)
    return resolve_experiment(config, Path(folder) / "config/schemas/config.schema.yaml")


def _lay_over(config: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping):
            below = config.get(key)
            config[key] = dict(below) if isinstance(below, Mapping) else {}
            _lay_over(config[key], value)
        else:
            config[key] = value


def taken_models(config: Mapping[str, Any]) -> dict[str, str]:
    """Models (folder or hub id) taken instead of made; what a stage starts from is the model before it."""
    taken = {
        "grrm_base": config["grrm_sft"]["start_from"],
        "grrm_sft": config["grrm_rlvr"]["start_from"],
        "mt_base": config["mt_sft"]["start_from"],
        "mt_sft": config["mt_grpo"]["start_from"],
        "comet": config["comet"]["start_from"],
        "mt_reward": config["mt_grpo"]["reward"]["model"],
    }
    if config["alignment"] is not None:
        grpo = config["alignment"]["grpo"]
        taken |= {"alignment_policy": grpo["start_from"], "alignment_judge": grpo["reward"]["model"]}
    finished = {stage: model for stage, model in config["evaluate"]["start_from"].items() if model}
    return {name: model for name, model in (taken | finished).items() if model}


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


def resolve_experiment(
    config: Mapping[str, Any], schema_path: str | Path, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """As `resolve`, for an experiment: relations between keys are checked as well.

    Args:
        config: as it was read.
        schema_path: the schema.
        environment: variables that say something about judges (`grrm.reward_config.apply_environment`).

    Raises:
        UserError: see `resolve`; or two keys contradict each other.
    """
    resolved = resolve(config, schema_path)
    apply_environment(resolved, environment or {})
    if problems := [*_contradictions(resolved), *contradictions(resolved)]:
        raise UserError("configuration: " + "; ".join(problems))
    return resolved


def _contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    hardware = config["hardware"]
    devices = hardware["nodes"] * hardware["gpus_per_node"]
    for name, steps in (("grrm_sft", "max_steps"), ("mt_sft", "max_steps"), *_RL_STEPS):
        stage = config[name]
        if (stage[steps] is None) == (stage["epochs"] is None):
            yield (
                f"{name}.{steps} is {stage[steps]} and {name}.epochs is {stage['epochs']}, "
                "expected a number for one of them and null for the other"
            )
    for name in ("grrm_sft", "mt_sft"):
        if config[name]["warmup_steps"] and config[name]["warmup_ratio"]:
            yield f"{name}.warmup_steps and {name}.warmup_ratio are both set, expected 0 for one of them"
    for name, _ in _RL_STEPS:
        stage = config[name]
        batch, mini = stage["train_batch_size"], stage["mini_batch_size"]
        if batch % mini:
            yield f"{name}.mini_batch_size is {mini}, expected a divisor of train_batch_size {batch}"
        if mini * stage["rollouts"] % devices:
            yield (
                f"{name}.mini_batch_size {mini} x rollouts {stage['rollouts']} do not spread evenly "
                f"over {devices} devices"
            )
    yield from _wrong_for_device(config, hardware["device"], devices)
    if config["rl_engine"] == "gen_rm_fork" and config["mt_grpo"]["reward"]["placement"] != "colocated":
        yield "mt_grpo.reward.placement is 'dedicated', expected 'colocated' with rl_engine 'gen_rm_fork'"
    bases = [config[f"{name}_sft"]["start_from"] for name in ("grrm", "mt") if _has_sft(config, name)]
    if len({base is None for base in bases}) == 2:
        yield (
            f"grrm_sft.start_from is {bases[0]!r} and mt_sft.start_from is {bases[1]!r}, "
            "expected a model for both or null for both: base models are made in pairs"
        )


_RL_STEPS = (("grrm_rlvr", "steps"), ("mt_grpo", "steps"))


def _has_sft(config: Mapping[str, Any], name: str) -> bool:
    """Whether the SFT stage of `name` is part of the experiment."""
    after = {"grrm": "grrm_rlvr", "mt": "mt_grpo"}[name]
    finished = config["evaluate"]["start_from"]
    later = config[after]["start_from"] or finished[after] or finished[f"{name}_sft"]
    return later is None


def _wrong_for_device(config: Mapping[str, Any], device: str, devices: int) -> Iterator[str]:
    engines = {
        "grrm_rlvr.rollout_engine": config["grrm_rlvr"]["rollout_engine"],
        "mt_grpo.rollout_engine": config["mt_grpo"]["rollout_engine"],
        "mt_grpo.reward.rollout_engine": config["mt_grpo"]["reward"]["rollout_engine"],
    }
    if config["alignment"] is not None:
        grpo = config["alignment"]["grpo"]
        engines["alignment.grpo.rollout_engine"] = grpo["rollout_engine"]
        engines["alignment.grpo.reward.rollout_engine"] = grpo["reward"]["rollout_engine"]
    engine = {"cpu": "transformers", "cuda": "vllm"}[device]
    for key, value in engines.items():
        if value != engine:
            yield f"{key} is {value!r}, expected {engine!r} with hardware.device {device!r}"
    if device == "cuda":
        return
    if devices > 1:
        yield f"hardware.nodes x gpus_per_node is {devices}, expected 1 with hardware.device 'cpu'"
    if config["hardware"]["precision"] != "fp32":
        yield "hardware.precision is 'bf16', expected 'fp32' with hardware.device 'cpu'"
    if config["rl_engine"] != "verl":
        yield f"rl_engine is {config['rl_engine']!r}, expected 'verl' with hardware.device 'cpu'"
    for name in ("grrm_sft", "mt_sft"):
        if config[name]["deepspeed"] is not None:
            yield f"{name}.deepspeed is set, expected null with hardware.device 'cpu'"


def _fill_defaults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> None:
    schema = dereference(schema, root)
    if not isinstance(value, dict):
        return
    for key, part in schema.get("properties", {}).items():
        part = dereference(part, root)
        if key not in value and "default" in part:
            value[key] = copy.deepcopy(part["default"])
        if key in value:
            _fill_defaults(value[key], part, root)


def dereference(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of the schema `root` with what its references point to."""
    while "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        # What stands beside the reference (a default, a description) goes before what it points to.
        schema = {**target, **{key: part for key, part in schema.items() if key != "$ref"}}
    return schema


def _explain(error: Any) -> str:
    path = ".".join(str(part) for part in error.absolute_path)
    where = f"key {path!r}" if path else "top level"
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in known]
        prefix = f"{path}." if path else ""
        return "; ".join(f"unknown key {prefix + key!r}{_suggest(key, known)}" for key in unknown)
    if error.validator == "required":
        return f"{where}: {error.message.split(' is a required')[0]} is missing"
    value = error.validator_value
    allowed = {
        "enum": f"one of {', '.join(map(repr, value))}" if isinstance(value, list) else "",
        "type": f"a value of type {_type_words(value)}",
        "minimum": f"a number of at least {value}",
        "maximum": f"a number of at most {value}",
        "exclusiveMinimum": f"a number above {value}",
        "exclusiveMaximum": f"a number below {value}",
        "pattern": f"text of the form {value}",
    }.get(str(error.validator), str(error.message))
    return f"{where} is {error.instance!r}, expected {allowed}{_number_hint(error)}"


def _number_hint(error: Any) -> str:
    # YAML 1.1 reads 1e-5 as text; the commonest slip in such files deserves its own words.
    if error.validator == "type" and isinstance(error.instance, str) and "number" in error.validator_value:
        try:
            float(error.instance)
        except ValueError:
            return ""
        return f" (YAML reads {error.instance} as text: write {float(error.instance):.1e})"
    return ""


def _type_words(types: Any) -> str:
    return " or ".join(types) if isinstance(types, list) else str(types)


def _suggest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (known here: {', '.join(sorted(known))})" if known else ""
