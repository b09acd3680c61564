"""Whether every data set and model that the experiment reads is here, or can be had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from grrm.catalogue.metrics import metrics_of
from grrm.catalogue.trainings import of_part
from grrm.config import STAGES, compared_models, published_test_sets, taken_models, trained_stages
from grrm.data.datasets import Entry, Locked, find_test_sets, find_training_files, is_current, locked_entry
from grrm.files import UserError
from grrm.hub_client import make_hub_client
from grrm.preflight.findings import Finding, failed, ok, warning
from grrm.urls import read_key, shown

_ON_CLUSTERS = "where there is network, run snakemake --cores 1 data with the same configuration"


def needed_entries(config: Mapping[str, Any], entries: Mapping[str, Entry]) -> list[Entry]:
    """The entries of the table of data sets that an experiment reads, in the table's order."""
    names = set()
    if config["data"]["source"] == "hub":
        training = find_training_files(entries)
        stages = trained_stages(config) or STAGES
        names |= {training[stage][0] for stage in stages if stage in training}
    if config["data"]["source"] in ("hub", "files"):
        tests = find_test_sets(entries)
        names |= {tests[name].entry for name in published_test_sets(config) if name in tests}
    references = models_read(config)
    names |= {name for name, entry in entries.items() if entry.kind == "model" and entry.hub in references}
    return [entry for name, entry in entries.items() if name in names]


def models_read(config: Mapping[str, Any]) -> set[str]:
    """Other people's models (folder or hub id) that are read: those taken, less bases of stages not run."""
    trained, taken = trained_stages(config), taken_models(config)
    compared = {model for models in compared_models(config).values() for model in models}
    unread = {row.start for row in of_part("") if row.name not in trained} - compared
    read = {reference for name, reference in taken.items() if name not in unread}
    # What a metric's checkpoint lacks: configuration and tokenizer of its encoder.
    parts = {
        metric.settings(config)[part]
        for metric in metrics_of(config)
        if metric.name in taken
        for part in metric.parts
    }
    return read | {part for part in parts if part}


def missing_bytes(needed: Iterable[Entry], lock: Mapping[str, Locked], downloads: Path) -> int:
    """Bytes that are still to be downloaded, of the entries that are locked."""
    total = 0
    for entry in needed:
        locked = lock.get(entry.name)
        if locked is not None and not is_current(downloads / f"{entry.name}.json", locked):
            total += sum(file.size for file in locked.files.values())
    return total


def check_hub(
    needed: Iterable[Entry], lock: Mapping[str, Locked], lock_path: Path, downloads: Path
) -> list[Finding]:
    """Findings about the token and about every entry that is not downloaded yet.

    The hub is asked only for what has to come from it: with everything there, no network is needed.
    """
    findings: list[Finding] = []
    wanted: list[tuple[Entry, Locked | None]] = []
    for entry in needed:
        check = f"{entry.kind} {entry.name}"
        try:
            locked = locked_entry(entry, lock, lock_path)
        except UserError as error:
            if entry.name in lock:
                findings.append(failed(check, str(error), "see there"))
            else:
                wanted.append((entry, None))
            continue
        if is_current(downloads / f"{entry.name}.json", locked):
            findings.append(ok(check, f"downloaded, commit {locked.revision[:10]}"))
        else:
            wanted.append((entry, locked))
    if not wanted:
        return findings
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return findings + [_check_cache(entry, locked, downloads) for entry, locked in wanted]
    token = check_token()
    if token is not None:
        findings.append(token)
        if token.status == "failed":
            return findings
    return findings + _check_all_access(wanted)


def _check_all_access(wanted: list[tuple[Entry, Locked | None]]) -> list[Finding]:
    """A finding for each; only one if the hub cannot be reached at all."""
    findings: list[Finding] = []
    for index, (entry, locked) in enumerate(wanted):
        finding, connected = _check_access(entry, locked)
        if not connected:
            missing = [entry.name for entry, _ in wanted[index:] if entry.hub]
            found = f"cannot be reached, for {', '.join(missing)}: {finding.found}"
            return [*findings, failed("hub", found, _no_network())]
        findings.append(finding)
    return findings


def check_token() -> Finding | None:
    """Whether the hub accepts HF_TOKEN; None if there is no token.

    The token is never part of a finding.
    """
    check = "hub token"
    try:
        token = read_key("HF_TOKEN")
    except UserError as error:
        return failed(check, str(error), "set HF_TOKEN anew")
    if not token:
        return None
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    endpoint = shown(constants.ENDPOINT)
    try:
        make_hub_client()
        user = HfApi().whoami(token=token)
    except UserError as error:
        return failed(check, str(error), "set these variables anew")
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            found = f"{endpoint} does not accept HF_TOKEN ({status}): revoked, expired or mistyped"
            return failed(check, found, "make a new token, or unset HF_TOKEN where nothing is private")
        return warning(check, f"{endpoint} answered {status}", "try again later")
    except Exception as error:  # whatever the client raises without a connection
        return failed(check, f"{endpoint} cannot be reached ({type(error).__name__})", _no_network())
    return ok(check, f"HF_TOKEN is that of {user.get('name', 'a user')}")


def _check_access(entry: Entry, locked: Locked | None) -> tuple[Finding, bool]:
    """Whether the hub serves an entry at its revision, to this token; and whether it answered at all."""
    check, origin = f"{entry.kind} {entry.name}", entry.origin
    if entry.hub is None:
        return ok(check, f"to be downloaded from {origin.split('/')[2]}"), True
    from httpx2 import TransportError

    from grrm.data.hub import Patience, reachable

    try:
        reachable(entry, locked.revision if locked else entry.revision, Patience(retries=1, backoff=0.5))
    except UserError as error:
        if isinstance(error.__cause__, TransportError):
            return failed(check, f"{type(error.__cause__).__name__}: {error.__cause__}", _no_network()), False
        return failed(check, str(error).removeprefix(f"{entry.name}: "), "see there"), True
    how = "to be downloaded" if locked else "to be locked (snakemake --cores 1 lock_data) and downloaded"
    return ok(check, f"{how} from {origin}"), True


def _check_cache(entry: Entry, locked: Locked | None, downloads: Path) -> Finding:
    """Without network: whether all files of an entry lie in the hub's cache."""
    from huggingface_hub.file_download import try_to_load_from_cache

    check = f"{entry.kind} {entry.name}"
    if locked is None:
        found = "not locked yet, and HF_HUB_OFFLINE forbids asking for it"
        return failed(check, found, f"{_ON_CLUSTERS}, or snakemake --cores 1 lock_data at least")
    missing = []
    for file, expected in locked.files.items():
        there = downloads / entry.name / file
        cached = entry.hub and try_to_load_from_cache(
            entry.hub, file, revision=locked.revision, repo_type=entry.kind
        )
        places = [there, *([Path(cached)] if isinstance(cached, str) else [])]
        if not any(place.is_file() and place.stat().st_size == expected.size for place in places):
            missing.append(file)
    if not missing:
        return ok(check, "in the cache of the hub's client")
    found = (
        f"{len(missing)} of {len(locked.files)} files are not in the cache ({missing[0]}), and we are offline"
    )
    how = (
        f"hf download {entry.hub} --repo-type {entry.kind} --revision {locked.revision}" if entry.hub else ""
    )
    return failed(check, found, f"{_ON_CLUSTERS}{f', or {how}' if how else ''}; or unset HF_HUB_OFFLINE")


def _no_network() -> str:
    return f"{_ON_CLUSTERS}, or set HF_ENDPOINT to a mirror that this machine reaches"
