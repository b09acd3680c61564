"""A metric of one's own in the workflow: planned, and refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_plan import overlay, plan, planned_rules, snakemake

TER = "def ter(translations, references, sources): return [1.0] * len(translations)"
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
