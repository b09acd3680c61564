"""Rewards in the configuration: the environment's words, what a kind needs, what contradicts."""

from __future__ import annotations

from typing import Any

import pytest

from configurations import ROOT, experiment
from grrm.asking.options import chat_url
from grrm.config import (
    alignment_prompt_of,
    grpo_runs,
    has_alignment_judge,
    judge_taken_for,
    key_of_taken,
    load_experiment,
    prompt_file,
    resolve_experiment,
    reward_of,
    scoring_model_of,
    taken_models,
    translation_prompt_of,
)
from grrm.files import UserError
from grrm.judges.prompts import load_judge_prompt

SCHEMA = ROOT / "config/schemas/config.schema.yaml"
ASKED = {"JUDGE_API_URL": "http://judge/v1", "JUDGE_MODEL_NAME": "j"}
ENDPOINT = {"url": "http://127.0.0.1:9/v1", "model": "judge"}


def resolved(config: dict[str, Any], **environment: str) -> dict[str, Any]:
    return resolve_experiment(config, SCHEMA, environment)


def rewarded(*overlays: str, **reward: Any) -> dict[str, Any]:
    config = experiment(*overlays)
    config["mt_grpo"]["reward"] |= reward
    return config


# ---------------------------------------------------------------- the environment


def test_the_documented_variables_come_before_the_configuration_and_are_recorded() -> None:
    config = resolved(
        experiment("judges"),
        JUDGE_API_URL="http://judge/v1/chat/completions",
        JUDGE_API_KEY="secret",
        JUDGE_MODEL_NAME="qwen3-32b",
        EVAL_MODE="pairwise",
        PAIRWISE_MODE="elo",
        MAX_WORKERS="20",
        LLM_TIMEOUT="7.5",
        MAX_RETRIES="1",
        TEMPERATURE="0.5",
        MAX_TOKENS="99",
        VERBOSE="true",
    )
    reward = config["alignment"]["grpo"]["reward"]
    assert reward["kind"] == "pairwise_elo"
    judge = reward["judge"]
    assert (judge["url"], judge["model"]) == ("http://judge/v1/chat/completions", "qwen3-32b")
    assert (judge["max_concurrency"], judge["timeout"], judge["retries"], judge["verbose"]) == (
        20,
        7.5,
        1,
        True,
    )
    assert (reward["temperature"], reward["max_response_length"]) == (0.5, 99)
    assert not has_alignment_judge(config["alignment"]), "the endpoint judges, not the toy's model"
    assert "secret" not in str(config)


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, "pairwise_dgr"),
        ({"EVAL_MODE": "pointwise"}, "pointwise"),
        ({"EVAL_MODE": "listwise", "PAIRWISE_MODE": "elo"}, "listwise"),
        ({"PAIRWISE_MODE": "winrate"}, "pairwise_winrate"),
        ({"EVAL_MODE": "pairwise"}, "pairwise_dgr"),
    ],
)
def test_modes_are_kinds_and_kinds_of_another_family_have_their_own_prompt(
    environment: dict[str, str], kind: str
) -> None:
    reward = resolved(experiment("judges"), **ASKED, **environment)["alignment"]["grpo"]["reward"]
    assert reward["kind"] == kind
    prompt = alignment_prompt_of(reward)
    family: Any = kind.partition("_")[0]
    assert prompt == f"config/prompts/{'toy_' if family == 'pairwise' else ''}judge_{family}.yaml"
    load_judge_prompt(str(ROOT / prompt), f"judge_{family}")


def test_the_toys_judge_answers_what_it_is_trained_for() -> None:
    with pytest.raises(UserError, match=r"kind is 'pointwise', expected a kind of pairwise.*JUDGE_API_URL"):
        resolved(experiment("judges"), EVAL_MODE="pointwise")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("EVAL_MODE", "best", "pairwise, pointwise, listwise"),
        ("PAIRWISE_MODE", "tfas", "winrate, copeland, dgr, elo"),
        ("MAX_WORKERS", "many", "a whole number"),
        ("MAX_WORKERS", "0", "a number of at least 1"),
        ("MAX_RETRIES", "-1", "a number of at least 0"),
        ("MAX_RETRIES", "2.5", "a whole number"),
        ("MAX_TOKENS", "0", "a number of at least 1"),
        ("TEMPERATURE", "nan", "a number"),
        ("TEMPERATURE", "-0.5", "a number of at least 0"),
        ("LLM_TIMEOUT", "inf", "a number"),
        ("LLM_TIMEOUT", "0", "a number above 0"),
        ("JUDGE_API_URL", "your-api-url", "an address such as http://127.0.0.1:8000/v1"),
        ("JUDGE_API_URL", "127.0.0.1:8000/v1", "an address such as"),
        ("JUDGE_API_URL", "ftp://judge", "an address such as"),
        ("JUDGE_API_URL", "http://judge:80o/v1", "an address such as"),
        ("VERBOSE", "perhaps", "true or false"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(variable: str, value: str, expected: str) -> None:
    with pytest.raises(UserError, match=f"{variable} is '{value}' in the environment, expected {expected}"):
        resolved(experiment("judges"), **{variable: value})


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://me:hush@judge/v1", "holds a password"),
        ("http://hush@judge/v1", "holds a user name"),
        ("http://judge/v1?api_key=hush", "holds 'api_key' in its query"),
    ],
)
def test_a_secret_in_the_address_is_refused_and_not_repeated(url: str, words: str) -> None:
    with pytest.raises(UserError, match=f"JUDGE_API_URL {words}") as caught:
        resolved(experiment("judges"), JUDGE_API_URL=url)
    assert "hush" not in str(caught.value)
    config = experiment("judges")
    config["alignment"]["grpo"]["reward"]["judge"]["url"] = url
    config["mt_grpo"]["reward"]["judge"]["url"] = url
    with pytest.raises(
        UserError, match=rf"mt_grpo\.reward\.judge\.url {words}.*alignment\..*{words}"
    ) as caught:
        resolved(config)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://me:hush@judge", "http://me:hush@[::1"])
