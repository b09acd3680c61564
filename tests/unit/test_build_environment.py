"""Building an environment: what uv is asked for, and what the record says of flash-attn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grrm.files import UserError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import build_environment  # noqa: E402

# Stands in for uv: makes a "python" that answers as told, and keeps what it was asked.
UV = """#!/bin/sh
echo "DS_BUILD_OPS=$DS_BUILD_OPS FORCE=$FLASH_ATTENTION_FORCE_BUILD $*" >> {folder}/asked
for last; do :; done
case "$*" in
  *venv*) mkdir -p "$last/bin"; cd "$last/bin"; printf '#!/bin/sh\\n{answer}\\n' > python; chmod +x python ;;
  *install*) cat "$last" >> {folder}/requirement 2>/dev/null; exit {install} ;;
esac
"""


@pytest.fixture
def build(tmp_path: Path) -> Any:
    lock = tmp_path / "sft_cuda.txt"
    lock.write_text("deepspeed==0.19.8 \\\n    --hash=sha256:00\ntorch==2.13.0 \\\n    --hash=sha256:00\n")
    wheel = tmp_path / "flash_attn-2.8.3-cp311-cp311-linux_x86_64.whl"
    wheel.touch()

    def run(*options: str, answer: str = "echo 2.8.3", install: int = 0) -> dict[str, Any]:
        uv = tmp_path / "uv"
        uv.write_text(UV.format(folder=tmp_path, answer=answer, install=install))
        uv.chmod(0o755)
        build_environment.main(
            [
                *("--lock", str(lock), "--folder", str(tmp_path / "sft_cuda")),
                *("--output", str(tmp_path / "sft_cuda.json"), "--uv", str(uv)),
                *(option.format(wheel=wheel) for option in options),
            ]
        )
        record: dict[str, Any] = json.loads((tmp_path / "sft_cuda.json").read_text())
        return record

    return run


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines()


def test_deepspeed_compiles_nothing_while_it_is_built(build: Any, tmp_path: Path) -> None:
    record = build()
    assert record["deepspeed"]["version"] == "0.19.8" and record["packages"] == 2
    assert "flash_attn" not in record
    assert all(line.startswith("DS_BUILD_OPS=0 ") for line in asked(tmp_path)) and len(asked(tmp_path)) == 2


def test_a_wheel_is_installed_alone_and_recorded(build: Any, tmp_path: Path) -> None:
    record = build("--flash-attn", "{wheel}")
    assert record["flash_attn"]["version"] == "2.8.3"
    assert record["flash_attn"]["from"].endswith(".whl")
    assert "--no-deps" in asked(tmp_path)[-1] and "--no-build-isolation" not in asked(tmp_path)[-1]


def test_a_build_has_no_isolation_and_a_hash(build: Any, tmp_path: Path) -> None:
    assert build("--flash-attn", "build")["flash_attn"] == {"from": "build", "version": "2.8.3"}
    assert "FORCE=TRUE" in asked(tmp_path)[-1]
    for option in ("--no-deps", "--no-build-isolation", "--require-hashes"):
        assert option in asked(tmp_path)[-1]
    assert (tmp_path / "requirement").read_text().startswith("flash-attn==2.8.3 --hash=sha256:")


@pytest.mark.parametrize(
    ("answer", "install", "reason"),
    [("exit 1", 0, "cannot be imported"), ("echo 2.8.3", 1, "uv could not install it")],
)
def test_without_flash_attn_the_environment_is_good_and_says_so(
    build: Any, capfd: pytest.CaptureFixture[str], answer: str, install: int, reason: str
) -> None:
    found = build("--flash-attn", "{wheel}", answer=answer, install=install)["flash_attn"]
    assert found["version"] is None and reason in found["reason"]
    assert "trainings will use attention sdpa" in capfd.readouterr().out


def test_a_wheel_that_is_not_there_is_named(build: Any) -> None:
    with pytest.raises(
        UserError, match=r"absent\.whl: no such wheel; it is the key environments\.flash_attn"
    ):
        build("--flash-attn", "absent.whl")


def test_packages_of_the_users_own_come_after_the_locked_ones_and_change_none(
    build: Any, tmp_path: Path
) -> None:
    record = build("--extra", "wordfreq==3.1.1", "regex")
    assert record["extra"] == ["wordfreq==3.1.1", "regex"]
    *_, sync, install = (tmp_path / "asked").read_text().splitlines()
    assert "pip sync --require-hashes" in sync
    assert install.endswith(f"--constraints {tmp_path}/sft_cuda.txt wordfreq==3.1.1 regex")
    assert "extra" not in build()


def test_environments_are_built_one_after_the_other(tmp_path: Path) -> None:
    """Two at once would both download what they share, and uv could not share it between them."""
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\necho begin >> {tmp_path}/order\nsleep 0.3\necho end >> {tmp_path}/order\n")
    uv.chmod(0o755)
    builds = []
    for name in ("train", "comet"):
        (tmp_path / f"{name}.txt").write_text("torch==2.11.0 \\\n    --hash=sha256:00\n")
        command = [sys.executable, str(ROOT / "scripts/build_environment.py"), "--uv", str(uv)]
        command += ["--lock", str(tmp_path / f"{name}.txt"), "--folder", str(tmp_path / "built" / name)]
        builds.append(subprocess.Popen([*command, "--output", str(tmp_path / f"built/{name}.json")]))
    assert [build.wait() for build in builds] == [0, 0]
    # Each asks uv twice, for a virtual environment and for packages.
    assert (tmp_path / "order").read_text().split() == ["begin", "end"] * 4
