"""What a judge was asked: counted in a client, written line by line, summed up over a whole training."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from grrm.files import read_jsonl
from grrm.json_text import json_line


@dataclass
class Counts:
    """Counts of what was asked: requests = answered + cached + shared + failures.

    `calls` are HTTP requests sent, `errors` those that failed by reason, `failures` the requests that did
    in the end. `unparsable` are answers without a verdict.
    """

    requests: int = 0
    answered: int = 0
    cached: int = 0
    shared: int = 0
    calls: int = 0
    unparsable: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, float]:
        """The counts under flat names, for logs."""
        flat: dict[str, float] = {}
        for option in fields(self):
            value = getattr(self, option.name)
            if isinstance(value, Counter):
                flat |= {f"{option.name}/{reason}": count for reason, count in sorted(value.items())}
                flat[option.name] = value.total()
            else:
                flat[option.name] = value
        return flat


def write_call(path: Path, row: Mapping[str, Any]) -> None:
    """Append what became of a request, as `total_calls` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json_line(row) + "\n")


def _rows(ledgers: Iterable[Path]) -> list[Any]:
    """What was noted; a last line that a kill cut off does not count."""
    return [row for ledger in ledgers if ledger.exists() for row in read_jsonl(ledger, cut=True)]


@dataclass(frozen=True)
class Spent:
    """What was asked so far.

    Attributes:
        calls: sent over HTTP, tries that failed among them.
        tokens: of prompts and answers.
        cost: by the prices of the client's options.
    """

    calls: float = 0
    tokens: float = 0
    cost: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.calls + other.calls, self.tokens + other.tokens, self.cost + other.cost)


def spent_in(ledgers: Iterable[Path], model: str) -> Spent:
    """What a model has taken by these ledgers; files that are not there count nothing.

    Calls of clients with a budget, or `note_calls`, are noted when they are sent and when they are answered
    (`grrm.asking.money`); those without the second note count at the most they could take. Others are known
    by their requests alone.
    """
    total, sent = Spent(), dict[str, Spent]()
    for row in (row for row in _rows(ledgers) if row["model"] == model):
        if name := row.get("sent") or row.get("settled"):
            sent[name] = Spent(row["calls"], row["tokens"], row["cost"])
        elif "request" in row and not (row["cached"] or row.get("noted")):
            total += Spent(1, row["prompt_tokens"] + row["completion_tokens"], row["cost"])
    return sum(sent.values(), total)


def total_calls(ledgers: Iterable[Path]) -> dict[str, Any]:
    """Totals over several launches; files (`JudgeOptions.ledger`) that are not there count nothing.

    Returns:
        requests (those sent and those answered from the cache), answered, cached, failed, failures by reason,
        without_verdict (answers that could not be read, also those that were asked for again), prompt_tokens,
        completion_tokens, cost, models, and seconds of those sent: median, p95 and sum (None without any).
    """
    noted = _rows(ledgers)
    rows = [row for row in noted if "request" in row]
    failures = Counter(row["reason"] for row in rows if row["reason"] is not None)
    cached = sum(row["cached"] for row in rows)
    seconds = sorted(row["seconds"] for row in rows if not row["cached"])
    return {
        "requests": len(rows),
        "answered": len(rows) - cached - failures.total(),
        "cached": cached,
        "failed": failures.total(),
        "failures": dict(failures.most_common()),
        "without_verdict": sum("without_verdict" in row for row in noted),
        "prompt_tokens": sum(row["prompt_tokens"] for row in rows),
        "completion_tokens": sum(row["completion_tokens"] for row in rows),
        "cost": sum(row["cost"] for row in rows),
        "models": sorted({row["model"] for row in rows}),
        "seconds": {
            "median": statistics.median(seconds) if seconds else None,
            "p95": seconds[int(0.95 * (len(seconds) - 1))] if seconds else None,
            "sum": round(sum(seconds), 3),
        },
    }
