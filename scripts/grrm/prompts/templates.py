"""Templates: texts with {placeholders}, checked when they are read and filled in one pass.

What fills a placeholder is never read again, so braces, backticks and angle brackets in a source or a
translation are harmless. A placeholder that is none of the kind's own is a column of the row that is asked
about, which is checked where the row is known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from grrm.files import UserError, read_yaml
from grrm.texts import MARK, Filled

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
# Placeholders for the names of the languages of a translation.
LANGUAGES = {"source_language", "target_language"}
_GROUP: dict[str, tuple[set[str], set[str]]] = {
    "prompt": (LANGUAGES | {"source", "candidates"}, {"fence", "count", "labels", "example"}),
    "candidate": ({"label", "text"}, {"fence"}),
    "example": (set(), set()),
}
_TRANSLATION = {"prompt": (LANGUAGES | {"source"}, {"fence", "target_code"})}
# What prompts for general judges share: how a reference is put, and the tag of the verdict.
_JUDGE: dict[str, tuple[set[str], set[str]]] = {
    "reference": ({"reference"}, {"fence"}),
    "tag": (set(), set()),
}
# Kind of prompt -> template -> placeholders: the needed ones and those that may be left out.
_KINDS: dict[str, dict[str, tuple[set[str], set[str]]]] = {
    "score": _GROUP,
    "ranking": _GROUP,
    "ranking_score": _GROUP,
    "sqm": {"prompt": (LANGUAGES | {"source", "translation"}, {"fence"})},
    "codeblock-think": _TRANSLATION,
    "plain": _TRANSLATION,
    "judge_translation": {
        "prompt": (LANGUAGES | {"source", "translation"}, {"fence", "reference", "hints"}),
        "reference": ({"reference"}, {"fence"}),
        "hints": ({"hints"}, {"fence"}),
    },
    "seed-x": _TRANSLATION,
    "ssr": {"prompt": ({"target_language", "source"}, {"source_language", "fence", "target_code"})},
    "think-translate": _TRANSLATION,
    "judge_pairwise": {
        "prompt": ({"question", "first", "second"}, {"fence", "reference"} | LANGUAGES),
        **_JUDGE,
    },
    "judge_pointwise": {
        "prompt": ({"question", "response"}, {"fence", "reference"} | LANGUAGES),
        **_JUDGE,
    },
    "judge_listwise": {
        "prompt": ({"question", "candidates"}, {"fence", "count", "reference"} | LANGUAGES),
        "candidate": ({"number", "text"}, {"fence"}),
        **_JUDGE,
    },
}
NO_TEXTS = LANGUAGES | {"target_code", "fence", "label", "number", "count", "labels", "example"}
"""Placeholders whose values are this project's own, unless a column of a row is called so."""
_MAY_BE_LEFT_OUT = {"example"}
# These are shown as they are.
_PLAIN = {"example", "tag"}


def load_templates(path: str | Path, kind: str) -> dict[str, str]:
    """The templates of a prompt file of this kind, checked.

    Raises:
        UserError: the file is missing, is not of this kind, or lacks placeholders.
    """
    return read_templates(path, (kind,))[1]


