"""Score translations of a test set with COMET, segment by segment."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from grrm.files import write_json
from grrm.metrics.comet import score_segments
from grrm.metrics.scores import parse_named_files, read_answers
from grrm.process import run_main
from grrm.schemas import read_table


def main(argv: list[str] | None = None) -> None:
    """Write one score per segment and model; a failed translation is scored as an empty one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="COMET checkpoint folder")
    parser.add_argument("--reference", type=Path, required=True, help="translation test set (parquet)")
    parser.add_argument(
        "--translations",
        nargs="+",
        required=True,
        metavar="NAME=FILE",
        help="translations of each model, written by translate_segments",
    )
    parser.add_argument("--output", type=Path, required=True, help="segment scores to write (JSON)")
    parser.add_argument("--batch-size", type=int, default=64, help="segments a batch (default: 64)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    args = parser.parse_args(argv)

    test_set = read_table(args.reference, "translation_test").select(["src_text", "trg_text"]).to_pylist()
    sources = [row["src_text"] for row in test_set]
    translations = {
        name: [answer["translation"] for answer in read_answers(path, sources, args.reference)]
        for name, path in parse_named_files(args.translations, "--translations").items()
    }
    segments = [
        {"src": row["src_text"], "mt": translation or "", "ref": row["trg_text"]}
        for texts in translations.values()
        for row, translation in zip(test_set, texts, strict=True)
    ]
    os.environ["HF_HUB_OFFLINE"] = "1"
    scores, signature = score_segments(args.model, segments, batch_size=args.batch_size, threads=args.threads)
    n = len(test_set)
    write_json(
        args.output,
        {
            "model": str(args.model),
            "signature": signature,
            "systems": {
                name: {
                    "failures": sum(text is None for text in texts),
                    "scores": scores[i * n : (i + 1) * n],
                }
                for i, (name, texts) in enumerate(translations.items())
            },
        },
    )


if __name__ == "__main__":
    run_main(main)
