"""The workflow on a real Slurm (local_cluster.py), with real engines at toy size, and what goes wrong there.

One experiment serves all tests of this file, in their order. Its trainings run on two virtual machines each.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import local_cluster
import psutil
import pytest
import yaml

from grrm.engines.sessions import read_sessions
from workspace import Workspace, wait_for

REASON = local_cluster.why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no test cluster here: {REASON}")

# Where the tests differ from what a user types: sizes, names of this cluster, and how often it is asked.
OVERLAY = {
    "hardware": {"nodes": 2},
    "cluster": {"cpu": {"partition": "cpu", "max_runtime": 60}, "stop_before": 1},
}
OPTIONS = ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10"]
IMPATIENT = str(Path(__file__).with_name("impatient_snakemake.py"))
# Of another experiment, whose training takes longer than its job may last: its steps, those between two
# checkpoints, and the seconds before the end of a job at which it is asked for one.
STEPS, SAVED, STOP_BEFORE = 2500, 250, 120
STOPPED = re.compile(
    r"^error: stopped before the end of the job's time, after the checkpoint of step (\d+)", re.M
)
PATIENCE = 600.0
RL = ("grrm_rlvr", "mt_grpo")
MACHINES = set(local_cluster.NODES)
WORKFLOW = "workflow.log"
# One job, which does not start before it is released.
HELD = ("results/held/data/grrm_sft.parquet", "--config", "experiment=held")
HELD += ("--set-resources", "make_sample_data:slurm_extra='--hold'")


class Cluster(Workspace):
    """A checkout on a login node."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.started: list[subprocess.Popen[str]] = []
        self.stops: set[int] = set()

    def submit(self, *arguments: str, log: str = WORKFLOW) -> subprocess.Popen[str]:
        """`snakemake --profile slurm`, with the tests' sizes."""
        (self.folder / "overlay.yaml").write_text(yaml.safe_dump(OVERLAY))
        command = [sys.executable, IMPATIENT, "--profile", "slurm", *arguments, *OPTIONS]
        command += ["--configfile", "config/smoke.yaml", "overlay.yaml"]
        with (self.folder / log).open("a") as output:
            workflow = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self.started.append(workflow)
        return workflow

    def finish(self, workflow: subprocess.Popen[str], seconds: float = 1800, log: str = WORKFLOW) -> None:
        """Wait for a submitted workflow, which must succeed."""
        assert workflow.wait(seconds) == 0, (self.folder / log).read_text()[-3000:]

    def wait_while(
        self,
        workflow: subprocess.Popen[str],
        condition: Callable[[], Any],
        what: str,
        log: str = WORKFLOW,
    ) -> Any:
        """Wait until a condition holds, as long as the workflow runs."""

        def holds() -> Any:
            assert workflow.poll() is None, (self.folder / log).read_text()[-3000:]
            return condition()

        return wait_for(holds, PATIENCE, what)

    def results(self, experiment: str = "smoke") -> Path:
        return self.folder / "results" / experiment

    def working(self, stage: str, experiment: str = "smoke") -> Path:
        return self.results(experiment) / "checkpoints" / stage

    def job_of(self, stage: str, experiment: str = "smoke") -> str | None:
        """The Slurm job that trains a stage, from its lock."""
        lock = self.results(experiment) / f"checkpoints/{stage}.lock"
        return json.loads(lock.read_text())["job"] if lock.exists() else None

    def training_log(self, stage: str, experiment: str = "smoke") -> str:
        log = self.results(experiment) / f"logs/train_{stage}.log"
        # Snakemake removes it when a job begins.
        with contextlib.suppress(FileNotFoundError):
            return log.read_text(errors="replace")
        return ""

    def note_stops(self, stage: str, experiment: str) -> None:
        """From now on, keep the steps after which a training stopped: its log is removed."""

        def watch() -> None:
            while True:
                self.stops.update(map(int, STOPPED.findall(self.training_log(stage, experiment))))
                time.sleep(0.5)

        threading.Thread(target=watch, daemon=True).start()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    local_cluster.start()
    login_node = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield login_node
    finally:
        for workflow in login_node.started:
            workflow.kill()
        local_cluster.stop()


