"""The schema of the configuration: defaults, types, and errors that say what to change."""

from __future__ import annotations

import copy
import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from grrm import catalogue
from grrm.files import UserError, read_yaml
from grrm.urls import secret_in
from grrm.yaml_text import parse_yaml, unusable


def resolve(config: Mapping[str, Any], schema: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """A checked copy of `config` with the schema's defaults filled in.

    Args:
        config: as it was read.
        schema: see `load_schema`, or the file.

    Raises:
        UserError: a key is unknown or missing, or a value is not allowed; the message gives the
            key's path, the value and what is allowed.
    """
    rules = schema if isinstance(schema, Mapping) else load_schema(schema)
    if problems := list(unusable(config)):
        raise UserError("configuration: " + "; ".join(problems))
    filled = copy.deepcopy(dict(config))
    _fill_defaults(filled, rules, rules)
    resolved: dict[str, Any] = _typed(filled, rules, rules)
    check(resolved, rules)
    return resolved


def check(
    config: Mapping[str, Any],
    schema: Mapping[str, Any],
    origins: Mapping[tuple[str, ...], tuple[str, str]] | None = None,
) -> None:
    """Raise UserError if the schema does not allow a configuration.

    Args:
        config: with its defaults.
        schema: see `load_schema`.
        origins: by the path of a key, the variable of the environment, and its text, that it has its value
            from: that is named instead.
    """
    errors = [leaf for error in validator(schema).iter_errors(config) for leaf in _leaves(error)]
    problems = {_explain(error, origins or {}) for error in errors}
    if problems:
        raise UserError("configuration: " + "; ".join(sorted(problems)))


def validator(schema: Mapping[str, Any]) -> Any:
    """Of JSON schema, to which `$` at the end of a pattern is the end of the text, not of a line."""
    import jsonschema  # some stages' environments, where sections are read but not checked, have none

    extend: Any = jsonschema.validators.extend
    return extend(jsonschema.Draft202012Validator, {"pattern": _matches})(schema)


def _matches(_: Any, pattern: str, text: Any, __: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    whole = f"{pattern[:-1]}\\Z" if pattern.endswith("$") else pattern
    if isinstance(text, str) and not re.search(whole, text):
        yield ValidationError(f"{text!r} does not match {pattern!r}")


def load_schema(path: str | Path) -> dict[str, Any]:
    """A JSON schema written in YAML, in which `x-enum: module:NAME` stands for an enum of those names.

    A process reads each file once; what the names are is looked up each time.
    """
    schema: dict[str, Any] = _with_enums(_written(Path(path).absolute()))
    return schema


_written = functools.cache(read_yaml)


def _with_enums(part: Any) -> Any:
    if isinstance(part, list):
        return [_with_enums(value) for value in part]
    if not isinstance(part, dict):
        return part
    return {
        **{key: _with_enums(value) for key, value in part.items() if key != "x-enum"},
        **({"enum": list(catalogue.resolve(part["x-enum"]))} if "x-enum" in part else {}),
    }


def _fill_defaults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> None:
    schema = dereference(schema, root)
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for part in value:
            _fill_defaults(part, schema["items"], root)
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
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [_typed(part, schema["items"], root) for part in value]
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


def _leaves(error: Any) -> Iterator[Any]:
    """What is wrong with a value that fits none of several schemas: with the first that is for its sort."""
    if not error.context:
        yield error
        return
    branches: dict[Any, list[Any]] = {}
    for below in error.context:
        branches.setdefault(below.schema_path[0], []).append(below)
    for below in min(branches.values(), key=lambda errors: any(map(_is_of_another_sort, errors))):
        yield from _leaves(below)


def _is_of_another_sort(error: Any) -> bool:
    return error.validator in ("type", "enum") and not error.relative_path


def _explain(error: Any, origins: Mapping[tuple[str, ...], tuple[str, str]]) -> str:
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
        "pattern": error.schema.get("x-expected", f"text of the form {value}"),
        "minLength": "some text",
        "minItems": f"at least {value} of them",
        "uniqueItems": "each of them once",
    }.get(str(error.validator), str(error.message))
    if origin := origins.get(tuple(error.absolute_path)):
        variable, text = origin
        return f"{variable} is {shown(text)} in the environment, expected {allowed}; correct or unset it"
    return f"{where} is {shown(error.instance)}, expected {allowed}{_number_hint(error)}"


def shown(value: Any) -> str:
    """A value as it is written in YAML."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str) and secret_in(value):
        return "one with a secret in it"
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
