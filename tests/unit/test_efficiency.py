"""GPU-hours used against the forecast: sessions of trainings, Slurm's accounting, benchmarks."""

from __future__ import annotations

import errno
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from configurations import empty_model, experiment
from grrm import cli
from grrm.engines import sessions
from grrm.engines.sessions import read_sessions, recorded
from grrm.files import UserError, write_json
from grrm.report import efficiency
from grrm.report.efficiency import format_efficiency, parse_accounting

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import measure_efficiency  # noqa: E402

# sacct --allocations --duplicates --parsable2 --noheader --format=JobID,ElapsedRaw (22.05.8), 8 was requeued.
SACCT = "4|4\n6|8\n8|3\n8|6\n"
CPU = {"machines": 1, "gpus": {}, "cores": 2}
HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config").symlink_to(ROOT / "config")
    for overlays in ([], ["paper"]):
        benchmarks = tmp_path / "results" / experiment(*overlays)["experiment"] / "benchmarks"
        benchmarks.mkdir(parents=True)
        for job, seconds in {
            "train_grrm_sft": 1800,
            "train_mt_sft": 3600,
            "rank_candidates_grrm_rlvr": 7200,
        }.items():
            (benchmarks / f"{job}.tsv").write_text(f"{HEADER}{seconds}\t0\t1\t1\t1\t1\t0\t0\t0\t{seconds}\n")
    monkeypatch.setattr(efficiency, "_ask_slurm", lambda jobs: None)
    return tmp_path


def launched(checkout: Path, stage: str, *hours: float, job: str | None = None) -> None:
    folder = checkout / "results/paper/checkpoints" / stage / "sessions"
    for number, length in enumerate(hours, 1):
        write_json(folder / f"{number}.json", {"job": job, "started": 1000, "ended": 1000 + 3600 * length})


def measured(checkout: Path, *overlays: str) -> dict[str, Any]:
    return efficiency.efficiency_of(experiment(*overlays), checkout)


def test_every_launch_of_a_training_counts(checkout: Path) -> None:
    launched(checkout, "grrm_rlvr", 12, 12, 8.5)
    stages = {entry["stage"]: entry for entry in measured(checkout, "paper")["stages"]}
    rlvr = stages["grrm_rlvr"]
    assert (rlvr["launches"], rlvr["devices"], rlvr["source"]) == (3, 16, "its own record")
    assert rlvr["hours"] == pytest.approx(32.5) and rlvr["gpu_hours"] == pytest.approx(520)
    # Only a benchmark: 0.5 h on 16 GPUs.
    assert stages["grrm_sft"]["gpu_hours"] == pytest.approx(8)
    assert stages["mt_grpo"]["gpu_hours"] is None and "not run here" in stages["mt_grpo"]["reason"]


@pytest.mark.parametrize(("hours", "verdict"), [(0.01, "below"), (30, "within"), (1000, "above")])
def test_the_verdict_follows_the_forecast(checkout: Path, hours: float, verdict: str) -> None:
    launched(checkout, "grrm_rlvr", hours)
    (rlvr,) = [one for one in measured(checkout, "paper")["stages"] if one["stage"] == "grrm_rlvr"]
    low, high = rlvr["forecast_gpu_hours"]
    assert rlvr["verdict"] == verdict
    assert (low <= hours * 16 <= high) == (verdict == "within")


