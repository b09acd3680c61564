"""A finished demonstration is compared with digests of the same kind of processor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import verify_digits
from grrm.files import UserError
from grrm.report import machine

CONFIG = {
    "experiment": "demo",
    "seed": 0,
    "grrm_sft": {"threads": 2},
    "mt_grpo": {"threads": 1},
    "evaluate": {"orders": 1},
}
PROCESSOR = {"vendor": "GenuineIntel", "capability": "AVX512", "threads": {"grrm_sft": 2}}


def experiment(folder: Path, *, config: Any = CONFIG, processor: Any = PROCESSOR, **weights: str) -> Path:
    (folder / "provenance").mkdir(parents=True)
    provenance = {
        "environments": {"train": {"packages": {"torch": "2.11.0"}}},
        "machine": {"processor": processor},
    }
    (folder / "provenance/provenance.json").write_text(json.dumps(provenance))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for name in verify_digits.MODELS:
        (folder / "models" / name).mkdir(parents=True)
        (folder / "models" / name / "model.safetensors").write_text(weights.get(name, name))
    return folder


def verify(folder: Path, digests: Path, *more: str) -> None:
    verify_digits.main(["--results", str(folder), "--digests", str(digests), *more])


@pytest.fixture
def digests(tmp_path: Path) -> Path:
    path = tmp_path / "digests.yaml"
    verify(experiment(tmp_path / "first"), path, "--write")
    return path


def test_equal_weights_are_equal_whatever_is_evaluated(
    tmp_path: Path, digests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {**CONFIG, "experiment": "again", "evaluate": {"orders": 3}}
    verify(experiment(tmp_path / "again", config=config), digests)
    assert "equal to" in capsys.readouterr().out


def test_the_first_model_that_differs_is_named(tmp_path: Path, digests: Path) -> None:
    other = experiment(tmp_path / "other", grrm_rlvr="x", mt_grpo="y")
    with pytest.raises(
        UserError, match=r"models/grrm_rlvr: SHA-256 of the weights is [0-9a-f]{64}, expected"
    ):
        verify(other, digests)
    (other / "models/mt_base/model.safetensors").unlink()
    with pytest.raises(UserError, match="models/mt_base: SHA-256 of the weights is None"):
        verify(other, digests)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"processor": {**PROCESSOR, "capability": "AVX2"}, "mt_grpo": "y"},
            "no digests of capability AVX2, nor the same weights by another processor",
        ),
        ({"processor": {**PROCESSOR, "threads": {"grrm_sft": 1}}}, "no digests of threads"),
        ({"config": {**CONFIG, "seed": 1}}, "no digests of seed 1, configuration"),
        ({"config": {**CONFIG, "grrm_sft": {"threads": 1}}}, "no digests of configuration"),
    ],
)
def test_another_kind_is_not_compared(
    tmp_path: Path, digests: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        verify(experiment(tmp_path / "other", **changes), digests)


def test_equal_weights_of_another_processor_are_said_to_be(
    tmp_path: Path, digests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verify(experiment(tmp_path / "other", processor={**PROCESSOR, "vendor": "AuthenticAMD"}), digests)
    said = capsys.readouterr().out
    assert "no digests of this processor; equal to the bit to those of another (vendor GenuineIntel)" in said


def test_digests_of_several_kinds_stand_beside_each_other(tmp_path: Path, digests: Path) -> None:
    other = experiment(tmp_path / "other", processor={**PROCESSOR, "vendor": "AuthenticAMD"}, mt_sft="x")
    verify(other, digests, "--write")
    verify(other, digests)
    verify(tmp_path / "first", digests)
    changed = experiment(tmp_path / "changed", mt_sft="y")
    verify(changed, digests, "--write")  # in place of the first
    assert len(yaml.safe_load(digests.read_text())) == 2


def test_without_digests_it_is_said_how_to_keep_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no digests; keep these with --write"):
        verify(experiment(tmp_path / "first"), tmp_path / "none.yaml")


def test_results_that_do_not_tell_their_processor_are_refused(tmp_path: Path) -> None:
    folder = experiment(tmp_path / "old")
    (folder / "provenance/provenance.json").write_text("{}")
    with pytest.raises(UserError, match="tells no processor"):
        verify(folder, tmp_path / "none.yaml")


def test_the_processor_is_told_as_torch_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {"vendor_id": "GenuineIntel", "flags": "fpu avx avx2 fma sse avx512f avx512bw avx512dq avx512vl"}
    monkeypatch.setattr(machine, "_line", lambda name: lines.get(name, ""))
    monkeypatch.setattr(machine, "usable_cores", lambda: 1)
    for name in machine.HELD_TO_AVX2:
        monkeypatch.delenv(name, raising=False)
    told = machine.processor({"grrm_sft": {"threads": 2}, "mt_sft": None, "mt_grpo": {"steps": 1}})
    assert told["capability"] == "AVX512"
    assert told["threads"] == {"grrm_sft": 1}
    assert told["extensions"] == ["avx", "avx2", "avx512bw", "avx512dq", "avx512f", "avx512vl", "fma"]
    lines["flags"] = "avx avx2 fma"
    assert machine.processor({})["capability"] == "AVX2"
    lines["flags"] = ""
    assert machine.processor({})["capability"] == "DEFAULT"
    lines["flags"] = "avx avx2 fma avx512f avx512bw avx512dq avx512vl"
    for name, value in machine.HELD_TO_AVX2.items():
        assert machine.processor({})["extensions"]
        monkeypatch.setenv(name, value)
    held = machine.processor({})
    assert (held["capability"], held["extensions"]) == ("AVX2", [])
    assert held["held"] == machine.HELD_TO_AVX2
