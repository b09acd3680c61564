"""What general judges are asked: templates (config/prompts/judge_*.yaml) or a Python function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from grrm.catalogue.rewards import KINDS
from grrm.files import UserError, shipped
from grrm.functions import load_function
from grrm.prompts import (
    LANGUAGES,
    asked_columns,
    check_columns,
    code_fence,
    column_texts,
    fill_template,
    joined,
    keeping_layout,
    load_templates,
)

PromptKind: TypeAlias = Literal["judge_pairwise", "judge_pointwise", "judge_listwise"]

_TAGS: dict[PromptKind, str] = {
    "judge_pairwise": "better",
    "judge_pointwise": "score",
    "judge_listwise": "ranking",
}
# What is judged, by the keywords it has.
_TEXTS: dict[PromptKind, set[str]] = {
    "judge_pairwise": {"first", "second"},
    "judge_pointwise": {"response"},
    "judge_listwise": {"candidates"},
}
# How a prompt shows the verdict that a tag is to hold: "A/B/tie", "1-10", "2 > 1 = 3".
_TAGGED = re.compile(r"<(\w+)>([^<]{1,80})</\1>")
_NUMBERS = r"[\W\d]*\d[\W\d]*"
_VERDICTS: dict[PromptKind, re.Pattern[str]] = {
    "judge_pairwise": re.compile(r"\W*(?:(?:A|B|tie|or)\W*)+", re.IGNORECASE),
    "judge_pointwise": re.compile(rf"{_NUMBERS}|\W*(?:score|number|integer|n|x)\W*", re.IGNORECASE),
    "judge_listwise": re.compile(_NUMBERS),
}
NO_COLUMNS: Mapping[str, Any] = MappingProxyType({})
# What RM-Gallery's documents call them in a function of one's own -> what they are called here.
_PUBLISHED = {"user_query": "question", "response_a": "first", "response_b": "second"}
KEYWORDS = frozenset({"question", "reference"}.union(LANGUAGES, _PUBLISHED, *_TEXTS.values()))
"""All that a function may be given beside columns of the row."""


@dataclass(frozen=True)
class JudgePrompt:
    """A prompt and the tag in which it asks for the verdict.

    Attributes:
        render: called with keywords: question and reference (a text or None), and first and second
            (pairwise), response (pointwise) or candidates (listwise, a sequence); if the candidates are
            translations also source_language and target_language, names; and columns, the row that is asked
            about; returns the judge's prompt.
        tag: name of the tag.
        languages: which of these two `render` cannot do without.
        columns: of the row, which it names.
        needed: which of them it cannot do without.
        takes_all: it takes whatever columns there are.
    """

    render: Callable[..., str]
    tag: str
    languages: frozenset[str] = frozenset()
    columns: frozenset[str] = frozenset()
    needed: frozenset[str] = frozenset()
    takes_all: bool = False


def shipped_prompt(kind: str) -> str:
    """File of the prompt that comes with the library for a kind of reward (pairwise_dgr: judge_pairwise).

    Empty for kinds that ask in the words of their own experiment.
    """
    prompt = KINDS[kind].conversation_prompt if kind in KINDS else ""
    return str(shipped(prompt)) if prompt else ""


def load_judge_prompt(spec: str, kind: PromptKind) -> JudgePrompt:
    """The prompt in a template file, or made by a function that is named as `path/to/file.py:function`.

    The function gets those keywords of `JudgePrompt.render` that it names, all of them if it takes `**`, also
    by their published names user_query, response_a and response_b; the same goes for the columns of the row,
    as they are. Without a reference it gets None, or its own default. Its prompts ask for the verdict in the
    tag that its attribute `tag` names, else in the usual one: better (pairwise), score (pointwise), ranking
    (listwise); or, if that is not in a prompt about sample texts, in the only tag there that holds such a
    verdict, as in <result>A/B/tie</result>.

    Raises:
        UserError: the file or the function is missing, the function takes what no row has, its tag is no
            name, the templates are not of this kind, or the prompt asks for the verdict in another tag.
    """
    path, colon, name = spec.rpartition(":")
    if not (colon and path.endswith(".py")):
        return load_template_prompt(spec, kind)
    function = load_function(f"{path}:{name}")
    prompt = _function_prompt(spec, function, kind)
    return _with_tag_shown(spec, prompt, kind, is_named=hasattr(function, "tag"))


def load_template_prompt(path: str | Path, kind: PromptKind) -> JudgePrompt:
    """The prompt in a template file.

    Raises:
        UserError: as `load_judge_prompt`.
    """
    prompt = template_prompt(load_templates(path, kind), kind, path)
    return _with_tag_shown(str(path), prompt, kind, is_named=True)


def check_judge_prompt(spec: str, kind: PromptKind, *, translation: bool) -> JudgePrompt:
    """Load and check a prompt before anything is judged with it.

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
    return prompt


