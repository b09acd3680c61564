"""Paper against ours: every published number with our value, the difference and a verdict.

The rule (`judge`): a published number is *reproduced* if it lies within our interval, else ours is *above* or
*below* it. Published numbers come without intervals, and both stand on the same test segments, so our interval
is an ample allowance for their choice; it allows nothing for the chance in training. A number is judged only
if ours is of the same thing: the same metric, test set, base model and training (`when` in
config/reference_results.yaml); otherwise the two are *not comparable*, and it says why. What was not measured
is *not run*.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jsonschema
import yaml

from grrm.files import UserError

Verdict = Literal["reproduced", "above", "below", "not_comparable", "not_run"]
VERDICTS: tuple[Verdict, ...] = ("reproduced", "above", "below", "not_comparable", "not_run")

# Published numbers have two digits after the point.
_ROUNDING = 0.005


def load_reference(path: str | Path, schema: str | Path) -> dict[str, Any]:
    """The published tables.

    Raises:
        UserError: the file is missing, does not fit its schema, or a row has not one value for each column.
    """
    try:
        reference: dict[str, Any] = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not a table of published results ({error})") from error
    validator = jsonschema.Draft202012Validator(yaml.safe_load(Path(schema).read_text(encoding="utf-8")))
    for problem in validator.iter_errors(reference):
        where = ".".join(map(str, problem.absolute_path)) or "the whole"
        raise UserError(f"{path}, {where}: {problem.message} ({Path(schema).name})")
    for name, table in reference["tables"].items():
        for row, entry in table["rows"].items():
            for metric, values in entry["values"].items():
                if len(values) != len(table["columns"]):
                    raise UserError(
                        f"{path}, {name}.{row}.{metric}: {len(values)} values for {len(table['columns'])} "
                        "columns; expected one each, null for a dash"
                    )
    return reference


def judge(published: float, low: float, high: float) -> Verdict:
    """The verdict on comparable numbers: where the published one lies in our interval [low, high].

    All three on the published scale. The ends count as inside, and so does what was rounded to
    two digits.
    """
    if low - published > _ROUNDING:
        return "above"
    if published - high > _ROUNDING:
        return "below"
    return "reproduced"


def compare_with_paper(
    reference: Mapping[str, Any],
    config: Mapping[str, Any],
    scores: Mapping[tuple[str, str, str], Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """One entry for every published number, in the order of the tables.

    Args:
        reference: see `load_reference`.
        config: the experiment's resolved configuration.
        scores: our estimates (value, low, high, n) by system, test set (or mean) and metric, in our units.
    """
    return list(_cells(reference, config, scores))


def _cells(
    reference: Mapping[str, Any],
    config: Mapping[str, Any],
    scores: Mapping[tuple[str, str, str], Mapping[str, Any]],
) -> Iterator[dict[str, Any]]:
    for table_name, table in reference["tables"].items():
        for row_name, row in table["rows"].items():
            for metric_name, values in row["values"].items():
                metric = table["metrics"][metric_name]
                for column, published in zip(table["columns"], values, strict=True):
                    if published is None:
                        continue
                    cell = {
                        "table": table_name,
                        "row": row_name,
                        "column": column,
                        "metric": metric_name,
                        "published": published,
                    }
                    ours = scores.get((row["ours"], column, metric_name))
                    if ours is None:
                        yield {**cell, **_NOTHING, "reason": _why_not_run(row, column, metric_name, scores)}
                        continue
                    factor = metric["factor"]
                    value, low, high = (ours[key] * factor for key in ("value", "low", "high"))
                    reason = "; ".join(
                        filter(None, (_unlike(part.get("when"), config) for part in (row, metric)))
                    )
                    yield {
                        **cell,
                        "value": value,
                        "low": low,
                        "high": high,
                        "n": ours["n"],
                        "difference": value - published,
                        "verdict": "not_comparable" if reason else judge(published, low, high),
                        "reason": reason or None,
                    }


_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("value", "low", "high", "n", "difference")),
    "verdict": "not_run",
}


def _why_not_run(
    row: Mapping[str, Any],
    column: str,
    metric: str,
    scores: Mapping[tuple[str, str, str], Mapping[str, Any]],
) -> str:
    if row["ours"] is None:
        return str(row["why"])
    if not any(key[0] == row["ours"] for key in scores):
        return f"{row['ours']} was not evaluated in this experiment"
    if not any(key[:2] == (row["ours"], column) for key in scores):
        return f"the test set {column} is not part of this experiment"
    return f"{metric} was not computed in this experiment"


def _unlike(alternatives: Sequence[Mapping[str, Any]] | None, config: Mapping[str, Any]) -> str:
    """What keeps ours from being what was published: the differences from the nearest alternative."""
    if alternatives is None:
        return ""
    differences = [
        [
            f"{key} is {_show(_look_up(config, key))}, published: {_show(wanted)}"
            for key, wanted in alternative.items()
            if _look_up(config, key) != wanted
        ]
        for alternative in alternatives
    ]
    return "; ".join(min(differences, key=len))


def _look_up(config: Mapping[str, Any], dotted: str) -> Any:
    value: Any = config
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _show(value: Any) -> str:
    return "not set" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
