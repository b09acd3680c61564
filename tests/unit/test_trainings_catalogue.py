"""A training is a row: what it names is there; a stage is named elsewhere only where it alone is meant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from configurations import experiment
from grrm.catalogue.trainings import COMPARED, NEEDS, STAGES, TRAININGS, of_part, training_of
from grrm.config import planned_trainings, value_of
from grrm.engines import checkpoints
from grrm.schemas import SCHEMAS

ROOT = Path(__file__).parents[2]
OVERLAYS = {"": (), "judges": ("judges",), "alignment": ("judges",)}
every = pytest.mark.parametrize("row", TRAININGS.values(), ids=list(TRAININGS))

# Where a stage's name stands beside its row, its rule file and configurations, and why.
ALLOWED = {
    "scripts/grrm/config/stages.py": "evaluate.checkpoints are steps of GRPO alone",
    "scripts/grrm/config/environment.py": "variables about a judge change the reward of GRPO alone",
    "scripts/grrm/config/relations.py": "messages name the keys that contradict each other",
    "scripts/grrm/config/reward_relations.py": "messages name the keys that contradict each other",
    "scripts/grrm/config/rewards.py": "reward_comparison is of GRPO alone",
    "scripts/grrm/catalogue/rewards.py": "the judge that the kind grrm takes unless told otherwise",
    "scripts/grrm/judges/configured_prompts.py": "the prompt of the reward of GRPO alone",
    "scripts/grrm/cluster.py": "the judge of GRPO alone may have machines of its own",
    "scripts/grrm/engines/verl.py": "says whose section its settings are",
    "scripts/grrm/rewards/group/options.py": "says whose section its options are",
    "scripts/grrm/data/sft_rows.py": "says what the rows of a table become",
    "scripts/grrm/data/sample.py": "which rows each stage gets of the sample",
    "scripts/grrm/data/toy_world.py": "which rows each stage gets of the toy world",
    "scripts/check_leakage.py": "an example of an option",
    "scripts/explain_group.py": "follows a group of GRPO alone",
    "scripts/grrm/report/explained_group.py": "follows a group of GRPO alone",
    "scripts/demo_recipes.py": "trains the models that recipes start from",
    "scripts/grrm/commands/forecast.py": "a teacher is asked about the pairs of GRPO",
    "config/schemas/forecast.schema.yaml": "the rows that are assumed of each stage's table",
    "scripts/grrm/preflight/forecast.py": "a teacher is asked about the pairs of GRPO",
    "rules/teacher_names.smk": "a teacher is asked about the pairs of GRPO",
    **{
        f"scripts/prepare_{stage}.py": "prepares the rows of this stage"
        for stage in ("grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo")
    },
    "rules/grrm.smk": "its rule file",
    "rules/mt.smk": "its rule file",
    "rules/train.smk": "generic GRPO has the settings of the experiment's own unless told otherwise",
    "rules/train_names.smk": "generic GRPO has the reward of the experiment's own unless told otherwise",
    "rules/common.smk": "the kind of reward of GRPO alone is compared",
    "rules/evaluate.smk": "models at steps of GRPO alone",
    "rules/reward_comparison.smk": "models are compared with the one before GRPO",
    "rules/report.smk": "the judge of the samples",
    "report/curves.rst": "says what the curves of these stages show",
    "config/schemas/config.schema.yaml": "its section",
}


def files() -> list[Path]:
    found = [ROOT / "Snakefile"]
    for folder in ("scripts", "rules", "report", "config/schemas", "slurm"):
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return found


def test_a_stage_is_named_only_where_it_alone_is_meant() -> None:
    name = re.compile(rf"\b(?:{'|'.join(STAGES)})\b")
    named = {
        str(path.relative_to(ROOT))
        for path in files()
        if name.search(path.read_text(encoding="utf-8", errors="ignore"))
    }
    assert not named - {"scripts/grrm/catalogue/trainings.py", *ALLOWED}
    assert all((ROOT / name).is_file() for name in ALLOWED)


@every
def test_a_row_names_what_there_is(row: Any) -> None:
    config = experiment(*OVERLAYS[row.part])
    section = value_of(config, row.section)
    assert {row.steps_key, "epochs", "save_steps", "seed"} - {"seed"} <= section.keys()
    assert not row.taken or "start_from" in section
    assert not row.taken_judge or "model" in section["reward"]
    assert row.start in TRAININGS or row.start.endswith("_base")
    assert not row.judge or row.judge in TRAININGS
    assert not row.table or row.table in SCHEMAS
    assert row in planned_trainings(config)
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "rules").glob("*.smk"))
    for verb in ("render", "train"):
        assert re.search(rf"^(rule|use rule \w+ as) {verb}_{row.rule_name}( with)?:$", text, re.M)


def test_rows_follow_what_they_need() -> None:
    seen: set[str] = set()
    for row in TRAININGS.values():
        assert {name for name in (row.start, row.judge) if name in TRAININGS} <= seen
        seen.add(row.name)
    assert set(NEEDS) == set(STAGES) == {row.name for row in of_part("")}
    for before, after in COMPARED.values():
        assert TRAININGS[after].start == before


def test_a_configuration_without_a_part_plans_no_training_of_it() -> None:
    assert [row.name for row in planned_trainings(experiment())] == list(STAGES)
    planned = {row.name for row in planned_trainings(experiment("paper", "small", "alignment_gpu"))}
    assert planned == {*STAGES, "alignment_grpo"}  # the policy is taken, an endpoint or a model judges


@pytest.mark.parametrize(
    ("name", "row"),
    [("mt_grpo", "mt_grpo"), ("mt_grpo_bleu", "mt_grpo"), ("judge_sft", "judge_sft"), ("mt_base", None)],
)
def test_another_run_of_a_training_has_its_row(name: str, row: str | None) -> None:
    found = training_of(name)
    assert (found and found.name) == row


def test_the_card_of_another_run_of_grpo_says_what_it_is() -> None:
    card = checkpoints.card("mt_grpo_bleu", {"config": {}, "inputs": {}})
    assert "A translation model, after reinforcement learning" in card
    assert "It optimises what its judge rewards" in card and "grrm translate" in card
    front = yaml.safe_load(card.split("---")[1])
    assert front["tags"] == ["grrm", "mt_grpo_bleu", "text-generation"]
