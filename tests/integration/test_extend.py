"""docs/extend.md to the letter: its files are written and its commands run in a copy of the workflow."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from documented import BLOCK, NEW_FILE
from workspace import lay_out

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/extend.md").read_text(encoding="utf-8")
APPENDED = re.compile(r".*Append to `([\w./]+)`:")
INSERTED = re.compile(r".*Into `([\w./]+)`, below `([^`]+)`:")


@dataclass(frozen=True)
class Block:
    before: str
    language: str
    text: str


def sections() -> dict[str, list[Block]]:
    _, *parts = re.split(r"^## (.*)\n", PAGE, flags=re.MULTILINE)
    return {
        title: [Block(match["before"], match["language"], match["text"]) for match in BLOCK.finditer(text)]
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


SECTIONS = sections()


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    """A copy of the workflow: what the page edits is its own, the rest that of this checkout."""
    lay_out(tmp_path, copied=("Snakefile", "rules", "config", "scripts", "report"))
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


def write(folder: Path, block: Block) -> None:
    if match := INSERTED.fullmatch(block.before):
        file = folder / match[1]
        text = file.read_text(encoding="utf-8")
        assert text.count(f"{match[2]}\n") == 1
        file.write_text(text.replace(f"{match[2]}\n", f"{match[2]}\n{block.text}"), encoding="utf-8")
    elif match := APPENDED.fullmatch(block.before):
        with (folder / match[1]).open("a", encoding="utf-8") as appended:
            appended.write(block.text)
    else:
        match = NEW_FILE.fullmatch(block.before)
        assert match, f"{block.before!r} does not say where the block below it goes"
        assert not (folder / match[1]).exists(), match[1]
        (folder / match[1]).write_text(block.text, encoding="utf-8")


def run(folder: Path, command: str) -> str:
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, timeout=300, env=os.environ
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def follow(folder: Path, title: str) -> Iterator[str]:
    """What each command of a section prints."""
    for block in SECTIONS[title]:
        if block.language != "console":
            write(folder, block)
            continue
        for command in block.text.splitlines():
            yield run(folder, command)


def planned(output: str) -> set[str]:
    table = output.partition("Job stats:")[2].partition("\n\n")[0]
    return set(re.findall(r"^(\w+) +\d+$", table, re.MULTILINE)) - {"total"}


def test_every_section_is_followed_here() -> None:
    followed = {"A metric", "A reward", "A prompt", "A test set", "A language", "A training"}
    assert {title for title, blocks in SECTIONS.items() if blocks} == followed
    assert PAGE.count("```") == 2 * sum(map(len, SECTIONS.values()))


@pytest.mark.parametrize(
    "title",
    [title for title, blocks in SECTIONS.items() if {block.language for block in blocks} - {"console"}],
)
def test_each_is_under_twenty_lines(title: str) -> None:
    lines = [
        line
        for block in SECTIONS[title]
        if block.language != "console"
        for line in block.text.splitlines()
        if line.strip()
    ]
    assert 0 < len(lines) < 20


def test_a_metric(workflow: Path) -> None:
    scores, plan = follow(workflow, "A metric")
    assert scores.split() == ["[0.0,", "50.0]"]
    assert "score_segments" in planned(plan)
    assert "results/demo/evaluation/ter.json" in plan


def test_a_reward(workflow: Path) -> None:
    plan, _, _ = follow(workflow, "A reward")
    assert {"prepare_mt_grpo", "train_mt_grpo"} <= planned(plan)
    (workflow / "my_rewards.py").write_text("def numbers(group):\n    return [1.0]\n")
    with pytest.raises(AssertionError, match=r"my_rewards\.py:numbers.* 1 answers for 2 candidates"):
        run(workflow, SECTIONS["A reward"][-1].text.splitlines()[-1])


def test_a_prompt(workflow: Path) -> None:
    list(follow(workflow, "A prompt"))
    (row,) = pq.read_table(workflow / "my_prepared_rows.parquet").to_pylist()
    assert "from English into German, as to a friend. " in row["prompt"][0]["content"]


def test_a_test_set(workflow: Path) -> None:
    (plan,) = follow(workflow, "A test set")
    assert {"lock_data", "download_dataset", "convert_test_set", "collect_test_sets"} <= planned(plan)
    assert "Converting the test set ours_en_de" in plan
    assert "flores_en_de" not in plan


def test_a_language(workflow: Path) -> None:
    (name,) = follow(workflow, "A language")
    assert name.strip() == "Esperanto; Portuguese (Brazil); Chinese (Traditional)"


def test_a_training(workflow: Path) -> None:
    (plan,) = follow(workflow, "A training")
    assert {"render_mt_grpo_again", "train_mt_grpo_again", "train_mt_grpo"} <= planned(plan)
