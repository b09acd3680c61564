"""The executor for Slurm: an outage, what Slurm does not take, what is not tried again, names, the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import snakemake_executor_plugin_slurm as plugin

from grrm.files import UserError
from grrm.slurm import executor
from grrm.slurm.executor import PatientExecutor
from workspace import wait_for

LOGGER = logging.getLogger("snakemake")
# What sbatch of Slurm 22.05.8 prints, as the plugin passes it on.
REFUSED = "sbatch: error: Batch job submission failed: "
POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
CALL = "    sbatch call:\n        sbatch --wrap 'Socket timed out'"
SUBMISSION = f"SLURM sbatch failed. The error message was '{{}}'.\n{CALL}"
SQUEUE = """#!/bin/sh
echo "7|PENDING|launch failed requeued held|smoke.train_mt_sft.mt_sft|/w"
echo "8|PENDING|Resources|smoke.train_grrm_sft|/w"
echo "9|PENDING|JobHeldUser|another|/w"
"""


class Base:
    """What the plugin's executor does, as far as it is seen from here."""

    def __init__(self, workflow: Any, logger: Any) -> None:
        self.workflow, self.logger = workflow, logger
        self.run_uuid = "number"
        self._submitted_job_clusters: set[str] = set()
        self._job_submission_executor = ThreadPoolExecutor(1)
        self.failed: list[tuple[Any, str | None]] = []
        self.submitted: list[Any] = []
        self.next_seconds_between_status_checks = 60.0

    def run_job(self, job: Any) -> None:
        self.submitted.append(job)

    def report_job_submission(self, info: Any) -> None: ...

    def report_job_success(self, info: Any) -> None: ...

    def report_job_error(self, info: Any, msg: str | None = None) -> None:
        self.failed.append((info.job, msg))

    def get_status_command(self) -> str:
        return "sacct"

    def shutdown(self) -> None:
        self._job_submission_executor.shutdown()


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Slurm answers, one after the other; None is no answer."""
    left: list[Any] = []

    async def query(command: str, logger: Any) -> Any:
        found = left.pop(0)
        return (None, None) if found is None else (found, 0.1)

    monkeypatch.setattr(executor, "_ask_jobs", query)
    monkeypatch.setattr(executor, "_ask_age", lambda: left.pop(0))
    return left


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for Slurm's commands."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    command(folder, "scontrol", "exit 1")  # whatever Slurm this machine has
    return folder


def command(commands: Path, name: str, script: str) -> None:
    (commands / name).write_text(script if script.startswith("#!") else f"#!/bin/sh\n{script}\n")
    (commands / name).chmod(0o755)


@pytest.fixture
def made(answers: list[Any], commands: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PatientExecutor]:
    for name in ("query_job_status", "get_min_job_age", "get_submit_command"):
        monkeypatch.setattr(plugin, name, getattr(plugin, name))  # put back
    for name, does in vars(Base).items():
        if callable(does):
            monkeypatch.setattr(plugin.Executor, name, does, raising=False)
    monkeypatch.setattr(PatientExecutor, "experiment", "smoke")
    monkeypatch.setattr(PatientExecutor, "ask_again", 0.0)
    monkeypatch.setattr(PatientExecutor, "submit_again", 0.05)
    settings = SimpleNamespace(jobname_prefix="")
    found = PatientExecutor(SimpleNamespace(executor_settings=settings), LOGGER)
    yield found
    found.shutdown()


def ask(command: str = "sacct") -> Any:
    return asyncio.run(plugin.query_job_status(command, LOGGER))


class Job(SimpleNamespace):
    """A job of Snakemake's."""

    __hash__ = object.__hash__


def job(attempt: int = 1, retries: int = 8) -> Any:
    rule = {"name": "train_mt_sft", "jobid": 3, "wildcards": ["mt_sft"], "is_group": lambda: False}
    return Job(**rule, attempt=attempt, restart_times=retries, resources={})


def info(one: Any, number: str | None) -> Any:
    return SimpleNamespace(job=one, external_jobid=number)


# ---------------------------------------------------------------- outages


