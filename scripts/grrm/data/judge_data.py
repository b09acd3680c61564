"""Data that judges are trained on: every published layout in, one layout out, and a split by conversation.

Four kinds of records. Each is read from any of the layouts below, and written (`row`) in the first of its
kind. That is OpenJudge's (cookbooks/training_judge_model), so what is exported here can be read there.

- pointwise (`Graded`): `input` and `output` with `answer.label.helpfulness`; HelpSteer2's `prompt`,
  `response`, `helpfulness`;
- pairwise (`Compared`): `input` and two `output`s with `answer.label.preference` or `metadata.preferred`;
  HelpSteer2's `prompt`, `response_1`, `response_2`, `preference_strength`; HelpSteer3's `context`,
  `response1`, `response2`, `overall_preference`; and rows of the next kind, whose order is drawn from the
  texts, since always "the first is better" is nothing to learn;
- bradley_terry (`Preferred`): `chosen` and `rejected`, texts or conversations, with `prompt`, `x` or `input`
  if they are texts; and rows of the kind before, ties excepted;
- sft (`Demonstration`): `messages`; HelpSteer2's `prompt` and `response` where `correctness` is 4.

Any value may be a JSON string instead. `input` may be a conversation, one message or a text; `output` may be
an answer or a list of them, with or without the key `answer` around each. A row of no known layout is an
error that shows the row: nothing becomes an empty response, or a score of 0.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from grrm.files import UserError, atomic_path, write_jsonl
from grrm.judges.conversation import Message, question_text
from grrm.judges.groups import shown_first
from grrm.rewards.pointwise import HIGHEST, LOWEST
from grrm.verdicts import Preference, as_preference, swap

Kind: TypeAlias = Literal["pointwise", "pairwise", "bradley_terry", "sft"]
Row: TypeAlias = Mapping[str, Any]
Conversation: TypeAlias = tuple[Message, ...]
BadRows: TypeAlias = Literal["error", "drop"]
Format: TypeAlias = Literal["jsonl", "parquet"]

_ROLES = ("system", "user", "assistant")
# HelpSteer2 puts the turns of a conversation into its prompt.
_TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")
_BEST_CORRECTNESS = 4
_SHOWN = 600


class UnusedRow(Exception):  # noqa: N818 (no error: the row is sound)
    """A sound row that this kind of training has no use for, such as a tie without a chosen response."""


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
AnyRecord = TypeVar("AnyRecord", bound=Record)


# ---------------------------------------------------------------- files


def read_records(paths: Iterable[str | Path], kind: Kind, bad_rows: BadRows = "error") -> list[Any]:
    """The records of one kind in files (parquet, JSON lines, a JSON list; the last two also .gz), in order.

    What is left out, and why, is printed.

    Args:
        paths: files; of a folder, all such files in it, by name.
        kind: which records.
        bad_rows: "error" stops at the first bad row; "drop" leaves it out.

    Returns:
        at least one of `Graded`, `Compared`, `Preferred` or `Demonstration`, by kind.

    Raises:
        UserError: a file is missing or of another format; a row is of no known layout (the message shows it);
            no row is left.
    """
    files = list(_files(paths))
    rows = ((f"{path}, row {number}", row) for path in files for number, row in enumerate(read_rows(path)))
    return _parsed(rows, kind, bad_rows, ", ".join(map(str, files)))


def _parsed(rows: Iterable[tuple[str, Row]], kind: Kind, bad_rows: BadRows, source: str) -> list[Any]:
    """The records in rows, each behind what it is called."""
    records: list[Any] = []
    left_out: Counter[str] = Counter()
    for name, row in rows:
        try:
            records.append(parse_row(row, kind))
        except UnusedRow as reason:
            left_out[str(reason)] += 1
        except UserError as error:
            if bad_rows == "error":
                raise UserError(f"{name} (the first is 0): {error}") from error
            left_out[str(error).partition("; the row is")[0]] += 1
    for words, count in left_out.items():
        print(f"{count} rows left out: {words}", flush=True)
    if not records:
        raise UserError(f"{source}: no row for a training of kind {kind} is left")
    return records


def export_data(
    rows: Iterable[Row],
    folder: str | Path,
    kind: Kind,
    formats: Sequence[Format] = ("parquet",),
    shares: Mapping[str, float] | None = None,
    seed: int = 42,
    *,
    in_both_orders: bool = False,
    bad_rows: BadRows = "error",
) -> dict[Path, int]:
    """Write rows of any layout as data for the training of judges, as `grrm export-data` does.

    Args:
        rows: of layouts that are known for the kind.
        folder: where the files go: one per part and format, named after both, such as train.parquet.
        kind: what is to be trained.
        formats: parquet, jsonl or both.
        shares: name of each part to its share, see `split_records`; None: all in one, train.
        seed: of the split.
        in_both_orders: every comparison in both orders (pairwise).
        bad_rows: "error" stops at the first bad row; "drop" leaves it out.

    Returns:
        path of each file to the number of its rows.

    Raises:
        UserError: a row is of no known layout, none is left, or the shares do not do.
    """
    numbered = ((f"row {number}", row) for number, row in enumerate(rows))
    records = _parsed(numbered, kind, bad_rows, "rows")
    return export_records(records, folder, formats, shares, seed, in_both_orders=in_both_orders)


def export_records(
    records: Sequence[Any],
    folder: str | Path,
    formats: Sequence[Format] = ("parquet",),
    shares: Mapping[str, float] | None = None,
    seed: int = 42,
    *,
    in_both_orders: bool = False,
) -> dict[Path, int]:
    """As `export_data`, of records of one kind."""
    if in_both_orders:
        records = both_orders(records)
    parts = split_records(records, shares or {"train": 1}, seed)
    paths = {(name, ending): Path(folder) / f"{name}.{ending}" for name in parts for ending in formats}
    return {path: write_records(path, parts[name]) for (name, _), path in paths.items()}


def write_records(path: str | Path, records: Iterable[Record]) -> int:
    """Write records in the published layout, whole or not at all; return how many.

    Args:
        path: a file *.parquet, or *.jsonl.
        records: of one kind, at least one.

    Raises:
        UserError: the name ends otherwise, or there are no records.
    """
    rows = [record.row() for record in records]
    if not rows:
        raise UserError(f"{path}: no rows to write")
    if Path(path).suffix == ".jsonl":
        return write_jsonl(path, rows)
    if Path(path).suffix != ".parquet":
        raise UserError(f"{path}: expected a name that ends with .parquet or .jsonl")
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_path(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows), partial, compression="zstd")
    return len(rows)


def read_rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The rows of a parquet file, of JSON lines, or of a JSON list; the last two also compressed (.gz).

    Raises:
        UserError: the file is missing or cannot be read as such; the message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(1024):
                    yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path}: not a Parquet file, or a damaged one ({error})") from error
        return
    try:
        text = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from error
    lines = [(1, text)] if text.lstrip().startswith("[") else list(enumerate(text.split("\n"), 1))
    for number, line in lines:
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not valid JSON ({error})") from error
        for row in value if isinstance(value, list) else [value]:
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number}: expected an object, found {type(row).__name__}")
            yield row


def _files(paths: Iterable[str | Path]) -> Iterator[Path]:
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        names = ("*.parquet", "*.jsonl", "*.json", "*.jsonl.gz", "*.json.gz")
        found = sorted({file for name in names for file in path.glob(name)})
        if not found:
            raise UserError(f"{path}: no file {', '.join(names)} in this folder")
        yield from found


# ---------------------------------------------------------------- both orders, split


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
    """What rows about the same conversation share, whatever their responses: a hexadecimal digest."""
    text = json.dumps(_plain(record.conversation), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def split_records(
    records: Sequence[AnyRecord], shares: Mapping[str, float], seed: int
) -> dict[str, list[AnyRecord]]:
    """Split records; those about one conversation, both orders of a comparison too, stay together.

    Args:
        records: what to split.
        shares: name of each part to its share of the records; they add up to 1.
        seed: of the shuffling.

    Raises:
        UserError: see `split_rows`; or a part with a share would be empty.
    """
    parts = split_rows([conversation_key(record) for record in records], shares, seed)
    if empty := [name for name, numbers in parts.items() if not numbers and shares[name] > 0]:
        raise UserError(f"{len(records)} rows are too few for a share {empty[0]} of {shares[empty[0]]}")
    return {name: [records[number] for number in numbers] for name, numbers in parts.items()}


def split_rows(keys: Sequence[Hashable], shares: Mapping[str, float], seed: int) -> dict[str, list[int]]:
    """Split row numbers so that rows with equal keys stay together.

    Groups are shuffled; each goes to the first part that has room for it. So shares are met to the row where
    group sizes allow it, and else to less than one group. With groups of one row this is RM-Gallery's split.

    Args:
        keys: one per row.
        shares: name of each part to its share of the rows; they add up to 1 exactly, as decimal numbers.
        seed: of the shuffling.

    Raises:
        UserError: a share is negative, or they do not add up to 1.
    """
    exact = {name: Fraction(str(share)) for name, share in shares.items()}
    if any(share < 0 for share in exact.values()) or sum(exact.values()) != 1:
        raise UserError(
            f"shares of the split are {dict(shares)}; expected numbers from 0 that add up to 1, "
            f"not to {float(sum(exact.values())):g}"
        )
    groups: dict[Hashable, list[int]] = {}
    for number, key in enumerate(keys):
        groups.setdefault(key, []).append(number)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    room, end, so_far = {}, 0, Fraction(0)
    for name, share in exact.items():
        so_far += share
        room[name] = int(len(keys) * so_far) - end
        end += room[name]
    parts: dict[str, list[int]] = {name: [] for name in shares}
    for group in order:
        name = next((name for name in room if room[name] >= len(group)), None) or max(
            room, key=room.__getitem__
        )
        parts[name].extend(group)
        room[name] -= len(group)
    return parts


# ---------------------------------------------------------------- rows


def parse_row(row: Row, kind: Kind) -> Any:
    """The record in a row of any layout that is known for its kind.

    Returns:
        `Graded`, `Compared`, `Preferred` or `Demonstration`, by kind.

    Raises:
        UserError: the layout is not known, or a value is missing, of a wrong type or out of range; the
            message shows the row.
        UnusedRow: this kind of training has no use for the row.
    """
    # Parquet gives every row every key.
    row = {key: value for key, value in row.items() if value is not None}
    try:
        return _PARSERS[kind](row)
    except UserError as error:
        text = json.dumps(row, ensure_ascii=False, default=str)
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        raise UserError(f"{error}; the row is {shown}") from error


def _graded(row: Row) -> Graded:
    if row.keys() >= {"input", "output"}:
        answers = _answers(row["output"])
        if len(answers) != 1:
            raise UserError(f"output has {len(answers)} answers; expected one")
        label = _label(answers[0])
        if "helpfulness" not in label:
            raise UserError(f"label has the keys {sorted(label)}; expected helpfulness")
        response, score = _text(answers[0].get("content"), "answer.content"), label["helpfulness"]
        return Graded(_conversation(row["input"], "input"), response, _score(score), _source(row))
    if row.keys() >= {"prompt", "response", "helpfulness"}:
        response = _text(row["response"], "response")
        return Graded(_helpsteer2(row["prompt"]), response, _score(row["helpfulness"]), _source(row))
    raise _unknown(row, "input and output; or prompt, response and helpfulness (HelpSteer2)")


def _compared(row: Row) -> Compared:
    if row.keys() >= {"chosen", "rejected"}:
        found = _preferred(row)
        compared = Compared(found.conversation, found.chosen, found.rejected, "A", found.margin, found.source)
        first = shown_first(question_text(found.conversation), found.chosen, found.rejected)
        return compared if first == found.chosen else compared.swapped()
    if row.keys() >= {"input", "output"}:
        conversation = _conversation(row["input"], "input")
        answers = _answers(row["output"])
        if len(answers) != 2:
            raise UserError(f"output has {len(answers)} answers; expected two")
        texts = [_text(answer.get("content"), "answer.content") for answer in answers]
        preference, strength = _preference(row, answers)
    elif row.keys() >= {"prompt", "response_1", "response_2", "preference_strength"}:
        conversation = _helpsteer2(row["prompt"])
        texts = [_text(row[name], name) for name in ("response_1", "response_2")]
        preference, strength = _signed(row["preference_strength"], "preference_strength")
    elif row.keys() >= {"context", "response1", "response2", "overall_preference"}:
        conversation = _conversation(row["context"], "context")
        texts = [_text(row[name], name) for name in ("response1", "response2")]
        preference, strength = _signed(row["overall_preference"], "overall_preference")
    else:
        raise _unknown(
            row,
            "input and output; chosen and rejected; prompt, response_1, response_2 and preference_strength "
            "(HelpSteer2); or context, response1, response2 and overall_preference (HelpSteer3)",
        )
    if texts[0] == texts[1] and preference != "tie":
        raise UserError(f"the two responses are the same, yet {preference} is preferred")
    return Compared(conversation, texts[0], texts[1], preference, strength, _source(row))


def _preferred(row: Row) -> Preferred:
    if not row.keys() >= {"chosen", "rejected"}:
        compared = _compared(row)
        if compared.preference == "tie":
            raise UnusedRow("ties, which have no chosen response")
        better, worse = compared.first, compared.second
        if compared.preference == "B":
            better, worse = worse, better
        return Preferred(compared.conversation, better, worse, compared.strength, compared.source)
    margin = _margin(row)
    sides = [_messages_or_text(row[name]) for name in ("chosen", "rejected")]
    if all(isinstance(side, str) for side in sides):
        given = next((name for name in ("prompt", "x", "input") if name in row), None)
        conversation = _conversation(row[given], given) if given else ()
        chosen, rejected = (
            _text(side, name) for side, name in zip(sides, ("chosen", "rejected"), strict=True)
        )
    else:
        ends = [_closed(side, name) for side, name in zip(sides, ("chosen", "rejected"), strict=True)]
        (conversation, chosen), (other, rejected) = ends
        if conversation != other:
            raise UserError(
                "chosen and rejected answer different conversations; expected the same before the end"
            )
    if chosen == rejected:
        raise UserError("chosen and rejected are the same response")
    return Preferred(conversation, chosen, rejected, margin, _source(row))


def _demonstration(row: Row) -> Demonstration:
    if "messages" in row:
        messages = _conversation(row["messages"], "messages")
    elif row.keys() >= {"prompt", "response", "correctness"}:
        if _number(row["correctness"], "correctness") < _BEST_CORRECTNESS:
            raise UnusedRow(f"responses with a correctness below {_BEST_CORRECTNESS}")
        response = {"role": "assistant", "content": _text(row["response"], "response")}
        messages = (*_helpsteer2(row["prompt"]), response)
    else:
        raise _unknown(row, "messages; or prompt, response and correctness (HelpSteer2)")
    turns = [message["role"] for message in messages]
    spoken = turns[1:] if turns[0] == "system" else turns
    if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2):
        raise UserError(
            f"messages are of {', '.join(turns)}; expected user and assistant in turn, the latter last"
        )
    return Demonstration(messages, _source(row))


_PARSERS: dict[str, Callable[[Row], Record]] = {
    "pointwise": _graded,
    "pairwise": _compared,
    "bradley_terry": _preferred,
    "sft": _demonstration,
}


# ---------------------------------------------------------------- values


def _decoded(value: Any) -> Any:
    """What a JSON string holds; any other value as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _messages_or_text(value: Any) -> Any:
    """Messages that a JSON string holds; a text may well be JSON of another kind."""
    decoded = _decoded(value)
    first = decoded[0] if isinstance(decoded, list) and decoded else decoded
    return decoded if isinstance(first, Mapping) and "role" in first else value


