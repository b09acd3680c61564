"""docs/vllm.md shows all that a configuration for GPUs has changed on a CPU, in the words of the list."""

from __future__ import annotations

import re

import pytest

from configurations import ROOT, experiment, render_rl
from on_cpu import CHANGES, ONE_DEVICE, SERVER_CHANGES, on_cpu

PAGE = (ROOT / "docs/vllm.md").read_text(encoding="utf-8")


def rows() -> list[str]:
    shown = [f"| `{key}` | `{value}` | {why} |" for key, (value, why) in CHANGES.items()]
    return shown + [f"| `{key}` of each server | | {why} |" for key, why in SERVER_CHANGES.items()]


def test_the_page_has_the_list_and_nothing_else() -> None:
    table = PAGE.partition("| key | on a CPU |")[2].partition("\n\n")[0].splitlines()[2:]
    assert table == rows()


@pytest.mark.parametrize("stage", ["grrm_rlvr", "mt_grpo"])
@pytest.mark.parametrize("overlays", [["paper"], ["paper", "small", "one_gpu"]])
def test_the_list_is_all_that_is_changed(stage: str, overlays: list[str]) -> None:
    rendered = render_rl(experiment(*overlays), stage)
    changed = {key for key, value in on_cpu(rendered).items() if rendered.get(key) != value}
    assert (changed & set(ONE_DEVICE) == set(ONE_DEVICE)) == (overlays == ["paper"])
    assert changed - CHANGES.keys() - set(ONE_DEVICE) == {
        key for key in changed if re.search(r"[.]rollout[.]", key) and key.rsplit(".")[-1] in SERVER_CHANGES
    }
