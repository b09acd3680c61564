"""A metric of one's own is run in the workflow, and run again when its file changes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from grrm.files import read_json, write_jsonl
from workspace import Workspace

TER = """
from sacrebleu.metrics import TER

def ter(translations, references, sources):
    metric = TER()
    return [metric.sentence_score(one, [other]).score for one, other in zip(translations, references)]
"""
SCORES = "results/demo/evaluation/ter.json"


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
    item = "{name: ter, function: 'my_metrics.py:ter', better: lower}"
    (tmp_path / "own.yaml").write_text(f"evaluate: {{metrics: [comet, {item}], checkpoints: []}}\n")
    command = [SCORES, "--allowed-rules", "score_segments_in_driver", "--configfile", "own.yaml"]

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