def _conversation(value: Any, name: str) -> Conversation:
    value = _messages_or_text(value)
    if isinstance(value, str):
        return ({"role": "user", "content": _text(value, name)},)
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, Sequence) or not value:
        raise UserError(f"{name} is {_shown(value)}; expected messages with role and content")
    messages = []
    for number, message in enumerate(value):
        if not isinstance(message, Mapping) or message.get("role") not in _ROLES:
            raise UserError(
                f"{name}[{number}] is {_shown(message)}; expected a message whose role is {', '.join(_ROLES)}"
            )
        content = _text(message.get("content"), f"{name}[{number}].content")
        messages.append({"role": message["role"], "content": content})
    return tuple(messages)


def _closed(value: Any, name: str) -> tuple[Conversation, str]:
    """A conversation without its last turn, and that turn, which is the assistant's."""
    messages = _conversation(value, name)
    if messages[-1]["role"] != "assistant":
        raise UserError(f"{name} ends with a message of {messages[-1]['role']}; expected assistant")
    return messages[:-1], messages[-1]["content"]


def _helpsteer2(prompt: Any) -> Conversation:
    """User's first turn, then marked turns of assistant and user."""
    first, *rest = _TURN.split(_text(prompt, "prompt"))
    turns = [
        ("user", first),
        *((role.lower(), text) for role, text in zip(rest[::2], rest[1::2], strict=True)),
    ]
    return tuple({"role": role, "content": _text(text, "prompt")} for role, text in turns)


