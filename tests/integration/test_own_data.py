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

from workspace import ROOT, Workspace

PAGE = (ROOT / "docs/own_data.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
NEW_FILE = re.compile(r"`([\w./]+)`:")


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each command of the page prints; where they ran under the key `folder`."""
    workspace = Workspace(tmp_path_factory.mktemp("own"))
    (workspace.folder / ".venv").symlink_to(ROOT / ".venv")
    printed = {"folder": str(workspace.folder)}
    for block in BLOCK.finditer(PAGE):
        if match := NEW_FILE.fullmatch(block["before"]):
            (workspace.folder / match[1]).write_text(block["text"], encoding="utf-8")
        for command in block["text"].splitlines() if block["language"] == "console" else ():
            done = subprocess.run(
                command,
                shell=True,
                cwd=workspace.folder,
                capture_output=True,
                text=True,
                timeout=900,
                env=os.environ | {"PYTHONPATH": str(workspace.folder / "scripts")},
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
            printed[command] = done.stdout + done.stderr
    return printed


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
    assert len(commands) == 7
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
    lines = [line.split("\t") for line in of(said, "leakage.tsv").splitlines()[1:]]
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
        assert set(system["by_set"]) == {"mine", "questions"}
        assert {"bleu", "chrf++"} <= set(system["by_set"]["mine"]["metrics"])
        assert not {"bleu", "chrf++"} & set(system["by_set"]["questions"]["metrics"])
        assert (system["by_set"]["mine"]["n"], system["by_set"]["questions"]["n"]) == (10, 4)
    assert [set(system["by_set"]) for system in ranking["systems"]] == [{"graded"}, {"graded"}]
    assert ranking["data"]["n"] == 10


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
