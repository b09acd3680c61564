"""What general judges are asked: templates (config/prompts/judge_*.yaml) or a Python function."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from grrm.files import UserError
from grrm.prompts import LANGUAGES, code_fence, fill_template, load_templates
from grrm.reward_config import GENERAL_JUDGES

Kind: TypeAlias = Literal["judge_pairwise", "judge_pointwise", "judge_listwise"]

_FOLDER = Path(__file__).parents[3] / "config/prompts"
_TAGS: dict[Kind, str] = {"judge_pairwise": "better", "judge_pointwise": "score", "judge_listwise": "ranking"}
# What is judged, by the keywords it has.
_TEXTS: dict[Kind, set[str]] = {
    "judge_pairwise": {"first", "second"},
    "judge_pointwise": {"response"},
    "judge_listwise": {"candidates"},
}
# What RM-Gallery's documents call them in a function of one's own -> what they are called here.
_PUBLISHED = {"user_query": "question", "response_a": "first", "response_b": "second"}


@dataclass(frozen=True)
class JudgePrompt:
    """A prompt and the tag in which it asks for the verdict.

    Attributes:
        render: called with keywords: question and reference (a text or None), and first and second
            (pairwise), response (pointwise) or candidates (listwise, a sequence); if the candidates are
            translations also source_language and target_language, names; returns the judge's prompt.
        tag: name of the tag.
        languages: which of these two `render` cannot do without.
    """

    render: Callable[..., str]
    tag: str
    languages: frozenset[str] = frozenset()


def shipped_prompt(kind: str) -> str:
    """File of the prompt that comes with this checkout for a kind of reward (pairwise_dgr: judge_pairwise).

    Empty for kinds that ask in the words of their own experiment, and where this package was installed
    without its checkout.
    """
    path = _FOLDER / f"judge_{kind.partition('_')[0]}.yaml"
    return str(path) if kind in GENERAL_JUDGES and path.is_file() else ""


def load_judge_prompt(spec: str, kind: Kind) -> JudgePrompt:
    """The prompt in a template file, or made by a function that is named as `path/to/file.py:function`.

    The function gets those keywords of `JudgePrompt.render` that it names, all of them if it takes `**`, also
    by their published names user_query, response_a and response_b. Without a reference it gets None, or its
    own default. Its prompts ask for the verdict in the tag that its attribute `tag` names, else in the usual
    one: better (pairwise), score (pointwise), ranking (listwise).

    Raises:
        UserError: the file or the function is missing, the function asks for something else, its tag is no
            name, or the templates are not of this kind.
    """
    path, colon, function = spec.rpartition(":")
    if colon and path.endswith(".py"):
        return _function_prompt(spec, _load_function(Path(path), function), kind)
    return template_prompt(load_templates(spec, kind))


def check_judge_prompt(spec: str, kind: Kind, *, translation: bool) -> None:
    """Check a prompt before anything is judged with it.

    Args:
        spec: as for `load_judge_prompt`.
        kind: likewise.
        translation: whether translations are judged, so that the languages are known.

    Raises:
        UserError: it cannot be loaded, or asks for languages that there are none of.
    """
    prompt = load_judge_prompt(spec, kind)
    if not translation:
        try:
            _check_languages(prompt.languages)
        except UserError as error:
            raise UserError(f"{spec}: {error}") from error


def template_prompt(templates: Mapping[str, str]) -> JudgePrompt:
    """The prompt that templates of a general judge make (see `grrm.prompts.check_templates`)."""
    languages = frozenset(name for name in LANGUAGES if f"{{{name}}}" in templates["prompt"])

    def render(
        *, question: str, reference: str | None = None, candidates: Sequence[str] = (), **responses: str
    ) -> str:
        _check_languages(languages - responses.keys())
        fence = code_fence(question, reference or "", *candidates, *responses.values())
        values = {"fence": fence, "question": question, "reference": "", "candidates": "", **responses}
        if reference is not None:
            values["reference"] = fill_template(
                templates["reference"], {"reference": reference, "fence": fence}
            )
        if candidates:
            values["count"] = str(len(candidates))
            values["candidates"] = "\n".join(
                fill_template(templates["candidate"], {"number": str(number), "text": text, "fence": fence})
                for number, text in enumerate(candidates, 1)
            )
        return fill_template(templates["prompt"], values)

    return JudgePrompt(render, templates["tag"], languages)


def _function_prompt(where: str, function: Callable[..., str], kind: Kind) -> JudgePrompt:
    tag = getattr(function, "tag", _TAGS[kind])
    if not isinstance(tag, str) or re.fullmatch(r"\w+", tag) is None:
        raise UserError(f"{where}: tag is {tag!r}; expected the name of a tag, such as {_TAGS[kind]}")
    parameters = inspect.signature(function).parameters.values()
    if placed := [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_ONLY]:
        raise UserError(f"{where}: takes {', '.join(placed)} by position only; expected keywords")
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    named = {
        parameter.name: parameter.default is parameter.empty
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    needed = {name for name, is_needed in named.items() if is_needed}
    own = {"question", "reference"} | _TEXTS[kind] | LANGUAGES
    known = own | {name for name, here in _PUBLISHED.items() if here in own}
    if unknown := sorted(needed - known):
        raise UserError(f"{where}: asks for {', '.join(unknown)}; known are {', '.join(sorted(known))}")

    languages = frozenset(needed & LANGUAGES)

    def render(**values: Any) -> str:
        _check_languages(languages - values.keys())
        if values.get("reference") is None and not named.get("reference", True):
            values.pop("reference", None)
        given = {name: value for name, value in values.items() if takes_all or name in named}
        given |= {name: values[here] for name, here in _PUBLISHED.items() if name in named and here in values}
        return function(**given)

    return JudgePrompt(render, tag, languages)


def _check_languages(missing: Iterable[str]) -> None:
    if missing := sorted(missing):
        raise UserError(
            f"the judge's prompt asks for {', '.join(missing)}, but what is judged is no translation; use a "
            "prompt without"
        )


def _load_function(path: Path, name: str) -> Callable[..., str]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a Python file with the function {name}")
    spec = importlib.util.spec_from_file_location(f"judge_prompt_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(
            f"{path}: cannot be loaded ({type(error).__name__}: {error}); import what only some environments "
            f"have inside {name}"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"{path}: no function {name}")
    return function  # type: ignore[no-any-return]
