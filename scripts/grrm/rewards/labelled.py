"""From the responses that a trainer sends to a reward kind's groups, and back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from grrm.catalogue.rewards import KINDS
from grrm.data.records import Conversation
from grrm.data.values import as_conversation, closed, decoded
from grrm.extract import code_block, last_line, without_thinking
from grrm.files import UserError
from grrm.judges.conversation import question_text
from grrm.judges.groups import Group
from grrm.rewards.kinds import Scorer, ScoringOptions
from grrm.rewards.responses import Item
from grrm.rewards.siblings import Reward, Score

T = TypeVar("T")

Extract: TypeAlias = Literal["none", "thinking", "code_block", "last_line"]
EXTRACTS: tuple[Extract, ...] = get_args(Extract)

_EXTRACTORS: dict[Extract, Callable[[str], str | None]] = {
    "none": lambda text: text,
    "thinking": lambda text: without_thinking(text).strip() or None,
    "code_block": code_block,
    "last_line": last_line,
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
    """

    extract: Extract = "none"
    invalid_reward: float | None = None
    points: bool = False

    def __post_init__(self) -> None:
        """Check that an invalid response has a reward."""
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

        async def score(items: Sequence[Item]) -> list[Reward]:
            found = [_EXTRACTORS[reading.extract](item.response) for item in items]
            candidates = [text for text in found if text is not None]
            group = read_group(options.kind, items, candidates)
            result = await scorer.score_group(group) if candidates else None
            values = result.scores if result else ()
            scores = iter(scorer.points(values) if reading.points else values)
            failure = "; ".join(result.failures[:3]) if result else ""
            rewards = []
            for text in found:
                valid = {"valid": float(text is not None)}
                value = reading.invalid_reward if text is None else next(scores)
                rewards.append(Reward(value, valid, failure if value is None else None))
            return rewards

        yield score


def checker(kind: str) -> Callable[[Item], None]:
    """What refuses (UserError) an item that this kind cannot reward, before it joins a group."""

    def check(item: Item) -> None:
        read_group(kind, [item])

    return check


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