@pytest.fixture(scope="module")
def second(checkout: Cluster) -> subprocess.Popen[str]:
    """Another experiment, at work while all else happens, on machines that may be taken from it."""
    checkout.note_stops("mt_sft", "second")
    return checkout.submit(
        *("mt_sft", "--config", "experiment=second", f"mt_sft={{max_steps: {STEPS}, save_steps: {SAVED}}}"),
        f"cluster={{stop_before: {STOP_BEFORE}}}",
        # In place of --signal: its own clock has to do.
        *("--set-resources", "train_mt_sft:slurm_partition=scavenge", "train_mt_sft:slurm_extra='--nice=0'"),
        log="second.log",
    )


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def state(job: str) -> str:
    return slurm("squeue", "--noheader", "--states", "all", "--jobs", job, "--format", "%T")


def run_time(job: str) -> int:
    """Seconds that a job has run, without those it was suspended."""
    clock = slurm("scontrol", "show", "job", job).partition("RunTime=")[2].split()[0]
    hours, minutes, seconds = map(int, clock.split(":"))
    return 3600 * hours + 60 * minutes + seconds


def last_checkpoint(working: Path) -> int:
    """Step of the last complete checkpoint of an SFT, 0 without any."""
    complete = working.glob("checkpoint-*/trainer_state.json")
    return max((int(file.parent.name.partition("-")[2]) for file in complete), default=0)


def restarts(job: str) -> int:
    shown = slurm("scontrol", "show", "job", job)
    return int(shown.partition("Restarts=")[2].split()[0])


def hurried(job: str) -> bool:
    """Whether a requeued job runs; if not, it need not wait for the two minutes that Slurm holds it back."""
    update = ["scontrol", "update", f"JobId={job}", "StartTime=now"]
    subprocess.run(update, capture_output=True, check=False)  # refused while it is still being ended
    return state(job) == "RUNNING"


def test_nothing_is_submitted_twice_or_against_its_users_will(checkout: Cluster) -> None:
    log = checkout.folder / "held.log"
    slurm("scontrol", "update", "PartitionName=cpu", "State=INACTIVE")
    workflow = checkout.submit(*HELD, log=log.name)
    waits = "Slurm does not take job"
    checkout.wait_while(workflow, lambda: waits in log.read_text(), "it waits with the submission", log.name)
    slurm("scontrol", "update", "PartitionName=cpu", "State=UP")
    stuck = "(held.make_sample_data) does not start by itself: JobHeldUser"
    checkout.wait_while(workflow, lambda: stuck in log.read_text(), "a held job is said", log.name)
    assert "Trying to restart" not in log.read_text()
    workflow.send_signal(signal.SIGKILL)
    workflow.wait()
    checkout.finish(checkout.submit(*HELD, "--unlock"))
    # Nothing runs, and nothing has a lock: the queue alone tells.
    refused = checkout.submit(*HELD, log="refused.log")
    assert refused.wait(PATIENCE) != 0
    (job,) = slurm("squeue", "--noheader", "--me", "--format", "%i").split()
    said = (checkout.folder / "refused.log").read_text()
    assert f"jobs of an earlier run in this folder: {job} (held.make_sample_data, PENDING)" in said
    assert f"scancel {job}" in said and "has been submitted" not in said
    slurm("scancel", job)
    again = checkout.submit(*HELD, log="cancelled.log")

    def queued() -> str:
        return slurm("squeue", "--noheader", "--me", "--name", "held.make_sample_data", "--format", "%i")

    slurm("scancel", checkout.wait_while(again, queued, "it is in the queue", "cancelled.log"))
    assert again.wait(PATIENCE) != 0
    said = (checkout.folder / "cancelled.log").read_text()
    assert "It is not tried again: it was cancelled (scancel)" in said
    assert said.count("has been submitted") == 1


