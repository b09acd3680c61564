"""docs/own_data.md to the letter, from a TSV to the report, with all stages and the real engines; and what
interrupts them on the way, again and again.

Its file is written and its commands run. Before the one that runs to the report the same experiment is begun
and killed: each test goes on where the one before left it. A second checkout makes the first models beside
it: an interruption must not change what comes out.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from documented import BLOCK, NEW_FILE
from grrm.files import read_yaml
from hub_server import HubServer, serve
from workspace import ROOT, Workspace, wait_for

PAGE = (ROOT / "docs/own_data.md").read_text(encoding="utf-8")
FILES = {
    match[1]: block["text"]
    for block in BLOCK.finditer(PAGE)
    if (match := NEW_FILE.fullmatch(block["before"]))
}
COMMANDS = [
    line
    for block in BLOCK.finditer(PAGE)
    if block["language"] == "console"
    for line in block["text"].splitlines()
]
(WHOLE,) = [line for line in COMMANDS if "snakemake" in line and "config/example_files.yaml" in line]
"""The one that runs to the report."""
OPTIONS = ["--configfile", *WHOLE.partition(" --configfile ")[2].split()]
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


@pytest.fixture(scope="module", autouse=True)
def _hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with serve() as hub, pytest.MonkeyPatch.context() as variables:
        publish(hub)
        variables.setenv("HF_ENDPOINT", hub.endpoint)
        variables.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))
        variables.setenv("NO_PROXY", "*")
        yield


def checkout(folder: Path) -> Workspace:
    """One of a reader's who has written the page's files."""
    made = Workspace(folder)
    (made.folder / ".venv").symlink_to(ROOT / ".venv")
    for name, text in FILES.items():
        (made.folder / name).write_text(text, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return checkout(tmp_path_factory.mktemp("chain"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return checkout(tmp_path_factory.mktemp("undisturbed"))


def run(workspace: Workspace, words: str) -> str:
    """What the command of the page with these words prints; it has to succeed."""
    (command,) = [line for line in COMMANDS if words in line]
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
    return done.stdout + done.stderr


def weights(workspace: Workspace, stage: str) -> str:
    """Digest of a finished model's weights."""
    return sha256((results(workspace) / "models" / stage / "model.safetensors").read_bytes()).hexdigest()


def results(workspace: Workspace) -> Path:
    return workspace.folder / "results" / "example_files"


def read(workspace: Workspace, path: str) -> Any:
    return json.loads((results(workspace) / path).read_text(encoding="utf-8"))


def command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[:3])
    except psutil.Error:  # ended while we looked
        return ""


def test_the_page_has_these_commands() -> None:
    assert len(COMMANDS) == 8
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))
    assert list(FILES) == ["my_data.yaml", "beside.yaml"]


def test_what_there_is_is_counted_and_held_out(workspace: Workspace) -> None:
    assert "src_lang\ttrg_lang\tsrc_text\ttrg_text" in run(workspace, "head ")
    forecast = run(workspace, "grrm forecast")
    assert re.search(r"^mt_grpo +20 ", forecast, re.M)
    assert re.search(r"^grrm_sft +34 ", forecast, re.M)
    run(workspace, "snakemake --cores 2 data ")
    data = workspace.folder / "results/my_data/data"
    rows = {path.stem: pq.read_metadata(path).num_rows for path in data.glob("*.parquet")}
    assert rows["mt_sft"] == rows["mt_grpo"] == 20 - rows["translation_test"]
    assert rows["grrm_sft"] == rows["grrm_rlvr"] == 34 - rows["ranking_test"]
    assert rows["translation_test"] == 4
    assert rows["ranking_test"] in (6, 7)
    lines = [line.split("\t") for line in run(workspace, "my_data/data/leakage.tsv").splitlines()[1:]]
    assert len(lines) == 8
    assert {line[-1] for line in lines} == {"0.0000"}


