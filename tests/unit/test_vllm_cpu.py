"""Which machines and models vLLM's CPU backend is refused for, in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grrm.files import UserError
from grrm.vllm_cpu import check_heads, check_processor


def cpuinfo(folder: Path, *flags: str) -> Path:
    path = folder / "cpuinfo"
    path.write_text("".join(f"processor : {i}\nflags\t\t: fpu {' '.join(flags)}\n\n" for i in range(2)))
    return path


def test_a_processor_with_all_instructions_is_taken(tmp_path: Path) -> None:
    check_processor(cpuinfo(tmp_path, "avx", "f16c", "avx2"), "x86_64")


@pytest.mark.parametrize(("flags", "lacking"), [(["avx", "f16c"], "avx2"), (["avx"], "avx2, f16c")])
def test_one_that_lacks_instructions_is_named(tmp_path: Path, flags: list[str], lacking: str) -> None:
    with pytest.raises(UserError, match=f"lacks {lacking}, expected Linux on x86-64.*transformers") as error:
        check_processor(cpuinfo(tmp_path, *flags), "x86_64")
    assert "\n" not in str(error.value)


def test_another_architecture_and_another_system_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="on aarch64"):
        check_processor(cpuinfo(tmp_path, "avx2", "f16c"), "aarch64")
    with pytest.raises(UserError, match="expected Linux"):
        check_processor(tmp_path / "none", "x86_64")


@pytest.mark.parametrize(
    ("config", "width"),
    [
        ({"hidden_size": 96, "num_attention_heads": 4}, "24"),
        ({"hidden_size": 64, "num_attention_heads": 2, "head_dim": 48}, "48"),
        ({"text_config": {"hidden_size": 100, "num_attention_heads": 3}}, "33.3333"),
    ],
)
def test_heads_without_a_kernel_are_named(tmp_path: Path, config: dict[str, object], width: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=f"heads of {width} numbers, expected one of 32, 64, 80"):
        check_heads(tmp_path)


def test_heads_with_one_are_taken(tmp_path: Path) -> None:
    config = {"hidden_size": 96, "num_attention_heads": 3, "head_dim": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    check_heads(tmp_path)
