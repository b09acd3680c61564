"""What one GPU takes for work counted in tokens, by the assumptions of config/forecast.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Range(NamedTuple):
    """A low and a high end, both 0 or more."""

    low: float
    high: float

    def __mul__(self, other: object) -> Range:
        if isinstance(other, Range):
            return Range(self.low * other.low, self.high * other.high)
        assert isinstance(other, int | float)
        return Range(self.low * other, self.high * other)

    def __add__(self, other: object) -> Range:
        assert isinstance(other, Range)
        return Range(self.low + other.low, self.high + other.high)

    def at(self, speed: Range) -> Range:
        """What this much takes at a speed: the low end at the high one."""
        return Range(self.low / speed.high, self.high / speed.low)


def with_adapters(assumptions: Mapping[str, Any]) -> Mapping[str, Any]:
    """The assumptions where adapters alone are trained."""
    speed = assumptions["speed"]
    training = Range(*speed["training"]["range"]) * Range(*speed["lora"]["range"])
    return {**assumptions, "speed": {**speed, "training": {"range": training}}}


def learning_seconds(tokens: Range, parameters: float, assumptions: Mapping[str, Any]) -> Range:
    """What one GPU takes to learn so many tokens of examples."""
    (training,) = _speeds(parameters, assumptions, "training")
    seconds: Range = tokens.at(training) * Range(*assumptions["speed"]["overhead"]["range"])
    return seconds


class Parts(NamedTuple):
    """Seconds of one GPU for the parts of a reinforcement learning, overhead included: writing the rollouts,
    judging them where the run serves the judge, and log-probabilities and gradients."""

    generation: Range
    judging: Range
    learning: Range

    @property
    def seconds(self) -> Range:
        """Of all parts."""
        return self.generation + self.judging + self.learning


def rl_parts(
    prompt: Range,
    answer: Range,
    rollouts: Range,
    judged: Range,
    parameters: float,
    assumptions: Mapping[str, Any],
) -> Parts:
    """What one GPU takes for reinforcement learning.

    Args:
        prompt: tokens of one.
        answer: likewise.
        rollouts: all of them.
        judged: tokens that a judge writes about all of them, which the run serves; of a model of the same
            size.
        parameters: of the model.
        assumptions: see config/forecast.yaml.
    """
    training, scoring, generation = _speeds(parameters, assumptions, "training", "scoring", "generation")
    overhead, read = Range(*assumptions["speed"]["overhead"]["range"]), (prompt + answer) * rollouts
    return Parts(
        (answer * rollouts).at(generation) * overhead,
        judged.at(generation) * overhead,
        (read.at(scoring) + read.at(training)) * overhead,
    )


def _speeds(parameters: float, assumptions: Mapping[str, Any], *works: str) -> list[Range]:
    """Tokens a second and GPU of a model of this size."""
    speed = assumptions["speed"]
    return [Range(*speed[work]["range"]) * (speed["parameters"] / parameters) for work in works]


def tokens(part: str, assumptions: Mapping[str, Any]) -> Range:
    """Tokens of a prompt or an answer, by its name in the assumptions."""
    return Range(*assumptions["tokens"][part]["range"])
