"""The layouts in which rows about judged responses, and of translations, come: for all who read such rows.

`LAYOUTS` has an entry for each: the columns by which a row of it is recognised, and how its record is read.
`parse_row` reads a row of any of them. The first of its kind is that in which our records are written
(`Record.row`), OpenJudge's (cookbooks/training_judge_model), so what is written here can be read there.

`TABLE_LAYOUTS` are those of translations, which become rows of our own tables (`parse_table_row`).

Any value may be a JSON text instead. A conversation may be messages, one message, or a text, which is the
user's only turn; a text is a text unless it is the JSON of messages. A row of no known layout is an error
that shows the row: nothing becomes an empty response, or a score of 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from grrm.data.records import (
    Candidates,
    Compared,
    Conversation,
    Demonstration,
    Graded,
    Kind,
    Preferred,
    Record,
    as_candidates,
)
from grrm.data.translation_rows import (
    graded_group,
    pair,
    pair_of_reasoned,
    plain_response,
    reasoned,
    scored_group,
    segment,
)
from grrm.data.values import (
    Row,
    answers_in,
    as_conversation,
    closed,
    decoded,
    label_of,
    marked_turns,
    number_of,
    output_labels,
    said_preferences,
    short,
    text_of,
)
from grrm.files import UserError
from grrm.judges.conversation import question_text
from grrm.judges.groups import shown_first
from grrm.verdicts import HELPFULNESS, Preference, as_preference

TableUse: TypeAlias = Literal["ranking", "cot", "pairs", "ranking_test", "translation_test"]
"""A kind of our own tables (`grrm.schemas.SCHEMAS`) that a row is read for."""
Use: TypeAlias = Kind | Literal["grade"] | TableUse
"""What a row is read for: a kind of training of judges, to be graded, or a table."""

_BEST_CORRECTNESS = 4
_SHOWN = 600
_ASKED = ("x", "prompt", "input", "question")
"""Where the conversation is that responses answer."""


class UnusedRow(Exception):  # noqa: N818 (no error: the row is sound)
    """A sound row that this kind of training has no use for, such as a tie without a chosen response."""


@dataclass(frozen=True)
class Layout:
    """A published layout.

    Attributes:
        name: whose it is, or what it is for.
        columns: those that a row of it has, each of them or one of its alternatives.
        read: what it may be read for -> how; the records are turned into those of other uses.
        more: columns that it may have, and conditions, in words.
    """

    name: str
    columns: tuple[tuple[str, ...], ...]
    read: Mapping[Use, Callable[[Row], Any]]
    more: str = ""

    def is_that_of(self, row: Row) -> bool:
        """Whether a row has its columns."""
        return all(any(name in row for name in names) for names in self.columns)

    def __str__(self) -> str:
        *others, last = [" or ".join(names) for names in self.columns]
        return f"{', '.join(others)} and {last} ({self.name})" if others else f"{last} ({self.name})"


def parse_row(row: Row, kind: Use) -> Any:
    """The record in a row of any layout that is known for its kind.

    Returns:
        `Graded`, `Compared`, `Preferred` or `Demonstration`, by kind; `Candidates` of a row to grade.

    Raises:
        UserError: the layout is not known, or a value is missing, of a wrong type or out of range; the
            message shows the row.
        UnusedRow: this kind of training has no use for the row.
    """
    # Parquet gives every row every key.
    row = {key: value for key, value in row.items() if value is not None}
    try:
        return _parsed(row, kind)
    except UserError as error:
        text = json.dumps(row, ensure_ascii=False, default=str)
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        raise UserError(f"{error}; the row is {shown}") from error


def parse_table_row(row: Row, use: TableUse) -> dict[str, Any]:
    """The row of one of our tables that a row of translations is, with its languages (src_lang, trg_lang).

    Raises:
        UserError: the layout is not known, or a value is missing or wrong.
    """
    known = [layout for layout in TABLE_LAYOUTS if use in layout.read]
    filled = {key: value for key, value in row.items() if value is not None}
    # What has the columns of a layout, and no value in one of them, is a bad row of that layout.
    layout = next((layout for some in (filled, row) for layout in known if layout.is_that_of(some)), None)
    if layout is None:
        expected = "; or ".join(map(str, known))
        columns = ", ".join(repr(name) for name in row if name not in ("src_lang", "trg_lang"))
        raise UserError(f"the columns are {columns or 'none'}; expected {expected}")
    found: dict[str, Any] = layout.read[use](filled)
    return found


def layouts_for(kind: Use) -> list[tuple[Layout, Callable[[Row], Record | Candidates]]]:
    """The layouts that can be read for a use, each with its reader, the first that fits a row going first."""
    found = []
    for layout in LAYOUTS:
        for use in _READ_AS[kind]:
            if use in layout.read:
                found.append((layout, layout.read[use]))
                break
    return found


def _parsed(row: Row, kind: Use) -> Record | Candidates:
    known = layouts_for(kind)
    read = next((read for layout, read in known if layout.is_that_of(row)), None)
    if read is None:
        expected = "; or ".join(str(layout) for layout, _ in known)
        raise UserError(f"no known layout: the keys are {sorted(row)}; expected {expected}")
    record = read(row)
    if kind == "grade":
        return as_candidates(record)
    if kind == "pairwise" and isinstance(record, Preferred):
        return _in_drawn_order(_differing(record))
    if kind == "bradley_terry" and isinstance(record, Compared):
        return _as_preferred(record)
    return _differing(record) if isinstance(record, Preferred) else record


# Of a row for the use on the left the record may be one for another.
_READ_AS: dict[Use, tuple[Use, ...]] = {
    "pointwise": ("pointwise",),
    "pairwise": ("bradley_terry", "pairwise"),
    "bradley_terry": ("bradley_terry", "pairwise"),
    "sft": ("sft",),
    "grade": ("grade", "bradley_terry", "pairwise", "pointwise", "sft"),
}


def _in_drawn_order(found: Preferred) -> Compared:
    """Always "the first is better" would be nothing to learn."""
    compared = Compared(found.conversation, found.chosen, found.rejected, "A", found.margin, found.source)
    first = shown_first(question_text(found.conversation), found.chosen, found.rejected)
    return compared if first == found.chosen else compared.swapped()


def _as_preferred(compared: Compared) -> Preferred:
    if compared.preference == "tie":
        raise UnusedRow("ties, which have no chosen response")
    better, worse = compared.first, compared.second
    if compared.preference == "B":
        better, worse = worse, better
    return Preferred(compared.conversation, better, worse, compared.strength, compared.source)


def _differing(record: Preferred) -> Preferred:
    if record.chosen == record.rejected:
        raise UserError("chosen and rejected are the same response")
    return record


# ---------------------------------------------------------------- readers, one for each entry


def _responses(row: Row) -> Candidates:
    texts = [("response", row.get("response"))]
    if row.get("responses") is not None:
        values = decoded(row["responses"])
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise UserError(f"responses is {short(values)}; expected a list of texts")
        texts = [(f"responses[{number}]", value) for number, value in enumerate(values)]
    responses = tuple(text_of(value, where) for where, value in texts)
    reference = row.get("reference")
    return Candidates(
        asked(row, ("messages", *reversed(_ASKED))),
        responses,
        None if reference is None else text_of(reference, "reference"),
        _points(row, len(responses)),
        _said(row) if len(responses) == 2 else None,
    )


def _points(row: Row, n: int) -> tuple[float | None, ...]:
    """A number for each response, if the row has such; a column may be called so for another reason."""
    for name in ("scores", "score", "helpfulness"):
        values = decoded(row.get(name))
        values = values if isinstance(values, Sequence) and not isinstance(values, str) else [values]
        numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in values]
        if len(values) == n and all(numbers):
            return tuple(number_of(value, name) for value in values)
    return ()


def _said(row: Row) -> Preference | None:
    said = (as_preference(row.get(name)) for name in ("preference", "preferred"))
    return next((preference for preference in said if preference is not None), None)


def _chosen_and_rejected(row: Row) -> Preferred:
    conversation, chosen = closed(row["chosen"], "chosen")
    other, rejected = closed(row["rejected"], "rejected")
    if conversation != other:
        raise UserError(
            "chosen and rejected answer different conversations; expected the same before the end"
        )
    return Preferred(conversation or asked(row), chosen, rejected, _margin(row), _source(row))


def _answered_with_score(row: Row) -> Graded:
    answers = answers_in(row["output"])
    if len(answers) != 1:
        raise UserError(f"output has {len(answers)} answers; expected one")
    label = label_of(answers[0])
    if "helpfulness" not in label:
        raise UserError(f"label has the keys {sorted(label)}; expected helpfulness")
    response, score = text_of(answers[0].get("content"), "answer.content"), label["helpfulness"]
    return Graded(as_conversation(row["input"], "input"), response, _score(score), _source(row))


def _answered_twice(row: Row) -> Compared:
    conversation = _input(row)
    answers = answers_in(row["output"])
    if len(answers) != 2:
        raise UserError(f"output has {len(answers)} answers; expected two")
    first, second = (text_of(answer.get("content"), "answer.content") for answer in answers)
    return _compared(conversation, first, second, *_preference(row), _source(row))


def _input(row: Row) -> Conversation:
    """Empty where a comparison was of texts without a conversation."""
    return () if decoded(row["input"]) == [] else as_conversation(row["input"], "input")


def _answered(row: Row) -> Candidates:
    """Any number of answers, with labels or without."""
    answers = answers_in(row["output"])
    if not answers:
        raise UserError("output is []; expected at least one answer")
    labels = output_labels(row)
    points = tuple(
        None if label.get("helpfulness") is None else number_of(decoded(label["helpfulness"]), "helpfulness")
        for label in labels
    )
    said = said_preferences(row)
    return Candidates(
        _input(row),
        tuple(text_of(answer.get("content"), "answer.content") for answer in answers),
        points=() if all(point is None for point in points) else points,
        preference=_preference(row)[0] if said and len(answers) == 2 else None,
    )


def _helpsteer2_score(row: Row) -> Graded:
    response = text_of(row["response"], "response")
    return Graded(marked_turns(row["prompt"]), response, _score(row["helpfulness"]), _source(row))


def _helpsteer2_demonstration(row: Row) -> Demonstration:
    if number_of(row["correctness"], "correctness") < _BEST_CORRECTNESS:
        raise UnusedRow(f"responses with a correctness below {_BEST_CORRECTNESS}")
    response = {"role": "assistant", "content": text_of(row["response"], "response")}
    return _demonstration((*marked_turns(row["prompt"]), response), row)


def _helpsteer2_response(row: Row) -> Candidates:
    return Candidates(marked_turns(row["prompt"]), (text_of(row["response"], "response"),))


def _helpsteer2_comparison(row: Row) -> Compared:
    return _signed(marked_turns(row["prompt"]), row, "response_1", "response_2", "preference_strength")


def _helpsteer3_comparison(row: Row) -> Compared:
    conversation = as_conversation(row["context"], "context")
    return _signed(conversation, row, "response1", "response2", "overall_preference")


def _messages(row: Row) -> Demonstration:
    return _demonstration(as_conversation(row["messages"], "messages"), row)


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "rows to grade",
        (("question", "messages"), ("response", "responses")),
        {"grade": _responses},
        "`reference`, `id`; `score`, or `scores` of all responses; `preference` of two",
    ),
    Layout(
        "preferences",
        (("chosen",), ("rejected",)),
        {"bradley_terry": _chosen_and_rejected},
        "texts, with the conversation in `x`, `prompt`, `input` or `question` or without; or conversations",
    ),
    Layout(
        "OpenJudge, RM-Gallery",
        (("input",), ("output",)),
        {"pointwise": _answered_with_score, "pairwise": _answered_twice, "grade": _answered},
        "`answer.label.helpfulness` of one answer; `answer.label.preference` or `metadata.preferred` of two",
    ),
    Layout(
        "HelpSteer2",
        (("prompt",), ("response_1",), ("response_2",), ("preference_strength",)),
        {"pairwise": _helpsteer2_comparison},
    ),
    Layout(
        "HelpSteer3",
        (("context",), ("response1",), ("response2",), ("overall_preference",)),
        {"pairwise": _helpsteer3_comparison},
    ),
    Layout(
        "HelpSteer2",
        (("prompt",), ("response",), ("helpfulness",)),
        {"pointwise": _helpsteer2_score},
    ),
    Layout("demonstrations", (("messages",),), {"sft": _messages}, "user and assistant in turn"),
    Layout(
        "HelpSteer2",
        (("prompt",), ("response",), ("correctness",)),
        {"sft": _helpsteer2_demonstration, "grade": _helpsteer2_response},
        f"responses whose `correctness` is {_BEST_CORRECTNESS}",
    ),
    Layout(
        "rows to grade",
        (("x", "prompt", "input"), ("response", "responses")),
        {"grade": _responses},
        "as with `question`",
    ),
)


TABLE_LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "groups of scored candidates",
        (("src_text",), ("mt_texts",), ("scores",)),
        {"ranking": graded_group, "ranking_test": scored_group},
        "`analysis`, which the SFT of the GRRM needs; `trg_text`",
    ),
    Layout(
        "reasoned translations",
        (("src_text",), ("response",)),
        {"cot": reasoned, "pairs": pair_of_reasoned},
        "the translation in a code block at the end of the response",
    ),
    Layout(
        "sentence pairs",
        (("src_text",), ("trg_text",)),
        {"pairs": pair, "cot": plain_response, "translation_test": segment},
        "`comment`, what is hard about a segment of a test set; `references`",
    ),
    Layout(
        "segments",
        (("src_text",),),
        {"translation_test": segment},
        "`references`, a list, or none; `comment`",
    ),
)


# ---------------------------------------------------------------- parts of rows


def _demonstration(messages: Conversation, row: Row) -> Demonstration:
    turns = [message["role"] for message in messages]
    spoken = turns[1:] if turns[0] == "system" else turns
    if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2):
        raise UserError(
            f"messages are of {', '.join(turns)}; expected user and assistant in turn, the latter last"
        )
    return Demonstration(messages, _source(row))


def _preference(row: Row) -> tuple[Preference, float | None]:
    """From the labels and the metadata; whatever says it must say the same."""
    metadata = decoded(row.get("metadata") or {})
    if not isinstance(metadata, Mapping):
        raise UserError(f"metadata is {short(metadata)}; expected keys and values")
    found = {_read_preference(value) for value in said_preferences(row)}
    if not found:
        raise UserError("no preference; expected answer.label.preference or metadata.preferred")
    if len(found) > 1:
        raise UserError(f"labels and metadata disagree: {', '.join(sorted(found))}")
    labels = output_labels(row)
    strengths = [metadata.get("preference_strength"), *(label.get("preference_strength") for label in labels)]
    strength = next((value for value in strengths if value is not None), None)
    return found.pop(), None if strength is None else abs(number_of(strength, "preference_strength"))


def _read_preference(value: Any) -> Preference:
    if (preference := as_preference(value)) is None:
        raise UserError(f"the preference is {short(value)}; expected A, B or tie")
    return preference


def _signed(conversation: Conversation, row: Row, first: str, second: str, name: str) -> Compared:
    """HelpSteer: below 0 the first response is better, above 0 the second."""
    number = number_of(row[name], name)
    preference: Preference = "A" if number < 0 else "B" if number > 0 else "tie"
    texts = (text_of(row[first], first), text_of(row[second], second))
    return _compared(conversation, *texts, preference, abs(number), _source(row))


def _compared(
    conversation: Conversation,
    first: str,
    second: str,
    preference: Preference,
    strength: float | None,
    source: str,
) -> Compared:
    if first == second and preference != "tie":
        raise UserError(f"the two responses are the same, yet {preference} is preferred")
    return Compared(conversation, first, second, preference, strength, source)


def asked(row: Row, names: Sequence[str] = _ASKED) -> Conversation:
    """The conversation in a column of its own; empty if there is none.

    Raises:
        UserError: it is none.
    """
    name = next((name for name in names if row.get(name) is not None), None)
    return as_conversation(row[name], name) if name else ()


def _margin(row: Row) -> float | None:
    for name in ("margin", "preference_strength"):
        if name in row:
            return abs(number_of(row[name], name))
    return None


def _score(value: Any) -> int:
    number, (lowest, highest) = number_of(value, "helpfulness"), HELPFULNESS
    if number != int(number) or not lowest <= number <= highest:
        raise UserError(f"helpfulness is {value!r}; expected an integer from {lowest} to {highest}")
    return int(number)


def _source(row: Row) -> str:
    for name in ("source", "data_source"):
        if isinstance(row.get(name), str):
            return str(row[name])
    return ""
