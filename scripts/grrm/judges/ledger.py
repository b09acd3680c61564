"""What a judge was asked in a whole training: totals of the files that `JudgeOptions.ledger` names."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from grrm.files import read_jsonl


def total_calls(ledgers: Iterable[Path]) -> dict[str, Any]:
    """Totals over several launches; files that are not there count nothing.

    Returns:
        requests (those sent and those answered from the cache), answered, cached, failed, failures by reason,
        prompt_tokens, completion_tokens, cost, models, and seconds of those sent: median, p95 and sum (None
        without any).
    """
    rows = [row for ledger in ledgers if ledger.exists() for row in read_jsonl(ledger)]
    failures = Counter(row["reason"] for row in rows if row["reason"] is not None)
    cached = sum(row["cached"] for row in rows)
    seconds = sorted(row["seconds"] for row in rows if not row["cached"])
    return {
        "requests": len(rows),
        "answered": len(rows) - cached - failures.total(),
        "cached": cached,
        "failed": failures.total(),
        "failures": dict(failures.most_common()),
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