def _answers(output: Any) -> list[Mapping[str, Any]]:
    output = _decoded(output)
    answers = []
    for item in output if isinstance(output, Sequence) and not isinstance(output, str) else [output]:
        item = _decoded(item)
        answer = _decoded(item["answer"]) if isinstance(item, Mapping) and item.get("answer") else item
        if not isinstance(answer, Mapping) or "content" not in answer:
            raise UserError(f"output holds {_shown(item)}; expected an answer with content")
        answers.append(answer)
    return answers


def _label(answer: Mapping[str, Any]) -> dict[str, Any]:
    label = _decoded(answer.get("label"))
    if not isinstance(label, Mapping):
        raise UserError(f"label is {_shown(label)}; expected keys and values")
    return {key: value for key, value in label.items() if value is not None}


def _preference(row: Row, answers: Sequence[Mapping[str, Any]]) -> tuple[Preference, float | None]:
    """From the labels and the metadata; whatever says it must say the same."""
    metadata = _decoded(row.get("metadata") or {})
    if not isinstance(metadata, Mapping):
        raise UserError(f"metadata is {_shown(metadata)}; expected keys and values")
    labels = [_label(answer) if answer.get("label") is not None else {} for answer in answers]
    said = [label["preference"] for label in labels if "preference" in label]
    if metadata.get("preferred") is not None:
        said.append(metadata["preferred"])
    found = {_read_preference(value) for value in said}
    if not found:
        raise UserError("no preference; expected answer.label.preference or metadata.preferred")
    if len(found) > 1:
        raise UserError(f"labels and metadata disagree: {', '.join(sorted(found))}")
    strengths = [metadata.get("preference_strength"), *(label.get("preference_strength") for label in labels)]
    strength = next((value for value in strengths if value is not None), None)
    return found.pop(), None if strength is None else abs(_number(strength, "preference_strength"))