def test_a_rerun_does_not_train_beside_the_orphan_of_a_killed_run(checkout: Cluster) -> None:
    workflow = checkout.submit("grrm_sft")
    locked = "the SFT of the judge has its lock"
    orphan = checkout.wait_while(workflow, lambda: checkout.job_of("grrm_sft"), locked)
    workflow.send_signal(signal.SIGKILL)
    workflow.wait()
    assert state(orphan) == "RUNNING"
    # It is held up until the next one has found it.
    slurm("scontrol", "suspend", orphan)
    checkout.finish(checkout.submit("grrm_sft", "--unlock"))
    # The preflight finds it before anything is submitted.
    refused = checkout.submit("grrm_sft", log="refused.log")
    assert refused.wait(PATIENCE) != 0
    said = (checkout.folder / "refused.log").read_text()
    assert f"Slurm job {orphan} of an earlier run is at work there (SUSPENDED)" in said
    assert f"scancel {orphan}" in said and "nothing was started" in said
    assert "has been submitted" not in said
    # Without it, the second job does.
    again = checkout.submit("grrm_sft", "--no-hooks")
    found = f"grrm_sft.lock: held by Slurm job {orphan}, "
    there = "the rerun has found the orphan"
    checkout.wait_while(again, lambda: found in checkout.training_log("grrm_sft"), there)
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
    log = "second.log"
    checkout.wait_while(second, lambda: last_checkpoint(working) > 0, "there is a checkpoint", log)
    job = checkout.job_of("mt_sft", "second")
    assert job is not None
    urgent = ("--partition", "urgent", "--nodes", "2", "--exclusive", "--output", "/dev/null")
    slurm("sbatch", *urgent, "--wrap", "sleep 5")
    checkout.wait_while(second, lambda: restarts(job) == 1, "the training is back in the queue", log)
    checkout.wait_while(second, lambda: hurried(job), "it runs again", log)
    kept = last_checkpoint(working)
    resumed = "Resuming training from"
    checkout.wait_while(
        second, lambda: resumed in checkout.training_log("mt_sft", "second"), "it reads its checkpoint", log
    )
    checkout.wait_while(second, lambda: last_checkpoint(working) > kept, "it goes on", log)


def test_a_training_whose_job_is_nearly_over_saves_and_goes_on_in_another(
    checkout: Cluster, second: subprocess.Popen[str]
) -> None:
    job = checkout.job_of("mt_sft", "second")
    assert job is not None
    # Whatever the speed of this machine, the time is over before the steps are: Slurm says now what counts.
    slurm("scontrol", "update", f"JobId={job}", f"TimeLimit={run_time(job) // 60 + 3}")
    checkout.wait_while(
        second, lambda: checkout.stops, "it is asked for a checkpoint, and stops", "second.log"
    )
    assert state(job) != "TIMEOUT"
    (step,) = checkout.stops
    assert step % SAVED, "a step that has no checkpoint otherwise"

    def another() -> bool:
        return checkout.job_of("mt_sft", "second") not in (None, job)

    checkout.wait_while(second, another, "another job goes on", "second.log")


def test_the_chain_survives_the_loss_of_slurmctld(checkout: Cluster, second: subprocess.Popen[str]) -> None:
    workflow = checkout.submit()
    other = checkout.submit(*HELD, "--nolock", log="other.log")
    checkout.wait_while(workflow, lambda: checkout.job_of("grrm_rlvr"), "RLVR has its lock")
    local_cluster.kill_controller()
    # Ctrl-C ends a workflow without its answer.
    other.send_signal(signal.SIGINT)
    assert other.wait(PATIENCE) != 0
    assert "may go on: scancel could not reach them" in (checkout.folder / "other.log").read_text()
    local_cluster.start_controller()
    slurm("scancel", "--name", "held.make_sample_data")
    checkout.finish(workflow)
    summary = json.loads((checkout.results() / "summary.json").read_text())
    assert summary["experiment"] == "smoke"
    for stage in RL:
        steps = [row["step"] for row in checkout.read_jsonl(f"results/smoke/curves/{stage}.jsonl")]
        assert steps == [1, 2]
        machines = checkout.working(stage) / "attempts/1/machines"
        assert {log.stem for log in machines.glob("a*.log")} == MACHINES
        assert "Ray runs on a1, a2" in checkout.training_log(stage)


