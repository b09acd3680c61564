"""With what is set for all of vLLM's processes nothing is compiled by nvcc or ninja: asked of its source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import vllm
from vllm import envs
from vllm.v1.sample.ops import topk_topp_sampler

from grrm.catalogue.vllm import EVERYWHERE

SOURCE = Path(vllm.__file__).parent


class Cuda:
    """A GPU on which FlashInfer's sampler would be used."""

    @staticmethod
    def is_cuda() -> bool:
        return True


def test_the_sampler_of_a_gpu_is_not_the_one_that_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topk_topp_sampler, "current_platform", Cuda)
    for name, value in EVERYWHERE.items():
        monkeypatch.setenv(name, value)
    assert topk_topp_sampler.flashinfer_sampler_supported() is False


def test_by_itself_it_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_USE_FLASHINFER_SAMPLER")
    assert envs.environment_variables["VLLM_USE_FLASHINFER_SAMPLER"]() is True


def test_every_use_of_it_in_sampling_asks_first() -> None:
    sampling = [*(SOURCE / "v1/sample").rglob("*.py"), *(SOURCE / "v1/worker").rglob("sampl*.py")]
    texts = {str(file.relative_to(SOURCE)): file.read_text(encoding="utf-8") for file in sampling}
    using = {name for name, text in texts.items() if re.search(r"\bflashinfer", text)}
    assert using == {"v1/sample/ops/topk_topp_sampler.py", "v1/worker/gpu/sample/sampler.py"}
    for name in using:
        assert "flashinfer_sampler_supported()" in texts[name]


def test_our_variables_are_ones_that_it_reads() -> None:
    assert set(EVERYWHERE) - {"VLLM_DO_NOT_TRACK"} <= set(envs.environment_variables)
    assert "VLLM_DO_NOT_TRACK" in (SOURCE / "envs.py").read_text(encoding="utf-8")
