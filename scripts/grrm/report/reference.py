"""What was published (config/reference_results.yaml), cell by cell, and which score of ours stands beside it.

Imported while the Snakefile is parsed, so nothing heavier than PyYAML and jsonschema is imported here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grrm.config.schema import load_schema, validator
from grrm.files import UserError, read_yaml

Settings = Sequence[Mapping[str, Any]]

_REASONS = 3  # shown of those why two numbers cannot be compared


@dataclass(frozen=True)
class Cell:
    """One published number and how to find ours.

    Attributes:
        table: key of the table.
        row, column, metric: keys in that table; `column` is the name of a test set or of a mean over several,
            `metric` is our name of it.
        labels: of table, row, column and metric, as printed.
        value: as printed; None where the table has a dash.
        factor: `value` is to be compared with our value times this.
        task: `ranking` or `translation`.
        test_sets: those it stands on; more than one for a mean.
        system: ours that stands for the row; None if none does.
        why: why none does.
        when: alternatives of settings, dotted keys to values, under which the two can be compared: one of
            them for the row and one for the metric; empty: always.
        source: repository, revision, file and section it was read in.
    """

    table: str
    row: str
    column: str
    metric: str
    labels: tuple[str, str, str, str]
    value: float | None
    factor: float
    task: str
    test_sets: tuple[str, ...]
    system: str | None
    why: str | None
    when: tuple[Settings, ...]
    source: str


def load_reference(path: str | Path, schema: str | Path) -> dict[str, Any]:
    """The published tables, checked.

    Raises:
        UserError: the file does not fit its schema, names a document that it does not describe, or has a row
            with another number of values than columns.
    """
    reference = read_yaml(path)
    errors = validator(load_schema(schema)).iter_errors(reference)
    for error in sorted(errors, key=lambda error: list(map(str, error.path))):
        raise UserError(f"{path}, {'.'.join(map(str, error.absolute_path)) or 'top level'}: {error.message}")
    for name, table in reference["tables"].items():
        if table["source"] not in reference["sources"]:
            raise UserError(
                f"{path}, tables.{name}.source is {table['source']!r}, "
                f"expected one of {', '.join(reference['sources'])}"
            )
        for row, entry in table["rows"].items():
            sizes = {metric: len(values) for metric, values in entry["values"].items()}
            expected = dict.fromkeys(table["metrics"], len(table["columns"]))
            if sizes != expected:
                raise UserError(
                    f"{path}, tables.{name}.rows.{row}.values: sizes {sizes}, expected {expected}"
                )
    loaded: dict[str, Any] = reference
    return loaded


def cells(reference: Mapping[str, Any]) -> Iterator[Cell]:
    """Every cell of every table, row by row."""
    for name, table in reference["tables"].items():
        source = reference["sources"][table["source"]]
        place = f"{source['repository']}@{source['revision']}, {source['file']}, {table['section']}"
        for row, entry in table["rows"].items():
            for metric, about in table["metrics"].items():
                for (column, head), value in zip(
                    table["columns"].items(), entry["values"][metric], strict=True
                ):
                    yield Cell(
                        name,
                        row,
                        column,
                        metric,
                        (table["title"], entry["printed"], head["printed"], about["printed"]),
                        value,
                        about["factor"],
                        table["task"],
                        tuple(head.get("mean_of", [column])),
                        entry["ours"],
                        entry.get("why"),
                        tuple(part["when"] for part in (entry, about) if "when" in part),
                        place,
                    )


def means(reference: Mapping[str, Any], task: str, test_sets: Sequence[str]) -> dict[str, list[str]]:
    """Published means over several test sets, by name, as far as an experiment has all of these sets."""
    return {
        column: head["mean_of"]
        for table in reference["tables"].values()
        if table["task"] == task
        for column, head in table["columns"].items()
        if set(head.get("mean_of", [])) & set(test_sets) and set(head["mean_of"]) <= set(test_sets)
    }


def incomparable(cell: Cell, config: Mapping[str, Any]) -> str | None:
    """Why no score of an experiment can stand beside a cell; None if one can.

    Args:
        cell: the published number.
        config: the experiment's resolved configuration.
    """
    if cell.value is None:
        return "nothing was published"
    if cell.system is None:
        return cell.why
    for alternatives in cell.when:
        misses = [_misses(settings, config) for settings in alternatives]
        if all(misses):
            # What comes closest is what was meant: a training, or one of the released models.
            shares = [
                len(found) / len(settings) for found, settings in zip(misses, alternatives, strict=True)
            ]
            return _shortened(misses[shares.index(min(shares))])
    missing = set(cell.test_sets) - set(config["data"]["test_sets"])
    return f"test sets {', '.join(sorted(missing))} are not in data.test_sets" if missing else None


def find_score(cell: Cell, document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Our score for a cell: value, interval, n, signature; None if it was not computed.

    Args:
        cell: the published number.
        document: scores of the cell's task, as score_rankings or score_translations writes them.
    """
    for system in document["systems"]:
        if system["name"] == cell.system:
            score: Mapping[str, Any] | None = (
                system["by_set"].get(cell.column, {}).get("metrics", {}).get(cell.metric)
            )
            return score
    return None


def _misses(settings: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Settings that differ, in words."""
    return [
        f"{key} is {found!r}, published is {value!r}"
        for key, value in settings.items()
        if (found := _setting(config, key)) != value
    ]


def _shortened(reasons: Sequence[str]) -> str:
    more = len(reasons) - _REASONS
    return "; ".join([*reasons[:_REASONS], *([f"and {more} more"] if more > 0 else [])])


def _setting(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
