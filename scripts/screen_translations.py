"""Keep of a teacher's translations those that COMET scores high enough against the reference."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pyarrow as pa

from grrm.files import UserError, read_json, read_jsonl, write_json
from grrm.metrics.comet import score_segments
from grrm.process import run_main
from grrm.schemas import read_table, write_table

REASON = "comet"


def main(argv: list[str] | None = None) -> None:
    """Write the table and the statistics anew, with what is dropped among those of other reasons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, required=True, help="table by annotate_translations (parquet)")
    parser.add_argument("--answers", type=Path, required=True, help="answers, by the same (JSON lines)")
    parser.add_argument("--quality", type=Path, required=True, help="statistics, by the same (JSON)")
    parser.add_argument("--model", type=Path, required=True, help="folder of COMET's checkpoint")
    parser.add_argument("--least", type=float, required=True, help="score below which a row is dropped")
    parser.add_argument("--output", type=Path, required=True, help="table to write (parquet)")
    parser.add_argument("--output-quality", type=Path, required=True, help="statistics to write (JSON)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    args = parser.parse_args(argv)

    os.environ["HF_HUB_OFFLINE"] = "1"
    table = read_table(args.input, "cot")
    kept = [row for row in read_jsonl(args.answers) if row["dropped"] is None]
    if [row["src_text"] for row in kept] != table["src_text"].to_pylist():
        raise UserError(f"{args.answers}: other rows than {args.input}; run annotate_translations again")
    segments = [{"src": row["src_text"], "mt": row["translation"], "ref": row["trg_text"]} for row in kept]
    scores, signature = score_segments(args.model, segments, threads=args.threads)
    # A score that is no number is not high enough.
    good = [score >= args.least for score in scores]
    if not any(good):
        raise UserError(
            f"{args.input}: no translation is scored {args.least:g} or higher, the best is "
            f"{max(scores):.3g}; lower teacher.translations.comet"
        )
    column = pa.array([score for score in scores if score >= args.least])
    table = table.filter(pa.array(good)).append_column("comet", column)
    write_table(args.output, table, "cot")
    found = read_json(args.quality)
    dropped = {**found["dropped"], REASON: good.count(False)} if not all(good) else found["dropped"]
    more = {"signature": signature, "least": args.least}
    write_json(args.output_quality, {**found, "kept": sum(good), "dropped": dropped, "comet": more})
    print(f"{args.output}: {sum(good)} of {len(good)} translations")


if __name__ == "__main__":
    run_main(main)
