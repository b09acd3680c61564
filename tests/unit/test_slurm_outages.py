"""The executor plugin for Slurm while slurmctld does not answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import snakemake_executor_plugin_slurm as plugin

from grrm.slurm.outages import endure_outages


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What Slurm answers, one after the other; None is no answer."""
    left: list[Any] = []

    async def query(command: str, logger: Any) -> Any:
        found = left.pop(0)
        return (None, None) if found is None else (found, 0.1)

    monkeypatch.setattr(plugin, "query_job_status", query)
    monkeypatch.setattr(plugin, "get_min_job_age", lambda: left.pop(0))
    endure_outages(seconds=0)
    yield left
    del plugin.grrm_asks_again


def test_jobs_are_asked_for_until_slurm_answers(answers: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    answers += [None] * 40 + [{"7": "RUNNING"}]
    found = asyncio.run(plugin.query_job_status("squeue --json", logging.getLogger("snakemake")))
    assert found == ({"7": "RUNNING"}, 0.1)
    warnings = [record.message for record in caplog.records]
    assert len(warnings) == 2, "not one a question"
    assert "does not answer `squeue`" in warnings[0] and "slurm-status-command" in warnings[0]


def test_no_job_is_an_answer(answers: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    answers.append({})
    assert asyncio.run(plugin.query_job_status("squeue", logging.getLogger("snakemake"))) == ({}, 0.1)
    assert not caplog.records


def test_how_long_jobs_are_remembered_does_not_change_in_an_outage(answers: list[Any]) -> None:
    answers += [None, 600, None]
    assert [plugin.get_min_job_age() for _ in range(3)] == [None, 600, 600]


def test_twice_is_once(answers: list[Any]) -> None:
    query = plugin.query_job_status
    endure_outages()
    assert plugin.query_job_status is query
