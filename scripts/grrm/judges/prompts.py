"""What general judges are asked: templates (config/prompts/judge_*.yaml) or a Python function."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from grrm.files import UserError
from grrm.prompts import LANGUAGES, code_fence, fill_template, load_templates
from grrm.reward_config import prompt_file

Kind: TypeAlias = Literal["judge_pairwise", "judge_pointwise", "judge_listwise"]

# What is judged, by the keywords it has.
_RESPONSES: dict[Kind, dict[str, Any]] = {
    "judge_pairwise": {"first": "?", "second": "?"},
    "judge_pointwise": {"response": "?"},
    "judge_listwise": {"candidates": ["?", "?"]},
}
_TAGS: dict[Kind, str] = {"judge_pairwise": "better", "judge_pointwise": "score", "judge_listwise": "ranking"}


@dataclass(frozen=True)
class JudgePrompt:
    """A prompt and the tag in which it asks for the verdict.

    Attributes:
        render: called with keywords: question and reference (a text or None), and first and second
            (pairwise), response (pointwise) or candidates (listwise, a sequence); if the candidates are
            translations also source_language and target_language, names; returns the judge's prompt.
        tag: name of the tag.
    """

    render: Callable[..., str]
    tag: str


def load_judge_prompt(spec: str, kind: Kind) -> JudgePrompt:
    """The prompt in a template file, or made by a function that is named as `path/to/file.py:function`.

    The function gets the keywords of `JudgePrompt.render`; its prompts ask for the verdict in the usual tag:
    better (pairwise), score (pointwise), ranking (listwise).

    Raises:
        UserError: the file or the function is missing, or the templates are not of this kind.
    """
    path, colon, function = spec.rpartition(":")
    if colon and path.endswith(".py"):
        return JudgePrompt(_load_function(Path(path), function), _TAGS[kind])
    return template_prompt(load_templates(spec, kind))


def check_judge_prompt(spec: str, kind: Kind, *, translation: bool) -> None:
    """Check a prompt before anything is judged with it.

    Args:
        spec: as for `load_judge_prompt`.
        kind: likewise.
        translation: whether translations are judged, so that the languages are known.

    Raises:
        UserError: it cannot be loaded, takes other arguments, or asks for languages that there are none of.
    """
    render = load_judge_prompt(spec, kind).render
    arguments: dict[str, Any] = {"question": "?", "reference": None, **_RESPONSES[kind]}
    if translation:
        arguments |= dict.fromkeys(sorted(LANGUAGES), "?")
    try:
        inspect.signature(render).bind(**arguments)
    except TypeError as error:
        raise UserError(
            f"{spec}: cannot be called as a prompt ({error}); it gets the keywords {', '.join(arguments)}"
        ) from error
    if spec == prompt_file(spec):
        try:
            render(**arguments)
        except UserError as error:
            raise UserError(f"{spec}: {error}") from error


def template_prompt(templates: Mapping[str, str]) -> JudgePrompt:
    """The prompt that templates of a general judge make (see `grrm.prompts.check_templates`)."""
    languages = {name for name in LANGUAGES if f"{{{name}}}" in templates["prompt"]}

    def render(
        *, question: str, reference: str | None = None, candidates: Sequence[str] = (), **responses: str
    ) -> str:
        if missing := languages - responses.keys():
            raise UserError(
                f"the judge's prompt asks for {', '.join(sorted(missing))}, but what is judged is no "
                "translation; use a prompt without"
            )
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

    return JudgePrompt(render, templates["tag"])


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