def test_an_address_that_cannot_be_used_is_not_repeated_with_its_secret(url: str) -> None:
    with pytest.raises(UserError, match="one with a secret in it, expected one like") as caught:
        chat_url(url)
    assert "hush" not in str(caught.value)


def test_the_grrm_is_not_moved_to_an_endpoint_by_the_environment() -> None:
    config = resolved(experiment(), JUDGE_API_URL="http://judge/v1", JUDGE_MODEL_NAME="j")
    assert config == experiment()


def test_other_judges_of_translations_take_their_endpoint_from_the_environment() -> None:
    with pytest.raises(UserError, match=r"no judge for kind 'sqm'; expected judge.url \(or JUDGE_API_URL\)"):
        resolved(rewarded(kind="sqm"))
    config = resolved(rewarded(kind="sqm"), JUDGE_API_URL="http://judge/v1", JUDGE_MODEL_NAME="j")
    assert config["mt_grpo"]["reward"]["judge"]["url"] == "http://judge/v1"


# ---------------------------------------------------------------- what a kind needs


@pytest.mark.parametrize(
    ("reward", "scorer", "prompt"),
    [
        ({}, "grrm_rlvr", "ranking.yaml"),
        ({"model": "folder"}, "mt_reward", "ranking.yaml"),
        ({"placement": "endpoint"}, None, "ranking.yaml"),
        ({"kind": "sqm"}, None, "config/prompts/sqm.yaml"),
        ({"kind": "pairwise_elo"}, None, "config/prompts/translation_pairwise.yaml"),
        ({"kind": "pairwise_elo", "prompt": "mine.py:f"}, None, "mine.py:f"),
        ({"kind": "listwise", "model": "m"}, "mt_reward", "config/prompts/translation_listwise.yaml"),
        ({"kind": "bradley_terry", "model": "m"}, "mt_reward", "config/prompts/translation_plain.yaml"),
        ({"kind": "comet"}, "comet", None),
        ({"kind": "bleu", "prompt": "unused"}, None, None),
    ],
)
def test_what_scores_and_what_it_is_asked(
    reward: dict[str, Any], scorer: str | None, prompt: str | None
) -> None:
    section = {**experiment()["mt_grpo"]["reward"], **reward}
    assert scoring_model_of(section) == scorer
    assert translation_prompt_of(section, "ranking.yaml") == prompt
    if prompt is not None and prompt.startswith("config"):
        assert (ROOT / prompt).is_file()


def test_the_function_is_no_part_of_the_prompts_file() -> None:
    assert prompt_file("a/b.py:compare") == "a/b.py"
    assert prompt_file("a/b.yaml") == "a/b.yaml"
    assert prompt_file(None) == []


def test_a_compared_kind_has_its_own_prompt_and_model() -> None:
    section = {**experiment()["mt_grpo"]["reward"], "kind": "sqm", "prompt": "mine", "model": "m"}
    assert reward_of(section, "sqm") == section
    other = reward_of(section, "bleu")
    assert (other["kind"], other["prompt"], other["model"]) == ("bleu", None, None)
    assert reward_of(section, "pairwise_dgr")["model"] == "m", "the same judge can be asked otherwise"


def compared(*entries: Any, **reward: Any) -> dict[str, Any]:
    config = experiment()
    config["mt_grpo"]["reward"] |= reward
    config["reward_comparison"] = list(entries)
    return resolved(config)


def judge_of(config: dict[str, Any], run: str) -> str | None:
    return scoring_model_of(grpo_runs(config)[run], judge_taken_for(run, config))


def test_a_compared_kind_may_be_judged_by_another_model_of_the_experiment() -> None:
    config = compared("grrm", {"name": "before", "kind": "grrm", "model": "grrm_sft"})
    assert judge_of(config, "mt_grpo") == "grrm_rlvr"
    assert judge_of(config, "mt_grpo_before") == "grrm_sft"
    assert taken_models(config) == taken_models(compared())


def test_a_model_of_the_experiment_may_judge_the_experiment_itself() -> None:
    config = compared(model="grrm_sft")
    assert judge_of(config, "mt_grpo") == "grrm_sft"
    assert "mt_reward" not in taken_models(config)


