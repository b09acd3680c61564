"""Programs on all machines of an allocation, with an srun that runs everything on this one."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import time
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from grrm.engines import llamafactory, stop, verl_fork
from grrm.files import UserError
from grrm.process import TRY_AGAIN, WORKFLOW_PID
from grrm.slurm import node
from grrm.slurm.allocation import Allocation, end_of_job, find_allocation, step_environment
from grrm.slurm.containers import write_container_python
from grrm.slurm.ray import ray_cluster
from grrm.slurm.steps import await_all, on_machine, start_steps
from grrm.slurm.torchrun import torchrun_on_all
from slurm_commands import SRUN
from workspace import wait_for

SCRIPTS = Path(__file__).parents[2] / "scripts"
TWO = Allocation("4711", ("n1", "n2"), gpus=8)
# The machine "broken" cannot run anything, "dead" never begins.
SRUN_HERE = (
    SRUN
    + """\
[ "$node" = broken ] && { echo "slurmd: disk failed"; exit 3; }
[ "$node" = dead ] && exec sleep 60
exec "$@"
"""
)
SQUEUE = """#!/bin/sh
echo "n[1-2]"
"""
SCONTROL = """#!/bin/sh
printf 'n1\\nn2\\n'
"""


# Ray as far as a cluster needs it: a machine has joined when `start` runs there.
RAY = """
from pathlib import Path
JOINED = Path(__file__).parent / "joined"
is_initialized = lambda: True
nodes = lambda: [{"NodeName": path.name, "Alive": True} for path in JOINED.iterdir()]
"""
RAY_START = """
import os, sys, time, ray
(ray.JOINED / sys.argv[sys.argv.index("--node-name") + 1]).write_text(os.environ["RAY_AUTH_TOKEN"])
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's commands as scripts; grrm is on no path but those that the engines' environments name."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("srun", SRUN_HERE), ("squeue", SQUEUE), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "4711")


def test_the_allocation_is_what_slurm_says() -> None:
    assert find_allocation(2, 8) == TWO


def test_another_number_of_machines_than_configured_is_an_error() -> None:
    with pytest.raises(UserError, match=r"hardware\.nodes asks for 3 machines, but Slurm job 4711 has 2"):
        find_allocation(3, 8)


def test_several_machines_need_a_slurm_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID")
    with pytest.raises(UserError, match=r"no Slurm job: start with `snakemake --profile slurm`"):
        find_allocation(2, 8)


def test_a_step_asks_for_one_machine_and_its_gpus() -> None:
    step = TWO.step("n2", ["hostname"])
    assert step[:2] == ["srun", "--overlap"]
    assert step[step.index("--gres") + 1] == "gpu:8"
    assert step[step.index("--nodelist") + 1] == "n2"
    assert step[-1] == "hostname"
    assert "--gres" not in Allocation("1", ("n1",), gpus=0).step("n1", ["hostname"])


def test_jobs_on_one_machine_have_ports_of_their_own() -> None:
    jobs = [Allocation(str(number), ("n1",), 0) for number in range(1000, 1100)]
    ports = [job.port(index) for job in jobs for index in range(100)]
    assert len(set(ports)) == len(ports)
    # Ray's own begin at 10002 and end at 19999; Linux's own begin at 32768.
    assert min(ports) >= 20_000
    assert max(ports) < 32_768


def test_a_step_does_not_inherit_the_step_it_is_started_from() -> None:
    inherited = {"SLURM_NNODES": "1", "SLURM_CONF": "/etc/x", "SLURM_JOB_ID": "7", "PMIX_RANK": "0"}
    found = step_environment({**inherited, WORKFLOW_PID: "12", "HOME": "/root"})
    assert found == {"SLURM_CONF": "/etc/x", "SLURM_JOB_ID": "7", "HOME": "/root"}


def test_a_command_runs_on_each_machine_and_ends_with_the_block(tmp_path: Path) -> None:
    temporary = tmp_path / "session"
    code = "import sys, time; print('machine', sys.argv[1], flush=True); time.sleep(60)"
    commands = {
        node: on_machine(node, [sys.executable, "-c", code, node], temporary=temporary) for node in TWO.nodes
    }
    with start_steps(TWO, commands, environment=_environment(), logs=tmp_path) as steps:
        await_all(steps, steps.ready, what="it", deadline=20)
        log = tmp_path / "n2.log"
        wait_for(lambda: "machine n2" in log.read_text(), 20, "the second machine runs it")
        children = psutil.Process().children(recursive=True)
        assert temporary.is_dir()
    assert not [child for child in children if child.is_running() and child.status() != "zombie"]
    assert not temporary.exists()


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ("broken", r"torchrun: broken ended with status 3; its last lines:\nslurmd: disk failed"),
        ("dead", r"torchrun did not come up on dead within 3 s; see .*dead\.log"),
    ],
)
def test_the_machine_that_does_not_come_up_is_named(tmp_path: Path, node: str, words: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=words):
        torchrun_on_all(
            Allocation("4711", ("n1", node), 0),
            ["no.such.module"],
            # What torchrun does on the first machine: wait for the others.
            python=_waiting_python(tmp_path),
            processes=1,
            environment=_environment(),
            logs=tmp_path / "logs",
            deadline=3,
        )
    assert time.monotonic() - began < 30


