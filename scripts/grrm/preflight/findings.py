"""What a check found, and the table of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed", "unknown"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: what was looked at.
        status: ok; warning: the run may suffer; failed: it cannot work; unknown: not to be seen from here.
        found: what was seen.
        remedy: what to do, with the key to change; empty if nothing is.
    """

    check: str
    status: Status
    found: str
    remedy: str = ""


def ok(check: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(check, "ok", found)


def failed(check: str, found: str, remedy: str) -> Finding:
    """The run cannot work like this."""
    return Finding(check, "failed", found, remedy)


def warning(check: str, found: str, remedy: str) -> Finding:
    """The run may suffer."""
    return Finding(check, "warning", found, remedy)


def unknown(check: str, found: str) -> Finding:
    """It could not be looked at here; it is not known to be right."""
    return Finding(check, "unknown", found)


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """Those that say the same in one, in the order of the first: most rules ask for the same."""
    alike: dict[tuple[Status, str, str], list[str]] = {}
    for finding in findings:
        alike.setdefault((finding.status, finding.found, finding.remedy), []).append(finding.check)
    merged = []
    for (status, found, remedy), checks in alike.items():
        others = len(set(checks)) - 1
        check = checks[0] + (f" and {others} other{'s' if others > 1 else ''}" if others else "")
        merged.append(Finding(check, status, found, remedy))
    return merged


def failures(findings: Iterable[Finding]) -> list[Finding]:
    """Those that stop a run."""
    return [finding for finding in findings if finding.status == "failed"]


def format_table(findings: Sequence[Finding]) -> str:
    """One line for each finding, what to do below those that need it, and a last line that counts them."""
    width = max((len(finding.check) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<8}{finding.check:<{width}}  {finding.found}")
        if finding.remedy:
            lines.append(f"{'':<{8 + width}}  -> {finding.remedy}")
    counts = [
        f"{sum(finding.status == status for finding in findings)} {word}"
        for status, word in (
            ("failed", "failed"),
            ("warning", "with a warning"),
            ("unknown", "not checked"),
            ("ok", "ok"),
        )
    ]
    return "\n".join([*lines, "", f"{len(findings)} checks: {', '.join(counts)}"])
