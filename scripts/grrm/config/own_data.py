"""A user's own files (`data.files`, `data.test_sets`, `judges.data`): which of them make which table."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from grrm.catalogue.trainings import STAGES, TRAININGS
from grrm.config.teacher import annotation_folder
from grrm.files import UserError

Task: TypeAlias = Literal["ranking", "translation"]
TASKS: tuple[Task, ...] = ("ranking", "translation")
PUBLISHED = "published"
"""What `data.test_sets` has for a test set of config/datasets.yaml where it has own ones too."""
TEACHER = "teacher"
"""The key of tables that a teacher makes."""
HELD_OUT = 0.1
"""Share of the rows that is held out where there is no test set (`data.held_out`)."""


@dataclass(frozen=True)
class OwnFiles:
    """Files that one table is made of.

    Attributes:
        key: where the configuration names them.
        files: in order; of plain text, those of the sources.
        targets: of plain text, the targets, as many as there are `files`; of a test set its references, each
            of them one file. Empty of files of rows, and of a test set without references.
        plain: whether they are plain text, one segment a line.
        columns: column of our tables -> what the files call it, or several columns that make one list.
        pair: their languages such as de-hsb; None where the rows say them.
        source, target: the same, one by one.
    """

    key: str
    files: tuple[str, ...]
    targets: tuple[str, ...] = ()
    plain: bool = False
    columns: Mapping[str, str | list[str]] | None = None
    pair: str | None = None
    source: str | None = None
    target: str | None = None

    @property
    def every(self) -> list[str]:
        """All files."""
        return [*self.files, *self.targets]

    @property
    def options(self) -> list[str]:
        """Words for scripts/read_files.py, but for the table and what goes to it."""
        given = {"--pair": self.pair, "--from": self.source, "--to": self.target}
        return [
            *("--key", self.key),
            *("--input", *self.files),
            *(["--plain"] if self.plain else []),
            *(["--target", *self.targets] if self.targets else []),
            *(["--columns", json.dumps(self.columns)] if self.columns else []),
            *(word for option, value in given.items() if value for word in (option, value)),
        ]


def own_files(config: Mapping[str, Any], folder: str | Path = "") -> dict[str, OwnFiles]:
    """The files of each training table that is given, or made from another that is; by stage.

    Args:
        config: the resolved configuration.
        folder: that their paths are relative to.

    Raises:
        UserError: a file is not there.
    """
    given = config["data"].get("files") or {}
    found = {}
    for stage in STAGES:
        if (annotated := _made_by_teacher(stage, given, config)) is not None:
            found[stage] = annotated
        elif (name := _made_from(stage, given)) is not None:
            found[stage] = _files(f"data.files.{name}", given[name], Path(folder))
    return found


def _made_by_teacher(stage: str, given: Mapping[str, Any], config: Mapping[str, Any]) -> OwnFiles | None:
    """The table that a teacher makes in place of one that is not given: rankings, reasoned translations."""
    teacher, row = config.get("teacher"), TRAININGS[stage]
    if teacher is None or not given or stage in given:
        return None
    folder = annotation_folder(config)
    if row.task == "ranking" and _made_from(stage, given) is None:
        return OwnFiles(TEACHER, (f"{folder}/rankings.parquet",))
    if row.table == "cot" and teacher["translations"] is not None:
        return OwnFiles(f"{TEACHER}.translations", (f"{folder}/translations.parquet",))
    return None


def _made_from(stage: str, given: Mapping[str, Any]) -> str | None:
    """The key of the files that a table is made of: its own, or that of the other table of its task."""
    others = [other for other in STAGES if TRAININGS[other].task == TRAININGS[stage].task]
    return next((name for name in [stage, *others] if name in given), None)


def own_test_sets(config: Mapping[str, Any]) -> dict[str, tuple[Task, OwnFiles]]:
    """The user's own test sets by name: what they test, and their files.

    Raises:
        UserError: a file is not there.
    """
    sets = config["data"]["test_sets"]
    return {
        name: (item["task"], _files(f"data.test_sets.{name}", item, Path()))
        for name, item in (sets.items() if isinstance(sets, Mapping) else ())
        if item != PUBLISHED
    }


def own_judge_files(config: Mapping[str, Any], kind: str) -> OwnFiles:
    """The files of rows that judges are trained on (`judges.data.source: files`).

    Args:
        config: the resolved configuration, with judges.
        kind: of the training: sft, pointwise, pairwise or bradley_terry.

    Raises:
        UserError: none is given, or a file is not there.
    """
    key = f"judges.data.{kind}"
    if (given := config["judges"]["data"][kind]) is None:
        raise UserError(
            f"key '{key}' is null, expected a path, several or a pattern such as data/*.jsonl with "
            "judges.data.source 'files': give the files that this training reads"
        )
    return _files(key, given, Path())


def published_test_sets(config: Mapping[str, Any]) -> list[str]:
    """The test sets of config/datasets.yaml that are chosen."""
    sets = config["data"]["test_sets"]
    if not isinstance(sets, Mapping):
        return list(sets)
    return [name for name, item in sets.items() if item == PUBLISHED]


def held_out_share(config: Mapping[str, Any]) -> float:
    """The share of the rows that is held out where there is no test set."""
    return float(config["data"].get("held_out", HELD_OUT))


def what_to_give(table: str) -> str:
    """What makes a table that no file is given for, in words."""
    ranking, translation = ([stage for stage in STAGES if TRAININGS[stage].task == task] for task in TASKS)
    needed = f"the training of {table}" if table in STAGES else "the evaluation"
    if table not in (*ranking, "ranking_test"):
        return f"{needed} needs sentence pairs: give {_keys(translation)}"
    more = "" if table in STAGES else ", or a test set of the task ranking in data.test_sets"
    return (
        f"{needed} needs rankings: give {_keys(ranking)}{more}; with a finished GRRM "
        f"(evaluate.start_from.{ranking[-1]}) {' and '.join(translation)} can be asked for without, and a "
        "teacher makes them of sentence pairs (section teacher)"
    )


def _keys(stages: Sequence[str]) -> str:
    return " or ".join(f"data.files.{stage}" for stage in stages)


def _files(key: str, item: Any, folder: Path) -> OwnFiles:
    """The files that an item of the configuration names, each of which is there."""

    def found(value: str | Sequence[str]) -> tuple[str, ...]:
        paths = [value] if isinstance(value, str) else value
        return tuple(path for pattern in paths for path in _matches(key, pattern, folder))

    if not isinstance(item, Mapping):
        return OwnFiles(key, found(item))
    languages = {"pair": item.get("pair"), "source": item.get("from"), "target": item.get("to")}
    if "source" in item:
        targets = found(item["target"]) if "target" in item else ()
        return OwnFiles(key, found(item["source"]), targets, True, None, **languages)
    files = found(item.get("path") or item["file"])
    return OwnFiles(key, files, (), False, item.get("columns"), **languages)


def _matches(key: str, pattern: str, folder: Path) -> Iterator[str]:
    if (folder / pattern).is_file():
        yield pattern
        return
    if (folder / pattern).is_dir():
        files = f"{pattern.rstrip('/')}/*.tsv"
        raise UserError(f"key '{key}': {pattern} is a folder, expected files such as {files}")
    if not glob.has_magic(pattern):
        raise UserError(f"key '{key}': {pattern}: no such file")
    names = glob.glob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207 (Path's takes no absolute one)
    if not (found := sorted(name for name in names if (folder / name).is_file())):
        raise UserError(f"key '{key}': {pattern}: no file has such a name")
    yield from found
