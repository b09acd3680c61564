"""LLaMA-Factory's own parser reads what we render (run by the training environment's python).

Without a GPU and DeepSpeed both are left out where the parser probes for them; DeepSpeed's part is
read by transformers' own class for it.
"""

import sys

import pytest
import yaml

pytest.importorskip("llamafactory")

from accelerate.utils.deepspeed import HfDeepSpeedConfig
from llamafactory.hparams.parser import get_train_args
from transformers.integrations import deepspeed as hf_deepspeed

import train_sft
from configurations import experiment, render_sft
from grrm.engines import trackers

STAGES = ["grrm_sft", "mt_sft"]
OVERLAYS = {
    "demo": [],
    "small": ["paper", "small"],
    "lora": ["paper", "small", "one_gpu", "lora"],
    "sharded lora": ["paper", "lora"],
}


class ZeroConfig(hf_deepspeed.HfTrainerDeepSpeedConfig, HfDeepSpeedConfig):
    """What transformers' class is where DeepSpeed is installed."""


def rendered(name, stage, tmp_path, **changes):
    config = render_sft(experiment(*OVERLAYS.get(name, ["paper"])), stage)
    return {**config, "output_dir": str(tmp_path / "checkpoints"), **changes}


def without_gpu(config):
    """The same configuration for this machine."""
    config = {key: value for key, value in config.items() if key != "deepspeed"}
    return {**config, "bf16": False, "use_cpu": True}


@pytest.mark.parametrize("stage", STAGES)
def test_the_demo_is_read_as_it_is(stage, tmp_path):
    config = rendered("demo", stage, tmp_path)
    model, data, training, finetuning, _ = get_train_args(config)
    assert model.model_name_or_path == config["model_name_or_path"]
    assert (data.template, data.cutoff_len, data.dataset) == ("chatml", 192, ["stage"])
    assert (finetuning.stage, finetuning.finetuning_type) == ("sft", "full")
    assert training.max_steps == config["max_steps"]
    assert training.resume_from_checkpoint is None


@pytest.mark.parametrize("stage", STAGES)
def test_adapters_are_read_as_they_are(stage, tmp_path):
    config = without_gpu(rendered("lora", stage, tmp_path))
    _, _, _, finetuning, _ = get_train_args(config)
    assert finetuning.finetuning_type == "lora"
    assert (finetuning.lora_rank, finetuning.lora_alpha, finetuning.lora_dropout) == (32, 32, 0.0)
    assert finetuning.lora_target == ["all"]


@pytest.mark.parametrize("name", ["paper", "small"])
@pytest.mark.parametrize("stage", STAGES)
def test_every_key_for_gpus_is_read(name, stage, tmp_path):
    config = rendered(name, stage, tmp_path)
    model, data, training, _, _ = get_train_args(without_gpu(config))
    assert model.flash_attn == "fa2"
    assert data.cutoff_len == 12000
    assert data.preprocessing_num_workers == 16
    for key in (
        *("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "save_steps"),
        *("learning_rate", "ddp_timeout", "dataloader_num_workers", "seed", "weight_decay"),
    ):
        assert getattr(training, key) == config[key], key
    assert training.max_steps == -1  # epochs decide
    assert training.lr_scheduler_type == "cosine"


def test_the_warmup_is_a_tenth_of_the_steps(tmp_path):
    _, _, training, _, _ = get_train_args(without_gpu(rendered("paper", "mt_sft", tmp_path)))
    assert training.get_warmup_steps(500) == 50


def test_a_key_that_is_not_llamafactorys_is_refused(tmp_path):
    config = without_gpu(rendered("paper", "mt_sft", tmp_path))
    with pytest.raises(ValueError, match="flash_attention"):
        get_train_args({**config, "flash_attention": "fa2"})


def test_without_flash_attn_the_command_line_goes_before_the_file(tmp_path, monkeypatch):
    config = without_gpu(rendered("paper", "mt_sft", tmp_path))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    overrides = train_sft._overrides(config, "/bin/false")
    monkeypatch.setattr(sys, "argv", ["sft_main", str(tmp_path / "config.yaml"), *overrides])
    model, _, training, _, _ = get_train_args()
    assert (config["flash_attn"], model.flash_attn) == ("fa2", "sdpa")
    assert training.num_train_epochs == config["num_train_epochs"]


def test_on_a_cpu_no_activation_is_computed_twice(tmp_path, monkeypatch):
    config = rendered("demo", "mt_sft", tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    overrides = train_sft._overrides(config, "/bin/false")
    monkeypatch.setattr(sys, "argv", ["sft_main", str(tmp_path / "config.yaml"), *overrides])
    model, *_ = get_train_args()
    assert model.disable_gradient_checkpointing
    assert train_sft._overrides({"flash_attn": "sdpa"}, "/bin/false") == []  # on GPUs memory is short


def test_a_training_goes_on_from_its_last_checkpoint(tmp_path):
    config = without_gpu(rendered("paper", "mt_sft", tmp_path))
    checkpoint = tmp_path / "checkpoints/checkpoint-60"
    checkpoint.mkdir(parents=True)
    _, _, training, _, _ = get_train_args(config)
    assert training.resume_from_checkpoint == str(checkpoint)


@pytest.mark.parametrize("stage", STAGES)
def test_deepspeed_takes_its_numbers_from_the_stage(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(hf_deepspeed, "dep_version_check", lambda name: None)
    config = rendered("paper", stage, tmp_path)
    _, _, training, _, _ = get_train_args(without_gpu(config))
    training.bf16 = config["bf16"]
    zero = ZeroConfig(config["deepspeed"])
    zero.trainer_config_process(training)
    assert zero.is_zero3()
    assert zero.config["train_micro_batch_size_per_gpu"] == config["per_device_train_batch_size"]
    assert zero.config["gradient_accumulation_steps"] == config["gradient_accumulation_steps"]
    assert zero.config["gradient_clipping"] == config["max_grad_norm"]
    assert zero.config["bf16"]["enabled"] is True
    # What is left depends on the model's width.
    left = {key for key, value in zero.config["zero_optimization"].items() if value == "auto"}
    assert left == {
        "reduce_bucket_size",
        "stage3_prefetch_bucket_size",
        "stage3_param_persistence_threshold",
    }


@pytest.mark.parametrize("stage", STAGES)
def test_adapters_are_read_beside_deepspeed_too(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(hf_deepspeed, "dep_version_check", lambda name: None)
    config = rendered("sharded lora", stage, tmp_path)
    zero = ZeroConfig(config["deepspeed"])  # the parser refuses with it what it cannot do
    assert hf_deepspeed.is_deepspeed_zero3_enabled()
    _, _, training, finetuning, _ = get_train_args(without_gpu(config))
    training.bf16 = config["bf16"]
    zero.trainer_config_process(training)
    assert (finetuning.finetuning_type, finetuning.lora_rank) == ("lora", 32)
    assert zero.config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
    assert zero.config["gradient_clipping"] == config["max_grad_norm"]


@pytest.mark.parametrize("tracker", trackers.TRACKERS)
def test_a_tracker_is_laid_over_the_file_at_launch(tracker, tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(rendered("demo", "mt_sft", tmp_path)))
    arguments = trackers.llamafactory_arguments(tracker)
    monkeypatch.setattr(sys, "argv", ["llamafactory-cli", str(path), *arguments])
    _, _, training, _, _ = get_train_args()
    assert training.report_to == ([] if tracker == "none" else [tracker])
