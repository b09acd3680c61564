"""GPUs, disk, environments, the hub, and the script that puts all checks together."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from configurations import empty_model, experiment
from grrm.config import resolve_experiment
from grrm.data.datasets import Locked, LockedFile, load_datasets
from grrm.files import UserError, sha256, write_json
from grrm.preflight import checks, downloads, probes, storage
from grrm.preflight.environments import check_environment, check_images
from grrm.preflight.findings import Finding, failed, format_table, merge, ok
from grrm.preflight.gpus import check_gpus, chosen_gpus, cuda_of_lock, parse_gpus
from grrm.preflight.held_folders import check_trainings
from grrm.preflight.storage import Need, check_space, check_write
from hub_server import TOKEN, HubServer, serve

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import preflight  # noqa: E402

# The form of nvidia-smi --format=csv,noheader,nounits.
SMI = (
    "0, NVIDIA H100 80GB HBM3, 81559, 580.95.05, GPU-2f1c7b1e-0000-0000-0000-000000000000\n"
    "1, NVIDIA H100 80GB HBM3, 81559, 580.95.05, GPU-2fd04a55-0000-0000-0000-000000000000\n"
)


def statuses(findings: list[Finding]) -> list[str]:
    return [finding.status for finding in findings]


# ---------------------------------------------------------------- the table


def test_the_table_says_what_to_do_below_what_failed() -> None:
    table = format_table([ok("a", "fine"), failed("disk x", "full", "free some: key")])
    assert table.splitlines() == [
        "ok      a       fine",
        "failed  disk x  full",
        "                -> free some: key",
        "",
        "2 checks: 1 failed, 0 with a warning, 0 not checked, 1 ok",
    ]


def test_what_says_the_same_is_said_once() -> None:
    findings = [failed("rule a", "no", "do"), ok("rule b", "yes"), failed("rule c", "no", "do")]
    assert merge(findings) == [failed("rule a and 1 other", "no", "do"), ok("rule b", "yes")]


# ---------------------------------------------------------------- GPUs


def test_gpus_and_their_driver() -> None:
    findings = check_gpus(parse_gpus(SMI), 2, SMI, {"sft_cuda": "13.0", "comet": None})
    assert statuses(findings) == ["ok", "ok"]
    assert findings[0].found == "2 x NVIDIA H100 80GB HBM3, driver 580.95.05"


@pytest.mark.parametrize(
    ("smi", "wanted", "cuda", "found", "do"),
    [
        (SMI, 8, "13.0", "2 visible (NVIDIA H100 80GB HBM3), the configuration asks for 8",
         "hardware.gpus_per_node"),
        (SMI.replace("580.95.05", "550.54.15"), 2, "13.0",
         "driver 550.54.15 is too old for CUDA 13.0, which needs 580.65.6", "update the driver"),
        ("0, NVIDIA H100, 81559, 580.95.05, GPU-1, Exclusive_Process\n", 1, "13.0",
         "GPU 0 is in the compute mode Exclusive_Process", "--compute-mode=0"),
        ("No devices were found\n", 1, "13.0", "none is visible: No devices were found", "hardware.device"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", 1, "12.8",
         "none is visible: NVIDIA-SMI has failed", "check the driver"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_gpus(smi: str, wanted: int, cuda: str, found: str, do: str) -> None:
    findings = check_gpus(parse_gpus(smi), wanted, smi, {"rl_cuda": cuda})
    (broken,) = [finding for finding in findings if finding.status == "failed"]
    assert found in broken.found and do in broken.remedy


def test_small_gpus_and_unknown_cuda_are_not_hidden() -> None:
    smi = "0, NVIDIA T4, 15360, 580.95.05, GPU-1\n"
    findings = check_gpus(parse_gpus(smi), 1, smi, {"rl_cuda": "14.1"})
    assert statuses(findings) == ["ok", "warning", "unknown"]
    (missing,) = check_gpus(None, 1, "", {})
    assert missing.status == "failed" and "no NVIDIA driver" in missing.found


def test_a_training_looks_at_its_own_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "rl_cuda.txt"
    lock.touch()
    python = str(environment(tmp_path / "envs", lock) / "rl_cuda/bin/python")
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<END\n{SMI}END\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    probes.require_gpus(2, python)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(UserError, match=r"gpus: 1 visible .* asks for 2; .* CUDA_VISIBLE_DEVICES"):
        probes.require_gpus(2, python)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UserError, match=r"gpus: none is visible: CUDA_VISIBLE_DEVICES is ''"):
        probes.require_gpus(1, python)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.raises(UserError, match=r"gpus: 2 visible .* asks for 8; set hardware\.gpus_per_node"):
        probes.require_gpus(8, python)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 0, NVIDIA H100, 81559, 550.54.15, GPU-1\n")
    with pytest.raises(UserError, match=r"this environment: driver 550\.54\.15 is too old for CUDA 13\.0"):
        probes.require_gpus(1, python)
    # With conda and in a container it is called by name.
    monkeypatch.setenv("PATH", f"{Path(python).parent}:{os.environ['PATH']}")
    with pytest.raises(UserError, match=r"this environment: driver 550\.54\.15 is too old for CUDA 13\.0"):
        probes.require_gpus(1, "python")
    (tmp_path / "nvidia-smi").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    probes.require_gpus(8, python)


@pytest.mark.parametrize(
    ("devices", "indices"),
    [
        (None, [0, 1]),
        ("1,0", [1, 0]),
        ("0", [0]),
        ("0, 1", [0, 1]),
        ("", []),
        ("-1", []),
        ("0,7,1", [0]),  # CUDA reads no further
        ("GPU-2fd0,0", [1, 0]),
        ("GPU-2f", []),  # either
        ("MIG-41b3a1c2", [0, 1]),
    ],
)
def test_cuda_sees_what_it_is_told_to(devices: str | None, indices: list[int]) -> None:
    assert [gpu.index for gpu in chosen_gpus(parse_gpus(SMI), devices)] == indices


def test_a_training_says_what_it_runs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["NVIDIA T400", "NVIDIA H200", "NVIDIA H200"]
    smi = "".join(f"{index}, {name}, 143771, 580.95.05, GPU-{index}\n" for index, name in enumerate(names))
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<END\n{smi}END\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(probes.os, "sched_getaffinity", lambda _: {0, 1, 5})
    assert probes.training_hardware(1, 0) == {"machines": 1, "gpus": {}, "cores": 3}
    found = probes.training_hardware(1, 3)
    assert found == {"machines": 1, "gpus": {"NVIDIA T400": 1, "NVIDIA H200": 2}, "cores": 3}
    assert probes.training_hardware(1, 1)["gpus"] == {"NVIDIA T400": 1}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    assert probes.training_hardware(2, 2) == {"machines": 2, "gpus": {"NVIDIA H200": 2}, "cores": 3}
    (tmp_path / "nvidia-smi").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert probes.training_hardware(1, 2)["gpus"] == {"GPU of unknown name": 2}


def test_cuda_is_that_of_the_lock() -> None:
    versions = {
        name: cuda_of_lock((ROOT / f"envs/{name}.txt").read_text())
        for name in ("sft_cuda", "rl_cuda", "driver")
    }
    assert versions == {"sft_cuda": "13.0", "rl_cuda": "13.0", "driver": None}
    assert cuda_of_lock("nvidia-cuda-runtime-cu12==12.8.90 \\\n") == "12.8"


# ---------------------------------------------------------------- disk


def test_room_is_counted_for_each_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = [
        Need(tmp_path / "results/x", "checkpoints", 40e9, 80e9, "key a"),
        Need(tmp_path / "downloads", "downloads", 10e9, 10e9, "key b"),
        Need(Path("/dev/shm"), "environments", 1e9, 2e9, "key c"),
        Need(tmp_path, "nothing", 0, 0, "key d"),
    ]
    usage = shutil.disk_usage(tmp_path)
    for free, status in ((49e9, "failed"), (60e9, "warning"), (91e9, "ok")):
        monkeypatch.setattr(
            storage.shutil, "disk_usage", lambda path, free=free: usage._replace(free=int(free))
        )
        first, second = check_space(needs)
        assert (first.status, second.status) == (status, "ok")
        assert "50-90 GB needed (checkpoints 40-80 GB, downloads 10 GB)" in first.found
        assert ("key a, key b" in first.remedy) == (status != "ok")


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_write(tmp_path / "not/yet", "k").status == "ok"
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(storage.tempfile, "tempdir", None)

    def refuse(**_: object) -> None:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(storage.tempfile, "NamedTemporaryFile", refuse)
    finding = check_write(tmp_path, "data.downloads")
    assert (finding.status, finding.found) == ("failed", f"{tmp_path}: Read-only file system")
    assert "data.downloads" in finding.remedy


# ---------------------------------------------------------------- environments


def environment(folder: Path, lock: Path, torch: str | None = "'13.0'", **record: Any) -> Path:
    (folder / "rl_cuda/bin").mkdir(parents=True)
    (folder / "rl_cuda/bin/python").symlink_to(sys.executable)
    write_json(folder / "rl_cuda.json", {"lock_sha256": sha256(lock), **record})
    if torch:
        version = folder / "rl_cuda/lib/python3.11/site-packages/torch/version.py"
        version.parent.mkdir(parents=True)
        version.write_text(f"from typing import Optional\ncuda: Optional[str] = {torch}\nhip = None\n")
    return folder


def test_environments(tmp_path: Path) -> None:
    lock = tmp_path / "rl_cuda.txt"
    lock.write_text("torch==2.11.0\n")

    def check(folder: Path) -> list[Finding]:
        return check_environment("rl_cuda", folder, lock, cuda=True)

    assert statuses(check(environment(tmp_path / "good", lock))) == ["ok"]
    assert statuses(check(tmp_path / "none")) == ["warning"]
    (cpu,) = check(environment(tmp_path / "cpu", lock, torch="None"))
    assert (cpu.status, cpu.found) == ("failed", "it has no torch that is built for CUDA")
    wanted = {"from": "build", "version": None, "reason": "no nvcc"}
    slow = check(environment(tmp_path / "slow", lock, flash_attn=wanted))
    assert statuses(slow) == ["ok", "warning"] and "no nvcc" in slow[1].found
    moved = environment(tmp_path / "moved", lock)
    (moved / "rl_cuda/bin/python").unlink()
    assert "points nowhere" in check(moved)[0].found
    lock.write_text("torch==2.11.1\n")
    assert "built from another" in check(tmp_path / "good")[0].found
    (tmp_path / "good/rl_cuda.json").write_text("{")
    assert statuses(check(tmp_path / "good")) == ["failed"]


def test_images(tmp_path: Path) -> None:
    lock = tmp_path / "rl_cuda.txt"
    lock.write_text("torch==2.11.0\n")

    def check(said: str, nodes: int = 1) -> list[Finding]:
        return check_images({"rl_cuda": lock}, tmp_path, lambda image: said, nodes=nodes)

    (missing,) = check("")
    assert missing.status == "failed" and "apptainer build" in missing.remedy
    (tmp_path / "rl_cuda.sif").touch()
    # As apptainer inspect --labels prints them.
    good = (
        f"grrm.environment: rl_cuda\ngrrm.lock.sha256: {sha256(lock)}\norg.label-schema.schema-version: 1.0\n"
    )
    assert statuses(check(good)) == ["ok"]
    assert statuses(check(good.replace(sha256(lock), "0" * 64))) == ["failed"]
    assert statuses(check("apptainer is not on this machine")) == ["unknown"]
    assert check(good, nodes=2)[1].found.endswith("in each step of Slurm's: never tried")


@pytest.mark.parametrize(("rules", "statuses"), [(["rank_candidates"], []), (["train_mt_sft"], ["warning"])])
def test_images_are_said_to_be_untried_for_jobs_on_several_machines(
    monkeypatch: pytest.MonkeyPatch, rules: list[str], statuses: list[str]
) -> None:
    monkeypatch.setattr(checks, "check_hub", lambda *_: [])
    monkeypatch.setattr(probes, "visible_gpus", lambda: (parse_gpus(SMI), SMI))
    config = experiment("paper")
    assert config["hardware"]["nodes"] == 2
    found = checks.check_experiment(
        config, ROOT, software="apptainer", jobs=checks.jobs_of(config, ROOT, rules)
    )
    assert [finding.status for finding in found if finding.check == "images"] == statuses


# ---------------------------------------------------------------- the hub

ENTRIES = load_datasets(ROOT / "config/datasets.yaml", ROOT / "config/schemas/datasets.schema.yaml")
MODEL = ENTRIES["qwen2_5_0_5b"]


def test_what_an_experiment_reads() -> None:
    def needed(*overlays: str) -> set[str]:
        return {entry.name for entry in downloads.needed_entries(experiment(*overlays), ENTRIES)}

    assert needed() == set()
    paper = needed("paper")
    assert {"towerblocks_mt_ranking", "towerblocks_mt", "wmt24pp", "qwen2_5_7b", "wmt22_comet_da"} <= paper
    assert {"xlm_roberta_large", "bleurt_20"} <= paper and not {
        "released_grrm",
        "flores200",
        "xcomet_xl",
    } & paper
    released = needed("paper", "paper_released")
    assert {"released_grrm", "released_mt"} <= released and "qwen2_5_7b" not in released
    assert "qwen2_5_1_5b" in needed("paper", "small")


def test_a_model_that_the_environment_names_is_looked_for() -> None:
    schema = ROOT / "config/schemas/config.schema.yaml"
    judges = experiment("paper", "judges_paper")
    config = resolve_experiment(judges, schema, {"MODEL_PATH": "Qwen/Qwen3-32B"})
    entries, _ = checks._tables(config, ROOT)
    needed = {entry.hub for entry in downloads.needed_entries(config, entries)}
    assert "Qwen/Qwen3-32B" in needed and "Qwen/Qwen3-8B" not in needed


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    from huggingface_hub import constants

    with serve() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


def locked(server: HubServer) -> Locked:
    files = {"config.json": b"{}", "model.safetensors": b"weights"}
    commit = server.repository("Qwen/Qwen2.5-0.5B").commit(files)
    sizes = {name: LockedFile("0" * 64, len(content)) for name, content in files.items()}
    return Locked("Qwen/Qwen2.5-0.5B", "main", commit, sizes)


def test_a_revoked_token_is_one_failure_without_the_token(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = {MODEL.name: locked(server)}
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    good = downloads.check_hub([MODEL], lock, Path("lock"), tmp_path)
    assert statuses(good) == ["ok", "ok"] and "HF_TOKEN is that of someone" in good[0].found
    monkeypatch.setenv("HF_TOKEN", "hf_revoked_yesterday")
    (finding,) = downloads.check_hub([MODEL], lock, Path("lock"), tmp_path)
    assert finding.status == "failed" and "does not accept HF_TOKEN (401)" in finding.found
    assert "hf_revoked" not in f"{finding.found}{finding.remedy}"


def test_what_is_private_or_moved_is_found(server: HubServer, tmp_path: Path) -> None:
    lock = {MODEL.name: locked(server)}
    assert statuses(downloads.check_hub([MODEL], lock, Path("lock"), tmp_path)) == ["ok"]
    server.repository("Qwen/Qwen2.5-0.5B").private = True
    (private,) = downloads.check_hub([MODEL], lock, Path("lock"), tmp_path)
    assert private.status == "failed" and "HF_TOKEN is not set" in private.found
    server.repository("Qwen/Qwen2.5-0.5B").private = False
    server.repository("Qwen/Qwen2.5-0.5B").commits.clear()
    (moved,) = downloads.check_hub([MODEL], lock, Path("lock"), tmp_path)
    assert moved.status == "failed" and "no longer has that revision" in moved.found
    assert statuses(downloads.check_hub([MODEL], {}, Path("lock"), tmp_path)) == ["failed"]


def test_nothing_is_asked_for_what_is_there(server: HubServer, tmp_path: Path) -> None:
    lock = {MODEL.name: locked(server)}
    record = {"origin": "Qwen/Qwen2.5-0.5B", "requested": "main", "revision": lock[MODEL.name].revision}
    files = {
        name: {"sha256": file.sha256, "size": file.size} for name, file in lock[MODEL.name].files.items()
    }
    write_json(tmp_path / f"{MODEL.name}.json", {**record, "files": files, "licence": "x"})
    assert statuses(downloads.check_hub([MODEL], lock, Path("lock"), tmp_path)) == ["ok"]
    assert server.requests == []
    assert downloads.missing_bytes([MODEL], lock, tmp_path) == 0
    assert downloads.missing_bytes([MODEL], lock, tmp_path / "elsewhere") == 9


def test_an_unreachable_hub_is_one_failure(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    lock = {MODEL.name: locked(server)}
    (finding,) = downloads.check_hub([MODEL, ENTRIES["qwen2_5_7b"]], lock, Path("lock"), tmp_path)
    assert finding.status == "failed"
    assert "cannot be reached, for qwen2_5_0_5b, qwen2_5_7b" in finding.found


def test_offline_the_cache_must_be_complete(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    lock = {MODEL.name: locked(server)}
    snapshot = tmp_path / "cache/models--Qwen--Qwen2.5-0.5B/snapshots" / lock[MODEL.name].revision
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_bytes(b"{}")
    (half,) = downloads.check_hub([MODEL], lock, Path("lock"), tmp_path)
    assert half.status == "failed" and "1 of 2 files are not in the cache (model.safetensors)" in half.found
    assert "hf download Qwen/Qwen2.5-0.5B" in half.remedy
    (snapshot / "model.safetensors").write_bytes(b"weights")
    assert statuses(downloads.check_hub([MODEL], lock, Path("lock"), tmp_path)) == ["ok"]
    (unlocked,) = downloads.check_hub([MODEL], {}, Path("lock"), tmp_path)
    assert unlocked.status == "failed" and "not locked yet" in unlocked.found
    assert server.requests == []


# ---------------------------------------------------------------- all of it


def rules_of(config: dict[str, Any]) -> set[str]:
    return {job.rule for job in checks.jobs_of(config, ROOT)}


def test_jobs_are_those_of_the_experiment() -> None:
    # That they are those that Snakemake plans: tests/workflow/test_plan.py.
    paper = rules_of(experiment("paper"))
    assert {"train_grrm_sft", "train_mt_grpo", "rank_candidates", "check_leakage", "score_segments"} <= paper
    never = {"make_toy_world", "make_base_models", "train_metric", "score_segments_in_driver"}
    never |= {"make_toy_alignment", "train_alignment_sft", "prepare_alignment"}
    assert not never & paper
    assert not {"download_dataset", "build_environment", "train_judge_rl", "ask_judge"} & paper
    released = rules_of(experiment("paper", "paper_released"))
    assert not {"train_grrm_sft", "train_mt_grpo", "prepare_mt_grpo"} & released
    # Another kind is trained, from a model that is not there, beside the released one.
    config = experiment("paper", "paper_released")
    config["reward_comparison"] = ["bleu"]
    assert rules_of(config) - released == {
        *("prepare_mt_sft", "train_mt_sft", "prepare_mt_grpo", "train_mt_grpo"),
        *("score_comet_of_reward_kinds", "score_translations_of_reward_kinds"),
    }
    config = experiment("paper")
    config["evaluate"]["metrics"] = ["metricx", "llm_judge"]
    assert rules_of(config) - paper == {"score_segments_in_driver"}
    config["evaluate"]["metrics"] = ["llm_judge"]
    assert paper - rules_of(config) == {"score_segments"}
    config["evaluate"]["metrics"] = ["bleurt"]
    config["evaluate"]["bleurt"]["start_from"] = None
    assert rules_of(config) - paper == {"train_metric"}
    assert {"train_judge_rl", "train_alignment_grpo", "train_alignment_sft"} <= rules_of(experiment("judges"))
    assert "train_alignment_sft" not in rules_of(experiment("paper", "small", "alignment_gpu"))
    assert [job.rule for job in checks.jobs_of(experiment(), ROOT, ["train_mt_sft"])] == ["train_mt_sft"]


def test_every_size_of_a_rules_jobs_is_looked_at() -> None:
    config = experiment("paper")
    config["mt_grpo"]["reward"] |= {"kind": "bleu", "placement": "dedicated", "nodes": 1, "gpus_per_node": 8}
    config["reward_comparison"] = ["grrm", "bleu", "chrf"]
    jobs = checks.jobs_of(config, ROOT, ["train_mt_grpo", "train_mt_sft"])
    assert [(job.rule, job.asked.nodes) for job in jobs] == [
        *(("train_mt_grpo", 2), ("train_mt_grpo", 3), ("train_mt_sft", 2))
    ]


def test_the_demonstration_is_looked_at_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("config", "envs"):
        (tmp_path / part).symlink_to(ROOT / part)
    preflight.main(["--workflow", str(tmp_path), "--output", str(tmp_path / "found.json")])
    out = capsys.readouterr().out
    assert "environment comet and 1 other" in out and " 0 failed" in out
    assert {one["status"] for one in json.loads((tmp_path / "found.json").read_text())["findings"]} == {
        "ok",
        "warning",
    }


@pytest.mark.parametrize("known", [True, False])
def test_a_model_in_a_folder_does_not_stop_the_rest(tmp_path: Path, known: bool) -> None:
    for part in ("config", "envs"):
        (tmp_path / part).symlink_to(ROOT / part)
    start = "results/other/models/grrm_sft"
    if known:
        empty_model(tmp_path / start, 10_000_000)
    config = experiment()
    config["grrm_rlvr"]["start_from"] = start
    found = checks.check_experiment(config, tmp_path)
    assert not any(finding.status == "failed" for finding in found)
    said = [finding.found for finding in found if finding.check == "forecast grrm_rlvr"]
    assert said == [] if known else said[0].startswith(f"{start}: the number of its parameters")


@pytest.mark.parametrize(
    ("gpus", "rules", "status"),
    [
        (1, None, "ok"),
        (2, None, "ok"),
        (4, None, "failed"),
        (4, ["score_rankings"], None),
    ],
)
def test_answers_alone_need_their_gpus_and_no_more(
    monkeypatch: pytest.MonkeyPatch, gpus: int, rules: list[str] | None, status: str | None
) -> None:
    monkeypatch.setattr(probes, "visible_gpus", lambda: (parse_gpus(SMI), SMI))
    monkeypatch.setattr(checks, "check_hub", lambda *_: [])
    config = experiment("paper", "paper_released")  # hardware.gpus_per_node is 8
    config["evaluate"]["gpus"] = gpus
    found = checks.check_experiment(config, ROOT, jobs=checks.jobs_of(config, ROOT, rules))
    looked = [finding for finding in found if finding.check == "gpus"]
    assert [finding.status for finding in looked] == ([] if status is None else [status])
    assert status != "failed" or "evaluate.gpus to 2" in looked[0].remedy


def test_the_disk_is_for_what_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    needs: list[Need] = []
    monkeypatch.setattr(checks, "check_hub", lambda *_: [])
    monkeypatch.setattr(checks, "check_space", lambda found: needs.extend(found) or [])

    def checkpoints(trained: list[str] | None) -> list[float]:
        needs.clear()
        checks.check_experiment(experiment("paper"), ROOT, jobs=[], trained=trained)
        return [need.high for need in needs if need.what == "checkpoints and models"]

    every = checkpoints(None)
    assert len(every) == 4
    assert checkpoints(["mt_grpo_bleu", "grrm_sft"]) == every[:1]
    assert checkpoints([]) == []


def lock(results: Path, name: str, job: str | None) -> None:
    holder = {"token": "t", "host": "g1", "pid": 1, "born": 0.0, "job": job, "cluster": "c", "since": "noon"}
    write_json(results / f"checkpoints/{name}.lock", holder)


@pytest.mark.parametrize(
    ("states", "trained", "found"),
    [
        ({"7": "RUNNING"}, ["grrm_sft", "mt_sft"], ["training grrm_sft"]),
        ({"7": "RUNNING"}, None, ["training grrm_sft"]),
        ({"7": "RUNNING", "9": "PENDING"}, ["mt_grpo_bleu"], ["training mt_grpo_bleu"]),
        ({"7": "RUNNING", "8": "RUNNING"}, None, ["training grrm_sft"]),  # what 8 makes is there
        ({"7": "RUNNING"}, [], []),
        ({}, None, []),
    ],
)
def test_a_job_that_is_still_at_work_is_found_before_another_is_submitted(
    tmp_path: Path, states: dict[str, str], trained: list[str] | None, found: list[str]
) -> None:
    for name, job in {"grrm_sft": "7", "grrm_rlvr": "8", "mt_grpo_bleu": "9", "mt_sft": None}.items():
        lock(tmp_path, name, job)
    (tmp_path / "models/grrm_rlvr").mkdir(parents=True)
    findings = check_trainings(tmp_path, trained, lambda job, cluster: states.get(job))
    assert [finding.check for finding in findings] == found
    for finding in findings:
        assert finding.status == "failed" and "scancel" in finding.remedy


@pytest.mark.parametrize(
    ("cluster", "squeue", "state"),
    [
        ("own", "echo RUNNING", "RUNNING"),
        (None, "echo SUSPENDED", "SUSPENDED"),
        ("other", "echo RUNNING", None),
        ("own", "echo COMPLETED", None),
        ("own", "echo slurm_load_jobs error: Invalid job id specified; exit 1", None),
    ],
)
def test_the_state_of_a_job_is_slurms_own_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: str | None, squeue: str, state: str | None
) -> None:
    for name, script in {"squeue": squeue, "scontrol": "echo 'ClusterName             = own'"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert probes.living_state("7", cluster) == state


def test_on_slurm_a_training_that_is_at_work_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("config", "envs"):
        (tmp_path / part).symlink_to(ROOT / part)
    lock(tmp_path / "results/demo", "grrm_sft", "7")
    monkeypatch.setattr(probes, "ask_slurm", lambda jobs: [])
    monkeypatch.setattr(probes, "living_state", lambda job, cluster: "RUNNING")
    options = ["--workflow", str(tmp_path), "--slurm", "--rules", "train_grrm_sft", "--trained"]
    with pytest.raises(UserError, match=r"1 of \d+ checks failed, first training grrm_sft: .*Slurm job 7"):
        preflight.main([*options, "grrm_sft"])
    assert "scancel 7" in capsys.readouterr().out
    preflight.main([*options, "mt_sft"])


def test_one_table_with_every_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("config", "envs"):
        (tmp_path / part).symlink_to(ROOT / part)
    monkeypatch.setattr(probes, "visible_gpus", lambda: (parse_gpus(SMI), SMI))
    monkeypatch.setattr(checks, "check_hub", lambda *_: [failed("hub token", "revoked", "make a new token")])
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 0, 10**9))
    with pytest.raises(UserError, match=r"3 of \d+ checks failed, first gpus"):
        preflight.main(["--workflow", str(tmp_path), "--config", str(ROOT / "config/paper.yaml"),
                        "--output", str(tmp_path / "found.json")])  # fmt: skip
    out = capsys.readouterr().out
    for words in ("hardware.gpus_per_node to 2", "1 GB free, 5", "make a new token", "3 failed"):
        assert words in out
    assert not (tmp_path / "found.json").exists()
