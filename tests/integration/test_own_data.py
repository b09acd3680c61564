"""docs/own_data.md to the letter: its file is written and its commands run, from a TSV to the report."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from grrm.files import read_yaml
from hub_server import HubServer, serve
from workspace import ROOT, Workspace

PAGE = (ROOT / "docs/own_data.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
NEW_FILE = re.compile(r"`([\w./]+)`:")
PUBLISHED = [("A mill by the river.", "Eine Mühle am Fluss."), ("Who is it?", "Wer ist da?"), ("Th", "Di")]
"""Segments in the layout of WMT24++; the source of the last is bad."""


def publish(hub: HubServer) -> None:
    """WMT24++ on the stand-in of the hub, under its own name, with all its files."""
    entry = read_yaml(ROOT / "config/datasets.yaml")["wmt24pp"]
    rows = [
        {"domain": "news", "source": source, "target": target, "is_bad_source": source == "Th"}
        for source, target in PUBLISHED
    ]
    files = {
        name: "".join(json.dumps({"lp": name.removesuffix(".jsonl"), **row}) + "\n" for row in rows).encode()
        for name in entry["files"]
    }
    hub.repository(f"datasets/{entry['source']['hub']}").commit(files)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each command of the page prints; where they ran under the key `folder`."""
    workspace = Workspace(tmp_path_factory.mktemp("own"))
    (workspace.folder / ".venv").symlink_to(ROOT / ".venv")
    printed = {"folder": str(workspace.folder)}
    with serve() as hub:
        publish(hub)
        environment = os.environ | {
            "PYTHONPATH": str(workspace.folder / "scripts"),
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(workspace.folder / "hub"),
            "NO_PROXY": "*",
        }
        for block in BLOCK.finditer(PAGE):
            if match := NEW_FILE.fullmatch(block["before"]):
                (workspace.folder / match[1]).write_text(block["text"], encoding="utf-8")
            for command in block["text"].splitlines() if block["language"] == "console" else ():
                printed[command] = run(command, workspace.folder, environment)
    return printed


def run(command: str, folder: Path, environment: dict[str, str]) -> str:
    """What a command prints; it has to succeed."""
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def results(said: dict[str, str], path: str) -> Any:
    return json.loads((Path(said["folder"]) / "results/example_files" / path).read_text(encoding="utf-8"))


def of(said: dict[str, str], words: str) -> str:
    (found,) = [text for command, text in said.items() if words in command]
    return found


def test_the_page_has_these_commands() -> None:
    commands = [
        line
        for block in BLOCK.finditer(PAGE)
        if block["language"] == "console"
        for line in block["text"].splitlines()
    ]
    assert len(commands) == 8
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


def test_what_there_is_is_counted_and_held_out(said: dict[str, str]) -> None:
    assert "src_lang\ttrg_lang\tsrc_text\ttrg_text" in of(said, "head ")
    forecast = of(said, "grrm forecast")
    assert re.search(r"^mt_grpo +20 ", forecast, re.M)
    assert re.search(r"^grrm_sft +34 ", forecast, re.M)
    data = Path(said["folder"]) / "results/my_data/data"
    rows = {path.stem: pq.read_metadata(path).num_rows for path in data.glob("*.parquet")}
    assert rows["mt_sft"] == rows["mt_grpo"] == 20 - rows["translation_test"]
    assert rows["grrm_sft"] == rows["grrm_rlvr"] == 34 - rows["ranking_test"]
    assert rows["translation_test"] == 4
    assert rows["ranking_test"] in (6, 7)
    lines = [line.split("\t") for line in of(said, "my_data/data/leakage.tsv").splitlines()[1:]]
    assert len(lines) == 8
    assert {line[-1] for line in lines} == {"0.0000"}


def test_all_stages_train_and_every_test_set_is_scored_by_its_name(said: dict[str, str]) -> None:
    models = Path(said["folder"]) / "results/example_files/models"
    assert {"grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo"} <= {path.name for path in models.iterdir()}
    translation, ranking = (
        results(said, "evaluation/translation.json"),
        results(said, "evaluation/ranking.json"),
    )
    assert [system["name"] for system in translation["systems"]] == ["mt_sft", "mt_grpo"]
    for system in translation["systems"]:
        sets = system["by_set"]
        assert {name: scores["n"] for name, scores in sets.items()} == {
            "mine": 10,
            "questions": 4,
            "wmt24pp_en_de": 2,
        }
        for name in ("mine", "wmt24pp_en_de"):
            assert {"bleu", "chrf++"} <= set(sets[name]["metrics"])
        assert not {"bleu", "chrf++"} & set(sets["questions"]["metrics"])
    assert [set(system["by_set"]) for system in ranking["systems"]] == [{"graded"}, {"graded"}]
    assert ranking["data"]["n"] == 10


def test_own_test_sets_stand_beside_a_published_one(said: dict[str, str]) -> None:
    leakage = of(said, "example_files/data/leakage.tsv").splitlines()[1:]
    compared = {(line.split("\t")[1], line.split("\t")[2]) for line in leakage}
    assert compared == {("graded", "10"), ("mine", "10"), ("questions", "4"), ("wmt24pp_en_de", "2")}
    folder = Path(said["folder"]) / "results/example_files"
    page = (folder / "report/index.html").read_text(encoding="utf-8")
    summary = of(said, "summary.md")
    for name in ("graded", "mine", "questions", "wmt24pp_en_de"):
        assert name in page
        assert name in summary
    locked = read_yaml(folder / "provenance/datasets.lock.yaml")["wmt24pp"]
    assert locked["revision"][:12] in page
    assert "en-de_DE.jsonl" in locked["files"]


def test_files_are_pinned_by_content_in_provenance_and_report(said: dict[str, str]) -> None:
    folder = Path(said["folder"])
    files = results(said, "provenance/provenance.json")["files"]
    names = {path.name for path in (folder / "config/example").iterdir()}
    assert {Path(name).name for name in files} == names
    page = (folder / "results/example_files/report/index.html").read_text(encoding="utf-8")
    assert "the user&#39;s own files" in page or "the user's own files" in page
    for name, pinned in files.items():
        assert pinned["size"] == (folder / name).stat().st_size
        assert f"File, {name}" in page
        assert pinned["sha256"][:16] in page
    assert "questions" in page
    assert "| BLEU |" in of(said, "summary.md")


def test_a_file_is_tried_by_itself(said: dict[str, str]) -> None:
    assert "results/tried.parquet: 20 rows" in of(said, "read_files.py")
