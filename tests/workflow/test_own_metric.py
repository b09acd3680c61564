"""A metric of one's own in the workflow: planned, refused before anything runs, run and run again."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_plan import overlay, plan, planned_rules, snakemake

from grrm.files import read_json, write_jsonl
from workspace import Workspace

TER = """
from sacrebleu.metrics import TER

def ter(translations, references, sources):
    metric = TER()
    return [metric.sentence_score(one, [other]).score for one, other in zip(translations, references)]
"""
SCORES = "results/demo/evaluation/ter.json"


def configuration(folder: Path, function: str, more: str = "") -> str:
    path = folder / "own.yaml"
    item = f"{{name: ter, function: '{function}', better: lower{more}}}"
    path.write_text(f"evaluate: {{metrics: [comet, {item}], checkpoints: []}}\n")
    return str(path)


def test_it_is_planned_beside_the_others(tmp_path: Path) -> None:
    (tmp_path / "my_metrics.py").write_text(TER)
    function = f"{tmp_path}/my_metrics.py:ter"
    output = plan("--configfile", configuration(tmp_path, function), "-p")
    assert {"score_segments", "score_segments_in_driver", "train_metric"} <= planned_rules(output)
    commands = " ".join(output.split())
    assert f"python scripts/score_segments.py --function {function} --reference" in commands
    for script in ("score_translations.py", "render_page.py"):
        (command,) = [line for line in output.splitlines() if f"python scripts/{script}" in line]
        assert f"--segment-scores comet=results/demo/evaluation/comet.json ter={SCORES}" in command


def test_it_may_run_where_torch_is(tmp_path: Path) -> None:
    (tmp_path / "my_metrics.py").write_text(TER)
    config = configuration(tmp_path, f"{tmp_path}/my_metrics.py:ter", ", environment: comet")
    output = plan(*overlay("paper"), config, "-p")
    assert "environments/comet/bin/python scripts/score_segments.py --function" in output
    assert "score_segments_in_driver" not in planned_rules(output)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "my_metrics.py cannot be read (No such file or directory)"),
        ("def bleu(): pass", "my_metrics.py has no function ter"),
    ],
)
def test_a_function_that_is_not_there_stops_the_plan(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "my_metrics.py").write_text(text)
    config = configuration(tmp_path, f"{tmp_path}/my_metrics.py:ter")
    done = snakemake("--dry-run", "--configfile", config)
    assert done.returncode != 0
    assert f"evaluate.metrics, ter is '{tmp_path}/my_metrics.py:ter', but" in done.stdout + done.stderr
    assert words in done.stdout + done.stderr


def make_answers(folder: Path) -> None:
    """Table and answers as the rules before leave them: a quarter of the words right, half of them."""
    rows = [
        {"src_text": f"s{i}", "trg_text": "ba du gi fo", "src_lang": "xx", "trg_lang": "yy"} for i in range(3)
    ]
    results = folder / "results/demo"
    (results / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), results / "data/translation_test.parquet")
    for name, text in (("mt_sft", "ba no no no"), ("mt_grpo", "ba du no no")):
        write_jsonl(
            results / f"evaluation/translation/{name}.jsonl",
            [
                {"index": i, "src_text": row["src_text"], "translation": text, "failure": None}
                for i, row in enumerate(rows)
            ],
        )


def test_it_is_run_and_run_again_when_its_file_changes(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, environments=False)
    make_answers(tmp_path)
    (tmp_path / "my_metrics.py").write_text(TER)
    config = configuration(tmp_path, "my_metrics.py:ter")
    command = [SCORES, "--allowed-rules", "score_segments_in_driver", "--configfile", config]

    def scores() -> list[list[float]]:
        assert workspace.run(*command) == 0, workspace.log
        systems = read_json(tmp_path / SCORES)["systems"]
        return [systems[name]["scores"][0] for name in ("mt_sft", "mt_grpo")]

    assert scores() == [[75.0] * 3, [50.0] * 3]
    (tmp_path / "my_metrics.py").write_text(TER.replace(".score for", ".score / 100 for"))
    assert scores() == [[0.75] * 3, [0.5] * 3]
    (tmp_path / "my_metrics.py").write_text("def ter(*texts):\n    return [1.0, float('nan'), 1.0]\n")
    assert workspace.run(*command) != 0
    error = "metric my_metrics.py:ter, translations of mt_sft, row 1: nan, expected a finite number"
    assert error in workspace.log
