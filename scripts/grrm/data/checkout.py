"""A checkout of the authors' repository: which commit and bytes it must have, and cloning it with git."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from grrm.config import resolve
from grrm.files import UserError, atomic_path, read_yaml, write_text

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HEADER = """\
# Written by scripts/fetch_upstream.py from upstream.yaml; commit it, do not edit it.
# A file of the checkout whose bytes differ from this is an error.
"""


@dataclass(frozen=True)
class Pin:
    """What a checkout must be.

    Attributes:
        repository: address that git can clone.
        commit: its 40 hexadecimal digits.
        files: path of each file that is read -> its SHA-256, or None as long as it is not known.
    """

    repository: str
    commit: str
    files: Mapping[str, str | None]


def load_pin(path: str | Path, schema: str | Path, lock: str | Path) -> Pin:
    """The pin, with the sums of the lock where the pin itself has none.

    Raises:
        UserError: a file is not of its form, or the lock is of another repository or commit, or contradicts
            the pin.
    """
    try:
        pin = resolve(_read_yaml(path), schema)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    files = dict(pin["files"])
    if Path(lock).exists():
        locked = _read_yaml(lock)
        again = f"remove {lock} if the new one is meant, it is written again"
        for key in ("repository", "commit"):
            if locked.get(key) != pin[key]:
                raise UserError(f"{lock}: {key} is {locked.get(key)!r}, {path} says {pin[key]!r}; {again}")
        sums = locked.get("files")
        for file in files:
            sha256 = sums.get(file) if isinstance(sums, dict) else None
            if not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
                raise UserError(f"{lock}: the SHA-256 of {file} is {sha256!r}, expected 64 digits; {again}")
            if files[file] not in (None, sha256):
                raise UserError(f"{lock}: {file} has {sha256}, {path} says {files[file]}; {again}")
            files[file] = sha256
    return Pin(pin["repository"], pin["commit"], files)


def write_lock(path: str | Path, pin: Pin, sources: Mapping[str, bytes]) -> None:
    """Write down the sums of the files that were read."""
    content = {
        "repository": pin.repository,
        "commit": pin.commit,
        "files": {file: _sha256(sources[file]) for file in sorted(sources)},
    }
    write_text(path, _HEADER + yaml.safe_dump(content, sort_keys=False, width=200))


def read_sources(checkout: str | Path, pin: Pin) -> dict[str, bytes]:
    """The pinned files of a checkout, each with the sum that is known for it.

    As long as a sum is not known, git must say that the checkout has the commit, and the files as they are
    there.

    Raises:
        UserError: a file is missing or has other bytes, the checkout is of another commit, or nothing tells
            which bytes are right.
    """
    folder = Path(checkout)
    sources = {}
    for file, expected in pin.files.items():
        try:
            sources[file] = (folder / file).read_bytes()
        except OSError as error:
            raise UserError(
                f"{folder / file}: cannot be read ({error.strerror}); expected a checkout of "
                f"{pin.repository} at {pin.commit}"
            ) from error
        found = _sha256(sources[file])
        if expected not in (None, found):
            raise UserError(
                f"{folder / file}: SHA-256 is {found}, expected {expected}; check out commit {pin.commit} of "
                f"{pin.repository} without changes"
            )
    if unknown := [file for file, expected in pin.files.items() if expected is None]:
        if not (folder / ".git").exists():
            raise UserError(
                f"{folder}: is no checkout of git, and the SHA-256 of {', '.join(unknown)} is not known yet: "
                f"nothing tells whether these are the files of {pin.repository} at {pin.commit}; clone it (a "
                "folder with .git in it), or write the sums into config/upstream.yaml"
            )
        _check_commit(folder, pin)
    return sources


def clone(pin: Pin, checkout: str | Path) -> None:
    """Clone the repository and check the commit out; the folder is there whole or not at all.

    Raises:
        UserError: git is missing, the repository cannot be reached, or it does not have the commit.
    """
    own = "or name a checkout of your own (prompts.checkout)"
    # Bytes as committed: no conversion of line ends. A dead connection ends after a minute.
    settings = ("core.autocrlf=false", "http.lowSpeedLimit=1000", "http.lowSpeedTime=60")
    options = [part for setting in settings for part in ("-c", setting)]
    with atomic_path(checkout) as partial:
        _git(
            *("clone", "--quiet", "--no-checkout", *options, "--", pin.repository, str(partial)),
            failure=f"{pin.repository}: cannot be cloned; run again where it can be reached, {own}",
        )
        _git(
            *("-C", str(partial), "checkout", "--quiet", "--detach", pin.commit),
            failure=f"{pin.repository}: commit {pin.commit} cannot be checked out; correct the commit, {own}",
        )


def _check_commit(folder: Path, pin: Pin) -> None:
    within = ("-C", str(folder))
    failure = f"{folder}: git cannot tell its commit"
    head = _git(*within, "rev-parse", "HEAD", failure=failure).strip()
    if head != pin.commit:
        raise UserError(
            f"{folder}: is at commit {head}, expected {pin.commit}: git -C {folder} checkout {pin.commit}"
        )
    changed = _git(*within, "status", "--porcelain", "--", *pin.files, failure=failure).strip()
    if changed:
        raise UserError(f"{folder}: has local changes ({changed}): git -C {folder} checkout -- .")


def _git(*arguments: str, failure: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL,
            # A private or misspelt repository must not wait for a password.
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        )
    except FileNotFoundError as error:
        raise UserError(f"{failure} (git is not installed)") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise UserError(f"{failure} (git: {said})")
    return done.stdout


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_yaml(path: str | Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping, found {type(content).__name__}")
    return content
