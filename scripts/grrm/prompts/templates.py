"""Templates: texts with {placeholders}, checked when they are read and filled in one pass.

What fills a placeholder is never read again, so braces, backticks and angle brackets in a source or a
translation are harmless. A placeholder that is none of the kind's own is a column of the row that is asked
about, which is checked where the row is known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from grrm.files import UserError, read_yaml

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
    return {name: column_text(row[name]) for name in asked}


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


def fill_template(template: str, values: Mapping[str, str]) -> str:
    """Put values in the places of {names}, in one pass: braces in a value are never read again.

    Raises:
        KeyError: the template names a value that is not there.
    """
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def code_fence(*texts: str) -> str:
    """Three backticks, or one more than the longest run of backticks in any of `texts`."""
    longest = max((len(run) for text in texts for run in re.findall("`+", text)), default=0)
    return "`" * max(3, longest + 1)
