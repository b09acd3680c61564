"""One group of a GRPO training, followed from its source text to the gradient, with the numbers of a run."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grrm.files import UserError
from grrm.prompts import load_ranking_prompt, load_translation_prompt
from grrm.ranking import labels
from grrm.report.templates import template
from grrm.rewards.group.options import GroupOptions
from grrm.rewards.group.plan import overlong_penalty

Row = Mapping[str, Any]

# The trainer adds rewards up in single precision.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Rollout:
    """What became of one rollout.

    Attributes:
        translation: None if the response holds none.
        label: under which the judge saw it; None without a translation.
        score: of the judge, 0 to 10; None without one.
        length: of the response, tokens.
        penalty: for its length, subtracted from the reward.
        reward: as it entered the training.
        advantage: its reward minus the mean of the group's.
        weight: what the gradient of its mean log-probability is multiplied by in the step's update.
    """

    translation: str | None
    label: str | None
    score: float | None
    length: int
    penalty: float
    reward: float
    advantage: float
    weight: float


def choose(rows: Sequence[Row], step: int) -> Row:
    """The group that says most: of those of a step with their texts, the one with the most different rewards.

    Args:
        rows: of the ledger of judged groups (curves/mt_grpo.judgements.jsonl).
        step: of the training, from 1.

    Raises:
        UserError: no judged group of this step was recorded with its texts.
    """
    found = [row for row in rows if row["step"] == step and row["outcome"] == "judged" and "answer" in row]
    if not found:
        steps = sorted({row["step"] for row in rows if "answer" in row})
        raise UserError(f"step {step}: no judged group is recorded with its texts; expected one of {steps}")
    return max(found, key=lambda row: len(set(row["rewards"])))


def explain(config: Row, rows: Sequence[Row], curve: Sequence[Row], step: int) -> dict[str, Any]:
    """All numbers of the way from a source text to the gradient.

    Args:
        config: the experiment's resolved configuration.
        rows: of the ledger of judged groups.
        curve: what the trainer logged, a row a step (curves/mt_grpo.jsonl).
        step: of the training, from 1.

    Returns:
        step, group (the ledger's row), rollouts, mean (of the group's rewards), prompts (what the translation
        model and the judge were asked), settings (score_scale, sft_coef, rollouts, groups, sequences and
        learning_rate of the step), logged (the trainer's own numbers of the step).

    Raises:
        UserError: the step is not there, or its numbers do not agree with those that the trainer logged.
    """
    chosen, stage = choose(rows, step), config["mt_grpo"]
    groups = [row for row in rows if row["step"] == step]
    logged = next((row for row in curve if row["step"] == step and "actor/grad_norm" in row), None)
    if logged is None:
        raise UserError(f"step {step}: the training's curve does not have it")
    sequences = sum(len(row["rewards"]) for row in groups)
    positive = sum(advantage > 0 for row in groups for advantage in _advantages(row))
    _check(step, groups, sequences, stage, logged)
    return {
        "step": step,
        "group": chosen,
        "rollouts": _rollouts(chosen, sequences, positive, stage),
        "mean": statistics.fmean(chosen["rewards"]),
        "prompts": _prompts(config, chosen),
        "settings": {
            **{key: stage[key] for key in ("rollouts", "sft_coef", "max_grad_norm")},
            **{key: stage["reward"][key] for key in ("score_scale", "default_reward")},
            "sequences": sequences,
            "positive": positive,
            "outcomes": Counter(row["outcome"] for row in groups),
        },
        "logged": {
            "reward": logged["critic/score/mean"],
            "grad_norm": logged["actor/grad_norm"],
            "lr": logged["actor/lr"],
        },
    }


def _check(step: int, groups: Sequence[Row], sequences: int, stage: Row, logged: Row) -> None:
    """What is told must be what happened: one update, in one batch, and the very rewards of this run."""
    for key, needed in (("mini_batch_size", stage["train_batch_size"]), ("micro_batch_size", sequences)):
        if stage[key] != needed:
            raise UserError(
                f"mt_grpo.{key} is {stage[key]}, expected {needed}: weights are told for steps of one "
                "update in one batch; name an experiment with such steps"
            )
    mean = statistics.fmean(reward for row in groups for reward in row["rewards"])
    if abs(mean - logged["critic/score/mean"]) > _ROUNDING:
        raise UserError(
            f"step {step}: the mean reward of the recorded groups is {mean:.6f}, that of the curve "
            f"{logged['critic/score/mean']:.6f}; they are of different runs, train the stage anew"
        )


def _advantages(row: Row) -> list[float]:
    mean = statistics.fmean(row["rewards"])
    return [reward - mean for reward in row["rewards"]]


def _rollouts(row: Row, sequences: int, positive: int, stage: Row) -> list[Rollout]:
    reward_keys = ("overlong_buffer", "overlong_penalty")
    options = GroupOptions(
        prompt="judge",
        max_response_length=stage["max_response_length"],
        **{key: stage["reward"][key] for key in reward_keys},
    )
    names, found = labels(len(row["candidates"])), []
    members = zip(row["candidate"], row["lengths"], row["rewards"], _advantages(row), strict=True)
    for place, length, reward, advantage in members:
        found.append(
            Rollout(
                translation=None if place is None else row["candidates"][place],
                label=None if place is None else names[place],
                score=None if place is None else row["scores"][place],
                length=length,
                penalty=overlong_penalty(length, options),
                reward=reward,
                advantage=advantage,
                weight=gradient_weight(advantage, sequences, positive, stage["sft_coef"]),
            )
        )
    return found


def gradient_weight(advantage: float, sequences: int, positive: int, sft_coef: float) -> float:
    """What multiplies the gradient of a rollout's mean log-probability: GSPO's share and the likelihood's.

    Args:
        advantage: of the rollout.
        sequences: rollouts of the update; it is the only one of its step, so that all ratios are 1.
        positive: those of them whose advantage is above zero.
        sft_coef: of the likelihood of the better ones (paper, appendix C).
    """
    likelihood = sft_coef * advantage / positive if advantage > 0 else 0.0
    return advantage / sequences + likelihood


def _prompts(config: Row, row: Row) -> dict[str, str]:
    languages = {key: row[key] for key in ("src_lang", "trg_lang")}
    translation = load_translation_prompt(config["prompts"]["translation"])
    ranking = load_ranking_prompt(config["prompts"]["ranking"])
    return {
        "translation": translation.render(src_text=row["src_text"], **languages),
        "ranking": ranking.render(src_text=row["src_text"], mt_texts=row["candidates"], **languages),
    }


def render(found: Row, config: Row) -> str:
    """The page, in Markdown: `report/how_it_works.md.j2` filled with what `explain` found."""
    return template("how_it_works.md.j2").render(
        **found,
        seed=config["seed"],
        experiment=config["experiment"],
        temperature=config["mt_grpo"]["temperature"],
        different=len(found["group"]["candidates"]),
        outcomes=found["settings"]["outcomes"].most_common(),
        groups=found["settings"]["outcomes"].total(),
        words=_OUTCOMES,
    )


_OUTCOMES = {
    "judged": "were judged",
    "identical": "held equal translations only, which need no judge",
    "invalid": "held no translation",
    "failed": "got no readable judgement",
}
