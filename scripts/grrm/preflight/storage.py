"""Whether what the experiment writes has room, and may be written."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from grrm.preflight.findings import Finding, failed, ok, warning

_GB = 10**9


@dataclass(frozen=True)
class Need:
    """Something that will be written.

    Attributes:
        folder: where.
        what: it is.
        low: bytes, at least.
        high: bytes, at most.
        key: of the configuration that moves it elsewhere or makes it smaller.
    """

    folder: Path
    what: str
    low: float
    high: float
    key: str


def check_space(needs: Iterable[Need]) -> list[Finding]:
    """A finding for each file system: too small is less than the low end of all that goes there."""
    shared: dict[int, list[Need]] = {}
    for need in needs:
        if need.high > 0:
            shared.setdefault(existing(need.folder).stat().st_dev, []).append(need)
    return [_judge(group, shutil.disk_usage(existing(group[0].folder)).free) for group in shared.values()]


def _judge(needs: list[Need], free: float) -> Finding:
    folders = list(dict.fromkeys(str(need.folder) for need in needs))
    low, high = sum(need.low for need in needs), sum(need.high for need in needs)
    kinds: dict[str, list[Need]] = {}
    for need in needs:
        kinds.setdefault(need.what, []).append(need)
    parts = ", ".join(
        f"{what} {_size(sum(need.low for need in group), sum(need.high for need in group))}"
        for what, group in kinds.items()
    )
    found = f"{free / _GB:,.0f} GB free, {_size(low, high)} needed ({parts})"
    check = f"disk {', '.join(folders)}"
    keys = ", ".join(dict.fromkeys(need.key for need in needs))
    if free < low:
        return failed(check, found, f"free some space, or put it elsewhere: {keys}")
    if free < high:
        return warning(check, found, f"it may fill up; free some space, or put it elsewhere: {keys}")
    return ok(check, found)


def check_write(folder: Path, key: str) -> Finding:
    """Whether a file can be made and removed in a folder, or where that folder would be made."""
    check, place = f"write {folder}", existing(folder)
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".preflight-"):
            pass
    except OSError as error:
        return failed(check, f"{place}: {error.strerror}", f"get the right to write there, or change {key}")
    return ok(check, "can be written")


def existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder if folder.is_dir() else folder.parent


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; 0 if there is none."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def _size(low: float, high: float) -> str:
    ends = list(dict.fromkeys(f"{max(end / _GB, 0):,.{0 if end >= 10 * _GB else 1}f}" for end in (low, high)))
    return f"{'-'.join(ends)} GB"
