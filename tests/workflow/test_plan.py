"""The workflow as planned: every configuration, every target, without running a rule."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from group_or_single import Comparison

import planner
from configurations import experiment
from grrm.preflight.checks import jobs_of
from workspace import lay_out

ROOT = Path(__file__).parents[2]
# Files that are laid over config/config.yaml, in order.
CONFIGURATIONS = [
    *(
        "",
        "vllm",
        "smoke",
        "smoke example_files",
        "paper",
        "paper paper_cla",
        "paper paper_fork",
        "paper paper_released",
    ),
    *("paper small", "paper small one_gpu", "paper small one_gpu lora"),
    *("judges", "paper judges_paper"),
    *("paper small alignment_gpu",),
]
TARGETS = ["data", "grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo", "evaluate", "report", "environments"]
RULES = yaml.safe_load((ROOT / "config/resources.yaml").read_text(encoding="utf-8"))["rules"]
# Those whose jobs go to a cluster's queue.
TABLE = {rule for rule, asked in RULES.items() if asked.get("where", "queue") == "queue"}
JUDGED = {"judge_translations"}
# Rules that differ in their model only share a script; those by `use rule` have that of the rule they use.
SHARED = {
    "render_grrm_rlvr": "render_rl",
    "train_grrm_rlvr": "train_rl",
    "prepare_grrm_rlvr_validation": "prepare_grrm_rlvr",
    "take_checkpoint": "take_model",
    "read_test_set": "read_files",
    "train_judge_sft": "train_sft",
    "train_judge_rl": "train_rl",
    "write_judge_provenance": "write_provenance",
    "render_alignment_sft": "render_sft",
    "train_alignment_sft": "train_sft",
    "render_alignment_grpo": "render_rl",
    "train_alignment_grpo": "train_rl",
    "rehearse_sft": "rehearse",
    "rehearse_rl": "rehearse",
}


def snakemake(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return planner.snakemake("--snakefile", str(ROOT / "Snakefile"), "--cores", "2", *arguments, cwd=cwd)


def plan(*arguments: str) -> str:
    # --forceall: the plan from nothing, whatever an earlier run left here.
    done = snakemake("--dry-run", "--forceall", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def planned_rules(output: str) -> set[str]:
    return set(re.findall(r"^(\w+) +\d+$", output, re.M)) - {"total"}


def overlay(configuration: str) -> list[str]:
    files = [str(ROOT / f"config/{name}.yaml") for name in configuration.split()]
    return ["--configfile", *files] if files else []


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_every_configuration_plans_the_whole_chain(configuration: str) -> None:
    # With its rehearsal; not of rows that are the user's, nor of nothing.
    named = ["--config", "rehearsal={trainings: [mt_grpo]}"] if "alignment_gpu" in configuration else []
    rehearsal = (
        () if "released" in configuration else ("all", "rehearse", *overlay(f"{configuration} rehearsal"))
    )
    output = plan(*(rehearsal or overlay(configuration)), *named)
    rules = planned_rules(output)
    if rehearsal:
        rehearsed = {"rehearse_rl", "report_rehearsal"} | (set() if named else {"rehearse_sft"})
        assert rehearsed <= rules
    trained = {"train_grrm_sft", "train_grrm_rlvr", "train_mt_sft", "train_mt_grpo"}
    assert rules & trained == (set() if "released" in configuration else trained)
    assert {"summarize", "render_report", "check_leakage"} <= rules
    # What the preflight looks at by itself, but for those that have targets of their own.
    looked_at = {job.rule for job in jobs_of(experiment(*configuration.split()), ROOT)}
    apart = {rule for rule in TABLE if re.search("alignment|judge_|ask_judge|bradley", rule)} - JUDGED
    assert looked_at - apart == rules & TABLE - apart


def rehearsal_over(results: Mapping[str, str], checkout: Path) -> str:
    """The plan of a rehearsal of the demonstration, of which there are these files."""
    lay_out(checkout)
    for name, text in results.items():
        path = checkout / "results/demo" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    planned = ("--cores", "2", "--dry-run", "--printshellcmds", "rehearse", *overlay("rehearsal"))
    done = planner.snakemake(*planned, cwd=checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_of_a_rehearsal_that_failed_is_not_the_end_of_it(tmp_path: Path) -> None:
    plan = rehearsal_over({"rehearsal.md": "1 of 4 did not come through"}, tmp_path)
    assert {"rehearse_sft", "rehearse_rl", "report_rehearsal"} <= planned_rules(plan)


def test_a_rehearsal_starts_from_what_the_experiment_has_made(tmp_path: Path) -> None:
    made, taken = '{"inputs": {}}', '{"taken": "a folder of before", "inputs": {}}'
    files = {"models/grrm_sft/training.json": made, "models/mt_sft/training.json": taken}
    starts = dict(re.findall(r"--stage (\w+) .*?--start (\w+)", rehearsal_over(files, tmp_path)))
    assert starts == {"grrm_sft": "base", "grrm_rlvr": "finished", "mt_sft": "base", "mt_grpo": "base"}


def test_every_configuration_is_among_them() -> None:
    # Configurations name their experiment; other tables in config/ do not.
    found = {
        path.stem
        for path in (ROOT / "config").glob("*.yaml")
        if "\nexperiment:" in path.read_text(encoding="utf-8")
    }
    assert found == {"config", *" ".join(CONFIGURATIONS).split()}


def test_no_rows_are_prepared_before_leakage_is_looked_for() -> None:
    for stage in ("grrm_sft", "mt_sft"):
        assert "check_leakage" in planned_rules(plan(stage))


def test_published_data_are_downloaded_for_what_reads_them_only() -> None:
    rules = planned_rules(plan("data", *overlay("paper")))
    assert {"lock_data", "download_dataset", "check_table", "convert_test_set", "collect_test_sets"} <= rules
    assert not {rule for rule in planned_rules(plan("data")) if "download" in rule or "lock" in rule}


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_plans(target: str) -> None:
    assert target in planned_rules(plan(target))


def test_a_stage_plans_what_it_needs_and_no_more() -> None:
    rules = planned_rules(plan("grrm_rlvr"))
    assert "train_grrm_rlvr" in rules
    assert not {rule for rule in rules if "mt_" in rule or "comet" in rule}


def test_the_judge_of_grpo_is_the_model_that_rlvr_made() -> None:
    assert "train_grrm_rlvr" in planned_rules(plan("mt_grpo"))


def test_an_endpoint_judges_in_place_of_the_model_that_was_to_be_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainings = r"^Finetuning (\S+) with|^Job \d+: Finetuning (\S+) with"
    found = re.findall(trainings, plan("alignment_grpo", *overlay("judges")), re.M)
    assert len(found) == 2
    monkeypatch.setenv("JUDGE_API_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("JUDGE_MODEL_NAME", "judge")
    (found,) = re.findall(trainings, plan("alignment_grpo", *overlay("judges")), re.M)
    assert "alignment_policy" in "".join(found)


def test_without_its_section_the_alignment_says_what_is_missing() -> None:
    done = snakemake("--dry-run", "alignment_grpo")
    assert done.returncode != 0
    assert "key 'alignment' is not set" in done.stdout + done.stderr


def test_compared_kinds_start_from_the_same_model_and_need_what_they_need() -> None:
    output = plan("reward_kinds", "--config", "reward_comparison=[bleu, comet]")
    assert re.search(r"^train_mt_grpo +2$", output, re.M)
    rules = planned_rules(output)
    assert {"train_mt_sft", "score_comet_of_reward_kinds", "compare_reward_kinds"} <= rules
    assert not {rule for rule in rules if "grrm_" in rule and not rule.startswith("prepare")}


def test_the_judge_before_rlvr_trains_the_translation_model_once_more() -> None:
    output = plan("judge_comparison", *overlay("judge_comparison"))
    assert re.search(r"^train_mt_grpo +2$", output, re.M)
    assert "Training results/demo/models/mt_grpo_before_rlvr with verl" in output
    assert {"train_grrm_rlvr", "compare_reward_kinds", "render_page"} <= planned_rules(output)


def test_a_judge_of_single_translations_is_taken_to_stand_beside_the_one_of_groups(tmp_path: Path) -> None:
    comparison = Comparison(seed=0, cores=1)
    comparison.rlvr = tmp_path  # is trained by the benchmark
    (tmp_path / "rewards.yaml").write_text(yaml.safe_dump(comparison.rewards()))
    output = plan("reward_kinds", "--configfile", str(tmp_path / "rewards.yaml"))
    assert re.search(r"^train_mt_grpo +3$", output, re.M)
    assert f"Taking {tmp_path} as mt_reward_sqm_trained" in output


def test_without_judges_to_compare_it_is_said_how_to_name_them() -> None:
    done = snakemake("--dry-run", "judge_comparison")
    assert done.returncode != 0
    assert "add --configfile config/judge_comparison.yaml" in done.stdout + done.stderr


def test_every_rule_has_its_script_and_every_script_its_rule() -> None:
    text = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "rules").glob("*.smk")
        if path.name != "targets.smk"
    )
    scripts = {}
    for name, body in re.findall(r"^ *rule (\w+):\n(.*?)(?=^ *rule |^\w|\Z)", text, re.M | re.S):
        scripts[name] = set(re.findall(r"scripts/(\w+)\.py", body))
    for name, called in scripts.items():
        assert called == {SHARED.get(name, name)}, f"rule {name} calls {called}"
    called = set.union(*scripts.values())
    tools = {
        "explain_group",
        "run_workflow",
        "lock_environments",
        "print_summary",
        "document_config",
        "verify_digits",
        "demo_recipes",
    }
    assert {path.stem for path in (ROOT / "scripts").glob("*.py")} == called | tools


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("seeed=1", ["unknown key 'seeed'", "did you mean 'seed'"]),
        ("seed=-3", ["'seed' is -3", "at least 0"]),
        ("data={'source': 'nowhere'}", ["data.source", "'nowhere'", "'toy', 'sample'"]),
    ],
)
def test_a_wrong_configuration_stops_before_anything_runs(setting: str, words: list[str]) -> None:
    done = snakemake("--dry-run", "--config", setting)
    assert done.returncode != 0
    for word in words:
        assert word in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_linter_is_content() -> None:
    done = snakemake("--lint")
    assert done.returncode == 0, done.stdout + done.stderr