# Notes how it was called; the first machine's waits for the other's, as torchrun does.
APPTAINER = """
import socket, sys
with open("entered", "a") as file:
    print(*sys.argv[1:], file=file)
if sys.argv[sys.argv.index("--node-rank") + 1] == "0":
    port = int(sys.argv[sys.argv.index("--master-port") + 1])
    socket.create_server(("", port)).accept()
"""


def test_each_step_enters_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Apptainer, its command line is what can be looked at."""
    recorder = tmp_path / "bin/apptainer"
    recorder.write_text(f"#!{sys.executable}\n{APPTAINER}")
    recorder.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    python = tmp_path / "python"
    write_container_python(python, "images/sft_cuda.sif", "--bind '/my data'", cuda=True)
    status = torchrun_on_all(
        Allocation("4711", ("n1", "n2"), 8),
        ["grrm.engines.sft_main", "config.yaml"],
        python=str(python),
        processes=8,
        environment=_environment(),
        logs=tmp_path / "logs",
    )
    assert status == 0
    entered = sorted((tmp_path / "entered").read_text().splitlines())
    image = f"{tmp_path}/images/sft_cuda.sif"
    for rank, line in enumerate(entered):
        assert line.startswith(
            f"exec --nv --bind /my data --pwd {tmp_path} {image} python -m torch.distributed.run --nnodes 2 "
            f"--node-rank {rank} --master-addr "
        )
        assert line.endswith("--nproc-per-node 8 -m grrm.engines.sft_main config.yaml")
    assert len(entered) == 2


def test_the_fork_has_its_cluster_over_two_machines(tmp_path: Path) -> None:
    checkout = tmp_path / "verl"
    (checkout / "ray/joined").mkdir(parents=True)
    (checkout / "ray/scripts").mkdir()
    (checkout / "ray/__init__.py").write_text(RAY)
    (checkout / "ray/scripts/scripts.py").write_text(RAY_START)
    temporary = tmp_path / "session"
    with ray_cluster(
        Allocation("4711", TWO.nodes, gpus=0),
        python=sys.executable,
        offers={},
        environment=verl_fork.environment(checkout=checkout, scripts=SCRIPTS, temporary=temporary),
        temporary=temporary,
        logs=tmp_path / "machines",
        deadline=20,
    ) as connection:
        joined = {path.name: path.read_text() for path in (checkout / "ray/joined").iterdir()}
    assert joined == dict.fromkeys(TWO.nodes, connection["RAY_AUTH_TOKEN"])
    assert not temporary.exists()


def _environment() -> dict[str, str]:
    """As LLaMA-Factory's steps get it."""
    return llamafactory.launch_environment({"use_cpu": True}, python=sys.executable, scripts=SCRIPTS)


def _waiting_python(folder: Path) -> str:
    script = folder / "python"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    return str(script)


def test_the_signal_before_the_time_limit_asks_for_a_stop(tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    with stop.stop_in_time(tmp_path, lambda: None):
        assert not stop.is_requested(tmp_path), "the request of an earlier job is forgotten"
        os.kill(os.getpid(), signal.SIGURG)
        assert stop.is_requested(tmp_path)
    os.kill(os.getpid(), signal.SIGURG)  # nobody waits for it: nothing happens


def test_a_disk_that_does_not_take_the_request_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(stop.VARIABLE, "3600")
    monkeypatch.setattr(stop, "_AGAIN", 0.05)
    faults = [OSError(errno.ESTALE, "Stale file handle")] * 2
    touch = Path.touch

    def touched(path: Path) -> None:
        if faults:
            raise faults.pop()
        touch(path)

    monkeypatch.setattr(Path, "touch", touched)
    with stop.stop_in_time(tmp_path, time.time):
        wait_for(lambda: stop.is_requested(tmp_path), 10, "the training is asked to stop")
    assert capsys.readouterr().out.count("warning: the training could not be asked to stop: [Errno 116]") == 2


def test_without_a_signal_the_clock_asks_for_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(stop.VARIABLE, "3600")
    # Slurm does not answer at first, then there is a day, then the limit is changed.
    answers: list[float | None] = [None, time.time() + 86_400, None]
    asked = []

    def ends() -> float | None:
        asked.append(stop.is_requested(tmp_path))
        return answers.pop(0) if answers else time.time()

    with stop.stop_in_time(tmp_path, ends, look_every=0.05):
        wait_for(lambda: not answers, 10, "all answers are given")
        wait_for(lambda: stop.is_requested(tmp_path), 10, "the training is asked to stop")
    assert asked == [False] * 4
    os.kill(os.getpid(), signal.SIGURG)
    assert capsys.readouterr().out.count("the training is asked for a checkpoint") == 1


@pytest.mark.parametrize(("left", "before", "seconds"), [(1.0, 3600, 0.5), (1.0, 0.2, 0.8), (-5, 900, 0)])
def test_a_short_job_is_stopped_after_half_of_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: float, before: float, seconds: float
) -> None:
    monkeypatch.setenv(stop.VARIABLE, str(before))
    began = time.time()
    with stop.stop_in_time(tmp_path, lambda: began + left):
        wait_for(lambda: stop.is_requested(tmp_path), 10, "the training is asked to stop")
    assert seconds - 0.1 <= (tmp_path / "stop").stat().st_mtime - began < seconds + 0.4


