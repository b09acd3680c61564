"""How judgements become rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from grrm.catalogue.rewards import KINDS
from grrm.files import UserError
from grrm.judges.pointwise import Scale
from grrm.prompts import REWARDED_KINDS
from grrm.rewards.kinds.options import MIDDLE, ScoringOptions
from grrm.rewards.rows import Task

NEUTRAL_SCORE = MIDDLE
"""Score of a candidate nothing is known about: the middle of the scale, 0 to 10."""


@dataclass(frozen=True)
class GroupOptions:
    """How judgements become rewards (`mt_grpo.reward` and `alignment.reward` in the configuration).

    Raises:
        UserError: a value is out of range, or an invalid rollout would not be worse than a neutral one.
    """

    prompt: str = ""
    """File of the judge's prompt, see `ScoringOptions.prompt`."""
    kind: str = "grrm"
    """What scores a group; every kind's scores are brought to the scale 0 to 10 (`Scorer.points`)."""
    function: str = ""
    """See `ScoringOptions`, as the next two."""
    range: Sequence[float] | None = None
    parts: Sequence[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]] = ()
    task: Task = "translation"
    """What the rows hold: translation (extra_info: src_text, src_lang, trg_lang, trg_text) or conversation
    (extra_info: question, chosen, turns)."""
    swap: bool = True
    """See `ScoringOptions`, as the next three."""
    scale: Scale = "absolute"
    reference: bool = False
    judge: Mapping[str, Any] = field(default_factory=dict)
    """Options of the judge's client (`JudgeOptions`)."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Options of a checkpoint that scores (`ModelOptions`)."""
    tolerant: bool = False
    """See `ScoringOptions`."""
    chosen: Literal["among", "alone"] = "among"
    """When the chosen response of a row is judged among the candidates: always, or where there is but one
    (validation), so that training compares rollouts with each other only."""
    semantics: Literal["strict", "paper"] = "strict"
    seed: int = 0
    score_scale: float = 0.01
    """Factor on the scores, which go from 0 to 10 (paper, section 4.3: 0.01)."""
    default_reward: float = -0.04
    """Reward of a rollout without a translation (paper: -0.04)."""
    empty_reward: float | None = None
    """Reward of a rollout in the right form, but with nothing in it; None: as one without a translation."""
    form: str = "codeblock-think"
    """Kind of the prompt that the policy answers (`REWARDED_KINDS`): how a translation is told from the rest
    of a response, and whether it is there (strict)."""
    max_response_length: int = 0
    """Longest response of the policy in tokens; used by the length penalty only."""
    overlong_buffer: int = 0
    """Tokens before `max_response_length` in which the length penalty grows; 0 is off (paper: 2048)."""
    overlong_penalty: float = 0.04
    """Length penalty at `max_response_length` (paper: 0.04)."""
    temperature: float = 0.0
    """Of the judge's first answer."""
    retry_temperature: float = 1.0
    retries: int = 1
    """Times a failed judgement is asked again (strict only)."""
    deadline: float = 300.0
    """Seconds after a group's first rollout until it is judged without the missing ones."""
    timeout: float = 600.0
    """Seconds the judge may take for one answer."""
    max_failure_rate: float = 0.5
    """Share of failed judgements past which the run stops, taken over whole steps: see `failure_window`."""
    failure_window: int = 64
    """Judgements of which the rate is taken at least: steps with fewer are taken together."""
    ledger: str = ""
    """File (JSON lines) to which every group is appended; empty is off."""
    ledger_texts: int = 2
    """Judged groups per step whose texts are kept in the ledger."""

    def __post_init__(self) -> None:
        """Check ranges and relations of the values."""
        if isinstance(self.parts, Mapping):
            named = tuple({"name": name, **part} for name, part in self.parts.items())
            object.__setattr__(self, "parts", named)
        if self.semantics not in ("strict", "paper"):
            raise UserError(f"reward: semantics is {self.semantics!r}, expected 'strict' or 'paper'")
        if self.task not in get_args(Task):
            raise UserError(f"reward: task is {self.task!r}, expected 'translation' or 'conversation'")
        if self.form not in REWARDED_KINDS:
            raise UserError(f"reward: form is {self.form!r}, expected one of {', '.join(REWARDED_KINDS)}")
        if self.kind not in KINDS:
            raise UserError(f"reward: kind is {self.kind!r}, expected one of {', '.join(KINDS)}")
        if self.scale not in get_args(Scale):
            raise UserError(f"reward: scale is {self.scale!r}, expected 'absolute' or 'group'")
        if KINDS[self.kind].asks == "judge" and not self.prompt:
            raise UserError(f"reward: prompt is missing, the file of the prompt for kind {self.kind}")
        if self.reference and self.task == "conversation":
            raise UserError(
                "reward: reference is true, expected false for task 'conversation': its rows have none but "
                "chosen, which is judged itself"
            )
        if self.semantics == "paper" and not KINDS[self.kind].has_semantics:
            raise UserError(f"reward: semantics 'paper' is that of kind grrm, but kind is {self.kind!r}")
        self._check_numbers()

    def _check_numbers(self) -> None:
        if not 0 <= self.max_failure_rate <= 1:
            raise UserError(
                f"reward: max_failure_rate is {self.max_failure_rate}, expected a share from 0 to 1"
            )
        if self.chosen not in ("among", "alone"):
            raise UserError(f"reward: chosen is {self.chosen!r}, expected among or alone")
        for name in ("score_scale", "deadline", "timeout", "failure_window"):
            if getattr(self, name) <= 0:
                raise UserError(f"reward: {name} is {getattr(self, name)}, expected a number above 0")
        for name in ("overlong_buffer", "overlong_penalty", "retries", "temperature", "ledger_texts"):
            if getattr(self, name) < 0:
                raise UserError(f"reward: {name} is {getattr(self, name)}, expected a number of at least 0")
        if self.overlong_buffer > self.max_response_length:
            raise UserError(
                f"reward: overlong_buffer is {self.overlong_buffer}, longer than the longest response "
                f"({self.max_response_length} tokens)"
            )
        for name in ("default_reward", "empty_reward"):
            value = getattr(self, name)
            if self.semantics == "strict" and value is not None and value >= self.neutral_reward:
                raise UserError(
                    f"reward: {name} is {value}, expected less than the neutral reward "
                    f"{self.neutral_reward} ({NEUTRAL_SCORE} x score_scale): invalid must not pay"
                )

    @property
    def neutral_reward(self) -> float:
        """Reward of a valid rollout whose group could not be judged."""
        return NEUTRAL_SCORE * self.score_scale

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> GroupOptions:
        """Options from verl's `reward.reward_kwargs`.

        Raises:
            UserError: a key is unknown or missing.
        """
        known = {option.name for option in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UserError(
                f"reward.reward_kwargs: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )
        return cls(**values)

    @property
    def part_names(self) -> tuple[str, ...]:
        """Names of the parts of a mixture."""
        return tuple(str(part.get("name") or part.get("kind")) for part in self._parts)

    @property
    def _parts(self) -> Sequence[Mapping[str, Any]]:
        assert not isinstance(self.parts, Mapping)  # each has its name among its keys
        return self.parts

    @property
    def asks_often(self) -> bool:
        """Whether a group is more than one question to a judge, some of which may fail."""
        entry = KINDS[self.kind]
        parts = [KINDS.get(str(part.get("kind"))) for part in self._parts]
        own = entry.asks == "judge" and not entry.has_semantics
        return own or any(part is not None and part.asks == "judge" for part in parts)

    @property
    def client(self) -> dict[str, Any]:
        """Options of every judge's client that the section `judge` does not name."""
        return {
            "max_failure_share": 1.0,  # counted by steps, which a client knows nothing of
            "parse_retries": self.retries,
            "retry_temperature": self.retry_temperature,
        }

    def scoring(self, *, is_served: bool = False) -> ScoringOptions:
        """Options of the scorer.

        Args:
            is_served: whether verl serves a judge: that of this kind, or of the part of a mixture that names
                none of its own.

        Raises:
            UserError: what the kind needs is missing.
        """
        names = (
            "kind",
            "prompt",
            "swap",
            "scale",
            "reference",
            "tolerant",
            "function",
            "range",
            "judge",
            "model",
            "seed",
        )
        values = {name: getattr(self, name) for name in names}
        values["served"] = is_served and KINDS[self.kind].asks == "judge"
        values["parts"] = [
            {"seed": self.seed, "served": is_served and _names_no_judge(part), **part} for part in self._parts
        ]
        return ScoringOptions.from_mapping(values, judge=self.client)


def _names_no_judge(part: Mapping[str, Any]) -> bool:
    entry = KINDS.get(str(part.get("kind")))
    return entry is not None and entry.asks == "judge" and not part.get("judge")