def test_slurms_accounting_goes_before_the_record(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched(checkout, "grrm_rlvr", 1, 1, job="8")
    asked: list[list[str]] = []

    def ask(jobs: list[str]) -> dict[str, float]:
        asked.append(jobs)
        return parse_accounting(SACCT)

    monkeypatch.setattr(efficiency, "_ask_slurm", ask)
    (rlvr,) = [one for one in measured(checkout, "paper")["stages"] if one["stage"] == "grrm_rlvr"]
    assert asked == [["8"]]
    assert (rlvr["source"], rlvr["hours"]) == ("Slurm's accounting", pytest.approx(9 / 3600))
    # A job that the accounting has forgotten: the record of the whole training.
    monkeypatch.setattr(efficiency, "_ask_slurm", lambda jobs: {"4": 1.0})
    (rlvr,) = [one for one in measured(checkout, "paper")["stages"] if one["stage"] == "grrm_rlvr"]
    assert (rlvr["source"], rlvr["hours"]) == ("its own record", pytest.approx(2))


def test_what_the_launches_ran_on_is_told(checkout: Path) -> None:
    launched(checkout, "grrm_rlvr", 1, 1, 1, 1)
    launched(checkout, "mt_sft", 1)
    folder = checkout / "results/paper/checkpoints"
    two_machines = {"machines": 2, "gpus": {"NVIDIA H200": 8}, "cores": 96}
    for number, hardware in enumerate((two_machines, None, CPU, two_machines), 1):
        file = folder / f"grrm_rlvr/sessions/{number}.json"
        write_json(file, {**json.loads(file.read_text()), "hardware": hardware})
    stages = {entry["stage"]: entry["hardware"] for entry in measured(checkout, "paper")["stages"]}
    assert stages == {
        "grrm_sft": [],
        "grrm_rlvr": ["2 machines, each 8 × NVIDIA H200", "CPU, 2 cores"],
        "mt_sft": [],  # of a launch that did not record it
        "mt_grpo": [],
    }


def test_evaluation_counts_with_its_one_gpu(checkout: Path) -> None:
    found = measured(checkout, "paper")
    assert found["other"] == [
        {"job": "rank_candidates_grrm_rlvr", "devices": 1, "hours": 2.0, "gpu_hours": 2.0}
    ]
    assert found["total"]["gpu_hours"] == pytest.approx(8 + 16 + 2)


def test_what_an_earlier_overlay_trained_is_counted_without_it(checkout: Path) -> None:
    benchmarks = checkout / "results/paper/benchmarks"
    shutil.copy(benchmarks / "train_mt_sft.tsv", benchmarks / "train_judge_pointwise.tsv")
    config = experiment("paper")
    assert config["judges"] is None
    other = {one["job"]: one["devices"] for one in efficiency.efficiency_of(config, checkout)["other"]}
    assert other["train_judge_pointwise"] == 16


def test_a_compared_kind_counts_with_its_own_judge(checkout: Path) -> None:
    benchmarks = checkout / "results/paper/benchmarks"
    shutil.copy(benchmarks / "train_mt_sft.tsv", benchmarks / "train_mt_grpo_grrm.tsv")
    config = experiment("paper")
    config["mt_grpo"]["reward"] |= {"kind": "bleu", "placement": "dedicated", "nodes": 1, "gpus_per_node": 8}
    config["reward_comparison"] = ["grrm", "bleu"]
    other = {one["job"]: one["devices"] for one in efficiency.efficiency_of(config, checkout)["other"]}
    assert other["train_mt_grpo_grrm"] == 24


def test_other_trainings_count_with_all_their_launches(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = checkout / "results/paper"
    shutil.copy(results / "benchmarks/train_mt_sft.tsv", results / "benchmarks/train_mt_grpo_bleu.tsv")
    launched(checkout, "mt_grpo_bleu", 12, 12, 1, job="8")
    launched(checkout, "judge_pointwise", 2, 1)  # killed twice: no benchmark
    launched(checkout, "judge_bradley_terry", 1)
    launched(checkout, "alignment_grpo", 0.5)
    launched(checkout, "alignment_policy", 0.5)
    launched(checkout, "mt_sft.0123abcd", 5, job="9")  # moved aside, of another configuration
    config = experiment("paper", "small", "alignment_gpu")
    config["experiment"], config["reward_comparison"] = "paper", ["grrm", "bleu"]
    config["judges"] = experiment("judges")["judges"]
    asked: list[str] = []
    monkeypatch.setattr(efficiency, "_ask_slurm", lambda jobs: asked.extend(jobs))
    found = efficiency.efficiency_of(config, checkout)
    assert asked == ["8"]
    assert {one["job"]: (one["devices"], one["hours"], one["gpu_hours"]) for one in found["other"]} == {
        "rank_candidates_grrm_rlvr": (1, 2, 2),
        "train_mt_grpo_bleu": (8, 25, 200),
        "train_judge_pointwise": (8, 3, 24),
        "train_judge_bradley_terry": (8, 1, 8),
        "train_alignment_grpo": (8, 0.5, 4),
        "train_alignment_policy": (0, 0.5, 0),
    }


def test_without_gpus_there_are_hours_only(checkout: Path) -> None:
    found = measured(checkout)
    assert found["total"] == {"gpu_hours": None, "forecast_gpu_hours": None}
    sft = found["stages"][0]
    assert (sft["hours"], sft["gpu_hours"], sft["verdict"]) == (0.5, None, None)
    assert "no GPUs" in sft["reason"]


@pytest.mark.parametrize("known", [True, False])
def test_a_training_may_start_from_a_folder(checkout: Path, known: bool) -> None:
    start = "results/other/models/grrm_sft"
    if known:
        empty_model(checkout / start, 1_500_000_000)
    launched(checkout, "grrm_rlvr", 10)
    config = experiment("paper")
    config["grrm_rlvr"]["start_from"] = start
    found = efficiency.efficiency_of(config, checkout)
    (rlvr,) = [one for one in found["stages"] if one["stage"] == "grrm_rlvr"]
    assert rlvr["gpu_hours"] == pytest.approx(160)
    assert (rlvr["verdict"] is not None) == known == (rlvr["reason"] is None)
    # A sum without one of them is not that of all.
    assert (found["total"]["forecast_gpu_hours"] is not None) == known
    assert known or start in rlvr["reason"]
    assert format_efficiency(found)


def test_the_demonstration_may_start_from_a_folder(checkout: Path) -> None:
    config = experiment()
    config["grrm_rlvr"]["start_from"] = "results/paper/models/grrm_sft"
    assert "grrm_sft" not in {one["stage"] for one in efficiency.efficiency_of(config, checkout)["stages"]}


def test_the_command_and_the_script_say_the_same(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--workflow", str(checkout), "--config", str(ROOT / "config/paper.yaml")]
    cli.main(["efficiency", *options])
    printed = capsys.readouterr().out
    measure_efficiency.main([*options, "--output", str(checkout / "efficiency.json")])
    assert capsys.readouterr().out == printed
    found = json.loads((checkout / "efficiency.json").read_text())
    assert format_efficiency(found) == printed.rstrip("\n")
    assert "All: 26.00 GPU-hours; trainings were forecast to take" in printed


def test_without_benchmarks_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "config").symlink_to(ROOT / "config")
    with pytest.raises(UserError, match="no such folder; it should hold the benchmark files"):
        efficiency.efficiency_of(experiment(), tmp_path)


def test_a_disk_that_is_full_for_a_while_is_no_end_of_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with recorded(tmp_path, CPU, every=0.02):
        (begun,) = read_sessions(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(sessions, "write_json", full)
            time.sleep(0.2)
        time.sleep(0.2)
        (session,) = read_sessions(tmp_path)
        assert session["ended"] > begun["ended"]
        monkeypatch.setattr(sessions, "write_json", full)
    assert "warning: the time of this launch could not be noted: [Errno 28]" in capsys.readouterr().out


def test_a_launch_is_known_even_if_it_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with pytest.raises(KeyboardInterrupt), recorded(tmp_path, CPU, every=0.02):
        time.sleep(0.2)
        (alive,) = read_sessions(tmp_path)
        assert alive["ended"] > alive["started"]
        raise KeyboardInterrupt
    monkeypatch.delenv("SLURM_JOB_ID")
    with recorded(tmp_path, None):
        pass
    first, second = read_sessions(tmp_path)
    assert (first["job"], second["job"]) == ("77", None)
    assert (first["hardware"], second["hardware"]) == (CPU, None)
    assert first["ended"] >= alive["ended"] and second["started"] >= first["ended"]
