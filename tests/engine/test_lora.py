"""Adapters of low rank: what is merged is the model that was trained, for either engine."""

import pytest

pytest.importorskip("verl")

import torch
import torch.distributed
from peft import LoraConfig, get_peft_model
from torch.distributed.fsdp import FSDPModule, fully_shard
from transformers import AutoModelForCausalLM, AutoTokenizer

from grrm.engines import merge_adapters
from grrm.engines.adapters import Adapters
from grrm.files import UserError
from grrm.model_folder import parameters
from grrm.verl_plugin.lora import merged_weights
from tiny_model import save_tiny_model

TEXT = "the grass is greener on the other side"


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def adapted(folder, targets="all-linear", rank=4):
    """A model with adapters that change it."""
    torch.manual_seed(1)
    config = LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=8, target_modules=targets)
    model = get_peft_model(load(folder), config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    return model


def logits(model, folder):
    tokens = AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model(input_ids=tokens).logits


def difference(one, other):
    return (one - other).abs().max().item()


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    store = torch.distributed.FileStore(str(tmp_path_factory.mktemp("group") / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture(params=["untied", "tied"])
def folder(request, tmp_path):
    return save_tiny_model(tmp_path / "model", tied=request.param == "tied")


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"]])
def test_weights_for_the_rollouts_are_adapters_on_the_frozen_model(group, folder, targets):
    model = adapted(folder, targets)
    expected, frozen = logits(model, folder), {name: w.clone() for name, w in model.state_dict().items()}
    for layer in model.base_model.model.model.layers:
        fully_shard(layer)
    fully_shard(model)
    assert isinstance(model, FSDPModule)

    merged = dict(merged_weights(model))
    plain = load(folder)
    assert merged.keys() == plain.state_dict().keys()
    assert {weight.dtype for weight in merged.values()} == {torch.float32}
    plain.load_state_dict(merged)
    assert difference(logits(plain, folder), expected) < 1e-5
    assert difference(logits(load(folder), folder), expected) > 0.1  # the adapters do something
    for name, weight in model.state_dict().items():
        assert torch.equal(weight.full_tensor(), frozen[name]), name


def _share(rank, folder, store, output):
    """One of two processes that hold the model together."""
    store = torch.distributed.FileStore(store, 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    model = adapted(folder)
    for layer in model.base_model.model.model.layers:
        fully_shard(layer)
    merged = dict(merged_weights(fully_shard(model)))
    if rank == 0:
        torch.save(merged, output)
    torch.distributed.destroy_process_group()


def test_processes_that_share_a_model_merge_it_together(tmp_path):
    folder = save_tiny_model(tmp_path / "model")
    files = (str(tmp_path / "store"), str(tmp_path / "merged.pt"))
    torch.multiprocessing.spawn(_share, (folder, *files), nprocs=2)
    plain = load(folder)
    plain.load_state_dict(torch.load(tmp_path / "merged.pt"))
    assert difference(logits(plain, folder), logits(adapted(folder), folder)) < 1e-5


def test_a_folder_of_adapters_becomes_a_model_like_any_other(folder, tmp_path):
    model = adapted(folder)
    model.save_pretrained(tmp_path / "adapters")
    merge_adapters.main([str(folder), str(tmp_path / "adapters"), str(tmp_path / "merged"), "float32"])
    assert difference(logits(load(tmp_path / "merged"), folder), logits(model, folder)) < 1e-5
    assert parameters(tmp_path / "merged") == parameters(folder)


@pytest.mark.parametrize("targets", [(), ("q_proj", "down_proj")])
def test_the_size_of_adapters_is_known_before_they_are_made(folder, targets):
    model = adapted(folder, list(targets) or "all-linear", rank=3)
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert Adapters(3, 8, targets).parameters(folder) == trainable


@pytest.mark.parametrize("target", ["q_projj", "lm_head", "embed_tokens", "layers"])
def test_a_target_that_is_no_linear_layer_of_a_block_is_refused(folder, target):
    with pytest.raises(UserError, match=rf"lora.targets has '{target}', expected .*: down_proj, gate_proj"):
        Adapters(4, 8, ("q_proj", target)).parameters(folder)
