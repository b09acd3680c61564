"""The workflow's configuration: checked against its schema, defaults filled in.

Imported while the Snakefile is parsed, so nothing heavier than PyYAML and jsonschema is imported here.
"""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema
import yaml

from grrm.files import UserError, parse_yaml
from grrm.reward_config import apply_environment, contradictions
from grrm.urls import secret_in


def resolve(config: Mapping[str, Any], schema_path: str | Path) -> dict[str, Any]:
    """A checked copy of `config` with the schema's defaults filled in.

    Raises:
        UserError: a key is unknown or missing, or a value is not allowed; the message gives the
            key's path, the value and what is allowed.
    """
    schema = parse_yaml(Path(schema_path).read_text(encoding="utf-8"))
    filled = copy.deepcopy(dict(config))
    _fill_defaults(filled, schema, schema)
    resolved: dict[str, Any] = _typed(filled, schema, schema)
    validator = jsonschema.Draft202012Validator(schema)
    problems = [_explain(error) for error in validator.iter_errors(resolved)]
    if problems:
        raise UserError("configuration: " + "; ".join(sorted(set(problems))))
    return resolved


STAGES = ("grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo")
# Models that a stage needs: what it starts from, and its judge.
NEEDS = {"grrm_sft": (), "grrm_rlvr": ("grrm_sft",), "mt_sft": (), "mt_grpo": ("mt_sft", "grrm_rlvr")}


