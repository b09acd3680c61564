"""vLLM's own checks of its arguments, at the sizes of the configurations for GPUs: no weights, no GPU.

verl's own server makes them, up to where its engine would start: context lengths, batches, heads over GPUs,
precision; and beside them chat template, and the tokens that end an answer.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import vllm
from hydra import compose, initialize_config_module
from verl.workers.config import HFModelConfig
from verl.workers.rollout.vllm_rollout import vllm_async_server
from vllm.config import VllmConfig
from vllm.engine.arg_utils import EngineArgs
from vllm.v1.core.kv_cache_utils import check_enough_kv_cache_memory
from vllm.v1.kv_cache_interface import FullAttentionSpec

from configurations import ROOT, experiment, render_rl
from grrm.catalogue.trainings import TRAININGS, Training
from grrm.config import compared_models, planned_trainings, taken_models, trained_stages, value_of
from grrm.engines.verl import MODEL, rl_overrides
from grrm.engines.verl_judges import judge_overrides
from grrm.engines.verl_launch import hydra_arguments
from grrm.engines.verl_rewards import JUDGE, Overrides
from grrm.inference import Engine
from grrm.inference.vllm_backend import VllmBackend
from grrm.verl_plugin.seeded_loop import further_ends
from grrm.verl_plugin.vllm_replica import EndingServer
from on_cpu import SERVER_CHANGES
from qwen_models import END_OF_TURN, SHAPES, Shape, save_model
from vllm_server import server_alone, without_ray

Overlays = tuple[str, ...]
# Under the judge's and the policy's section: the server's configuration.
POLICY_SERVER, JUDGE_SERVER = "actor_rollout_ref", "reward.reward_model"
PROMPT = [{"role": "user", "content": "a frog"}]


@cache
def for_gpus() -> list[Overlays]:
    """The combinations of files that the configurations for GPUs say they are for."""
    combinations = set()
    for file in sorted((ROOT / "config").glob("*.yaml")):
        header = file.read_text(encoding="utf-8").partition("\n\n")[0]
        for found in re.findall(r"--configfile((?: \S+\.yaml)+)", header):
            names = tuple(Path(name).stem for name in found.split())
            if experiment(*names)["hardware"]["device"] == "cuda":
                combinations.add(names)
    return sorted(combinations)


def trainings(config: dict[str, Any]) -> list[Training]:
    """Those in which verl's servers generate; of what is laid over the paper's chain, its own alone."""
    if config["rl_engine"] != "verl":
        return []  # the fork has a vLLM of its own
    rows = [row for row in planned_trainings(config) if row.engine == "rl"]
    return [row for row in rows if row.part] or [row for row in rows if row.name in trained_stages(config)]


RUNS = [(*overlays, row.name) for overlays in for_gpus() for row in trainings(experiment(*overlays))]


def origin(config: dict[str, Any], row: Training) -> tuple[str, bool]:
    """The model that a training starts from at the hub, and whether supervised training comes between."""
    taken, supervised = taken_models(config), False
    while (name := row.taken if row.taken in taken else row.start) not in taken:
        row, supervised = TRAININGS[name], True
    return taken[name], supervised


def rendered(config: dict[str, Any], row: Training) -> Overrides:
    """What verl would be given, but that a CPU does not know sleep mode."""
    assert "enable_sleep_mode" in SERVER_CHANGES
    settings, files = value_of(config, row.section), Path("nowhere")
    given: dict[str, Any] = {"model": files, "data": files, "checkpoints": files, "seed": config["seed"]}
    given |= {"stage": row.name, "hardware": config["hardware"], "validation_data": files}
    if not row.part:
        overrides = render_rl(config, row.name)
    elif row.part == "judges":
        overrides = judge_overrides(settings, reward=row.name.partition("_")[2], tag="verdict", **given)
    else:
        overrides = rl_overrides(settings, task="conversation", judge_prompt="prompt.yaml", **given)
    return overrides | {
        f"+{section}.rollout.enable_sleep_mode": False
        for section, key in ((POLICY_SERVER, MODEL), (JUDGE_SERVER, JUDGE))
        if key in overrides
    }


class CheckedError(Exception):
    """The engine would start now."""


class Servers:
    """Makes verl's servers up to their engine.

    Args:
        patch: undone after the test.
        folder: for models.
    """

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self._folder, self.shapes = folder, dict[Path, Shape]()
        without_ray(patch.setattr)
        patch.setattr(vllm_async_server.AsyncLLM, "from_vllm_config", self._checked)

    def _checked(self, vllm_config: VllmConfig, **_: Any) -> None:
        raise CheckedError(vllm_config)

    def model(self, hub: str, supervised: bool) -> Path:
        """A folder with that model's configuration; SFT by LLaMA-Factory ends texts where a turn ends."""
        folder = self._folder / f"{hub.replace('/', '-')}-{supervised}"
        if not folder.exists():
            save_model(SHAPES[hub], folder, eos=END_OF_TURN if supervised else None)
        self.shapes[folder] = SHAPES[hub]
        return folder

    def check(self, rollout: Any, model: Any) -> tuple[EndingServer, VllmConfig]:
        """The server of a composed section, and what vLLM made of its arguments."""
        server = server_alone(rollout, model, gpus=8)
        with pytest.raises(CheckedError) as checked:
            asyncio.run(server.launch_server())
        (vllm_config,) = checked.value.args
        return server, vllm_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def servers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    before = dict(os.environ)  # vLLM sets variables while it looks at its arguments
    yield Servers(monkeypatch, folder)
    os.environ.clear()
    os.environ |= before


