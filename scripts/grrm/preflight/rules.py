"""Which rules of config/resources.yaml an experiment comes to, where Snakemake has not planned them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grrm.catalogue.metrics import METRICS, metrics_of
from grrm.catalogue.rewards import KINDS
from grrm.catalogue.trainings import STAGES, TRAININGS, of_part
from grrm.cluster import local_rules
from grrm.config import (
    TASKS,
    grpo_runs,
    has_alignment_judge,
    own_test_sets,
    pieces_of,
    taken_models,
    trained_stages,
)


def planned_rules(config: Mapping[str, Any], table: Mapping[str, Any]) -> list[str]:
    """The rules of the table whose jobs the experiment may submit, in the table's order.

    Args:
        config: resolved configuration. Its sections `alignment` and `judges` count if they are there, though
            only targets of their own come to them.
        table: of resources, see `grrm.cluster.load_resources`.
    """
    runs, here = _conditions(config), local_rules(table, config["cluster"])
    return [rule for rule in table["rules"] if rule not in here and runs.get(rule, True)]


def _conditions(config: Mapping[str, Any]) -> dict[str, bool]:
    """Whether a rule runs, for those that do not always."""
    stages, taken, runs = set(trained_stages(config)), taken_models(config), grpo_runs(config)
    own = TRAININGS[next(iter(runs))]
    if len(runs) > 1:  # of other kinds, whatever model the experiment's own training starts from
        stages |= {own.name} | ({own.start} - set(taken))
    scored, source = metrics_of(config), config["data"]["source"]
    comparison, judges = bool(config["reward_comparison"]), config["judges"] is not None
    pieces = [piece for reward in runs.values() for piece in pieces_of(reward).values()]
    rewarded = {KINDS[piece["kind"]].own_model for piece in pieces} if own.name in stages else set()
    # With COMET kinds of reward are compared, and translations rewarded, whatever is evaluated.
    others = rewarded | ({"comet"} if comparison else set())
    read = {*scored, *(METRICS[name] for name in others & METRICS.keys())}
    teacher = config.get("teacher")
    translations = None if teacher is None else teacher["translations"]
    bases = {row.start for row in of_part("") if row.name in stages} - set(STAGES)
    tested = {task for task, _ in own_test_sets(config).values()}
    return {
        "make_toy_world": source == "toy",
        "check_table": source == "hub",
        "collect_test_sets": source == "hub" or (source == "files" and bool(config["data"]["test_sets"])),
        "read_files": source == "files",
        "hold_out": source == "files" and len(tested) < len(TASKS),
        "make_base_models": bool(bases - set(taken)),
        **{f"{verb}_{stage}": stage in stages for stage in STAGES for verb in ("prepare", "train")},
        "train_metric": any(metric.train and metric.name not in taken for metric in read),
        "score_segments": any(metric.environment == "comet" for metric in scored),
        "score_segments_in_driver": any(metric.environment == "driver" for metric in scored),
        "score_comet_of_reward_kinds": comparison,
        "score_translations_of_reward_kinds": comparison,
        "rank_shuffled_candidates": config["evaluate"]["orders"] > 0,
        **dict.fromkeys(["propose_candidates", "annotate_rankings"], teacher is not None),
        "annotate_translations": translations is not None,
        "screen_translations": translations is not None and translations["comet"] is not None,
        **_alignment(config["alignment"], taken),
        **dict.fromkeys([*(f"train_{row.rule_name}" for row in of_part("judges")), "ask_judge"], judges),
    }


def _alignment(alignment: Mapping[str, Any] | None, taken: Mapping[str, str]) -> dict[str, bool]:
    trainings = [f"train_{row.rule_name}" for row in of_part("alignment")]
    if alignment is None:
        return dict.fromkeys(["make_toy_alignment", "prepare_alignment", *trainings], False)
    *_, grpo = of_part("alignment")
    models = {grpo.start, *([grpo.judge] if has_alignment_judge(alignment) else [])}
    trains = bool(models - set(taken))
    return {
        "make_toy_alignment": trains or alignment["data"]["train"] is None,
        **dict.fromkeys((f"train_{TRAININGS[model].rule_name}" for model in models), trains),
    }
