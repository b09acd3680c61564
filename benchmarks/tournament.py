"""Print the time of every way to turn pairwise results into scores, by the number of candidates."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from grrm.tournament import Comparison, copeland, dgr, elo, elo_sequential, winrate

METHODS: list[Callable[[int, list[Comparison]], list[float]]] = [winrate, copeland, elo, elo_sequential, dgr]
# Promised for dgr, in milliseconds.
LIMITS = {8: 1.0, 10: 10.0, 16: 2000.0}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 6, 8, 10, 12, 14, 16, 24, 32])
    parser.add_argument("--runs", type=int, default=10, help="different tournaments per size")
    args = parser.parse_args(argv)

    print(
        "median ms    " + "".join(f"{method.__name__:>16}" for method in METHODS) + f"{'dgr, first call':>18}"
    )
    for n in args.sizes:
        tournaments = [random_tournament(n, seed) for seed in range(args.runs)]
        first = milliseconds(dgr, n, tournaments[0])
        medians = [
            sorted(milliseconds(method, n, t) for t in tournaments)[len(tournaments) // 2]
            for method in METHODS
        ]
        verdict = ""
        if n in LIMITS:
            verdict = f"  {'within' if medians[-1] < LIMITS[n] else 'OVER'} {LIMITS[n]:g} ms"
        print(f"n = {n:<9}" + "".join(f"{value:16.3f}" for value in medians) + f"{first:18.3f}{verdict}")


def random_tournament(n: int, seed: int) -> list[Comparison]:
    """All pairs compared once; a tenth are ties."""
    source = random.Random(seed)
    return [
        (i, j, None if source.random() < 0.1 else source.choice((i, j))) for i, j in combinations(range(n), 2)
    ]


def milliseconds(
    method: Callable[[int, list[Comparison]], list[float]], n: int, comparisons: list[Comparison]
) -> float:
    start = time.perf_counter()
    method(n, comparisons)
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    main()
