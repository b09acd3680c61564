"""A small finished experiment, as the workflow leaves it, for tests of what gathers and shows it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

import render_page
import summarize
from grrm.catalogue.metrics import METRICS
from grrm.config import load_experiment
from grrm.files import read_json, sha256, write_json, write_jsonl
from grrm.prompts import ranking_answer

ROOT = Path(__file__).parents[1]
SHA = "a" * 64
# Texts of models and data may hold anything.
HOSTILE = "</script><script>document.title = 'broken'</script> <b>&amp;</b> \u2028 ```<!-- {{ 7 * 7 }}"
BENCHMARK = (
    "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    "12.5\t0:00:12\t866.88\t1\t1\t1\t1\t1\t90.0\t11.25\n"
)
POSITION = {"candidates": 2, "position": "A", "value": 0.5, "low": 0.4, "high": 0.6, "n": 20}


def estimates(metrics: dict[str, float], shift: float = 0.0) -> dict[str, Any]:
    return {
        metric: {
            "value": value + shift,
            "low": value - 0.1,
            "high": value + 0.3,
            "n": 40,
            "runs": [value + shift],
            "std": None,
            "signature": f"{metric}|…",
        }
        for metric, value in metrics.items()
    }


def scores(
    task: str,
    metrics: dict[str, float],
    names: tuple[str, ...] = ("before", "after"),
    extra: dict[str, Any] | None = None,
    by_set: dict[str, dict[str, float]] | None = None,
) -> dict[str, Any]:
    """A document as score_rankings and score_translations write it."""
    failures = {"count": 4, "rate": 0.1, "reasons": {"unfinished": 3, "header": 1}}
    systems = [
        {
            "name": name,
            "model": f"models/{name}",
            "weights": SHA,
            "decoding": {"max_new_tokens": 9, "temperature": 0.0, "seed": 3},
            "seeds": [3],
            "n": 40,
            "failures": failures,
            "metrics": estimates(metrics, i / 10),
            "by_set": {
                test_set: {"n": 40, "failures": failures, "metrics": estimates(values)}
                for test_set, values in (by_set or {}).items()
            },
            **(extra or {}),
        }
        for i, name in enumerate(names)
    ]
    difference = {
        metric: {"value": 0.1, "low": 0.05, "high": 0.15, "n": 40, "p_value": 0.01} for metric in metrics
    }
    return {
        "task": task,
        "data": {"file": f"data/{task}_test.parquet", "sha256": SHA, "n": 40},
        "bootstrap": {"samples": 100, "seed": 5, "level": 0.95},
        "systems": systems,
        "differences": [{"baseline": names[0], "system": names[1], "metrics": difference, "by_set": {}}],
    }


def judged(
    texts: dict[str, str | None], judgement: dict[str, Any] | None, source: str = "source"
) -> dict[str, Any]:
    """A row as judge_translations writes it."""
    return {
        "src_text": source,
        "trg_text": "the reference",
        "src_lang": "xx",
        "trg_lang": "yy",
        "raw": dict.fromkeys(texts, "what it wrote"),
        "translations": texts,
        "candidates": list(dict.fromkeys(text for text in texts.values() if text is not None)),
        "judgement": judgement,
        "judge_model": "models/grrm_rlvr",
    }


# The judge saw what came after as A.
JUDGEMENT = {
    "answer": ranking_answer("A keeps the idiom.", [9, 4]),
    "scores": [4, 9],
    "failure": None,
    "detail": None,
    "candidate_order": [1, 0],
}
UNUSABLE = {
    "answer": "B is <best>",
    "scores": None,
    "failure": "incomplete",
    "detail": "1 non-empty line",
    "candidate_order": [0, 1],
}
SAMPLES = [
    judged({"before": "ba du", "after": "ba gi"}, JUDGEMENT),
    judged({"before": None, "after": "ba gi"}, None, "a second source"),
    judged({"before": HOSTILE, "after": "ba gi"}, UNUSABLE, HOSTILE),
]


def make_experiment(folder: Path) -> Path:
    """Write all that summarize reads."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(_configuration(), encoding="utf-8")
    write_json(
        folder / "provenance" / "provenance.json",
        {
            "code": {"grrm": "0.1.0", "commit": "c" * 40, "dirty": False, "changed": []},
            "driver": {"python": "3.11.7", "snakemake": "9.27.1"},
            "environments": {
                "train": {"lock_sha256": SHA, "python": "3.11.7", "packages": {"torch": "2.13.0"}}
            },
            "machine": {
                "cpu": "A",
                "cores": 2,
                "memory_gb": 8.0,
                "system": "Linux",
                "processor": {"vendor": "B", "threads": {"mt_sft": 1}},
            },
        },
    )
    write_json(
        folder / "leakage.json",
        {
            "settings": {"words": 4, "characters": 6, "overlap": 0.6},
            "overlaps": [
                {
                    "train": "mt_sft",
                    "test": "translation_test",
                    "rows": 40,
                    "leaked": 1,
                    "share": 0.025,
                    "limit": None,
                    **dict.fromkeys(("exact_source", "near_source", "exact_target", "near_target"), 0),
                }
            ],
            "tests": [{"test": "translation_test", "rows": 40, "leaked": 1, "share": 0.025, "limit": 0.03}],
            "examples": [],
            "passed": True,
        },
    )
    write_json(
        folder / "ranking.json",
        scores(
            "ranking",
            {"ranking_accuracy": 0.5, "flipped_pairs": 0.1, "changed_pairs": 0.2},
            extra={
                "best_found_by_position": [POSITION],
                "accuracy_by_position": [{**POSITION, "value": 0.55}],
            },
        ),
    )
    write_json(folder / "translation.json", scores("translation", {"bleu": 40.0, "length_ratio": 0.9}))
    write_jsonl(folder / "sft.jsonl", [{"step": i, "loss": 1 / i, "lr": 0.1} for i in range(1, 41)])
    write_jsonl(folder / "rl.jsonl", [{"step": i, "critic/score/mean": i / 10} for i in range(1, 11)])
    write_jsonl(folder / "samples.jsonl", SAMPLES)
    benchmarks = {
        "train_grrm_sft": BENCHMARK,
        "prepare_grrm_sft": BENCHMARK.replace("866.88", "NA").replace("11.25", "NA"),
    }
    (folder / "benchmarks").mkdir()
    for job, text in benchmarks.items():
        (folder / "benchmarks" / f"{job}.tsv").write_text(text)
    return folder


