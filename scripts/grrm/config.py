"""The workflow's configuration: checked against its schema, defaults filled in.

Imported while the Snakefile is parsed, so nothing heavier than PyYAML and jsonschema is imported here.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from grrm.files import UserError


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


def _fill_defaults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> None:
    schema = _dereference(schema, root)
    if not isinstance(value, dict):
        return
    for key, part in schema.get("properties", {}).items():
        part = _dereference(part, root)
        if key not in value and "default" in part:
            value[key] = copy.deepcopy(part["default"])
        if key in value:
            _fill_defaults(value[key], part, root)


def _dereference(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
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
