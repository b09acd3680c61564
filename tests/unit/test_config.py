"""The configuration: defaults, and errors that say what to change."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from configurations import experiment
from grrm.config import (
    STAGES,
    kept_checkpoints,
    key_of_taken,
    leakage_limits,
    load_experiment,
    load_schema,
    resolve,
    resolve_experiment,
    taken_models,
)
from grrm.files import UserError

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "config/schemas/config.schema.yaml"


@pytest.fixture
def demo() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    return config


def set_key(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    *parents, last = path.split(".")
    section = changed
    for parent in parents:
        section = section[parent]
    section[last] = value
    return changed


def keys(config: dict[str, Any], prefix: str = "") -> list[str]:
    """Paths of all keys, sections included."""
    paths = []
    for key, value in config.items():
        paths.append(prefix + key)
        if isinstance(value, dict):
            paths += keys(value, f"{prefix}{key}.")
    return paths


def at(config: dict[str, Any], path: str) -> Any:
    for key in path.split("."):
        config = config[key]
    return config


# Without a meaning on a CPU, for published data, or null.
LEFT_OUT = {
    "tracker",
    "judges",
    *("hardware", "device", "nodes", "gpus_per_node", "precision", "rl_engine", "fork", "checkout", "python"),
    *("start_from", "grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo", "encoder"),
    *("epochs", "gradient_accumulation", "warmup_ratio", "attention", "deepspeed"),
    *("preprocessing_workers", "dataloader_workers", "interface", "network", "scratch"),
    *("log_prob_micro_batch_size", "dynamic_batch_size", "top_k", "rollout_engine", "gpu_memory_utilization"),
    *("tensor_parallel", "filter_overlong_prompts", "ulysses", "gradient_checkpointing", "remove_padding"),
    *("overlong_buffer", "validation", "cross_lingual_augmentation"),
    *("top_p", "placement", "max_num_batched_tokens"),
    *(
        "cluster",
        "account",
        "cpu",
        "gpu",
        "partition",
        "qos",
        "constraint",
        "max_runtime",
        "model",
        "stop_before",
    ),
    "resources",
    *("flash_attn", "sft_cuda", "rl_cuda", "images"),
    *("downloads", "bad_rows", "semantics", "test_sets", "backend", "base_url", "gpus"),
    *("alignment", "reward_comparison"),
    *("kind", "prompt", "model", "swap", "scale", "reference", "judge", "url", "max_concurrency"),
    *("timeout", "deadline", "retries", "save_minutes"),
    *("requests_per_minute", "tokens_per_minute", "extra", "cache", "replay", "verbose"),
    *("prompt_price", "completion_price"),
}
# Metrics that the demo does not ask for.
UNUSED = tuple(f"evaluate.{name}" for name in ("cometkiwi", "xcomet", "bleurt", "metricx", "llm_judge"))


def test_the_demo_names_every_value_that_matters_to_it(demo: dict[str, Any]) -> None:
    added = set(keys(resolve(demo, SCHEMA))) - set(keys(demo))
    used = {path for path in added if not path.startswith(UNUSED)}
    assert {path for path in used if path.rsplit(".", 1)[-1] not in LEFT_OUT} == set()


def test_what_the_demo_says_stays_as_it_is(demo: dict[str, Any]) -> None:
    resolved = resolve(demo, SCHEMA)
    for path in keys(demo):
        if not isinstance(at(demo, path), dict):
            assert at(resolved, path) == at(demo, path)


def test_defaults_are_filled_in_at_every_depth(demo: dict[str, Any]) -> None:
    del demo["environments"]
    del demo["mt_grpo"]["reward"]
    resolved = resolve(demo, SCHEMA)
    assert resolved["environments"]["folder"] == ".snakemake/environments"
    assert resolved["environments"]["flash_attn"] == {"sft_cuda": None, "rl_cuda": None}
    assert resolved["hardware"] == {"device": "cpu", "nodes": 1, "gpus_per_node": 1, "precision": "fp32"}
    assert resolved["mt_grpo"]["reward"]["semantics"] == "strict"


def test_the_given_configuration_is_left_as_it_was(demo: dict[str, Any]) -> None:
    del demo["environments"]
    before = copy.deepcopy(demo)
    resolve(demo, SCHEMA)
    assert demo == before


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("hardware.nodes", "2", 2),
        ("grrm_sft.learning_rate", "0.5", 0.5),
        ("grrm_rlvr.start_from", "null", None),
        ("grrm_rlvr.filter_overlong_prompts", "true", True),
        ("experiment", "2024", "2024"),
        ("cluster.account", "1234", "1234"),
    ],
)
def test_text_within_braces_of_the_command_line_is_read(
    demo: dict[str, Any], path: str, text: str, value: Any
) -> None:
    resolved = resolve(set_key(resolve(demo, SCHEMA), path, text), SCHEMA)
    assert at(resolved, path) == value


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("grrm_sft.learning_rate", "1e-5", ["grrm_sft.learning_rate", "'1e-5'", "number", "1.0e-05"]),
        (
            "grrm_sft.learnin_rate",
            1.0,
            ["unknown key 'grrm_sft.learnin_rate'", "did you mean 'learning_rate'"],
        ),
        ("seed", -1, ["'seed'", "-1", "at least 0"]),
        ("data.source", "web", ["'data.source'", "'web'", "'toy', 'sample', 'hub'"]),
        ("mt_grpo.reward.semantics", "loose", ["mt_grpo.reward.semantics", "'strict', 'paper'"]),
        ("grrm_rlvr.rollouts", 1, ["grrm_rlvr.rollouts", "at least 2"]),
        ("mt_grpo.reward.max_failure_rate", 1.5, ["mt_grpo.reward.max_failure_rate", "at most 1"]),
        ("experiment", "../elsewhere", ["'experiment'", "../elsewhere"]),
        ("grrm_rlvr.clip_low", 0, ["grrm_rlvr.clip_low", "above 0"]),
        ("evaluate.metrics", ["blue"], ["evaluate.metrics.0", "'blue'", "'comet', 'cometkiwi'", "'bleurt'"]),
        ("evaluate.checkpoints", "some", ["evaluate.checkpoints", "'some'", "^all$"]),
        ("reward_comparison", ["tfas"], ["'reward_comparison.0' is 'tfas', expected one of 'grrm', 'sqm'"]),
        ("reward_comparison", [{"name": "x"}], ["'reward_comparison.0': 'kind' is missing"]),
        (
            "reward_comparison",
            [{"name": "a b", "kind": "blue", "weight": 1}],
            [
                "unknown key 'reward_comparison.0.weight'",
                "'reward_comparison.0.kind' is 'blue'",
                "'reward_comparison.0.name' is 'a b', expected small letters",
            ],
        ),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_is_allowed(
    demo: dict[str, Any], path: str, value: Any, words: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        resolve(set_key(demo, path, value), SCHEMA)
    for word in words:
        assert word in str(error.value)


def test_a_missing_key_is_named(demo: dict[str, Any]) -> None:
    del demo["grrm_sft"]["batch_size"]
    with pytest.raises(UserError, match=r"'grrm_sft': 'batch_size' is missing"):
        resolve(demo, SCHEMA)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("grrm_sft.epochs", 3, ["grrm_sft.max_steps is 1500", "grrm_sft.epochs is 3", "null for the other"]),
        (
            "mt_grpo.steps",
            None,
            ["mt_grpo.steps is null", "mt_grpo.epochs is null", "evaluate.checkpoints is 'all'"],
        ),
        ("mt_sft.warmup_ratio", 0.1, ["mt_sft.warmup_steps", "mt_sft.warmup_ratio"]),
        ("mt_grpo.mini_batch_size", 24, ["mt_grpo.mini_batch_size is 24", "divisor", "32"]),
        ("mt_grpo.rollout_engine", "vllm", ["base_models.mt", "24 numbers wide", "one of 32, 64, 80"]),
        (
            "base_models.max_positions",
            100,
            ["grrm_rlvr.max_prompt_length 64 + max_response_length 96 are 160"],
        ),
        (
            "mt_grpo.reward.max_response_length",
            417,
            ["mt_grpo.reward.max_prompt_length 96", "at most", "512"],
        ),
        ("evaluate.backend", "vllm", ["base_models.grrm", "16 numbers wide", "evaluate.backend 'vllm'"]),
        ("hardware", {"gpus_per_node": 2}, ["gpus_per_node is 2", "expected 1"]),
        ("hardware", {"precision": "bf16"}, ["'bf16'", "'fp32'"]),
        ("mt_sft.deepspeed", "config/deepspeed/zero3.yaml", ["mt_sft.deepspeed", "null", "'cpu'"]),
        ("rl_engine", "gen_rm_fork", ["rl_engine is 'gen_rm_fork'", "'verl'"]),
        ("mt_sft.start_from", "models/x", ["grrm_sft.start_from is None", "'models/x'", "both"]),
        ("evaluate.checkpoints", [10, 15], ["evaluate.checkpoints has 15", "mt_grpo.save_steps, 10"]),
        ("evaluate.checkpoints", [30], ["evaluate.checkpoints has 30", "before the last, 25"]),
        ("evaluate.metrics", ["metricx", "llm_judge"], ["evaluate.llm_judge.model is null"]),
        ("evaluate.base_url", "http://me@host/v1", ["evaluate.base_url", "a user name", "OPENAI_API_KEY"]),
        (
            "evaluate.llm_judge",
            {"url": "https://host/v1?api-key=k"},
            ["evaluate.llm_judge.url", "'api-key' in its query", "JUDGE_API_KEY"],
        ),
        ("hardware", {"device": "cuda"}, ["grrm_rlvr.rollout_engine is 'transformers'", "'vllm'", "'cuda'"]),
    ],
)
def test_keys_that_contradict_each_other_are_named(
    demo: dict[str, Any], path: str, value: Any, words: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        resolve_experiment(set_key(demo, path, value), SCHEMA)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("section", ["judges.sft", "alignment.policy_sft"])
def test_any_training_warms_up_by_steps_or_by_a_share(section: str) -> None:
    config = experiment("judges")
    stage = at(config, section)
    stage |= {"warmup_steps": 3, "warmup_ratio": 0.1}
    with pytest.raises(UserError, match=f"{section}.warmup_steps and {section}.warmup_ratio are both set"):
        resolve_experiment(config, SCHEMA)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("flash_attn", {"rl_cuda": "https://me:pssst@mirror/flash_attn.whl"}),
        ("extra", {"train": ["mine@https://me:pssst@mirror/mine.whl"]}),
    ],
)
def test_a_secret_in_what_is_installed_is_not_repeated(demo: dict[str, Any], key: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"environments\.{key}\..* holds .*password, expected none") as error:
        resolve_experiment(set_key(demo, f"environments.{key}", value), SCHEMA)
    assert "pssst" not in str(error.value)


def test_over_ssh_a_users_name_is_no_secret(demo: dict[str, Any]) -> None:
    text = "git+ssh://git@host/me/mine.git"
    resolve_experiment(set_key(demo, "environments.extra", {"train": [text]}), SCHEMA)


def test_a_secret_in_an_address_is_not_repeated(demo: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="base_url holds a password") as error:
        resolve_experiment(set_key(demo, "evaluate.base_url", "http://me:pssst@host/v1"), SCHEMA)
    assert "pssst" not in str(error.value)
    with pytest.raises(UserError, match=r"evaluate.base_url is 'http://host:65536/v1', expected an address"):
        resolve_experiment(set_key(demo, "evaluate.base_url", "http://host:65536/v1"), SCHEMA)


def test_groups_spread_evenly_over_the_devices() -> None:
    config = experiment("paper")
    config["grrm_rlvr"]["mini_batch_size"], config["hardware"]["gpus_per_node"] = 64, 7
    with pytest.raises(UserError, match=r"mini_batch_size 64 x rollouts 8 .* over 14 devices"):
        resolve_experiment(config, SCHEMA)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("mt_grpo.reward.placement", "dedicated", "placement is 'dedicated', expected 'colocated'"),
        ("mt_grpo.reward.prompt", "config/prompts/ranking.yaml", "reward.prompt is .*, expected null"),
        ("mt_grpo.reward.semantics", "strict", "semantics is 'strict', expected 'paper'"),
        ("mt_grpo.reward.retries", 1, "retries is 1, expected 0"),
        ("mt_grpo.reward.max_failure_rate", 0.2, "max_failure_rate is 0.2, expected 1"),
        ("grrm_rlvr.attention", "sdpa", "grrm_rlvr.attention is 'sdpa', expected 'flash_attention_2'"),
        ("hardware.precision", "fp32", "hardware.precision is 'fp32', expected 'bf16'"),
        ("prompts.ranking", "config/prompts/ranking.yaml", "prompts.ranking is .*, expected 'upstream'"),
    ],
)
def test_what_the_fork_would_pass_over_is_refused(path: str, value: Any, words: str) -> None:
    config = experiment("paper", "paper_fork")
    with pytest.raises(UserError, match=f"{words} with rl_engine 'gen_rm_fork'"):
        resolve_experiment(set_key(config, path, value), SCHEMA)


def test_what_flash_attn_has_no_kernels_for_is_refused() -> None:
    config = set_key(experiment("paper"), "hardware.precision", "fp32")
    with pytest.raises(UserError, match=r"mt_sft\.attention is 'fa2', expected 'sdpa' .* 'fp32'") as caught:
        resolve_experiment(config, SCHEMA)
    assert "mt_grpo.attention is 'flash_attention_2'" in str(caught.value)


def test_the_fork_alone_is_not_asked_for() -> None:
    with pytest.raises(UserError, match=r"prompts\.ranking .*config/paper_fork\.yaml"):
        load_experiment(ROOT, [ROOT / "config/paper.yaml"], {"rl_engine": "gen_rm_fork"})


@pytest.mark.parametrize("path", ["mt_grpo.reward.model", "evaluate.start_from.grrm_rlvr"])
def test_the_fork_may_ask_a_judge_that_is_taken(path: str) -> None:
    config = set_key(experiment("paper", "paper_fork"), "prompts.ranking", "config/prompts/ranking.yaml")
    resolve_experiment(set_key(config, path, "double7/Qwen2.5-7B-GRRM"), SCHEMA)


def test_each_test_set_may_have_a_limit_of_its_own() -> None:
    tests, known = ["held_out", "wmt23_zh_en"], ["held_out", "flores"]
    assert leakage_limits(0.02, ["mt_grpo"], tests, known) == {"default": 0.02}
    limits = experiment("paper")["data"]["max_leakage"]
    mine = {**limits, "wmt23_zh_en": 0.1, "flores": 0.5, "mt_sft:flores": 0.5}
    assert leakage_limits(mine, ["mt_sft", "mt_grpo"], tests, known) == {
        "default": 0.01,
        "mt_grpo:held_out": 1.0,
        "wmt23_zh_en": 0.1,
    }
    assert leakage_limits(limits, ["grrm_sft"], tests, known) == {"default": 0.01}
    with pytest.raises(
        UserError, match=r"'data\.max_leakage' names 'held-out', .*held_out, wmt23_zh_en, flores"
    ):
        leakage_limits({"held-out": 1.0}, STAGES, tests, known)
    with pytest.raises(UserError, match=r"names 'grpo:held_out', .* a stage \(grrm_sft, .*a colon"):
        leakage_limits({"grpo:held_out": 1.0}, STAGES, tests, known)


def test_a_limit_is_a_share(demo: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"'data\.max_leakage\.held_out' is 2, .*at most 1"):
        resolve_experiment(set_key(demo, "data.max_leakage", {"held_out": 2}), SCHEMA)
    filled = resolve_experiment(set_key(demo, "data.max_leakage", {"held_out": "0.5"}), SCHEMA)
    assert filled["data"]["max_leakage"] == {"held_out": 0.5, "default": 0.01}


def test_a_base_model_is_not_missed_where_no_stage_starts_from_it() -> None:
    config = experiment("paper")
    config["mt_sft"]["start_from"], config["mt_grpo"]["start_from"] = None, "models/translator"
    resolve_experiment(config, SCHEMA)


def test_every_key_has_a_sentence() -> None:
    schema = load_schema(SCHEMA)

    def undescribed(part: dict[str, Any], path: str) -> list[str]:
        missing = []
        for key, value in part.get("properties", {}).items():
            target = schema["$defs"][value["$ref"].rsplit("/", 1)[-1]] if "$ref" in value else {}
            if not value.get("description") and not target.get("description"):
                missing.append(f"{path}{key}")
            missing += undescribed({**target, **value}, f"{path}{key}.")
        return missing

    assert undescribed(schema, "") == []


def test_checkpoints_are_evaluated_where_there_are_some_before_the_last(demo: dict[str, Any]) -> None:
    assert kept_checkpoints(resolve_experiment(demo, SCHEMA)) == [10, 20]
    assert kept_checkpoints(resolve_experiment(set_key(demo, "mt_grpo.steps", 8), SCHEMA)) == []
    assert kept_checkpoints(resolve_experiment(set_key(demo, "evaluate.checkpoints", [20]), SCHEMA)) == [20]
    taken = set_key(demo, "evaluate.start_from", {"mt_grpo": "models/x"})
    assert kept_checkpoints(resolve_experiment(taken, SCHEMA)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grrm_sft": {"max_steps": None}}, "grrm_sft.max_steps is null and grrm_sft.epochs is null"),
        ({"seed": True}, "key 'seed' is true, expected a value of type integer"),
        ({"grrm_rlvr": 3}, "key 'grrm_rlvr' is 3, expected a value of type object (keys and values)"),
        ({"data": {"test_sets": []}}, "key 'data.test_sets' is [], expected at least 1 of them"),
        ({"prompts": {"ranking": ""}}, "key 'prompts.ranking' is '', expected some text"),
    ],
)
def test_values_are_shown_as_they_are_written(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        load_experiment(ROOT, changes=changes)
    assert words in str(error.value)


def test_a_model_that_is_taken_knows_its_key(demo: dict[str, Any]) -> None:
    config = resolve(demo, SCHEMA)
    config["grrm_rlvr"]["start_from"] = config["mt_sft"]["start_from"] = "a/model"
    config["evaluate"]["start_from"]["mt_grpo"] = "another/model"
    assert {name: key_of_taken(config, name) for name in taken_models(config)} == {
        "grrm_sft": "grrm_rlvr.start_from",
        "mt_base": "mt_sft.start_from",
        "mt_grpo": "evaluate.start_from.mt_grpo",
    }


def test_names_that_stand_in_a_catalogue_become_an_enum(tmp_path: Path) -> None:
    text = 'properties: {a: {type: array, items: {x-enum: "grrm.config.stages:STAGES", default: mt_sft}}}'
    (tmp_path / "schema.yaml").write_text(text, encoding="utf-8")
    items = load_schema(tmp_path / "schema.yaml")["properties"]["a"]["items"]
    assert items == {"default": "mt_sft", "enum": list(STAGES)}


def test_a_start_that_no_training_reads_is_refused() -> None:
    overlay = ROOT / "config/judges.yaml"
    for section in ("policy_sft", "judge_sft"):
        changes = {"alignment": {section: {"start_from": "owner/model"}}}
        with pytest.raises(
            UserError, match=rf"alignment\.{section}\.start_from is 'owner/model', expected null"
        ):
            load_experiment(ROOT, [overlay], changes)