def load_experiment(
    folder: str | Path, overlays: Iterable[str | Path] = (), changes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The configuration as the workflow reads it, with other files laid over config/config.yaml in order.

    Args:
        folder: that of the workflow.
        overlays: files, as after --configfile.
        changes: keys laid over them, as after --config.

    Raises:
        UserError: a file is missing or not YAML; or see `resolve_experiment`.
    """
    config: dict[str, Any] = {}
    own = (Path(folder) / "config/config.yaml", Path(folder) / "config/cluster.yaml")
    for path in (*own, *overlays):
        try:
            layer = parse_yaml(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        except yaml.YAMLError as error:
            raise UserError(f"{path}: not valid YAML ({error})") from error
        if not isinstance(layer, dict):
            raise UserError(f"{path}: expected keys and values, found {type(layer).__name__}")
        _lay_over(config, layer)
    _lay_over(config, changes or {})
    return resolve_experiment(config, Path(folder) / "config/schemas/config.schema.yaml")


def _lay_over(config: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping):
            below = config.get(key)
            config[key] = dict(below) if isinstance(below, Mapping) else {}
            _lay_over(config[key], value)
        else:
            config[key] = value


JUDGES = ("sft", "pointwise", "pairwise", "bradley_terry")


def with_environment(config: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The configuration, in which variables of the published scripts go before keys of judges and alignment.

    MODEL_PATH: the model that every judge starts from, and the policy unless ACTOR_MODEL_PATH names its own;
    N_GPUS_PER_NODE: GPUs of each machine, over which vLLM is spread, and N_NODES: machines, while every batch
    stays as it is; TRAIN_BATCH_SIZE: rows a step; RAY_ADDRESS: a Ray cluster that is there;
    N_SAMPLES_PER_PROMPT, TRAIN_DATA and VAL_DATA: rollouts and rows of the alignment. What was read is kept
    in `judges.environment` and `alignment.environment`. Without these sections, and where a variable is
    empty, nothing changes.

    Args:
        config: with its defaults, see `resolve`.
        environment: the environment.

    Raises:
        UserError: a number is none, or a batch does not spread evenly over the devices.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(config))
    judges, alignment = changed["judges"] or {}, changed["alignment"] or {}
    read = {name: environment[name].strip() for name in _VARIABLES if environment.get(name, "").strip()}
    if (judges or alignment) and (secret := secret_in(read.get("RAY_ADDRESS", ""))):
        raise UserError(
            f"RAY_ADDRESS holds {secret}, expected none, as it is kept with the configuration: let a proxy "
            "or Ray's own authentication guard the cluster"
        )
    if judges:
        judges["environment"] = {name: value for name, value in read.items() if name not in _ALIGNMENT_ONLY}
        for name in JUDGES:
            judges[name]["start_from"] = read.get("MODEL_PATH", judges[name]["start_from"])
    if alignment:
        unread = "MODEL_PATH" if "ACTOR_MODEL_PATH" in read else None
        alignment["environment"] = {name: value for name, value in read.items() if name != unread}
        for name in ("MODEL_PATH", "ACTOR_MODEL_PATH"):
            alignment["grpo"]["start_from"] = read.get(name, alignment["grpo"]["start_from"])
        for name, key in (("TRAIN_DATA", "train"), ("VAL_DATA", "validation")):
            alignment["data"][key] = read.get(name, alignment["data"][key])
        if "N_SAMPLES_PER_PROMPT" in read:
            alignment["grpo"]["rollouts"] = _count(read, "N_SAMPLES_PER_PROMPT", least=2)
    if read.keys() & _MACHINES.keys() and (judges or alignment):
        _use_machines(changed, {name: _count(read, name) for name in _MACHINES if name in read})
    if "TRAIN_BATCH_SIZE" in read:
        rows = _count(read, "TRAIN_BATCH_SIZE")
        for _, stage, _ in _judged_stages(changed):
            stage |= {
                "train_batch_size": rows,
                "mini_batch_size": math.gcd(rows, stage["mini_batch_size"]),
            }
        for name in ("sft", "bradley_terry") if judges else ():
            _spread(judges[name], rows, _devices(changed), f"TRAIN_BATCH_SIZE is {rows}: judges.{name}")
    return changed


# Of the published scripts' variables, those that stand for a key (docs/judges.md says why others do not).
_MACHINES = {"N_NODES": "nodes", "N_GPUS_PER_NODE": "gpus_per_node"}
_ALIGNMENT_ONLY = ("ACTOR_MODEL_PATH", "N_SAMPLES_PER_PROMPT", "TRAIN_DATA", "VAL_DATA")
_VARIABLES = ("MODEL_PATH", *_ALIGNMENT_ONLY, *_MACHINES, "TRAIN_BATCH_SIZE", "RAY_ADDRESS")


def _count(variables: Mapping[str, str], name: str, least: int = 1) -> int:
    if not variables[name].isdecimal() or int(variables[name]) < least:
        raise UserError(
            f"{name} is {variables[name]!r} in the environment, expected a whole number from {least}"
        )
    return int(variables[name])


def _devices(config: Mapping[str, Any]) -> int:
    return int(config["hardware"]["nodes"] * config["hardware"]["gpus_per_node"])


def _use_machines(config: dict[str, Any], read: Mapping[str, int]) -> None:
    """Other machines, or GPUs of each; the rows of a step are what was published, not those of a device."""
    before = _devices(config)
    config["hardware"] |= {_MACHINES[name]: count for name, count in read.items()}
    named = ", ".join(f"{name} is {count}" for name, count in read.items())
    for name, stage, _ in _sft_stages(config):
        rows = stage["batch_size"] * stage["gradient_accumulation"] * before
        _spread(stage, rows, _devices(config), f"{named}: {name}")
    for _, stage, _ in _judged_stages(config):
        stage["tensor_parallel"] = read.get("N_GPUS_PER_NODE", stage["tensor_parallel"])


def _spread(stage: dict[str, Any], rows: int, devices: int, what: str) -> None:
    """Put a step of so many rows together from equal forward passes, as large as the stage's are at most."""
    share, rest = divmod(rows, devices)
    if rest:
        raise UserError(f"{what} cannot spread {rows} rows a step evenly over {devices} devices")
    fits = max(size for size in range(1, stage["batch_size"] + 1) if share % size == 0)
    stage |= {"batch_size": fits, "gradient_accumulation": share // fits}


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


def resolve_experiment(
    config: Mapping[str, Any], schema_path: str | Path, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """As `resolve`, for an experiment: relations between keys are checked as well.

    Args:
        config: as it was read.
        schema_path: the schema.
        environment: variables that go before it (`with_environment`, and about judges that reward
            `grrm.reward_config.apply_environment`).

    Raises:
        UserError: see `resolve`; a variable cannot be used; or two keys contradict each other.
    """
    resolved = with_environment(resolve(config, schema_path), environment or {})
    apply_environment(resolved, environment or {})
    if problems := [*_contradictions(resolved), *contradictions(resolved)]:
        raise UserError("configuration: " + "; ".join(problems))
    return resolved


def _contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    yield from _missing_metric_models(config["evaluate"])
    yield from _secrets_in_addresses(config["evaluate"])
    yield from _unkept_checkpoints(config)
    hardware = config["hardware"]
    devices = hardware["nodes"] * hardware["gpus_per_node"]
    for name, stage, steps in [*_sft_stages(config), *_rl_stages(config)]:
        if (stage[steps] is None) == (stage["epochs"] is None):
            yield (
                f"{name}.{steps} is {_shown(stage[steps])} and {name}.epochs is {_shown(stage['epochs'])}, "
                "expected a number for one of them and null for the other"
            )
    for name in ("grrm_sft", "mt_sft"):
        if config[name]["warmup_steps"] and config[name]["warmup_ratio"]:
            yield f"{name}.warmup_steps and {name}.warmup_ratio are both set, expected 0 for one of them"
    for name, stage, _ in _rl_stages(config):
        batch, mini = stage["train_batch_size"], stage["mini_batch_size"]
        if batch % mini:
            yield f"{name}.mini_batch_size is {mini}, expected a divisor of train_batch_size {batch}"
        if mini * stage["rollouts"] % devices:
            yield (
                f"{name}.mini_batch_size {mini} x rollouts {stage['rollouts']} do not spread evenly "
                f"over {devices} devices"
            )
    if judges := config["judges"]:
        yield from _inconsistent_pairs(judges["pairwise"])
        if hardware["nodes"] > 1:
            yield f"hardware.nodes is {hardware['nodes']}, expected 1 with judges: TRL trains on one machine"
    yield from _wrong_for_device(config, hardware["device"])
    if config["rl_engine"] == "gen_rm_fork":
        yield from _wrong_for_fork(config)
    bases = [config[f"{name}_sft"]["start_from"] for name in ("grrm", "mt") if _has_sft(config, name)]
    if len({base is None for base in bases}) == 2:
        yield (
            f"grrm_sft.start_from is {bases[0]!r} and mt_sft.start_from is {bases[1]!r}, "
            "expected a model for both or null for both: base models are made in pairs"
        )


def _missing_metric_models(evaluate: Mapping[str, Any]) -> Iterator[str]:
    """COMET and BLEURT can be trained on the spot, the others cannot."""
    for name, key in (
        ("cometkiwi", "start_from"),
        ("xcomet", "start_from"),
        ("metricx", "start_from"),
        ("metricx", "tokenizer"),
        ("llm_judge", "model"),
    ):
        if name in evaluate["metrics"] and evaluate[name][key] is None:
            yield f"evaluate.{name}.{key} is null, expected a value with {name!r} in evaluate.metrics"


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


def _secrets_in_addresses(evaluate: Mapping[str, Any]) -> Iterator[str]:
    """The configuration is written to disk, and its addresses into commands."""
    for key, url, variable in (
        ("base_url", evaluate["base_url"], "OPENAI_API_KEY"),
        ("llm_judge.url", evaluate["llm_judge"]["url"], "JUDGE_API_KEY"),
    ):
        if url is not None and (secret := secret_in(url)):
            yield f"evaluate.{key} holds {secret}, expected none; put the key into {variable} instead"


def kept_checkpoints(config: Mapping[str, Any]) -> list[int]:
    """Steps of mt_grpo before its last whose models are kept and evaluated; none if it is not run."""
    stage, wanted = config["mt_grpo"], config["evaluate"]["checkpoints"]
    if "mt_grpo" not in trained_stages(config):
        return []
    if wanted == "all":
        return list(range(stage["save_steps"], stage["steps"], stage["save_steps"]))
    return sorted(wanted)


def _unkept_checkpoints(config: Mapping[str, Any]) -> Iterator[str]:
    """Steps after which there is no checkpoint, or only the finished model."""
    stage, wanted = config["mt_grpo"], config["evaluate"]["checkpoints"]
    if wanted == "all":
        if stage["steps"] is None:
            yield "evaluate.checkpoints is 'all' and mt_grpo.steps is null, expected a list of steps"
        return
    for step in wanted:
        if step % stage["save_steps"]:
            expected = f"multiples of mt_grpo.save_steps, {stage['save_steps']}"
            yield f"evaluate.checkpoints has {step}, expected {expected}"
        elif stage["steps"] is not None and step >= stage["steps"]:
            yield f"evaluate.checkpoints has {step}, expected steps before the last, {stage['steps']}"


# A stage's name, its section, and the key of its number of steps.
Stage: TypeAlias = tuple[str, dict[str, Any], str]


def _sft_stages(config: Mapping[str, Any]) -> list[Stage]:
    stages: list[Stage] = [(name, config[name], "max_steps") for name in ("grrm_sft", "mt_sft")]
    if judges := config["judges"]:
        stages += [(f"judges.{name}", judges[name], "max_steps") for name in ("sft", "bradley_terry")]
    if alignment := config["alignment"]:
        names = [name for name in ("policy_sft", "judge_sft") if name in alignment]
        stages += [(f"alignment.{name}", alignment[name], "max_steps") for name in names]
    return stages


def _rl_stages(config: Mapping[str, Any]) -> list[Stage]:
    own: list[Stage] = [(name, config[name], "steps") for name in ("grrm_rlvr", "mt_grpo")]
    return own + _judged_stages(config)


def _judged_stages(config: Mapping[str, Any]) -> list[Stage]:
    """Reinforcement learning of judges, and against them."""
    stages: list[Stage] = []
    if judges := config["judges"]:
        stages += [(f"judges.{name}", judges[name], "steps") for name in ("pointwise", "pairwise")]
    if alignment := config["alignment"]:
        stages.append(("alignment.grpo", alignment["grpo"], "steps"))
    return stages


def _inconsistent_pairs(stage: Mapping[str, Any]) -> Iterator[str]:
    """Both orders of a pair can only be compared if they are in one step."""
    if stage["consistency"] == 0:
        return
    for key, wrong, expected in (
        ("both_orders", not stage["both_orders"], "true"),
        ("filter_overlong_prompts", stage["filter_overlong_prompts"], "false"),
        ("train_batch_size", stage["train_batch_size"] % 2, "an even number"),
    ):
        if wrong:
            yield (
                f"judges.pairwise.{key} is {stage[key]}, expected {expected} where "
                "judges.pairwise.consistency is above 0: both orders of a pair share a step"
            )


def _has_sft(config: Mapping[str, Any], name: str) -> bool:
    """Whether the SFT stage of `name` is part of the experiment."""
    after = {"grrm": "grrm_rlvr", "mt": "mt_grpo"}[name]
    finished = config["evaluate"]["start_from"]
    later = config[after]["start_from"] or finished[after] or finished[f"{name}_sft"]
    return later is None


def _wrong_for_device(config: Mapping[str, Any], device: str) -> Iterator[str]:
    engines = {f"{name}.rollout_engine": stage["rollout_engine"] for name, stage, _ in _rl_stages(config)}
    engines["mt_grpo.reward.rollout_engine"] = config["mt_grpo"]["reward"]["rollout_engine"]
    if config["alignment"] is not None:
        engines["alignment.grpo.reward.rollout_engine"] = config["alignment"]["grpo"]["reward"][
            "rollout_engine"
        ]
    engine = {"cpu": "transformers", "cuda": "vllm"}[device]
    evaluate = config["evaluate"]
    if evaluate["backend"] == "vllm" and device == "cpu":
        yield "evaluate.backend is 'vllm', expected another with hardware.device 'cpu'"
    if evaluate["backend"] == "openai" and not evaluate["base_url"]:
        yield "evaluate.base_url is null, expected the address of a server with evaluate.backend 'openai'"
    for key, value in engines.items():
        if value != engine:
            yield f"{key} is {value!r}, expected {engine!r} with hardware.device {device!r}"
    if device == "cuda":
        return
    if (processes := config["hardware"]["gpus_per_node"]) > 1:
        yield f"hardware.gpus_per_node is {processes}, expected 1 with hardware.device 'cpu'"
    if config["hardware"]["precision"] != "fp32":
        yield "hardware.precision is 'bf16', expected 'fp32' with hardware.device 'cpu'"
    if config["rl_engine"] != "verl":
        yield f"rl_engine is {config['rl_engine']!r}, expected 'verl' with hardware.device 'cpu'"
    for name, stage, _ in _sft_stages(config):
        if stage["deepspeed"] is not None:
            yield f"{name}.deepspeed is set, expected null with hardware.device 'cpu'"


_FORK = "with rl_engine 'gen_rm_fork'"
# What the fork's group reward does, and has no key for.
_FORK_REWARD: dict[str, tuple[Any, str]] = {
    "placement": ("colocated", "its judge shares the policy's GPUs"),
    "prompt": (None, "it asks the judge in the authors' own words"),
    "semantics": ("paper", "its reward is the published one"),
    "retries": (0, "it asks the judge once"),
    "max_failure_rate": (1, "it does not count failures"),
}


def _wrong_for_fork(config: Mapping[str, Any]) -> Iterator[str]:
    """Settings that the fork's trainer would pass over without a word."""
    trained = trained_stages(config)
    for name in ("grrm_rlvr", "mt_grpo"):
        attention = config[name]["attention"]
        if name in trained and attention != "flash_attention_2":
            yield f"{name}.attention is {attention!r}, expected 'flash_attention_2' {_FORK}"
    if "mt_grpo" not in trained:
        return
    reward = config["mt_grpo"]["reward"]
    for key, (expected, why) in _FORK_REWARD.items():
        if reward[key] != expected:
            yield (
                f"mt_grpo.reward.{key} is {_shown(reward[key])}, expected {_shown(expected)} {_FORK}: {why}"
            )
    taken = reward["model"] or config["evaluate"]["start_from"]["grrm_rlvr"]
    if config["prompts"]["ranking"] != "upstream" and not taken:
        yield (
            f"prompts.ranking is {config['prompts']['ranking']!r}, expected 'upstream' {_FORK} "
            "(config/paper_fork.yaml), or a judge that was trained on the authors' own words "
            "(evaluate.start_from.grrm_rlvr): in these the fork asks it"
        )


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


_TYPES: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def _typed(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """`value` with text read as the number or null that the schema wants.

    `snakemake --config 'hardware={nodes: 1}'` hands on every value within braces as text.
    """
    schema = dereference(schema, root)
    if isinstance(value, dict):
        others = schema.get("additionalProperties")
        parts = {key: schema.get("properties", {}).get(key, others) for key in value}
        return {
            key: _typed(part, parts[key], root) if isinstance(parts[key], Mapping) else part
            for key, part in value.items()
        }
    allowed = schema.get("type", [])
    names = [allowed] if isinstance(allowed, str) else allowed
    if not isinstance(value, str) or names == ["string"]:
        return value
    try:
        read = parse_yaml(value)
    except yaml.YAMLError:
        return value
    wanted = [kind for name in names for kind in _TYPES.get(name, ())]
    # Not isinstance: True is an int.
    return read if type(read) in wanted else value


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
        "minLength": "some text",
        "minItems": f"at least {value} of them",
        "uniqueItems": "each of them once",
    }.get(str(error.validator), str(error.message))
    return f"{where} is {_shown(error.instance)}, expected {allowed}{_number_hint(error)}"


def _shown(value: Any) -> str:
    """A value as it is written in YAML."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


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
    names = types if isinstance(types, list) else [types]
    return " or ".join("object (keys and values)" if name == "object" else str(name) for name in names)


def _suggest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (known here: {', '.join(sorted(known))})" if known else ""
