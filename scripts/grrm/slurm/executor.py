"""Snakemake's executor for Slurm, patient with Slurm and sparing with attempts.

Version 2.8.0 of snakemake-executor-plugin-slurm, on its own:
- forgets its jobs when all attempts to ask for them fail, and waits for ever from then on; so it does for a
  preempted job, which some clusters cancel (PreemptMode=CANCEL), for one that was cancelled by its user
  ("CANCELLED by 1000" in the accounts), for one that squeue has forgotten, and for all of them where no
  accounts are kept but sacct is there;
- counts a submission that Slurm does not take at the moment as a failed attempt of the job;
- tries anything again that failed, whatever the reason;
- calls all jobs of a run by the same number.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

import snakemake_executor_plugin_slurm as plugin
from snakemake_executor_plugin_slurm.validation import get_forbidden_slurm_options
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from grrm.files import PassingError, UserError
from grrm.process import job_status
from grrm.slurm.queue import is_passing, job_name, keeps_accounts, own_jobs, why_not_again, why_unanswered

_ask_jobs, _ask_age, _submit_command = (
    plugin.query_job_status,
    plugin.get_min_job_age,
    plugin.get_submit_command,
)
_WARN_EVERY = 30
_LOOK_EVERY = 60.0
"""Seconds between two looks at why jobs wait."""
_PREEMPTED, _FAILED = "PREEMPTED", "FAILED"
_PATIENCE = 3
"""Answers in a row that call a job preempted, or leave it out, before it is looked for elsewhere."""
_LONG = 10**9


class Preempted:
    """Jobs that Slurm's accounts call preempted, and those of them that are in no queue any more."""

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()
        self.lost: set[str] = set()

    def doubtful(self, states: Mapping[str, str]) -> set[str]:
        """Jobs that `states` and the answers before it call preempted so often that the queue must tell."""
        there = {job for job, state in states.items() if state == _PREEMPTED}
        for job in there:
            self._times[job] += 1
        for job in set(self._times) - there:
            if job in states:
                del self._times[job]
            else:  # Slurm has forgotten it: squeue shows a job that is over for some minutes only
                self._times[job] = _PATIENCE
        self.lost.intersection_update(self._times)
        return {job for job, times in self._times.items() if times >= _PATIENCE} - self.lost

    def lose(self, doubtful: Iterable[str], queue: Mapping[str, str]) -> list[str]:
        """Those of the jobs that are not in the queue, lost from now on."""
        gone = [job for job in doubtful if queue.get(job, _PREEMPTED) == _PREEMPTED]
        self.lost.update(gone)
        return gone