def test_jobs_are_asked_for_until_slurm_answers(
    made: PatientExecutor, answers: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    answers += [None] * 40 + [{"7": "RUNNING"}]
    assert ask("squeue --json") == ({"7": "RUNNING"}, 0.1)
    warnings = [record.message for record in caplog.records]
    assert len(warnings) == 2, "not one a question"
    assert "does not answer `squeue`" in warnings[0] and "slurm-status-command" in warnings[0]


def test_no_job_is_an_answer(
    made: PatientExecutor, answers: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    answers.append({})
    assert ask("squeue") == ({}, 0.1)
    assert not caplog.records


def test_how_long_jobs_are_remembered_does_not_change_in_an_outage(
    made: PatientExecutor, answers: list[Any]
) -> None:
    answers += [None, 600, None]
    assert [plugin.get_min_job_age() for _ in range(3)] == [None, 600, 600]


def test_the_end_of_a_run_waits_for_no_answer(
    made: PatientExecutor, commands: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def never(command: str, logger: Any) -> Any:
        return None, None

    monkeypatch.setattr(executor, "_ask_jobs", never)
    monkeypatch.setattr(PatientExecutor, "ask_again", 60.0)
    command(commands, "scancel", 'echo "scancel: error: Unable to contact slurm controller" >&2; exit 1')
    made.report_job_submission(info(job(), "7"))
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(ask)
        wait_for(lambda: caplog.records, 10, "it is asked")
        made.cancel()
        assert asked.result(timeout=5) == (None, None)
    (said,) = [record.message for record in caplog.records if "may go on" in record.message]
    assert "Slurm jobs 7 may go on" in said and "Unable to contact" in said and "scancel 7" in said
    asyncio.run(asyncio.wait_for(made.sleep(), 2))


def test_jobs_that_are_being_asked_for_are_cancelled(made: PatientExecutor, commands: Path) -> None:
    command(commands, "scancel", 'echo "$@" > cancelled')
    made.report_job_submission(info(job(), "7"))
    made.report_job_submission(info(over := job(), "8"))
    made.report_job_success(info(over, "8"))
    made.cancel()
    assert (commands.parent / "cancelled").read_text() == "7\n"


# ---------------------------------------------------------------- jobs that do not end as they should


def test_a_job_that_was_preempted_for_good_counts_as_failed(
    made: PatientExecutor, answers: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    made.report_job_submission(info(job(), "7"))
    lost, requeued = {"7": "PREEMPTED", "8": "RUNNING"}, {"7": "RUNNING", "8": "PREEMPTED"}
    answers += [lost, requeued, lost, lost]
    assert [ask()[0] for _ in range(4)] == [lost, requeued, lost, lost], "the accounts may lag behind"
    # The third time in a row: now the queue is asked. It may not answer at once.
    answers += [lost, None, {"7": "PENDING", "9": "RUNNING"}]
    assert ask()[0] == lost
    answers += [lost, {"9": "RUNNING"}]
    assert ask()[0] == {"7": "FAILED", "8": "RUNNING"}
    # Said once, and the queue is not asked for it again.
    answers += [lost, lost]
    assert [ask()[0]["7"] for _ in range(2)] == ["FAILED", "FAILED"]
    assert sum("job 7 was preempted" in record.message for record in caplog.records) == 1
    assert answers == []


def test_a_preempted_job_of_an_earlier_run_is_not_spoken_of(
    made: PatientExecutor, answers: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    made.report_job_submission(info(job(), "8"))
    answers += [{"7": "PREEMPTED", "8": "RUNNING"}] * 3 + [{"8": "RUNNING"}]
    assert [ask()[0]["8"] for _ in range(3)] == ["RUNNING"] * 3
    assert "preempted" not in caplog.text


def test_a_preempted_job_that_slurm_forgets_counts_as_failed(
    made: PatientExecutor, answers: list[Any]
) -> None:
    answers += [{"7": "PREEMPTED"}, {}, {"7": "PENDING"}, {"7": "RUNNING"}]
    assert [ask()[0] for _ in range(3)] == [{"7": "PREEMPTED"}, {}, {"7": "RUNNING"}], "it was put back"
    answers += [{"7": "PREEMPTED"}, {}, {}, {}]
    assert [ask()[0] for _ in range(3)] == [{"7": "PREEMPTED"}, {"7": "FAILED"}, {"7": "FAILED"}]
    assert answers == []


def test_slurms_own_memory_of_a_preempted_job_is_no_life(made: PatientExecutor, answers: list[Any]) -> None:
    answers += [{"7": "PREEMPTED"}] * 4  # the last one from the queue
    assert [ask()[0]["7"] for _ in range(3)] == ["PREEMPTED", "PREEMPTED", "FAILED"]


def test_a_job_that_the_queue_forgets_counts_as_failed(
    made: PatientExecutor, answers: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    made.report_job_submission(info(job(), "7"))
    answers += [{}, {}, {"7": "RUNNING"}, {}, {}, {}]
    assert [ask("squeue")[0] for _ in range(6)] == [{}, {}, {"7": "RUNNING"}, {}, {}, {"7": "FAILED"}]
    assert "no longer knows job 7" in caplog.text
    # The accounts may lag behind.
    answers += [{}] * 4
    assert [ask("sacct")[0] for _ in range(4)] == [{}] * 4


def test_a_job_that_waits_for_somebody_is_said_once(
    made: PatientExecutor,
    answers: list[Any],
    commands: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    command(commands, "squeue", SQUEUE)
    monkeypatch.setattr(executor, "_LOOK_EVERY", 0.0)
    for number in ("7", "8"):
        made.report_job_submission(info(job(), number))
    answers += [{"7": "PENDING", "8": "PENDING"}] * 2
    ask(), ask()
    (said,) = [record.message for record in caplog.records]
    assert "job 7 (smoke.train_mt_sft.mt_sft)" in said and "launch failed requeued held" in said
    assert "scontrol release 7" in said


# ---------------------------------------------------------------- attempts


@pytest.mark.parametrize(
    "words",
    [
        f"{REFUSED}Unable to contact slurm controller (connect failure)",
        f"{REFUSED}Socket timed out on send/recv operation",
        f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{REFUSED}{POLICY}",
        f"{REFUSED}Required partition not available (inactive or drain)",
    ],
)
def test_a_submission_that_slurm_does_not_take_now_is_no_attempt(
    made: PatientExecutor, caplog: pytest.LogCaptureFixture, words: str
) -> None:
    waiting = job()
    made.report_job_error(info(waiting, None), msg=SUBMISSION.format(words))
    wait_for(lambda: made.submitted == [waiting], 10, "it is submitted again")
    assert made.failed == [] and waiting.attempt == 1
    assert words.splitlines()[-1] in caplog.text and "sbatch call" not in caplog.text


@pytest.mark.parametrize(
    "words",
    [
        f"{REFUSED}Invalid account or account/partition combination specified",
        f"sbatch: error: AssocMaxWallDurationPerJobLimit\n{REFUSED}{POLICY}",
        f"{REFUSED}Requested node configuration is not available",
    ],
)
def test_what_slurm_will_never_take_ends_at_once(made: PatientExecutor, words: str) -> None:
    refused = job()
    made.report_job_error(info(refused, None), msg=SUBMISSION.format(words))
    ((failed, said),) = made.failed
    assert failed is refused and refused.attempt > refused.restart_times
    assert said is not None and "not tried again: Slurm refuses it" in said


@pytest.mark.parametrize(
    ("state", "status", "attempt", "again"),
    [
        ("FAILED", None, 1, True),  # killed, or lost
        ("FAILED", 75, 8, True),
        ("FAILED", 2, 1, False),
        ("FAILED", 70, 1, True),
        ("FAILED", 70, 2, False),
        ("CANCELLED by 1000", None, 1, False),
        ("TIMEOUT", None, 1, True),
        ("NODE_FAIL", None, 1, True),
        ("OUT_OF_MEMORY", None, 1, True),
        ("TIMEOUT", 2, 1, True),  # left by an earlier start of the same job
    ],
)
def test_only_what_may_pass_is_tried_again(
    made: PatientExecutor, answers: list[Any], state: str, status: int | None, attempt: int, again: bool
) -> None:
    if status is not None:
        Path(".snakemake/slurm_status").mkdir(parents=True)
        Path(".snakemake/slurm_status/7").write_text(str(status))
    one = job(attempt)
    made.report_job_submission(info(one, "7"))
    answers.append({"7": state})
    ask()
    made.report_job_error(info(one, "7"), msg="It failed.")
    ((_, said),) = made.failed
    assert (one.attempt <= one.restart_times) == again
    assert ("not tried again" in (said or "")) != again


# ---------------------------------------------------------------- names, accounts


def test_a_job_is_called_after_its_experiment_and_rule(
    made: PatientExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    monkeypatch.setattr(executor, "_submit_command", lambda job, params: called.append(params["run_uuid"]))
    assert made.run_uuid == "number"
    odd = job()
    odd.wildcards = ["a/b c", "d,e"]
    for one in (job(), odd):
        plugin.get_submit_command(one, {"run_uuid": made.run_uuid})
    assert called == ["smoke.train_mt_sft.mt_sft", "smoke.train_mt_sft.a_b_c.d_e"]
    # By these they are asked for.
    assert set(made.run_uuid.split(",")) == set(called)


@pytest.mark.parametrize(("kept", "asked"), [("none", "squeue"), ("slurmdbd", "sacct")])
def test_where_no_accounts_are_kept_the_queue_is_asked(
    made: PatientExecutor, answers: list[Any], commands: Path, kept: str, asked: str
) -> None:
    command(commands, "scontrol", f'echo "AccountingStorageType   = accounting_storage/{kept}"')
    again = PatientExecutor(made.workflow, LOGGER)
    assert again.get_status_command() == asked
    answers.append(60)
    # However soon squeue forgets: sacct is no choice then. It is asked often enough.
    assert (plugin.get_min_job_age() > 1000) == (kept == "none")
    again.shutdown()


def test_options_that_the_executor_gives_itself_are_refused() -> None:
    cluster: Any = {kind: {"extra": None} for kind in ("cpu", "gpu", "network")}
    cluster["cpu"]["extra"] = "--mail-type=FAIL --exclusive"
    executor.check_extra(cluster)
    cluster["gpu"]["extra"] = "--partition=big"
    with pytest.raises(UserError, match=r"cluster\.gpu\.extra is '--partition=big': .* partition"):
        executor.check_extra(cluster)
