"""This workflow's jobs in Slurm's queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from grrm.files import PassingError
from grrm.slurm.queue import Queued, check_queue, describe_plan, keeps_accounts, own_jobs, parse_queue

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


def test_slurm_that_does_not_answer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "squeue").write_text(
        "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact' >&2; exit 1\n"
    )
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(PassingError, match="squeue --me`: slurm_load_jobs error: Unable to contact"):
        own_jobs()


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
