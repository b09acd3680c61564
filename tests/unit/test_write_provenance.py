"""What made an experiment is written down: code, environments, data; nothing about machine or user."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import write_provenance
from configurations import ROOT
from grrm.files import UserError, sha256

LOCK = (
    "torch==2.13.0 \\\n    --hash=sha256:0\nverl==0.9.1 ; python_version < '3.13' \\\n    --hash=sha256:1\n"
)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    Path("config.yaml").write_text("seed: 3\n")
    Path("train.txt").write_text(LOCK)
    record = {"lock_sha256": sha256(Path("train.txt")), "python": "3.11"}
    Path("train.json").write_text(json.dumps(record))
    for arguments in (["init", "-q"], ["add", "config.yaml"], ["commit", "-q", "-m", "x"]):
        identity = ["-c", "user.name=x", "-c", "user.email=x@x"]
        subprocess.run(["git", *identity, *arguments], check=True)
    return tmp_path


def run(*arguments: str) -> dict:
    write_provenance.main(["--config", "config.yaml", "--output", "provenance", *arguments])
    return json.loads(Path("provenance/provenance.json").read_text())


def test_the_commit_and_what_differs_from_it_are_named(checkout: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    assert run()["code"] | {"grrm": ""} == {
        "grrm": "",
        "commit": head.strip(),
        "dirty": False,
        "changed": [],
    }
    Path("config.yaml").write_text("seed: 4\n")
    code = run()["code"]
    assert (code["dirty"], code["changed"]) == (True, ["config.yaml"])


def test_outside_a_checkout_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert write_provenance.git_state(tmp_path) == {"commit": None, "dirty": None, "changed": []}


def test_environments_are_listed_package_by_package(checkout: Path) -> None:
    found = run("--locks", "train=train.txt", "--records", "train=train.json")["environments"]["train"]
    assert found["packages"] == {"torch": "2.13.0", "verl": "0.9.1"}
    assert found["python"] == "3.11"


def test_the_driver_is_listed_as_it_is_installed(checkout: Path) -> None:
    lock = ROOT / "envs/driver.txt"
    found = run("--locks", f"driver={lock}", "train=train.txt")["environments"]["driver"]
    assert found["lock_sha256"] == sha256(lock)
    assert found["python"] == platform.python_version()
    for package in ("sacrebleu", "pyarrow", "numpy", "snakemake"):
        assert found["packages"][package] == version(package)
    # What is installed counts, not what is locked; and what is not installed has no version.
    Path("driver.txt").write_text("numpy==0.0.1 \\\n    --hash=sha256:0\n" + LOCK)
    found = run("--locks", "driver=driver.txt")["environments"]["driver"]
    assert found["packages"] == {"numpy": version("numpy")}


def test_an_environment_of_the_users_own_is_asked_itself(checkout: Path) -> None:
    found = run("--pythons", f"fork={sys.executable}")["environments"]["fork"]
    assert found["packages"]["pytest"] == pytest.__version__


def test_an_environment_built_from_another_lock_is_an_error(checkout: Path) -> None:
    Path("train.txt").write_text(LOCK.replace("2.13.0", "2.14.0"))
    with pytest.raises(UserError, match=r"train\.json: built from another train\.txt"):
        run("--locks", "train=train.txt", "--records", "train=train.json")
    assert not Path("provenance").exists()


def test_the_lock_of_the_data_and_the_configuration_are_kept(checkout: Path) -> None:
    Path("datasets.lock.yaml").write_text("wmt24pp: {}\n")
    run("--data-lock", "datasets.lock.yaml")
    assert {path.name for path in Path("provenance").iterdir()} == {
        "config.yaml",
        "datasets.lock.yaml",
        "provenance.json",
    }
    assert Path("provenance/config.yaml").read_text() == "seed: 3\n"


def test_nothing_of_the_machine_or_its_user_is_written(checkout: Path) -> None:
    run("--locks", "train=train.txt")
    text = "".join(path.read_text() for path in Path("provenance").iterdir())
    for secret in ("hf_secret", os.uname().nodename + ".", str(ROOT), str(checkout)):
        assert secret not in text


def test_files_of_the_users_own_are_pinned_by_what_they_hold(checkout: Path) -> None:
    assert "files" not in run()
    Path("mine.tsv").write_text("a\tb\n")
    assert run("--files", "mine.tsv")["files"] == {
        "mine.tsv": {"sha256": sha256(Path("mine.tsv")), "size": 4}
    }
