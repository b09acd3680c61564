"""Which rules of config/resources.yaml an experiment comes to, where Snakemake has not planned them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grrm.catalogue.metrics import METRICS, metrics_of
from grrm.config import STAGES, grpo_runs, has_alignment_judge, taken_models, trained_stages

_LOCAL = {"download_dataset", "build_environment"}
"""Of the table, those that run where Snakemake does."""


def planned_rules(config: Mapping[str, Any], table: Mapping[str, Any]) -> list[str]:
    """The rules of the table whose jobs the experiment may submit, in the table's order.

    Args:
        config: resolved configuration. Its sections `alignment` and `judges` count if they are there, though
            only targets of their own come to them.
        table: of resources, see `grrm.cluster.load_resources`.
    """
    runs = _conditions(config)
    return [rule for rule in table["rules"] if rule not in _LOCAL and runs.get(rule, True)]


def _conditions(config: Mapping[str, Any]) -> dict[str, bool]:
    """Whether a rule runs, for those that do not always."""
    stages, taken, runs = set(trained_stages(config)), taken_models(config), grpo_runs(config)
    if len(runs) > 1:  # of other kinds, whatever model the experiment's own training starts from
        stages |= {"mt_sft", "mt_grpo"} - ({"mt_sft"} & set(taken))
    scored, source = metrics_of(config), config["data"]["source"]
    comparison, judges = bool(config["reward_comparison"]), config["judges"] is not None
    rewarded = {reward["kind"] for reward in runs.values()} if "mt_grpo" in stages else set()
    # With COMET kinds of reward are compared, and translations rewarded, whatever is evaluated.
    read = {*scored, *([METRICS["comet"]] if comparison or "comet" in rewarded else [])}
    starts = {"grrm_base": "grrm_sft", "mt_base": "mt_sft"}
    return {
        "make_toy_world": source == "toy",
        "check_table": source == "hub",
        "collect_test_sets": source == "hub",
        "make_base_models": any(stage in stages and base not in taken for base, stage in starts.items()),
        **{f"{verb}_{stage}": stage in stages for stage in STAGES for verb in ("prepare", "train")},
        "train_metric": any(metric.train and metric.name not in taken for metric in read),
        "score_segments": any(metric.environment == "comet" for metric in scored),
        "score_segments_in_driver": any(metric.environment == "driver" for metric in scored),
        "score_comet_of_reward_kinds": comparison,
        "score_translations_of_reward_kinds": comparison,
        "rank_shuffled_candidates": config["evaluate"]["orders"] > 0,
        **_alignment(config["alignment"], taken),
        **dict.fromkeys(("train_judge_sft", "train_judge_rl", "train_bradley_terry", "ask_judge"), judges),
    }


def _alignment(alignment: Mapping[str, Any] | None, taken: Mapping[str, str]) -> dict[str, bool]:
    if alignment is None:
        names = ("make_toy_alignment", "train_alignment_sft", "prepare_alignment", "train_alignment_grpo")
        return dict.fromkeys(names, False)
    models = ["alignment_policy", *(["alignment_judge"] if has_alignment_judge(alignment) else [])]
    trains = any(model not in taken for model in models)
    return {"make_toy_alignment": trains or alignment["data"]["train"] is None, "train_alignment_sft": trains}