class PatientExecutor(plugin.Executor):
    """The executor for Slurm of an experiment.

    Attributes:
        experiment: its name, set before Snakemake makes one of these.
        ask_again: seconds between two questions while nothing is answered.
        submit_again: seconds until a submission that was not taken is tried again; up to ten times as long.
    """

    experiment: ClassVar[str] = ""
    ask_again: ClassVar[float] = 10.0
    submit_again: ClassVar[float] = 30.0

    def __init__(self, workflow: Any, logger: Any) -> None:
        self._ending = threading.Event()
        self._names: set[str] = set()
        self._jobs: dict[str, Any] = {}  # submitted and not over, by Slurm's number
        self._states: dict[str, str] = {}
        self._missing: Counter[str] = Counter()
        self._preempted = Preempted()
        self._stuck: set[str] = set()
        self._looked = 0.0
        self._refused: Counter[Any] = Counter()
        self._age: int | None = None
        self._accounts = keeps_accounts(_config())
        plugin.query_job_status = self._query
        plugin.get_min_job_age = self._min_job_age
        plugin.get_submit_command = self._command
        super().__init__(workflow, logger)

    # ------------------------------------------------------------------ names

    @property
    def run_uuid(self) -> str:
        """What jobs are asked for by: the names of those that were submitted."""
        return ",".join(sorted(self._names)) or self._uuid

    @run_uuid.setter
    def run_uuid(self, value: str) -> None:
        self._uuid = value

    def _command(self, job: Any, params: Mapping[str, Any], *args: Any, **options: Any) -> str:
        prefix = self.workflow.executor_settings.jobname_prefix or ""
        name = name_of(job, self.experiment, prefix)
        self._names.add(name)
        return str(_submit_command(job, {**params, "run_uuid": name}, *args, **options))

    # ------------------------------------------------------------------ submission

    def report_job_submission(self, job_info: Any, *args: Any, **options: Any) -> None:
        """Remember a job that Slurm has taken."""
        self._jobs[job_info.external_jobid] = job_info
        self._refused.pop(job_info.job, None)
        super().report_job_submission(job_info, *args, **options)

    def report_job_success(self, job_info: Any) -> None:
        """Forget a job that has succeeded."""
        self._forget(job_info)
        super().report_job_success(job_info)

    def report_job_error(self, job_info: Any, msg: str | None = None, **options: Any) -> None:
        """Try a job again only if that may help; a submission that Slurm did not take is no attempt."""
        job, number = job_info.job, job_info.external_jobid
        if number is None:
            said = " ".join((msg or "").partition("    sbatch call:")[0].split())
            if is_passing(said):
                self._submit_later(job, said)
                return
            why = "Slurm refuses it"
        else:
            state = self._states.get(number, _FAILED)
            why = why_not_again(state, _read_status(number), job.attempt)
        self._forget(job_info)
        if why and job.attempt <= job.restart_times:
            msg = f"{msg or ''} It is not tried again: {why}. "
            job.attempt = job.restart_times + 1
        super().report_job_error(job_info, msg=msg, **options)

    def _forget(self, job_info: Any) -> None:
        self._jobs.pop(job_info.external_jobid, None)

    def _submit_later(self, job: Any, said: str) -> None:
        times, self._refused[job] = self._refused[job], self._refused[job] + 1
        seconds = self.submit_again * min(2**times, 10)
        if times % _WARN_EVERY == 0:
            self.logger.warning(
                f"Slurm does not take job {job.jobid} at the moment: {said} It is submitted again, every "
                f"{seconds:g} s or later; this is no attempt of it."
            )

        def submit() -> None:
            if not self._ending.is_set():
                with suppress(RuntimeError):  # the run ends meanwhile
                    self._job_submission_executor.submit(self.run_job, job)

        timer = threading.Timer(seconds, submit)
        timer.daemon = True
        timer.start()

    # ------------------------------------------------------------------ questions

    def get_status_command(self) -> str:
        """The command that tells states of jobs: sacct says nothing where no accounts are kept."""
        return str(super().get_status_command()) if self._accounts else "squeue"

    def _min_job_age(self) -> int | None:
        """Seconds that squeue remembers a job that is over; where sacct is no choice, more than enough."""
        found = _ask_age()
        self._age = self._age if found is None else found
        return self._age if self._accounts else _LONG

    async def _query(self, command: str, logger: Any) -> tuple[dict[str, str] | None, float | None]:
        answered = await self._answer(command, logger)
        if answered is None:
            return None, None
        # "CANCELLED by 1000"
        states = {job: (state.split() or [state])[0] for job, state in answered[0].items()}
        if doubtful := self._preempted.doubtful(states):
            # The accounts may lag behind; the queue does not.
            queue = await self._answer("squeue --noheader --states=all --me --format=%i|%T", logger)
            gone = self._preempted.lose(doubtful, queue[0] if queue else states)
            # The accounts tell of jobs of earlier runs, too: names stay the same.
            for job in sorted(set(gone) & self._jobs.keys()):
                logger.warning(
                    f"Slurm job {job} was preempted and not put back into the queue: it counts as failed."
                )
        states |= dict.fromkeys(self._preempted.lost, _FAILED)
        if command.startswith("squeue"):
            states |= dict.fromkeys(self._forgotten(states, logger), _FAILED)
        self._states.update(states)
        if "PENDING" in states.values() or "REQUEUE_HOLD" in states.values():
            self._say_stuck(logger)
        return states, answered[1]

    async def _answer(self, command: str, logger: Any) -> tuple[dict[str, str], float] | None:
        """What Slurm says, however long that takes; None if the run is ended before."""
        unanswered = 0
        while not self._ending.is_set():
            states, duration = await _ask_jobs(command, logger)
            if states is not None:
                return states, duration
            if unanswered % _WARN_EVERY == 0:
                logger.warning(
                    f"Slurm does not answer `{command.split()[0]}`. Jobs go on; it is asked again every "
                    f"{self.ask_again:g} s. If it never answers, name another slurm-status-command "
                    "(slurm/config.v8+.yaml)."
                )
            unanswered += 1
            await self._pause(self.ask_again)
        return None

    def _forgotten(self, states: Mapping[str, str], logger: Any) -> list[str]:
        """Jobs of which squeue has said nothing for a while: over, or lost with a controller."""
        for number in list(self._jobs):
            self._missing[number] = 0 if number in states else self._missing[number] + 1
        gone = [number for number in self._jobs if self._missing[number] >= _PATIENCE]
        for number in gone:
            logger.warning(f"Slurm no longer knows job {number}, nor how it ended: it counts as failed.")
        return gone

    def _say_stuck(self, logger: Any) -> None:
        if time.monotonic() - self._looked < _LOOK_EVERY and self._looked:
            return
        self._looked = time.monotonic()
        with suppress(PassingError):
            for job in own_jobs():
                if job.number in self._jobs and job.number not in self._stuck and job.is_stuck():
                    self._stuck.add(job.number)
                    logger.warning(
                        f"Slurm job {job.number} ({job.name}) does not start by itself: {job.reason}. "
                        f"When the reason is gone, `scontrol release {job.number}`; or "
                        f"`scancel {job.number}`, and the same command again."
                    )

    async def sleep(self) -> None:
        """Wait for the next question: not until squeue forgets a job, nor beyond the end of the run."""
        seconds = float(self.next_seconds_between_status_checks)
        if not self._accounts and self._age:
            seconds = min(seconds, max(self._age / 2, 1))
        await self._pause(seconds)

    async def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._ending.is_set() and (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.5))

    # ------------------------------------------------------------------ the end

    def cancel(self) -> None:
        """End the run: no job is submitted any more, and those that were are cancelled if Slurm answers."""
        self._ending.set()
        self._job_submission_executor.shutdown(wait=True, cancel_futures=True)
        self.cancel_jobs(list(self._jobs.values()))
        self.shutdown()

    def cancel_jobs(self, active_jobs: list[Any]) -> None:
        """Cancel jobs; those that go on because Slurm does not answer are named."""
        numbers = [job.external_jobid for job in active_jobs if job.external_jobid is not None]
        if not numbers:
            return
        several = ["--clusters=all"] if self._submitted_job_clusters else []
        try:
            subprocess.run(
                ["scancel", *several, *numbers], capture_output=True, text=True, timeout=60, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = why_unanswered(error)
            self.logger.warning(
                f"Slurm jobs {', '.join(numbers)} may go on: scancel could not reach them ({said}). When "
                f"Slurm answers again: scancel {' '.join(numbers)}"
            )

    def shutdown(self) -> None:
        """End the run; nobody waits for an answer or for the next question."""
        self._ending.set()
        super().shutdown()


def take_over(experiment: str) -> None:
    """Have Snakemake use this executor for Slurm, for the jobs of an experiment."""
    PatientExecutor.experiment = experiment
    ExecutorPluginRegistry().get_plugin("slurm").executor = PatientExecutor


def check_extra(cluster: Mapping[str, Any]) -> None:
    """See that the further options of sbatch are none that the executor gives itself.

    Args:
        cluster: the configuration's section of that name.

    Raises:
        UserError: one is; the message names its key.
    """
    for kind in ("cpu", "gpu", "network"):
        for pattern, name in get_forbidden_slurm_options().items():
            if (extra := cluster[kind]["extra"]) and re.search(pattern, extra):
                raise UserError(
                    f"cluster.{kind}.extra is {extra!r}: it must not say the {name}, which others do: "
                    "see config/cluster.yaml and config/resources.yaml"
                )


def name_of(job: Any, experiment: str, prefix: str = "") -> str:
    """The name of a job of Snakemake's in Slurm's queue, see `grrm.slurm.queue.job_name`."""
    return job_name(experiment, job.name, () if job.is_group() else job.wildcards, prefix)


def _config() -> str:
    try:
        command = ["scontrol", "show", "config"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _read_status(number: str) -> int | None:
    """The exit status that a job's script left; None if it ended without a word."""
    try:
        return int(job_status(number).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
