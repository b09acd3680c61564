"""Test sets as their publishers give them, to the tables that evaluation reads (`grrm.schemas`)."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from grrm.files import UserError, read_jsonl
from grrm.languages import language_code

Row = dict[str, str | None]

_WMT23_ARCHIVE = "wmt23.v.0.1.tar.gz"


def language_pair(pair: str) -> tuple[str, str]:
    """Source and target of a pair such as zh-en or en-de_DE, as plain codes.

    Raises:
        UserError: it is not a pair of known languages.
    """
    source, dash, target = pair.partition("-")
    if not dash:
        raise UserError(f"language pair {pair!r}: expected two codes with a dash between them, such as zh-en")
    return language_code(source), language_code(target)


def read_wmt24pp(path: str | Path) -> tuple[list[Row], Counter[str]]:
    """WMT24++ (google/wmt24pp), JSON lines: the rows to translate, and how many were left out, and why.

    Left out are rows whose source is marked bad, and canaries, which are no translations.

    Raises:
        UserError: a line lacks a key or has another type; the message names file, line and key.
    """
    rows, dropped = [], Counter[str]()
    for where, item in _json_rows(path, {"lp": str, "domain": str, "is_bad_source": bool}):
        if item["domain"] == "canary":
            dropped["canary"] += 1
        elif item["is_bad_source"]:
            dropped["bad source"] += 1
        else:
            source, target = _text(item, "source", where), _text(item, "target", where)
            rows.append(_row(source, target, language_pair(item["lp"])))
    return rows, dropped


def read_seedx(path: str | Path, pair: str) -> list[Row]:
    """Seed-X challenge set (`challenge_set/Challenge_set_<pair>.json`), JSON lines in spite of its name.

    The comment says what a segment tests and which renderings are wrong.

    Args:
        path: the file.
        pair: its languages, which the file does not say: zh-en or en-zh.

    Raises:
        UserError: a line lacks a key or has another type; the message names file, line and key.
    """
    languages = language_pair(pair)
    rows = []
    for where, item in _json_rows(path, {}):
        comment = item.get("考察点") or ""
        if not isinstance(comment, str):
            raise UserError(f"{where}: key '考察点' is {comment!r}, expected a text")
        source, target = _text(item, "src_text", where), _text(item, "参考译文", where)
        rows.append(_row(source, target, languages, comment.strip() or None))
    return rows


def read_wmt23(archive: str | Path, pair: str, any_archive: bool = False) -> list[Row]:
    """WMT23 general task as sacrebleu reads it, so that segments and references are those of its scores.

    Args:
        archive: the archive that sacrebleu names; or a folder that is a cache of sacrebleu's ($SACREBLEU).
        pair: zh-en, for example.
        any_archive: take an archive with another checksum than sacrebleu's.

    Raises:
        UserError: the archive is another one or is damaged, or sacrebleu does not have the pair.
    """
    from sacrebleu.dataset import DATASETS

    languages = language_pair(pair)
    dataset = DATASETS["wmt23"]
    if pair not in dataset.langpairs:
        raise UserError(f"WMT23 has no {pair}; it has {', '.join(dataset.langpairs)}")
    archive = Path(archive)
    if archive.is_dir():
        return _sacrebleu_rows("wmt23", pair, languages, archive)
    if not archive.is_file():
        raise UserError(f"{archive}: no such file")
    _check_md5(archive, dataset.md5[0], any_archive)
    member = dataset.langpairs[pair]
    member = member["path"] if isinstance(member, dict) else member[0]
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "wmt23/raw"
        raw.mkdir(parents=True)
        try:
            with tarfile.open(archive) as tar:
                # Not tar.extract: its safe filter is missing from Python 3.11.0 to 3.11.3.
                content = tar.extractfile(member)
                if content is None:
                    raise KeyError(f"{member} is not a file")
                (raw / member).parent.mkdir(parents=True, exist_ok=True)
                (raw / member).write_bytes(content.read())
        except (KeyError, tarfile.TarError, EOFError, OSError) as error:
            raise UserError(
                f"{archive}: cannot read {member} from it ({error}); download it again"
            ) from error
        # With its archive in place, sacrebleu neither downloads nor unpacks.
        (raw / _WMT23_ARCHIVE).symlink_to(archive.resolve())
        return _sacrebleu_rows("wmt23", pair, languages, Path(folder))


def read_flores(source: str | Path, target: str | Path, pair: str) -> list[Row]:
    """FLORES-200 or FLORES+: two files of the same sentences.

    Args:
        source: sentences of the source language: one on each line, or JSON lines or Parquet with `text` and,
            optionally, `id`.
        target: those of the target language.
        pair: their languages, such as zh-en.

    Raises:
        UserError: the files do not belong together, or lack texts.
    """
    languages = language_pair(pair)
    sources, targets = _flores_texts(source), _flores_texts(target)
    if len(sources) != len(targets):
        raise UserError(
            f"{source} has {len(sources)} sentences and {target} has {len(targets)}: expected as many"
        )
    rows = []
    for number, ((left_id, left), (right_id, right)) in enumerate(zip(sources, targets, strict=True), 1):
        if left_id != right_id:
            raise UserError(f"sentence {number}: id is {left_id!r} in {source} and {right_id!r} in {target}")
        rows.append(_row(left, right, languages))
    return rows


def _row(source: str, target: str, languages: tuple[str, str], comment: str | None = None) -> Row:
    return {
        # Space around a segment is no part of it (Seed-X has some).
        "src_text": source.strip(),
        "trg_text": target.strip(),
        "src_lang": languages[0],
        "trg_lang": languages[1],
        "comment": comment,
    }


def _json_rows(path: str | Path, keys: dict[str, type]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object of a JSON-lines file with its place, the given keys checked."""
    for number, item in enumerate(read_jsonl(path), 1):
        where = f"{path}, row {number}"
        if not isinstance(item, dict):
            raise UserError(f"{where}: expected an object, found {item!r}")
        for key, kind in keys.items():
            if not isinstance(item.get(key), kind):
                raise UserError(f"{where}: key {key!r} is {item.get(key)!r}, expected {kind.__name__}")
        yield where, item


