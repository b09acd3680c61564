"""Fetching data sets and models, byte for byte as the lock says.

The hub's own client makes the requests. Two things it does not do are done here: what a killed process has
downloaded of a file is kept and continued (the client deletes it), and every file is compared with the lock.

Environment: HF_TOKEN (the only place a token is read from), HF_ENDPOINT (a mirror), HF_HUB_OFFLINE=1 (the
network is not asked; files come from the hub's cache), HF_HOME or HF_HUB_CACHE (where that cache lies).
"""

from __future__ import annotations

import fnmatch
import logging
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import hf_hub_url, try_to_load_from_cache
from huggingface_hub.utils import get_session, hf_raise_for_status

from grrm.data.datasets import Entry, Locked, LockedFile, is_inside, unlisted_entry
from grrm.files import PassingError, UserError, remove_tree, sha256
from grrm.hub_client import make_hub_client
from grrm.urls import read_key, shown, without_secrets

_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_WAIT = 300.0
_LOCK_AGAIN = "lock it again with scripts/lock_data.py --update"
_KEPT = "what has been downloaded is kept, the same command goes on with it"
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Patience:
    """How often a request that failed for a passing reason is repeated.

    Attributes:
        retries: repetitions without a byte of progress.
        backoff: seconds before the first repetition, give or take a fifth; doubled each time, at most 300. A
            longer Retry-After of the server goes before.
    """

    retries: int = 5
    backoff: float = 1.0


_DEFAULT = Patience()


def fetch(entry: Entry, locked: Locked, folder: str | Path, patience: Patience = _DEFAULT) -> None:
    """Bring an entry's files to `folder`, all of them as locked.

    A file that is there already, or in the hub's cache, is used if its bytes are right. Files wait in a
    hidden folder beside `folder` until all are there, so that `folder` is whole and nothing is fetched twice.

    Raises:
        UserError: the bytes of a file differ from the lock; the hub refuses it, does not know it or cannot be
            reached; the disk is too small. The message says what to do.
    """
    folder = Path(folder)
    if all(_is_locked(folder / file, expected) for file, expected in locked.files.items()):
        _log.info("%s: all files are there and as locked", folder)
        return
    waiting = folder.with_name(f".{folder.name}.download")
    waiting.mkdir(parents=True, exist_ok=True)
    _check_space(waiting, locked)
    for file, expected in locked.files.items():
        target = waiting / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if not _is_locked(target, expected) and not _take_local(entry, locked, file, folder / file, target):
            _download(entry, locked, file, target, patience)
    _remove_others(waiting, locked)
    if folder.is_symlink() or folder.is_dir():
        remove_tree(folder)
    waiting.rename(folder)


def lock(entry: Entry, patience: Patience = _DEFAULT) -> Locked:
    """Resolve an entry's revision, and find the size and SHA-256 of each of its files.

    The hub knows the SHA-256 of large files; the others are downloaded for it.

    Raises:
        UserError: as in `fetch`; also if a path of the table is not in the repository, or if the table knows
            another SHA-256.
    """
    revision = entry.revision
    known: dict[str, LockedFile | None] = dict.fromkeys(entry.files)
    if entry.hub is not None:
        revision, known = _resolve(entry, patience)
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for file in sorted(known):
            found = known[file]
            if found is None:
                path = Path(folder) / "file"
                _append(entry, revision, file, path, patience)
                found = LockedFile(sha256(path), path.stat().st_size)
                path.unlink()
            expected = entry.files.get(file)
            if expected is not None and found.sha256 != expected:
                raise UserError(
                    f"{entry.name}: {file} at revision {revision} has SHA-256 {found.sha256}, the table "
                    f"expects {expected}: the file has changed; correct the table if you trust it"
                )
            files[file] = found
    return Locked(entry.origin, entry.revision, revision, files)


def reachable(entry: Entry, revision: str, patience: Patience = _DEFAULT) -> None:
    """Ask the hub whether it serves a revision of an entry to this user; nothing is downloaded.

    Raises:
        UserError: it does not, or cannot be reached; the message says what to do.
    """
    from huggingface_hub import HfApi

    def ask() -> None:
        api = HfApi(token=_token() or False)
        api.repo_info(entry.origin, repo_type=entry.kind, revision=revision, timeout=30)
        if entry.gated:  # the hub shows everybody that it exists
            api.auth_check(entry.origin, repo_type=entry.kind)

    _repeat(ask, entry, f"revision {revision}", patience)


