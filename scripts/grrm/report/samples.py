"""Translations beside one another with the judge's words, as the report's browser of samples shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sacrebleu.metrics import CHRF

from grrm.catalogue.metrics import METRICS, Metric
from grrm.files import UserError, read_jsonl
from grrm.ranking import InvalidAnswer, read_answer
from grrm.report.summary import labelled

_FIELDS = {"src_text", "trg_text", "src_lang", "trg_lang", "raw", "translations", "candidates", "judgement"}

_CHRF = CHRF(word_order=2)

# Samples within the page itself, and in each of the files beside it that hold the others.
IN_PAGE = 300
IN_PART = 500


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Samples as judge_translations writes them.

    Raises:
        UserError: a row lacks a field; the message names row and field.
    """
    samples = read_jsonl(path)
    for number, sample in enumerate(samples, 1):
        missing = sorted(_FIELDS - set(sample)) if isinstance(sample, dict) else sorted(_FIELDS)
        if not missing and sample["judgement"] and "candidate_order" not in sample["judgement"]:
            missing = ["judgement.candidate_order"]
        if missing:
            raise UserError(f"{path}, row {number}: lacks {', '.join(missing)}; run judge_translations again")
    return samples


def collect_samples(
    segments: Sequence[Mapping[str, Any]],
    answers: Mapping[str, Sequence[Mapping[str, Any]]],
    judged: Sequence[Mapping[str, Any]],
    scores: Mapping[str, Mapping[str, Sequence[float | None]]],
    metrics: Mapping[str, Metric] = METRICS,
) -> list[dict[str, Any]]:
    """One row for every segment of a test set, the largest change between first and last system first.

    The change is that of the first metric, of chrF++ where there is none; without a score it comes last. What
    is gained is the change where higher is better, and its opposite where lower is.

    Args:
        segments: rows of the test set.
        answers: of each system to all segments, in their order.
        judged: what the judge said about the first segments (see `read_samples`); may be empty.
        scores: by metric and system, one for every segment.
        metrics: by name.

    Raises:
        UserError: a judged sample is not of its segment, or has scores but no valid answer.
    """
    rows = []
    for i, segment in enumerate(segments):
        given = [by_system[i] for by_system in answers.values()]
        texts = [answer["translation"] for answer in given]
        values = {
            name: [_scaled(metrics[name], by_system[system][i]) for system in answers]
            for name, by_system in scores.items()
        } | {"chrf++": [_chrf(text, segment["trg_text"]) for text in texts]}
        main = next(iter(values))
        rows.append(
            {
                "row": i,
                "set": segment.get("test_set"),
                "pair": f"{segment['src_lang']}-{segment['trg_lang']}",
                "src": segment["src_text"],
                "ref": segment["trg_text"],
                "out": texts,
                # Where no translation was found, all that the model wrote.
                "raw": [answer["raw"] if answer["translation"] is None else None for answer in given],
                "scores": values,
                **_change(values[main], metrics[main]),
                **_judgement(judged[i] if i < len(judged) else None, segment, texts),
            }
        )
    return sorted(rows, key=lambda row: (-abs(row["change"] or 0), row["row"]))


def _change(values: Sequence[float | None], metric: Metric) -> dict[str, float | None]:
    """From the first system to the last, and what is gained by it."""
    first, last = values[0], values[-1]
    if first is None or last is None:
        return {"change": None, "gain": None}
    change = round(last - first, metric.digits)
    return {"change": change, "gain": change * metric.sign}


def _chrf(text: str | None, reference: str | None) -> float | None:
    if reference is None:
        return None
    return round(float(_CHRF.sentence_score(text or "", [reference]).score), 1)


def _scaled(metric: Metric, score: float | None) -> float | None:
    return None if score is None else round(metric.factor * score, metric.digits)


def _judgement(
    sample: Mapping[str, Any] | None, segment: Mapping[str, Any], texts: Sequence[str | None]
) -> dict[str, Any]:
    """What the judge said: its score of each text, its analysis, or why there is none."""
    nothing: dict[str, Any] = {"judge": None, "said": None, "failure": None}
    if sample is None:
        return nothing
    if sample["src_text"] != segment["src_text"]:
        raise UserError(
            f"judged sample {sample['src_text']!r} is not the segment {segment['src_text']!r} of the test "
            "set; run judge_translations again"
        )
    judgement = sample["judgement"]
    if judgement is None:
        return nothing
    if judgement["failure"]:
        return {**nothing, "said": judgement["answer"], "failure": judgement["failure"]}
    answer = read_answer(judgement["answer"], len(sample["candidates"]))
    if isinstance(answer, InvalidAnswer):
        raise UserError(
            f"sample {sample['src_text']!r}: has scores, but its answer is invalid ({answer.detail})"
        )
    by_text = dict(zip(sample["candidates"], judgement["scores"], strict=True))
    label_of = {text: label for label, text in labelled(sample).items()}
    return {
        "judge": [None if text is None else by_text.get(text) for text in texts],
        "said": answer.analysis,
        "labels": [None if text is None else label_of[text] for text in texts],
        "failure": None,
    }


def split(rows: Sequence[Mapping[str, Any]]) -> tuple[Sequence[Mapping[str, Any]], dict[str, str]]:
    """The rows that stand in the page, and the others as scripts by file name.

    Scripts, because a page that was opened as a file may load scripts but may not fetch.
    """
    parts = {
        f"{number:03d}.js": f"grrmSamples({script_json(list(part))});\n"
        for number, part in enumerate(_chunks(rows[IN_PAGE:], IN_PART), 1)
    }
    return rows[:IN_PAGE], parts


def _chunks(rows: Sequence[Mapping[str, Any]], size: int) -> Iterator[Sequence[Mapping[str, Any]]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def script_json(value: Any) -> str:
    """JSON that may stand inside a script element, whatever its texts hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    # A lone surrogate, which a model may well write, is no Unicode text.
    return text.encode("utf-8", "replace").decode("utf-8")
