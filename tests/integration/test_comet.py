"""The tiny COMET checkpoint, with the comet library: trained, moved, loaded strictly, and worth something."""

import os
import shutil
import subprocess

import numpy as np
import pytest

from grrm.data.toy_world import make_tables
from grrm.files import read_json, write_json, write_jsonl
from grrm.metrics.tiny import degraded_references
from grrm.schemas import read_table, write_table
from training_environment import ROOT

STEPS = 120
ROWS = {"mt_grpo": 400, "translation_test": 120}
ORIGIN = {"model": "m", "weights": "w", "decoding": {}}


def run(python, script, *arguments):
    return subprocess.run(
        [python, ROOT / "scripts" / script, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comet")
    for name, rows in make_tables(0, {**dict.fromkeys(TABLES, 1), **ROWS}).items():
        if name in ROWS:
            write_table(folder / f"{name}.parquet", rows, name)
    return folder


TABLES = ("grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo", "ranking_test", "translation_test")


@pytest.fixture(scope="module")
def test_set():
    return make_tables(0, {**dict.fromkeys(TABLES, 1), **ROWS})["translation_test"]


def train(python, folder, output):
    data = folder / "mt_grpo.parquet"
    result = run(
        python, "train_metric.py", "--metric", "comet", "--data", data, "--output", output, "--steps", STEPS
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return output


@pytest.fixture(scope="module")
def moved(comet_python, folder):
    """A trained checkpoint, away from where it was written."""
    trained = train(comet_python, folder, folder / "trained")
    return trained.rename(folder / "moved")


def score(python, model, folder, test_set, output, **systems):
    named = []
    for name, texts in systems.items():
        rows = (
            {"index": i, "src_text": row["src_text"], "translation": text, **ORIGIN}
            for i, (row, text) in enumerate(zip(test_set, texts, strict=True))
        )
        write_jsonl(folder / f"{name}.jsonl", rows)
        named.append(f"{name}={folder / name}.jsonl")
    reference = folder / "translation_test.parquet"
    return run(
        python,
        "score_segments.py",
        *("--metric", "comet"),
        "--model",
        model,
        "--reference",
        reference,
        "--translations",
        *named,
        "--output",
        output,
    )


def test_a_moved_checkpoint_scores_and_follows_quality(comet_python, moved, folder, test_set):
    degraded = degraded_references([(row["src_text"], row["trg_text"]) for row in test_set], 1, seed=7)
    result = score(
        comet_python, moved, folder, test_set, folder / "scores.json",
        degraded=[row["mt"] or None for row in degraded],
        perfect=[row["trg_text"] for row in test_set],
        failed=[None] * len(test_set),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    document = read_json(folder / "scores.json")
    scores = {name: np.array(system["scores"][0]) for name, system in document["systems"].items()}
    assert np.corrcoef(scores["degraded"], [row["score"] for row in degraded])[0, 1] > 0.75
    assert scores["perfect"].mean() > scores["degraded"].mean() + 0.2
    assert scores["failed"].mean() < scores["degraded"].mean() - 0.2
    assert document["systems"]["failed"]["failures"] == len(test_set)
    assert document["signature"].startswith(
        "COMET|model:moved|class:regression_metric|input:src+mt+ref|weights:"
    )


def test_a_slurm_job_of_several_tasks_is_no_training_of_several_processes(
    comet_python, moved, folder, test_set, tmp_path, monkeypatch
):
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_JOB_NAME", "smk")
    texts = [row["trg_text"] for row in test_set]
    result = score(comet_python, moved, folder, test_set, tmp_path / "slurm.json", x=texts)
    assert result.returncode == 0, result.stderr[-2000:]


def test_nothing_in_the_checkpoint_points_to_where_it_was_made(moved, folder):
    for file in moved.rglob("*"):
        assert file.is_dir() or str(folder).encode() not in file.read_bytes(), file


RENAME_A_WEIGHT = """
import sys, torch
checkpoint = torch.load(sys.argv[1])
weights = checkpoint["state_dict"]
weights["estimator.else"] = weights.pop("estimator.ff.0.weight")
torch.save(checkpoint, sys.argv[1])
"""


def test_missing_and_left_over_weights_are_refused(comet_python, moved, test_set, folder, tmp_path):
    """The library itself would score with random weights in their place."""
    broken = shutil.copytree(moved, tmp_path / "broken")
    subprocess.run([comet_python, "-c", RENAME_A_WEIGHT, broken / "checkpoints/model.ckpt"], check=True)
    result = score(comet_python, broken, folder, test_set, tmp_path / "no.json", x=["a"] * len(test_set))
    assert result.returncode == 2
    assert "1 weights missing ['estimator.ff.0.weight'], 1 left over ['estimator.else']" in result.stderr


def test_weights_of_another_kind_of_model_are_refused(comet_python, moved, folder, test_set):
    other = shutil.copytree(moved, folder / "other")
    hparams = (other / "hparams.yaml").read_text()
    (other / "hparams.yaml").write_text(
        hparams.replace("regression_metric", "referenceless_regression_metric")
    )
    result = score(comet_python, other, folder, test_set, folder / "no.json", x=["a"] * len(test_set))
    assert result.returncode == 2
    assert "model.ckpt: does not fit referenceless_regression_metric" in result.stderr
    assert not (folder / "no.json").exists()


@pytest.mark.parametrize("missing", ["hparams.yaml", "checkpoints/model.ckpt"])
def test_an_incomplete_checkpoint_is_named(comet_python, moved, folder, test_set, tmp_path, missing):
    broken = shutil.copytree(moved, tmp_path / "broken")
    (broken / missing).unlink()
    result = score(comet_python, broken, folder, test_set, tmp_path / "no.json", x=["a"] * len(test_set))
    assert result.returncode == 2
    assert f"it lacks {missing}" in result.stderr


def test_the_same_seed_trains_the_same_model(comet_python, moved, folder, test_set, tmp_path):
    again = train(comet_python, folder, tmp_path / "again")
    texts = [row["trg_text"] for row in reversed(test_set)]
    values = []
    for number, model in enumerate((moved, again)):
        output = tmp_path / f"{number}.json"
        assert score(comet_python, model, folder, test_set, output, x=texts).returncode == 0
        values.append(read_json(output)["systems"]["x"]["scores"])
    assert values[0] == values[1]


def test_a_teachers_translations_are_screened_by_their_score(comet_python, moved, test_set, tmp_path):
    # What the reference says scores high, what says nothing of it low.
    answers = [
        {
            **row,
            "translation": row["trg_text"] if i % 2 else test_set[(i + 7) % 40]["src_text"],
            "dropped": None,
        }
        for i, row in enumerate(test_set[:40])
    ]
    columns = ("src_text", "src_lang", "trg_lang")
    rows = [{**{name: row[name] for name in columns}, "response": "r"} for row in answers]
    write_table(tmp_path / "in.parquet", rows, "cot")
    write_jsonl(tmp_path / "answers.jsonl", [{**answers[0], "dropped": "length"}, *answers])
    write_json(tmp_path / "in.json", {"kept": 40, "dropped": {"length": 1}, "total": 41})

    def screen(least):
        files = {"input": "in.parquet", "answers": "answers.jsonl", "quality": "in.json"}
        files |= {"output": "out.parquet", "output-quality": "out.json"}
        options = [word for name, file in files.items() for word in (f"--{name}", tmp_path / file)]
        return run(comet_python, "screen_translations.py", *options, "--model", moved, "--least", least)

    done = screen(0.5)
    assert done.returncode == 0, done.stderr[-2000:]
    found, table = read_json(tmp_path / "out.json"), read_table(tmp_path / "out.parquet", "cot")
    assert found["kept"] == table.num_rows and found["dropped"]["comet"] == 40 - found["kept"] > 0
    assert found["dropped"]["length"] == 1 and found["comet"]["least"] == 0.5
    assert min(table["comet"].to_pylist()) >= 0.5
    good = {row["src_text"] for row in answers[1::2]}
    kept = table["src_text"].to_pylist()
    assert sum(source in good for source in kept) > 0.8 * len(kept)
    too_much = screen(9)
    assert too_much.returncode == 2 and "no translation is scored 9 or higher, the best is" in too_much.stderr
