"""What rows of translations say, in whatever layout: groups of scored candidates, reasoned translations,
sentence pairs, segments to translate. Each reader makes a row of one of our tables (`grrm.schemas`), or says
which value is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from grrm.data.values import Row, decoded, number_of, short, text_of
from grrm.extract import code_block
from grrm.files import UserError
from grrm.prompts import translation_answer
from grrm.ranking import MAX_CANDIDATES, MAX_SCORE, MIN_CANDIDATES, MIN_SCORE


def graded_group(row: Row) -> dict[str, Any]:
    """A group whose candidates have grades, integers from 0 to 10; with its analysis and reference, if it has
    them.
    """
    texts, scores = _candidates(row)
    for number, score in enumerate(scores):
        if score != int(score) or not MIN_SCORE <= score <= MAX_SCORE:
            raise UserError(
                f"scores[{number}] is {score:g}; expected an integer from {MIN_SCORE} to {MAX_SCORE}"
            )
    more = {name: text_in(row, name) for name in ("trg_text", "analysis") if row.get(name) is not None}
    return {**_source(row), **more, "mt_texts": texts, "scores": [int(score) for score in scores]}


def scored_group(row: Row) -> dict[str, Any]:
    """A group whose candidates have scores on any scale, higher is better."""
    texts, scores = _candidates(row)
    return {**_source(row), "mt_texts": texts, "scores": scores}


def reasoned(row: Row) -> dict[str, Any]:
    """A response that reasons, and ends with the translation in a code block."""
    response = text_in(row, "response")
    if code_block(response) is None:
        raise UserError(
            f"response is {short(response)}; expected an analysis, then the translation in one code block at "
            "the end"
        )
    return {**_source(row), "response": response}


def pair_of_reasoned(row: Row) -> dict[str, Any]:
    """The pair in it: its reference, or the translation that it ends with."""
    if row.get("trg_text") is not None:
        return pair(row)
    translation = code_block(reasoned(row)["response"])
    return {**_source(row), "trg_text": text_of(translation, "response")}


def pair(row: Row) -> dict[str, Any]:
    """A source and its translation."""
    return {**_source(row), "trg_text": text_in(row, "trg_text")}


def plain_response(row: Row) -> dict[str, Any]:
    """A pair as a response without reasoning, in the form that the prompt asks for."""
    return {**_source(row), "response": translation_answer("", pair(row)["trg_text"])}


def segment(row: Row) -> dict[str, Any]:
    """A segment to translate, with one reference, with several (`references`), or without."""
    found: dict[str, Any] = {**_source(row), "trg_text": None, "references": None, "comment": None}
    if row.get("references") is not None:
        found["references"] = _texts(row, "references")
        found["trg_text"] = found["references"][0]
    if row.get("trg_text") is not None:
        found["trg_text"] = text_in(row, "trg_text")
    if row.get("comment") is not None:
        found["comment"] = text_in(row, "comment")
    return found


def text_in(row: Mapping[str, Any], name: str) -> str:
    """The text in a column; UserError where it is empty, no text, or holds what is no part of a text."""
    return text_of(row.get(name), name)


def _source(row: Row) -> dict[str, Any]:
    return {name: text_in(row, name) for name in ("src_text", "src_lang", "trg_lang")}


def _candidates(row: Row) -> tuple[list[str], list[float]]:
    texts = _texts(row, "mt_texts")
    if not MIN_CANDIDATES <= len(texts) <= MAX_CANDIDATES:
        raise UserError(
            f"mt_texts has {len(texts)}; expected {MIN_CANDIDATES} to {MAX_CANDIDATES} candidates"
        )
    values = _list(row, "scores")
    if len(values) != len(texts):
        raise UserError(f"scores has {len(values)}; expected {len(texts)}, one for each of mt_texts")
    return texts, [number_of(value, f"scores[{number}]") for number, value in enumerate(values)]


def _texts(row: Row, name: str) -> list[str]:
    values = _list(row, name)
    if not values:
        raise UserError(f"{name} is []; expected at least one text")
    return [text_of(value, f"{name}[{number}]") for number, value in enumerate(values)]


def _list(row: Row, name: str) -> list[Any]:
    values = decoded(row.get(name))
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise UserError(f"{name} is {short(row.get(name))}; expected a list")
    return list(values)
