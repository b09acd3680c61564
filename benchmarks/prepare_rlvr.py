"""Measure scripts/prepare_grrm_rlvr.py, the largest preparation: seconds, rows and peak memory."""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import pyarrow as pa
import pyarrow.parquet as pq

from grrm.schemas import RANKING

ROOT = Path(__file__).parents[1]
BATCH = 10_000


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--words", type=int, default=20, help="in a text; an analysis has five times as many")
    parser.add_argument("--augment", type=int, default=4, help="subgroups, and shuffles of each")
    parser.add_argument("--prompt", type=Path, default=ROOT / "config/prompts/ranking.yaml")
    parser.add_argument("--folder", type=Path, help="for the files (default: a temporary one)")
    args = parser.parse_args(argv)

    print(f"{'groups':>10}{'rows':>12}{'seconds':>10}{'peak MB':>10}{'output MB':>12}")
    for groups in args.groups:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            table, rows = Path(folder) / "groups.parquet", Path(folder) / "rows.parquet"
            with pq.ParquetWriter(table, RANKING, compression="zstd") as writer:
                for batch in make_groups(groups, args.words):
                    writer.write_table(batch)
            seconds, peak = measure(
                [
                    *(sys.executable, ROOT / "scripts/prepare_grrm_rlvr.py", "--prompt", args.prompt),
                    *("--subgroup-augment", args.augment, "--shuffle-augment", args.augment),
                    *("--input", table, "--output", rows),
                ]
            )
            count = pq.ParquetFile(rows).metadata.num_rows
            print(f"{groups:10,}{count:12,}{seconds:10.1f}{peak:10,.0f}{rows.stat().st_size / 1e6:12,.0f}")


def make_groups(count: int, words: int) -> Iterator[pa.Table]:
    """Groups of 2, 3, 4 and 4 candidates in turn; at 4 and 4 these give 12.2 rows each."""
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghijklmnoprstuvw", k=rng.randint(2, 9))) for _ in range(5000)]

    def text(length: int) -> str:
        return " ".join(rng.choices(vocabulary, k=length))

    for start in range(0, count, BATCH):
        sizes = [(2, 3, 4, 4)[number % 4] for number in range(start, min(start + BATCH, count))]
        yield pa.table(
            {
                "src_text": [text(words) for _ in sizes],
                "trg_text": [text(words) for _ in sizes],
                "src_lang": ["zh"] * len(sizes),
                "trg_lang": ["en"] * len(sizes),
                "mt_texts": [[text(words) for _ in range(size)] for size in sizes],
                "analysis": [text(5 * words) for _ in sizes],
                "scores": [[rng.randint(0, 10) for _ in range(size)] for size in sizes],
            },
            schema=RANKING,
        )


def measure(command: list[object]) -> tuple[float, float]:
    """Wall time in seconds, and the largest resident set of any child so far in MB."""
    start = time.perf_counter()
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


if __name__ == "__main__":
    main()
