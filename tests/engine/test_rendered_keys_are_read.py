"""Every key that is rendered for verl is read by what runs, and does not only land in its configuration.

verl composes keys that nothing reads any more. What counts as reading is an access, in the source of what
runs on that device, to the last part of a key, on something that stands for the section:
`optimizer_config.clip_grad` reads `actor.optim.clip_grad`, and nothing reads `actor.grad_clip`. LLaMA-Factory
needs no such proof: its parser refuses a key that is no field of its arguments.
"""

import ast
import functools
import inspect
import re
from collections import defaultdict
from pathlib import Path

import pytest

pytest.importorskip("verl")

import ray
import transfer_queue
import verl
from omegaconf import OmegaConf
from test_judge_configs import RUNS as JUDGES
from test_judge_configs import overrides as judge_overrides
from test_verl_config import KINDS, RUNS, composed, other_kind, overrides

import grrm

PACKAGES = {"verl": verl, "grrm": grrm, "transfer_queue": transfer_queue}
# Of verl, what does not run here: the trainer of the years before, other trainers, engines and servers.
LEFT_OUT = re.compile(
    r"verl/(trainer/(main_ppo_v0|main_generation|main_eval|sft_trainer|distillation|fsdp_sft|ppo/ray_trainer"
    r"|ppo/v1/trainer_(separate|colocate)_async)|experimental/(fully_async|one_step_off|separation|vla|teacher)"
    r"|workers/(engine_workers_tinker|engine/(megatron|veomni|automodel|torchtitan|mindspeed)"
    r"|engine/fsdp/fsdp_turbo|rollout/(sglang|trtllm|hf_rollout|naive)|reward_manager)"
    r"|models|model_merger|third_party|utils/(megatron|skip|debug|profiler|sglang|dataset/(multiturn_sft|rm_)))"
    r"|grrm/(engines|report|preflight|config)/"
)
# Servers of rollouts, by device.
SERVERS = {
    "cpu": re.compile(r"rollout/vllm_rollout|utils/vllm"),  # not there
    "cuda": re.compile(r"verl_plugin/(rollout|server|generation)"),
}

# What stands for a section where it is read: the name of a variable or attribute; @: in these files only.
READERS = {
    "actor_rollout_ref.actor": (
        "actor actor_config config@workers/utils/losses.py config@core_algos.py config@verl_plugin/losses.py"
    ),
    "actor_rollout_ref.actor.checkpoint": "checkpoint_config",
    "actor_rollout_ref.actor.fsdp_config": "engine_config@engine/fsdp/",
    "actor_rollout_ref.actor.optim": (
        "optim_config@engine/fsdp/ optimizer_config@engine/fsdp/ config@config/optimizer.py"
    ),
    "actor_rollout_ref.actor.policy_loss": "policy_loss",
    "actor_rollout_ref.model": "model model_config self@workers/config/model.py",
    "actor_rollout_ref.model.lora": "lora",
    "actor_rollout_ref.model.override_config": "override_config",
    "actor_rollout_ref.ref": "ref",
    "actor_rollout_ref.ref.fsdp_config": "engine_config",
    "actor_rollout_ref.rollout": (
        "rollout rollout_config config@rollout/vllm_rollout config@rollout/replica.py "
        "config@verl_plugin/ config@agent_loop"
    ),
    "actor_rollout_ref.rollout.agent": "agent",
    "actor_rollout_ref.rollout.val_kwargs": "val_kwargs",
    "algorithm": "algorithm config@core_algos.py",
    "data": "data data_config config@dataset/rl_dataset.py",
    "reward": "reward",
    "reward.custom_reward_function": "custom_reward_function reward_fn_config@ppo/reward.py",
    "reward.reward_manager": "reward_manager_cfg",
    "reward.reward_manager.module": "module_cfg module",
    "reward.reward_model": "reward_model config@reward_loop/reward_model.py",
    "reward.reward_model.rollout": (
        "rollout_config rollout@reward_loop/ config@rollout/vllm_rollout config@verl_plugin/ "
        "_rollout@rewards/"
    ),
    "trainer": "trainer",
    "trainer.v1": "v1",
    "trainer.v1.sampler.custom_sampler": "custom_sampler",
    "transfer_queue.backend.SimpleStorage": "simple_storage_config",
    # Managers of rewards, and what they ask.
    "reward.reward_kwargs": "options _options reward_kwargs kwargs part self@kinds/options.py",
    "reward.reward_kwargs.judge": "options _options",
    "reward.reward_kwargs.model": "options _options model",
    "reward.reward_kwargs.overlong_buffer_cfg": "overlong_buffer_cfg",
}
# Sections that are handed on whole, to what refuses what it does not know.
HANDED_ON = {
    "hydra": "Hydra's own",
    "actor_rollout_ref.actor._target_": "Hydra's own: the class of the section",
    "ray_kwargs.ray_init": "ray.init",
}
# Read under another name.
FORWARDED = {
    # by FSDPActorConfig
    "actor_rollout_ref.actor.ulysses_sequence_parallel_size": (
        "actor_rollout_ref.actor.fsdp_config.ulysses_sequence_parallel_size"
    ),
    "actor_rollout_ref.ref.strategy": "actor_rollout_ref.ref.fsdp_config.strategy",
}
UNREAD = {
    "critic": "published; the objective has no critic, so none is made",
    "algorithm.kl_ctrl": "published; without a KL term in the reward it has no weight",
    "actor_rollout_ref.ref": "published; without a KL loss there is no reference model",
}


