"""A table that was damaged on the disk is named, with the log of the rule that has read it."""

from __future__ import annotations

import json
from pathlib import Path

from planner import snakemake
from workspace import lay_out

TABLES = ("grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo", "ranking_test", "translation_test")
PREPARED = "results/small/prepared/grrm_sft.jsonl"


def test_a_damaged_table_is_named_with_the_log_and_the_stage_is_not_made(tmp_path: Path) -> None:
    lay_out(tmp_path)
    config = {"experiment": "small", "data": {"toy": dict.fromkeys(TABLES, 20)}}
    (tmp_path / "small.yaml").write_text(json.dumps(config))
    options = ("--cores", "1", "--configfile", "small.yaml")
    done = snakemake("data", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    table = tmp_path / "results/small/data/grrm_sft.parquet"
    table.write_bytes(table.read_bytes()[:1000])
    done = snakemake(PREPARED, *options, cwd=tmp_path)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    # The comparison with the test tables comes before any preparation, so it is the first to read it.
    assert "logs/check_leakage.log: error: results/small/data/grrm_sft.parquet: not a Parquet file" in output
    assert not (tmp_path / PREPARED).exists()
