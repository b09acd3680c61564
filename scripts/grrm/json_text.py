"""JSON as this project reads it: what Python's reader lets through, or breaks on, is refused in one line."""

from __future__ import annotations

import json
import re
from typing import Any

_HALVES = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_LONG_NUMBER = re.compile(r"[0-9]{19}")
_LARGEST = 2**63


def is_text(text: str) -> bool:
    """Whether a string can be written as UTF-8: JSON may hold halves of characters (`\\ud800`) alone."""
    return _HALVES.search(text) is None


def as_text(text: str) -> str:
    """A string with a replacement character (U+FFFD) for every half of a character that stands alone."""
    return _HALVES.sub("\ufffd", text)


def parse_json(text: str, *, any_size: bool = False) -> Any:
    """A value of JSON.

    Args:
        text: to read.
        any_size: let whole numbers have more than 64 bits: a published tokenizer writes 1e30 in digits where
            it has no longest text.

    Raises:
        ValueError: it is not JSON, or holds a key twice, half a character alone, whole numbers of more than
            64 bits, or too many levels; in one line.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("lists or objects too deep within each other") from None
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        if "digits" in str(error):  # Python's words name a setting of the interpreter
            raise ValueError("a whole number of thousands of digits; expected 64 bits at most") from None
        raise
    if _ESCAPED_HALF.search(text) or _LONG_NUMBER.search(text) or not is_text(text):
        _check(value, any_size)
    return value


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
        elif isinstance(part, str) and not is_text(part):
            raise ValueError(
                f"{part[:40]!a} has half of a character (\\ud800 to \\udfff) alone; expected text that UTF-8 "
                "can hold"
            )
