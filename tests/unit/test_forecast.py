"""What an experiment will take, as `grrm forecast` says."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from configurations import empty_model
from grrm import cli
from grrm.cluster import load_resources, request
from grrm.config import STAGES, load_experiment, trained_stages
from grrm.data.augment import plan_ranking_rows
from grrm.data.toy_world import make_tables
from grrm.files import UserError
from grrm.preflight.forecast import (
    Stage,
    Table,
    count_tables,
    forecast,
    format_forecast,
    load_assumptions,
    longest_path,
    rows_per_group,
    source_tables,
)
from grrm.preflight.judged_work import judge_calls, other_trainings, runs_of
from grrm.preflight.speeds import Range
from grrm.schemas import write_table

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "config/paper.yaml"
ASSUMPTIONS = load_assumptions(ROOT / "config/forecast.yaml")
RESOURCES = load_resources(
    ROOT / "config/resources.yaml", ROOT / "config/schemas/resources.schema.yaml", changes={}
)
GROUPS, PAIRS = 20_000, 150_000


@pytest.fixture(scope="module")
def paper() -> dict[str, Any]:
    return load_experiment(ROOT, [PAPER])


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", b"PAR1"]
)
def test_a_damaged_table_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mt_grpo.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"mt_grpo\.parquet: not a Parquet file, or a damaged one .*; fetch"):
        count_tables([tmp_path / "mt_grpo.parquet"])


def test_groups_without_candidates_have_no_size(tmp_path: Path) -> None:
    rows = pa.table({"mt_texts": pa.array([["a", "b"], None, []], pa.list_(pa.string()))})
    pq.write_table(rows, tmp_path / "groups.parquet")
    counted = count_tables([tmp_path / "groups.parquet"])
    assert (counted.rows, list(counted.sizes)) == (Range(3, 3), [2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": {}}, "key 'rows': 'grrm_sft' is missing"),
        ({"token": {}}, "unknown key 'token'"),
        (
            {"parameters": {"me/mine": "7B"}},
            "key 'parameters.me/mine' is '7B', expected a value of type number",
        ),
    ],
)
def test_assumptions_that_cannot_be_used_are_named(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**ASSUMPTIONS, **change}))
    with pytest.raises(UserError, match=rf"mine\.yaml: .*{re.escape(words)}"):
        load_assumptions(path)


def tables(**rows: int) -> dict[str, Table]:
    counts = {"grrm_sft": GROUPS, "grrm_rlvr": GROUPS, "mt_sft": 10_000, "mt_grpo": PAIRS} | rows
    sizes = {4: 1.0}
    return {name: Table(Range(count, count), sizes, "test") for name, count in counts.items()}


def by_name(config: dict[str, Any], **rows: int) -> dict[str, Stage]:
    return {stage.name: stage for stage in forecast(config, tables(**rows), ASSUMPTIONS, RESOURCES)}


@pytest.mark.parametrize(("size", "rows"), [(2, 2.0), (3, 11.0), (4, 17.8)])
def test_four_and_four_give_the_published_rows_of_a_group(size: int, rows: float) -> None:
    assert rows_per_group(size, 4, 4) == pytest.approx(rows)


@pytest.mark.parametrize("augment", [(0, 0), (1, 2), (4, 4), (30, 1)])
def test_rows_are_those_that_are_prepared(augment: tuple[int, int]) -> None:
    for size in range(2, 7):
        prepared = len(plan_ranking_rows([size] * 3000, 0, *augment)) / 3000
        assert rows_per_group(size, *augment) == pytest.approx(prepared, rel=0.02)


def test_steps_of_the_paper(paper: dict[str, Any]) -> None:
    stages = by_name(paper)
    assert list(stages) == list(STAGES)
    # 4 rows on each of 16 GPUs, the last batch of an epoch not full: 313 steps, three times.
    assert stages["grrm_sft"].steps == Range(939, 939)
    # 17.8 rows a group, 512 a step, the last batch left out.
    assert stages["grrm_rlvr"].rows.low == pytest.approx(356_000)
    assert stages["grrm_rlvr"].steps == Range(695, 695)
    assert stages["mt_sft"].steps == Range(79, 79)
    assert stages["mt_grpo"].steps == Range(584, 584)


def test_cross_lingual_augmentation_doubles_the_rows(paper: dict[str, Any]) -> None:
    augmented = copy.deepcopy(paper)
    augmented["mt_grpo"]["cross_lingual_augmentation"] = True
    assert by_name(augmented)["mt_grpo"].rows == Range(2 * PAIRS, 2 * PAIRS)


def test_hours_follow_from_the_assumptions(paper: dict[str, Any]) -> None:
    assumptions = copy.deepcopy(ASSUMPTIONS)
    for name in ("translation_prompt", "translation_answer", "ranking_answer"):
        assumptions["tokens"][name]["range"] = [100, 200]
    for name in ("training", "scoring", "generation"):
        assumptions["speed"][name]["range"] = [1000, 2000]
    assumptions["speed"]["overhead"]["range"] = [1, 1.5]
    stages = {stage.name: stage for stage in forecast(paper, tables(mt_sft=36_000), assumptions, RESOURCES)}
    # 36,000 rows of 200 to 400 tokens.
    assert stages["mt_sft"].gpu_hours == pytest.approx(Range(1, 6))
    assert stages["mt_sft"].hours == pytest.approx(Range(1 / 16, 6 / 16))
    # 584 steps of 512 prompts, 4 rollouts: generation, scoring and training of them, and the judge's answers.
    prompts = 584 * 512
    low = prompts * (4 * (100 + 200 + 200) + 100) / 2000
    high = 1.5 * prompts * (4 * (200 + 400 + 400) + 200) / 1000
    assert stages["mt_grpo"].gpu_hours == pytest.approx(Range(low / 3600, high / 3600))


def test_disk_holds_two_checkpoints_and_the_model(paper: dict[str, Any]) -> None:
    assert by_name(paper)["grrm_rlvr"].disk == pytest.approx(Range(18 * 7.6e9, 34 * 7.6e9))


@pytest.mark.parametrize(
    "overlays", [["paper"], ["paper", "small"], ["paper", "small", "one_gpu"]], ids="+".join
)
def test_what_is_forecast_fits_into_what_the_rules_ask_for(overlays: list[str]) -> None:
    config = load_experiment(ROOT, [ROOT / f"config/{name}.yaml" for name in overlays])
    for stage in forecast(config, tables(), ASSUMPTIONS, RESOURCES):
        asked = request(f"train_{stage.name}", RESOURCES, config)
        assert asked.nodes * asked.gpus == config["hardware"]["nodes"] * config["hardware"]["gpus_per_node"]
        assert stage.disk.high <= asked.disk_mb * 1e6, stage.name
        assert stage.gpu_hours is not None and stage.hours is not None and stage.jobs is not None
        assert stage.gpu_hours == pytest.approx(stage.hours * (asked.nodes * asked.gpus))
        assert stage.jobs.high * asked.runtime >= stage.hours.high * 60


def test_shorter_jobs_are_more_of_them(paper: dict[str, Any]) -> None:
    shorter = copy.deepcopy(paper)
    shorter["cluster"]["gpu"]["max_runtime"] = 60
    jobs, many = by_name(paper)["grrm_rlvr"].jobs, by_name(shorter)["grrm_rlvr"].jobs
    assert jobs is not None and many is not None and many.high > 20 * jobs.high


def test_a_judge_of_its_own_takes_gpus_of_its_own(paper: dict[str, Any]) -> None:
    apart = copy.deepcopy(paper)
    apart["mt_grpo"]["reward"] |= {"placement": "dedicated", "nodes": 1, "gpus_per_node": 8}
    together, alone = by_name(paper)["mt_grpo"], by_name(apart)["mt_grpo"]
    assert together.hours is not None and alone.hours is not None
    assert alone.hours.high == pytest.approx(together.hours.high * 16 / 24)


def test_smaller_models_take_less_in_proportion(paper: dict[str, Any]) -> None:
    small = copy.deepcopy(paper)
    for stage in ("grrm_sft", "mt_sft"):
        small[stage]["start_from"] = "Qwen/Qwen2.5-1.5B"
    before, after = by_name(paper), by_name(small)
    for name in STAGES:
        large, less = before[name].gpu_hours, after[name].gpu_hours
        assert large is not None and less is not None
        assert less == pytest.approx(large * (1.5 / 7.6))


@pytest.mark.parametrize("start", ["someone/else-9B", "results/paper/models/not_yet", "empty", "cut_off"])
def test_a_model_of_unknown_size_is_named_and_only_its_own_stages_are_not_forecast(
    start: str, paper: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (empty_model(tmp_path / "cut_off", 10) / "model-00001-of-00002.safetensors").write_bytes(b"\x10")
    other = copy.deepcopy(paper)
    other["mt_sft"]["start_from"] = start
    found = forecast(other, tables(), ASSUMPTIONS, RESOURCES, tmp_path)
    stages = {stage.name: stage for stage in found}
    for name in ("mt_sft", "mt_grpo"):
        stage = stages[name]
        assert (stage.gpu_hours, stage.hours, stage.jobs, stage.disk) == (None,) * 4
        assert stage.unknown is not None and stage.unknown.startswith(f"{start}: the number")
        assert "config/forecast.yaml" in stage.unknown
    assert stages["mt_sft"].steps == by_name(paper)["mt_sft"].steps
    assert stages["grrm_rlvr"] == by_name(paper)["grrm_rlvr"]
    text = format_forecast(other, found, ASSUMPTIONS)
    assert "Stages of known size: " in text and "Not forecast, and in no sum" in text


def test_a_model_in_a_folder_is_as_large_as_its_files_say(paper: dict[str, Any], tmp_path: Path) -> None:
    start = "results/Qwen2.5-7B/models/grrm_sft"
    empty_model(tmp_path / start, 1_500_000_000)
    other = copy.deepcopy(paper)
    other["grrm_rlvr"]["start_from"] = start
    (rlvr, *_) = forecast(other, tables(), ASSUMPTIONS, RESOURCES, tmp_path)
    large = by_name(paper)["grrm_rlvr"]
    assert rlvr.name == "grrm_rlvr" and rlvr.unknown is None
    assert rlvr.gpu_hours is not None and large.gpu_hours is not None
    assert rlvr.gpu_hours == pytest.approx(large.gpu_hours * (1.5 / 7.6))


def test_stages_that_are_skipped_take_nothing(paper: dict[str, Any]) -> None:
    later = copy.deepcopy(paper)
    later["grrm_rlvr"]["start_from"] = "Qwen/Qwen2.5-7B"
    assert list(by_name(later)) == ["grrm_rlvr", "mt_sft", "mt_grpo"] == trained_stages(later)
    later["evaluate"]["start_from"]["grrm_rlvr"] = "double7/Qwen2.5-7B-GRRM"
    assert list(by_name(later)) == ["mt_sft", "mt_grpo"]


def stage(name: str, low: float, high: float) -> Stage:
    hours = Range(low, high)
    return Stage(name, hours, "", hours, hours, hours, None, hours)


def test_the_longest_path_follows_what_stages_need() -> None:
    stages = [
        stage("grrm_sft", 1, 2),
        stage("grrm_rlvr", 3, 4),
        stage("mt_sft", 1, 9),
        stage("mt_grpo", 5, 6),
    ]
    assert longest_path(stages) == (["mt_sft", "mt_grpo"], Range(9, 15))
    assert longest_path(stages[:2]) == (["grrm_sft", "grrm_rlvr"], Range(4, 6))
    assert longest_path([]) == ([], Range(0, 0))


def test_tables_that_are_there_are_counted(tmp_path: Path) -> None:
    rows = make_tables(0, dict.fromkeys((*STAGES, "ranking_test", "translation_test"), 50))["grrm_rlvr"]
    for name in ("config", "config/schemas"):
        (tmp_path / name).mkdir()
    for name in (
        "config.yaml",
        "cluster.yaml",
        "datasets.yaml",
        "schemas/config.schema.yaml",
        "schemas/datasets.schema.yaml",
    ):
        (tmp_path / "config" / name).symlink_to(ROOT / "config" / name)
    config = load_experiment(tmp_path, [PAPER])
    assert source_tables(config, ASSUMPTIONS, tmp_path)["grrm_rlvr"].rows == Range(10_000, 30_000)
    downloaded = tmp_path / "results/downloads/towerblocks_mt_ranking/train.parquet"
    downloaded.parent.mkdir(parents=True)
    write_table(downloaded, rows, "ranking")
    found = source_tables(config, ASSUMPTIONS, tmp_path)["grrm_rlvr"]
    assert found.rows == Range(50, 50)
    assert {size: round(50 * share) for size, share in found.sizes.items()} == Counter(
        len(row["mt_texts"]) for row in rows
    )
    assert str(downloaded) in found.source
    assert count_tables([downloaded, downloaded]).rows == Range(100, 100)


def test_the_configuration_is_read_as_by_the_workflow(tmp_path: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(yaml.safe_dump({"data": {"toy": {"mt_grpo": 77}}, "mt_grpo": {"steps": 3}}))
    config = load_experiment(ROOT, [overlay])
    assert config["data"]["toy"] == load_experiment(ROOT)["data"]["toy"] | {"mt_grpo": 77}
    assert config["mt_grpo"]["rollouts"] == 4
    overlay.write_text("mt_grpo: {stepz: 3}")
    with pytest.raises(UserError, match=r"mt_grpo\.stepz"):
        load_experiment(ROOT, [overlay])
    with pytest.raises(UserError, match=r"absent\.yaml: no such file"):
        load_experiment(ROOT, [tmp_path / "absent.yaml"])


@pytest.mark.parametrize(
    "overlays",
    [[], ["smoke"], ["paper"], ["paper", "paper_cla"], ["paper", "small"], ["paper", "paper_released"]],
    ids="+".join,
)
def test_every_configuration_has_a_forecast(overlays: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(ROOT / f"config/{name}.yaml") for name in overlays]
    cli.main(
        ["forecast", "--workflow", str(ROOT), *(["--config", *files[:1]] if files else [])]
        + (["--configfile", *files[1:]] if files[1:] else [])
    )
    out = capsys.readouterr().out
    if "paper_released" in overlays:
        assert "Nothing is trained" in out
        return
    for name in STAGES:
        assert f"\n{name} " in out
    assert ("GPU-hours, " in out) == ("paper" in overlays)
    assert ("Longest path: grrm_sft > grrm_rlvr > mt_grpo" in out) == ("paper" in overlays)


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "grrm.cli", "forecast", "--workflow", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT / "scripts")}
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


# ---------------------------------------------------------------- judges and alignment


def calls_of(*names: str, **changes: Any) -> dict[str, Any]:
    """What judges are asked, by training."""
    config = load_experiment(ROOT, [ROOT / f"config/{name}.yaml" for name in names])
    for key, value in changes.items():
        config["alignment"]["grpo"]["reward"]["judge"][key] = value
    works = other_trainings(config, ROOT, ASSUMPTIONS)
    steps = {work.name: work.steps for work in works} | {"mt_grpo": 25}
    return {one.name: one for one in judge_calls(config, steps, ASSUMPTIONS, runs_of(config, works))}


def test_the_alignment_as_published_asks_six_times_a_prompt_and_is_paid_for() -> None:
    prices = {"url": "http://x/v1", "prompt_price": 1.0, "completion_price": 10.0}
    calls = calls_of("paper", "small", "alignment_gpu", **prices)["alignment_grpo"]
    assert (calls.group, calls.calls) == (6, 6 * 96 * (10_000 // 96) * 25)
    asked, answered = calls.tokens
    assert calls.cost == Range((asked.low + 10 * answered.low) / 1e6, (asked.high + 10 * answered.high) / 1e6)


def test_the_toys_alignment_asks_about_the_chosen_response_in_both_orders() -> None:
    calls = calls_of("judges")
    assert (calls["alignment_grpo"].group, calls["alignment_grpo"].calls) == (20, 20 * 16 * 20)
    assert calls["alignment_grpo"].cost is None
    assert (calls["mt_grpo"].group, calls["mt_grpo"].calls) == (1, 800)


def test_calls_of_validations_are_forecast_where_their_rows_are_known() -> None:
    config = load_experiment(ROOT, [ROOT / "config/judges.yaml"])
    grpo, rows = config["alignment"]["grpo"], config["alignment"]["data"]["toy"]["validation"]
    times = -(-grpo["steps"] // grpo["validation"]["steps"]) + grpo["validation"]["before_training"]
    calls = calls_of("judges")
    # One rollout beside the chosen response, in both orders.
    assert calls["alignment_grpo"].validation == times * rows * 2 > 0
    assert calls["mt_grpo"].validation == 0
    assert calls_of("paper", "small", "alignment_gpu")["alignment_grpo"].validation is None


def test_hours_of_judges_and_of_the_alignment_are_forecast_on_gpus() -> None:
    def works(*names: str, **hardware: Any) -> dict[str, Any]:
        config = load_experiment(ROOT, [ROOT / f"config/{name}.yaml" for name in names])
        config["hardware"] |= hardware
        return {work.name: work for work in other_trainings(config, ROOT, ASSUMPTIONS)}

    assert {work.gpu_hours for work in works("judges").values()} == {None}
    toy = works("judges", device="cuda")
    assert all(work.gpu_hours.low < work.gpu_hours.high for work in toy.values())
    # As many tokens as the examples have, at the speed of a model of this size.
    config = load_experiment(ROOT, [ROOT / "config/judges.yaml"])
    size, work = config["alignment"]["base_model"], toy["alignment_policy"]
    speed, tokens = ASSUMPTIONS["speed"], ASSUMPTIONS["tokens"]
    examples = work.steps * config["alignment"]["policy_sft"]["batch_size"]
    read = sum(tokens[part]["range"][0] for part in ("conversation_prompt", "conversation_answer"))
    parameters = 10 * size["layers"] * size["hidden_size"] ** 2
    fastest = speed["training"]["range"][1] * speed["parameters"] / parameters
    low = read * examples / fastest * speed["overhead"]["range"][0] / 3600
    assert work.gpu_hours.low == pytest.approx(low)
    # A judge that the run serves writes on its GPUs; an endpoint does not.
    asked = copy.deepcopy(config)
    asked["hardware"]["device"] = "cuda"
    asked["alignment"]["grpo"]["reward"]["judge"] |= {"url": "http://x/v1", "model": "m"}
    elsewhere = {work.name: work for work in other_trainings(asked, ROOT, ASSUMPTIONS)}["alignment_grpo"]
    assert elsewhere.gpu_hours.low < toy["alignment_grpo"].gpu_hours.low


def test_rows_of_own_files_for_judges_are_not_those_of_the_toys() -> None:
    own = {"experiment": "not_run", "judges": {"data": {"source": "files", "pointwise": "none.jsonl"}}}
    config = load_experiment(ROOT, [ROOT / "config/judges.yaml"], changes=own)
    works = {work.name: work for work in other_trainings(config, ROOT, ASSUMPTIONS)}
    rows, source = works["judge_pointwise"].rows, works["judge_pointwise"].source
    assert (rows, source) == (
        None,
        "not known before they are prepared (prepared/judge_pointwise_train.parquet)",
    )
    assert works["judge_pointwise"].steps == config["judges"]["pointwise"]["steps"]
    assert works["alignment_grpo"].rows == config["alignment"]["data"]["toy"]["train"]


def test_the_command_forecasts_what_a_target_needs(capsys: pytest.CaptureFixture[str]) -> None:
    config = str(ROOT / "config/judges.yaml")
    cli.main(["forecast", "--config", config, "--workflow", str(ROOT), "--target", "alignment_grpo"])
    said = capsys.readouterr().out
    assert "alignment_judge" in said and "pairwise_dgr" in said
    assert "mt_grpo" not in said and "judge_pointwise" not in said
    cli.main(["forecast", "--config", config, "--workflow", str(ROOT)])
    said = capsys.readouterr().out
    assert "mt_grpo" in said and "judge_pointwise" in said and "alignment_policy" in said
    with pytest.raises(UserError, match="--target nothing"):
        cli.main(["forecast", "--config", config, "--workflow", str(ROOT), "--target", "nothing"])
