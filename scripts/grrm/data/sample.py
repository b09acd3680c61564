"""The written sample (config/sample): segments in real languages, split into the six source tables.

It is far too small to learn from. It shows that texts of real languages, with code fences, markup, line ends
and emoji in them, pass through every stage unharmed.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grrm.files import UserError, read_yaml
from grrm.prompts import translation_answer

Row = dict[str, Any]

# Shares of the rankings and of the translations; what is left after rounding goes to the first table.
RANKING_SPLITS = {"grrm_sft": 0.5, "grrm_rlvr": 0.25, "ranking_test": 0.25}
TRANSLATION_SPLITS = {"mt_sft": 0.5, "mt_grpo": 0.25, "translation_test": 0.25}

_RANKING_KEYS = {"pair", "source", "reference", "candidates", "analysis"}
_TRANSLATION_KEYS = {"pair", "source", "analysis", "translation"}


def make_tables(rankings: Path, translations: Path, seed: int) -> dict[str, list[Row]]:
    """Read the sample's two files and split them, at random but reproducibly, into six tables.

    Raises:
        UserError: a file is not a list of items with the expected keys, or a source text occurs twice.
    """
    groups = _read_items(rankings, _RANKING_KEYS, set())
    segments = _read_items(translations, _TRANSLATION_KEYS, {"comment"})
    counts = Counter(item["source"] for item in (*groups, *segments))
    if repeated := [source for source, count in counts.items() if count > 1]:
        raise UserError(
            f"{rankings} and {translations}: the source {repeated[0]!r} occurs more than once; "
            "training and test data would overlap"
        )
    rng = random.Random(seed)
    ranking_parts = _split(groups, RANKING_SPLITS, rng)
    translation_parts = _split(segments, TRANSLATION_SPLITS, rng)
    return {
        **{table: [_ranking_row(item) for item in items] for table, items in ranking_parts.items()},
        "mt_sft": [_cot_row(item) for item in translation_parts["mt_sft"]],
        "mt_grpo": [_pair_row(item, item["translation"]) for item in translation_parts["mt_grpo"]],
        "translation_test": [
            {**_pair_row(item, item["translation"]), "comment": item.get("comment")}
            for item in translation_parts["translation_test"]
        ],
    }


def _ranking_row(item: Row) -> Row:
    return {
        **_pair_row(item, item["reference"]),
        "mt_texts": [candidate["text"] for candidate in item["candidates"]],
        "analysis": item["analysis"],
        "scores": [candidate["score"] for candidate in item["candidates"]],
    }


def _cot_row(item: Row) -> Row:
    row = _pair_row(item, item["translation"])
    del row["trg_text"]
    return {**row, "response": translation_answer(item["analysis"], item["translation"])}


def _pair_row(item: Row, target: str) -> Row:
    source_language, target_language = item["pair"].split("-")
    return {
        "src_text": item["source"],
        "trg_text": target,
        "src_lang": source_language,
        "trg_lang": target_language,
    }


def _split(items: Sequence[Row], shares: Mapping[str, float], rng: random.Random) -> dict[str, list[Row]]:
    shuffled = rng.sample(items, len(items))
    sizes = [int(len(items) * share) for share in shares.values()]
    sizes[0] += len(items) - sum(sizes)
    rest = iter(shuffled)
    return {table: list(itertools.islice(rest, size)) for table, size in zip(shares, sizes, strict=True)}


def _read_items(path: Path, needed: set[str], optional: set[str]) -> list[Row]:
    items = read_yaml(path)
    if not isinstance(items, list) or len(items) < 4:
        raise UserError(f"{path}: expected a list of at least 4 items, so that every table gets one")
    for number, item in enumerate(items, 1):
        where = f"{path}, item {number}"
        if not isinstance(item, dict) or not needed <= item.keys() <= needed | optional:
            found = sorted(item) if isinstance(item, dict) else item
            raise UserError(f"{where}: expected the keys {sorted(needed)}, found {found}")
        for key in item.keys() - {"candidates"}:
            if not isinstance(item[key], str) or not item[key].strip():
                raise UserError(f"{where}: {key} is {item[key]!r}; expected a text")
        if item["pair"].count("-") != 1:
            raise UserError(f"{where}: pair is {item['pair']!r}; expected two language codes such as en-de")
        for candidate in item.get("candidates", []):
            if not isinstance(candidate, dict) or candidate.keys() != {"text", "score"}:
                raise UserError(f"{where}: a candidate is {candidate!r}; expected its text and score")
    return items
