"""docs/vllm.md shows all that a configuration for GPUs has changed on a CPU, in the words of the list."""

from __future__ import annotations

import re

import pytest

from configurations import ROOT, experiment, render_rl
from gpu_runs import TRAININGS, rendered
from grrm.engines import verl
from grrm.engines.verl_rewards import JUDGE
from grrm.engines.verl_vllm import JUDGE_SERVER
from on_cpu import CHANGES, ONE_DEVICE, PACK, PACKED, SERVER_CHANGES, on_cpu

PAGE = (ROOT / "docs/vllm.md").read_text(encoding="utf-8")


def rows() -> list[str]:
    shown = [f"| `{key}` | `{value}` | {why} |" for key, (value, why) in CHANGES.items()]
    shown += [f"| `{key}`, on several GPUs | `1` | {why} |" for key, why in ONE_DEVICE.items()]
    shown.append(f"| `{PACK}`, with dynamic batches | {' | '.join(PACKED)} |")
    return shown + [f"| `{key}` of each server | | {why} |" for key, why in SERVER_CHANGES.items()]


def test_the_page_has_the_list_and_nothing_else() -> None:
    table = PAGE.partition("| key | on a CPU |")[2].partition("\n\n")[0].splitlines()[2:]
    assert table == rows()


@pytest.mark.parametrize(("kind", "stage"), TRAININGS)
def test_the_list_is_all_that_is_changed(kind: str, stage: str) -> None:
    given = rendered(kind, stage)
    changed = {key for key, value in on_cpu(given).items() if given.get(key) != value}
    assert not changed & set(ONE_DEVICE) if kind in ("one_gpu", "lora") else changed & set(ONE_DEVICE)
    assert (PACK in changed) == (kind not in ("judges", "alignment"))
    assert changed - CHANGES.keys() - {PACK, *ONE_DEVICE} == {
        key for key in changed if re.search(r"[.]rollout[.]", key) and key.rsplit(".")[-1] in SERVER_CHANGES
    }


@pytest.mark.parametrize(
    ("overlays", "kind", "numbers"),
    [
        (("paper", "paper_cla"), "paper", {verl.EPOCHS}),
        (
            ("paper", "small"),
            "paper",
            {
                *(verl.BATCH, verl.EPOCHS, "trainer.nnodes", "trainer.save_freq", "data.max_response_length"),
                "actor_rollout_ref.actor.ppo_mini_batch_size",
                *(f"+reward.reward_kwargs.{name}" for name in ("max_response_length", "overlong_buffer")),
                *(f"+reward.reward_kwargs.{name}" for name in ("max_resp_len", "overlong_buffer_cfg.len")),
                *(f"{JUDGE_SERVER}.{name}" for name in ("response_length", "max_num_batched_tokens")),
            },
        ),
    ],
)
@pytest.mark.parametrize("stage", ["grrm_rlvr", "mt_grpo"])
def test_what_is_not_executed_differs_in_numbers_alone(
    overlays: tuple[str, ...], kind: str, numbers: set[str], stage: str
) -> None:
    given, executed = render_rl(experiment(*overlays), stage), rendered(kind, stage)
    files = {verl.MODEL, verl.DATA, verl.VALIDATION_DATA, verl.CHECKPOINTS, JUDGE}
    assert given.keys() == executed.keys()
    assert {key for key in given if given[key] != executed[key]} - files <= numbers
