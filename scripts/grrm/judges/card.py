"""What a trained judge must be asked with: `judge.json` in its folder, written when the model is published.

The prompt and the parser of the training travel with the model, so that nobody asks it another question than
the one it has learnt to answer. docs/judges.md describes the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from grrm.files import UserError, read_json, write_json
from grrm.judges.prompts import JudgePrompt, template_prompt
from grrm.prompts import check_templates
from grrm.verdicts import Preference, parse_preference, parse_score

FILE = "judge.json"
FORMAT = 1

Mode: TypeAlias = Literal["pointwise", "pairwise", "bradley_terry"]
MODES: tuple[Mode, ...] = get_args(Mode)

_PROMPT_KINDS = {"pointwise": "judge_pointwise", "pairwise": "judge_pairwise"}


@dataclass(frozen=True)
class Pointwise:
    """Asked about one response; answers with an integer in a tag.

    Attributes:
        prompt: content of its prompt file, of kind judge_pointwise.
        lowest: least score.
        highest: best score.
        max_prompt_length: longest prompt of the training, in tokens.
        max_new_tokens: longest answer of the training, in tokens.
    """

    prompt: Mapping[str, str]
    lowest: int
    highest: int
    max_prompt_length: int
    max_new_tokens: int

    @cached_property
    def asks(self) -> JudgePrompt:
        """The prompt; `asks.render(question=..., response=...)`."""
        return template_prompt(self.prompt, "judge_pointwise")

    def read(self, answer: str) -> int:
        """The score in an answer; ValueError with the reason if there is none."""
        return parse_score(answer, self.lowest, self.highest, self.asks.tag)


@dataclass(frozen=True)
class Pairwise:
    """Asked about two responses; answers A, B or tie in a tag.

    Attributes:
        prompt: content of its prompt file, of kind judge_pairwise.
        both_orders: it was trained on every pair in both orders, and should be asked so: where the answers
            disagree, neither response is better.
        max_prompt_length: longest prompt of the training, in tokens.
        max_new_tokens: longest answer of the training, in tokens.
    """

    prompt: Mapping[str, str]
    both_orders: bool
    max_prompt_length: int
    max_new_tokens: int

    @cached_property
    def asks(self) -> JudgePrompt:
        """The prompt; `asks.render(question=..., first=..., second=...)`."""
        return template_prompt(self.prompt, "judge_pairwise")

    def read(self, answer: str) -> Preference:
        """The preference in an answer; ValueError with the reason if there is none."""
        return parse_preference(answer, self.asks.tag)


@dataclass(frozen=True)
class BradleyTerry:
    """Scores a conversation that ends with the response: the logit at its last token; higher is better.

    Attributes:
        max_length: longest conversation of the training, in tokens of the model's own chat template; of a
            longer one the beginning is cut off.
    """

    max_length: int


@dataclass(frozen=True)
class JudgeCard:
    """What a model can be asked; a judge after SFT may know both generative modes.

    Attributes:
        pointwise: None if it cannot score.
        pairwise: None if it cannot compare.
        bradley_terry: None if it is no sequence classifier.
        stage: the training that made it.
    """

    pointwise: Pointwise | None = None
    pairwise: Pairwise | None = None
    bradley_terry: BradleyTerry | None = None
    stage: str = field(default="", compare=False)

    @property
    def modes(self) -> list[Mode]:
        """The modes it can be used in, at least one."""
        return [mode for mode in MODES if getattr(self, mode) is not None]


def write_card(path: str | Path, card: JudgeCard) -> None:
    """Write a card; the file is named `judge.json` (`FILE`) wherever a model is beside it.

    Raises:
        ValueError: the card has no mode.
    """
    if not card.modes:
        raise ValueError("a judge's card without any mode")
    modes = {mode: asdict(getattr(card, mode)) for mode in card.modes}
    write_json(path, {"format": FORMAT, "stage": card.stage, **modes})


def read_card(model: str | Path) -> JudgeCard:
    """The card of a model folder.

    Raises:
        UserError: there is none, or it is damaged or of another format; the message says what to do.
    """
    path = Path(model) / FILE
    if not path.is_file():
        raise UserError(
            f"{path}: no such file, so it is not known what this judge was trained to answer; use a model "
            "trained by this workflow, or write the file (docs/judges.md)"
        )
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else content
        raise UserError(f"{path}: format is {found!r}; expected {FORMAT}")
    kinds: dict[str, Any] = {"pointwise": Pointwise, "pairwise": Pairwise, "bradley_terry": BradleyTerry}
    modes: dict[str, Any] = {}
    for mode, values in content.items():
        if mode in ("format", "stage"):
            continue
        if mode not in kinds:
            raise UserError(f"{path}: unknown key {mode!r}; expected {', '.join(kinds)}, format or stage")
        try:
            modes[mode] = kinds[mode](**values)
        except TypeError as error:
            raise UserError(f"{path}: {mode} is not complete ({error}); see docs/judges.md") from error
        if mode in _PROMPT_KINDS:
            check_templates(f"{path}: {mode}.prompt", values["prompt"], _PROMPT_KINDS[mode])
    if not modes:
        raise UserError(f"{path}: no mode; expected at least one of {', '.join(kinds)}")
    return JudgeCard(**modes, stage=str(content.get("stage", "")))


def use(card: JudgeCard, mode: Mode, model: str | Path) -> Pointwise | Pairwise | BradleyTerry:
    """How a judge is used in a mode.

    Raises:
        UserError: it was not trained for that mode; the message names those it was trained for.
    """
    found: Pointwise | Pairwise | BradleyTerry | None = getattr(card, mode)
    if found is None:
        raise UserError(f"{model}: trained for {' and '.join(card.modes)}, not for {mode}")
    return found
