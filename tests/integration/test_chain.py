"""The whole chain on real text, with the real engines, interrupted again and again.

One experiment serves all tests of this file, in their order: each goes on where the one before left it.
A second checkout makes the same models beside it: an interruption must not change what comes out.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import zipfile
from hashlib import sha256
from pathlib import Path

import psutil
import pytest

from workspace import ROOT, Workspace, wait_for

SMOKE = ("--configfile", "config/smoke.yaml")
# Ray's daemons and the engines' workers have this long to notice that their parent is gone.
PATIENCE = 30.0


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("chain"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("undisturbed"))


def weights(workspace: Workspace, stage: str) -> str:
    """Digest of a finished model's weights."""
    return sha256((results(workspace) / "models" / stage / "model.safetensors").read_bytes()).hexdigest()


def results(workspace: Workspace) -> Path:
    return workspace.folder / "results" / "smoke"


def command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[:3])
    except psutil.Error:  # ended while we looked
        return ""


def nothing_is_left(workspace: Workspace) -> None:
    def gone() -> bool:
        return not workspace.processes()

    wait_for(gone, PATIENCE, "no process of the workflow is left")


def kill_workflow_when(workspace: Workspace, condition, what: str, *target: str) -> None:  # type: ignore[no-untyped-def]
    """Run towards a target, and kill Snakemake (SIGKILL) as soon as the condition holds."""
    workflow = workspace.start(*target, *SMOKE)

    def reached() -> bool:
        assert workflow.poll() is None, workspace.log[-3000:]
        return bool(condition())

    wait_for(reached, 300, what)
    workflow.send_signal(signal.SIGKILL)
    workflow.wait()
    nothing_is_left(workspace)


def test_killed_while_the_judge_is_finetuned_it_goes_on(workspace: Workspace, undisturbed: Workspace) -> None:
    saved = results(workspace) / "checkpoints/grrm_sft/checkpoint-2/trainer_state.json"
    kill_workflow_when(workspace, saved.exists, "the SFT of the judge has a checkpoint", "grrm_sft")
    assert not (results(workspace) / "models" / "grrm_sft").exists()
    neighbour = undisturbed.start("grrm_sft", *SMOKE)
    assert workspace.run("grrm_sft", *SMOKE) == 0, workspace.log[-3000:]
    assert neighbour.wait(600) == 0, undisturbed.log[-3000:]
    log = (results(workspace) / "logs" / "train_grrm_sft.log").read_text()
    assert "Resuming training from results/smoke/checkpoints/grrm_sft/checkpoint-2." in log
    assert [row["step"] for row in workspace.read_jsonl("results/smoke/curves/grrm_sft.jsonl")] == [1, 2, 3]
    assert weights(workspace, "grrm_sft") == weights(undisturbed, "grrm_sft")


def test_killed_after_a_checkpoint_rlvr_resumes_from_it(workspace: Workspace, undisturbed: Workspace) -> None:
    finetuned = results(workspace) / "models" / "grrm_sft" / "training.json"
    trained_at = finetuned.stat().st_mtime_ns
    tracker = results(workspace) / "checkpoints" / "grrm_rlvr" / "latest_checkpointed_iteration.txt"
    # Two of Ray at once, and one of them is killed.
    neighbour = undisturbed.start("grrm_rlvr", *SMOKE)
    wait_for(
        lambda: any("raylet" in command(process) for process in undisturbed.processes()), 300, "Ray is there"
    )
    kill_workflow_when(workspace, tracker.exists, "RLVR has written a checkpoint", "grrm_rlvr")
    assert not (results(workspace) / "models" / "grrm_rlvr").exists()
    kept = int(tracker.read_text())
    assert workspace.run("grrm_rlvr", *SMOKE) == 0, workspace.log[-3000:]
    assert neighbour.wait(600) == 0, undisturbed.log[-3000:]
    assert weights(workspace, "grrm_rlvr") == weights(undisturbed, "grrm_rlvr")
    assert finetuned.stat().st_mtime_ns == trained_at, "a finished stage was trained again"
    steps = {row["step"] for row in workspace.read_jsonl("results/smoke/curves/grrm_rlvr.jsonl")}
    # verl records a step after its checkpoint: of that step alone the record may be lost.
    assert {1, 2} - {kept} <= steps <= {1, 2}
    log = (results(workspace) / "logs" / "train_grrm_rlvr.log").read_text()
    assert ("has no metrics of steps" in log) == (steps != {1, 2})
    nothing_is_left(workspace)


def test_when_an_engine_is_killed_the_stage_fails_and_can_be_run_again(workspace: Workspace) -> None:
    workflow = workspace.start("mt_grpo", *SMOKE)

    def trainer() -> psutil.Process | None:
        return next((process for process in workspace.processes() if "main_ppo" in command(process)), None)

    engine = wait_for(trainer, 300, "the GRPO engine runs")
    engine.send_signal(signal.SIGKILL)
    assert workflow.wait(120) != 0
    assert "train_mt_grpo.log" in workspace.log, "the failing stage's log is named"
    nothing_is_left(workspace)
    assert not (results(workspace) / "models" / "mt_grpo").exists()


def test_the_same_command_finishes_the_chain(workspace: Workspace) -> None:
    assert workspace.run(*SMOKE) == 0, workspace.log[-3000:]
    summary = json.loads((results(workspace) / "summary.json").read_text())
    assert summary["experiment"] == "smoke"
    steps = [row["step"] for row in workspace.read_jsonl("results/smoke/curves/mt_grpo.jsonl")]
    assert steps == [1, 2]
    nothing_is_left(workspace)


def test_the_report_of_the_chain_is_whole(workspace: Workspace) -> None:
    report = results(workspace) / "report"
    page = (report / "index.html").read_text()
    for stage in ("grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo"):
        assert f'<span class="mono muted">{stage}</span>' in page
    summary = json.loads((results(workspace) / "summary.json").read_text())
    assert {cell["verdict"] for cell in summary["paper"]["cells"]} == {"not_run"}
    assert summary["hacking"]["stage"] == "mt_grpo"
    with zipfile.ZipFile(report / "report.zip") as archive:
        names = archive.namelist()
        assert "report/report.html" in names
        (packed,) = (name for name in names if name.endswith("/index.html"))
        assert archive.read(packed).decode() == page


def test_a_finished_experiment_has_nothing_to_do(workspace: Workspace) -> None:
    done = subprocess.run(
        [str(ROOT / ".venv/bin/snakemake"), "--dry-run", *SMOKE],
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
