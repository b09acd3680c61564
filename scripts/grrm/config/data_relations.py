"""Keys of the section `data` that contradict each other: a user's own files and test sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from grrm.config.own_data import PUBLISHED, TASKS
from grrm.files import UserError
from grrm.languages import language_code, language_pair

# Columns that several of a file's can make.
_LISTS = ("mt_texts", "scores", "references")


def data_contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """What does not go together in the section `data`, in words."""
    data = config["data"]
    source, files = data["source"], data.get("files")
    if source == "files" and not files:
        yield "data.files is missing, expected files of at least one table with data.source 'files'"
    for key in ("files", "held_out"):
        if source != "files" and data.get(key) is not None:
            yield f"data.{key} is set and data.source is {source!r}, expected 'files'"
    for stage, item in (files or {}).items():
        if isinstance(item, Mapping):
            yield from _table(f"data.files.{stage}", item)
    yield from _test_sets(data)


def _table(key: str, item: Mapping[str, Any]) -> Iterator[str]:
    """A table of training, given by more than its files."""
    if ("path" in item) == ("source" in item):
        yield f"{key} has {_keys(item)}, expected path, or source and target"
    elif "source" in item and not {"target", "from", "to"} <= item.keys():
        yield f"{key} has {_keys(item)}, expected source, target, from and to for plain text"
    yield from _plain(key, item)
    for name in ("from", "to"):
        if name in item:
            yield from _languages(f"{key}.{name}", item[name], pair=False)


def _plain(key: str, item: Mapping[str, Any]) -> Iterator[str]:
    """What goes with plain text, and what does not."""
    for name, theirs in item.get("columns", {}).items():
        if not isinstance(theirs, str) and name not in _LISTS:
            yield f"{key}.columns.{name} has {len(theirs)} columns, expected one: it is no list"
    if "target" in item and "source" not in item:
        yield f"{key}.target is set, expected source beside it"
    if "columns" in item and "source" in item:
        yield f"{key}.columns is set, expected none with source: plain text has no columns"


def _test_sets(data: Mapping[str, Any]) -> Iterator[str]:
    """Own test sets, and held-out rows beside them."""
    sets = data["test_sets"]
    own = {
        name: item for name, item in (sets.items() if isinstance(sets, Mapping) else ()) if item != PUBLISHED
    }
    if own and data["source"] not in ("files", "hub"):
        yield (
            f"data.test_sets has {next(iter(own))!r} and data.source is {data['source']!r}, expected 'files' "
            "or 'hub' with test sets of one's own"
        )
    if {item["task"] for item in own.values()} == set(TASKS) and "held_out" in data:
        yield (
            f"data.held_out is {data['held_out']} and data.test_sets has sets of both tasks, expected one of "
            "the two: rows are held out where there is no test set"
        )
    for name, item in own.items():
        key = f"data.test_sets.{name}"
        if ("file" in item) == ("source" in item):
            yield f"{key} has {_keys(item)}, expected file, or source for plain text"
        if "source" in item and "pair" not in item:
            yield f"{key} has {_keys(item)}, expected a pair such as de-hsb for plain text"
        if "source" in item and item["task"] == "ranking":
            yield f"{key}.source is set, expected file: plain text has no candidates and no scores"
        yield from _plain(key, item)
        if "pair" in item:
            yield from _languages(f"{key}.pair", item["pair"], pair=True)


def _languages(key: str, value: str, *, pair: bool) -> Iterator[str]:
    try:
        (language_pair if pair else language_code)(value)
    except UserError as error:
        yield f"{key}: {error}"


def _keys(item: Mapping[str, Any]) -> str:
    return ", ".join(item) or "no keys"
