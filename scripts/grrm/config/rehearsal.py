"""The rehearsal of an experiment: which trainings, and the models that each of them has at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from grrm.catalogue.trainings import TRAININGS, Training
from grrm.config.rewards import has_alignment_judge, scoring_model_of
from grrm.config.stages import planned_trainings, taken_models, trained_stages, value_of
from grrm.files import UserError

Kind: TypeAlias = Literal["given", "finished", "released", "base"]
Finished: TypeAlias = Callable[[str], bool]

RULES = {"rehearse_sft": ("sft", "bt"), "rehearse_rl": ("rl",)}
"""Rules that rehearse -> engines of their trainings."""


@dataclass(frozen=True)
class AtHand:
    """A model that a rehearsal uses.

    Attributes:
        kind: given, the one that the training will use; finished, made by an earlier stage; released, one
            that stands in for it; base, what it will be made of.
        model: its name below models/; of a released one its folder or hub id.
    """

    kind: Kind
    model: str


def rehearsed(config: Mapping[str, Any]) -> list[Training]:
    """The trainings that are rehearsed, in order.

    Args:
        config: resolved configuration, with a section `rehearsal`.

    Raises:
        UserError: nothing is trained, or `rehearsal.trainings` names what is not.
    """
    stages = trained_stages(config)
    # What has no target of its own is the SFT of toys, on a CPU alone.
    rows = [
        row
        for row in planned_trainings(config)
        if row.name in stages or (row.part and row.target_name == row.name)
    ]
    if not rows:
        raise UserError(
            "section 'rehearsal': nothing is trained, so there is nothing to rehearse; leave it out"
        )
    wanted = config["rehearsal"]["trainings"]
    if wanted is None:
        return rows
    if unknown := [name for name in wanted if name not in {row.name for row in rows}]:
        raise UserError(
            f"key 'rehearsal.trainings' names {unknown[0]!r}, expected trainings of this experiment: "
            f"{', '.join(row.name for row in rows)}"
        )
    return [row for row in rows if row.name in wanted]


def start_at_hand(config: Mapping[str, Any], row: Training, is_finished: Finished) -> AtHand:
    """The model that the rehearsal of a training starts from.

    Args:
        config: resolved configuration, with a section `rehearsal`.
        row: the training.
        is_finished: whether a model is there, by its name.
    """
    taken = taken_models(config)
    return _at_hand(config, row.taken if row.taken in taken else row.start, is_finished)


def judge_at_hand(config: Mapping[str, Any], row: Training, is_finished: Finished) -> AtHand | None:
    """The model that scores rollouts in the rehearsal of a training; None if none does, or an endpoint.

    Parameters: see `start_at_hand`.
    """
    reward = value_of(config, f"{row.section}.reward")
    if reward is None:
        return None
    if row.part:
        name = row.taken_judge if has_alignment_judge(config[row.part]) else None
    else:
        name = scoring_model_of(reward)
    return None if name is None else _at_hand(config, name, is_finished)


def released_models(config: Mapping[str, Any]) -> set[str]:
    """Models of others that a rehearsal may use; none without one."""
    if "rehearsal" not in config:
        return set()
    every = rehearsed(config)
    found = [start_at_hand(config, row, lambda name: False) for row in every]
    found += filter(None, [judge_at_hand(config, row, lambda name: False) for row in every])
    return {hand.model for hand in found if hand.kind == "released"}


def _at_hand(config: Mapping[str, Any], name: str, is_finished: Finished) -> AtHand:
    taken, row = taken_models(config), TRAININGS.get(name)
    if name in taken:
        return AtHand("given", name)
    if row is None:
        return AtHand("base" if name.endswith("_base") else "given", name)
    if is_finished(name):
        return AtHand("finished", name)
    if (released := _released(config, row)) is not None:
        return AtHand("released", released)
    before = _at_hand(config, row.taken if row.taken in taken else row.start, is_finished)
    return before if before.kind != "given" or before.model in TRAININGS else AtHand("base", before.model)


def _released(config: Mapping[str, Any], row: Training) -> str | None:
    """What stands in for the model of a training: a folder, or a model named after the same base model."""
    released: str | None = config["rehearsal"]["released"].get(row.name)
    if released is None or Path(released).is_dir():
        return released
    taken = taken_models(config)
    while row.taken not in taken and row.start in TRAININGS:
        row = TRAININGS[row.start]
    base = taken.get(row.taken)
    return released if base is not None and Path(base).name in Path(released).name else None
