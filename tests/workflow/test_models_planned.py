"""Which stages are run for which models, and what a plan of the paper's experiment costs."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from test_plan import ROOT, overlay, plan, planned_rules, snakemake

from forking import ForkServer


def trainings(rules: set[str]) -> set[str]:
    return {rule.removeprefix("train_") for rule in rules if rule.startswith("train_")} - {"metric"}


def test_released_models_are_evaluated_and_nothing_is_trained() -> None:
    rules = planned_rules(plan(*overlay("paper paper_released")))
    assert trainings(rules) == set()
    assert {"take_model", "rank_candidates", "translate_segments", "score_segments", "summarize"} <= rules


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({"mt_grpo": {"start_from": "MODEL"}}, {"grrm_sft", "grrm_rlvr", "mt_grpo"}),
        ({"grrm_rlvr": {"start_from": "MODEL"}}, {"grrm_rlvr", "mt_sft", "mt_grpo"}),
        ({"evaluate": {"start_from": {"grrm_rlvr": "MODEL"}}}, {"mt_sft", "mt_grpo"}),
        ({"evaluate": {"start_from": {"mt_grpo": "MODEL"}}}, {"grrm_sft", "grrm_rlvr"}),
    ],
)
def test_start_from_skips_the_stages_before(
    tmp_path: Path, changes: dict[str, Any], stages: set[str]
) -> None:
    model, config = tmp_path / "model", tmp_path / "overlay.yaml"
    model.mkdir()
    config.write_text(json.dumps(changes).replace("MODEL", str(model)))
    rules = planned_rules(plan("--configfile", str(config)))
    assert trainings(rules) == stages
    assert "take_model" in rules


def test_a_model_in_no_table_is_locked_and_downloaded() -> None:
    output = plan("--config", "grrm_rlvr={'start_from': 'Nobody/Nothing'}", "-p")
    assert {"lock_data", "download_dataset", "take_model"} <= planned_rules(output)
    assert "download_dataset.py --name models--Nobody--Nothing" in output


@pytest.mark.parametrize("reference", ["results/paper/models/grrm_sft", "config/nothing", "../nothing"])
def test_a_folder_that_is_nowhere_is_named_before_anything_runs(reference: str) -> None:
    done = snakemake("--dry-run", "--config", f"grrm_rlvr={{'start_from': '{reference}'}}")
    assert done.returncode != 0
    words = f"key 'grrm_rlvr.start_from' is '{reference}', neither a folder nor a hub id"
    assert words in done.stdout + done.stderr
    assert "Qwen/Qwen2.5-7B" in done.stdout + done.stderr


def test_a_limit_for_no_test_set_is_named_before_anything_runs() -> None:
    done = snakemake("--dry-run", *overlay("paper"), "--config", "data={max_leakage: {heldout: 1.0}}")
    assert done.returncode != 0
    assert "key 'data.max_leakage' names 'heldout'" in done.stdout + done.stderr


def test_the_published_fork_is_planned_with_an_environment_of_its_own() -> None:
    output = " ".join(plan(*overlay("paper paper_fork"), "-p").split())
    assert "--engine gen_rm_fork" in output
    assert "--python python --fork ../verl" in output
    assert "--locks driver=envs/driver.txt comet=envs/comet.txt" in output


def test_gpus_have_environments_of_their_own() -> None:
    output = plan("environments", *overlay("paper"), "-p")
    assert {"sft_cuda", "rl_cuda", "comet"} <= set(output.replace("/", " ").replace(".", " ").split())
    assert "environments/train" not in output


def test_a_plan_imports_nothing_heavy() -> None:
    server = ForkServer(
        # Of Snakemake's Slurm executor; it brings pyarrow.
        "import importlib.machinery, sys, types\n"
        "pandas = sys.modules['pandas'] = types.ModuleType('pandas')\n"
        "pandas.__spec__ = importlib.machinery.ModuleSpec('pandas', None)\n"
        "pandas.__getattr__ = lambda name: type(name, (), {})\n"
        "import snakemake.cli"
    )
    code = (
        "import sys\n"
        "from snakemake.cli import main\n"
        "try: main(['--cores', '1', '--dry-run', '--forceall', *sys.argv[1:]])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'transformers', 'verl', 'pyarrow', 'sacrebleu', 'huggingface_hub', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    for configuration in ("", "paper", "paper paper_released"):
        done = server.run(sys.executable, code, *overlay(configuration), cwd=ROOT, environment=os.environ)
        assert done.returncode == 0, done.stderr
        assert "Job stats" in done.stdout


def test_metrics_by_name_bring_their_models_and_what_these_lack(tmp_path: Path) -> None:
    config = tmp_path / "metrics.yaml"
    config.write_text(
        "evaluate: {metrics: [cometkiwi, xcomet, bleurt, metricx, llm_judge], llm_judge: {model: m}}"
    )
    output = " ".join(plan(*overlay("paper"), str(config), "-p").split())
    for model, part in (
        ("wmt22_cometkiwi_da", "--encoder results/downloads/infoxlm_large"),
        ("xcomet_xl", "--encoder results/downloads/xlm_roberta_xl"),
        ("metricx_24_large", "--tokenizer results/downloads/mt5_xl"),
    ):
        assert f"take_model.py --source results/downloads/{model} " in output
        assert part in output
    # What is read is locked first, though these entries are optional.
    locked = output.split("lock_data.py", 1)[1].split(">", 1)[0].split()
    assert {"wmt22_cometkiwi_da", "infoxlm_large", "xlm_roberta_xl", "mt5_xl", "bleurt_20"} <= set(locked)
    for metric in ("cometkiwi", "xcomet", "bleurt", "metricx", "llm_judge"):
        assert f"{metric}=results/paper/evaluation/{metric}.json" in output
    assert "evaluation/comet.json" not in output


def test_answers_are_asked_of_a_server_by_its_whole_address_and_whatever_is_left_from_before(
    tmp_path: Path,
) -> None:
    config = tmp_path / "served.yaml"
    config.write_text("evaluate: {base_url: 'https://host:8000/v1?api-version=1&region=x'}\n")
    output = " ".join(plan("--configfile", str(config), "-p").split())
    commands = re.findall(
        r"scripts/(rank_candidates|translate_segments|judge_translations)\.py [^>]*>", output
    )
    assert set(commands) == {"rank_candidates", "translate_segments", "judge_translations"}
    asked = output.count("--base-url 'https://host:8000/v1?api-version=1&region=x'")
    assert asked == output.count("--discard-stale") == len(commands)