def test_a_file_is_tried_by_itself(workspace: Workspace) -> None:
    assert "results/tried.parquet: 20 rows" in run(workspace, "read_files.py")


def test_killed_while_the_judge_is_finetuned_it_goes_on(workspace: Workspace, undisturbed: Workspace) -> None:
    saved = results(workspace) / "checkpoints/grrm_sft/checkpoint-2/trainer_state.json"
    workspace.kill_when(saved.exists, "the SFT of the judge has a checkpoint", "grrm_sft", *OPTIONS)
    assert not (results(workspace) / "models" / "grrm_sft").exists()
    neighbour = undisturbed.start("grrm_sft", *OPTIONS)
    assert workspace.run("grrm_sft", *OPTIONS) == 0, workspace.log[-3000:]
    assert neighbour.wait(600) == 0, undisturbed.log[-3000:]
    log = (results(workspace) / "logs" / "train_grrm_sft.log").read_text()
    assert "Resuming training from results/example_files/checkpoints/grrm_sft/checkpoint-2." in log
    steps = [row["step"] for row in workspace.read_jsonl("results/example_files/curves/grrm_sft.jsonl")]
    assert steps == [1, 2, 3]
    assert weights(workspace, "grrm_sft") == weights(undisturbed, "grrm_sft")


def test_killed_after_a_checkpoint_rlvr_resumes_from_it(workspace: Workspace, undisturbed: Workspace) -> None:
    finetuned = results(workspace) / "models" / "grrm_sft" / "training.json"
    trained_at = finetuned.stat().st_mtime_ns
    tracker = results(workspace) / "checkpoints" / "grrm_rlvr" / "latest_checkpointed_iteration.txt"
    # Two of Ray at once, and one of them is killed.
    neighbour = undisturbed.start("grrm_rlvr", *OPTIONS)
    wait_for(
        lambda: any("raylet" in command(process) for process in undisturbed.processes()), 300, "Ray is there"
    )
    workspace.kill_when(tracker.exists, "RLVR has written a checkpoint", "grrm_rlvr", *OPTIONS)
    assert not (results(workspace) / "models" / "grrm_rlvr").exists()
    kept = int(tracker.read_text())
    assert workspace.run("grrm_rlvr", *OPTIONS) == 0, workspace.log[-3000:]
    assert neighbour.wait(600) == 0, undisturbed.log[-3000:]
    assert weights(workspace, "grrm_rlvr") == weights(undisturbed, "grrm_rlvr")
    assert finetuned.stat().st_mtime_ns == trained_at, "a finished stage was trained again"
    steps = {row["step"] for row in workspace.read_jsonl("results/example_files/curves/grrm_rlvr.jsonl")}
    # verl records a step after its checkpoint: of that step alone the record may be lost.
    assert {1, 2} - {kept} <= steps <= {1, 2}
    log = (results(workspace) / "logs" / "train_grrm_rlvr.log").read_text()
    assert ("has no metrics of steps" in log) == (steps != {1, 2})
    workspace.nothing_is_left()


def test_when_an_engine_is_killed_the_stage_fails_and_can_be_run_again(workspace: Workspace) -> None:
    workflow = workspace.start("mt_grpo", *OPTIONS)

    def trainer() -> psutil.Process | None:
        return next((process for process in workspace.processes() if "main_ppo" in command(process)), None)

    engine = wait_for(trainer, 300, "the GRPO engine runs")
    engine.send_signal(signal.SIGKILL)
    assert workflow.wait(120) != 0
    assert "train_mt_grpo.log" in workspace.log, "the failing stage's log is named"
    workspace.nothing_is_left()
    assert not (results(workspace) / "models" / "mt_grpo").exists()


def test_the_command_of_the_page_finishes_the_chain(workspace: Workspace) -> None:
    run(workspace, WHOLE)
    assert read(workspace, "summary.json")["experiment"] == "example_files"
    steps = [row["step"] for row in workspace.read_jsonl("results/example_files/curves/mt_grpo.jsonl")]
    assert steps == [1, 2]
    workspace.nothing_is_left()