def test_a_training_longer_than_its_job_might_last_is_finished_by_several(
    checkout: Cluster, second: subprocess.Popen[str]
) -> None:
    checkout.finish(second, log="second.log")
    sessions = read_sessions(checkout.working("mt_sft", "second"))
    assert len({session["job"] for session in sessions}) == 2
    # Other trainings ran on the same machines at the same time, with ports and folders of their own.
    chain = [session for stage in RL for session in read_sessions(checkout.working(stage))]
    assert any(
        one["started"] < other["ended"] and other["started"] < one["ended"]
        for one in sessions
        for other in chain
    )
    assert {
        log.stem for log in (checkout.working("mt_sft", "second") / "machines").glob("a*.log")
    } == MACHINES
    steps = [row["step"] for row in checkout.read_jsonl("results/second/curves/mt_sft.jsonl")]
    assert steps[-1] == STEPS
    assert steps == sorted(set(steps))


def test_nothing_runs_on_after_the_jobs(checkout: Cluster) -> None:
    wait_for(lambda: not slurm("squeue", "--noheader"), 60, "no job is left")

    def ray() -> list[psutil.Process]:
        return [process for process in checkout.processes() if "ray" in process.name()]

    wait_for(lambda: not ray(), 30, "no process of Ray is left")


# What a step of ours sees on each machine of the paper's two.
LOOK = """
import os, subprocess
from grrm.slurm.allocation import find_allocation, step_environment
allocation = find_allocation(2, 8)
for node in allocation.nodes:
    step = allocation.step(node, ["sh", "-c", "echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES"])
    subprocess.run(step, env=step_environment(os.environ), check=True)
"""
# A mistake, and what is over when it is tried again.
RAISING = """
import sys
from pathlib import Path
from grrm.files import PassingError, UserError
from grrm.process import run_main
def main():
    if sys.argv[1] == "wrong":
        raise UserError("a wrong value")
    if not Path("seen").exists():
        Path("seen").touch()
        raise PassingError("nobody answers")
    Path(sys.argv[2]).touch()
run_main(main)
"""
GPUS = """
configfile: "config/config.yaml"
configfile: "config/cluster.yaml"
include: "rules/common.smk"
include: "rules/deployment.smk"
rule all:
    default_target: True
    input: "gpus.txt", "wrong.txt", "passing.txt"
rule raising:
    output: "{error}.txt"
    resources: slurm_partition="cpu", mem_mb=500, runtime=2
    shell: "PYTHONPATH=scripts python raising.py {wildcards.error} {output}"
rule train_mt_grpo:
    output: "gpus.txt"
    resources: **resources("train_mt_grpo")
    shell: "PYTHONPATH=scripts python look.py > {output}"
"""


def test_all_gpus_of_both_machines_are_lent_and_only_what_may_pass_is_tried_again(checkout: Cluster) -> None:
    (checkout.folder / "look.py").write_text(LOOK)
    (checkout.folder / "raising.py").write_text(RAISING)
    (checkout.folder / "gpus.smk").write_text(GPUS)
    smaller = "resources={train_mt_grpo: {cuda: {mem_gb_per_gpu: 1, runtime: 2}}}"
    names = "cluster={gpu: {partition: gpu, model: h100}}"
    command = [sys.executable, IMPATIENT, "--profile", "slurm", "--snakefile", "gpus.smk", *OPTIONS]
    done = subprocess.run(
        [*command, "--config", names, smaller],
        cwd=checkout.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "It is not tried again: its error would be the same (exit status 2)" in said
    assert said.count("Trying to restart job") == 1 and (checkout.folder / "passing.txt").exists()
    all_eight = "0,1,2,3,4,5,6,7"
    assert (checkout.folder / "gpus.txt").read_text() == f"a1 {all_eight}\na2 {all_eight}\n"
