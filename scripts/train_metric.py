"""Train the tiny checkpoint of a metric that stands in for a published one."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from grrm import catalogue
from grrm.catalogue.metrics import METRICS
from grrm.files import atomic_path
from grrm.metrics.tiny import TinyModel, degraded_references, read_pairs
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write the checkpoint folder, whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    trained = {name: metric.train for name, metric in METRICS.items() if metric.train}
    parser.add_argument("--metric", choices=list(trained), required=True, help="what is trained")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        help="training tables with src_text and trg_text (parquet)",
    )
    parser.add_argument("--output", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--steps", type=int, required=True, help="training steps")
    parser.add_argument("--variants", type=int, default=4, help="translations made of each pair (default: 4)")
    parser.add_argument("--batch-size", type=int, default=64, help="translations a step (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of data and training (default: 0)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    args = parser.parse_args(argv)

    pairs = list(dict.fromkeys(pair for path in args.data for pair in read_pairs(path)))
    rows = degraded_references(pairs, args.variants, args.seed)
    settings = TinyModel(args.steps, min(args.batch_size, len(rows)), seed=args.seed)
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    torch.set_num_threads(args.threads)
    train = catalogue.resolve(trained[args.metric])
    with atomic_path(args.output) as partial:
        train(partial, rows, settings)
    print(f"trained on {len(rows)} translations made of {len(pairs)} pairs")


if __name__ == "__main__":
    run_main(main)
