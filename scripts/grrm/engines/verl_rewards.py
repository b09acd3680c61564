"""verl 0.9.1: how rollouts are rewarded, in a rendered configuration and at a launch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grrm.asking.ledger import spent_in
from grrm.catalogue.rewards import KINDS
from grrm.config import pieces_of, prompt_file
from grrm.config.environment import judge_options
from grrm.config.rewards import asks_endpoint
from grrm.files import UserError

Overrides = dict[str, Any]

JUDGE = "reward.reward_model.model_path"
CODE_BLOCK = "codeblock-think"
"""The form of translations unless their prompt is of another kind."""
DEDICATED = "reward.reward_model.enable_resource_pool"
_SERVER = "reward.reward_model.rollout"
_KWARGS = "+reward.reward_kwargs."
_PART = rf"{re.escape(_KWARGS)}(?:parts\.\w+\.)?"
# What a kind is given, or a part of a mixture; `+reward.reward_kwargs.parts.<name>.` is before its keys.
_PATH_KEYS = re.compile(rf"{_PART}(?:prompt|function|model\.model|judge\.cache)")
_TOKENIZER = re.compile(rf"{_PART}judge\.tokenizer")
_SCORER = re.compile(rf"{_PART}model\.model")
_SCORER_PYTHON = re.compile(rf"{_PART}model\.python")
_PROMPT = re.compile(rf"{_PART}(?:prompt|function)")
_FUNCTION = re.compile(rf"{_PART}function")
_ENDPOINT = re.compile(rf"({_PART}judge\.)max_tokens")
_CALLS = "judge_calls.jsonl"
# How a judge is reached, not what it is: may change from one launch to the next.
_TRANSPORT = re.compile(
    rf"{_PART}judge\.(?:url|max_concurrency|timeout|deadline|retries|requests_per_minute|tokens_per_minute"
    "|cache|tokenizer|replay|prompt_price|completion_price|budget|verbose)"
)


@dataclass(frozen=True)
class PartFiles:
    """Files of a kind, or of a part of a mixture.

    Attributes:
        prompt: the prompt: its file, or file.py:function.
        model: folder of the judge that verl serves, or of a checkpoint that scores.
        python: interpreter that runs the checkpoint; empty is verl's own.
    """

    prompt: str | Path | None = None
    model: Path | None = None
    python: str = ""


_MANAGER = "reward.reward_manager.module.path"
_JUDGING = ("pkg://grrm.rewards.group", "GroupRewardManager")
_SELF_JUDGING = ("pkg://grrm.verl_plugin.self_judging", "SelfJudgingRewardManager")

MOST_HELD = 32_768
"""Rollouts that one reward worker can hold while they wait for their siblings."""


def check_held(settings: Mapping[str, Any], stage: str) -> None:
    """Refuse more rollouts at once than can wait in the one worker where siblings meet.

    Raises:
        UserError: the stage has too many.
    """
    sizes = [("train_batch_size", settings["train_batch_size"], settings["rollouts"])]
    if (validation := settings.get("validation")) is not None:
        sizes.append(("validation.batch_size", validation["batch_size"], validation["rollouts"]))
    for name, batch, rollouts in sizes:
        if batch * rollouts > MOST_HELD:
            raise UserError(
                f"{stage}: {name} {batch} x {rollouts} rollouts are {batch * rollouts} at once, expected at "
                f"most {MOST_HELD}: all wait for their siblings in one reward worker; take a smaller batch"
            )


def is_served(reward: Mapping[str, Any]) -> bool:
    """Whether a model that is given for a section `reward` is a judge that verl serves."""
    return KINDS[reward["kind"]].asks in ("judge", "parts")


def verified_reward(settings: Mapping[str, Any], module: str = "ranking_score") -> Overrides:
    """The reward of a stage that learns from what is annotated; `module` of grrm.rewards scores answers."""
    overrides: Overrides = {
        "reward.num_workers": 1,
        "reward.reward_manager.name": "dapo",
        "reward.custom_reward_function.path": f"pkg://grrm.rewards.{module}",
        "reward.custom_reward_function.name": "compute_score",
    }
    buffer = settings["overlong_buffer"]
    if buffer is not None:
        overrides |= {
            "+reward.reward_kwargs.overlong_buffer_cfg.enable": buffer["enabled"],
            "+reward.reward_kwargs.overlong_buffer_cfg.len": buffer["length"],
            "+reward.reward_kwargs.overlong_buffer_cfg.penalty_factor": buffer["penalty"],
            "+reward.reward_kwargs.overlong_buffer_cfg.log": False,
            "+reward.reward_kwargs.max_resp_len": buffer["max_response_length"],
        }
    return overrides


def group_reward(
    settings: Mapping[str, Any],
    files: PartFiles,
    parts: Mapping[str, PartFiles],
    *,
    task: str,
    form: str,
    seed: int,
) -> Overrides:
    """The reward of a stage whose rollouts are judged group by group.

    Args:
        settings: the stage's section, with a section reward.
        files: those of the kind; of a mixture the model is the one that verl serves.
        parts: those of a mixture's parts, by name.
        task: what the rows hold, translation or conversation.
        form: kind of the prompt in the rows.
        seed: of the order of candidates.

    Raises:
        ValueError: a judge without its prompt, or a checkpoint without its folder.
    """
    reward = settings["reward"]
    entry = KINDS[reward["kind"]]
    shared = (
        "semantics",
        "score_scale",
        "default_reward",
        "overlong_buffer",
        "overlong_penalty",
        "temperature",
        "retries",
        "deadline",
        "max_failure_rate",
    )
    served = files.model is not None and is_served(reward)
    by_policy = reward["placement"] == "policy"
    module, manager = _SELF_JUDGING if by_policy else _JUDGING
    return {
        "reward.num_workers": 1,  # siblings meet in one worker
        "reward.reward_manager.source": "importlib",
        _MANAGER: module,
        "reward.reward_manager.name": manager,
        # Without a function verl takes the judge for a classifier.
        "reward.custom_reward_function.path": "pkg://grrm.rewards.group",
        "reward.custom_reward_function.name": "compute_score",
        **(_served_judge(reward, files.model, seed) if served else {}),
        **_prompt(_KWARGS, reward, files),
        f"{_KWARGS}seed": seed,
        f"{_KWARGS}max_response_length": settings["max_response_length"],
        **{f"{_KWARGS}{name}": reward[name] for name in shared},
        **(_other_kind(reward) if not entry.has_semantics else {}),
        **(_endpoint(_KWARGS, reward) if by_policy or (entry.asks == "judge" and not served) else {}),
        **_checkpoint(_KWARGS, reward, files),
        **_function(_KWARGS, reward),
        **_parts(reward, parts, served=served or by_policy),
        **({f"{_KWARGS}task": task} if task != "translation" else {}),
        **({f"{_KWARGS}form": form} if form != CODE_BLOCK else {}),
        **{
            f"{_KWARGS}{name}": reward[name]
            for name in ("chosen", "tolerant", "empty_reward")
            if name in reward
        },
    }


_GENERAL = ("swap", "scale", "reference")


def _parts(reward: Mapping[str, Any], parts: Mapping[str, PartFiles], *, served: bool) -> Overrides:
    if "parts" not in reward:
        return {}
    overrides: Overrides = {}
    by_verl = _by_verl(reward) if served else None
    for name, piece in pieces_of(reward).items():
        key, entry, files = f"{_KWARGS}parts.{name}.", KINDS[piece["kind"]], parts.get(name, PartFiles())
        overrides |= {
            f"{key}kind": piece["kind"],
            f"{key}weight": piece.get("weight", 1),
            f"{key}normalise": piece["normalise"],
            **_prompt(key, piece, files),
            **({f"{key}{n}": piece[n] for n in _GENERAL} if entry.is_general_judge else {}),
            **(_endpoint(key, piece) if entry.asks == "judge" and name != by_verl else {}),
            **_checkpoint(key, piece, files),
            **_function(key, piece),
            **({f"{key}tolerant": piece["tolerant"]} if "tolerant" in piece else {}),
        }
    return overrides


def _by_verl(reward: Mapping[str, Any]) -> str | None:
    """The part whose judge is the model that verl is given: one that asks no endpoint, else the first."""
    own = {part.get("name", part["kind"]) for part in reward["parts"] if "judge" not in part}
    judged = {
        name: piece
        for name, piece in pieces_of(reward).items()
        if name in own and KINDS[piece["kind"]].asks == "judge"
    }
    served = (name for name, piece in judged.items() if not asks_endpoint(piece))
    return next(served, next(iter(judged), None))


def _prompt(key: str, reward: Mapping[str, Any], files: PartFiles) -> Overrides:
    if KINDS[reward["kind"]].asks == "judge" and files.prompt is None:
        raise ValueError("a judge needs its prompt")
    return {f"{key}prompt": str(files.prompt)} if files.prompt is not None else {}


def _function(key: str, reward: Mapping[str, Any]) -> Overrides:
    return {f"{key}{name}": reward[name] for name in ("function", "range") if name in reward}


def _served_judge(reward: Mapping[str, Any], judge: Path | None, seed: int) -> Overrides:
    server = _SERVER
    dedicated = reward["placement"] == "dedicated"
    return {
        "reward.reward_model.enable": True,
        DEDICATED: dedicated,
        "reward.reward_model.n_gpus_per_node": 1,
        "reward.reward_model.nnodes": 1,
        JUDGE: str(judge),
        f"{server}.tensor_model_parallel_size": 1,
        f"{server}.prompt_length": reward["max_prompt_length"],
        f"{server}.response_length": reward["max_response_length"],
        f"{server}.top_p": 1.0,
        f"{server}.top_k": -1,
        f"{server}.seed": seed,
        # In a pool of its own the judge is never woken again, so it must not sleep.
        f"{server}.free_cache_engine": not dedicated,
    }


def _other_kind(reward: Mapping[str, Any]) -> Overrides:
    return {f"+reward.reward_kwargs.{name}": reward[name] for name in ("kind", *_GENERAL)}


def _endpoint(key: str, reward: Mapping[str, Any]) -> Overrides:
    """A judge that is asked over HTTP; what is null is left to the client, or to the environment."""
    options = {
        **reward["judge"],
        "temperature": reward["temperature"],
        "top_p": reward["top_p"],
        "max_tokens": reward["max_response_length"],
    }
    named = {name: value for name, value in options.items() if value is not None}
    return {f"{key}kind": reward["kind"], **{f"{key}judge.{name}": value for name, value in named.items()}}


def _checkpoint(key: str, reward: Mapping[str, Any], files: PartFiles) -> Overrides:
    if KINDS[reward["kind"]].asks != "checkpoint":
        return {}
    if files.model is None:
        raise ValueError(f"kind {reward['kind']} needs the folder of its checkpoint")
    return {
        f"{key}model.model": str(files.model),
        f"{key}model.device": reward["device"],
        **({f"{key}model.python": files.python} if files.python else {}),
    }


# ---------------------------------------------------------------- what a rendered configuration says


def judges_over_http(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Options of each client of a judge over HTTP that is not served by verl, nor the policy itself."""
    if config.get(_MANAGER) == _SELF_JUDGING[0]:
        return []
    prefixes = [match[1] for key in config if (match := _ENDPOINT.fullmatch(key))]
    return [
        {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}
        for prefix in prefixes
    ]


