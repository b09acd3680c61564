"""From a stage's settings to verl's overrides and the command that launches it."""

import json
import os
from pathlib import Path

import pytest
import yaml

import render_rl
from configurations import experiment
from configurations import render_rl as render_stage
from grrm.engines import verl_fork
from grrm.engines.verl import rl_overrides, total_steps
from grrm.engines.verl_launch import (
    command,
    environment,
    hydra_arguments,
    launch_overrides,
)
from grrm.engines.verl_vllm import KV_CACHE_MB

ROOT = Path(__file__).parent.parent.parent


def settings(stage):
    return experiment()[stage]


def render(stage, **changes):
    judged = stage == "mt_grpo"
    return rl_overrides(
        {**settings(stage), **changes},
        stage=stage,
        model=Path("models/start"),
        data=Path("rows.parquet"),
        checkpoints=Path("checkpoints"),
        seed=7,
        judge=Path("models/judge") if judged else None,
        judge_prompt=Path("ranking.yaml") if judged else None,
    )


def launch(tmp_path):
    """Arguments of a launch's environment besides the configuration."""
    metrics = tmp_path / "m.jsonl"
    return {
        "python": "env/bin/python",
        "scripts": ROOT / "scripts",
        "temporary": tmp_path,
        "metrics": metrics,
    }


@pytest.mark.parametrize("stage", ["grrm_rlvr", "mt_grpo"])
def test_the_published_objective(stage):
    overrides = render(stage)
    actor = "actor_rollout_ref.actor"
    assert overrides["algorithm.adv_estimator"] == "grpo"
    assert overrides["algorithm.norm_adv_by_std_in_grpo"] is False
    assert overrides[f"{actor}.use_kl_loss"] is False
    assert overrides[f"{actor}.loss_agg_mode"] == "seq-mean-token-mean"
    assert (overrides[f"{actor}.clip_ratio_low"], overrides[f"{actor}.clip_ratio_high"]) == (3e-4, 4e-4)


def test_rankings_are_verified_by_the_dapo_manager_without_the_likelihood_term():
    overrides = render("grrm_rlvr")
    assert overrides["reward.reward_manager.name"] == "dapo"
    assert overrides["reward.custom_reward_function.path"] == "pkg://grrm.rewards.ranking_score"
    assert overrides["actor_rollout_ref.actor.policy_loss.loss_mode"] == "gspo"
    assert not any("sft_coef" in key or "reward_model" in key for key in overrides)


def test_translations_are_judged_in_groups_with_the_likelihood_term():
    overrides = render("mt_grpo")
    assert overrides["reward.reward_manager.name"] == "GroupRewardManager"
    assert overrides["reward.num_workers"] == 1
    assert overrides["reward.reward_model.model_path"] == "models/judge"
    assert overrides["+reward.reward_kwargs.prompt"] == "ranking.yaml"
    assert overrides["actor_rollout_ref.actor.policy_loss.loss_mode"] == "gspo_sft"
    assert overrides["+actor_rollout_ref.actor.sft_coef"] == 0.1


def test_the_last_learning_rate_belongs_to_the_cosine():
    key = "actor_rollout_ref.actor.optim.min_lr_ratio"
    assert key not in render("grrm_rlvr", lr_scheduler="constant")
    assert render("grrm_rlvr", lr_scheduler="cosine")[key] == 0.2


@pytest.mark.parametrize("stage", ["grrm_rlvr", "mt_grpo"])
def test_sections_that_verl_ignores_are_not_used(stage):
    ignored = {"reward_model", "custom_reward_function", "sandbox_fusion"}
    assert not ignored & {key.lstrip("+").split(".")[0] for key in render(stage)}


def test_threads_of_the_rule_do_not_make_another_training():
    assert render("mt_grpo", threads=1) == render("mt_grpo", threads=8)


def test_nothing_of_this_machine_is_in_the_rendered_file(tmp_path):
    output = tmp_path / "grrm_rlvr.yaml"
    render_rl.main(
        [
            *["--stage", "grrm_rlvr", "--settings", json.dumps(settings("grrm_rlvr"))],
            *["--model", "results/m", "--data", "results/d", "--checkpoints", "results/c"],
            *["--seed", "7", "--output", str(output)],
        ]
    )
    text = output.read_text()
    assert "/tmp" not in text
    assert str(ROOT) not in text
    assert os.uname().nodename not in text
    expected = render("grrm_rlvr") | {
        "actor_rollout_ref.model.path": "results/m",
        "data.train_files": "results/d",
        "data.val_files": "results/d",
        "trainer.default_local_dir": "results/c",
    }
    assert yaml.safe_load(text) == expected


