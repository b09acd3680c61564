"""Labels in published rows. Any value may be a JSON string; arrays may be numpy's, as verl reads Parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def decoded(value: Any) -> Any:
    """What a JSON string holds; any other value as it is."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def output_labels(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The label of each answer, `output[i].answer.label`, empty where there is none.

    `output` may be one answer alone, and the key `answer` may be left out.
    """
    output = decoded(row.get("output"))
    if isinstance(output, Mapping):
        output = [output]
    try:
        answers = [] if isinstance(output, str) else list(output)
    except TypeError:
        return []
    return [_label(decoded(answer)) for answer in answers]


def _label(answer: Any) -> Mapping[str, Any]:
    for key in ("answer", "label"):
        if not isinstance(answer, Mapping):
            return {}
        answer = decoded(answer.get(key, answer if key == "answer" else None))
    return answer if isinstance(answer, Mapping) else {}
