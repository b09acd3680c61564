"""Propose candidates for the sources of a table of pairs: several systems' translations, a few a group."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grrm.annotation.asked import Files, open_asked
from grrm.annotation.candidates import (
    Texts,
    group_of,
    of_degraded,
    of_file,
    of_model,
    sample_pairs,
)
from grrm.annotation.program import add_common_options, read_settings
from grrm.annotation.rankings import SEPARATOR, check_answered
from grrm.asking.failures import in_words
from grrm.config.teacher import REFERENCE, degraded_name
from grrm.files import UserError, write_json
from grrm.inference.backends import BUDGET
from grrm.process import run_main
from grrm.prompts import check_columns, find_translation_prompt
from grrm.schemas import read_table, write_table


def main(argv: list[str] | None = None) -> None:
    """Write the groups, and how many candidates each system gave."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True, help="table of pairs (parquet)")
    parser.add_argument("--output", type=Path, required=True, help="groups to write (parquet)")
    parser.add_argument("--counts", type=Path, required=True, help="what the systems gave, to write (JSON)")
    add_common_options(parser, "section teacher.candidates of the configuration")
    args = parser.parse_args(argv)

    settings = read_settings(args.settings)
    pairs = read_table(args.pairs, "pairs").to_pylist()
    rows = sample_pairs(pairs, settings["groups"], args.seed)
    texts, missing = _translations(rows, settings, args)
    groups = [
        group
        for i, row in enumerate(rows)
        if (
            group := group_of(
                row, {name: given[i] for name, given in texts.items()}, settings["sizes"], args.seed
            )
        )
    ]
    if not groups:
        raise UserError(
            f"{args.pairs}: no source has two different candidates of {', '.join(texts)}; add systems to "
            "teacher.candidates"
        )
    write_table(args.output, groups, "candidates")
    chosen = Counter(
        name for group in groups for systems in group["systems"] for name in systems.split(SEPARATOR)
    )
    counts: dict[str, Any] = {
        "pairs": len(pairs),
        "sources": len(rows),
        "groups": len(groups),
        "sizes": dict(sorted(Counter(len(group["mt_texts"]) for group in groups).items())),
        "systems": {
            name: {
                "candidates": sum(map(len, given)),
                "chosen": chosen[name],
                "missing": dict(missing.get(name, Counter()).most_common()),
            }
            for name, given in texts.items()
        },
    }
    write_json(args.counts, counts)
    for name, found in counts["systems"].items():
        reasons = in_words(found["missing"])
        print(
            f"{name}: {found['candidates']} candidates, {found['chosen']} chosen"
            + (f"; missing: {reasons}" if reasons else "")
        )
    print(f"{args.output}: {len(groups)} groups of {len(rows)} sources")


def _translations(
    rows: Sequence[dict[str, Any]], settings: Mapping[str, Any], args: argparse.Namespace
) -> tuple[dict[str, Texts], dict[str, Counter[str]]]:
    """What every system gives for every row, and why it does not."""
    texts: dict[str, Texts] = {}
    missing: dict[str, Counter[str]] = {}
    if settings["reference"]:
        texts[REFERENCE] = [[row["trg_text"]] for row in rows]
    for i, system in enumerate(settings["models"]):
        prompt = find_translation_prompt(system["prompt"])
        check_columns(system["prompt"], prompt.columns, rows[0])
        print(f"{system['name']}:", flush=True)
        files = Files(args.journal, f"system_{system['name']}")
        with open_asked(system, files, args.seed, gpus=settings["gpus"], threads=args.threads) as asked:
            found, reasons = of_model(asked, rows, prompt, system["samples"], args.seed)
        wanted = len(rows) * system["samples"] - reasons[BUDGET]
        key = f"teacher.candidates.models.{i}"
        check_answered(reasons, wanted, system["max_failure_share"], key, asked.tally.lost)
        texts[system["name"]], missing[system["name"]] = found, reasons
    for system in settings["files"]:
        texts[system["name"]] = of_file(system, rows)
        missing[system["name"]] = Counter(
            {"not in its file": sum(not given for given in texts[system["name"]])}
        )
    originals = {REFERENCE: [[row["trg_text"]] for row in rows], **texts}
    for system in settings["degraded"]:
        name = degraded_name(system)
        texts[name] = of_degraded({**system, "name": name}, rows, originals[system["of"]], args.seed)
    return texts, {name: +reasons for name, reasons in missing.items()}


if __name__ == "__main__":
    run_main(main)
