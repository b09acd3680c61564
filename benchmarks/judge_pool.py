"""Measure how close the judge's pool comes to the ideal time, calls x latency / calls at once."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from grrm.asking.client import JudgeClient
from grrm.asking.options import JudgeOptions
from grrm.judges.groups import Group
from grrm.judges.pairwise import judge_pairwise
from grrm.judges.prompts import load_judge_prompt

ROOT = Path(__file__).parents[1]
PROMISED = 1.3


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=64)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds the judge takes for an answer")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--both-orders", action="store_true")
    args = parser.parse_args(argv)

    server = subprocess.Popen(
        [sys.executable, ROOT / "tests" / "judge_server.py", "--latency", str(args.latency)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        calls, seconds, processor = asyncio.run(step(url, args))
    finally:
        server.kill()
        server.wait()
    ideal = calls * args.latency / args.concurrency
    print(
        f"{calls} calls, ideal {ideal:.2f} s, measured {seconds:.2f} s: {seconds / ideal:.2f} times the ideal"
    )
    print(f"processor time of the client: {1000 * processor / calls:.2f} ms per call")
    if seconds > PROMISED * ideal:
        sys.exit(f"more than {PROMISED} times the ideal")


async def step(url: str, args: argparse.Namespace) -> tuple[int, float, float]:
    """Judge one step; the number of calls, the seconds it took, and those of processor time."""
    groups = [
        Group(f"question {group}", tuple(f"answer {group}.{n}" for n in range(args.candidates)))
        for group in range(args.groups)
    ]
    prompt = load_judge_prompt(str(ROOT / "config" / "prompts" / "judge_pairwise.yaml"), "judge_pairwise")
    options = JudgeOptions(model="judge", url=url, max_concurrency=args.concurrency)
    async with JudgeClient(options) as client:
        start, start_processor = time.perf_counter(), time.process_time()
        judged = await judge_pairwise(client, groups, prompt, "dgr", args.both_orders)
        seconds, processor = time.perf_counter() - start, time.process_time() - start_processor
        if judged.metrics["failed"]:
            sys.exit(f"{judged.metrics['failed']:g} judgements failed: {client.counts}")
        return client.counts.calls, seconds, processor


if __name__ == "__main__":
    main()
