"""What a user sees when something is wrong: one line that names it, its log, and nothing overwritten."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

import planner
from grrm.files import write_text
from workspace import lay_out

ROOT = Path(__file__).parents[2]


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    lay_out(folder)
    return folder


def test_a_model_without_tokenizer_is_refused_before_training(tmp_path: Path) -> None:
    model = tmp_path / "base"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").touch()
    (tmp_path / "rows.jsonl").write_text("{}\n")
    config = {"model_name_or_path": str(model), "output_dir": str(tmp_path / "working")}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    done = run(
        *("scripts/train_sft.py", "--config", str(tmp_path / "config.yaml"), "--python", sys.executable),
        *("--data", str(tmp_path / "rows.jsonl"), "--model", str(tmp_path / "model")),
        *("--curve", str(tmp_path / "curve.jsonl")),
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {model}: not a complete model folder, it lacks a tokenizer")
    assert not (tmp_path / "working").exists()
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [("ENOSPC", "no space left on the disk"), ("EDQUOT", "the disk quota is used up")],
)
def test_a_full_disk_is_one_line(number: str, words: str) -> None:
    code = (
        "import errno\n"
        "from grrm.process import run_main\n"
        f"def main(): raise OSError(errno.{number}, 'in the words of the system', 'results/x/rows.jsonl')\n"
        "run_main(main)\n"
    )
    done = run("-c", f"import sys; sys.path.insert(0, 'scripts')\n{code}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {words} while writing results/x/rows.jsonl: free some space")
    assert done.stderr.count("\n") == 1


def test_a_wrong_configuration_with_a_lock_left_over_is_said_in_one_place(checkout: Path) -> None:
    lock = checkout / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text("x")
    (checkout / "wrong.yaml").write_text(yaml.safe_dump({"hardware": {"nodes": 0}}))
    try:
        options = ("--cores", "1", "-n", "--configfile", "wrong.yaml")
        done = run("scripts/run_workflow.py", *options, cwd=checkout)
    finally:
        lock.unlink(missing_ok=True)
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "key 'hardware.nodes' is 0, expected a number of at least 1" in output
    assert "CalledProcessError" not in output


def test_a_second_run_in_the_same_folder_says_who_is_there(checkout: Path) -> None:
    (checkout / "snakemake").write_text("import time; time.sleep(60)")
    other = subprocess.Popen([sys.executable, "snakemake"], cwd=checkout)
    try:
        done = run("scripts/run_workflow.py", "--cores", "1", "-n", cwd=checkout)
    finally:
        other.kill()
        other.wait()
    assert done.returncode == 2
    assert f"process {other.pid}" in done.stderr


def test_the_lock_of_a_run_on_another_machine_is_left_to_it(checkout: Path) -> None:
    lock = checkout / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text("x")
    holder = {
        "token": "t",
        "host": "node7",
        "pid": 1,
        "born": 0.0,
        "job": None,
        "cluster": None,
        "since": "noon",
    }
    theirs = checkout / ".snakemake/workflow.lock"
    stopped = threading.Event()

    def beat() -> None:
        for number in itertools.count():
            write_text(theirs, json.dumps({**holder, "machine": "another", "beat": number}))
            if stopped.wait(0.5):
                return

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        done = run("scripts/run_workflow.py", "--cores", "1", "-n", cwd=checkout)
        assert lock.exists()
    finally:
        stopped.set()
        thread.join()
        lock.unlink(missing_ok=True)
        theirs.unlink()
    assert done.returncode == 2
    assert "process 1 on node7, since noon): wait for it, or end it there first" in done.stderr


def refused(*arguments: str) -> str:
    """The one line that a plan ends with."""
    done = planner.snakemake("--cores", "1", "--dry-run", *arguments)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in output
    return output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 1\nseed: 2\n", "mine.yaml: not valid YAML (line 2, column 1: the key 'seed' stands twice"),
        ("mt_grpo: {learning_rate: .nan}\n", "mine.yaml: not valid YAML (key 'mt_grpo.learning_rate' is nan"),
        ("resources: {on: {}}\n", "line 1, column 13: the key on is read as bool"),
        ("experiment: 2026-01-01\n", "2026-01-01 is read as a date: put it in quotes"),
        (
            "resources: {score_comet: {mem_gb: 64}}\n",
            "key 'resources' names score_comet, no rule of that name; expected one such as score_segments",
        ),
        (
            "environments: {folder: 'env/{x}'}\n",
            "environments.folder is 'env/{x}', expected a name without { and }",
        ),
        (
            "environments: {images: 'a b'}\n",
            "environments.images is 'a b', expected a folder or an address without",
        ),
        (
            "grrm_sft: {start_from: 'a/{}'}\nmt_sft: {start_from: b}\n",
            "grrm_sft.start_from is 'a/{}', expected a name without { and }",
        ),
        (
            "evaluate: {metrics: [{name: mine, better: higher, function: 'a}b.py:score'}]}\n",
            "evaluate.metrics.0.function is 'a}b.py:score', expected a name without { and }",
        ),
    ],
)
def test_a_configuration_that_can_be_taken_two_ways_is_not_planned(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    assert words in refused("--configfile", str(tmp_path / "mine.yaml"))


def test_resources_of_rules_that_this_plan_leaves_out_are_allowed(tmp_path: Path) -> None:
    left_out = (
        "resources: {train_judge_sft: {mem_gb: 64}, train_mt_grpo: {runtime: 60}, preflight: {runtime: 9}}"
    )
    (tmp_path / "mine.yaml").write_text(left_out)
    options = ("--cores", "1", "-n", "--quiet", "all", "--configfile", str(tmp_path / "mine.yaml"))
    done = planner.snakemake(*options)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "content",
    [
        "a: " + "{b: " * 5000 + "1" + "}" * 5000,
        "\n".join("  " * depth + "a:" for depth in range(3000)),
        '{"a":' * 50_000 + "1" + "}" * 50_000,
    ],
    ids=["in braces", "by lines", "JSON"],
)
@pytest.mark.parametrize("option", ["--configfile", "--configfiles"])
def test_a_configuration_nested_thousands_deep_is_one_line(tmp_path: Path, content: str, option: str) -> None:
    (tmp_path / "deep.yaml").write_text(content)
    done = run("scripts/run_workflow.py", "--cores", "1", "-n", option, str(tmp_path / "deep.yaml"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "deep.yaml: not valid YAML" in done.stderr
    assert "more than 100 levels deep" in done.stderr


def test_the_options_of_make_demo_are_left_to_snakemake(checkout: Path) -> None:
    """`--config` is no abbreviation of `--configfile`."""
    done = run(
        *("scripts/run_workflow.py", "--cores", "1", "-n", "--config", "experiment=demo_seed1", "seed=1"),
        cwd=checkout,
    )
    assert done.returncode == 0, done.stderr
    assert "results/demo_seed1/" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [("MAX_RETRIES", "-1"), ("MAX_TOKENS", "0"), ("TEMPERATURE", "nan"), ("JUDGE_API_URL", "your-api-url")],
)
def test_a_variable_that_cannot_be_used_is_named_by_the_plan(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("JUDGE_API_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("JUDGE_MODEL_NAME", "judge")
    monkeypatch.setenv(variable, value)
    output = refused("alignment_grpo", "--configfile", str(ROOT / "config/judges.yaml"))
    assert f"{variable} is '{value}' in the environment, expected " in output
