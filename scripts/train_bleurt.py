"""Train the tiny BLEURT checkpoint that stands in for a published one."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from grrm.files import atomic_path
from grrm.metrics.bleurt import train_tiny
from grrm.metrics.tiny import TinyModel, degraded_references
from grrm.process import run_main
from grrm.schemas import read_table


def main(argv: list[str] | None = None) -> None:
    """Write the checkpoint folder, whole."""
    parser = argparse.ArgumentParser(description=__doc__)
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

    pairs = list(dict.fromkeys(pair for path in args.data for pair in _read_pairs(path)))
    rows = degraded_references(pairs, args.variants, args.seed)
    settings = TinyModel(args.steps, min(args.batch_size, len(rows)), seed=args.seed)
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    torch.set_num_threads(args.threads)
    with atomic_path(args.output) as partial:
        train_tiny(partial, rows, settings)
    print(f"trained on {len(rows)} translations made of {len(pairs)} pairs")


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    table = read_table(path, "pairs").select(["src_text", "trg_text"])
    return [(row["src_text"], row["trg_text"]) for row in table.to_pylist()]


if __name__ == "__main__":
    run_main(main)
