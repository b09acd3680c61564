"""The prompts that a configuration names, read before anything runs.

Imported while the Snakefile is parsed, so nothing heavy is imported here.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from grrm.catalogue.rewards import KINDS
from grrm.config import (
    alignment_prompt_of,
    grpo_runs,
    pieces_of,
    prompt_file,
    trained_stages,
    translation_prompt_of,
)
from grrm.files import UserError
from grrm.functions import check_function
from grrm.judges.prompts import KEYWORDS, JudgePrompt, PromptKind, check_judge_prompt, load_template_prompt
from grrm.prompts import (
    REWARDED_KINDS,
    TRANSLATION_KINDS,
    UPSTREAM,
    PointwisePrompt,
    RankingPrompt,
    TranslationPrompt,
    asked_columns,
    check_columns,
    load_pointwise_prompt,
    load_ranking_prompt,
    load_templates,
    load_translation_prompt,
)

# Columns of the tables that the workflow makes itself (`grrm.schemas`): of all, of mt_grpo, of the
# translation test set. Published tables may have more.
SHARED_COLUMNS = frozenset({"src_text", "src_lang", "trg_lang"})
PAIR_COLUMNS = SHARED_COLUMNS | {"trg_text"}
TEST_COLUMNS = PAIR_COLUMNS | {"comment"}

Prompt = RankingPrompt | PointwisePrompt | TranslationPrompt | JudgePrompt


def check_prompts(config: Mapping[str, Any]) -> None:
    """Read every prompt that the models and judges of an experiment are asked, and look for functions that
    reward.

    Of a Python function only the file is looked for: what it imports may be heavy (`check_reward_prompt`).

    Args:
        config: the resolved configuration.

    Raises:
        UserError: a file is missing, is not of the needed kind, lacks placeholders, or has one that is none
            of its own and no column, as far as it is known which there are.
    """
    made = config["data"]["source"] in ("toy", "sample")
    if (file := config["prompts"]["ranking"]) != UPSTREAM:
        _check_known(file, load_ranking_prompt(file).columns, SHARED_COLUMNS if made else None)
    if (file := config["prompts"]["translation"]) != UPSTREAM:
        _check_known(file, _translation_prompt(config).columns, SHARED_COLUMNS if made else None)
    if (file := config["mt_sft"].get("judging")) is not None:
        _check_known(file, load_pointwise_prompt(file).columns, SHARED_COLUMNS if made else None)
    for piece in _pieces(config):
        if "function" in piece:
            check_function(piece["function"], "mt_grpo.reward.function")
        # The experiment's own ranking prompt is read above, and may not be there yet.
        if KINDS[piece["kind"]].translation_prompt or piece["prompt"] is not None:
            prompt = translation_prompt_of(piece, config["prompts"]["ranking"])
            _check(piece["kind"], prompt, translation=True, columns=PAIR_COLUMNS if made else None)
    if config["alignment"] is not None:
        for piece in pieces_of(config["alignment"]["grpo"]["reward"]).values():
            if "function" in piece:
                check_function(piece["function"], "alignment.grpo.reward.function")
            _check(piece["kind"], alignment_prompt_of(piece), translation=False, columns=())
    if config["judges"] is not None:
        for kind in ("pointwise", "pairwise"):
            file = config["judges"]["prompts"][kind]
            _check_known(file, load_template_prompt(file, cast(PromptKind, f"judge_{kind}")).columns, ())
    if "llm_judge" in config["evaluate"]["metrics"]:
        file = config["evaluate"]["llm_judge"]["prompt"]
        asked = asked_columns("judge_translation", load_templates(file, "judge_translation"))
        _check_known(file, asked, TEST_COLUMNS if made else None)


def _translation_prompt(config: Mapping[str, Any]) -> TranslationPrompt:
    """The translation model's: its SFT teaches the paper's form; a model that is taken may know another."""
    kinds = [] if "mt_sft" in trained_stages(config) or config["rl_engine"] != "verl" else REWARDED_KINDS
    return load_translation_prompt(config["prompts"]["translation"], *kinds)


def translation_form(config: Mapping[str, Any]) -> str:
    """Kind of the prompt that translations answer; empty for that of the paper, codeblock-think."""
    if config["prompts"]["translation"] == UPSTREAM:
        return ""
    kind = _translation_prompt(config).kind
    return "" if kind == "codeblock-think" else kind


def _pieces(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What translations are rewarded by: kinds, and the parts of mixtures."""
    return [piece for reward in grpo_runs(config).values() for piece in pieces_of(reward).values()]


def _check_known(file: str, asked: Iterable[str], columns: Collection[str] | None) -> None:
    if columns is not None:
        check_columns(file, asked, columns)