@cache
def _configuration() -> str:
    return yaml.safe_dump(load_experiment(ROOT))


REWARD_KINDS = {
    "seed": 0,
    "baseline": {"name": "mt_sft", "metrics": estimates({"bleu": 30.0, "comet": 0.5})},
    "kinds": [
        {
            "kind": kind,
            "name": f"mt_grpo_{kind}",
            "metrics": estimates({"bleu": bleu, "comet": 0.6}),
            "difference": {"bleu": {"value": bleu - 30, "low": 1.0, "high": 9.0, "n": 40, "p_value": 0.01}},
            "to_first": None if kind == "grrm" else estimates({"bleu": -3.0}),
            "failures": {"count": 0, "rate": 0.0, "reasons": {}},
            "training": {"steps": 25, "reward": {"first": 0.5, "last": 0.75}, "seconds_per_step": 3.5},
            "judge_calls": {"requests": requests},
        }
        for kind, bleu, requests in (("grrm", 35.0, 800), ("chrf", 32.0, 0))
    ],
}


def run_summarize(folder: Path, *more: str) -> Any:
    """The summary of the experiment in a folder."""
    summarize.main(
        [
            *("--config", str(folder / "config.yaml"), "--provenance", str(folder / "provenance")),
            *("--leakage", str(folder / "leakage.json")),
            *("--ranking", str(folder / "ranking.json"), "--translation", str(folder / "translation.json")),
            *("--curves", f"grrm_sft={folder / 'sft.jsonl'}", f"grrm_rlvr={folder / 'rl.jsonl'}"),
            *("--samples", str(folder / "samples.jsonl"), "--benchmarks", str(folder / "benchmarks")),
            *("--output-json", str(folder / "summary.json")),
            *("--output-markdown", str(folder / "summary.md")),
            *more,
        ]
    )
    return read_json(folder / "summary.json")


def write_answers(
    folder: Path,
    segments: list[dict[str, str]],
    answers: dict[str, list[str | None]],
    metric: str = "comet",
) -> None:
    """Write a test table, the answers of models to it, and a metric's scores of them, mostly higher after."""
    pq.write_table(pa.Table.from_pylist(segments), folder / "segments.parquet")
    for name, texts in answers.items():
        write_jsonl(
            folder / f"{name}.jsonl",
            [
                {
                    "index": i,
                    "src_text": segment["src_text"],
                    "raw": text if text is not None else f"nothing of use {HOSTILE}",
                    "translation": text,
                    "failure": None if text is not None else "no code block",
                }
                for i, (segment, text) in enumerate(zip(segments, texts, strict=True))
            ],
        )
    systems = {
        name: {
            "answers_sha256": sha256(folder / f"{name}.jsonl"),
            "scores": [
                [(i * 7 % 100 + place * i % 13) / METRICS[metric].factor for i in range(len(segments))]
            ],
        }
        for place, name in enumerate(answers)
    }
    write_json(folder / f"{metric}.json", {"signature": f"{metric}|…", "systems": systems})


def run_render_page(
    folder: Path, names: tuple[str, ...] = ("before", "after"), metric: str = "comet"
) -> Path:
    """The page of the experiment in a folder."""
    render_page.main(
        [
            *("--summary", str(folder / "summary.json"), "--segments", str(folder / "segments.parquet")),
            *("--translations", *(f"{name}={folder / f'{name}.jsonl'}" for name in names)),
            *("--segment-scores", *([f"{metric}={folder / metric}.json"] if metric else [])),
            *("--judged", str(folder / "samples.jsonl")),
            *("--output", str(folder / "report/index.html"), "--samples", str(folder / "report/samples")),
        ]
    )
    return folder / "report/index.html"
