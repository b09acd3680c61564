"""Full finetuning or adapters of low rank: which trainings have them, and what follows from it."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from configurations import ROOT, experiment, render_rl, render_sft
from grrm.catalogue.trainings import STAGES
from grrm.config import load_experiment, value_of
from grrm.config.finetuning import ALPHA, RANK
from grrm.engines import resources
from grrm.engines.adapters import Adapters, adapters_of
from grrm.engines.model_card import model_card
from grrm.files import UserError
from grrm.model_folder import linear_layers, parameters, torn_files
from grrm.preflight.forecast import forecast_experiment, load_assumptions
from grrm.preflight.speeds import Range

RL = {"rank": RANK, "alpha": ALPHA, "targets": "all-linear"}
SFT = {**RL, "dropout": 0.0}
SHAPES = {
    "model.embed_tokens.weight": [320, 8],
    "model.layers.0.self_attn.q_proj.weight": [8, 8],
    "model.layers.0.self_attn.q_proj.bias": [8],
    "model.layers.0.mlp.up_proj.weight": [16, 8],
    "model.layers.0.input_layernorm.weight": [8],
    "model.norm.weight": [8],
    "lm_head.weight": [320, 8],
}


def configured(*overlays: str, **changes: Any) -> dict[str, Any]:
    return load_experiment(ROOT, [ROOT / f"config/{name}.yaml" for name in overlays], changes)


def sections(config: Mapping[str, Any], *names: str) -> list[Any]:
    return [value_of(config, f"{name}.lora") for name in names or STAGES]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    header = json.dumps(
        {name: {"shape": shape, "data_offsets": [0, 0]} for name, shape in SHAPES.items()}
    ).encode()
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder


def test_without_the_keys_nothing_is_rendered_as_it_was_not_before() -> None:
    config = experiment()
    assert not {"finetuning", "lora"} & {key for stage in STAGES for key in config[stage]}
    for stage in ("grrm_sft", "mt_sft"):
        rendered = render_sft(config, stage)
        assert list(rendered)[1:4] == ["stage", "do_train", "finetuning_type"]
        assert rendered["finetuning_type"] == "full"
        assert not [key for key in rendered if key.startswith("lora")]
        assert adapters_of(rendered) is None
    for stage in ("grrm_rlvr", "mt_grpo"):
        rendered = render_rl(config, stage)
        assert not [key for key in rendered if "lora" in key or "target_modules" in key]
        assert adapters_of(rendered) is None


def test_the_whole_experiment_has_adapters() -> None:
    assert sections(configured(finetuning="lora")) == [SFT, RL, SFT, RL]


def test_what_a_training_says_goes_before_what_the_experiment_says() -> None:
    config = configured(
        finetuning="lora",
        lora={"rank": 8, "dropout": 0.1, "targets": ["q_proj", "v_proj"]},
        mt_sft={"lora": {"alpha": 16, "targets": "all-linear"}},
        grrm_sft={"finetuning": "full"},
    )
    attention = {"rank": 8, "alpha": ALPHA, "targets": ["q_proj", "v_proj"]}
    assert sections(config) == [None, attention, {**SFT, "rank": 8, "alpha": 16, "dropout": 0.1}, attention]
    full = configured()
    assert config["grrm_sft"] == full["grrm_sft"]


def test_one_training_alone_has_adapters() -> None:
    config = configured(mt_grpo={"finetuning": "lora", "lora": {"rank": 4}})
    assert sections(config) == [None, None, None, {**RL, "rank": 4}]


def test_trainings_of_judges_and_of_the_alignment_have_them_too() -> None:
    names = ("judges.sft", "judges.pointwise", "judges.pairwise", "alignment.policy_sft", "alignment.grpo")
    config = configured("judges", finetuning="lora", judges={"bradley_terry": {"finetuning": "full"}})
    assert sections(config, *names) == [SFT, RL, RL, SFT, RL]
    assert config["judges"]["bradley_terry"] == configured("judges")["judges"]["bradley_terry"]


@pytest.mark.parametrize(
    ("overlays", "changes", "message"),
    [
        (
            (),
            {"lora": {"rank": 8}},
            "lora is set and no training has finetuning 'lora', expected finetuning: lora",
        ),
        ((), {"mt_sft": {"lora": {"rank": 8}}}, "mt_sft.lora is set and mt_sft.finetuning is not, expected"),
        ((), {"finetuning": "qlora"}, "key 'finetuning' is 'qlora', expected one of 'full', 'lora'"),
        ((), {"mt_grpo": {"lora": {"dropout": 0.1}}}, "unknown key 'mt_grpo.lora.dropout'"),
        ((), {"lora": {"rank": 0}}, "key 'lora.rank' is 0, expected a number of at least 1"),
        (
            (),
            {"lora": {"targets": "attention"}},
            "key 'lora.targets' is 'attention', expected all-linear, or a list",
        ),
        ((), {"lora": {"targets": []}}, "key 'lora.targets' is .*, expected at least 1 of them"),
        (("judges",), {"finetuning": "lora"}, "judges.bradley_terry.finetuning is not set, expected 'full'"),
        (
            ("judges",),
            {"judges": {"bradley_terry": {"finetuning": "lora"}}},
            "key 'judges.bradley_terry.finetuning' is 'lora', expected one of 'full'",
        ),
        (
            ("paper", "paper_fork"),
            {"mt_grpo": {"finetuning": "lora"}},
            "mt_grpo.finetuning is 'lora', expected 'full' with rl_engine 'gen_rm_fork'",
        ),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    overlays: tuple[str, ...], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        configured(*overlays, **changes)


@pytest.mark.parametrize(
    ("targets", "named"), [("all-linear", "all"), (["q_proj", "v_proj"], "q_proj,v_proj")]
)
def test_both_engines_are_told_the_same(targets: Any, named: str) -> None:
    config = configured(finetuning="lora", lora={"rank": 8, "alpha": 16, "targets": targets, "dropout": 0.1})
    sft, rl = render_sft(config, "mt_sft"), render_rl(config, "mt_grpo")
    found = {key: sft[key] for key in sft if key.startswith("lora") or key == "finetuning_type"}
    assert found == {
        "finetuning_type": "lora",
        "lora_rank": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.1,
        "lora_target": named,
    }
    assert rl["actor_rollout_ref.model.target_modules"] == targets
    assert rl["actor_rollout_ref.model.lora.merge"] is True
    assert adapters_of(sft) == adapters_of(rl) == Adapters(8, 16, () if named == "all" else tuple(targets))


def test_layers_within_the_blocks_have_adapters(model: Path) -> None:
    assert linear_layers(model) == {
        "model.layers.0.self_attn.q_proj": (8, 8),
        "model.layers.0.mlp.up_proj": (16, 8),
    }
    assert Adapters(2, 4, ()).parameters(model) == 2 * (16 + 24)
    assert Adapters(2, 4, ("up_proj",)).parameters(model) == 2 * 24
    with pytest.raises(UserError, match=r"lora.targets has 'lm_head', expected .*: q_proj, up_proj"):
        Adapters(2, 4, ("lm_head",)).parameters(model)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "but a pointer of Git LFS",
        ),
        (b"", "or a damaged one: fetch it again"),
        (b"\xff" * 20, "or a damaged one"),
        (b"<html>Not found, or gone</html>", "or a damaged one"),
        ((9).to_bytes(8, "little") + b'{"a": {}}', "or a damaged one"),
        ((2).to_bytes(8, "little") + b"[]", "or a damaged one"),
    ],
)
def test_weights_that_are_none_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    for look in (linear_layers, parameters):
        with pytest.raises(UserError, match=rf"model\.safetensors: no safetensors file, {words}"):
            look(tmp_path)
    assert torn_files(tmp_path) == [tmp_path / "model.safetensors"]


def test_adapters_take_less_memory_and_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A billion parameters, ten million of them in adapters."""
    asked: list[float] = []
    monkeypatch.setattr(resources, "parameters", lambda _: 10**9)
    monkeypatch.setattr(resources, "_check_memory", lambda _, needed: asked.append(needed / 1e9))
    monkeypatch.setattr(resources, "_check_disk", lambda _, needed, what: asked.append(needed / 1e9))
    for adapters in (0, 10**7):
        resources.check_sft_memory(tmp_path, adapters=adapters)
        resources.check_rl_memory(tmp_path, [], adapters)
        resources.check_sft_disk(tmp_path, tmp_path, device="cpu", saves=None, adapters=adapters)
        resources.check_rl_disk(tmp_path, tmp_path, tmp_path, adapters=adapters)
    sft, rl, sft_disk, rl_disk, _, *less = asked
    assert (sft, rl, sft_disk, rl_disk) == (1 + 16, 5 + 24, 3 * 12 + 8, 36)
    assert less[:4] == pytest.approx([1 + 4.04 + 0.12, 5 + 12.12 + 0.12, 3 * 0.12 + 8, 12 + 2 * 0.12])