def _read_preference(value: Any) -> Preference:
    if (preference := as_preference(value)) is None:
        raise UserError(f"the preference is {_shown(value)}; expected A, B or tie")
    return preference


def _signed(value: Any, name: str) -> tuple[Preference, float]:
    """HelpSteer: below 0 the first response is better, above 0 the second."""
    number = _number(value, name)
    preference: Preference = "A" if number < 0 else "B" if number > 0 else "tie"
    return preference, abs(number)


def _margin(row: Row) -> float | None:
    for name in ("margin", "preference_strength"):
        if name in row:
            return abs(_number(row[name], name))
    return None


def _score(value: Any) -> int:
    number = _number(value, "helpfulness")
    if number != int(number) or not LOWEST <= number <= HIGHEST:
        raise UserError(f"helpfulness is {value!r}; expected an integer from {LOWEST} to {HIGHEST}")
    return int(number)


def _number(value: Any, name: str) -> float:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,6}(\.[0-9]{1,6})?", value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{name} is {_shown(value)}; expected a number")
    return float(value)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{name} is {_shown(value)}; expected a text that is not empty")
    return value


def _source(row: Row) -> str:
    for name in ("source", "data_source"):
        if isinstance(row.get(name), str):
            return str(row[name])
    return ""


def _unknown(row: Row, layouts: str) -> UserError:
    return UserError(f"no known layout: the keys are {sorted(row)}; expected {layouts}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _answer(content: str, label: dict[str, Any]) -> dict[str, Any]:
    return {"answer": {"role": "assistant", "content": content, "label": label}}


def _plain(conversation: Conversation) -> list[dict[str, str]]:
    return [{"role": message["role"], "content": message["content"]} for message in conversation]
