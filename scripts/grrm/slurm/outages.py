"""Snakemake's executor for Slurm sits out the time in which Slurm does not answer, and notices lost jobs.

Version 2.8.0 of snakemake-executor-plugin-slurm forgets its jobs when all attempts to ask for them fail, and
waits for ever from then on; an unanswered `scontrol` makes it ask `sacct` instead. Here it asks until it is
answered. It also waits for ever for a preempted job, which Slurm puts back into the queue on some clusters
and cancels on others (PreemptMode=CANCEL); here the latter is a failure, so that the job is tried again.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

_PLUGIN = "snakemake_executor_plugin_slurm"
_WARN_EVERY = 30
_PREEMPTED = "PREEMPTED"
_PATIENCE = 3
"""Answers in a row that call a job preempted before it is looked for in the queue."""


class _Preempted:
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


def endure_outages(seconds: float = 10) -> None:
    """Change how the plugin asks, if Snakemake has loaded it; once.

    Args:
        seconds: between two questions while nothing is answered.
    """
    plugin: Any = sys.modules.get(_PLUGIN)
    if plugin is None or hasattr(plugin, "grrm_asks_again"):
        return
    ask_jobs, ask_age = plugin.query_job_status, plugin.get_min_job_age
    known: list[int] = []
    preempted = _Preempted()

    async def answer(command: str, logger: Any) -> Any:
        unanswered = 0
        while (found := await ask_jobs(command, logger)) == (None, None):
            if unanswered % _WARN_EVERY == 0:
                logger.warning(
                    f"Slurm does not answer `{command.split()[0]}`. Jobs go on; it is asked again every "
                    f"{seconds:g} s. If it never answers, name another slurm-status-command "
                    "(slurm/config.v8+.yaml)."
                )
            unanswered += 1
            await asyncio.sleep(seconds)
        return found

    async def query_job_status(command: str, logger: Any) -> Any:
        states, duration = await answer(command, logger)
        if doubtful := preempted.doubtful(states):
            # The accounts may lag behind; the queue does not.
            mine = f"squeue --noheader --states=all --user={os.getuid()} --format=%i|%T"
            queue, _ = await answer(mine, logger)
            for job in preempted.lose(doubtful, queue):
                logger.warning(
                    f"Slurm job {job} was preempted and not put back into the queue: it counts as failed."
                )
        return {**states, **dict.fromkeys(preempted.lost, "FAILED")}, duration

    def get_min_job_age() -> int | None:
        found = ask_age()
        if found is not None:
            known[:] = [found]
        return known[0] if known else None

    plugin.query_job_status, plugin.get_min_job_age = query_job_status, get_min_job_age
    plugin.grrm_asks_again = True