def test_a_card_says_what_was_trained() -> None:
    config = configured(mt_sft={"finetuning": "lora", "lora": {"rank": 8}})
    card = model_card("mt_sft", {"config": render_sft(config, "mt_sft"), "inputs": {}})
    assert "LoRA: adapters of rank 8 and alpha 32 on all linear layers were trained, and merged into" in card
    assert "| `lora_rank` | 8 |" in card
    assert "LoRA" not in model_card("mt_sft", {"config": render_sft(experiment(), "mt_sft"), "inputs": {}})


def test_the_forecast_knows_what_is_trained() -> None:
    assumptions = load_assumptions(ROOT / "config/forecast.yaml")
    assumptions["checkpoint"] |= {"bytes": {"range": [8, 16]}, "lora": {"range": [0.01, 0.02]}}
    assumptions["speed"]["lora"]["range"] = [2, 4]
    full = configured("paper", "small")
    lora = configured("paper", "small", finetuning="lora")
    before, after = ({s.name: s for s in forecast_experiment(c, ROOT, assumptions)} for c in (full, lora))
    for stage in ("grrm_sft", "mt_sft"):
        hours = before[stage].gpu_hours
        assert hours is not None
        assert after[stage].gpu_hours == pytest.approx(Range(hours.low / 4, hours.high / 2))
        # Two checkpoints of adapters, the merged model, the finished one.
        assert after[stage].disk == pytest.approx(Range(0.16 + 4, 0.64 + 4) * 1.5e9)
    for stage in ("grrm_rlvr", "mt_grpo"):
        assert after[stage].gpu_hours.high < before[stage].gpu_hours.high  # type: ignore[union-attr]
        # Two checkpoints of adapters and merged model, the finished one.
        assert after[stage].disk == pytest.approx(Range(0.16 + 6, 0.64 + 6) * 1.5e9)


def test_the_defaults_are_those_that_the_schema_tells() -> None:
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert f"Rank of the adapters; default {RANK}" in text
    assert f"divided by the rank; default {ALPHA}" in text
