"""What a row of verl's data is about, and what of a response is judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from grrm.data.values import as_conversation, closed, messages_in
from grrm.extract import whole_text
from grrm.files import UserError
from grrm.judges.conversation import question_text
from grrm.judges.groups import Group

Task = Literal["translation", "conversation"]


def response_text(text: str) -> str | None:
    """A response without its thinking; None if nothing else is there, or the thinking never ends."""
    return whole_text(text)


def read_row(
    info: Mapping[str, Any], row: Mapping[str, Any] | None = None, *, task: Task | None = None
) -> Group:
    """A group without candidates.

    A translation has src_text, and src_lang, trg_lang, trg_text (its reference); anything else question, or x
    (messages or a text), and turns (messages) and chosen (a text or messages); messages may be a JSON text.

    Args:
        info: the row's extra_info; all of it becomes `columns`.
        row: the whole row, of which data_source and the ground truth become columns too.
        task: what the row has to hold; None: whatever it is.

    Raises:
        UserError: the row does not say what is answered, or is of another task.
    """
    columns = {**_outer(row or {}), **info}
    if task != "conversation" and info.get("src_text"):
        source, target = (str(info.get(name) or "") for name in ("src_lang", "trg_lang"))
        return Group(str(info["src_text"]), (), info.get("trg_text"), source, target, columns=columns)
    turns = info.get("turns")
    if turns is None or not len(turns):
        turns = info.get("x")
    is_text = isinstance(turns, str) and messages_in(turns) is None
    messages = () if is_text or turns is None or not len(turns) else as_conversation(turns, "x")
    question = info.get("question") or (turns if is_text else None)
    if not question and messages:
        question = question_text(messages)
    chosen = None if info.get("chosen") is None else closed(info["chosen"], "chosen")[1]
    missing = "src_text" if task == "translation" else "question, x or src_text" if not question else ""
    if task == "conversation" and question and chosen is None:
        missing = "chosen"
    if missing:
        raise UserError(
            f"a row's extra_info has the keys {', '.join(info) or 'none'}, expected {missing}: "
            "a judge needs to know what is answered"
        )
    return Group(str(question), (), turns=messages, chosen=chosen, columns=columns)


def _outer(row: Mapping[str, Any]) -> dict[str, Any]:
    columns = {"data_source": row["data_source"]} if "data_source" in row else {}
    truth = row.get("reward_model")
    if isinstance(truth, Mapping) and "ground_truth" in truth:
        columns["ground_truth"] = truth["ground_truth"]
    return columns