def sections(servers: Servers, run: Overlays, **changes: Any) -> Iterator[tuple[Any, Any]]:
    """The policy's server and the judge's, if verl serves one: sections of verl's whole configuration."""
    *overlays, name = run
    config = experiment(*overlays)
    row = TRAININGS[name]
    settings = value_of(config, row.section)
    settings |= changes
    overrides = rendered(config, row)
    overrides[MODEL] = str(servers.model(*origin(config, row)))
    if JUDGE in overrides:
        hub, _ = origin(config, TRAININGS[row.judge])
        overrides[JUDGE] = str(servers.model(hub, True))
    with initialize_config_module("verl.trainer.config", version_base=None):
        whole = compose("ppo_trainer", overrides=hydra_arguments(overrides))
    yield whole.actor_rollout_ref.rollout, whole.actor_rollout_ref.model
    if JUDGE in overrides:
        yield whole.reward.reward_model.rollout, HFModelConfig(path=overrides[JUDGE])


# GPUs that the configurations are for, in bytes.
MEMORY = {"one_gpu": 24e9}
LARGE = 80e9


def room_for_the_longest(vllm_config: VllmConfig, shape: Shape, memory: float) -> None:
    """vLLM's own look at whether its cache holds one text of the longest it takes, beside the weights."""
    model, parallel = vllm_config.model_config, vllm_config.parallel_config
    layer = FullAttentionSpec(
        block_size=vllm_config.cache_config.block_size,
        num_kv_heads=model.get_num_kv_heads(parallel),
        head_size=model.get_head_size(),
        dtype=model.dtype,
    )
    free = vllm_config.cache_config.gpu_memory_utilization * memory
    free -= 2 * shape.parameters / parallel.tensor_parallel_size
    layers = {f"layer {number}": layer for number in range(model.get_num_layers(parallel))}
    check_enough_kv_cache_memory(vllm_config, layers, int(free))


@pytest.mark.parametrize("run", RUNS, ids="-".join)
def test_vllm_takes_what_is_configured(servers: Servers, run: Overlays) -> None:
    (policy, own), *judges = sections(servers, run)
    for rollout, model in [(policy, own), *judges]:
        server, vllm_config = servers.check(rollout, model)
        longest = rollout.prompt_length + rollout.response_length
        assert longest <= vllm_config.model_config.max_model_len
        scheduled = vllm_config.scheduler_config
        assert scheduled.enable_chunked_prefill or scheduled.max_num_batched_tokens >= longest
        assert str(vllm_config.model_config.dtype) == "torch.bfloat16"
        assert vllm_config.parallel_config.tensor_parallel_size == rollout.tensor_model_parallel_size
        memory = next((MEMORY[name] for name in run if name in MEMORY), LARGE)
        room_for_the_longest(vllm_config, servers.shapes[Path(server.model_config.local_path)], memory)
        tokenizer = server.model_config.tokenizer
        asked = tokenizer.apply_chat_template(PROMPT, add_generation_prompt=True, tokenize=False)
        assert asked.endswith("<|im_end|>\n<|im_start|>assistant\n")
        # What is asked over HTTP, as a judge is, names no further ends.
        further = further_ends(tokenizer) if rollout is policy else {}
        ends = {tokenizer.eos_token_id, *further.get("stop_token_ids", [])}
        assert tokenizer.convert_tokens_to_ids(END_OF_TURN) in ends


@pytest.mark.parametrize(
    ("run", "changes", "refused"),
    [
        (("paper", "mt_grpo"), {"tensor_parallel": 8}, r"attention heads \(28\) must be divisible"),
        (("paper", "mt_grpo"), {"max_model_len": 131_073}, "max_model_len .131073. should be less"),
        (("paper", "mt_grpo"), {"max_num_batched_tokens": 255}, "max_num_batched_tokens .255. must be"),
    ],
)
def test_it_would_not_take_anything(
    servers: Servers, run: Overlays, changes: dict[str, Any], refused: str
) -> None:
    rollout, model = next(sections(servers, run))
    renamed = {"tensor_parallel": "tensor_model_parallel_size"}
    for key, value in changes.items():
        rollout[renamed.get(key, key)] = value
    with pytest.raises((ValueError, AssertionError), match=refused):
        servers.check(rollout, model)


def test_nor_a_cache_without_room(servers: Servers) -> None:
    rollout, model = next(sections(servers, ("paper", "mt_grpo")))
    server, vllm_config = servers.check(rollout, model)
    shape = servers.shapes[Path(server.model_config.local_path)]
    with pytest.raises(ValueError, match=r"max seq len \(131072\), \(7.0 GiB KV cache is needed"):
        room_for_the_longest(vllm_config, shape, 32e9)


@pytest.mark.parametrize("overlays", for_gpus(), ids="-".join)
def test_answers_of_the_evaluation_fit_beside_their_prompts(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, overlays: Overlays
) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(vllm, "LLM", lambda **arguments: made.append(arguments) or MagicMock())
    config = experiment(*overlays)
    evaluate, taken = config["evaluate"], taken_models(config)
    longest = {"ranking": "grrm_rlvr", "translation": "mt_grpo"}
    for task, names in compared_models(config).items():
        for name in names:
            hub = taken[name] if name in taken else origin(config, TRAININGS[name])[0]
            VllmBackend(
                servers.model(hub, name not in taken), Engine("vllm", gpus=evaluate["gpus"]), cpu=False
            )
            made_of = EngineArgs(**made.pop()).create_engine_config()
            room = made_of.model_config.max_model_len - evaluate[task]["max_new_tokens"]
            assert room >= config[longest[task]]["max_prompt_length"]
            assert str(made_of.model_config.dtype) == "torch.bfloat16"
