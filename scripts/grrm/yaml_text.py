"""YAML as this project reads it: what a reader may take otherwise than it is meant is refused.

YAML 1.1 has keys that are no text (`on:`, `1:`), takes the last of two keys of one name without a word, and
reads 2026-01-01 as a date, 24:00:00 as 86400 and 010 as 8; numbers may be no numbers.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times as fast
_TAG = "tag:yaml.org,2002:"
_DEPTH = 100  # libyaml's own limit is that of the stack, behind which the process dies
_MOST = 1_000_000  # values, those that aliases repeat among them
_LARGEST = 2**63
_DIGITS = 25  # more than any such number has
_NUMBERS = (f"{_TAG}int", f"{_TAG}float")
_OCTAL = re.compile(r"[-+]?0[0-7_]+")


def parse_yaml(text: str) -> Any:
    """A document of YAML.

    Raises:
        yaml.YAMLError: it is not YAML, or holds something that is refused; in one line, with its place.
    """
    try:
        _check_depth(text)
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        for problem in _refused(node):
            raise yaml.YAMLError(problem)
        value = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise yaml.YAMLError(_one_line(error)) from error
    except (UnicodeEncodeError, yaml.reader.ReaderError) as error:  # half a character, or a control character
        raise yaml.YAMLError(" ".join(str(error).split())) from error
    for problem in unusable(value):
        raise yaml.YAMLError(problem)
    return value


def unusable(value: Any) -> Iterator[str]:
    """What cannot stand in a configuration, one message for each: keys that are no text, numbers that are
    none or huge, dates, the character NUL, and sections without an end.

    Args:
        value: keys and values, however they were read.
    """
    parts: list[tuple[str, Any, int]] = [("", value, 0)]
    count = 0
    while parts:
        where, part, depth = parts.pop()
        count += 1
        at = f"key {where!r}" if where else "the whole"
        if depth > _DEPTH:
            yield f"key {where[:40]!r}... is more than {_DEPTH} levels deep"
            return
        if count > _MOST:
            yield f"more than {_MOST} values"
            return
        if isinstance(part, dict):
            prefix = f"{where}." if where else ""
            for key in part:
                if problem := _problem_of(key) if isinstance(key, str) else "no text: put it in quotes":
                    yield f"{at} has the key {key!r}, which is {problem}"
            parts += [(f"{prefix}{key}", below, depth + 1) for key, below in reversed(part.items())]
        elif isinstance(part, list):
            numbered = reversed([*enumerate(part)])
            parts += [(f"{where}.{number}", below, depth + 1) for number, below in numbered]
        elif problem := _problem_of(part):
            yield f"{at} is {problem}"


def _problem_of(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value}, expected a finite number"
    if isinstance(value, int) and abs(value) >= _LARGEST:
        return f"a number of {value.bit_length()} bits, expected one of 63 at most"
    if isinstance(value, datetime.date):
        return f"{value}, which YAML reads as a date: put it in quotes"
    if isinstance(value, str) and "\0" in value:
        return f"{value!r}, expected text without the character NUL"
    return ""


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEPTH:
            raise yaml.YAMLError(f"{_place(event.start_mark)}: more than {_DEPTH} levels deep")


def _refused(root: yaml.Node) -> Iterator[str]:
    """What is wrong with a document as it is written, each with its line."""
    seen: set[int] = set()
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if id(node) in seen:  # by an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield from _wrong_keys(node)
            nodes += [part for pair in reversed(node.value) for part in reversed(pair)]
        elif isinstance(node, yaml.SequenceNode):
            nodes += reversed(node.value)
        elif node.tag == f"{_TAG}timestamp":
            yield f"{_place(node.start_mark)}: {node.value} is read as a date: put it in quotes"
        elif node.tag == f"{_TAG}int" and len(node.value) > _DIGITS:
            yield f"{_place(node.start_mark)}: a number of {len(node.value)} digits, expected fewer"
        elif node.tag in _NUMBERS and ":" in node.value:
            yield f"{_place(node.start_mark)}: {node.value} is read as a number of base 60: put it in quotes"
        elif node.tag in _NUMBERS and _OCTAL.fullmatch(node.value):
            yield f"{_place(node.start_mark)}: {node.value} is read as a number of base 8: put it in quotes"


def _wrong_keys(node: yaml.MappingNode) -> Iterator[str]:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            yield f"{_place(key.start_mark)}: a key that is no text, expected a name"
        elif key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
            kind = key.tag.removeprefix(_TAG)
            yield f"{_place(key.start_mark)}: the key {key.value} is read as {kind}: put it in quotes"
        elif key.value in lines:
            yield (
                f"{_place(key.start_mark)}: the key {key.value!r} stands twice, first in line "
                f"{lines[key.value]}: remove one of them"
            )
        else:
            lines[key.value] = key.start_mark.line + 1


def _one_line(error: yaml.MarkedYAMLError) -> str:
    words = " ".join(", ".join(filter(None, (error.context, error.problem))).split())
    mark = error.problem_mark or error.context_mark
    return f"{_place(mark)}: {words}" if mark else words


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"
