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


def test_a_job_that_was_preempted_for_good_counts_as_failed(
    answers: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    def ask() -> Any:
        return asyncio.run(plugin.query_job_status("sacct", logging.getLogger("snakemake")))[0]

    lost, requeued = {"7": "PREEMPTED", "8": "RUNNING"}, {"7": "RUNNING", "8": "PREEMPTED"}
    answers += [lost, requeued, lost, lost]
    assert [ask() for _ in range(4)] == [lost, requeued, lost, lost], "the accounts may lag behind"
    # The third time in a row: now the queue is asked. It may not answer at once.
    answers += [lost, None, {"7": "PENDING", "9": "RUNNING"}]
    assert ask() == lost
    answers += [lost, {"9": "RUNNING"}]
    assert ask() == {"7": "FAILED", "8": "RUNNING"}
    # Said once, and the queue is not asked for it again.
    answers += [lost, lost]
    assert [ask()["7"] for _ in range(2)] == ["FAILED", "FAILED"]
    assert sum("job 7 was preempted" in record.message for record in caplog.records) == 1
    assert answers == []


def test_a_preempted_job_that_slurm_forgets_counts_as_failed(answers: list[Any]) -> None:
    def ask() -> Any:
        return asyncio.run(plugin.query_job_status("squeue", logging.getLogger("snakemake")))[0]

    answers += [{"7": "PREEMPTED"}, {}, {"7": "PENDING"}, {"7": "RUNNING"}]
    assert [ask() for _ in range(3)] == [{"7": "PREEMPTED"}, {}, {"7": "RUNNING"}], "it was put back"
    answers += [{"7": "PREEMPTED"}, {}, {}, {}]
    assert [ask() for _ in range(3)] == [{"7": "PREEMPTED"}, {"7": "FAILED"}, {"7": "FAILED"}]
    assert answers == []


def test_slurms_own_memory_of_a_preempted_job_is_no_life(answers: list[Any]) -> None:
    answers += [{"7": "PREEMPTED"}] * 4  # the last one from the queue
    found = [asyncio.run(plugin.query_job_status("squeue", logging.getLogger("snakemake"))) for _ in range(3)]
    assert [states["7"] for states, _ in found] == ["PREEMPTED", "PREEMPTED", "FAILED"]