def test_a_compared_kind_may_take_a_model_of_its_own() -> None:
    config = compared(
        "sqm", {"name": "large", "kind": "sqm", "model": "org/large"}, kind="sqm", model="org/small"
    )
    assert judge_of(config, "mt_grpo") == "mt_reward"
    assert judge_of(config, "mt_grpo_large") == "mt_reward_large"
    taken = taken_models(config)
    assert (taken["mt_reward"], taken["mt_reward_large"]) == ("org/small", "org/large")
    assert key_of_taken(config, "mt_reward") == "mt_grpo.reward.model"
    assert key_of_taken(config, "mt_reward_large") == "reward_comparison: large.model"


def test_a_judge_of_the_experiment_scores_for_its_own_kind_unless_it_is_asked_otherwise() -> None:
    other = {"name": "other", "kind": "sqm", "model": "grrm_sft"}
    with pytest.raises(UserError, match="is 'grrm_sft', which scores for kind 'grrm', not 'sqm'"):
        compared(other)
    config = compared({**other, "prompt": "config/prompts/toy_single.yaml"})
    assert judge_of(config, "mt_grpo_other") == "grrm_sft"


def test_a_reward_model_is_taken_like_any_model() -> None:
    assert taken_models(rewarded(kind="bradley_terry", model="folder"))["mt_reward"] == "folder"
    config = load_experiment(
        ROOT, [ROOT / f"config/{name}.yaml" for name in ("paper", "small", "alignment_gpu")]
    )
    assert taken_models(config)["alignment_policy"] == "Qwen/Qwen2.5-7B"
    assert not has_alignment_judge(config["alignment"])
    assert alignment_prompt_of(config["alignment"]["grpo"]["reward"]) == "config/prompts/judge_pairwise.yaml"


# ---------------------------------------------------------------- what contradicts


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ({"kind": "bradley_terry"}, "model is null, expected a checkpoint"),
        ({"kind": "bleu", "semantics": "paper"}, "semantics is 'paper', expected 'strict' for kind 'bleu'"),
        (
            {"placement": "endpoint", "model": "m", "judge": ENDPOINT},
            "placement is 'endpoint', expected null",
        ),
        ({"placement": "endpoint"}, "no judge for kind 'grrm'"),
        ({"kind": "comet", "model": "m"}, "model is set, expected null for kind 'comet'"),
        ({"kind": "tfas"}, "key 'mt_grpo.reward.kind'"),
    ],
)
def test_contradictions_are_named(reward: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolved(rewarded(**reward))


def test_a_random_language_has_no_reference() -> None:
    config = rewarded(kind="chrf")
    config["mt_grpo"]["cross_lingual_augmentation"] = True
    with pytest.raises(UserError, match="expected false for reward 'chrf'"):
        resolved(config)


def test_a_group_must_not_have_more_members_than_there_are_letters() -> None:
    config = rewarded()
    config["mt_grpo"] |= {"rollouts": 27, "mini_batch_size": config["mt_grpo"]["train_batch_size"]}
    with pytest.raises(UserError, match=r"mt_grpo\.rollouts is 27, expected at most 26 for reward 'grrm'"):
        resolved(config)
    config["mt_grpo"]["rollouts"] = 26
    resolved(config)
    config = rewarded(kind="chrf")
    config["mt_grpo"]["rollouts"] = 27
    resolved(config)


def test_compared_kinds_are_checked_like_the_experiments_own() -> None:
    config = experiment()
    config["reward_comparison"] = ["bleu", "listwise"]
    with pytest.raises(UserError, match="no judge for kind 'listwise'"):
        resolved(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"reward": {"kind": "comet"}},
            "kind is 'comet', expected one of bradley_terry, function, listwise, mixture, pairwise",
        ),
        ({"reward": {"kind": "bradley_terry"}}, "alignment.grpo.reward.model is null"),
        ({"reward": {"reference": True}}, "alignment.grpo.reward.reference is true, expected false"),
    ],
)
def test_contradictions_of_the_alignment(change: dict[str, Any], message: str) -> None:
    config = experiment("judges")
    config["alignment"]["grpo"]["reward"] |= change["reward"]
    with pytest.raises(UserError, match=message):
        resolved(config)


def test_an_alignment_without_a_judge_is_refused() -> None:
    config = experiment("judges")
    del config["alignment"]["judge_sft"]
    with pytest.raises(UserError, match=r"no judge for kind 'pairwise_dgr'; expected judge\.url"):
        resolved(config)
    assert resolved(config, JUDGE_API_URL="http://judge/v1", JUDGE_MODEL_NAME="j")


@pytest.mark.parametrize("overlays", [["judges"], ["paper", "small", "alignment_gpu"]])
def test_an_endpoint_without_the_name_of_its_model_is_refused(overlays: list[str]) -> None:
    config = experiment(*overlays)
    config["alignment"]["grpo"]["reward"]["judge"]["model"] = None
    with pytest.raises(UserError, match=r"alignment\.grpo\.reward: no judge.*JUDGE_MODEL_NAME"):
        resolved(config, JUDGE_API_URL="http://judge/v1")
