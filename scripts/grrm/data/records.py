"""What rows about judged responses say, whatever their layout: four kinds of records to train judges on, and
one to be graded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from grrm.judges.conversation import Message
from grrm.verdicts import Preference, swap

Kind: TypeAlias = Literal["pointwise", "pairwise", "bradley_terry", "sft"]
"""What is trained."""
Conversation: TypeAlias = tuple[Message, ...]


@dataclass(frozen=True)
class Graded:
    """A response and its score, 0 to 4, after a conversation."""

    conversation: Conversation
    response: str
    score: int
    source: str = ""

    def row(self) -> dict[str, Any]:
        """In the published layout."""
        answer = _answer(self.response, {"helpfulness": self.score})
        return {"input": _plain(self.conversation), "output": [answer], "source": self.source}


@dataclass(frozen=True)
class Compared:
    """Two responses to a conversation and which of them is better; strength (0 or more) if it is known."""

    conversation: Conversation
    first: str
    second: str
    preference: Preference
    strength: float | None = None
    source: str = ""

    def swapped(self) -> Compared:
        """The same in the other order."""
        return replace(self, first=self.second, second=self.first, preference=swap(self.preference))

    def row(self) -> dict[str, Any]:
        """In the published layout."""
        answers = [_answer(text, {"preference": self.preference}) for text in (self.first, self.second)]
        metadata = {"preferred": self.preference, "preference_strength": self.strength}
        return {
            "input": _plain(self.conversation),
            "output": answers,
            "metadata": metadata,
            "source": self.source,
        }


@dataclass(frozen=True)
class Preferred:
    """A chosen and a rejected response to a conversation, which may be empty; by how much if it is known."""

    conversation: Conversation
    chosen: str
    rejected: str
    margin: float | None = None
    source: str = ""

    def row(self) -> dict[str, Any]:
        """In the published layout, as conversations."""
        before = _plain(self.conversation)
        return {
            "chosen": [*before, {"role": "assistant", "content": self.chosen}],
            "rejected": [*before, {"role": "assistant", "content": self.rejected}],
            "margin": self.margin,
            "source": self.source,
        }


@dataclass(frozen=True)
class Demonstration:
    """A conversation to imitate; it ends with the assistant's turn."""

    messages: Conversation
    source: str = ""

    @property
    def conversation(self) -> Conversation:
        """All but the last turn."""
        return self.messages[:-1]

    def row(self) -> dict[str, Any]:
        """In the published layout."""
        return {"messages": _plain(self.messages), "source": self.source}


Record: TypeAlias = Graded | Compared | Preferred | Demonstration


@dataclass(frozen=True)
class Candidates:
    """Responses to grade, at least one, and what is annotated about them.

    Attributes:
        conversation: what they answer; empty where the row does not say.
        responses: their texts.
        reference: a good response that is not graded.
        points: annotated score of each, on whatever scale; None where there is none.
        preference: which of two responses is better, A the first.
    """

    conversation: Conversation
    responses: tuple[str, ...]
    reference: str | None = None
    points: tuple[float | None, ...] = ()
    preference: Preference | None = None


def as_candidates(record: Record | Candidates) -> Candidates:
    """The responses of a record, a chosen one first, with what it says about them."""
    if isinstance(record, Graded):
        return Candidates(record.conversation, (record.response,), points=(float(record.score),))
    if isinstance(record, Compared):
        return Candidates(record.conversation, (record.first, record.second), preference=record.preference)
    if isinstance(record, Preferred):
        return Candidates(
            record.conversation,
            (record.chosen, record.rejected),
            preference="A" if record.chosen != record.rejected else None,
        )
    if isinstance(record, Demonstration):
        return Candidates(record.conversation, (record.messages[-1]["content"],))
    return record


def distinct_pairs(records: Iterable[Compared]) -> list[Compared]:
    """The comparisons without those that came before, in the same order or the other."""
    seen: set[str] = set()
    distinct = []
    for record in records:
        orders = {json.dumps(order.row(), sort_keys=True) for order in (record, record.swapped())}
        if not orders & seen:
            distinct.append(record)
        seen |= orders
    return distinct


def both_orders(records: Iterable[Compared]) -> list[Compared]:
    """Every comparison in both orders, side by side; what is there in both already is not doubled.

    Two equal responses are there twice too, so that each two rows are a pair.
    """
    return [order for record in distinct_pairs(records) for order in (record, record.swapped())]


def conversation_key(record: Record) -> str:
    """What rows about the same conversation share, whatever their responses: a hexadecimal digest.

    Rows without a conversation share it where their responses are the same, in either order.
    """
    about: Any = _plain(record.conversation) or sorted(as_candidates(record).responses)
    text = json.dumps(about, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _answer(content: str, label: dict[str, Any]) -> dict[str, Any]:
    return {"answer": {"role": "assistant", "content": content, "label": label}}


def _plain(conversation: Conversation) -> list[dict[str, str]]:
    return [{"role": message["role"], "content": message["content"]} for message in conversation]
