"""Let a teacher analyse, rank and score groups; kept are those that it judges alike in any order."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grrm.annotation.asked import Files, open_asked
from grrm.annotation.program import (
    add_common_options,
    check_kept,
    concluded,
    read_settings,
    sorted_out,
)
from grrm.annotation.quality import quality_of
from grrm.annotation.rankings import (
    Judged,
    judge_groups,
    ranking_row,
    record_of,
)
from grrm.files import write_json, write_jsonl
from grrm.process import run_main
from grrm.prompts import check_columns, load_ranking_prompt
from grrm.schemas import read_table, write_table


def main(argv: list[str] | None = None) -> None:
    """Write the kept groups as a table, all groups with all answers as JSON lines, and their statistics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, required=True, help="groups of candidates (parquet)")
    parser.add_argument("--prompt", type=Path, required=True, help="ranking prompt (YAML)")
    parser.add_argument("--output", type=Path, required=True, help="table of rankings to write (parquet)")
    parser.add_argument("--groups", type=Path, required=True, help="all groups, to write (JSON lines)")
    parser.add_argument("--quality", type=Path, required=True, help="statistics to write (JSON)")
    add_common_options(parser, "section teacher of the configuration")
    args = parser.parse_args(argv)

    settings = read_settings(args.settings)
    rows = read_table(args.input, "candidates").to_pylist()
    prompt = load_ranking_prompt(args.prompt)
    check_columns(args.prompt, prompt.columns, rows[0])
    kept: list[Judged] = []
    figures: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    files = Files(args.journal, "rankings")
    with open_asked(settings, files, args.seed, gpus=settings["gpus"], threads=args.threads) as asked:

        def records() -> Iterator[dict[str, Any]]:
            judged = judge_groups(asked, rows, prompt, settings["orders"], settings["agreement"], args.seed)
            for record in map(record_of, sorted_out(judged, kept, dropped)):
                figures.append(_without_texts(record))
                yield record

        write_jsonl(args.groups, records())
        found = concluded(asked, len(kept), dropped, settings["max_failure_share"], "teacher.budget")
        made_by = {**asked.made_by, "orders": settings["orders"], "agreement": settings["agreement"]}
    check_kept(found, args.input, "group", args.groups)
    write_table(args.output, [ranking_row(judged, made_by) for judged in kept], "ranking")
    statistics = quality_of(figures, settings["agreement"])
    write_json(args.quality, {"task": "rankings", **found, **statistics})
    print(f"{args.output}: {len(kept)} groups")


def _without_texts(record: dict[str, Any]) -> dict[str, Any]:
    """What statistics are made of, so that not all texts stand in memory."""
    return {
        "systems": [candidate["systems"] for candidate in record["candidates"]],
        "answers": [(answer["order"], answer["scores"]) for answer in record["answers"]],
        **{name: record[name] for name in ("dropped", "agreement", "scores")},
    }


if __name__ == "__main__":
    run_main(main)
