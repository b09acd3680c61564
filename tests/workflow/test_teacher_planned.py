"""Ranking data made by a teacher, as planned: who is asked where, and what is not made anew."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from test_plan import overlay, plan, planned_rules, snakemake

URL = "http://127.0.0.1:8000/v1"
MODELS = [{"name": "one", "model": "small", "url": URL}]
RULES = {"propose_candidates", "annotate_rankings", "describe_annotation"}


def teacher(folder: Path, **changes: Any) -> list[str]:
    candidates = {"models": MODELS, "degraded": [{"how": "dropped"}], **changes.pop("candidates", {})}
    section = {"model": "big", "url": URL, "candidates": candidates, **changes}
    path = folder / "teacher.yaml"
    path.write_text(json.dumps({"teacher": section}))
    return [str(path)]


def test_the_data_are_made_by_a_target_of_their_own(tmp_path: Path) -> None:
    given = ["--configfile", *teacher(tmp_path)]
    assert planned_rules(plan("annotation", *given)) == {"make_toy_world", "annotation", *RULES}
    # What nothing is trained on is made only if it is asked for: it costs money.
    assert not planned_rules(plan(*given)) & RULES
    with_translations = teacher(tmp_path, translations={"rows": 5})
    assert "annotate_translations" in planned_rules(plan("annotation", "--configfile", *with_translations))


def test_without_a_teacher_the_target_says_what_is_missing() -> None:
    done = snakemake("--dry-run", "annotation")
    assert done.returncode == 1
    assert "this configuration has no section 'teacher'" in done.stdout + done.stderr


def test_servers_are_asked_from_the_driver_and_models_here_in_their_environment(tmp_path: Path) -> None:
    output = plan("annotation", "--configfile", *teacher(tmp_path), "-p")
    assert "python scripts/annotate_rankings.py" in output
    assert "build_environment" not in planned_rules(output)
    model = tmp_path / "model"
    model.mkdir()
    here = {"models": [{"name": "one", "model": str(model)}]}
    output = plan("annotation", "--configfile", *teacher(tmp_path, candidates=here), "-p")
    assert ".snakemake/environments/train/bin/python scripts/propose_candidates.py" in output
    assert "python scripts/annotate_rankings.py" in output
    output = plan("annotation", "--configfile", *teacher(tmp_path, model="Nobody/Nothing", url=None), "-p")
    assert "download_dataset.py --name models--Nobody--Nothing" in output
    assert "results/downloads/models--Nobody--Nothing" in output


def own(folder: Path, **files: str) -> list[str]:
    path = folder / "own.yaml"
    path.write_text(json.dumps({"experiment": "made", "data": {"source": "files", "files": files}}))
    return [str(path)]


def test_with_pairs_alone_the_teacher_makes_the_tables_that_lack(tmp_path: Path) -> None:
    pairs = {"mt_grpo": "config/example/pairs.tsv"}
    output = plan(*overlay("smoke"), *own(tmp_path, **pairs), *teacher(tmp_path), "-p")
    assert RULES | {"train_grrm_sft", "train_grrm_rlvr", "hold_out"} <= planned_rules(output)
    rankings = "--input results/made/annotation/rankings.parquet"
    for table in ("grrm_sft", "grrm_rlvr"):
        assert re.search(rf"read_files\.py --table {table} .*{rankings}", output)
    assert "--pairs results/made/data/files/mt_grpo.parquet" in output
    # Without its translations the pairs serve.
    assert re.search(r"read_files\.py --table mt_sft .*--input config/example/pairs\.tsv", output)
    with_translations = [*own(tmp_path, **pairs), *teacher(tmp_path, translations={})]
    output = plan(*overlay("smoke"), *with_translations, "-p")
    assert re.search(r"read_files\.py --table mt_sft .*annotation/translations\.parquet", output)


def test_rankings_of_ones_own_go_before_a_teachers(tmp_path: Path) -> None:
    files = {"mt_grpo": "config/example/pairs.tsv", "grrm_sft": "config/example/rankings.jsonl"}
    output = plan(*overlay("smoke"), *own(tmp_path, **files), *teacher(tmp_path), "-p")
    assert not planned_rules(output) & RULES
    assert re.search(r"--table grrm_rlvr .*config/example/rankings\.jsonl", output)


def test_without_a_test_set_to_hold_out_for_the_pairs_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "tests.yaml"
    sets = {
        "mine": {"task": "translation", "file": "config/example/test.tsv"},
        "graded": {"task": "ranking", "file": "config/example/rankings_test.csv"},
    }
    path.write_text(json.dumps({"data": {"test_sets": sets}}))
    pairs = {"mt_grpo": "config/example/pairs.tsv"}
    output = plan(*overlay("smoke"), *own(tmp_path, **pairs), *teacher(tmp_path), str(path), "-p")
    assert planned_rules(output) >= RULES and "hold_out" not in planned_rules(output)
    assert "--pairs results/made/data/mt_grpo.parquet" in output


def test_files_of_other_systems_are_inputs(tmp_path: Path) -> None:
    given = teacher(tmp_path, candidates={"files": [{"name": "deepl", "file": str(tmp_path / "no.tsv")}]})
    done = snakemake("--dry-run", "annotation", "--configfile", *given)
    assert done.returncode == 1 and "no.tsv" in done.stdout + done.stderr
