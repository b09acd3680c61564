"""The table of data sets and models, and its lock: which bytes each of them has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import yaml

from grrm.config import STAGES, resolve
from grrm.files import UserError, read_json, read_yaml, write_text

_UNLISTED = "models--"
# What the hub allows: no two dashes or dots in a row, so that a name can be turned back.
_HUB_ID = re.compile(r"(?!.*(--|\.\.))\w[\w.-]*(/\w[\w.-]*)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HEADER = """\
# Written by scripts/lock_data.py from datasets.yaml (snakemake lock_data); commit it, do not edit it.
# A download whose bytes differ from this file is an error.
"""


@dataclass(frozen=True)
class Entry:
    """One data set or model of the table.

    Attributes:
        name: its key in the table.
        kind: type of the repository.
        hub: repository on the hub, or None where the files have addresses.
        url: address of a file with `{file}` and `{revision}` in it, or None where it is on the hub.
        revision: commit, tag or branch as the table names it.
        files: path, or on the hub a pattern of paths, to the SHA-256 that the table knows (or None).
        gated: its terms must be accepted on its page.
        settings: the whole entry, for what only its readers need.
    """

    name: str
    kind: Literal["dataset", "model"]
    hub: str | None
    url: str | None
    revision: str
    files: Mapping[str, str | None]
    gated: bool
    settings: Mapping[str, Any]

    @property
    def origin(self) -> str:
        """Repository or address, whichever the table names."""
        return self.hub or self.url or ""


@dataclass(frozen=True)
class TestSet:
    """A test set within an entry.

    Attributes:
        name: its own name, unique in the table.
        entry: the entry that has its files.
        format: as scripts/convert_test_set.py takes it; ranking for groups with scores, translation for
            segments in tables like ours.
        files: paths in the entry's folder.
        pair: its languages, or None where the rows say them.
    """

    name: str
    entry: str
    format: str
    files: tuple[str, ...]
    pair: str | None


@dataclass(frozen=True)
class LockedFile:
    """A file's SHA-256 (64 hexadecimal digits) and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Locked:
    """What an entry was resolved to.

    Attributes:
        origin: repository or address at the time of locking.
        requested: revision that the table named at the time of locking.
        revision: what it was resolved to; a commit for a repository on the hub.
        files: path to bytes.
    """

    origin: str
    requested: str
    revision: str
    files: Mapping[str, LockedFile]


def load_datasets(path: str | Path, schema: str | Path) -> dict[str, Entry]:
    """The table of data sets and models, checked against its schema.

    Raises:
        UserError: the file is missing, is not YAML or breaks its schema; the message names the key.
    """
    table = _read_yaml(path)
    try:
        checked = resolve(table, schema)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    entries = {}
    for name, item in checked.items():
        source = item["source"]
        if ("hub" in source) == ("url" in source):
            raise UserError(f"{path}, key {name}.source: expected either hub or url, found {list(source)}")
        patterns = [file for file in item["files"] if "*" in file]
        if patterns and "url" in source:
            raise UserError(
                f"{path}, key {name}.files: {patterns[0]!r}: an address needs plain paths, no pattern"
            )
        if known := [file for file in patterns if item["files"][file]]:
            raise UserError(f"{path}, key {name}.files: {known[0]!r} is a pattern, it has no one SHA-256")
        entries[name] = Entry(
            name,
            item["kind"],
            source.get("hub"),
            source.get("url"),
            source["revision"],
            item["files"],
            item.get("gated", False),
            item,
        )
    return entries


def model_entry(hub: str) -> Entry | None:
    """The entry of a model that is in no table, at the head of its repository; None if that is no hub id.

    Its name is that of the hub's own caches, so that the model can be told from it alone (`entry_named`).
    """
    if not _HUB_ID.fullmatch(hub):
        return None
    name = _UNLISTED + hub.replace("/", "--")
    settings = {"licence": "see the card", "optional": True}
    # The last two are COMET's.
    files = dict.fromkeys(("*.json", "*.safetensors", "*.txt", "*.jinja", "*.model", "*.yaml", "*.ckpt"))
    return Entry(name, "model", hub, None, "main", files, False, settings)


def unlisted_entry(name: str) -> Entry | None:
    """The entry of a model that is in no table, by its name; None if that is another name."""
    if not name.startswith(_UNLISTED):
        return None
    return model_entry(name.removeprefix(_UNLISTED).replace("--", "/"))


def with_models(entries: Mapping[str, Entry], references: Iterable[str]) -> dict[str, Entry]:
    """A table with an entry for each model that is in none, of references to models (folders or hub ids)."""
    known = {entry.hub for entry in entries.values() if entry.kind == "model"}
    unlisted = [
        model_entry(reference)
        for reference in references
        if reference not in known and not _is_path(reference)
    ]
    return {**entries, **{entry.name: entry for entry in unlisted if entry is not None}}


def _is_path(reference: str) -> bool:
    """Whether a folder is meant, there or mistyped, though it may have the form of a hub id."""
    first, slash, _ = reference.partition("/")
    return Path(reference).is_dir() or (slash == "/" and (first == "results" or Path(first).is_dir()))


def entry_named(entries: Mapping[str, Entry], name: str) -> Entry:
    """The entry of that name, or of the model in no table that it is the name of (`model_entry`).

    Raises:
        UserError: there is none; the message lists the names.
    """
    if name not in entries and (entry := unlisted_entry(name)):
        return entry
    if name not in entries:
        raise UserError(f"no data set or model is named {name!r}; there are {', '.join(entries)}")
    return entries[name]