def _resolve(entry: Entry, patience: Patience) -> tuple[str, dict[str, LockedFile | None]]:
    """The commit of a repository on the hub, and what the hub knows of the files that the table names."""
    from huggingface_hub import HfApi

    def ask() -> Any:
        return HfApi(token=_token() or False).repo_info(
            entry.origin, repo_type=entry.kind, revision=entry.revision, files_metadata=True, timeout=30
        )

    info = _repeat(ask, entry, f"revision {entry.revision}", patience)
    present = {sibling.rfilename: sibling for sibling in info.siblings or []}
    chosen = {file for pattern in entry.files for file in fnmatch.filter(present, pattern) if is_inside(file)}
    missing = [file for file in entry.files if "*" not in file and file not in present]
    if missing or not chosen:
        shown = ", ".join(sorted(present)[:20]) + (", ..." if len(present) > 20 else "")
        raise UserError(
            f"{entry.name}: {entry.hub} has no file {', '.join(missing or entry.files)} at commit "
            f"{info.sha}; it has {shown or 'none'}: correct `files` in the table of data sets"
        )
    large = {file: present[file].lfs for file in chosen}
    return info.sha, {file: LockedFile(lfs.sha256, lfs.size) if lfs else None for file, lfs in large.items()}


def _take_local(entry: Entry, locked: Locked, file: str, previous: Path, target: Path) -> bool:
    """Take a file with the right bytes from the previous output or from the hub's cache, if it is there."""
    candidates = [previous]
    if entry.hub is not None:
        cached = try_to_load_from_cache(entry.hub, file, revision=locked.revision, repo_type=entry.kind)
        candidates += [Path(cached)] if isinstance(cached, str) else []
    for candidate in filter(Path.is_file, candidates):
        found = _measure(candidate)
        if found == locked.files[file]:
            _link_or_copy(candidate.resolve(), target)
            return True
        difference = f"{_difference(entry, locked, file, found)}, in {candidate}: it is damaged, remove it"
        if constants.is_offline_mode():
            raise UserError(difference)
        _log.warning("%s; downloading it again", difference)
    return False


def _download(entry: Entry, locked: Locked, file: str, target: Path, patience: Patience) -> None:
    """Download one file, going on with what an earlier attempt has left of the same bytes."""
    expected = locked.files[file]
    # The name says which bytes these are: what is left of another revision is never continued.
    part = target.with_name(f".{target.name}.{expected.sha256[:16]}.part")
    for kept in (_bytes_of(part), 0):
        if kept:
            _log.info("%s: going on with %s after %s", entry.name, file, _size(kept))
        else:
            part.unlink(missing_ok=True)
            _log.info("%s: downloading %s, %s", entry.name, file, _size(expected.size))
        if kept < expected.size or not kept:
            _append(entry, locked.revision, file, part, patience)
        found = _measure(part)
        if found == expected:
            part.rename(target)
            return
        if not kept:
            break
        _log.warning("%s: what was left of %s is damaged", entry.name, file)
    part.unlink()
    raise UserError(
        f"{_difference(entry, locked, file, found)}: what is served differs from the lock; try again, or "
        f"another HF_ENDPOINT; if the file was changed on purpose, {_LOCK_AGAIN} {entry.name}"
    )


def _append(entry: Entry, revision: str, file: str, part: Path, patience: Patience) -> None:
    """Append to `part` what it lacks of a file."""
    if entry.hub is not None:
        url = hf_hub_url(entry.hub, file, repo_type=entry.kind, revision=revision)
        token = _token()
    else:
        url, token = (entry.url or "").format(file=file, revision=revision), ""

    def attempt() -> None:
        with part.open("ab") as out:
            start = out.tell()
            # Compressed on the way, a file cannot be continued. The client drops the token on a redirect to
            # another host.
            headers = {"Accept-Encoding": "identity"}
            if token:
                headers["Authorization"] = f"Bearer {token}"
            if start:
                headers["Range"] = f"bytes={start}-"
            timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
            with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
                hf_raise_for_status(response)
                if start and response.status_code != 206:
                    out.truncate(0)
                for chunk in response.iter_bytes():
                    out.write(chunk)

    _repeat(attempt, entry, f"{file} at revision {revision}", patience, lambda: _bytes_of(part))


def _repeat(
    call: Callable[[], _T],
    entry: Entry,
    what: str,
    patience: Patience,
    progress: Callable[[], int] = lambda: 0,
) -> _T:
    """Call until it succeeds or fails for good, or until patience ends; progress renews it."""
    failures, reached = 0, progress()
    make_hub_client()
    while True:
        try:
            return call()
        except httpx2.HTTPError as error:
            if progress() > reached:
                failures, reached = 0, progress()
            failures += 1
            if not _is_passing(error) or failures > patience.retries:
                raise PassingError(_explain(error, entry, what, failures)) from error
            wait = _wait(error, failures, patience)
            _log.warning("%s: %s: %s; again in %.0f s", entry.name, what, _brief(error), wait)
            time.sleep(wait)
        except OfflineModeIsEnabled as error:
            raise UserError(_explain(error, entry, what, 1)) from error


