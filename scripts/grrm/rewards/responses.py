"""Responses as trainers of other projects hand them over: a query is a prompt with its response.

Both are as the policy's tokenizer decodes them, special tokens included, and have a label beside them. The
prompt comes as text, but the query has been through the tokenizer, which may have normalised the prompt, have
cleaned up its spaces or have had its beginning cut off: so its end is looked for (`response_of`).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grrm.extract import END_MARKS, without_end
from grrm.files import UserError

# What chat templates open the assistant's turn with, at the end of a prompt: Qwen's, Llama 3's, Gemma's,
# Llama 2's and Mistral's, Phi's and GLM's, DeepSeek's.
_ASSISTANT = re.compile(
    r"(?:<\|im_start\|>assistant|<\|start_header_id\|>assistant<\|end_header_id\|>|<start_of_turn>model|"
    r"\[/INST\]|<\|assistant\|>|<｜Assistant｜>|(?<![^\n])[Aa]ssistant:)"
    r"\s*(?:<think>\s*(?:</think>\s*)?)?\Z"
)
_LEAST_OVERLAP = 16
"""Characters of the end of a prompt, in the place of all of it, by which a query is believed to have it."""
_DEEPEST = 64
"""Levels of a label."""


@dataclass(frozen=True)
class Item:
    """A response to be rewarded.

    Attributes:
        prompt: as the policy saw it, with the marks of its chat template.
        response: without the mark of its end.
        label: what the training data say about the prompt; None if nothing.
    """

    prompt: str
    response: str
    label: Any = None

    @property
    def group(self) -> str:
        """The same for all responses to a prompt."""
        return json.dumps([self.prompt, self.label], sort_keys=True)


def items_of(
    queries: Sequence[str],
    prompts: Sequence[str],
    labels: Sequence[Any] | None,
    end_marks: Sequence[str] = END_MARKS,
) -> list[Item]:
    """The responses of queries.

    Args:
        queries: each prompt with its response.
        prompts: the prompts alone.
        labels: what the training data say about each prompt; None if nothing.
        end_marks: left out where a response ends with them, as often as they stand there.

    Raises:
        UserError: the lists differ in length, a query does not begin with its prompt, or a label is nested
            too deep or holds what is no number.
    """
    count = len(queries)
    labels = [None] * count if labels is None else labels
    for name, values in (("prompts", prompts), ("labels", labels)):
        if len(values) != count:
            raise UserError(f"{name}: {len(values)} for {count} of query; expected as many")
    found = []
    for number, (query, prompt, label) in enumerate(zip(queries, prompts, labels, strict=True)):
        if (response := response_of(query, prompt)) is None:
            raise UserError(
                f"query {number}: it does not begin with prompt {number}, so its response cannot be told "
                "from it; send both as the same tokenizer decodes them"
            )
        if _is_deep(label):
            raise UserError(f"label {number}: nested more than {_DEEPEST} deep; expected a row of data")
        if not _is_json(label):
            raise UserError(f"label {number}: holds NaN or infinity; expected numbers, and null for none")
        found.append(Item(prompt, without_end(response, end_marks), label))
    return found


def response_of(query: str, prompt: str) -> str | None:
    """What follows the prompt in a query; None if it does not begin with the prompt.

    The prompt is recognised as it stands; or by the letters of it, in Unicode's compatibility form and
    whatever its spaces and case; or by the end of it, if the query lacks its beginning; or by the mark that
    opens the assistant's turn, if letters of the prompt are unknown to the tokenizer.
    """
    if query.startswith(prompt):
        return query[len(prompt) :]
    for form in ("NFC", "NFKC"):  # fast, and all that most tokenizers do
        if query.startswith(normal := unicodedata.normalize(form, prompt)):
            return query[len(normal) :]
    known = _letters(prompt)
    # A cut may have gone through a character.
    start = len(query) - len(query.lstrip("\ufffd"))
    end = _end_of_overlap(query, start, known)
    mark = _ASSISTANT.search(prompt)
    if end is None and mark is not None:
        end = _end_of_mark(query, prompt, mark[0].strip())
    if end is None:
        return None
    # The white space that ends the prompt is no part of the response.
    for sign in prompt[len(prompt.rstrip()) :]:
        if query.startswith(sign, end):
            end += 1
    return query[end:]


def _letters(text: str) -> list[str]:
    """The characters of a text, decomposed and folded, without white space and what tokenizers drop."""
    return [part for sign in text for part in _folded(sign)]


def _folded(sign: str) -> str:
    folded = sign if sign.isascii() else unicodedata.normalize("NFKD", sign)
    return "".join(folded.casefold().split())


def _end_of_overlap(query: str, start: int, known: Sequence[str]) -> int | None:
    """Where the prompt ends in a query that begins with the letters `known`, or with enough of their end."""
    letters: list[str] = []
    ends: list[int] = []  # by letter: where the character that it is of ends in the query
    for position in range(start, len(query)):
        if len(letters) >= len(known):
            break
        for part in _folded(query[position]):
            letters.append(part)
            ends.append(position + 1)
    _sort_marks(letters)
    whole = list(known)
    _sort_marks(whole)
    length = _overlap(letters, whole)
    if not length or (length < len(whole) and length < _LEAST_OVERLAP):
        return None
    return ends[length - 1]


def _sort_marks(letters: list[str]) -> None:
    """Put combining marks that follow one another into Unicode's canonical order."""
    for index in range(1, len(letters)):
        place, rank = index, unicodedata.combining(letters[index])
        while rank and place and unicodedata.combining(letters[place - 1]) > rank and index - place < 32:
            letters[place - 1], letters[place] = letters[place], letters[place - 1]
            place -= 1


def _overlap(beginning: Sequence[str], whole: Sequence[str]) -> int:
    """Length of the longest end of `whole` with which `beginning` begins (Knuth, Morris and Pratt)."""
    if not beginning:
        return 0
    fallback = [0] * len(beginning)
    length = 0
    for index in range(1, len(beginning)):
        while length and beginning[index] != beginning[length]:
            length = fallback[length - 1]
        length += beginning[index] == beginning[length]
        fallback[index] = length
    length = 0
    for sign in whole:
        if length == len(beginning):
            length = fallback[length - 1]
        while length and sign != beginning[length]:
            length = fallback[length - 1]
        length += sign == beginning[length]
    return length


def _end_of_mark(query: str, prompt: str, mark: str) -> int | None:
    """Where the last mark of the prompt ends in the query; a response may hold further ones."""
    places = [match.end() for match in re.finditer(re.escape(mark), query)]
    return places[min(prompt.count(mark), len(places)) - 1] if places else None


def _is_json(value: Any) -> bool:
    """Whether all numbers in what JSON was read into are such."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _is_deep(value: Any) -> bool:
    """Whether lists and objects stand in one another more than `_DEEPEST` times."""
    level, depth = [value], 0
    while level := [
        inner
        for outer in level
        if isinstance(outer, dict | list)
        for inner in (outer.values() if isinstance(outer, dict) else outer)
    ]:
        depth += 1
        if depth > _DEEPEST:
            return True
    return False