def test_a_judge_without_its_prompt_is_refused(tmp_path, capsys):
    arguments = [
        "--stage",
        "mt_grpo",
        "--settings",
        '{"reward": {"kind": "grrm"}}',
        "--model",
        "m",
        "--data",
        "d",
        "--checkpoints",
        "c",
    ]
    with pytest.raises(SystemExit):
        render_rl.main([*arguments, "--reward-model", "j", "--output", str(tmp_path / "x")])
    assert "a judge needs --judge-prompt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, "null"),
        (1e-5, "1e-05"),
        ("1e-5", '"1e-5"'),
        ("a, 'b' \"c\"", '"a, \'b\' \\"c\\""'),
        (["model", "extra"], '["model","extra"]'),
        ({"dtype": "fp32"}, '{dtype:"fp32"}'),
    ],
)
def test_values_on_the_command_line(value, text):
    assert hydra_arguments({"key": value}) == [f"key={text}"]


def test_a_launch_adds_what_belongs_to_this_machine(tmp_path):
    config = render("mt_grpo")
    overrides = launch_overrides(config, temporary=Path("/tmp/x"), ledger=tmp_path / "ledger.jsonl")
    assert overrides["+ray_kwargs.ray_init.address"] == "local"
    assert overrides["+ray_kwargs.ray_init._node_ip_address"] == "127.0.0.1"
    assert overrides["+ray_kwargs.ray_init.num_gpus"] == 2
    assert overrides["+reward.reward_kwargs.ledger"] == str(tmp_path / "ledger.jsonl")
    assert overrides["actor_rollout_ref.model.path"] == str(Path("models/start").absolute())
    assert overrides["+reward.reward_kwargs.prompt"] == str(Path("ranking.yaml").absolute())


def test_verified_rankings_need_no_second_model_and_no_ledger(tmp_path):
    overrides = launch_overrides(render("grrm_rlvr"), temporary=tmp_path, ledger=tmp_path / "ledger")
    assert overrides["+ray_kwargs.ray_init.num_gpus"] == 1
    assert not any("ledger" in key for key in overrides)


