"""The judges' trainings as planned, at toy size and as published."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_plan import overlay, plan, planned_rules, snakemake

TRAININGS = {"train_judge_sft", "train_judge_rl", "train_bradley_terry"}


@pytest.mark.parametrize(
    ("target", "trained"),
    [
        ("judge_sft", {"train_judge_sft"}),
        ("judge_pointwise", {"train_judge_sft", "train_judge_rl"}),
        ("judge_bradley_terry", {"train_bradley_terry"}),
    ],
)
def test_a_target_trains_what_it_needs(target: str, trained: set[str]) -> None:
    rules = planned_rules(plan(target, *overlay("judges")))
    assert rules & TRAININGS == trained
    assert not {rule for rule in rules if "grrm" in rule or "mt_" in rule}


def test_all_judges_with_evaluation_page_and_provenance() -> None:
    rules = planned_rules(plan("judges", *overlay("judges")))
    assert TRAININGS | {"ask_judge", "score_judges", "summarize_judges", "write_judge_provenance"} <= rules
    assert {"train_alignment_grpo", "summarize_alignment"} <= rules
    assert not {rule for rule in rules if "grrm" in rule or "comet" in rule}


def test_without_the_alignment_the_judges_are_all() -> None:
    rules = planned_rules(plan("judges", *overlay("judges"), "--config", "alignment=null"))
    assert "summarize_judges" in rules
    assert not {rule for rule in rules if "alignment" in rule}


def test_published_judges_start_from_published_models_and_data() -> None:
    output = plan("judges", *overlay("paper judges_paper"), "-p")
    rules = planned_rules(output)
    assert TRAININGS | {"download_dataset", "split_judge_data", "take_model"} <= rules
    assert "results/downloads/openjudge/train_rm/grpo/pairwise" in output
    assert "--locks driver=envs/driver.txt rl_cuda=envs/rl_cuda.txt sft_cuda=envs/sft_cuda.txt" in output
    assert not rules & {"make_judge_world", "make_judge_base"}


def test_variables_of_the_published_scripts_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"MODEL_PATH": "Qwen/Qwen3-32B", "N_GPUS_PER_NODE": "4", "TRAIN_BATCH_SIZE": "48"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    output = plan("judge_pointwise", *overlay("paper judges_paper"), "-p")
    assert '"train_batch_size": 48' in output
    assert '"gpus_per_node": 4' in output
    assert '"tensor_parallel": 4' in output
    # In no table: taken at its main revision, which is locked.
    assert "--reference Qwen/Qwen3-32B" in output
    assert "download_dataset.py --name models--Qwen--Qwen3-32B" in output
    (locked,) = re.findall(r"lock_data\.py --lock \S+ --only (.*) >", output)
    assert "models--Qwen--Qwen3-32B" in locked.split()


def test_variables_of_the_published_scripts_are_honoured_by_the_alignment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACTOR_MODEL_PATH", "Qwen/Qwen2.5-0.5B")
    monkeypatch.setenv("TRAIN_BATCH_SIZE", "8")
    output = plan("alignment_grpo", *overlay("judges"), "-p")
    assert "--reference Qwen/Qwen2.5-0.5B" in output
    assert '"train_batch_size": 8, "mini_batch_size": 8' in output
    assert "--ray-from-environment" in output
    assert "write_config" in planned_rules(output), "what was read is recorded"


def test_rows_that_are_too_long_are_dropped_in_every_finetuning_where_that_is_wanted() -> None:
    wanted = [
        "data={bad_rows: drop}",
        "judges={data: {bad_rows: drop}}",
        "alignment={data: {bad_rows: drop}}",
    ]
    targets = ("judge_sft", "mt_sft", "grrm_sft", "alignment_grpo")
    output = plan(*targets, *overlay("judges"), "-p", "--config", *wanted)
    commands = dict(re.findall(r"scripts/train_sft\.py (.*) --model \S+/(\w+) ", output))
    trained = {name: "--bad-rows drop" in options for options, name in commands.items()}
    stages = ("judge_sft", "mt_sft", "grrm_sft", "alignment_policy", "alignment_judge")
    assert trained == dict.fromkeys(stages, True)


def test_without_their_section_the_targets_say_how_to_get_it() -> None:
    done = snakemake("--dry-run", "judges")
    assert done.returncode != 0
    assert "add --configfile config/judges.yaml" in done.stdout + done.stderr


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with files of a user's own, one of which has an odd name, and a model to start from."""
    for name in ("scores a.jsonl", "scores b.jsonl", "pairs.jsonl"):
        (tmp_path / name).write_text("{}\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    return tmp_path


def overlay_of(folder: Path, data: dict[str, Any], *started: str) -> list[str]:
    """The toy judges with other data; those `started` from the model of the folder."""
    judges = {name: {"start_from": str(folder / "model")} for name in started}
    mine = {"experiment": "mine", "alignment": None, "judges": {"data": data, **judges}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(mine))
    return [*overlay("judges"), str(folder / "mine.yaml")]


def refused(*arguments: str) -> str:
    done = snakemake("--dry-run", *arguments)
    assert done.returncode != 0, done.stdout
    return done.stdout + done.stderr


def test_a_judge_reads_own_files_and_no_more_than_it_needs(own: Path) -> None:
    data = {"source": "files", "pointwise": str(own / "scores*.jsonl")}
    output = plan("judge_pointwise", *overlay_of(own, data, "pointwise"), "-p")
    rules = planned_rules(output)
    assert {"split_judge_data", "take_model", "train_judge_rl"} <= rules
    assert not {"download_dataset", "lock_data", "train_judge_sft", "make_judge_world"} & rules
    read = f"--kind pointwise --input '{own}/scores a.jsonl' '{own}/scores b.jsonl' --test-share 0.1"
    assert read in output


def test_all_judges_of_own_files_keep_what_these_held(own: Path) -> None:
    pairs = str(own / "pairs.jsonl")
    data = {
        "source": "files",
        "sft": [str(own / "scores b.jsonl")],
        "pointwise": str(own / "scores a.jsonl"),
        "pairwise": pairs,
        "bradley_terry": pairs,
    }
    output = plan("judges", *overlay_of(own, data, "sft", "bradley_terry"), "-p")
    assert TRAININGS | {"write_judge_provenance"} <= planned_rules(output)
    assert not {"download_dataset", "make_judge_base"} & planned_rules(output)
    assert f"prepare_judge_sft.py --input '{own}/scores b.jsonl' --bad-rows" in output
    assert f"--files {pairs} '{own}/scores a.jsonl' '{own}/scores b.jsonl' --output" in output


@pytest.mark.parametrize(
    ("data", "started", "says"),
    [
        (
            {"source": "files"},
            "pointwise",
            "key 'judges.data.pointwise' is null, expected a path, several or a pattern such as data/*.jsonl "
            "with judges.data.source 'files': give the files that this training reads",
        ),
        (
            {"source": "files", "pointwise": "pairs.jsonl"},
            "pointwise",
            "key 'judges.data.pointwise': pairs.jsonl: no such file",
        ),
        (
            {"source": "files", "pointwise": ["no*.jsonl"]},
            "pointwise",
            "key 'judges.data.pointwise': no*.jsonl: no file has such a name",
        ),
        (
            {"source": "files", "pointwise": "{own}/pairs.jsonl"},
            "sft",
            "key 'judges.data.sft' is null, expected a path",
        ),
        (
            {"source": "files", "pointwise": "{own}/pairs.jsonl", "sft": "{own}/pairs.jsonl"},
            "bradley_terry",
            "key 'judges.sft.start_from': null, expected a folder or hub id of a model with "
            "judges.data.source 'files': the tiny base model is made of toy data only",
        ),
        (
            {"source": "hub"},
            "pointwise",
            "key 'judges.data.pointwise' is null, expected an entry of config/datasets.yaml such as "
            "openjudge, helpsteer2, helpsteer3, or an entry/folder or entry/file of it; judges.data.source: "
            "files takes your own files",
        ),
        (
            {"source": "hub", "pointwise": "scores.jsonl"},
            "pointwise",
            "key 'judges.data.pointwise' is 'scores.jsonl', expected an entry of config/datasets.yaml",
        ),
        (
            {"source": "hub", "pointwise": ["openjudge"]},
            "pointwise",
            "key 'judges.data.pointwise' is ['openjudge'], expected an entry of config/datasets.yaml",
        ),
    ],
)
def test_rows_that_are_not_to_be_had_are_refused(
    own: Path, data: dict[str, Any], started: str, says: str
) -> None:
    data = {
        key: value.replace("{own}", str(own)) if isinstance(value, str) else value
        for key, value in data.items()
    }
    said = refused("judge_pointwise", *overlay_of(own, data, started))
    assert any(says in line for line in said.splitlines()), said
