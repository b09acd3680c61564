"""Reading what a judge decided: a score, a preference or an order, each in a tag at the end of its answer, or
a score on its last line.

Strict on purpose. A verdict is the only complete tag outside the thinking that holds a valid value; it
begins a line, and nothing follows it. A judge quotes what it judges, so two of them with different values,
or one within a sentence, say nothing; and what shows a form, such as <score>0-4</score>, is no verdict.
Whatever else is found is an error with a reason, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar, cast

from grrm.extract import after_thinking, last_line, tags, without_end

T = TypeVar("T")
Preference: TypeAlias = Literal["A", "B", "tie"]

PREFERENCES: tuple[Preference, ...] = ("A", "B", "tie")

HELPFULNESS = (0, 4)
"""Lowest and highest score that judges of single responses are trained to give."""

# ASCII digits only, no sign and no leading zero: int() would also take "３", "+3" and "0_3".
_INTEGER = re.compile(r"0|[1-9][0-9]{0,5}")
# "8", "8.5", "8/10", "8分", each also behind words and a colon or "=" ("Final score (0-10): 8") and before a
# full stop. Among the words numbers and ranges may stand apart ("Score out of 10: 8") or in brackets, signs
# between letters only: "A-3: 5" and "error -: 3" are no scores.
_NUMBER = r"(?:0|[1-9][0-9]{0,5})(?:\.[0-9]{1,6})?"
_APART = r"(?<=\s)\d{1,3}(?:[-–]\d{1,3})?(?!\d)"
_WORDS = rf"[^\W\d_](?:[^\d:：=()（）+\-−–]|-(?=[^\W\d_])|{_APART}|[(（][^:：()（）]{{0,40}}[)）]){{0,60}}"
_QUALITY = re.compile(rf"(?:{_WORDS}[:：=]\s*)?({_NUMBER})\s*分?(?:\s*/\s*({_NUMBER})\s*分?)?\s*[.。]?")
# Marks of emphasis and fences, which may stand around a verdict: they say nothing.
_NO_WORDS = re.compile(r"[\s*_`\ufeff]*")
_EMPHASIS = re.compile(r"[*_`#]")
_BOXED = re.compile(r"\${0,2}\\boxed\{([^{}]*)\}\${0,2}")


def parse_score(text: str, lowest: int, highest: int, name: str = "score") -> int:
    """Read `<score>3</score>`.

    Raises:
        ValueError: there is no such tag, or it does not hold an integer from `lowest` to `highest`.
    """

    def read(content: str) -> int:
        if _INTEGER.fullmatch(content) is None or not lowest <= int(content) <= highest:
            raise ValueError(f"holds {content[:80]!r}; expected an integer from {lowest} to {highest}")
        return int(content)

    return _verdict(text, name, read)


def parse_quality(text: str, highest: int = 10) -> float:
    """Read the score of a translation on the last line: `8`, `**8**`, `8.5`, `8/10`, `8分`, `\\boxed{8}`; or
    that behind words, `Score: 8` or `Score = 8`.

    Markdown's marks of emphasis do not matter; thinking is left out before the last line is taken.

    Args:
        text: the judge's answer.
        highest: upper end of the scale, which begins at 0; after a stroke this number must stand.

    Raises:
        ValueError: the last line holds anything else, or a number outside the scale.
    """
    line = last_line(after_thinking(text) or "") or ""
    # With spaces, so that a sign or digit beside the box does not become one with what is in it. Runs of
    # white space are made one: the pattern would take the square of their length.
    match = _QUALITY.fullmatch(" ".join(_BOXED.sub(r" \1 ", _EMPHASIS.sub("", line)).split()))
    if match is None or float(match[1]) > highest or (match[2] and float(match[2]) != highest):
        raise ValueError(f"the last line is {line[:80]!r}; expected a score from 0 to {highest}")
    return float(match[1])


def parse_preference(text: str, name: str = "better") -> Preference:
    """Read `<better>A</better>`: A, B or tie, in any letter case.

    Raises:
        ValueError: there is no such tag, or it holds something else.
    """

    def read(content: str) -> Preference:
        if (preference := as_preference(content)) is None:
            raise ValueError(f"holds {content[:80]!r}; expected A, B or tie")
        return preference

    return _verdict(text, name, read)


def as_preference(value: object) -> Preference | None:
    """A, B or tie, in any letter case and with white space around it; None if it is none of them."""
    if not isinstance(value, str):
        return None
    return next(
        (preference for preference in PREFERENCES if value.strip().upper() == preference.upper()), None
    )


def parse_order(text: str, n: int, name: str = "ranking") -> list[set[int]]:
    """Read `<ranking>3 > 1 = 2</ranking>` as [{2}, {0, 1}]: best first, indices from 0.

    Commas, ">" and white space alike mean "better than", "=" means tied.

    Raises:
        ValueError: there is no such tag, or it does not hold each number from 1 to `n` once.
    """
    return _verdict(text, name, lambda content: _order(content, n))


def _order(content: str, n: int) -> list[set[int]]:
    # Runs of white space are made one: the pattern would take the square of their length.
    content = " ".join(content.split())
    order: list[set[int]] = []
    for tied in re.split(r"[\s>,]+", re.sub(r"\s*([=>,])\s*", r"\1", content)):
        numbers = tied.split("=")
        if any(_INTEGER.fullmatch(number) is None for number in numbers):
            raise ValueError(f"holds {content[:80]!r}; expected an order such as 2 > 1 = 3")
        order.append({int(number) - 1 for number in numbers})
        if len(order[-1]) != len(numbers):
            raise ValueError(f"holds {content[:80]!r}; a candidate appears more than once")
    if sorted(index for tied in order for index in tied) != list(range(n)):
        raise ValueError(f"holds {content[:80]!r}; expected each number from 1 to {n} once")
    return order


def lenient_score(text: str, lowest: int, highest: int, name: str = "score") -> int:
    """As `parse_score`, also in the words of models that were not trained on the form: `<score>8/10</score>`,
    `<score>**8**</score>`, `<score>Score: 8</score>`, or without any tag on the last line.

    Raises:
        ValueError: as `parse_score`.
    """

    def read(content: str) -> int:
        value = parse_quality(content, highest)
        if value != int(value) or value < lowest:
            raise ValueError(f"holds {content[:80]!r}; expected an integer from {lowest} to {highest}")
        return int(value)

    return _lenient(text, name, read)


def lenient_preference(text: str, name: str = "better") -> Preference:
    """As `parse_preference`, also in the words of models that were not trained on the form: `**A**`, `[[B]]`,
    `Response A`, `Response B is better`, `It's a tie`, in the tag, or without any tag on the last line.

    Raises:
        ValueError: as `parse_preference`.
    """

    def read(content: str) -> Preference:
        match = _SAID.fullmatch(_plain(content))
        if match is None:
            raise ValueError(f"holds {content[:80]!r}; expected A, B or tie")
        return as_preference(match["side"]) or "tie"

    return _lenient(text, name, read)


def lenient_order(text: str, n: int, name: str = "ranking") -> list[set[int]]:
    """As `parse_order`, also in the words of models that were not trained on the form: `[3, 2, 1]`,
    `Response 3 > Response 1 = Response 2`, in the tag, or without any tag on the last line.

    Raises:
        ValueError: as `parse_order`.
    """
    return _lenient(text, name, lambda content: _order(_LABEL.sub("", _plain(content)), n))


# Who is named, before a letter or a number.
_WHO = r"(?:response|answer|candidate|option|assistant|translation|model)"
_LABEL = re.compile(rf"\b{_WHO}s?\s*#?|^[^:\d]{{0,40}}:\s*", re.IGNORECASE)
_SAID = re.compile(
    rf"(?:[^:]{{0,60}}:\s*)?(?:the\s+)?(?:(?:better|best|winning|preferred)\s+)?(?:(?:{_WHO}|winner|one)\s+(?:is\s+)?)?"
    rf"(?:(?:{_WHO})\s+)?(?:(?P<side>[AB])|(?:it\s+is\s+|it's\s+)?(?:an?\s+)?(?:tie|draw|equal|tied))"
    r"(?:\s+(?:is\s+(?:the\s+)?(?:better|best|winner|preferred)(?:\s+(?:one|response|answer))?|wins))?",
    re.IGNORECASE,
)


def _plain(content: str) -> str:
    """A content in one line, without emphasis, brackets, quotes and the full stop at its end."""
    return " ".join(re.sub(r"[*_`#\[\]()\"“”]", " ", content).split()).rstrip(".!").strip()


def _lenient(text: str, name: str, read: Callable[[str], T]) -> T:
    """The value in the tag; without any tag of this name, on the last line outside the thinking."""
    answer = after_thinking(text) if isinstance(text, str) else None
    if answer is None or re.search(rf"</?{re.escape(name)}>", answer, re.IGNORECASE):
        return _verdict(text, name, read)
    try:
        return read(last_line(without_end(answer)) or "")
    except ValueError as error:
        raise ValueError(f"no <{name}>, and the last line {error}") from error


def swap(preference: Preference) -> Preference:
    """The same preference with the two responses in the other order."""
    return cast(Preference, {"A": "B", "B": "A", "tie": "tie"}[preference])


def _verdict(text: object, name: str, read: Callable[[str], T]) -> T:
    """The value of the one tag that is a verdict (see the head of this module).

    Args:
        text: the answer.
        name: of the tag.
        read: the value of a content; raises ValueError with what is wrong with it.
    """
    if not isinstance(text, str):
        raise ValueError(f"the answer is a {type(text).__name__}, expected text")
    answer = after_thinking(text)
    if answer is None:
        raise ValueError(f"no complete <{name}>...</{name}> outside the thinking, which never ends")
    found = tags(answer, name)
    if not found:
        raise ValueError(f"no complete <{name}>...</{name}> outside the thinking")
    valid: list[tuple[re.Match[str], T]] = []
    for match in found:
        try:
            valid.append((match, read(match[1].strip())))
        except ValueError as error:
            if match is found[-1]:
                raise ValueError(f"<{name}> {error}") from error
    match, value = valid[-1]
    if others := [other[1].strip() for other, said in valid if said != value]:
        raise ValueError(
            f"<{name}> holds {others[0][:40]!r} and {match[1].strip()[:40]!r}; expected one verdict"
        )
    before, after = answer[: match.start()].rpartition("\n")[2], without_end(answer[match.end() :])
    # The tag itself may be doubled.
    around = re.sub(rf"</?{re.escape(name)}>", "", before + after, flags=re.IGNORECASE)
    if _NO_WORDS.fullmatch(around) is None:
        raise ValueError(f"<{name}> stands within a text; expected it to begin a line, and nothing after it")
    return value
