"""The benchmark that sets a judge of groups beside one of single translations: its rows, what it compares."""

from __future__ import annotations

import pytest
from group_or_single import SINGLE, Comparison, findings, rl_rows, sft_rows

from configurations import ROOT, experiment
from grrm.config import grpo_runs, judge_taken_for, resolve_experiment, scoring_model_of, taken_models
from grrm.data.toy_world import DEFAULT_ROWS, describe_errors, make_language, make_tables
from grrm.engines.verl_rewards import verified_reward
from grrm.prompts import load_pointwise_prompt
from grrm.rewards.sqm_score import compute_score

TABLES = make_tables(0, dict.fromkeys(DEFAULT_ROWS, 40))
PROMPT = load_pointwise_prompt(ROOT / SINGLE)


def test_each_candidate_is_a_row_with_what_was_found_in_it() -> None:
    language = make_language()
    for group in TABLES["grrm_rlvr"]:  # its scores and findings are true
        scored = zip(group["mt_texts"], group["scores"], strict=True)
        assert findings(group) == [
            f"{describe_errors(language, group['src_text'], text)} {score}" for text, score in scored
        ]
    rows = [*sft_rows(TABLES["grrm_sft"], PROMPT)]
    assert len(rows) == sum(len(group["mt_texts"]) for group in TABLES["grrm_sft"])


def test_what_sft_teaches_is_what_rlvr_rewards() -> None:
    groups = TABLES["grrm_rlvr"]
    taught, verified = [*sft_rows(groups, PROMPT)], [*rl_rows(groups, PROMPT)]
    for row, verl_row in zip(taught, verified, strict=True):
        question, answer = row["messages"]
        assert verl_row["prompt"] == [question]
        truth = verl_row["reward_model"]["ground_truth"]
        assert compute_score("", f"{answer['content']}<|im_end|>", truth)["score"] == 1.0
    assert verified_reward({"overlong_buffer": None}, "sqm_score")["reward.custom_reward_function.path"] == (
        "pkg://grrm.rewards.sqm_score"
    )


def test_the_answer_of_a_judge_of_groups_to_one_translation_is_read() -> None:
    assert PROMPT.read("Analysis: A literal 7\n\n### Final Ranking:\n\nA\n\n### Scores:\n\nA: 7\n") == 7


@pytest.mark.parametrize(
    ("run", "judge"),
    [
        ("mt_grpo", "grrm_rlvr"),
        ("mt_grpo_sqm_trained", "mt_reward_sqm_trained"),
        ("mt_grpo_bleu", None),
    ],
)
def test_the_same_translation_model_is_trained_with_each(run: str, judge: str | None) -> None:
    comparison = Comparison(seed=0, cores=1)
    config = resolve_experiment(
        experiment() | comparison.rewards(), ROOT / "config/schemas/config.schema.yaml", {}
    )
    assert scoring_model_of(grpo_runs(config)[run], judge_taken_for(run, config)) == judge
    assert taken_models(config) == {"mt_reward_sqm_trained": str(comparison.rlvr)}
