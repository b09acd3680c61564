"""`grrm export-data`: published layouts in, files of a grouped split out."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from grrm import cli
from grrm.data.judge_data import export_data
from grrm.files import UserError, read_jsonl, write_jsonl
from hub_server import serve

ROOT = Path(__file__).parents[2]


def helpsteer2(requests: int, responses: int = 2) -> list[dict[str, Any]]:
    return [
        {"prompt": f"question {i}", "response": f"answer {i}.{j}", "helpfulness": (i + j) % 5}
        for i in range(requests)
        for j in range(responses)
    ]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "helpsteer2.jsonl"
    write_jsonl(path, helpsteer2(10))
    return path


def export(source: Path, *flags: str) -> Path:
    folder = source.parent / "exported"
    cli.main(["export-data", str(source), "--output", str(folder), *flags])
    return folder


def questions(rows: list[dict[str, Any]]) -> set[str]:
    return {row["input"][0]["content"] for row in rows}


def test_both_formats_hold_the_same_rows_and_no_conversation_is_in_two_parts(source: Path) -> None:
    folder = export(
        source, "--kind", "pointwise", "--format", "jsonl", "parquet", "--split", "train=0.8", "test=0.2"
    )
    parts = {name: read_jsonl(folder / f"{name}.jsonl") for name in ("train", "test")}
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 16, "test": 4}
    assert not questions(parts["train"]) & questions(parts["test"])
    for name, rows in parts.items():
        assert pq.read_table(folder / f"{name}.parquet").to_pylist() == rows
    assert parts["test"][0]["output"][0]["answer"]["label"]["helpfulness"] in range(5)


def test_the_split_depends_on_the_seed_alone(source: Path) -> None:
    flags = ("--kind", "pointwise", "--format", "jsonl", "--split", "train=0.5", "test=0.5")
    first = questions(read_jsonl(export(source, *flags) / "test.jsonl"))
    assert questions(read_jsonl(export(source, *flags) / "test.jsonl")) == first
    assert questions(read_jsonl(export(source, *flags, "--seed", "1") / "test.jsonl")) != first


def test_what_is_exported_can_be_exported_again(source: Path) -> None:
    flags = ("--kind", "pointwise", "--format", "jsonl")
    exported = export(source, *flags) / "train.jsonl"
    before = sorted(exported.read_text().splitlines())
    again = exported.rename(source.parent / "again.jsonl")
    assert sorted((export(again, *flags) / "train.jsonl").read_text().splitlines()) == before


def test_comparisons_in_both_orders_stay_together(tmp_path: Path) -> None:
    source = tmp_path / "pairs.jsonl"
    pairs = [
        {"prompt": f"q{i}", "response_1": "x", "response_2": "y", "preference_strength": i - 3}
        for i in range(6)
    ]
    write_jsonl(source, pairs)
    flags = ("--kind", "pairwise", "--both-orders", "--format", "jsonl", "--split", "train=0.5", "test=0.5")
    rows = read_jsonl(export(source, *flags) / "test.jsonl")
    assert len(rows) == 6
    by_question: dict[str, list[str]] = {}
    for row in rows:
        by_question.setdefault(row["input"][0]["content"], []).append(row["metadata"]["preferred"])
    assert all(sorted(said) in (["A", "B"], ["tie", "tie"]) for said in by_question.values())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--kind", "pointwise", "--split", "train=0.8", "test=0.1"), "add up to 1"),
        (("--kind", "pointwise", "--split", "train"), "NAME=SHARE"),
        (("--kind", "pointwise", "--split", "a/b=1"), "name of a file"),
        (("--kind", "pointwise", "--split", "a=0.5", "a=0.5"), "named twice"),
        (("--kind", "pointwise", "--split", "train=0.99", "test=0.01"), "too few"),
        (("--kind", "pointwise", "--both-orders"), "only for pairwise"),
        (("--kind", "bradley_terry"), "row 0"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(source: Path, flags: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        export(source, *flags)
    assert not (source.parent / "exported").exists()


def test_a_row_of_no_known_layout_is_an_error_or_left_out_aloud(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with source.open("a") as file:
        file.write(json.dumps({"question": "?", "answer": "!"}) + "\n")
    with pytest.raises(UserError, match="row 20"):
        export(source, "--kind", "pointwise")
    folder = export(source, "--kind", "pointwise", "--bad-rows", "drop")
    assert pq.read_metadata(folder / "train.parquet").num_rows == 20
    assert "1 rows left out" in capsys.readouterr().out


def test_rows_can_be_exported_without_a_file(source: Path, tmp_path: Path) -> None:
    flags = ("--kind", "pointwise", "--format", "jsonl", "parquet", "--split", "train=0.8", "test=0.2")
    by_command = export(source, *flags)
    folder = tmp_path / "mine"
    shares = {"train": 0.8, "test": 0.2}
    written = export_data(helpsteer2(10), folder, "pointwise", ["jsonl", "parquet"], shares, 42)
    assert {path.name: rows for path, rows in written.items()} == {
        "train.jsonl": 16,
        "train.parquet": 16,
        "test.jsonl": 4,
        "test.parquet": 4,
    }
    for path in written:
        assert path.read_bytes() == (by_command / path.name).read_bytes()
    with pytest.raises(UserError, match=r"^row 1 \(the first is 0\): no known layout"):
        export_data([*helpsteer2(1, 1), {"a": 1}], folder / "bad", "pointwise")
    assert not (folder / "bad").exists()


def test_both_orders_can_be_exported_without_a_file(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "chosen": "x", "rejected": "y"}]
    export_data(rows, tmp_path, "pairwise", ["jsonl"], in_both_orders=True)
    assert sorted(row["metadata"]["preferred"] for row in read_jsonl(tmp_path / "train.jsonl")) == ["A", "B"]


def test_a_published_data_set_is_downloaded_and_exported(tmp_path: Path) -> None:
    table = {
        "helpsteer2": {
            "description": "Scores",
            "kind": "dataset",
            "source": {"hub": "nvidia/HelpSteer2", "revision": "main"},
            "files": {"train.jsonl.gz": None, "validation.jsonl.gz": None},
            "licence": "see the card",
            "used_by": ["judge_training"],
        }
    }
    (tmp_path / "datasets.yaml").write_text(yaml.safe_dump(table))
    lines = "\n".join(map(json.dumps, helpsteer2(10))).encode()

    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(sys.executable, "-m", "grrm.cli", "export-data", "--kind", "pointwise", *flags),
                *("--datasets", "datasets.yaml", "--output-dir", "data", "--format", "jsonl"),
            ],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "HF_ENDPOINT": hub.endpoint,
                "PYTHONPATH": str(ROOT / "scripts"),
                "NO_PROXY": "*",
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    with serve() as hub:
        files = {"train.jsonl.gz": gzip.compress(lines), "validation.jsonl.gz": gzip.compress(lines[:0])}
        commit = hub.repository("datasets/nvidia/HelpSteer2").commit(files)
        done = run("--dataset", "helpsteer2/train.jsonl.gz")
        assert done.returncode == 0, done.stderr
        assert f"nvidia/HelpSteer2 at revision {commit}" in done.stdout
        assert len(read_jsonl(tmp_path / "data/train.jsonl")) == 20
        for flags, words in (
            (["--dataset", "helpsteer4"], "no data set or model is named 'helpsteer4'"),
            (["--dataset", "helpsteer2/other.jsonl"], "other.jsonl: no such file"),
            ([], "expected files to read, or --dataset"),
            (["--dataset", "helpsteer2", "mine.jsonl"], "expected files to read, or --dataset"),
        ):
            failed = run(*flags)
            assert failed.returncode == 2
            assert words in failed.stderr.strip().splitlines()[-1]


# ---------------------------------------------------------------- optional packages


@pytest.mark.parametrize(
    ("package", "extra", "command"),
    [
        ("uvicorn", "serve", ["serve-reward", "--kind", "bleu"]),
        ("sacrebleu", "eval", ["compare", "a", "b"]),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    package: str, extra: str, command: list[str]
) -> None:
    code = (
        "import sys\n"
        f"sys.modules[{package!r}] = None\n"
        "from grrm import cli\n"
        f"sys.argv[1:] = {command!r}\n"
        "cli.entry()\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert f"error: {package} is not installed here; run pip install -e '.[{extra}]'" in done.stderr
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    assert any(requirement.startswith(package) for requirement in extras[extra])