def find_test_sets(entries: Mapping[str, Entry]) -> dict[str, TestSet]:
    """All test sets of the table, by name.

    Raises:
        UserError: two have the same name, or one names a file that its entry does not have.
    """
    found: dict[str, TestSet] = {}
    for entry in entries.values():
        for name, item in entry.settings.get("test_sets", {}).items():
            if name in found:
                raise UserError(f"test set {name} is in {found[name].entry} and in {entry.name}: rename one")
            if missing := [file for file in item["files"] if file not in entry.files]:
                raise UserError(f"test set {name}: {missing[0]!r} is not among the files of {entry.name}")
            if "format" not in entry.settings:
                raise UserError(f"{entry.name} has test sets and no format")
            format_, files = entry.settings["format"], tuple(item["files"])
            found[name] = TestSet(name, entry.name, format_, files, item.get("pair"))
    return found


def find_training_files(entries: Mapping[str, Entry]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The entry and its files that each training stage reads its table from.

    They are the files of the data set with a schema that names the stage, without its test sets.

    Raises:
        UserError: two data sets name the same stage.
    """
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for entry in entries.values():
        if entry.kind != "dataset" or "schema" not in entry.settings:
            continue
        held_out = {file for item in entry.settings.get("test_sets", {}).values() for file in item["files"]}
        files = tuple(file for file in entry.files if file not in held_out)
        for stage in set(entry.settings["used_by"]) & set(STAGES) if files else ():
            if stage in found:
                raise UserError(f"{stage} is trained on {found[stage][0]} and on {entry.name}: choose one")
            found[stage] = entry.name, files
    return found


def is_current(record: str | Path, locked: Locked | None) -> bool:
    """Whether the record of a download says what the lock says: nothing is to be downloaded anew."""
    if locked is None or not Path(record).is_file():
        return False
    try:
        value = read_json(record)
    except UserError:
        return False
    return isinstance(value, dict) and value.items() >= asdict(locked).items()


def load_lock(path: str | Path) -> dict[str, Locked]:
    """The lock; empty if it has not been written yet.

    Raises:
        UserError: the file is not a lock; the message names the entry.
    """
    if not Path(path).exists():
        return {}
    return {name: _locked(item, f"{path}, key {name}") for name, item in _read_yaml(path).items()}


def write_lock(path: str | Path, lock: Mapping[str, Locked]) -> None:
    """Write the lock, sorted by name, so that a change of one entry changes its lines only."""
    table = {
        name: {
            "origin": locked.origin,
            "requested": locked.requested,
            "revision": locked.revision,
            "files": {
                file: {"sha256": locked.files[file].sha256, "size": locked.files[file].size}
                for file in sorted(locked.files)
            },
        }
        for name, locked in sorted(lock.items())
    }
    write_text(path, _HEADER + yaml.safe_dump(table, sort_keys=False, allow_unicode=True, width=200))


def locked_entry(entry: Entry, lock: Mapping[str, Locked], path: str | Path) -> Locked:
    """What the lock says about an entry.

    Raises:
        UserError: the entry is not locked, or the table has changed since; the message says how to lock it.
    """
    how = f"run scripts/lock_data.py --update {entry.name} where there is network, and commit {path}"
    if entry.name not in lock:
        raise UserError(f"{path}: {entry.name} is not locked; {how}")
    locked = lock[entry.name]
    for what, now, then in [
        ("source", entry.origin, locked.origin),
        ("revision", entry.revision, locked.requested),
    ]:
        if now != then:
            raise UserError(
                f"{path}: {entry.name} was locked with {what} {then!r}, the table now says {now!r}; {how}"
            )
    for file, sha256 in entry.files.items():
        if "*" not in file and file not in locked.files:
            raise UserError(f"{path}: {file} of {entry.name} is not locked; {how}")
        if sha256 is not None and sha256 != locked.files[file].sha256:
            raise UserError(
                f"{path}: {file} of {entry.name} is locked with SHA-256 {locked.files[file].sha256}, "
                f"the table expects {sha256}; find out which is right, then {how}"
            )
    return locked


def _locked(item: Any, where: str) -> Locked:
    try:
        files = {file: LockedFile(value["sha256"], value["size"]) for file, value in item["files"].items()}
        locked = Locked(item["origin"], item["requested"], item["revision"], files)
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{where}: not an entry of a lock ({error!r}); write it again with scripts/lock_data.py"
        ) from error
    if not files:
        raise UserError(f"{where}: no files are locked; write it again with scripts/lock_data.py")
    for file, value in files.items():
        if not is_inside(file):
            raise UserError(f"{where}: {file!r} does not stay inside the folder it is downloaded to")
        if not (isinstance(value.sha256, str) and _SHA256.fullmatch(value.sha256)):
            raise UserError(f"{where}.{file}: sha256 is {value.sha256!r}, expected 64 hexadecimal digits")
        if not isinstance(value.size, int) or value.size < 0:
            raise UserError(f"{where}.{file}: size is {value.size!r}, expected a number of bytes")
    return locked


def is_inside(file: str) -> bool:
    """Whether a relative path stays inside the folder that it is relative to."""
    path = PurePosixPath(file)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _read_yaml(path: str | Path) -> dict[str, Any]:
    table = read_yaml(path)
    if not isinstance(table, dict):
        raise UserError(f"{path}: expected a table of names, found {type(table).__name__}")
    return table
