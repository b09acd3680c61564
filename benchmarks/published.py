"""How long this project takes for what others have published, as a ratio of processor times in one table.

    .venv/bin/python benchmarks/published.py            # make bench

Published functions are rewritten here from what they do (NJUNLP/GRRM, modelscope/RM-Gallery,
agentscope-ai/OpenJudge); sacreBLEU and COMET are run as their own programs, each from files to scores, beside
ours, which check and record besides. It ends with an error where ours is slower.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "benchmarks")]

from tournament import random_tournament  # noqa: E402

from grrm.data.toy_world import make_tables  # noqa: E402
from grrm.files import write_jsonl, write_text  # noqa: E402
from grrm.rewards import pairwise, pointwise, ranking_score  # noqa: E402
from grrm.schemas import write_table  # noqa: E402
from grrm.tournament import Comparison, dgr  # noqa: E402

COMET = ROOT / ".snakemake/environments/comet/bin"
LENGTHS = (16_000, 320_000)
"""Characters of an answer: the longest that are trained, and what a model writes that does not end."""
PROSE = "Candidate B keeps what the idiom means; A takes it word for word, and C leaves out a clause.\n\n"
VERDICT = "### Final Ranking:\n\nB > A = C\n\n### Scores:\n\nB: 9, A: 5, C: 5\n"


@dataclass(frozen=True)
class Measured:
    """Processor seconds for the same thing."""

    what: str
    size: str
    published: float
    ours: float

    @property
    def ratio(self) -> float:
        return self.ours / self.published

    @property
    def slower(self) -> bool:
        """A tenth of a millisecond is no time: it is what the checks of a short answer take."""
        return self.ratio > 1 and self.ours - self.published > 1e-4


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20, help="of each function, of which the fastest counts")
    parser.add_argument(
        "--segments", type=int, default=3000, help="that the programs score, as many as WMT's"
    )
    args = parser.parse_args(argv)

    print(f"{'':44}{'published':>14}{'ours':>14}{'ratio':>8}")
    slower = []
    for row in measured(args.runs, args.segments):
        times = "".join(f"{1000 * seconds:11.3f} ms" for seconds in (row.published, row.ours))
        print(f"{row.what:28}{row.size:>16}{times}{row.ratio:8.2f}", flush=True)
        slower += [row] if row.slower else []
    if slower:
        sys.exit(f"slower than published: {', '.join(f'{row.what} ({row.size})' for row in slower)}")


def measured(runs: int, segments: int) -> Iterator[Measured]:
    for length in LENGTHS:
        yield from parsers(length, runs)
    for n in (6, 8):
        comparisons = random_tournament(n, seed=1)
        times = [fastest(function, 3, n, comparisons) for function in (published_dgr, dgr)]
        yield Measured("dgr", f"{n} responses", *times)
    with tempfile.TemporaryDirectory() as folder:
        yield from programs(Path(folder), segments)


# ---------------------------------------------------------------- answers of judges


def parsers(length: int, runs: int) -> Iterator[Measured]:
    """Rewards of an answer that is right, after an analysis or thinking of that many characters."""
    prose = (PROSE * (length // len(PROSE) + 1))[:length]
    thought = f"<think>{prose[: length // 2]}</think>\n{prose[length // 2 :]}\n"
    truth = {"A": 5, "B": 9, "C": 5}
    cases: list[tuple[str, str, Any, Callable[..., Any], Callable[..., Any]]] = [
        (
            "ranking and scores",
            f"{prose}\n\n{VERDICT}",
            truth,
            published_ranking_score,
            ranking_score.compute_score,
        ),
        ("a score", f"{thought}<score>3</score>", 3, published_pointwise, pointwise.compute_score),
        ("a preference", f"{thought}<better>A</better>", "A", published_pairwise, pairwise.compute_score),
    ]
    for what, answer, true, theirs, ours in cases:
        # Once each, so that both read it.
        assert theirs(answer, true) == ours("", answer, true)["score"] > 0
        times = fastest(theirs, runs, answer, true), fastest(ours, runs, "", answer, true)
        yield Measured(what, f"{length:,} chars", *times)


def published_ranking_score(solution: str, truth: Mapping[str, int]) -> float:
    """The reward of RLVR: the last four blocks by the last line ends, ranking accuracy and margins."""
    text, blocks = solution.strip(), []
    for _ in range(4):
        text, _, block = text.rpartition("\n")
        text = text.strip()
        blocks.append(block.strip())
    if not text:
        return 0.0
    scores_line, _, ranking_line, _ = blocks
    scores = {}
    for entry in scores_line.split(","):
        label, _, score = entry.partition(":")
        scores[label.strip()] = int(score)
    if set(scores) != set(truth) or len(ranking_line) != 4 * len(scores) - 3:
        return 0.0
    ranked = [ranking_line[0]]
    for sign, label in zip(ranking_line[2::4], ranking_line[4::4], strict=True):
        higher, lower = scores[ranked[-1]], scores[label]
        if (sign == ">") != (higher > lower) or (sign == "=") != (higher == lower):
            return 0.0
        ranked.append(label)
    relations = margins = 0.0
    pairs = list(combinations(sorted(truth), 2))
    for x, y in pairs:
        true, said = truth[x] - truth[y], scores[x] - scores[y]
        relations += (true > 0) == (said > 0) and (true < 0) == (said < 0)
        margins += {0: 1.0, 1: 0.6, 2: 0.2}.get(abs(true - said), 0.0)
    return relations / len(pairs) + margins / len(pairs)


def published_pointwise(solution: str, truth: int) -> float:
    """The reward of a judge that scores from 0 to 4: the first number in the first tag after the thinking."""
    tag = re.search(r"<score>(.*?)</score>", without_thinking(solution), re.DOTALL)
    number = re.search(r"\d+", tag[1]) if tag else None
    said = int(number[0]) if number and int(number[0]) <= 4 else 0
    return float(said == truth) if truth <= 1 else 1 - abs(said - truth) / 4


def published_pairwise(solution: str, truth: str) -> float:
    """The reward of a judge that prefers one of two: the first tag after the thinking."""
    tag = re.search(r"<better>(.*?)</better>", without_thinking(solution), re.DOTALL)
    said = tag[1].strip().upper() if tag else ""
    return float(said in ("A", "B", "TIE") and said == truth.upper())


def without_thinking(text: str) -> str:
    text = re.sub(r"<think>.*?</think>", "", text, flags=re.DOTALL | re.IGNORECASE)
    return re.sub(r"\n\s*\n", "\n", text).strip()


# ---------------------------------------------------------------- pairs of responses


def published_dgr(n: int, comparisons: Sequence[Comparison]) -> list[float]:
    """All orders of the responses are tried; the first with the fewest edges backwards counts."""
    edges = {}
    for i, j, winner in comparisons:
        loser = j if winner == i else i
        edges[(i, j) if winner is None else (winner, loser)] = 0.1 if winner is None else 1.0
    best, kept = float("inf"), edges
    for order in permutations(range(n)):
        place = {node: position for position, node in enumerate(order)}
        backwards = {edge for edge in edges if place[edge[0]] > place[edge[1]]}
        cost = sum(edges[edge] for edge in backwards)
        if cost < best:
            best, kept = cost, {edge: cost for edge, cost in edges.items() if edge not in backwards}
    wins = [0.0] * n
    for (winner, loser), weight in kept.items():
        wins[winner] += weight == 1
        wins[loser] -= weight == 1
    most = max(map(abs, wins))
    return [value / most if most else 0.0 for value in wins]


# ---------------------------------------------------------------- programs


def programs(folder: Path, segments: int) -> Iterator[Measured]:
    """Two systems scored: by BLEU and chrF++ with intervals and a paired test, and by COMET."""
    sizes = dict.fromkeys(("grrm_sft", "grrm_rlvr", "mt_sft", "ranking_test"), 1)
    tables = make_tables(0, {**sizes, "mt_grpo": 200, "translation_test": segments})
    rows = tables["translation_test"]
    systems = {
        "before": [" ".join(row["trg_text"].split()[::-1]) for row in rows],
        "after": [row["trg_text"] for row in rows],
    }
    test_set = folder / "translation_test.parquet"
    write_table(test_set, rows, "translation_test")
    write_text(folder / "src", "".join(f"{row['src_text']}\n" for row in rows))
    write_text(folder / "ref", "".join(f"{row['trg_text']}\n" for row in rows))
    for name, texts in systems.items():
        write_text(folder / f"{name}.txt", "".join(f"{text}\n" for text in texts))
        made_by = {"raw": "", "failure": None, "model": "m", "weights": "w", "decoding": {"seed": 0}}
        answers = [
            {"index": i, "src_text": row["src_text"], "translation": text, **made_by}
            for i, (row, text) in enumerate(zip(rows, texts, strict=True))
        ]
        write_jsonl(folder / f"{name}.jsonl", answers)
    texts_of = [folder / f"{name}.txt" for name in systems]
    named = [f"{name}={folder / name}.jsonl" for name in systems]
    given = ["--reference", test_set, "--translations", *named]

    theirs = [
        *(sys.executable, "-m", "sacrebleu", folder / "ref", "-i", *texts_of),
        *("-m", "bleu", "chrf", "--chrf-word-order", "2", "--paired-bs", "--paired-bs-n", "1000"),
        *("--format", "text"),  # its JSON fails with the current numpy
    ]
    ours = [
        *(sys.executable, ROOT / "scripts/score_translations.py", *given),
        *("--samples", "1000", "--output", folder / "scores.json"),
    ]
    yield Measured("sacreBLEU's program", f"{segments:,} segments", *map(processor, (theirs, ours)))

    if not (COMET / "comet-score").exists():
        sys.exit("COMET's environment is not built: make environments")
    write_table(folder / "mt_grpo.parquet", tables["mt_grpo"], "mt_grpo")
    train = [COMET / "python", ROOT / "scripts/train_metric.py", "--metric", "comet", "--steps", "2"]
    processor([*train, "--data", folder / "mt_grpo.parquet", "--output", folder / "comet"])
    theirs = [
        *(COMET / "comet-score", "-s", folder / "src", "-r", folder / "ref", "-t", *texts_of),
        *("--model", folder / "comet/checkpoints/model.ckpt", "--gpus", "0", "--num_workers", "1"),
    ]
    ours = [
        *(COMET / "python", ROOT / "scripts/score_segments.py", "--metric", "comet"),
        *("--model", folder / "comet", *given, "--threads", "1", "--output", folder / "comet.json"),
    ]
    # COMET's looks for the encoder where the checkpoint names it: beside itself.
    times = processor(theirs, folder / "comet"), processor(ours)
    yield Measured("COMET's program", f"{segments:,} segments", *times)


# ---------------------------------------------------------------- times


def fastest(function: Callable[..., object], runs: int, *arguments: object) -> float:
    """Processor seconds of the fastest run."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        function(*arguments)
        times.append(time.process_time() - start)
    return min(times)


def processor(command: Sequence[object], folder: Path = ROOT) -> float:
    """Processor seconds of a program that succeeds in a folder."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