def _on(node):
    """What an access is on, in a word."""
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(name)), *_]):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
    return ""


def _access(node):
    """Key and what it is read of; None for another expression."""
    match node:
        case ast.Attribute(value=on, attr=key, ctx=ast.Load()):
            return key, _on(on)
        case ast.Subscript(value=on, slice=ast.Constant(value=str(key)), ctx=ast.Load()):
            return key, _on(on)
        case ast.Call(
            func=ast.Attribute(value=on, attr="get" | "pop"), args=[ast.Constant(value=str(key)), *_]
        ):
            return key, _on(on)
        case ast.Call(func=ast.Name(id="getattr"), args=[on, ast.Constant(value=str(key)), *_]):
            return key, _on(on)
        case ast.Call(func=ast.Attribute(attr="select"), args=[_, ast.Constant(value=str(path)), *_]):
            *section, key = path.split(".")
            return key, section[-1] if section else ""
    return None


@functools.cache
def accesses():
    """Key -> what it is read of, and in which file."""
    found = defaultdict(set)
    for name, package in PACKAGES.items():
        root = Path(package.__file__).parent
        for path in root.rglob("*.py"):
            file = f"{name}/{path.relative_to(root)}"
            if LEFT_OUT.search(file):
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if access := _access(node):
                    found[access[0]].add((access[1], file))
    return found


@functools.cache
def aliases():
    """Key -> keys that take its value, in verl's own configuration."""
    found = defaultdict(set)

    def walk(node, path):
        for key, value in node.items():
            if isinstance(value, dict):
                walk(value, f"{path}{key}.")
            elif isinstance(value, str):
                for source in re.findall(r"\$\{(?:oc\.select:)?([\w.]+)", value):
                    found[source].add(f"{path}{key}")

    walk(OmegaConf.to_container(composed({}), resolve=False), "")
    for source, target in FORWARDED.items():
        found[source].add(target)
    return found


def is_read(key, device="cpu", seen=frozenset()):
    section, _, last = re.sub(r"\.parts\.\w+", "", key).rpartition(".")  # a part is a kind again
    for reader in READERS.get(section, "").split():
        name, _, where = reader.partition("@")
        for on, file in accesses()[last]:
            if on == name and where in file and not SERVERS[device].search(file):
                return True
    return any(is_read(alias, device, seen | {key}) for alias in aliases()[key] - seen)


def unread(given):
    """Keys of a rendered configuration that nothing reads, without those that are known not to be."""
    device = given["trainer.device"]
    without = set(UNREAD)
    if given["actor_rollout_ref.actor.use_kl_loss"]:
        without.remove("actor_rollout_ref.ref")
    return [
        key
        for key in (key.lstrip("+") for key in given)
        if not any(key == known or key.startswith(f"{known}.") for known in {*HANDED_ON, *without})
        and not is_read(key, device)
    ]


@pytest.mark.parametrize(("name", "stage"), RUNS)
def test_the_keys_of_a_stage_are_read(name, stage, tmp_path):
    assert unread(overrides(stage, tmp_path, name)) == []


@pytest.mark.parametrize(
    ("name", "stage", "hardware"),
    [
        *((name, "mt_grpo", "cpu") for name in KINDS),
        *((name, "mt_grpo", "cuda") for name in ("endpoint", "served")),
        *(("endpoint", "alignment", hardware) for hardware in ("cpu", "cuda")),
    ],
)
def test_the_keys_of_every_kind_of_reward_are_read(name, stage, hardware, tmp_path):
    assert unread(other_kind(name, tmp_path, stage, hardware)) == []


@pytest.mark.parametrize(("name", "kind", "changes"), JUDGES)
def test_the_keys_of_judges_are_read(name, kind, changes, tmp_path):
    assert unread(judge_overrides(name, kind, changes, tmp_path)) == []


@pytest.mark.parametrize(
    "key",
    [
        "actor_rollout_ref.actor.grad_clip",  # clips nothing: actor.optim.clip_grad does
        "actor_rollout_ref.actor.use_torch_compile",
        "actor_rollout_ref.actor.fsdp_config.dtype",
        "reward.reward_model.rollout.n",
        "reward_model.enable",
        "trainer.no_such_key",
    ],
)
def test_a_key_that_lands_but_is_not_read_is_found(key):
    assert not is_read(key, "cpu")
    assert not is_read(key, "cuda")


def test_what_is_handed_to_ray_is_one_of_its_arguments(tmp_path):
    known = inspect.signature(ray.init).parameters
    for key in overrides("mt_grpo", tmp_path):
        section, _, last = key.lstrip("+").rpartition(".")
        # Those with a line before them are keywords for tests and clusters of one's own.
        assert section != "ray_kwargs.ray_init" or last in known or last.startswith("_"), key


def test_the_reasons_are_needed(tmp_path):
    rendered = {key.lstrip("+") for name, stage in RUNS for key in overrides(stage, tmp_path, name)}
    for known in {*UNREAD, *HANDED_ON, *FORWARDED}:
        assert any(key == known or key.startswith(f"{known}.") for key in rendered), known