def test_all_stages_train_and_every_test_set_is_scored_by_its_name(workspace: Workspace) -> None:
    models = results(workspace) / "models"
    assert {"grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo"} <= {path.name for path in models.iterdir()}
    translation, ranking = (read(workspace, f"evaluation/{task}.json") for task in ("translation", "ranking"))
    assert [system["name"] for system in translation["systems"]] == ["mt_sft", "mt_grpo"]
    for system in translation["systems"]:
        sets = system["by_set"]
        sizes = {"mine": 10, "questions": 4, "wmt24pp_en_de": 2}
        assert {name: scores["n"] for name, scores in sets.items()} == sizes
        for name in ("mine", "wmt24pp_en_de"):
            assert {"bleu", "chrf++", "comet"} <= set(sets[name]["metrics"])
        assert not {"bleu", "chrf++", "comet"} & set(sets["questions"]["metrics"])
    assert [set(system["by_set"]) for system in ranking["systems"]] == [{"graded"}, {"graded"}]
    assert ranking["data"]["n"] == 10


def test_own_test_sets_stand_beside_a_published_one(workspace: Workspace) -> None:
    leakage = run(workspace, "example_files/data/leakage.tsv").splitlines()[1:]
    compared = {(line.split("\t")[1], line.split("\t")[2]) for line in leakage}
    assert compared == {("graded", "10"), ("mine", "10"), ("questions", "4"), ("wmt24pp_en_de", "2")}
    folder = results(workspace)
    page = (folder / "report/index.html").read_text(encoding="utf-8")
    names = {"graded", "mine", "questions", "wmt24pp_en_de"}
    assert {record["set"] for record in read(workspace, "summary.json")["by_set"]} == names
    assert [name for name in names if name not in page] == []
    locked = read_yaml(folder / "provenance/datasets.lock.yaml")["wmt24pp"]
    assert locked["revision"][:12] in page
    assert "en-de_DE.jsonl" in locked["files"]


def test_files_are_pinned_by_content_in_provenance_and_report(workspace: Workspace) -> None:
    files = read(workspace, "provenance/provenance.json")["files"]
    names = {path.name for path in (workspace.folder / "config/example").iterdir()}
    assert {Path(name).name for name in files} == names
    page = (results(workspace) / "report/index.html").read_text(encoding="utf-8")
    assert "the user&#39;s own files" in page or "the user's own files" in page
    for name, pinned in files.items():
        assert pinned["size"] == (workspace.folder / name).stat().st_size
        assert f"File, {name}" in page
        assert pinned["sha256"][:16] in page
    assert "questions" in page
    assert "| BLEU |" in run(workspace, "summary.md")


def test_the_report_of_the_chain_is_whole(workspace: Workspace) -> None:
    report = results(workspace) / "report"
    page = (report / "index.html").read_text()
    for stage in ("grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo"):
        assert f'<span class="mono muted">{stage}</span>' in page
    summary = read(workspace, "summary.json")
    assert {cell["verdict"] for cell in summary["paper"]["cells"]} == {"not_run"}
    assert summary["hacking"]["stage"] == "mt_grpo"
    with zipfile.ZipFile(report / "report.zip") as archive:
        names = archive.namelist()
        assert "report/report.html" in names
        (packed,) = (name for name in names if name.endswith("/index.html"))
        assert archive.read(packed).decode() == page


def test_a_finished_experiment_has_nothing_to_do(workspace: Workspace) -> None:
    done = subprocess.run(
        [str(ROOT / ".venv/bin/snakemake"), "--dry-run", *OPTIONS],
        cwd=workspace.folder,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert "Nothing to be done" in done.stdout + done.stderr


def test_no_half_written_file_is_left(workspace: Workspace) -> None:
    left = [str(path) for path in results(workspace).rglob("*.tmp")]
    assert left == []
