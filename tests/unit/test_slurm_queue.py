"""This workflow's jobs in Slurm's queue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from grrm.files import PassingError
from grrm.slurm.queue import Queued, ask, check_queue, describe_plan, keeps_accounts, own_jobs, parse_queue

RECORDED = Path(__file__).parents[1] / "data/slurm"


@pytest.fixture
def queue(tmp_path: Path) -> list[Queued]:
    (tmp_path / "link").symlink_to(tmp_path)
    return parse_queue(
        f"5|PENDING|Resources|paper.train_mt_sft.mt_sft|{tmp_path}\n"
        f"6|RUNNING|None|paper.train_grrm_sft|{tmp_path}/link\n"
        f"7|RUNNING|None|paper.train_grrm_sft|{tmp_path}/elsewhere\n"
        f"8|PENDING|Priority|second.train_grrm_sft|{tmp_path}\n"
        "\n"
    )


def test_jobs_of_an_earlier_run_are_named(queue: list[Queued], tmp_path: Path) -> None:
    said = check_queue({"paper.train_mt_sft.mt_sft", "paper.train_grrm_sft"}, tmp_path, queue)
    assert "5 (paper.train_mt_sft.mt_sft, PENDING), 6 (paper.train_grrm_sft, RUNNING)." in said
    assert "scancel 5 6" in said and "Nothing was submitted" in said


@pytest.mark.parametrize("name", ["paper.train_mt_sft", "third.train_grrm_sft"])
def test_other_jobs_are_in_nobodys_way(queue: list[Queued], tmp_path: Path, name: str) -> None:
    assert check_queue({name}, tmp_path, queue) == ""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes squeue a script that also counts its calls; the file that has a line for each."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def written(script: str) -> Path:
        (tmp_path / "squeue").write_text(f"#!/bin/sh\ncd {tmp_path}; echo >> calls\n{script}")
        (tmp_path / "squeue").chmod(0o755)
        return tmp_path / "calls"

    return written


def test_slurm_that_does_not_answer_is_said(slurm: Callable[[str], Path]) -> None:
    calls = slurm("echo 'slurm_load_jobs error: Unable to contact' >&2; exit 1\n")
    with pytest.raises(PassingError, match=r"squeue --me .*`: slurm_load_jobs error: Unable to contact"):
        own_jobs()
    assert len(calls.read_text()) == 1
    with pytest.raises(PassingError, match="Unable to contact"):
        own_jobs(again=(0, 0))
    assert len(calls.read_text()) == 1 + 3


# What squeue 22.05 says that was suspended while it asked, with its job.
LOST = "slurm_load_jobs error: Unexpected missing socket error"


def test_an_answer_that_was_lost_is_asked_for_again(slurm: Callable[[str], Path]) -> None:
    calls = slurm(f"[ $(wc -l < calls) = 1 ] && {{ echo '{LOST}' >&2; exit 1; }}\necho 'a[1-2]'\n")
    assert ask("squeue", again=(0,)) == "a[1-2]"
    assert len(calls.read_text()) == 2


def test_an_answer_may_hold_other_bytes_than_utf_8(slurm: Callable[[str], Path]) -> None:
    slurm("printf 'NodeName=a1 Comment=f\\374r alle\\n'\n")
    assert ask("squeue") == "NodeName=a1 Comment=f\ufffdr alle"


def test_a_clear_refusal_is_not(slurm: Callable[[str], Path]) -> None:
    calls = slurm("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1\n")
    with pytest.raises(PassingError, match="Invalid job id"):
        ask("squeue", again=(0, 0))
    assert len(calls.read_text()) == 1


def test_nor_is_a_command_that_is_not_there() -> None:
    with pytest.raises(PassingError, match="squeues is not on this machine"):
        ask("squeues", again=(60,))


def test_whether_accounts_are_kept() -> None:
    assert keeps_accounts((RECORDED / "config.txt").read_text(encoding="utf-8"))
    assert not keeps_accounts("AccountingStorageType   = accounting_storage/none\n")  # 22.05
    assert not keeps_accounts("AccountingStorageType   = (null)\n")  # 23.11


def test_the_plan_says_what_goes_to_the_queue() -> None:
    queued = ["train_mt_sft", "rank_candidates", "rank", "rank"]
    jobs = [("check_table", True), *((rule, False) for rule in queued)]
    assert describe_plan(jobs) == (
        "Slurm: 4 of 5 jobs go to the queue (train_mt_sft, rank_candidates, 2 rank); the others run here."
    )