@pytest.mark.parametrize("before", [None, "900"])
def test_where_no_end_is_known_nobody_is_asked_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    if before is None:  # not in the workflow
        monkeypatch.delenv(stop.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(stop.VARIABLE, before)
    with stop.stop_in_time(tmp_path, lambda: None if before else 0.0, look_every=0.02):
        time.sleep(0.2)
        assert not stop.is_requested(tmp_path)


def test_the_end_of_the_job_is_what_slurm_says_now_or_in_a_container_said_when_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = tmp_path / "bin/squeue"
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1800000000")
    squeue.write_text("#!/bin/sh\necho 2027-01-15T08:30:00\n")
    assert end_of_job() == datetime(2027, 1, 15, 8, 30).timestamp()
    squeue.write_text("#!/bin/sh\necho NONE\n")
    assert end_of_job() is None
    squeue.write_text(
        "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1\n"
    )
    assert end_of_job() is None, "limits may have been changed since"
    squeue.unlink()  # as in a container
    monkeypatch.setenv("PATH", str(tmp_path))
    assert end_of_job() == 1_800_000_000
    monkeypatch.delenv("SLURM_JOB_END_TIME")
    assert end_of_job() is None


def test_a_training_that_stopped_ends_with_a_status_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop.end_if_stopped(tmp_path)
    stop.acknowledge(tmp_path, 12)
    with pytest.raises(SystemExit) as end:
        stop.end_if_stopped(tmp_path)
    assert end.value.code == TRY_AGAIN
    assert "after the checkpoint of step 12" in capsys.readouterr().err


def test_a_command_that_was_killed_ends_with_the_status_that_says_so() -> None:
    with pytest.raises(SystemExit, match=r"^137$"):
        node.main(["--node", "n1", "--", "sh", "-c", "kill -9 $$"])


# ---------------------------------------------------------------- ports


def test_ports_in_use_on_this_machine_are_passed_over() -> None:
    with socket.create_server(("127.0.0.1", TWO.port(7))):
        found = find_allocation(2, 8)
    assert found.nodes == TWO.nodes
    assert not {found.port(index) for index in range(100)} & {TWO.port(index) for index in range(100)}


def test_without_free_ports_the_job_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grrm.slurm.allocation.is_in_use", lambda port: True)
    with pytest.raises(UserError, match="no 100 ports in a row are free on this machine between 20000 and"):
        find_allocation(2, 8)


def test_a_port_in_use_on_a_machine_is_named_and_its_command_is_not_run(tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ["--node", "n2", "--free", str(port), "--", "touch", str(tmp_path / "ran")]
        with pytest.raises(UserError, match=f"port {port} of n2 is in use, perhaps by another job there"):
            node.main(arguments)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(SystemExit, match="0"):
        node.main(arguments)
    assert (tmp_path / "ran").exists()


def test_a_port_in_use_ends_a_torchrun_with_that_error(tmp_path: Path) -> None:
    error = rf"torchrun: n1 ended with status 2; its last lines:\nerror: port {TWO.port(0)} of n1 is in use"
    with socket.create_server(("", TWO.port(0))), pytest.raises(UserError, match=error):
        torchrun_on_all(
            Allocation("4711", ("n1", "n2"), 0),
            ["no.such.module"],
            python=_waiting_python(tmp_path),
            processes=1,
            environment={**os.environ, "PYTHONPATH": str(SCRIPTS)},
            logs=tmp_path / "logs",
            deadline=20,
        )
