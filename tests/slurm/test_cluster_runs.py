"""The workflow on a real Slurm (local_cluster.py), with real engines at toy size, and what goes wrong there.

One experiment serves all tests of this file, in their order. Its trainings run on two virtual machines each.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import local_cluster
import psutil
import pytest
import yaml

from workspace import Workspace, wait_for

REASON = local_cluster.why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no test cluster here: {REASON}")

# Where the tests differ from what a user types: sizes, names of this cluster, and how often it is asked.
OVERLAY = {
    "hardware": {"nodes": 2},
    "cluster": {"cpu": {"partition": "cpu", "max_runtime": 60}, "stop_before": 1},
}
OPTIONS = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"]
OPTIONS += ["--latency-wait", "10"]
# Another experiment, whose training takes longer than the two minutes that its job may last, on machines that
# somebody more important may take.
STEPS, SAVED = 2500, 250
SECOND = [
    *("mt_sft", "--config", "experiment=second", f"mt_sft={{max_steps: {STEPS}, save_steps: {SAVED}}}"),
    *("resources={train_mt_sft: {runtime: 2}}", "--set-resources", "train_mt_sft:slurm_partition=scavenge"),
]
PATIENCE = 300.0


class Cluster(Workspace):
    """A checkout on a login node."""

    def submit(self, *arguments: str, log: str = "workflow.log") -> subprocess.Popen[str]:
        """`snakemake --profile slurm`, with the tests' sizes."""
        (self.folder / "overlay.yaml").write_text(yaml.safe_dump(OVERLAY))
        command = [sys.executable, "-m", "snakemake", "--profile", "slurm", *OPTIONS]
        command += ["--configfile", "config/smoke.yaml", "overlay.yaml", *arguments]
        with (self.folder / log).open("a") as output:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def finish(
        self, workflow: subprocess.Popen[str], seconds: float = 900, log: str = "workflow.log"
    ) -> None:
        """Wait for a submitted workflow, which must succeed."""
        assert workflow.wait(seconds) == 0, (self.folder / log).read_text()[-3000:]

    def results(self, experiment: str = "smoke") -> Path:
        return self.folder / "results" / experiment

    def job_of(self, stage: str, experiment: str = "smoke") -> str | None:
        """The Slurm job that trains a stage, from its lock."""
        lock = self.results(experiment) / f"checkpoints/{stage}.lock"
        return json.loads(lock.read_text())["job"] if lock.exists() else None

    def training_log(self, stage: str, experiment: str = "smoke") -> str:
        return (self.results(experiment) / f"logs/train_{stage}.log").read_text(errors="replace")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    local_cluster.start()
    try:
        yield Cluster(tmp_path_factory.mktemp("cluster"))
    finally:
        local_cluster.stop()


@pytest.fixture(scope="module")
def second(checkout: Cluster) -> Iterator[subprocess.Popen[str]]:
    """The other experiment, at work while all else happens."""
    workflow = checkout.submit(*SECOND, log="second.log")
    yield workflow
    if workflow.poll() is None:
        workflow.kill()


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def state(job: str) -> str:
    return slurm("squeue", "--noheader", "--states", "all", "--jobs", job, "--format", "%T")


def restarts(job: str) -> int:
    shown = slurm("scontrol", "show", "job", job)
    return int(shown.partition("Restarts=")[2].split()[0])


def test_a_rerun_does_not_train_beside_the_orphan_of_a_killed_run(
    checkout: Cluster, second: subprocess.Popen[str]
) -> None:
    workflow = checkout.submit("grrm_sft")
    orphan = wait_for(lambda: checkout.job_of("grrm_sft"), PATIENCE, "the SFT of the judge has its lock")
    workflow.send_signal(signal.SIGKILL)
    workflow.wait()
    assert state(orphan) == "RUNNING"
    # It is held up until the next one has found it.
    slurm("scontrol", "suspend", orphan)
    checkout.finish(checkout.submit("grrm_sft", "--unlock"))
    again = checkout.submit("grrm_sft")
    found = f"grrm_sft.lock: held by Slurm job {orphan}, "
    wait_for(lambda: found in checkout.training_log("grrm_sft"), 80, "the rerun has found the orphan")
    slurm("scontrol", "resume", orphan)
    checkout.finish(again)
    assert state(orphan) == "COMPLETED"
    assert [row["step"] for row in checkout.read_jsonl("results/smoke/curves/grrm_sft.jsonl")] == [1, 2, 3]
    assert (checkout.results() / "models/grrm_sft/model.safetensors").exists()
    assert not (checkout.results() / "checkpoints/grrm_sft.lock").exists()