def test_the_engine_never_joins_another_cluster(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    variables = environment(render("grrm_rlvr"), **launch(tmp_path))
    assert "RAY_ADDRESS" not in variables
    assert variables["VERL_PLATFORM"] == "cpu"
    assert variables["VERL_USE_EXTERNAL_MODULES"] == "grrm.verl_plugin.register"
    assert variables["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT / "scripts")


def test_what_vllm_compiles_finds_the_programs_of_its_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/usr/bin")
    variables = environment(render_paper("mt_grpo"), **launch(tmp_path))
    assert variables["PATH"] == f"{Path('env/bin').absolute()}:/usr/bin"
    assert variables["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
    # From conda or a container, where its name is all that is known.
    named = environment(render_paper("mt_grpo"), **launch(tmp_path) | {"python": "python"})
    assert named["PATH"] == "/usr/bin"


@pytest.mark.parametrize("cuda", [False, True])
def test_rollouts_of_vllm_have_seeds_of_their_own_which_make_no_other_training(cuda, tmp_path):
    rendered = render_paper("mt_grpo") if cuda else render("mt_grpo", rollout_engine="vllm")
    added = launch_overrides(rendered, temporary=tmp_path, ledger=tmp_path / "l").keys() - rendered.keys()
    agent = "actor_rollout_ref.rollout.agent"
    assert {f"{agent}.default_agent_loop", f"{agent}.agent_loop_config_path"} <= added
    own = launch_overrides(render("mt_grpo"), temporary=tmp_path, ledger=tmp_path / "l")
    assert f"{agent}.default_agent_loop" not in own


def test_a_vllm_server_on_a_cpu_has_the_memory_that_the_configuration_gives_it():
    reward = {**settings("mt_grpo")["reward"], "rollout_engine": "vllm"}
    rendered = render("mt_grpo", rollout_engine="vllm", reward=reward)
    for server in ("actor_rollout_ref.rollout", "reward.reward_model.rollout"):
        assert rendered[f"{server}.name"] == "vllm" and rendered[f"+{server}.enable_sleep_mode"] is False
        assert rendered[f"+{server}.engine_kwargs.vllm.kv_cache_memory_bytes"] == KV_CACHE_MB << 20
    # Only what is asked for: the default's configuration stays as it was.
    assert not [key for key in render("mt_grpo") if "vllm" in key or "enforce_eager" in key]
    config = experiment("vllm")
    config["hardware"]["kv_cache_mb"] = 40
    rendered = render_stage(config, "grrm_rlvr")
    assert rendered["+actor_rollout_ref.rollout.engine_kwargs.vllm.kv_cache_memory_bytes"] == 40 << 20


@pytest.mark.parametrize(
    ("device", "module"), [("cuda", "verl.trainer.main_ppo"), ("cpu", "grrm.verl_plugin.main_ppo")]
)
def test_the_command_is_verls_trainer_and_on_a_cpu_its_launcher(device, module):
    assert command("/env/bin/python", {"a.b": 1, "trainer.device": device}) == [
        "/env/bin/python",
        "-m",
        module,
        "a.b=1",
        f'trainer.device="{device}"',
    ]


# ---------------------------------------------------------------- GPUs


def render_paper(stage, **changes):
    config = experiment("paper")
    judged = stage == "mt_grpo"
    return rl_overrides(
        {**config[stage], **changes},
        stage=stage,
        model=Path("models/start"),
        data=Path("rows.parquet"),
        checkpoints=Path("checkpoints"),
        seed=7,
        judge=Path("models/judge") if judged else None,
        judge_prompt=Path("ranking.yaml") if judged else None,
        hardware=config["hardware"],
        validation_data=None if judged else Path("validation.parquet"),
    )


def reward(**changes):
    return {**experiment("paper")["mt_grpo"]["reward"], **changes}


@pytest.mark.parametrize("stage", ["grrm_rlvr", "mt_grpo"])
def test_sixteen_gpus_train_and_generate_in_bf16(stage):
    overrides = render_paper(stage)
    assert (overrides["trainer.nnodes"], overrides["trainer.n_gpus_per_node"]) == (2, 8)
    assert overrides["actor_rollout_ref.actor.fsdp_config.model_dtype"] == "bf16"
    assert overrides["actor_rollout_ref.rollout.dtype"] == "bfloat16"
    assert overrides["actor_rollout_ref.rollout.name"] == "vllm"
    assert not [key for key in overrides if "mixed_precision" in key]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_full_precision_is_also_that_of_computing_and_of_the_reference_model(device):
    """verl computes in bfloat16 unless told, for each of the two models."""
    config = experiment("paper" if device == "cuda" else "smoke")
    config["hardware"]["precision"] = "fp32"
    full = {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
    workers = ["actor", "ref"]
    keys = [f"+actor_rollout_ref.{worker}.fsdp_config.mixed_precision" for worker in workers]
    held = render_stage(config, "grrm_rlvr", kl_coef=0.001)
    assert [held.get(key) for key in keys] == [full, full]
    free = render_stage(config, "grrm_rlvr")
    assert [free.get(key) for key in keys] == [full, None]


def test_a_colocated_judge_sleeps_while_the_policy_works():
    overrides = render_paper("mt_grpo")
    assert overrides["reward.reward_model.enable_resource_pool"] is False
    assert overrides["reward.reward_model.rollout.free_cache_engine"] is True
    assert overrides["trainer.v1.trainer_mode"] == "sync_group_reward"
    assert overrides["trainer.v1.sampler.custom_sampler.name"] == "WatchingReplayBuffer"


def test_a_dedicated_judge_has_gpus_of_its_own_and_never_sleeps():
    overrides = render_paper("mt_grpo", reward=reward(placement="dedicated", nodes=1, gpus_per_node=4))
    assert overrides["reward.reward_model.enable_resource_pool"] is True
    assert overrides["reward.reward_model.n_gpus_per_node"] == 4
    assert overrides["reward.reward_model.rollout.free_cache_engine"] is False
    assert "trainer.v1.trainer_mode" not in overrides
    assert overrides["trainer.v1.sampler.custom_sampler.name"] == "ReportingReplayBuffer"


def test_the_held_out_groups_are_validated_on_and_never_trained_on():
    overrides = render_paper("grrm_rlvr")
    assert overrides["data.val_files"] == "validation.parquet"
    assert overrides["data.train_files"] == "rows.parquet"
    assert "trainer.test_freq" in render_paper("mt_grpo")
    assert render_paper("mt_grpo")["trainer.test_freq"] == -1


def test_a_validation_without_its_rows_is_refused():
    config = experiment("paper")
    with pytest.raises(ValueError, match="rows"):
        rl_overrides(
            config["grrm_rlvr"],
            stage="grrm_rlvr",
            model=Path("m"),
            data=Path("d"),
            checkpoints=Path("c"),
            seed=0,
            hardware=config["hardware"],
        )


def test_the_steps_of_epochs_follow_from_the_rows():
    overrides = render_paper("mt_grpo")
    assert overrides["trainer.total_training_steps"] is None
    assert total_steps(overrides, 150_000) == 2 * (150_000 // 512)
    assert total_steps(render("mt_grpo"), 150_000) == 25


def test_gpus_are_counted_by_ray_itself_and_processors_are_not_logical(tmp_path):
    overrides = launch_overrides(render_paper("mt_grpo"), temporary=tmp_path, ledger=tmp_path / "ledger")
    assert not [key for key in overrides if key.endswith(("num_gpus", "num_cpus", "object_store_memory"))]


def test_the_colocated_trainer_is_imported_by_every_process(tmp_path):
    arguments = launch(tmp_path)
    colocated = environment(render_paper("mt_grpo"), **arguments)
    assert colocated["VERL_USE_EXTERNAL_MODULES"].split(",")[1:] == ["grrm.verl_plugin.colocated"]
    assert "VERL_PLATFORM" not in colocated
    assert "," not in environment(render("mt_grpo"), **arguments)["VERL_USE_EXTERNAL_MODULES"]


def test_the_fork_reads_its_own_reward_functions_and_nothing_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    config = experiment("paper")
    rendered = verl_fork.fork_overrides(
        config["mt_grpo"],
        stage="mt_grpo",
        model=Path("m"),
        data=Path("d"),
        checkpoints=Path("c"),
        hardware=config["hardware"],
        judge=Path("j"),
    )
    assert verl_fork.is_fork(rendered)
    assert not verl_fork.is_fork(render_paper("mt_grpo"))
    launch = verl_fork.launch_overrides(rendered, checkout=tmp_path, temporary=tmp_path)
    assert launch["custom_reward_function.path"] == str(tmp_path / "reward_utils/rm_lib.py")
    assert launch["reward_model.model.path"] == str(Path("j").absolute())
    variables = verl_fork.environment(
        checkout=tmp_path, scripts=ROOT / "scripts", temporary=tmp_path, ends=1.5e9
    )
    assert variables["MLP_CURRENT_CAPACITY_BLOCK_EXPIRATION_TIMESTAMP"] == "1500000000.0"
    path = variables["PYTHONPATH"].split(os.pathsep)
    assert (path[0], path[-1]) == (str(tmp_path), str(ROOT / "scripts"))
    assert "VERL_USE_EXTERNAL_MODULES" not in variables
    assert "RAY_ADDRESS" not in variables
    assert variables["VLLM_USE_FLASHINFER_SAMPLER"] == "0"


def test_a_budget_goes_on_where_the_launches_before_left_it(tmp_path, monkeypatch):
    monkeypatch.delenv("JUDGE_MODEL_NAME", raising=False)
    client = "+reward.reward_kwargs.judge."
    config = {**render("mt_grpo"), f"{client}max_tokens": 9, f"{client}model": "m", f"{client}budget": 2.0}
    for attempt, costs in enumerate([{"m": 0.5, "other": 9.0}, {"m": 0.25}, {}], 1):
        folder = tmp_path / f"attempts/{attempt}"
        folder.mkdir(parents=True)
        call = {"request": "r", "cached": False, "prompt_tokens": 1, "completion_tokens": 1}
        rows = [{**call, "model": model, "cost": cost} for model, cost in costs.items()]
        noted = [*rows, {"model": "m", "without_verdict": "no tag"}]
        # The last line is one that a kill cut off.
        (folder / "judge_calls.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in noted) + '{"mod')
    overrides = launch_overrides(
        config, temporary=Path("/tmp/x"), ledger=tmp_path / "attempts/3/judgements.jsonl"
    )
    assert overrides[f"{client}spent"] == 0.75
    del config[f"{client}budget"]
    unlimited = launch_overrides(config, temporary=Path("/tmp/x"), ledger=tmp_path / "attempts/3/j.jsonl")
    assert f"{client}spent" not in unlimited
