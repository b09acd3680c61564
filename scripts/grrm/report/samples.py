"""Sample translations with the judge's own words, as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from grrm.files import UserError, read_jsonl
from grrm.ranking import InvalidAnswer, labels, parse_answer
from grrm.report.pages import html_document

_FIELDS = {"src_text", "trg_text", "src_lang", "trg_lang", "raw", "translations", "candidates", "judgement"}


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Samples as judge_translations writes them.

    Raises:
        UserError: a row lacks a field; the message names row and field.
    """
    samples = read_jsonl(path)
    for number, sample in enumerate(samples, 1):
        missing = sorted(_FIELDS - set(sample)) if isinstance(sample, dict) else sorted(_FIELDS)
        if missing:
            raise UserError(f"{path}, row {number}: lacks {', '.join(missing)}; run judge_translations again")
    return samples


def render_page(samples: Sequence[Mapping[str, Any]], title: str) -> str:
    """A complete HTML page that needs no other file; every text of a model or data set is escaped."""
    judge = (
        f" The judge is {_code(samples[0]['judge_model'])}."
        if samples and "judge_model" in samples[0]
        else ""
    )
    return html_document(
        title,
        f"<p>The first {len(samples)} segments of the held-out test set; nothing was chosen. The judge saw "
        f"the source and the different translations, labelled A, B…, not the reference.{judge}</p>\n"
        + "".join(_section(number, sample) for number, sample in enumerate(samples, 1)),
    )


def _section(number: int, sample: Mapping[str, Any]) -> str:
    languages = f"{sample['src_lang']} to {sample['trg_lang']}"
    return (
        f"<section>\n<h2>{number}. {escape(languages)}</h2>\n<table>\n"
        + _given("Source", sample["src_text"], sample["src_lang"])
        + _given("Reference", sample["trg_text"], sample["trg_lang"])
        + '</table>\n<table>\n<tr><th scope="col">Model</th><th scope="col">Translation</th>'
        '<th scope="col">Label</th><th scope="col">Score by the judge</th></tr>\n'
        + "".join(_translation(name, text, sample) for name, text in sample["translations"].items())
        + f"</table>\n{_judgement(sample)}</section>\n"
    )


def _given(title: str, text: str, language: str) -> str:
    return f'<tr><th scope="row">{title}</th><td lang="{escape(language)}">{_text(text)}</td></tr>\n'


def _translation(name: str, text: str | None, sample: Mapping[str, Any]) -> str:
    if text is None:
        raw = sample["raw"][name]
        cell = f'<span class="failure">No translation found in the answer:</span><pre>{escape(raw)}</pre>'
        label, score = "–", "–"
    else:
        place = sample["candidates"].index(text)
        scores = (sample["judgement"] or {}).get("scores")
        cell, label = _text(text), labels(len(sample["candidates"]))[place]
        score = "–" if scores is None else f"{scores[place]}"
    return (
        f'<tr><th scope="row">{escape(name)}</th><td>{cell}</td><td>{label}</td>'
        f'<td class="number">{score}</td></tr>\n'
    )


def _judgement(sample: Mapping[str, Any]) -> str:
    judgement = sample["judgement"]
    if judgement is None:
        return "<p>The judge was not asked: there are no two different translations to compare.</p>\n"
    if judgement["failure"]:
        return (
            f'<p class="failure">The judge’s answer cannot be used ({escape(judgement["failure"])}: '
            f"{escape(judgement['detail'] or '')}). It wrote:</p>\n"
            f"<blockquote>{escape(judgement['answer'])}</blockquote>\n"
        )
    answer = parse_answer(judgement["answer"], len(sample["candidates"]))
    if isinstance(answer, InvalidAnswer):
        raise UserError(
            f"sample {sample['src_text']!r}: has scores, but its answer is invalid ({answer.detail})"
        )
    return f"<p>The judge’s analysis:</p>\n<blockquote>{escape(answer.analysis)}</blockquote>\n"


def _text(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
