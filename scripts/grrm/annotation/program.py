"""What the programs that ask a teacher or systems share: options, and how what was dropped is told."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from grrm.annotation.asked import Asked
from grrm.annotation.rankings import check_answered
from grrm.asking.failures import in_words
from grrm.files import UserError
from grrm.inference.backends import BUDGET
from grrm.json_text import parse_json


def add_common_options(parser: argparse.ArgumentParser, section: str) -> None:
    """Options besides what is read and written."""
    parser.add_argument("--settings", required=True, metavar="JSON", help=section)
    parser.add_argument(
        "--journal",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="where answers and calls are kept as they come; what is there is not asked again",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    parser.add_argument("--threads", type=int, help="CPU threads of a model of this machine")


def read_settings(text: str) -> dict[str, Any]:
    """A section of the configuration.

    Raises:
        UserError: it is no object in JSON.
    """
    try:
        settings = parse_json(text)
    except ValueError as error:
        raise UserError(f"--settings: not valid JSON ({error})") from error
    if not isinstance(settings, dict):
        raise UserError(f"--settings: {text[:80]!r}, expected an object in JSON")
    return settings


class _Outcome(Protocol):
    @property
    def dropped(self) -> str | None: ...


T = TypeVar("T", bound=_Outcome)


def sorted_out(found: Iterable[T], kept: list[T], dropped: Counter[str]) -> Iterator[T]:
    """What comes, as it comes; what is kept is added to `kept`, the others are counted by reason."""
    for one in found:
        if one.dropped is None:
            kept.append(one)
        else:
            dropped[one.dropped] += 1
        yield one


def concluded(asked: Asked, kept: int, dropped: Counter[str], most: float, key: str) -> dict[str, Any]:
    """The outcome of all that was asked, told.

    Args:
        asked: the teacher.
        kept: how many.
        dropped: how many by reason.
        most: share that a server may leave unanswered, 0 to 1.
        key: of the budget in the configuration.

    Raises:
        UserError: it has left more unanswered.
    """
    check_answered(dropped, kept + dropped.total() - dropped[BUDGET], most, "teacher", asked.tally.lost)
    found = outcome(asked, kept, dropped)
    print(told(found, key))
    return found


def outcome(asked: Asked, kept: int, dropped: Counter[str]) -> dict[str, Any]:
    """What came of all that was asked: kept, dropped by reason, spent, and whether the budget ended it."""
    spent = asked.spent()
    return {
        "teacher": asked.made_by,
        "total": kept + dropped.total(),
        "kept": kept,
        "dropped": dict(dropped.most_common()),
        "ended_by_budget": bool(dropped[BUDGET]),
        "spent": {"calls": spent.calls, "tokens": spent.tokens, "cost": spent.cost},
    }


def check_kept(found: Mapping[str, Any], path: Path, what: str, answers: Path) -> None:
    """Raise UserError, with the reasons, if nothing was kept.

    Args:
        found: see `outcome`.
        path: of what was asked about.
        what: it is, in a word.
        answers: where they can be read.
    """
    if not found["kept"]:
        raise UserError(
            f"{path}: no {what} is left of {found['total']} ({in_words(found['dropped'])}); see in "
            f"{answers} what the teacher answered"
        )


def told(found: Mapping[str, Any], key: str) -> str:
    """The outcome in a line or two.

    Args:
        found: see `outcome`.
        key: of the budget in the configuration.
    """
    reasons, spent = in_words(found["dropped"]), found["spent"]
    lines = [
        f"{found['kept']} of {found['total']} kept" + (f"; dropped: {reasons}" if reasons else ""),
        f"spent in all launches: {spent['calls']:.0f} calls, {spent['tokens']:.0f} tokens, "
        f"cost {spent['cost']:.4g}",
    ]
    if found["ended_by_budget"]:
        lines.append(
            f"the budget is spent: {found['dropped'][BUDGET]} were not asked about; with a larger {key} "
            "the same command asks about these"
        )
    return "\n".join(lines)
