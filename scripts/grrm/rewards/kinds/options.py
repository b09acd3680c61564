"""How groups are scored."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, TypeAlias, get_args

from grrm.asking.options import JudgeOptions
from grrm.catalogue.rewards import KINDS, PART_NAMES, RewardKind
from grrm.files import UserError
from grrm.judges.pointwise import Scale
from grrm.rewards.model_scores import ModelOptions

Normalise: TypeAlias = Literal["none", "group"]

MIDDLE = 5.0
"""Points of a candidate about which nothing is known."""


@dataclass(frozen=True)
class ScoringOptions:
    """How groups are scored.

    Raises:
        UserError: the kind is unknown, or what it needs is missing.
    """

    kind: str
    prompt: str = ""
    """Prompt file: of kind ranking_score (grrm), sqm, or judge_pairwise, judge_pointwise and judge_listwise,
    in whose place path/to/file.py:function may stand. bradley_terry: a translation prompt, which makes the
    user's turn; empty: the question as it is."""
    swap: bool = True
    """Ask about each pair in both orders; answers that disagree are a tie (pairwise)."""
    scale: Scale = "absolute"
    """How 1 to 10 becomes -1 to 1 (pointwise): absolute keeps the level; group stretches each group."""
    reference: bool = False
    """Show the judge the reference, if there is one (pairwise, pointwise, listwise)."""
    judge: JudgeOptions | None = None
    """Whom to ask (kinds with a judge)."""
    served: bool = False
    """The judge is the one that verl serves: who scores says how it is asked (`Asking`)."""
    model: ModelOptions | None = None
    """Checkpoint (bradley_terry, comet)."""
    seed: int = 0
    """Of the order in which the GRRM sees candidates."""
    tolerant: bool = False
    """Read answers as those of a model that was not trained on the form: bold headers, 9/10, "Response A",
    [3, 2, 1] (grrm, pairwise, pointwise, listwise)."""
    function: str = ""
    """The function that scores, path/to/file.py:function (function)."""
    range: tuple[float, float] | None = None
    """Its lowest and highest score, which become 0 and 10 points (function)."""
    parts: tuple[Part, ...] = ()
    """What is weighed together (mixture)."""

    def __post_init__(self) -> None:
        """Check that what the kind needs is there."""
        if self.kind not in KINDS:
            raise UserError(f"reward: kind is {self.kind!r}, expected one of {', '.join(KINDS)}")
        if self.scale not in get_args(Scale):
            raise UserError(f"reward: scale is {self.scale!r}, expected absolute or group")
        asks = self.entry.asks
        if asks == "judge" and self.judge is None and not self.served:
            raise UserError(f"reward: kind {self.kind} asks a judge; set judge.url and judge.model")
        if asks == "judge" and not self.prompt:
            raise UserError(f"reward: kind {self.kind} needs a prompt; name its file")
        if asks == "checkpoint" and self.model is None:
            raise UserError(f"reward: kind {self.kind} needs a checkpoint; set model.model")
        if (asks == "parts") != bool(self.parts):
            expected = "at least one" if asks == "parts" else "none"
            raise UserError(f"reward: kind {self.kind} has {len(self.parts)} parts, expected {expected}")
        if (self.kind == "function") != bool(self.function):
            expected = "path/to/file.py:function" if self.kind == "function" else "none"
            raise UserError(
                f"reward: function is {self.function!r}, expected {expected} for kind {self.kind}"
            )
        if self.range is not None and not (len(self.range) == 2 and self.range[0] < self.range[1]):
            raise UserError(f"reward: range is {list(self.range)}, expected the lowest and the highest score")
        _check_parts(self.parts)

    @classmethod
    def from_mapping(
        cls,
        values: Mapping[str, Any],
        *,
        judge: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Self:
        """Options as they stand in a configuration: judge, model and each of parts as mappings.

        Args:
            values: the options.
            judge: options of every judge's client that `values` do not name.
            environment: what else may say how a judge is asked (`JudgeOptions.from_mapping`).

        Raises:
            UserError: a key is unknown, or a value cannot be used.
        """
        given, known = dict(values), {option.name for option in fields(cls)}
        if unknown := sorted(set(given) - known):
            raise UserError(f"reward: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        entry = KINDS.get(str(given.get("kind", "")))
        _check_types(given)
        asked, client = entry is not None and entry.asks == "judge", given.pop("judge", None) or {}
        if asked and not given.get("served"):
            given["judge"] = JudgeOptions.from_mapping({**(judge or {}), **client}, environment)
        checkpoint = given.pop("model", None)
        if checkpoint and entry is not None and entry.asks == "checkpoint":
            given["model"] = _checkpoint(checkpoint)
        if given.get("range") is not None:
            given["range"] = tuple(given["range"])
        parts = given.pop("parts", None) or ()
        given["parts"] = tuple(Part.from_mapping(p, judge=judge, environment=environment) for p in parts)
        return cls(**given)

    @property
    def entry(self) -> RewardKind:
        """What the kind is."""
        return KINDS[self.kind]

    @property
    def relative(self) -> bool:
        """Whether scores say something within their group only, so that a single candidate has none."""
        if self.parts:
            return all(part.normalise == "group" or part.options.relative for part in self.parts)
        relative = self.entry.relative
        return self.scale == "group" if relative == "scale" else bool(relative)

    def compares(self, *, points: bool) -> bool:
        """Whether a lone candidate has no score, or, with `points`, no points; of a mixture, in any part."""
        if self.parts:  # it is their points that are weighed
            return any(part.normalise == "group" or part.options.compares(points=True) for part in self.parts)
        return self.relative and (points or self.entry.relative != "points")

    @property
    def points_range(self) -> tuple[float, float] | None:
        """Scores that become 0 and 10 points; None if the kind's module makes points."""
        return self.range or self.entry.range


@dataclass(frozen=True)
class Part:
    """A part of a mixture.

    Attributes:
        name: under which its points are logged.
        weight: its share, relative to the other weights.
        options: how it scores.
        normalise: none: its points, 0 to 10, as they are; group: their distance from the mean of the group in
            standard deviations.
    """

    name: str
    weight: float
    options: ScoringOptions
    normalise: Normalise = "none"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], **shared: Any) -> Self:
        """A part as it stands in the configuration: kind, and what of weight (1 unless given), name (the
        kind), normalise and the options of `ScoringOptions` is given.

        Raises:
            UserError: a key is unknown, or a value cannot be used; the message names the part.
        """
        given = dict(values)
        name = str(given.pop("name", None) or given.get("kind"))
        weight, normalise = given.pop("weight", 1.0), given.pop("normalise", "none")
        if given.get("kind") not in PART_NAMES:
            raise UserError(
                f"reward.parts: kind is {given.get('kind')!r}, expected one of {', '.join(PART_NAMES)}"
            )
        if not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise UserError(f"reward.parts: {name}: weight is {weight!r}, expected a number above 0")
        if normalise not in get_args(Normalise):
            raise UserError(f"reward.parts: {name}: normalise is {normalise!r}, expected none or group")
        return cls(name, float(weight), ScoringOptions.from_mapping(given, **shared), normalise)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def _are_options(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_text, value))


