"""Snakemake's executor for Slurm sits out the time in which Slurm does not answer.

Version 2.8.0 of snakemake-executor-plugin-slurm forgets its jobs when all attempts to ask for them fail, and
waits for ever from then on; an unanswered `scontrol` makes it ask `sacct` instead. Here it asks until it is
answered.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

_PLUGIN = "snakemake_executor_plugin_slurm"
_WARN_EVERY = 30


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

    async def query_job_status(command: str, logger: Any) -> Any:
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

    def get_min_job_age() -> int | None:
        found = ask_age()
        if found is not None:
            known[:] = [found]
        return known[0] if known else None

    plugin.query_job_status, plugin.get_min_job_age = query_job_status, get_min_job_age
    plugin.grrm_asks_again = True
