"""From the responses that a trainer sends to a reward kind's groups, and back."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from grrm.catalogue.rewards import KINDS
from grrm.data.records import Conversation
from grrm.data.values import as_conversation, closed, decoded
from grrm.extract import after_thinking, code_block, last_line, whole_text
from grrm.files import UserError
from grrm.judges.conversation import question_text
from grrm.judges.groups import Group
from grrm.languages import language_name
from grrm.rewards.kinds import Scorer, ScoringOptions
from grrm.rewards.responses import Item
from grrm.rewards.siblings import Reward, Score

T = TypeVar("T")

Extract: TypeAlias = Literal["none", "thinking", "code_block", "last_line"]
EXTRACTS: tuple[Extract, ...] = get_args(Extract)
OnFailure: TypeAlias = Literal["error", "mean"]
ON_FAILURE: tuple[OnFailure, ...] = get_args(OnFailure)

_MARGIN = 0.001  # between a share and 0 or 1, which OpenRLHF's dynamic filtering leaves out

_EXTRACTORS: dict[Extract, Callable[[str], str | None]] = {
    "none": lambda text: text,
    "thinking": whole_text,
    "code_block": code_block,
    "last_line": lambda text: last_line(after_thinking(text) or ""),
}
_CHATML = re.compile(r"<\|im_start\|>(system|user|assistant)\n(.*?)<\|im_end\|>\n?", re.DOTALL)
_CHATML_OPEN = re.compile(r"<\|im_start\|>assistant\n(?:<think>\n*(?:</think>\n*)?)?")
_FIELDS = {
    "question": ("src_text",),
    "reference": ("trg_text", "reference"),
    "src_lang": ("src_lang",),
    "trg_lang": ("trg_lang",),
}


@dataclass(frozen=True)
class Reading:
    """What of a response is judged.

    Attributes:
        extract: none: all of it; thinking: all but its thinking; code_block or last_line: that part.
        invalid_reward: reward of a response in which nothing of the kind is found: less than any other's.
        points: rewards from 0 to 10 whatever the kind, instead of on the kind's own scale.
        on_failure: what a response earns about which the judge gave no answer: error: nothing, and whoever
            asks is told; mean: the mean of its group's others, or of all so far if none of them is known, so
            that nothing is learned from it.
    """

    extract: Extract = "none"
    invalid_reward: float | None = None
    points: bool = False
    on_failure: OnFailure = "error"

    def __post_init__(self) -> None:
        """Check that an invalid response has a reward."""
        if self.on_failure not in ON_FAILURE:
            raise UserError(f"on_failure: {self.on_failure!r}, expected one of {', '.join(ON_FAILURE)}")
        if self.extract not in EXTRACTS:
            raise UserError(f"extract: {self.extract!r}, expected one of {', '.join(EXTRACTS)}")
        if self.extract != "none" and self.invalid_reward is None:
            raise UserError(
                f"extract {self.extract}: a response may hold none; say with --invalid-reward what it earns"
            )


def read_group(kind: str, items: Sequence[Item], candidates: Sequence[str] = ()) -> Group:
    """The group of responses to one prompt.

    The label may be an object, or one as JSON text, with src_text, src_lang, trg_lang and trg_text for a
    translation, else question, x or messages (a text or messages) and reference or chosen; any other text is
    the reference. Without a question in it the prompt is; of a prompt in ChatML its conversation.

    Args:
        kind: of the reward.
        items: all with the same prompt and label.
        candidates: what of them is judged.

    Raises:
        UserError: the label lacks what this kind needs.
    """
    label = _object(items[0].label)
    values = {}
    for field, names in _FIELDS.items():
        found = next((label[name] for name in names if label.get(name) is not None), None)
        if found is not None and not isinstance(found, str):
            raise UserError(f"labels: {names[0]} is {found!r}, expected a text")
        values[field] = found or ""
    if not values["reference"] and label.get("chosen"):
        values["reference"] = _read(closed, label["chosen"], "chosen")[1]
    turns = () if values["question"] else _asked(label)
    values["question"] = values["question"] or question_text(turns)
    entry = KINDS[kind]
    if entry.translation_only:
        missing = [_FIELDS[field][0] for field in ("question", "src_lang", "trg_lang") if not values[field]]
        if missing:
            raise UserError(
                f"labels: no {', '.join(missing)}; {kind} judges translations and needs an object with "
                "src_text, src_lang and trg_lang (or the same as JSON text)"
            )
    if entry.needs_reference and entry.asks != "checkpoint" and not values["reference"]:
        raise UserError(f"labels: no trg_text; {kind} compares with a reference")
    if not values["question"]:
        turns = tuple(conversation(items[0].prompt))
    return Group(
        question=values["question"] or question_text(turns) or items[0].prompt,
        candidates=tuple(candidates),
        reference=values["reference"] or None,
        src_lang=values["src_lang"],
        trg_lang=values["trg_lang"],
        turns=turns,
        columns=label,
    )


def conversation(prompt: str) -> list[dict[str, str]]:
    """The messages of a prompt in ChatML (Qwen's chat template); nothing if it is in no such form."""
    messages: list[dict[str, str]] = []
    position = 0
    while match := _CHATML.match(prompt, position):
        messages.append({"role": match[1], "content": match[2]})
        position = match.end()
    return messages if messages and _CHATML_OPEN.fullmatch(prompt, position) else []


@asynccontextmanager
async def scoring(options: ScoringOptions, reading: Reading) -> AsyncIterator[Score]:
    """What rewards the responses to a prompt.

    Raises:
        UserError: the kind's prompt or model cannot be used.
    """
    async with Scorer(options) as scorer:
        so_far = _Mean()

        async def score(items: Sequence[Item]) -> list[Reward]:
            found = [_EXTRACTORS[reading.extract](item.response) for item in items]
            candidates = [text for text in found if text is not None]
            group = read_group(options.kind, items, candidates)
            result = await scorer.score_group(group) if candidates else None
            values = result.scores if result else ()
            points = scorer.points(values)
            earned = iter(zip(points if reading.points else values, points, strict=True))
            failure = "; ".join(result.failures[:3]) if result else ""
            rewards = []
            for text in found:
                valid = {"valid": float(text is not None)}
                value, known = (reading.invalid_reward, 0.0) if text is None else next(earned)
                rewards.append(
                    Reward(value, valid, failure if value is None else None, share_of(value, known))
                )
            return _with_means(rewards, so_far) if reading.on_failure == "mean" else rewards

        yield score


def share_of(value: float | None, points: float | None) -> float | None:
    """A reward as a share of the best one by its points, above 0 and below 1."""
    if value is None or points is None or not math.isfinite(value + points):
        return None
    return min(max(points / 10, _MARGIN), 1 - _MARGIN)


@dataclass
class _Mean:
    """The mean of all rewards so far, and of their shares."""

    count: int = 0
    value: float = 0.0
    share: float = 0.0

    def add(self, value: float, share: float) -> None:
        """Count a reward in."""
        self.count += 1
        self.value += (value - self.value) / self.count
        self.share += (share - self.share) / self.count


def _with_means(rewards: Sequence[Reward], so_far: _Mean) -> list[Reward]:
    """A reward that is not known is the mean of its group's others, or of all so far; where there are none it
    stays unknown. `judged` says which were known."""
    group = _Mean()
    for reward in rewards:
        if reward.value is not None and reward.share is not None and reward.info["valid"]:
            group.add(reward.value, reward.share)
            so_far.add(reward.value, reward.share)
    mean = group if group.count else so_far
    return [
        replace(reward, info={**reward.info, "judged": 1.0})
        if reward.value is not None or not mean.count
        else Reward(mean.value, {**reward.info, "judged": 0.0}, share=mean.share)
        for reward in rewards
    ]


def checker(kind: str, scorer: Scorer | None = None) -> Callable[[Item], None]:
    """What refuses (UserError) an item that this kind cannot reward, before it joins a group.

    Args:
        kind: of the reward.
        scorer: what scores; it knows parts, and the columns that prompts ask for.
    """
    columns = scorer.columns if scorer else frozenset()
    parts = scorer.options.parts if scorer else ()

    def check(item: Item) -> None:
        for one in (kind, *(part.options.kind for part in parts)):
            group = read_group(one, [item])
            for name, code in (("src_lang", group.src_lang), ("trg_lang", group.trg_lang)):
                _read(_check_language, code, name)
        if missing := sorted(columns - group.columns.keys()):
            raise UserError(f"labels: no {', '.join(missing)}; the judge's prompt asks for it")

    return check


def _check_language(code: str, name: str) -> None:
    try:
        if code:
            language_name(code)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def _asked(label: Mapping[str, Any]) -> Conversation:
    """The conversation in a label; empty if it holds none."""
    name = next((name for name in ("question", "x", "messages") if label.get(name)), None)
    return _read(as_conversation, label[name], name) if name else ()


def _read(read: Callable[[Any, str], T], value: Any, name: str) -> T:
    try:
        return read(value, name)
    except UserError as error:
        raise UserError(f"labels: {error}") from error


def _object(label: Any) -> dict[str, Any]:
    if isinstance(label, dict):
        return label
    if label is None or label == "":
        return {}
    if not isinstance(label, str):
        raise UserError(f"labels: {label!r}, expected an object or a text")
    value = decoded(label)
    return value if isinstance(value, dict) else {"reference": label}
