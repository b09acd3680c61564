"""Every training, one row each: what it starts from, what it reads, which engine makes it, what it makes.

Pure data, importable while the Snakefile is parsed. Everything that is known of a training by its name alone
(the order of stages and what they need, models that may be taken instead, rules, targets, labels, cards)
derives from its row; a new one is a row here, and a rule by `use rule` (rules/train.smk).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

ALL_LINEAR = "all-linear"
"""In lora.targets: all linear layers within the blocks, as peft names them."""

Engine: TypeAlias = Literal["sft", "rl", "bt"]
Task: TypeAlias = Literal["ranking", "translation"]
Makes: TypeAlias = Literal["judge", "policy", "sft"]


@dataclass(frozen=True)
class Training:
    """What a training is.

    Attributes:
        name: its own, and that of its model, its checkpoints and its curve.
        section: its section of the configuration, as a dotted path.
        engine: SFT (LLaMA-Factory), reinforcement learning (verl), or a Bradley-Terry model (TRL).
        start: the model that it starts from: another training's, or a base model.
        data: the rows that it reads, below the folder of results.
        label: its model, in a table of results; empty where none is shown.
        title: what it is, as a heading over its curves.
        card: its model, in the words of a model card.
        makes: for the card: a judge, a policy that optimised a reward, or a model after SFT alone.
        validation: the rows of its validation; empty if it never has one.
        table: layout of its source table (`grrm.schemas.SCHEMAS`); empty without a table of its own.
        task: what its model answers in the evaluation, where models before and after are compared.
        judge: the model that scores its rollouts unless the configuration names another; empty: they are
            verified.
        taken: the model that its key `start_from` names; empty without that key.
        rewards: kind of reward that its model can score for (`grrm.catalogue.rewards`); empty: for none.
        taken_judge: the model that its key `reward.model` names; empty without that key.
        rule: of the rules `render_<rule>` and `train_<rule>`; empty: the name.
        target: the name that it can be asked for by; empty: the name.
    """

    name: str
    section: str
    engine: Engine
    start: str
    data: str
    title: str
    card: str
    makes: Makes
    label: str = ""
    validation: str = ""
    table: str = ""
    task: Task | None = None
    judge: str = ""
    taken: str = ""
    taken_judge: str = ""
    rewards: str = ""
    rule: str = ""
    target: str = ""

    @property
    def part(self) -> str:
        """The section of the configuration around its own (judges, alignment); empty: it is of the chain."""
        part, _, rest = self.section.rpartition(".")
        return part if rest else ""

    @property
    def steps_key(self) -> str:
        """The key of its number of steps, of which `epochs` is the alternative."""
        return "steps" if self.engine == "rl" else "max_steps"

    @property
    def rule_name(self) -> str:
        """Of its rules, without the verb."""
        return self.rule or self.name

    @property
    def target_name(self) -> str:
        """The rule by which its model can be asked for."""
        return self.target or self.name


def _judge(
    kind: str,
    engine: Engine,
    data: str,
    card: str,
    *,
    start: str = "judge_base",
    makes: Makes = "judge",
    validation: str = "",
    rule: str = "",
) -> Training:
    return Training(
        name=f"judge_{kind}",
        section=f"judges.{kind}",
        engine=engine,
        start=start,
        data=data,
        title=f"judge_{kind}",
        card=card,
        makes=makes,
        validation=validation,
        taken=f"judge_{kind}_base",
        rule=rule,
    )


_ROWS = (
    Training(
        "grrm_sft",
        "grrm_sft",
        "sft",
        "grrm_base",
        "prepared/grrm_sft.jsonl",
        title="SFT of the judge",
        card="reward model for translations, after supervised finetuning",
        makes="judge",
        label="Judge after SFT",
        table="ranking",
        task="ranking",
        taken="grrm_base",
        rewards="grrm",
    ),
    Training(
        "grrm_rlvr",
        "grrm_rlvr",
        "rl",
        "grrm_sft",
        "prepared/grrm_rlvr.parquet",
        title="RLVR of the judge",
        card="reward model for translations, after reinforcement learning from verified rankings",
        makes="judge",
        label="Judge after RLVR",
        validation="prepared/grrm_rlvr_validation.parquet",
        table="ranking",
        task="ranking",
        taken="grrm_sft",
        rewards="grrm",
    ),
    Training(
        "mt_sft",
        "mt_sft",
        "sft",
        "mt_base",
        "prepared/mt_sft.jsonl",
        title="SFT of the translator",
        card="translation model, after supervised finetuning",
        makes="sft",
        label="Translator after SFT",
        table="cot",
        task="translation",
        taken="mt_base",
    ),
    Training(
        "mt_grpo",
        "mt_grpo",
        "rl",
        "mt_sft",
        "prepared/mt_grpo.parquet",
        title="GRPO of the translator",
        card="translation model, after reinforcement learning with a judge as its reward",
        makes="policy",
        label="Translator after GRPO",
        table="pairs",
        task="translation",
        judge="grrm_rlvr",
        taken="mt_sft",
        taken_judge="mt_reward",
    ),
    _judge(
        "sft",
        "sft",
        "prepared/judge_sft.jsonl",
        "judge of responses, after supervised finetuning",
        makes="sft",
    ),
    _judge(
        "pointwise",
        "rl",
        "prepared/judge_pointwise_train.parquet",
        "judge that scores responses, after reinforcement learning from verified scores",
        start="judge_sft",
        validation="prepared/judge_pointwise_test.parquet",
        rule="judge_rl",
    ),
    _judge(
        "pairwise",
        "rl",
        "prepared/judge_pairwise_train.parquet",
        "judge that compares responses, after reinforcement learning from verified preferences",
        start="judge_sft",
        validation="prepared/judge_pairwise_test.parquet",
        rule="judge_rl",
    ),
    _judge(
        "bradley_terry",
        "bt",
        "data/judge_bradley_terry_train.jsonl",
        "reward model (Bradley-Terry), trained on chosen and rejected responses",
        rule="bradley_terry",
    ),
    Training(
        "alignment_policy",
        "alignment.policy_sft",
        "sft",
        "alignment_base",
        "prepared/alignment_policy.jsonl",
        title="alignment_policy",
        card="policy, after supervised finetuning",
        makes="sft",
        rule="alignment_sft",
        target="alignment_grpo",
    ),
    Training(
        "alignment_judge",
        "alignment.judge_sft",
        "sft",
        "alignment_base",
        "prepared/alignment_judge.jsonl",
        title="alignment_judge",
        card="judge of responses, after supervised finetuning",
        makes="sft",
        rule="alignment_sft",
        target="alignment_grpo",
    ),
    Training(
        "alignment_grpo",
        "alignment.grpo",
        "rl",
        "alignment_policy",
        "prepared/alignment_train.parquet",
        title="alignment_grpo",
        card="policy, after reinforcement learning with a judge as its reward",
        makes="policy",
        validation="prepared/alignment_validation.parquet",
        judge="alignment_judge",
        taken="alignment_policy",
        taken_judge="alignment_judge",
    ),
)

TRAININGS = {row.name: row for row in _ROWS}
"""By their names, in the order in which they follow on one another."""
STAGES = tuple(row.name for row in _ROWS if not row.part)
"""The chain: from the base models to a translation model that the GRRM has rewarded."""
SYSTEMS = (*STAGES, None)
"""What may stand for a system of the paper (config/reference_results.yaml); None: nothing does."""
READERS = (*STAGES, "evaluate_ranking", "evaluate_translation", "judge_training", "released")
"""What may read a data set (config/datasets.yaml)."""
NEEDS = {
    row.name: tuple(name for name in (row.start, row.judge) if name in TRAININGS)
    for row in _ROWS
    if not row.part
}
"""Models that a stage of the chain needs from others: what it starts from, and its judge."""
OWN_JUDGES = {row.name: row.rewards for row in _ROWS if row.rewards}
"""Judges of the experiment's own -> the kind of reward that they score for. `reward.model` may name them."""
COMPARED = {
    task: [row.name for row in _ROWS if row.task == task]
    for task in dict.fromkeys(row.task for row in _ROWS)
    if task
}
"""Models that are compared on a task: before reinforcement learning, and after."""


def of_part(part: str) -> tuple[Training, ...]:
    """The trainings of a section of the configuration (judges, alignment), or with "" those of the chain."""
    return tuple(row for row in TRAININGS.values() if row.part == part)


def training_of(name: str) -> Training | None:
    """The row of a model: of that name, or `<row>_<something>` for another run of it (`mt_grpo_bleu`)."""
    rows = [row for row in TRAININGS.values() if name == row.name or name.startswith(f"{row.name}_")]
    return max(rows, key=lambda row: len(row.name), default=None)