def transport(config: Mapping[str, Any]) -> set[str]:
    """Keys that say how judges are reached: they are no part of a training's identity."""
    return {key for key in config if _TRANSPORT.fullmatch(key)}


def scoring_files(config: Mapping[str, Any]) -> list[Path]:
    """What scores rollouts, besides a judge that verl serves: the files of prompts and functions, the folders
    of checkpoints and, if they lie deeper, their weights."""
    files = [Path(str(prompt_file(str(config[key])))) for key in config if _PROMPT.fullmatch(key)]
    for key in config:
        if _SCORER.fullmatch(key):
            folder = Path(config[key])
            files += [folder, *sorted(folder.glob("checkpoints/*.ckpt"))]
    return files


def has_functions(config: Mapping[str, Any]) -> bool:
    """Whether functions of the user's own score rollouts."""
    return any(_FUNCTION.fullmatch(key) for key in config)


def judge_lengths(config: Mapping[str, Any]) -> list[str] | None:
    """Arguments of `grrm.rewards.try_lengths`; None unless verl serves a judge of whole groups."""
    if JUDGE not in config or f"{_KWARGS}semantics" not in config or f"{_KWARGS}kind" in config:
        return None
    longest, rollouts = config[f"{_SERVER}.prompt_length"], config["actor_rollout_ref.rollout.n"]
    return ["--judge", str(config[JUDGE]), "--longest", str(longest), "--rollouts", str(rollouts)]


