"""Ranking data made by a teacher, as planned: who is asked where, and what is not made anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from test_plan import plan, planned_rules, snakemake

URL = "http://127.0.0.1:8000/v1"
MODELS = [{"name": "one", "model": "small", "url": URL}]
RULES = {"propose_candidates", "annotate_rankings", "describe_annotation"}


def teacher(folder: Path, **changes: Any) -> list[str]:
    candidates = {"models": MODELS, "degraded": [{"how": "dropped"}], **changes.pop("candidates", {})}
    section = {"model": "big", "url": URL, "candidates": candidates, **changes}
    path = folder / "teacher.yaml"
    path.write_text(json.dumps({"teacher": section}))
    return [str(path)]


def test_the_data_are_made_by_a_target_of_their_own_and_with_everything(tmp_path: Path) -> None:
    given = ["--configfile", *teacher(tmp_path)]
    assert planned_rules(plan("annotation", *given)) == {"make_toy_world", "annotation", *RULES}
    assert planned_rules(plan(*given)) - planned_rules(plan()) == RULES
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


def test_files_of_other_systems_are_inputs(tmp_path: Path) -> None:
    given = teacher(tmp_path, candidates={"files": [{"name": "deepl", "file": str(tmp_path / "no.tsv")}]})
    done = snakemake("--dry-run", "annotation", "--configfile", *given)
    assert done.returncode == 1 and "no.tsv" in done.stdout + done.stderr
