"""Rows of a user's own for judges are read and divided in the workflow, and again when their file changes."""

from __future__ import annotations

from pathlib import Path

import yaml

from grrm.files import write_jsonl
from workspace import Workspace

DATA = "results/mine/data"
TRAIN = f"{DATA}/judge_pointwise_train.jsonl"
PREPARED = "results/mine/prepared/judge_sft.jsonl"


def test_they_are_divided_and_divided_again_when_their_file_changes(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, environments=False)
    data = {"source": "files", "pointwise": "my*.jsonl", "sft": "demonstrations.json", "test_share": 0.2}
    mine = {"experiment": "mine", "alignment": None, "judges": {"data": data}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    answer = {"role": "assistant", "content": "<score>4</score>"}
    write_jsonl(
        tmp_path / "demonstrations.json", [{"messages": [{"role": "user", "content": "Grade it."}, answer]}]
    )
    command = [TRAIN, PREPARED, "--configfile", "config/judges.yaml", "mine.yaml"]

    def written(name: str, count: int) -> set[str]:
        rows = [
            {"prompt": f"{name} {number}", "response": "Because.", "helpfulness": number % 5}
            for number in range(count)
        ]
        write_jsonl(tmp_path / name, rows)
        return {row["prompt"] for row in rows}

    def divided() -> list[set[str]]:
        assert workspace.run(*command) == 0, workspace.log
        parts = [workspace.read_jsonl(f"{DATA}/judge_pointwise_{part}.jsonl") for part in ("train", "test")]
        assert all(row["output"][0]["answer"]["label"]["helpfulness"] in range(5) for row in parts[0])
        return [{row["input"][0]["content"] for row in part} for part in parts]

    asked = written("my scores.jsonl", 8) | written("my_more.jsonl", 2)
    train, test = divided()
    assert (train | test, len(train), len(test)) == (asked, 8, 2)
    (row,) = workspace.read_jsonl(PREPARED)
    assert row["messages"][-1]["content"] == answer["content"]

    before = len(workspace.log)
    asked |= written("my_more.jsonl", 12)
    train, test = divided()
    assert (train | test, len(train), len(test)) == (asked, 16, 4)
    assert "rule prepare_judge_sft" not in workspace.log[before:], "its file is as it was"