def reward_kwargs(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a rendered configuration's reward manager, nested as it gets them."""
    options: dict[str, Any] = {}
    for key, value in config.items():
        if key.startswith(_KWARGS):
            *sections, name = key.removeprefix(_KWARGS).split(".")
            place = options
            for section in sections:
                place = place.setdefault(section, {})
            place[name] = value
    return options


def launch(config: Mapping[str, Any], ledger: Path) -> Overrides:
    """What one launch adds: paths from the root, and the files for groups and calls.

    Args:
        config: the rendered configuration.
        ledger: file for judged groups; calls of a judge over HTTP are noted beside it, in judge_calls.jsonl.
    """
    paths = [key for key in config if key == JUDGE or _PATH_KEYS.fullmatch(key)]
    paths += [key for key in config if _TOKENIZER.fullmatch(key) and Path(config[key]).is_dir()]
    overrides: Overrides = {key: str(Path(config[key]).absolute()) for key in paths}
    overrides |= {key: _program(config[key]) for key in config if _SCORER_PYTHON.fullmatch(key)}
    if f"{_KWARGS}semantics" in config:
        overrides[f"{_KWARGS}ledger"] = str(ledger.absolute())
    clients = [match[1] for key in config if (match := _ENDPOINT.fullmatch(key))]
    if JUDGE in config and f"{_KWARGS}kind" in config:
        clients.append(f"{_KWARGS}judge.")
    calls = str(ledger.with_name(_CALLS).absolute())
    overrides |= {f"{client}ledger": calls for client in clients}
    # A budget is that of the training, not of a launch.
    before = sorted(set(ledger.parent.parent.glob(f"*/{_CALLS}")) - {ledger.with_name(_CALLS)})
    budgets = [client for client in clients if config.get(f"{client}budget") is not None]
    named = judge_options(os.environ)  # comes before the configuration
    models = {client: str(named.get("model", config.get(f"{client}model"))) for client in budgets}
    return overrides | {f"{client}spent": spent_in(before, model).cost for client, model in models.items()}


def _program(name: str) -> str:
    """A program as workers in another folder find it: a bare name is looked up on the path."""
    return str(Path(name).absolute()) if os.sep in name else name