def read_templates(path: str | Path, kinds: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Kind and templates of a prompt file of one of these kinds; raises what `load_templates` raises."""
    data = _read_yaml(path)
    templates = check_templates(path, data, *kinds)
    return data["kind"], templates


def check_templates(where: str | Path, data: Mapping[str, Any], *kinds: str) -> dict[str, str]:
    """The templates in the content of a prompt file of one of these kinds, checked.

    Args:
        where: what errors call it, a path for example.
        data: kind and templates.
        *kinds: those allowed.

    Raises:
        UserError: it is not of these kinds, or lacks placeholders.
    """
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise UserError(f"{where}: kind is {kind!r}; expected {' or '.join(map(repr, kinds))}")
    templates = {key: value for key, value in data.items() if key != "kind"}
    known = _KINDS[kind]
    if templates.keys() - known.keys() or known.keys() - templates.keys() - _MAY_BE_LEFT_OUT:
        raise UserError(f"{where}: keys are {sorted(data)}; expected {_key_words(known)}")
    for key, template in templates.items():
        if not isinstance(template, str):
            raise UserError(f"{where}: {key} is {template!r}; expected a text")
        _check_placeholders(f"{where}: {key}", key, template, *known[key])
    for key in templates.keys() & _MAY_BE_LEFT_OUT:
        if f"{{{key}}}" not in templates["prompt"]:
            raise UserError(f"{where}: prompt has no place {{{key}}} for {key}; add it, or leave out {key}")
    return templates


def _key_words(known: Mapping[str, object]) -> str:
    optional = sorted(known.keys() & _MAY_BE_LEFT_OUT)
    needed = str(sorted({"kind", *known} - set(optional)))
    return f"{needed}, and if wanted {optional}" if optional else needed


def _check_placeholders(where: str, key: str, template: str, needed: set[str], optional: set[str]) -> None:
    found = set(_PLACEHOLDER.findall(template))
    for name in sorted(found - needed - optional if key in _PLAIN else ()):
        raise UserError(f"{where} has the unknown placeholder {{{name}}}; known are none here")
    for name in sorted(needed - found):
        raise UserError(f"{where} lacks the placeholder {{{name}}}")


def asked_columns(kind: str, templates: Mapping[str, str]) -> frozenset[str]:
    """The columns of a row that templates of this kind name beside the kind's own placeholders."""
    return frozenset(
        name
        for key in (_KINDS[kind].keys() & templates.keys()) - _PLAIN
        for name in _PLACEHOLDER.findall(templates[key])
        if name not in set().union(*_KINDS[kind][key])
    )


def check_columns(where: str | Path, asked: Iterable[str], columns: Collection[str]) -> None:
    """Check that the rows have the columns that a prompt names.

    Args:
        where: file of the prompt.
        asked: columns that it names.
        columns: those of the rows.

    Raises:
        UserError: one is missing; names it, and those that there are.
    """
    for name in sorted(set(asked) - set(columns)):
        raise UserError(
            f"{where}: prompt has the unknown placeholder {{{name}}}; it is none of this kind of prompt, and "
            f"the columns of the rows are {', '.join(sorted(columns)) or 'none'}"
        )


def column_texts(asked: Iterable[str], row: Mapping[str, Any]) -> dict[str, str]:
    """What stands in the places of columns: a text as it is, nothing for None, else the value as JSON.

    Raises:
        UserError: the row lacks a column.
    """
    asked = list(asked)
    check_columns("prompt", asked, row)
    return {name: Filled([(column_text(row[name]), True)]) for name in asked}


def column_text(value: Any) -> str:
    """A value of a row as a text in a prompt."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """Numpy's arrays and numbers, which tables give, as Python's own; else what the value itself prints."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _read_yaml(path: str | Path) -> dict[str, Any]:
    if not Path(path).is_file():
        raise UserError(f"{path}: no such prompt file; those of the workflow lie in config/prompts")
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a mapping with 'kind' and templates, found {type(data).__name__}")
    return data


def fill_template(template: str, values: Mapping[str, str]) -> Filled:
    """Put values in the places of {names}, in one pass: braces in a value are never read again.

    Whatever is not known to be none is a user's text.

    Raises:
        KeyError: the template names a value that is not there.
    """
    # Text and names of placeholders take turns.
    parts = _PLACEHOLDER.split(template)
    return Filled(
        (values[part], part not in NO_TEXTS) if number % 2 else (part, False)
        for number, part in enumerate(parts)
    )


def joined(filled: Iterable[Filled]) -> Filled:
    """Filled templates, one a line."""
    pieces = [piece for each in filled for piece in (("\n", False), (each, False))]
    return Filled(pieces[1:])


def as_it_is(text: str) -> str:
    """The text."""
    return text


def keeping_layout(*templates: str) -> Callable[[str], str]:
    """What keeps a text in its place where no fence does: it may hold what begins another place ("B: ").

    Such a beginning behind a line end, or behind any white space if the template has it within a line, gets
    `grrm.texts.MARK`, and the line end becomes a space. All other texts stay as they are.

    Args:
        templates: of one prompt; those with a {fence} need no more.
    """
    return _keeping_layout(tuple(template for template in templates if "{fence}" not in template))


@lru_cache(maxsize=64)
def _keeping_layout(templates: tuple[str, ...]) -> Callable[[str], str]:
    heads = [head for template in templates for head in _heads(template)]
    if not heads:
        return as_it_is
    within = "|".join(head for head, is_within in heads if is_within) or "(?!)"
    begins = re.compile(rf"(?<!\S)(?=({within})|{'|'.join(head for head, _ in heads)})")

    def keep(text: str) -> str:
        kept, end = [], 0
        for found in begins.finditer(text):
            before = text[end : found.start()]
            bare = before.rstrip()
            if not _LINE_ENDS.isdisjoint(before[len(bare) :]):
                kept += [bare, " ", MARK]
            elif found[1] is not None and before:
                kept += [before, MARK]
            else:
                kept.append(before)
            end = found.start()
        return "".join([*kept, text[end:]])

    return keep


_LINE_ENDS = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
_COUNTED = {"label": "[A-Z]", "number": r"\d+"}


def _heads(template: str) -> Iterable[tuple[str, bool]]:
    """Patterns of what a template has before the places of texts, each with whether it is within a line.

    A text alone in its prompt has no other place that it could begin.
    """
    parts = _PLACEHOLDER.split(template)
    texts = [number for number in range(1, len(parts), 2) if parts[number] not in NO_TEXTS]
    is_counted = not _COUNTED.keys().isdisjoint(parts[1::2])
    for number in texts if len(texts) > 1 or is_counted else ():
        before = parts[number - 1]
        line_start, head = "\n" in before or number == 1, before.rpartition("\n")[2]
        pattern = re.escape(head.strip())
        if "\n" not in before and number > 2 and parts[number - 2] in _COUNTED:
            outer = parts[number - 3]
            line_start = "\n" in outer or number == 3
            pattern = (
                re.escape(outer.rpartition("\n")[2].lstrip()) + _COUNTED[parts[number - 2]] + rf"\s*{pattern}"
            )
        elif not any(c.isalnum() for c in head):
            continue
        elif not line_start or len(head.split()) > 1:
            # Words before it on its line may be of the sentence before.
            pattern, line_start = re.escape(head.split()[-1]), False
        yield pattern, not line_start


def code_fence(*texts: str) -> str:
    """Three backticks, or one more than the longest run of backticks in any of `texts`."""
    longest = max((len(run) for text in texts for run in re.findall("`+", text)), default=0)
    return "`" * max(3, longest + 1)
