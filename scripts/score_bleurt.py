"""Score translations of a test set with BLEURT, segment by segment."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from grrm.metrics.bleurt import check_folder, score_segments
from grrm.metrics.segments import add_segment_options, read_segments
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write one score per segment, run and model; a failed translation is scored as an empty one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="BLEURT checkpoint folder")
    add_segment_options(parser)
    parser.add_argument("--output", type=Path, required=True, help="segment scores to write (JSON)")
    parser.add_argument("--batch-size", type=int, default=64, help="segments a batch (default: 64)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    args = parser.parse_args(argv)

    check_folder(args.model)
    segments = read_segments(args.reference, args.translations)
    os.environ["HF_HUB_OFFLINE"] = "1"
    scores, signature = score_segments(
        args.model, list(segments), batch_size=args.batch_size, threads=args.threads
    )
    segments.write(args.output, scores, signature, model=str(args.model))


if __name__ == "__main__":
    run_main(main)
