"""What LLaMA-Factory is given, and what is taken from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import render_sft as render_sft_script
import train_sft
from configurations import experiment, render_sft
from grrm.engines import checkpoints
from grrm.engines.llamafactory import DATASET, dataset_info, launch_environment, sft_config
from grrm.files import write_json, write_jsonl
from grrm.report.curves import read_curves


@pytest.fixture
def settings() -> dict[str, Any]:
    section: dict[str, Any] = experiment()["grrm_sft"]
    return section


def rendered(settings: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    return sft_config(
        settings, model=Path("m/base"), dataset_dir=Path("c/stage"), output_dir=Path("k/stage"), seed=seed
    )


def test_a_training_can_be_resumed(settings: dict[str, Any]) -> None:
    config = rendered(settings)
    assert config["overwrite_output_dir"] is False
    assert 0 < config["save_steps"] <= config["max_steps"]


def test_the_paper_trains_all_weights_with_chatml_and_a_cosine(settings: dict[str, Any]) -> None:
    config = rendered(settings)
    assert (config["finetuning_type"], config["template"], config["lr_scheduler_type"]) == (
        "full",
        "chatml",
        "cosine",
    )


def test_a_models_own_template_is_asked_for(settings: dict[str, Any]) -> None:
    assert rendered({**settings, "template": "model"})["template"] == "model"
    assert rendered({**settings, "template": "chatml"}) == rendered(settings)


def test_nothing_of_this_machine_enters_the_configuration(settings: dict[str, Any]) -> None:
    assert not [value for value in rendered(settings).values() if str(value).startswith("/")]


def test_the_cores_of_the_rule_do_not_make_another_training(settings: dict[str, Any]) -> None:
    assert rendered(settings) == rendered({**settings, "threads": settings["threads"] + 1})


def test_another_seed_makes_another_training(settings: dict[str, Any]) -> None:
    assert rendered(settings, seed=0) != rendered(settings, seed=1)


def test_the_rows_are_found_from_the_folder_of_the_dataset_info() -> None:
    info = dataset_info(Path("results/x/prepared/s.jsonl"), Path("results/x/configs/s"))[DATASET]
    assert (Path("results/x/configs/s") / info["file_name"]).resolve() == Path(
        "results/x/prepared/s.jsonl"
    ).resolve()
    assert info["formatting"] == "sharegpt"


def test_checkpoints_from_which_training_cannot_go_on_are_removed(tmp_path: Path) -> None:
    for step in (10, 20, 25):
        (tmp_path / f"checkpoint-{step}").mkdir()
        weights = (2).to_bytes(8, "little") + b"{}"  # none
        (tmp_path / f"checkpoint-{step}/model.safetensors").write_bytes(weights)
    # Half-written: 20. Of the last step, from which one step too many would be taken: 25.
    for step in (10, 25):
        write_json(tmp_path / f"checkpoint-{step}/trainer_state.json", {"global_step": step, "max_steps": 25})
    checkpoints.remove_unusable(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]


def test_the_curve_holds_loss_learning_rate_and_gradient_norm(tmp_path: Path) -> None:
    # As transformers writes it; the last entry sums the training up.
    history = [
        {"epoch": 0.1, "grad_norm": 1.5, "learning_rate": 0.1, "loss": 3.0, "step": 10},
        {"epoch": 0.2, "learning_rate": 0.2, "loss": 2.0, "step": 20},
        {"epoch": 0.2, "step": 20, "train_loss": 2.5, "train_runtime": 60.0},
    ]
    write_json(tmp_path / "trainer_state.json", {"global_step": 20, "log_history": history})
    rows = list(train_sft._curve(tmp_path / "trainer_state.json"))
    assert rows == [
        {"step": 10, "loss": 3.0, "lr": 0.1, "grad_norm": 1.5},
        {"step": 20, "loss": 2.0, "lr": 0.2},
    ]
    write_jsonl(tmp_path / "curve.jsonl", rows)
    shown = {curve.title: (curve.steps, curve.values) for curve in read_curves(tmp_path / "curve.jsonl")}
    assert shown == {
        "Loss": ([10, 20], [3.0, 2.0]),
        "Gradient norm": ([10], [1.5]),
        "Learning rate": ([10, 20], [0.1, 0.2]),
    }


# ---------------------------------------------------------------- GPUs


@pytest.mark.parametrize("stage", ["grrm_sft", "mt_sft"])
def test_gpus_train_epochs_in_bf16_under_zero_3(stage: str) -> None:
    config = render_sft(experiment("paper"), stage)
    assert config["bf16"] is True
    assert config["deepspeed"]["zero_optimization"]["stage"] == 3
    assert config["flash_attn"] == "fa2"
    assert "max_steps" not in config
    assert "use_cpu" not in config
    assert config["overwrite_output_dir"] is False


def test_the_small_experiment_takes_as_many_rows_a_step_as_the_papers() -> None:
    def rows(stage: str, *overlays: str) -> int:
        config = experiment("paper", *overlays)
        hardware, settings = config["hardware"], config[stage]
        devices = hardware["nodes"] * hardware["gpus_per_node"]
        return int(devices * settings["batch_size"] * settings["gradient_accumulation"])

    for stage in ("grrm_sft", "mt_sft"):
        assert rows(stage) == rows(stage, "small") == rows(stage, "small", "one_gpu")


def test_another_deepspeed_configuration_makes_another_training(settings: dict[str, Any]) -> None:
    def with_stage(stage: int) -> dict[str, Any]:
        return sft_config(
            settings,
            model=Path("m"),
            dataset_dir=Path("c"),
            output_dir=Path("k"),
            seed=0,
            deepspeed={"zero_optimization": {"stage": stage}},
        )

    assert with_stage(2) != with_stage(3)


def test_a_missing_deepspeed_configuration_is_named(tmp_path: Path, capsys: Any) -> None:
    arguments = ["--settings", json.dumps(experiment("paper")["mt_sft"])]
    for name in ("model", "data", "checkpoints", "output", "dataset-info"):
        arguments += [f"--{name}", str(tmp_path / name)]
    with pytest.raises(Exception, match=r"nowhere\.yaml: no such file"):
        render_sft_script.main([*arguments, "--deepspeed", "nowhere.yaml"])


def test_gpus_find_the_programs_of_their_own_environment() -> None:
    on_gpus = launch_environment(
        render_sft(experiment("paper"), "mt_sft"), python="envs/x/bin/python", scripts=Path("scripts")
    )
    assert on_gpus["PATH"].startswith(str(Path("envs/x/bin").absolute()))
    assert on_gpus["PYTHONPATH"].startswith(str(Path("scripts").absolute()))
    on_a_cpu = launch_environment(
        render_sft(experiment(), "mt_sft"), python="python", scripts=Path("scripts")
    )
    assert "PYTORCH_CUDA_ALLOC_CONF" in set(on_gpus) - set(on_a_cpu)