def test_a_preempted_training_goes_on_from_its_checkpoint(
    checkout: Cluster, second: subprocess.Popen[str]
) -> None:
    working = checkout.results("second") / "checkpoints/mt_sft"
    wait_for(lambda: list(working.glob("checkpoint-*/trainer_state.json")), PATIENCE, "there is a checkpoint")
    job = checkout.job_of("mt_sft", "second")
    assert job is not None
    urgent = ("--partition", "urgent", "--nodes", "2", "--exclusive", "--output", "/dev/null")
    slurm("sbatch", *urgent, "--wrap", "sleep 5")
    wait_for(lambda: restarts(job) == 1, 60, "the training is back in the queue")
    wait_for(lambda: state(job) == "RUNNING", PATIENCE, "it runs again")
    resumed = "Resuming training from"
    wait_for(lambda: resumed in checkout.training_log("mt_sft", "second"), PATIENCE, "it goes on")
    assert second.poll() is None


def test_the_chain_survives_the_loss_of_slurmctld(checkout: Cluster, second: subprocess.Popen[str]) -> None:
    workflow = checkout.submit()
    wait_for(lambda: checkout.job_of("grrm_rlvr"), PATIENCE, "RLVR has its lock")
    local_cluster.kill_controller()
    time.sleep(10)
    local_cluster.start_controller()
    checkout.finish(workflow)
    summary = json.loads((checkout.results() / "summary.json").read_text())
    assert summary["experiment"] == "smoke"
    for stage in ("grrm_rlvr", "mt_grpo"):
        steps = [row["step"] for row in checkout.read_jsonl(f"results/smoke/curves/{stage}.jsonl")]
        assert steps == [1, 2]
        machines = checkout.results() / f"checkpoints/{stage}/attempts/1/machines"
        assert {log.stem for log in machines.glob("a*.log")} == {"a1", "a2"}
        assert "Ray runs on a1, a2" in checkout.training_log(stage)


def test_a_training_longer_than_its_job_may_last_is_finished_by_several(
    checkout: Cluster, second: subprocess.Popen[str]
) -> None:
    checkout.finish(second, log="second.log")
    # Slurm's logs of jobs that ended before the training did.
    logs = list((checkout.folder / ".snakemake/slurm_logs/rule_train_mt_sft").glob("*.log"))
    assert logs, "it was done within two minutes: raise STEPS"
    assert all("after the checkpoint of step" in log.read_text(errors="replace") for log in logs)
    steps = [row["step"] for row in checkout.read_jsonl("results/second/curves/mt_sft.jsonl")]
    assert steps[-1] == STEPS
    assert steps == sorted(set(steps))


def test_nothing_runs_on_after_the_jobs(checkout: Cluster) -> None:
    wait_for(lambda: not slurm("squeue", "--noheader"), 60, "no job is left")

    def ray() -> list[psutil.Process]:
        return [process for process in checkout.processes() if "ray" in process.name()]

    wait_for(lambda: not ray(), 30, "no process of Ray is left")


def test_gpus_are_asked_for_on_each_machine(checkout: Cluster) -> None:
    (checkout.folder / "gpus.smk").write_text(
        'configfile: "config/config.yaml"\n'
        'configfile: "config/cluster.yaml"\n'
        'include: "rules/common.smk"\n'
        "rule train_mt_grpo:\n"
        '    output: "gpus.txt"\n'
        '    resources: **resources("train_mt_grpo")\n'
        "    shell: \"squeue --noheader --jobs $SLURM_JOB_ID --format '%D %b %C' > {output}\"\n"
    )
    changes = "resources={train_mt_grpo: {cuda: {mem_gb_per_gpu: 1, runtime: 1}}}"
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "snakemake",
                "--profile",
                "slurm",
                "--snakefile",
                "gpus.smk",
                *OPTIONS[:6],
            ),
            *("--config", "cluster={gpu: {partition: gpu, model: h100}}", changes),
        ],
        cwd=checkout.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    nodes, gres, _cores = (checkout.folder / "gpus.txt").read_text().split()
    assert (nodes, gres) == ("2", "gres:gpu:h100:8")