def _text(item: dict[str, Any], key: str, where: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: key {key!r} is {value!r}, expected a text that is not empty")
    return value


def _flores_texts(path: str | Path) -> Sequence[tuple[Any, str]]:
    suffix = Path(path).suffix
    if suffix == ".jsonl":
        return [(item.get("id"), _text(item, "text", where)) for where, item in _json_rows(path, {})]
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    if suffix == ".parquet":
        items = pq.ParquetFile(path).read().to_pylist()
        return [(item.get("id"), _text(item, "text", f"{path}, row {i}")) for i, item in enumerate(items)]
    lines = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return [(None, _text({"line": line}, "line", f"{path}, line {i}")) for i, line in enumerate(lines, 1)]


def _check_md5(archive: Path, expected: str, any_archive: bool) -> None:
    import hashlib

    with archive.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != expected and not any_archive:
        raise UserError(
            f"{archive}: MD5 is {found}, sacrebleu expects {expected}: download it again, or pass "
            "--any-archive if you know that it holds the same test set"
        )


def _sacrebleu_rows(test_set: str, pair: str, languages: tuple[str, str], cache: Path) -> list[Row]:
    command = [sys.executable, "-m", "sacrebleu", "-t", test_set, "-l", pair, "--echo", "src", "ref"]
    env = os.environ | {"SACREBLEU": str(cache), "PYTHONUTF8": "1"}
    result = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", check=False)
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"sacrebleu cannot read {test_set} {pair} from {cache}: {reason}")
    rows = []
    for number, line in enumerate(result.stdout.removesuffix("\n").split("\n"), 1):
        fields = line.split("\t")
        if len(fields) != 2 or not all(fields):
            raise UserError(
                f"{test_set} {pair}, segment {number}: expected source and reference, found {line!r}"
            )
        rows.append(_row(fields[0], fields[1], languages))
    return rows
