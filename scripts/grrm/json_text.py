"""JSON as this project reads it: what Python's reader lets through, or breaks on, is refused in one line."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

_HALVES = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")
# Of more digits than 64 bits have, or with a power of ten of three digits: too large even for a float.
_LARGE_NUMBER = re.compile(r"[0-9]{19}|[0-9][eE]\+?0*[1-9][0-9]{2}")
_LARGEST = 2**63


def is_text(text: str) -> bool:
    """Whether a string can be written as UTF-8: JSON may hold halves of characters (`\\ud800`) alone."""
    return _HALVES.search(text) is None


def as_text(text: str) -> str:
    """A string with a replacement character (U+FFFD) for every half of a character that stands alone."""
    return _HALVES.sub("\ufffd", text)


def parse_json(text: str, *, any_size: bool = False, gaps: bool = False) -> Any:
    """A value of JSON.

    Args:
        text: to read.
        any_size: let whole numbers have more than 64 bits: a published tokenizer writes 1e30 in digits where
            it has no longest text.
        gaps: read None for what is no number (NaN, Infinity), which trainers log where a figure has no value.

    Raises:
        ValueError: it is not JSON, or holds a key twice, half a character alone, whole numbers of more than
            64 bits, numbers that are none or too large for any, or too many levels; in one line.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_gap if gaps else _no_number)
    except RecursionError:
        raise ValueError("lists or objects too deep within each other") from None
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        if "digits" in str(error):  # Python's words name a setting of the interpreter
            raise ValueError("a whole number of thousands of digits; expected 64 bits at most") from None
        raise
    if _ESCAPED_HALF.search(text) or _LARGE_NUMBER.search(text) or not is_text(text):
        _check(value, any_size)
    return value


def json_line(value: Any, **options: Any) -> str:
    """A value as JSON, all characters as they are; a number that is none is null, for JSON has no other word.

    Args:
        value: to write.
        options: of json.dumps.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_with_gaps(value), ensure_ascii=False, allow_nan=False, **options)


def _with_gaps(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_gaps(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_with_gaps(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON; expected a number, or null for none")


def _gap(name: str) -> None:
    """None, whatever the name."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!a} stands twice")
    return found


def _check(value: Any, any_size: bool) -> None:
    parts = [value]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            parts += [*part.values(), *part]
        elif isinstance(part, list):
            parts += part
        elif isinstance(part, int) and not (any_size or -_LARGEST <= part < _LARGEST):
            raise ValueError(f"a whole number of {part.bit_length()} bits; expected 64 at most")
        elif isinstance(part, float) and math.isinf(part):
            raise ValueError("a number of more than 308 digits; expected one that a float can hold")
        elif isinstance(part, str) and not is_text(part):
            raise ValueError(
                f"{part[:40]!a} has half of a character (\\ud800 to \\udfff) alone; expected text that UTF-8 "
                "can hold"
            )
