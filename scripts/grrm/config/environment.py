"""Variables of the published scripts: one table, laid over the configuration before the schema looks.

RM-Gallery's and OpenJudge's documents name them. Programs without a configuration, which ask a judge
(`grrm serve-reward`, `compute_score`), read the same table.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from grrm.catalogue.metrics import metrics_of
from grrm.catalogue.rewards import EVAL_MODES, PAIRWISE_MODES
from grrm.catalogue.trainings import of_part
from grrm.config.rewards import asks_endpoint, compared_rewards, family
from grrm.config.stages import devices_of, judged_stages, sft_stages
from grrm.files import UserError, is_text
from grrm.urls import secret_in

_TRUTH = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def _whole(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise ValueError
    return int(text)


def _number(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError
    return number


def _truth(text: str) -> bool:
    try:
        return _TRUTH[text.lower()]
    except KeyError as error:
        raise ValueError from error


_READERS: dict[str, Callable[[str], Any]] = {
    "text": str,
    "a whole number": _whole,
    "a number": _number,
    "true or false": _truth,
}


@dataclass(frozen=True)
class Variable:
    """A variable of the environment, which goes before keys of the configuration.

    Attributes:
        name: its own.
        reads: what its text has to be (`_READERS`), or the words that it may be.
        keys: keys that it stands for; of a section that is not there, nothing is set.
        parts: sections that record it (`judges.environment`); without any of them nothing changes. Empty for
            a variable about a judge that rewards.
        reward: the key of a section `reward` that it stands for: that of the alignment, and that of the
            translation model where it asks an endpoint.
        option: the option of a program that asks a judge (`JudgeOptions`).
        guard: what to do instead of writing a secret into it; it is kept with the configuration.
    """

    name: str
    reads: str | Sequence[str] = "text"
    keys: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    reward: str = ""
    option: str = ""
    guard: str = ""

    def read(self, environment: Mapping[str, str]) -> Any:
        """Its value; None where it is not set, or empty.

        Raises:
            UserError: it is of another sort.
        """
        text = environment.get(self.name, "").strip()
        if not text:
            return None
        if not is_text(text):
            raise UserError(f"{self.name} is {text!r} in the environment, expected text in UTF-8")
        if not isinstance(self.reads, str):
            if text in self.reads:
                return text
            expected = ", ".join(self.reads)
        else:
            try:
                return _READERS[self.reads](text)
            except ValueError:
                expected = self.reads
        raise UserError(
            f"{self.name} is {text!r} in the environment, expected {expected}; correct or unset it"
        )


_BOTH = ("judges", "alignment")
_ALIGNMENT = ("alignment",)
_POLICY = "alignment.grpo"

# What docs/judges.md and docs/rewards.md say about them is tested against this table.
VARIABLES = (
    Variable(
        "MODEL_PATH",
        keys=(*(f"{row.section}.start_from" for row in of_part("judges")), f"{_POLICY}.start_from"),
        parts=_BOTH,
    ),
    Variable("ACTOR_MODEL_PATH", keys=(f"{_POLICY}.start_from",), parts=_ALIGNMENT),
    Variable("N_SAMPLES_PER_PROMPT", "a whole number", keys=(f"{_POLICY}.rollouts",), parts=_ALIGNMENT),
    Variable("TRAIN_DATA", keys=("alignment.data.train",), parts=_ALIGNMENT),
    Variable("VAL_DATA", keys=("alignment.data.validation",), parts=_ALIGNMENT),
    Variable("N_NODES", "a whole number", keys=("hardware.nodes",), parts=_BOTH),
    Variable("N_GPUS_PER_NODE", "a whole number", keys=("hardware.gpus_per_node",), parts=_BOTH),
    Variable(
        "TRAIN_BATCH_SIZE",
        "a whole number",
        keys=tuple(
            f"{row.section}.train_batch_size" for part in _BOTH for row in of_part(part) if row.engine == "rl"
        ),
        parts=_BOTH,
    ),
    Variable(
        "RAY_ADDRESS", parts=_BOTH, guard="let a proxy or Ray's own authentication guard the cluster instead"
    ),
    Variable(
        "JUDGE_API_URL", reward="judge.url", option="url", guard="put the key into JUDGE_API_KEY instead"
    ),
    Variable("JUDGE_MODEL_NAME", reward="judge.model", option="model"),
    Variable("MAX_WORKERS", "a whole number", reward="judge.max_concurrency", option="max_concurrency"),
    Variable("LLM_TIMEOUT", "a number", reward="judge.timeout", option="timeout"),
    Variable("MAX_RETRIES", "a whole number", reward="judge.retries", option="retries"),
    Variable("VERBOSE", "true or false", reward="judge.verbose", option="verbose"),
    Variable("TEMPERATURE", "a number", reward="temperature", option="temperature"),
    Variable("MAX_TOKENS", "a whole number", reward="max_response_length", option="max_tokens"),
    Variable("EVAL_MODE", EVAL_MODES, reward="kind"),
    Variable("PAIRWISE_MODE", PAIRWISE_MODES, reward="kind"),
)
_MODES = [variable for variable in VARIABLES if variable.reward == "kind"]

Origins: TypeAlias = dict[tuple[str, ...], tuple[str, str]]
"""Variable, and its text, that stands for a key, by the path of the key."""


def lay_environment(
    config: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[dict[str, Any], Origins]:
    """The configuration with the variables laid over it, and where its values came from.

    Variables about a judge that rewards are for the policy's alignment, which asks the endpoint if
    JUDGE_API_URL is set, and for the translation model's reward where it asks an endpoint. The API key stays
    in the environment. What else was read is kept in `judges.environment` and `alignment.environment`.

    Args:
        config: with its defaults, see `resolve`.
        environment: the environment.

    Raises:
        UserError: a text is of another sort than its variable, or holds a secret; the message names the
            variable.
    """
    laid: dict[str, Any] = copy.deepcopy(dict(config))
    origins: Origins = {}
    parts = [part for part in _BOTH if laid[part]]
    for variable in VARIABLES:
        if set(variable.parts) & set(parts):
            for key in variable.keys or ("",):
                _lay(laid, key, variable, environment, origins)
    for part in parts:
        laid[part]["environment"] = _recorded(part, environment, origins)
    if any(map(asks_endpoint, compared_rewards(laid))):
        _lay_reward(laid, "mt_grpo.reward", environment, origins)
    if "alignment" in parts:
        reward = laid["alignment"]["grpo"]["reward"]
        kind = kind_of_modes(reward["kind"], environment)
        if family(kind) != family(reward["kind"]):
            reward["prompt"] = None  # it asks for another verdict
        reward["kind"] = kind
        _lay_reward(laid, "alignment.grpo.reward", environment, origins)
        if ("alignment", "grpo", "reward", "judge", "url") in origins:
            reward["model"] = None
    return laid, origins


def lay_for_evaluation(
    config: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[dict[str, Any], Origins]:
    """What the environment says about judges that evaluate, laid over keys of its sort: to be checked alone.

    They read what their section leaves open while they score, hours later.

    Raises:
        UserError: a text is of another sort than its variable.
    """
    laid: dict[str, Any] = copy.deepcopy(dict(config))
    origins: Origins = {}
    for settings in (metric.settings(config) for metric in metrics_of(config)):
        for variable in VARIABLES:
            if "url" in settings and variable.option and settings.get(variable.option) is None:
                kept_nowhere = replace(variable, guard="")
                _lay(laid, f"mt_grpo.reward.{variable.reward}", kept_nowhere, environment, origins)
    return laid, origins


def _lay_reward(config: dict[str, Any], where: str, environment: Mapping[str, str], origins: Origins) -> None:
    for variable in VARIABLES:
        if variable.option:
            _lay(config, f"{where}.{variable.reward}", variable, environment, origins)


def _lay(
    config: dict[str, Any], key: str, variable: Variable, environment: Mapping[str, str], origins: Origins
) -> None:
    value = variable.read(environment)
    if value is None:
        return
    if variable.guard and (secret := secret_in(value)):
        raise UserError(
            f"{variable.name} holds {secret}, expected none, as it is kept with the configuration: "
            f"{variable.guard}"
        )
    *parents, last = path = key.split(".")
    if not parents or config[parents[0]] is None:
        return
    section = config
    for parent in parents:
        section = section[parent]
    section[last] = value
    origins[*path] = variable.name, environment[variable.name].strip()


def _recorded(part: str, environment: Mapping[str, str], origins: Origins) -> dict[str, str]:
    """The variables that were read for a section; not those that a later one stands before."""
    used = {(path[0], name) for path, (name, _) in origins.items()}
    return {
        variable.name: text
        for variable in VARIABLES
        if part in variable.parts and (text := environment.get(variable.name, "").strip())
        if (part, variable.name) in used or not any(key.startswith(f"{part}.") for key in variable.keys)
    }


def spread_rows(config: dict[str, Any], origins: Origins, before: Mapping[str, Any]) -> None:
    """Let stages follow the machines and the rows a step that came from the environment.

    With other machines the rows of a step stay what they were, and vLLM is spread over the GPUs of each (over
    a divisor of both, where it was over a part of them). With other rows a step, SFT puts them together from
    equal forward passes, GRPO from updates of a size that divides them.

    Args:
        config: with the environment laid over it; is changed.
        origins: see `lay_environment`.
        before: the section hardware without the environment.

    Raises:
        UserError: a batch does not spread evenly over the devices.
    """
    devices, gpus = devices_of(config), config["hardware"]["gpus_per_node"]
    devices_before = devices_of({"hardware": before})
    if machines := [origins[path] for path in origins if path[0] == "hardware"]:
        named = ", ".join(f"{name} is {int(text)}" for name, text in machines)
        for name, stage, _ in sft_stages(config):
            rows = stage["batch_size"] * stage["gradient_accumulation"] * devices_before
            _spread(stage, rows, devices, f"{named}: {name}")
    for name, stage, _ in judged_stages(config):
        if ("hardware", "gpus_per_node") in origins:
            spread = stage["tensor_parallel"]
            stage["tensor_parallel"] = gpus if spread == before["gpus_per_node"] else math.gcd(spread, gpus)
        if (*name.split("."), "train_batch_size") in origins:
            stage["mini_batch_size"] = math.gcd(stage["train_batch_size"], stage["mini_batch_size"])
    if rows := next((int(text) for name, text in origins.values() if name == "TRAIN_BATCH_SIZE"), 0):
        for name, stage, _ in sft_stages(config):
            if name.startswith("judges."):
                _spread(stage, rows, devices, f"TRAIN_BATCH_SIZE is {rows}: {name}")


def _spread(stage: dict[str, Any], rows: int, devices: int, what: str) -> None:
    """Put a step of so many rows together from equal forward passes, as large as the stage's are at most."""
    share, rest = divmod(rows, devices)
    if rest:
        raise UserError(f"{what} cannot spread {rows} rows a step evenly over {devices} devices")
    fits = max(size for size in range(1, stage["batch_size"] + 1) if share % size == 0)
    stage |= {"batch_size": fits, "gradient_accumulation": share // fits}


def judge_options(environment: Mapping[str, str]) -> dict[str, Any]:
    """What the environment says about a judge that is asked, by the names of `JudgeOptions`.

    Raises:
        UserError: a text is of another sort than its variable; the message names it.
    """
    read = {variable.option: variable.read(environment) for variable in VARIABLES if variable.option}
    return {option: value for option, value in read.items() if value is not None}


def variable_of(option: str) -> str:
    """The variable that stands for an option of `JudgeOptions`."""
    return next(variable.name for variable in VARIABLES if variable.option == option)


def without_variables_of(options: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the variables that stand for these options of `JudgeOptions`."""
    left_out = {variable.name for variable in VARIABLES if variable.option in set(options) - {""}}
    return {name: text for name, text in environment.items() if name not in left_out}


def kind_of_modes(kind: str, environment: Mapping[str, str]) -> str:
    """The kind of reward that EVAL_MODE and PAIRWISE_MODE in the environment make of another one.

    Raises:
        UserError: one of them is no mode.
    """
    mode, pairwise = (variable.read(environment) for variable in _MODES)
    if mode and mode != "pairwise":
        return str(mode)
    if pairwise and (mode or family(kind) == "pairwise"):
        return f"pairwise_{pairwise}"
    return "pairwise_dgr" if mode and family(kind) != "pairwise" else kind


def kind_of_environment(environment: Mapping[str, str]) -> str | None:
    """The kind of reward that EVAL_MODE and PAIRWISE_MODE name, pairwise DGR unless they say more; None
    without them.

    Raises:
        UserError: see `kind_of_modes`.
    """
    named = any(variable.read(environment) for variable in _MODES)
    return kind_of_modes("pairwise_dgr", environment) if named else None
