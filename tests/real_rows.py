"""Short rows of the written sample (config/sample), as files of a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grrm.files import read_yaml, write_jsonl
from grrm.prompts import translation_answer

SAMPLE = Path(__file__).parents[1] / "config" / "sample"
LEARNED = 16
TESTED = 4


def write_rows(folder: Path) -> dict[str, Any]:
    """Rankings that are learned, translations of the same sources, and other segments for the test.

    Returns:
        the section `data` of a configuration that reads them.
    """
    groups = sorted((_ranking(item) for item in read_yaml(SAMPLE / "rankings.yaml")), key=_bytes)
    learned, tested = groups[:LEARNED], groups[LEARNED : LEARNED + TESTED]
    others = sorted((_pair(item) for item in read_yaml(SAMPLE / "translations.yaml")), key=_bytes)[:TESTED]
    files = {
        "rankings": learned,
        "chains": [_chain(row) for row in learned],
        "ranking_test": tested,
        "translation_test": others,
    }
    paths = {name: folder / f"{name}.jsonl" for name in files}
    for name, rows in files.items():
        write_jsonl(paths[name], rows)
    return {
        "source": "files",
        "files": {
            "grrm_sft": str(paths["rankings"]),
            "grrm_rlvr": str(paths["rankings"]),
            "mt_sft": str(paths["chains"]),
            "mt_grpo": str(paths["rankings"]),
        },
        "test_sets": {
            "rankings": {"task": "ranking", "file": str(paths["ranking_test"])},
            "segments": {"task": "translation", "file": str(paths["translation_test"])},
        },
    }


def _bytes(row: dict[str, Any]) -> tuple[int, str]:
    """About as many tokens: of scripts other than Latin a token is hardly a letter."""
    texts = [row["src_text"], *row.get("mt_texts", [row["trg_text"]]), row.get("analysis", "")]
    return sum(len(text.encode()) for text in texts), row["src_text"]


def _pair(item: dict[str, Any]) -> dict[str, Any]:
    source, target = item["pair"].split("-")
    text = item["translation"] if "translation" in item else item["reference"]
    return {"src_text": item["source"], "trg_text": text, "src_lang": source, "trg_lang": target}


def _ranking(item: dict[str, Any]) -> dict[str, Any]:
    """The best and the worst candidate, in the order in which they stand, and how the analysis begins."""
    ordered = sorted(item["candidates"], key=lambda candidate: candidate["score"])
    two = [candidate for candidate in item["candidates"] if candidate in (ordered[0], ordered[-1])][:2]
    return {
        **_pair(item),
        "mt_texts": [candidate["text"] for candidate in two],
        "scores": [candidate["score"] for candidate in two],
        "analysis": item["analysis"].partition(". ")[0].splitlines()[0],
    }


def _chain(row: dict[str, Any]) -> dict[str, Any]:
    answer = translation_answer("A short text.", row["trg_text"])
    return {
        "src_text": row["src_text"],
        "response": answer,
        "src_lang": row["src_lang"],
        "trg_lang": row["trg_lang"],
    }