def _is_passing(error: httpx2.HTTPError) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _TRANSIENT
    return isinstance(error, httpx2.TransportError) and not isinstance(error, httpx2.UnsupportedProtocol)


def _wait(error: httpx2.HTTPError, failures: int, patience: Patience) -> float:
    wait = patience.backoff * 2.0 ** (failures - 1) * random.uniform(0.8, 1.2)
    after = error.response.headers.get("Retry-After", "") if isinstance(error, HfHubHTTPError) else ""
    return min(max(wait, float(after) if after.isdigit() else 0.0), _LONGEST_WAIT)


def _explain(error: Exception, entry: Entry, what: str, attempts: int) -> str:
    """A failure in the user's words, with what to do."""
    about = f"{entry.name}: {what} of {entry.origin}"
    if isinstance(error, OfflineModeIsEnabled):
        hint = "unset HF_HUB_OFFLINE"
        if entry.hub is not None:
            hint = f"where there is network, hf download {entry.hub} --repo-type {entry.kind}; or {hint}"
        return f"{about}: not in the cache, and HF_HUB_OFFLINE forbids asking for it; {hint}"
    if not isinstance(error, HfHubHTTPError):
        return (
            f"{about}: cannot be reached in {attempts} attempts ({_brief(error)}); check the network and "
            f"HF_ENDPOINT ({shown(constants.ENDPOINT)}), or fill the hub's cache elsewhere and set "
            f"HF_HUB_OFFLINE=1; {_KEPT}"
        )
    status = error.response.status_code
    token = f"{status}; HF_TOKEN is {'set, but does not open it' if _token() else 'not set'}"
    page = f"{shown(constants.ENDPOINT)}/{'datasets/' if entry.kind == 'dataset' else ''}{entry.hub}"
    if isinstance(error, GatedRepoError) or (entry.gated and status in (401, 403)):
        return f"{about}: access is gated ({token}); accept the terms on {page}, then set HF_TOKEN"
    if isinstance(error, RevisionNotFoundError):
        return (
            f"{about}: the repository no longer has that revision, its history has moved; find out what "
            f"changed, then {_LOCK_AGAIN} {entry.name}"
        )
    if isinstance(error, EntryNotFoundError):
        return f"{about}: no such file at that revision; correct `files` in the table of data sets"
    if status == 401 and _token() and not isinstance(error, RepositoryNotFoundError):
        return f"{about}: HF_TOKEN is not accepted (401): make a new token, or unset HF_TOKEN"
    if status in (401, 404):
        folder = ", nor is there a folder of that name" if unlisted_entry(entry.name) else ""
        return (
            f"{about}: it does not exist, or it is private ({token}){folder}; check its name, or set HF_TOKEN"
        )
    if status == 403:
        return f"{about}: forbidden ({token}); give the token the right to read {page}"
    if status == 416:
        return f"{about}: shorter than what was downloaded of it (416); {_LOCK_AGAIN} {entry.name}"
    return f"{about}: the server answered {status} {attempts} times; wait, then run it again: {_KEPT}"


def _brief(error: Exception) -> str:
    if isinstance(error, HfHubHTTPError):
        return f"the server answered {error.response.status_code}"
    return without_secrets(f"{type(error).__name__}: {error}".strip(" :").splitlines()[0])


def _difference(entry: Entry, locked: Locked, file: str, found: LockedFile) -> str:
    expected = locked.files[file]
    return (
        f"{entry.name}: {file} of {entry.origin} at revision {locked.revision}: expected SHA-256 "
        f"{expected.sha256} and {expected.size} bytes, found {found.sha256} and {found.size} bytes"
    )


def _token() -> str:
    return read_key("HF_TOKEN")


def _measure(path: Path) -> LockedFile:
    return LockedFile(sha256(path), path.stat().st_size)


def _bytes_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_locked(path: Path, expected: LockedFile) -> bool:
    return path.is_file() and path.stat().st_size == expected.size and sha256(path) == expected.sha256


def _check_space(folder: Path, locked: Locked) -> None:
    there = sum(_bytes_of(path) for path in folder.rglob("*") if path.is_file())
    needed = sum(file.size for file in locked.files.values()) - there
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: {_size(needed)} are to be downloaded and {_size(free)} are free: make room"
        )


def _remove_others(folder: Path, locked: Locked) -> None:
    """Remove what is left of other revisions."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(folder).as_posix() not in locked.files:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _link_or_copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
