"""What the engines of the judges are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import render_judge_rl
from configurations import ROOT, experiment
from grrm.config import resolve_experiment, taken_models
from grrm.engines.ray_address import join_cluster, submit
from grrm.engines.trl import bradley_terry_config, command, weights_dtype
from grrm.engines.verl_judges import judge_overrides
from grrm.engines.verl_launch import launch_overrides
from grrm.files import UserError
from grrm.rewards import pairwise, pointwise
from grrm.slurm.ray_step import handed_on

SCHEMA = ROOT / "config/schemas/config.schema.yaml"
ACTOR = "actor_rollout_ref.actor"


def overrides(config: dict[str, Any], kind: Any, *, tag: str = "verdict", **changes: Any) -> dict[str, Any]:
    return judge_overrides(
        {**config["judges"][kind], **changes},
        stage=f"judge_{kind}",
        reward=kind,
        tag=tag,
        model=Path("m"),
        data=Path("d.parquet"),
        checkpoints=Path("c"),
        seed=0,
        hardware=config["hardware"],
        validation_data=Path("v.parquet"),
    )


@pytest.mark.parametrize("kind", ["pointwise", "pairwise"])
def test_published_grpo_of_judges(kind: str) -> None:
    found = overrides(experiment("paper", "judges_paper"), kind)
    published = {
        "data.train_batch_size": 96,
        "data.val_batch_size": 192,
        "data.max_prompt_length": 4096,
        "data.max_response_length": 2048,
        "data.filter_overlong_prompts": True,
        "algorithm.adv_estimator": "grpo",
        "algorithm.norm_adv_by_std_in_grpo": True,
        "algorithm.use_kl_in_reward": False,
        f"{ACTOR}.ppo_mini_batch_size": 24,
        f"{ACTOR}.ppo_micro_batch_size_per_gpu": 1,
        f"{ACTOR}.use_kl_loss": True,
        f"{ACTOR}.kl_loss_coef": 0.001,
        f"{ACTOR}.kl_loss_type": "low_var_kl",
        f"{ACTOR}.policy_loss.loss_mode": "vanilla",
        f"{ACTOR}.loss_agg_mode": "token-mean",
        f"{ACTOR}.optim.lr": 1e-6,
        "actor_rollout_ref.rollout.n": 4,
        "actor_rollout_ref.rollout.name": "vllm",
        "actor_rollout_ref.rollout.tensor_model_parallel_size": 8,
        "actor_rollout_ref.rollout.gpu_memory_utilization": 0.6,
        "reward.reward_manager.name": "naive",
        "reward.custom_reward_function.path": f"pkg://grrm.rewards.{kind}",
        "trainer.n_gpus_per_node": 8,
        "trainer.save_freq": 20,
        "trainer.test_freq": {"pointwise": 10, "pairwise": 4}[kind],
        "trainer.total_epochs": {"pointwise": 1, "pairwise": 30}[kind],
        "trainer.val_before_train": False,
    }
    assert {key: found[key] for key in published} == published


def test_the_reward_table_is_selectable() -> None:
    key = "+reward.custom_reward_function.reward_kwargs"
    config = experiment("judges")
    assert overrides(config, "pointwise", reward_table="exponential")[key]["table"] == "exponential"
    assert "table" not in overrides(config, "pairwise")[key]


@pytest.mark.parametrize(("kind", "answer", "truth"), [("pointwise", "4", 4), ("pairwise", "tie", "tie")])
def test_the_tag_of_the_prompt_is_the_one_that_earns(
    kind: str, answer: str, truth: Any, tmp_path: Path
) -> None:
    config = experiment("judges")
    prompt = yaml.safe_load((ROOT / config["judges"]["prompts"][kind]).read_text())
    (tmp_path / "prompt.yaml").write_text(yaml.safe_dump({**prompt, "tag": "verdict"}))
    render_judge_rl.main(
        [
            *("--kind", kind, "--settings", json.dumps(config["judges"][kind])),
            *("--prompt", str(tmp_path / "prompt.yaml"), "--model", "m", "--data", "d.parquet"),
            *("--validation-data", "v.parquet", "--checkpoints", "c"),
            *("--output", str(tmp_path / "rl.yaml")),
        ]
    )
    rendered = yaml.safe_load((tmp_path / "rl.yaml").read_text())
    options = rendered["+reward.custom_reward_function.reward_kwargs"]
    reward = {"pointwise": pointwise.compute_score, "pairwise": pairwise.compute_score}[kind]
    assert reward("x", f"<verdict>{answer}</verdict>", truth, **options)["score"] == 1
    assert reward("x", f"<better>{answer}</better><score>{answer}</score>", truth, **options)["valid"] == 0


def test_consistency_keeps_both_orders_in_one_step() -> None:
    found = overrides(experiment("judges"), "pairwise", consistency=0.3)
    assert found["reward.reward_manager.name"] == "ConsistencyRewardManager"
    assert (found["data.shuffle"], found["reward.num_workers"]) == (False, 1)
    assert found["+reward.reward_kwargs.tag"] == "verdict"
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config |= yaml.safe_load((ROOT / "config/judges.yaml").read_text())
    config["judges"]["pairwise"] |= {"consistency": 0.3, "train_batch_size": 15, "mini_batch_size": 15}
    with pytest.raises(UserError, match=r"judges\.pairwise\.train_batch_size is 15, expected an even number"):
        resolve_experiment(config, SCHEMA)


def test_published_bradley_terry() -> None:
    config = experiment("paper", "judges_paper")
    settings = config["judges"]["bradley_terry"]
    found = bradley_terry_config(
        settings, model=Path("m"), data=Path("d"), output_dir=Path("c"), seed=1, hardware=config["hardware"]
    )
    training = found["training"]
    pairs = training["per_device_train_batch_size"] * training["gradient_accumulation_steps"] * 8
    assert (pairs, training["learning_rate"], training["num_train_epochs"]) == (256, 2e-6, 3.0)
    assert (training["warmup_steps"], training["weight_decay"], training["max_grad_norm"]) == (
        0.03,
        0.001,
        2.0,
    )
    assert (found["max_length"], training["bf16"], training["gradient_checkpointing"]) == (4096, True, True)
    assert command(found, "p", Path("x.yaml"))[:6] == ["p", "-m", "torch.distributed.run", "--standalone",
                                                       "--nproc-per-node", "8"]  # fmt: skip


def test_small_steps_are_not_lost_in_the_weights_of_bradley_terry() -> None:
    config = experiment("paper", "judges_paper")
    common: dict[str, Any] = {"model": Path("m"), "data": Path("d"), "output_dir": Path("c"), "seed": 1}
    found = bradley_terry_config(config["judges"]["bradley_terry"], hardware=config["hardware"], **common)
    assert (found["training"]["bf16"], weights_dtype(found)) == (True, "float32")
    found["training"]["deepspeed"] = {"zero_optimization": {"stage": 3}}  # it keeps float32 weights itself
    assert weights_dtype(found) == "bfloat16"
    assert weights_dtype(found | {"precision": "fp32"}) == "float32"


# ---------------------------------------------------------------- variables of the published scripts


def with_variables(overlays: list[str], **variables: str) -> dict[str, Any]:
    return resolve_experiment(experiment(*overlays), SCHEMA, variables)


def test_variables_go_before_keys_and_are_kept() -> None:
    variables = {
        "MODEL_PATH": "Qwen/Qwen3-32B",
        "N_GPUS_PER_NODE": "4",
        "TRAIN_BATCH_SIZE": "48",
        "OTHER": "x",
    }
    config = with_variables(["paper", "judges_paper"], **variables)
    judges = config["judges"]
    assert {judges[name]["start_from"] for name in ("sft", "pointwise", "pairwise", "bradley_terry")} == {
        "Qwen/Qwen3-32B"
    }
    assert config["hardware"]["gpus_per_node"] == 4
    assert (judges["pointwise"]["train_batch_size"], judges["pairwise"]["train_batch_size"]) == (48, 48)
    for name in ("sft", "bradley_terry"):
        assert judges[name]["batch_size"] * judges[name]["gradient_accumulation"] * 4 == 48
    assert judges["environment"] == {key: value for key, value in variables.items() if key != "OTHER"}
    assert taken_models(config)["judge_pointwise_base"] == "Qwen/Qwen3-32B"


ALIGNMENT = ["paper", "small", "alignment_gpu"]


def test_variables_go_before_keys_of_the_alignment_and_are_kept() -> None:
    variables = {
        "MODEL_PATH": "Qwen/Qwen3-8B",
        "ACTOR_MODEL_PATH": "Qwen/Qwen2.5-1.5B",
        "N_GPUS_PER_NODE": "4",
        "TRAIN_BATCH_SIZE": "64",
        "RAY_ADDRESS": "auto",
    }
    config = with_variables(ALIGNMENT, **variables)
    grpo = config["alignment"]["grpo"]
    assert taken_models(config)["alignment_policy"] == "Qwen/Qwen2.5-1.5B"
    assert (config["hardware"]["gpus_per_node"], grpo["tensor_parallel"]) == (4, 4)
    assert (grpo["train_batch_size"], grpo["mini_batch_size"]) == (64, 8)
    del variables["MODEL_PATH"]
    assert config["alignment"]["environment"] == variables


@pytest.mark.parametrize(("gpus", "spread"), [("8", 4), ("2", 2), ("16", 4), ("1", 1)])
def test_a_model_that_spreads_over_a_part_of_a_machine_goes_on_to(gpus: str, spread: int) -> None:
    config = with_variables(ALIGNMENT, N_GPUS_PER_NODE=gpus, TRAIN_BATCH_SIZE="96")
    assert config["alignment"]["grpo"]["tensor_parallel"] == spread  # 28 heads, on 4 of 8
    config = with_variables(["paper", "judges_paper"], N_GPUS_PER_NODE=gpus, TRAIN_BATCH_SIZE="96")
    assert config["judges"]["pointwise"]["tensor_parallel"] == int(gpus)


def test_machines_rollouts_and_rows_of_the_alignment_come_from_the_environment() -> None:
    variables = {
        "N_NODES": "2",
        "N_SAMPLES_PER_PROMPT": "8",
        "TRAIN_DATA": "mine/train.parquet",
        "VAL_DATA": "mine/test.parquet",
    }
    before, config = experiment(*ALIGNMENT), with_variables(ALIGNMENT, **variables)
    assert (before["hardware"]["nodes"], config["hardware"]["nodes"]) == (1, 2)
    grpo, data = config["alignment"]["grpo"], config["alignment"]["data"]
    assert (grpo["rollouts"], grpo["tensor_parallel"]) == (8, before["alignment"]["grpo"]["tensor_parallel"])
    assert (data["train"], data["validation"]) == ("mine/train.parquet", "mine/test.parquet")
    assert config["alignment"]["environment"] == variables
    rows = [c["mt_sft"]["batch_size"] * c["mt_sft"]["gradient_accumulation"] for c in (before, config)]
    assert rows[0] == 2 * rows[1], "a step has the rows it had"
    assert with_variables(["judges"], TRAIN_DATA="t", VAL_DATA="v")["judges"]["environment"] == {}


def test_the_policy_starts_from_model_path_where_it_has_none_of_its_own() -> None:
    config = with_variables(ALIGNMENT, MODEL_PATH="Qwen/Qwen3-8B")
    assert config["alignment"]["grpo"]["start_from"] == "Qwen/Qwen3-8B"
    config = with_variables(["judges"], ACTOR_MODEL_PATH="Qwen/Qwen3-8B")
    assert config["judges"]["pointwise"]["start_from"] is None
    assert config["judges"]["environment"] == {}


def test_variables_do_not_reach_other_experiments() -> None:
    assert with_variables([], MODEL_PATH="x", N_GPUS_PER_NODE="8") == experiment()
    assert with_variables(["judges"], MODEL_PATH="") == experiment("judges")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"N_GPUS_PER_NODE": "eight"}, "N_GPUS_PER_NODE is 'eight' in the environment"),
        ({"TRAIN_BATCH_SIZE": "0"}, "TRAIN_BATCH_SIZE is '0' in the environment"),
        (
            {"N_SAMPLES_PER_PROMPT": "1"},
            "N_SAMPLES_PER_PROMPT is '1' in the environment, expected a number of at least 2",
        ),
        ({"N_NODES": "0"}, "N_NODES is '0' in the environment"),
        ({"N_NODES": "2"}, "hardware.nodes is 2, expected 1 with judges"),
        ({"TRAIN_DATA": "train.parquet"}, "expected a file for both or null for both"),
        ({"N_GPUS_PER_NODE": "2"}, "gpus_per_node is 2, expected 1 with hardware.device 'cpu'"),
    ],
)
def test_wrong_variables_are_named(variables: dict[str, str], words: str) -> None:
    with pytest.raises(UserError) as error:
        with_variables(["judges"], **variables)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"TRAIN_BATCH_SIZE": "100"},
            "TRAIN_BATCH_SIZE is 100: judges.sft cannot spread 100 rows a step evenly over 8 devices",
        ),
        (
            {"N_GPUS_PER_NODE": "5"},
            "N_GPUS_PER_NODE is 5: grrm_sft cannot spread 32 rows a step evenly over 5 devices",
        ),
    ],
)
def test_a_batch_that_does_not_spread_is_named(variables: dict[str, str], words: str) -> None:
    with pytest.raises(UserError) as error:
        with_variables(["paper", "judges_paper"], **variables)
    assert words in str(error.value)


def rows_a_step(config: dict[str, Any], name: str) -> int:
    stage, hardware = config["judges"][name], config["hardware"]
    devices = hardware["nodes"] * hardware["gpus_per_node"]
    return int(stage["batch_size"] * stage["gradient_accumulation"] * devices)


@pytest.mark.parametrize(("rows", "mini"), [(32, 8), (48, 24), (64, 8), (96, 24), (128, 8), (192, 24)])
def test_usual_batches_fit_the_published_judges(rows: int, mini: int) -> None:
    config = with_variables(["paper", "judges_paper"], TRAIN_BATCH_SIZE=str(rows))
    published, judges = experiment("paper", "judges_paper")["judges"], config["judges"]
    for kind in ("pointwise", "pairwise"):
        assert (judges[kind]["train_batch_size"], judges[kind]["mini_batch_size"]) == (rows, mini)
    for name in ("sft", "bradley_terry"):
        assert rows_a_step(config, name) == rows
        assert judges[name]["batch_size"] <= published[name]["batch_size"], "memory is what it was"


def test_a_batch_of_any_size_is_put_together_on_one_device() -> None:
    config = with_variables(["judges"], TRAIN_BATCH_SIZE="100")
    assert (config["judges"]["sft"]["batch_size"], rows_a_step(config, "sft")) == (50, 100)
    assert config["judges"]["pointwise"]["mini_batch_size"] == 4


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
def test_fewer_gpus_keep_every_batch_and_hold_vllm_among_them(gpus: int) -> None:
    config = with_variables(["paper", "judges_paper"], N_GPUS_PER_NODE=str(gpus))
    assert (rows_a_step(config, "sft"), rows_a_step(config, "bradley_terry")) == (96, 256)
    for kind in ("pointwise", "pairwise"):
        rendered = overrides(config, kind)
        assert rendered["actor_rollout_ref.rollout.tensor_model_parallel_size"] == gpus
        assert rendered["trainer.n_gpus_per_node"] == gpus
        assert rendered["data.train_batch_size"] == 96
    published = experiment("paper", "judges_paper")
    for name in ("grrm_sft", "mt_sft"):
        before, now = published[name], config[name]
        assert 8 * before["batch_size"] * before["gradient_accumulation"] == (
            gpus * now["batch_size"] * now["gradient_accumulation"]
        )


# ---------------------------------------------------------------- RAY_ADDRESS


# What was set for the engine, and the user's settings of it; no secrets, nothing of this machine.
HANDED = {
    "HF_HUB_OFFLINE": "1",
    "WANDB_MODE": "offline",
    "PYTHONPATH": "scripts",
    "OMP_NUM_THREADS": "1",
    "VERL_FILE_LOGGER_PATH": "/m",
}


def launch(address: str, tmp_path: Path) -> tuple[dict[str, Any], list[str]]:
    rendered = overrides(experiment("judges"), "pointwise")
    inherited = {"HF_TOKEN": "secret", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "HOME": "/root"}
    tracked = {"WANDB_API_KEY": "secret", "MLFLOW_TRACKING_URI": "https://me:secret@mlflow"}
    own = {"PYTHONPATH": "scripts", "TMPDIR": "/tmp/x", "OMP_NUM_THREADS": "1", "VERL_FILE_LOGGER_PATH": "/m"}
    handed = handed_on({**inherited, **tracked, **own}, {**inherited, **tracked})
    assert handed == HANDED
    rendered = launch_overrides(rendered, temporary=tmp_path, ledger=tmp_path / "l")
    return join_cluster(rendered, address, handed), submit(["/e/bin/python", "-m", "x"], handed, address)


def test_a_cluster_is_joined_by_the_trainer(tmp_path: Path) -> None:
    found, command = launch("10.0.0.1:6379", tmp_path)
    ray = {key: value for key, value in found.items() if "ray_init" in key}
    assert ray == {
        "+ray_kwargs.ray_init.address": "10.0.0.1:6379",
        "+ray_kwargs.ray_init.runtime_env": {"env_vars": HANDED},
    }
    assert command == ["/e/bin/python", "-m", "x"]


def test_a_dashboard_is_handed_a_job_without_secrets(tmp_path: Path) -> None:
    found, command = launch("http://127.0.0.1:8265", tmp_path)
    assert found["+ray_kwargs.ray_init.address"] == "auto"
    assert command[:5] == ["/e/bin/ray", "job", "submit", "--address", "http://127.0.0.1:8265"]
    assert command[-4:] == ["--", "/e/bin/python", "-m", "x"]
    assert json.loads(command[6]) == {"env_vars": HANDED}
    assert not any("runtime_env" in key for key in found), "the job has them"