def check_reward_prompt(
    kind: str, prompt: str, *, translation: bool, columns: Collection[str] | None = None
) -> None:
    """Check what the judge of a reward is asked, a Python function too, which is loaded.

    Args:
        kind: of the reward; one that needs a prompt.
        prompt: its file, or path/to/file.py:function.
        translation: whether translations are judged, so that the languages are known.
        columns: those of the rows; None: it is not known yet.

    Raises:
        UserError: the prompt cannot be loaded, is not one of this kind, or names a column that is not there.
    """
    loaded = load_reward_prompt(kind, prompt, translation=translation)
    needed = loaded.needed if isinstance(loaded, JudgePrompt) else loaded.columns
    _check_known(prompt, needed, columns if translation else ())


def load_reward_prompt(kind: str, prompt: str, *, translation: bool) -> Prompt:
    """What the judge of a reward is asked; arguments and errors as of `check_reward_prompt`."""
    wanted = KINDS[kind].prompt
    if (load := _LOADERS.get(wanted)) is not None:
        return load(prompt)
    return check_judge_prompt(prompt, cast(PromptKind, wanted), translation=translation)


# By kind of prompt; the others are those of general judges.
_LOADERS: dict[str, Callable[[str], Prompt]] = {
    "ranking_score": load_ranking_prompt,
    "sqm": load_pointwise_prompt,
    "translation": lambda prompt: load_translation_prompt(prompt, *TRANSLATION_KINDS),
}


def carrying_rewards(config: Mapping[str, Any]) -> list[str]:
    """Rewards of translations that need more of a row than texts and languages, for `columns_of_rewards`."""
    named: dict[str, None] = {}
    for piece in _pieces(config):
        if "function" in piece:
            named[f"function={piece['function']}"] = None
            continue
        prompt = translation_prompt_of(piece, config["prompts"]["ranking"])
        if prompt is not None and prompt != UPSTREAM and _may_name_columns(piece["kind"], prompt):
            named[f"{piece['kind']}={prompt}"] = None
    return list(named)


def tables_with_columns(config: Mapping[str, Any]) -> set[str]:
    """Tables whose further columns are kept, as what is asked about their rows names them or may do so."""
    asked: dict[tuple[str, ...], Collection[str]] = {
        ("grrm_sft", "grrm_rlvr", "ranking_test", "translation_test"): _further(config, "ranking"),
        ("mt_sft", "mt_grpo", "translation_test"): _further(config, "translation"),
        ("mt_grpo",): carrying_rewards(config),
    }
    if "llm_judge" in config["evaluate"]["metrics"]:
        templates = load_templates(config["evaluate"]["llm_judge"]["prompt"], "judge_translation")
        asked[("translation_test",)] = asked_columns("judge_translation", templates) - TEST_COLUMNS
    return {table for tables, names in asked.items() if names for table in tables}


def _further(config: Mapping[str, Any], task: str) -> Collection[str]:
    """Columns that the prompt of a task names beside those that its tables always have."""
    file = config["prompts"][task]
    if file == UPSTREAM:
        return ()
    prompt = load_ranking_prompt(file) if task == "ranking" else _translation_prompt(config)
    return prompt.columns - SHARED_COLUMNS


def _may_name_columns(kind: str, prompt: str) -> bool:
    file = prompt_file(prompt)
    if file == prompt:
        return bool(load_reward_prompt(kind, prompt, translation=True).columns)
    name = prompt.rpartition(":")[2]
    # Read, not run: what it imports may be heavy.
    for node in ast.walk(ast.parse(Path(str(file)).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name == name and not node.decorator_list:
            names = {argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]}
            return node.args.kwarg is not None or not names <= KEYWORDS
    return True


def columns_of_rewards(rewards: Sequence[str]) -> tuple[dict[str, str], set[str] | None]:
    """What rewards need of a row beside texts and languages.

    Args:
        rewards: KIND=PROMPT of each, or function=FUNCTION.

    Returns:
        columns that a prompt cannot do without, each with the prompt; and all that are to be carried with the
        row, None for whatever there is.

    Raises:
        UserError: a prompt cannot be loaded.
    """
    needed: dict[str, str] = {}
    carried: set[str] | None = set()
    for reward in rewards:
        kind, _, spec = reward.partition("=")
        if kind == "function":
            carried = None
            continue
        prompt = load_reward_prompt(kind, spec, translation=True)
        needed |= dict.fromkeys(prompt.needed if isinstance(prompt, JudgePrompt) else prompt.columns, spec)
        if carried is not None:
            carried |= prompt.columns
        if isinstance(prompt, JudgePrompt) and prompt.takes_all:
            carried = None
    return needed, carried


def _check(kind: str, prompt: str | None, *, translation: bool, columns: Collection[str] | None) -> None:
    if prompt is None:
        return
    file = prompt_file(prompt)
    if file == prompt:
        check_reward_prompt(kind, prompt, translation=translation, columns=columns)
    elif not Path(str(file)).is_file():
        raise UserError(f"{file}: no such file; it should hold the prompt of reward kind {kind!r}")
