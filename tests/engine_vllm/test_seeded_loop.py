"""Seeds of rollouts, and what the processor must be able to run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from transformers import AutoTokenizer
from verl.experimental.agent_loop import single_turn_agent_loop
from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

from configurations import experiment, render_rl
from grrm.catalogue.vllm import CPU_HEAD_SIZES
from grrm.engines.verl_launch import launch_overrides
from grrm.verl_plugin.seeded_loop import SeededAgentLoop, further_ends, rollout_seed

ROW = {"raw_prompt": [{"role": "user", "content": "frog"}], "index": 3, "global_steps": 2, "session_id": 1}


def test_a_seed_depends_on_all_that_it_is_made_of_and_on_nothing_else() -> None:
    prompt = (3, [("user", "frog")])
    seeds = {
        rollout_seed(0, 2, prompt, 1),
        rollout_seed(1, 2, prompt, 1),
        rollout_seed(0, 3, prompt, 1),
        rollout_seed(0, 2, (4, [("user", "frog")]), 1),
        rollout_seed(0, 2, (3, [("user", "toad")]), 1),
        rollout_seed(0, 2, prompt, 2),
    }
    assert len(seeds) == 6 and all(0 <= seed < 2**63 for seed in seeds)
    assert rollout_seed(0, 2, prompt, 1) == rollout_seed(0, 2, (3, [("user", "frog")]), 1)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Sampling parameters of the requests that the loop sends on."""
    found: list[dict[str, Any]] = []

    async def run(self: Any, sampling_params: dict[str, Any], **kwargs: Any) -> None:
        found.append(sampling_params)

    monkeypatch.setattr(single_turn_agent_loop.SingleTurnAgentLoop, "run", run)
    return found


@pytest.mark.parametrize("ends", [{}, {"stop_token_ids": [2]}])
@pytest.mark.parametrize("changes", [{}, {"session_id": 2}, {"global_steps": 9}])
def test_every_request_carries_its_seed_and_what_ends_a_turn(
    sent: list[dict[str, Any]], changes: dict[str, int], ends: dict[str, list[int]]
) -> None:
    loop = object.__new__(SeededAgentLoop)
    loop.rollout_config, loop._ends = SimpleNamespace(seed=0), ends
    shared = {"temperature": 1.0}
    asyncio.run(loop.run(shared, **ROW | changes))
    row = ROW | changes
    assert sent == [
        {
            "temperature": 1.0,
            **ends,
            "seed": rollout_seed(0, row["global_steps"], (3, [("user", "frog")]), row["session_id"]),
        }
    ]
    assert shared == {"temperature": 1.0}  # of all rollouts of the batch


@pytest.mark.parametrize("info", [{"longest": True}, {"longest": False}, {"index": 3}])
def test_a_rollout_of_the_longest_length_does_not_end_before_it(
    sent: list[dict[str, Any]], info: dict[str, Any]
) -> None:
    loop = object.__new__(SeededAgentLoop)
    loop.rollout_config, loop._ends = SimpleNamespace(seed=0), {"stop_token_ids": [2]}
    asyncio.run(loop.run({}, **ROW, extra_info=info))
    is_longest = info.get("longest", False)
    assert sent[0].get("ignore_eos", False) == is_longest and ("stop_token_ids" in sent[0]) != is_longest


def test_a_turn_ends_where_it_does_in_a_base_model_too(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    end = tokenizer.eos_token_id
    assert tokenizer.eos_token == "<|im_end|>" and further_ends(tokenizer) == {}
    tokenizer.eos_token = "<|endoftext|>"  # as Qwen2.5-7B has it
    assert further_ends(tokenizer) == {"stop_token_ids": [end]}
    without = SimpleNamespace(eos_token_id=0, convert_tokens_to_ids=lambda token: 0)
    without.convert_ids_to_tokens = lambda number: "<unk>"
    assert further_ends(without) == {}


def test_verl_finds_the_loop_under_its_name(tmp_path) -> None:
    launched = launch_overrides(
        render_rl(experiment("paper"), "mt_grpo"), temporary=tmp_path, ledger=tmp_path / "ledger"
    )
    agent = "actor_rollout_ref.rollout.agent"
    (loop,) = OmegaConf.load(launched[f"{agent}.agent_loop_config_path"])
    assert loop.name == launched[f"{agent}.default_agent_loop"]
    assert loop._target_ == f"{SeededAgentLoop.__module__}.{SeededAgentLoop.__qualname__}"


def test_the_heads_that_plans_allow_are_those_that_the_backend_has() -> None:
    assert tuple(CPUAttentionBackend.get_supported_head_sizes()) == CPU_HEAD_SIZES
