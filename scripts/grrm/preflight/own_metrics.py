"""Whether metrics of the user's own answer, before hours of training lead to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grrm.catalogue.metrics import metrics_of
from grrm.files import UserError
from grrm.functions import load_function
from grrm.metrics.own import ask
from grrm.preflight.findings import Finding, failed, ok, unknown
from grrm.schemas import read_table

_ROWS = 3  # that they are asked about


def check_own_metrics(config: Mapping[str, Any], table: Path) -> list[Finding]:
    """A finding for each: what it says about a few segments, one of them without a translation.

    Args:
        config: resolved configuration.
        table: translation test table; made-up segments stand for it until it is there.
    """
    findings = []
    for metric in metrics_of(config):
        check = f"metric {metric.name}"
        if not metric.function:
            continue
        if metric.environment != "driver":
            findings.append(unknown(check, f"runs in the environment {metric.environment!r}, not here"))
            continue
        try:
            rows, which = _rows(table, referenced=metric.needs_reference)
            texts = [row["trg_text"] or row["src_text"] for row in rows[1:]]
            scores = ask(load_function(metric.function), metric.function, rows, [None, *texts], which)
            found = f"{metric.function} says {', '.join(map(str, scores))} about {which}"
            findings.append(ok(check, found))
        except UserError as error:
            findings.append(failed(check, str(error), "change the function, or evaluate.metrics"))
    return findings


def _rows(table: Path, *, referenced: bool) -> tuple[list[dict[str, Any]], str]:
    found = read_table(table, "translation_test").to_pylist() if table.is_file() else []
    if rows := [row for row in found if row["trg_text"] is not None or not referenced][:_ROWS]:
        return rows, "the first segments"
    made_up = {"src_lang": "de", "trg_lang": "en", "comment": None, "test_set": "made-up"}
    return [
        {"src_text": f"Satz {i}.", "trg_text": f"Sentence {i}.", **made_up} for i in range(_ROWS)
    ], "made-up segments"