def _are_parts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_are_options, value))


def _is_range(value: Any) -> bool:
    numbers = isinstance(value, list | tuple) and len(value) == 2
    return numbers and all(isinstance(end, int | float) and not isinstance(end, bool) for end in value)


_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("kind", "prompt", "scale", "function"), (_is_text, "a text")),
    **dict.fromkeys(("swap", "reference", "served", "tolerant"), (_is_switch, "true or false")),
    "seed": (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    "range": (_is_range, "the lowest and the highest score"),
    "judge": (_are_options, "options, such as url and model"),
    "model": (lambda value: _is_text(value) or _are_options(value), "the folder of a checkpoint, or options"),
    "parts": (_are_parts, "a list of options, such as kind and weight"),
}


def _check_types(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        fits, expected = _TYPES[name]
        if value is not None and not fits(value):
            raise UserError(f"reward: {name} is {value!r:.80}, expected {expected}")


def _checkpoint(given: str | Mapping[str, Any]) -> ModelOptions:
    """A checkpoint by its folder, or by options."""
    options = {"model": given} if isinstance(given, str) else dict(given)
    known = [option.name for option in fields(ModelOptions)]
    if unknown := sorted(set(options) - set(known)):
        raise UserError(f"reward: model has unknown {', '.join(unknown)}; known are {', '.join(known)}")
    return ModelOptions(**{"model": "", **options})


def _check_parts(parts: Sequence[Part]) -> None:
    names = [part.name for part in parts]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"reward.parts: two are named {', '.join(twice)}; give each a name of its own")
    if len(served := [part.name for part in parts if part.options.served]) > 1:
        raise UserError(
            f"reward.parts: {' and '.join(served)} are served by verl, expected at most one; ask the others "
            "at an endpoint (judge.url)"
        )
