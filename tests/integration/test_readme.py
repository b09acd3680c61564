"""README's commands, as a reader copies them: planned where a whole experiment would run, else run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from training_environment import run_in_training_environment
from workspace import ROOT, Workspace

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    command
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for command in re.sub(r"\s*\\\n\s*", " ", block).splitlines()
]
"""Without what is broken over several lines."""

MAKE_MODELS = """
import sys
from pathlib import Path
from tiny_model import learn, save_tiny_model
from grrm.prompts import load_ranking_prompt, load_translation_prompt
source, candidates = sys.argv[2], sys.argv[3:]
asked = {"src_text": source, "src_lang": "xx", "trg_lang": "yy"}
ranking = load_ranking_prompt("config/prompts/toy_ranking.yaml").render(mt_texts=candidates, **asked)
translation = load_translation_prompt("config/prompts/toy_translation.yaml").render(**asked)
verdict = "A\\n\\n### Final Ranking:\\n\\nB > A\\n\\n### Scores:\\n\\nA: 4, B: 9\\n"
for name, *known in (("grrm_rlvr", ranking, verdict), ("mt_grpo", translation, "```\\nvogo\\n```")):
    folder = save_tiny_model(Path(sys.argv[1]) / name, positions=1024, width=64)
    learn(folder, [tuple(known)])
"""
"""They know by heart what README asks them."""


def options(command: str, name: str) -> list[str]:
    return re.findall(rf'{name} "([^"]*)"', command)


def starting(words: str) -> str:
    (command,) = [command for command in COMMANDS if command.startswith(f".venv/bin/{words} ")]
    return command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the demonstration has run, as far as README's commands ask its models."""
    folder = Workspace(tmp_path_factory.mktemp("readme")).folder
    (folder / ".venv").symlink_to(ROOT / ".venv")
    rank = starting("grrm rank")
    models = folder / "results/demo/models"
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\n{MAKE_MODELS}"
    texts = options(rank, "--source") + options(rank, "--candidate")
    run_in_training_environment("-c", code, models, *texts)
    (folder / "results/demo/checkpoints/mt_grpo").mkdir(parents=True)
    return folder


def run(command: str, folder: Path) -> str:
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def test_every_command_is_of_a_kind_that_is_tried_below() -> None:
    kinds = r"make |(rm .* && )?\.venv/bin/(snakemake |grrm (forecast|rank|translate|serve-reward) )"
    assert [command for command in COMMANDS if not re.match(kinds, command)] == []
    assert len(COMMANDS) >= 17


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make ")])
def test_make_knows_its_targets(command: str) -> None:
    """What they do is done by the tests of the chain, and by whoever runs these."""
    run(command.replace("make ", "make -n "), ROOT)


@pytest.mark.parametrize("command", [command for command in COMMANDS if "/snakemake " in command])
def test_experiments_are_planned(command: str, folder: Path) -> None:
    dry = command.partition("#")[0].rstrip() + ("" if " -n" in command else " -n")
    assert "job" in run(dry, folder)


def test_an_experiment_is_forecast(folder: Path) -> None:
    assert re.search(r"^mt_grpo ", run(starting("grrm forecast"), folder), re.M)


def test_a_judge_puts_a_score_before_each_candidate(folder: Path) -> None:
    command = starting("grrm rank")
    first, second = options(command, "--candidate")
    assert run(command, folder) == f"4\t{first}\n9\t{second}\n"


def test_a_source_is_translated(folder: Path) -> None:
    assert run(starting("grrm translate"), folder) == "vogo\n"


def test_rewards_are_served(folder: Path) -> None:
    command = starting("grrm serve-reward").partition("#")[0]
    with subprocess.Popen(
        f"exec {command} --port 0",
        shell=True,
        cwd=folder,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        assert server.stdout
        said = next((line for line in server.stdout if "http://127.0.0.1:" in line), None)
        server.send_signal(signal.SIGTERM)
        assert said, "it says where it listens"