def template_prompt(
    templates: Mapping[str, str], kind: PromptKind, where: str | Path = "prompt"
) -> JudgePrompt:
    """The prompt that templates of a general judge make (see `grrm.prompts.check_templates`).

    Args:
        templates: checked.
        kind: of the prompt.
        where: what errors call it.
    """
    languages = frozenset(name for name in LANGUAGES if f"{{{name}}}" in templates["prompt"])
    asked = asked_columns(kind, templates)
    keep = keeping_layout(
        *(templates[key] for key in ("prompt", "reference", "candidate") if key in templates)
    )

    def render(
        *,
        question: str,
        reference: str | None = None,
        candidates: Sequence[str] = (),
        columns: Mapping[str, Any] = NO_COLUMNS,
        **responses: str,
    ) -> str:
        _check_languages(languages - responses.keys())
        check_columns(where, asked, columns)
        own = column_texts(asked, columns)
        fence = code_fence(question, reference or "", *candidates, *responses.values(), *own.values())
        values = {**own, "fence": fence, "question": keep(question), "reference": "", "candidates": ""}
        # The names of languages are no texts of a user's.
        values |= {name: text if name in LANGUAGES else keep(text) for name, text in responses.items()}
        if reference is not None:
            values["reference"] = fill_template(
                templates["reference"], {**own, "reference": keep(reference), "fence": fence}
            )
        if candidates:
            values["count"] = str(len(candidates))
            values["candidates"] = joined(
                fill_template(
                    templates["candidate"], {**own, "number": str(number), "text": keep(text), "fence": fence}
                )
                for number, text in enumerate(candidates, 1)
            )
        return fill_template(templates["prompt"], values)

    return JudgePrompt(render, templates["tag"], languages, asked, asked)


def _function_prompt(where: str, function: Callable[..., str], kind: PromptKind) -> JudgePrompt:
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
    if others := sorted((needed & KEYWORDS) - known):
        raise UserError(f"{where}: asks for {', '.join(others)}; known are {', '.join(sorted(known))}")
    languages, asked = frozenset(needed & LANGUAGES), frozenset(needed - known)
    wanted = frozenset(named) - known

    def render(columns: Mapping[str, Any] = NO_COLUMNS, **values: Any) -> str:
        _check_languages(languages - values.keys())
        if missing := sorted(asked - columns.keys()):
            raise UserError(
                f"{where}: asks for {', '.join(missing)}; known are {', '.join(sorted(known))}, and the "
                f"columns of the rows are {', '.join(sorted(columns)) or 'none'}"
            )
        if values.get("reference") is None and not named.get("reference", True):
            values.pop("reference", None)
        given = {name: value for name, value in columns.items() if name not in known}
        given = {name: value for name, value in (given | values).items() if takes_all or name in named}
        given |= {name: values[here] for name, here in _PUBLISHED.items() if name in named and here in values}
        return function(**given)

    return JudgePrompt(render, tag, languages, wanted, asked, takes_all)


def _with_tag_shown(where: str, prompt: JudgePrompt, kind: PromptKind, *, is_named: bool) -> JudgePrompt:
    """The prompt with the tag in which it asks for the verdict.

    A prompt that shows no tag at all may be meant for a judge that was trained to write one, if its tag was
    named (`is_named`).
    """
    texts: dict[str, Any] = {name: f"a {name} text" for name in _TEXTS[kind] | LANGUAGES}
    if kind == "judge_listwise":
        texts["candidates"] = ["a first text", "a second text"]
    columns = {name: f"a {name} text" for name in prompt.columns}
    try:
        text: object = prompt.render(question="a question", reference="a reference", columns=columns, **texts)
    except Exception:
        # It may need texts of a certain form, or what only another environment has.
        return prompt
    if not isinstance(text, str):
        raise UserError(f"{where}: returns a {type(text).__name__}; expected the prompt as a text")
    if f"<{prompt.tag}>".lower() in text.lower():
        return prompt
    shown = sorted({name for name, verdict in _TAGGED.findall(text) if _VERDICTS[kind].fullmatch(verdict)})
    if len(shown) == 1 and not is_named:
        return replace(prompt, tag=shown[0])
    if shown:
        raise UserError(
            f"{where}: its tag is {prompt.tag!r}, but its prompt shows a verdict in "
            f"{', '.join(f'<{name}>' for name in shown)}; set tag to the one that holds the verdict, such as "
            f"{shown[0]!r}"
        )
    if not is_named:
        raise UserError(
            f"{where}: its prompt does not say in which tag the verdict stands; expected <{prompt.tag}>, or "
            f"the name of another tag in the function's attribute tag"
        )
    return prompt


def _check_languages(missing: Iterable[str]) -> None:
    if missing := sorted(missing):
        raise UserError(
            f"the judge's prompt asks for {', '.join(missing)}, but what is judged is no translation; use a "
            "prompt without"
        )
