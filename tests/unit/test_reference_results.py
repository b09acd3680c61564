"""The published tables: transcribed without slips, and each cell finds its score or says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from grrm.config import load_experiment
from grrm.files import UserError
from grrm.report.reference import Cell, cells, find_score, incomparable, load_reference, means

ROOT = Path(__file__).parents[2]
FILE = ROOT / "config/reference_results.yaml"
SCHEMA = ROOT / "config/schemas/reference_results.schema.yaml"


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return load_reference(FILE, SCHEMA)


@pytest.fixture(scope="module")
def published(reference: dict[str, Any]) -> dict[tuple[str, str, str, str], Cell]:
    return {(cell.table, cell.row, cell.column, cell.metric): cell for cell in cells(reference)}


def test_every_cell_of_both_tables_is_there(published: dict[tuple[str, str, str, str], Cell]) -> None:
    assert sum(table == "ranking_accuracy" for table, *_ in published) == 6 * 8
    assert sum(table == "translation" for table, *_ in published) == 9 * 5 * 2
    dashes = {(row, column) for (_, row, column, _), cell in published.items() if cell.value is None}
    assert dashes == {("ssr_x_zero_7b", "wmt24pp_en_x")}
    best = max(
        (cell for (_, _, column, _), cell in published.items() if column == "seedx_ranking"),
        key=lambda cell: cell.value or 0,
    )
    assert (best.row, best.value) == ("r1_gqm", 81.82)


def test_printed_averages_are_the_means_of_the_printed_values(
    published: dict[tuple[str, str, str, str], Cell],
) -> None:
    averages = [cell for cell in published.values() if cell.column == "ranking_average"]
    assert len(averages) == 6
    for average in averages:
        values = [
            published["ranking_accuracy", average.row, column, "ranking_accuracy"].value
            for column in average.test_sets
        ]
        # Half a unit of the last printed digit, on both sides.
        assert average.value == pytest.approx(sum(v for v in values if v) / 6, abs=0.011), average.row


def test_columns_are_test_sets_of_the_experiment(published: dict[tuple[str, str, str, str], Cell]) -> None:
    config = load_experiment(ROOT, [ROOT / "config/paper.yaml"])
    assert {name for cell in published.values() for name in cell.test_sets} <= set(
        config["data"]["test_sets"]
    )


@pytest.mark.parametrize(
    ("overlays", "row", "reason"),
    [
        (["paper.yaml"], "grrm_rlvr", None),
        (["paper.yaml", "paper_released.yaml"], "grrm_rlvr", None),
        (["paper.yaml", "small.yaml"], "grrm_rlvr", "grrm_sft.start_from is 'Qwen/Qwen2.5-1.5B'"),
        ([], "grrm_rlvr", "data.source is 'toy', published is 'hub'; grrm_sft.start_from is None"),
        ([], "grrm_rlvr", "; and 6 more"),
        (["paper.yaml"], "bt_rm", "neither recipe nor checkpoint"),
    ],
)
def test_a_cell_says_whether_ours_can_be_compared(
    published: dict[tuple[str, str, str, str], Cell], overlays: list[str], row: str, reason: str | None
) -> None:
    config = load_experiment(ROOT, [ROOT / "config" / name for name in overlays])
    found = incomparable(published["ranking_accuracy", row, "seedx_ranking", "ranking_accuracy"], config)
    assert found is None if reason is None else reason in str(found)


def test_with_and_without_augmentation_are_two_rows(
    published: dict[tuple[str, str, str, str], Cell],
) -> None:
    settings = {"evaluate": {"bleurt": {"start_from": "lucadiliello/BLEURT-20"}}}
    for overlays, same, other in (
        (["paper.yaml"], "mt_grpo", "mt_grpo_cla"),
        (["paper.yaml", "paper_cla.yaml"], "mt_grpo_cla", "mt_grpo"),
    ):
        config = load_experiment(ROOT, [ROOT / "config" / name for name in overlays])
        config["evaluate"] |= settings["evaluate"]
        assert incomparable(published["translation", same, "seedx_en_zh", "bleurt"], config) is None
        assert "cross_lingual_augmentation" in str(
            incomparable(published["translation", other, "seedx_en_zh", "bleurt"], config)
        )


ROWS = {
    "grrm_sft": ("held_out_after_sft", "held_out", "ranking_accuracy"),
    "grrm_rlvr": ("ranking_accuracy", "held_out", "ranking_accuracy"),
    "mt_sft": ("translation", "seedx_en_zh", "bleurt"),
    "mt_grpo": ("translation", "seedx_en_zh", "bleurt"),
    "mt_grpo_cla": ("translation", "seedx_en_zh", "bleurt"),
}


@pytest.mark.parametrize(
    ("overlays", "comparable"),
    [
        (["paper.yaml"], {"grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo"}),
        (["paper.yaml", "paper_cla.yaml"], {"grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo_cla"}),
        (["paper.yaml", "paper_released.yaml"], {"grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo"}),
        (["paper.yaml", "small.yaml"], set()),
        (["paper.yaml", "small.yaml", "one_gpu.yaml"], set()),
        ([], set()),
    ],
)
def test_the_papers_own_configurations_can_be_compared(
    published: dict[tuple[str, str, str, str], Cell], overlays: list[str], comparable: set[str]
) -> None:
    config = load_experiment(ROOT, [ROOT / "config" / name for name in overlays])
    found = {
        row
        for row, (table, column, metric) in ROWS.items()
        if incomparable(published[table, row, column, metric], config) is None
    }
    assert found == comparable


JUDGE_SFT: list[tuple[str, Any]] = [
    ("data.source", "sample"),
    ("grrm_sft.start_from", "Qwen/Qwen2.5-1.5B"),
    ("grrm_sft.max_steps", 10),
    ("grrm_sft.epochs", 1),
    ("grrm_sft.learning_rate", 1.0e-5),
    ("grrm_rlvr.start_from", "models/another"),
    ("evaluate.start_from.grrm_sft", "models/another"),
]
JUDGE: list[tuple[str, Any]] = [
    *JUDGE_SFT,
    ("grrm_rlvr.steps", 10),
    ("grrm_rlvr.epochs", 2),
    ("grrm_rlvr.train_batch_size", 256),
    ("grrm_rlvr.learning_rate", 1.0e-6),
    ("evaluate.start_from.grrm_rlvr", "models/another"),
]
MT_SFT: list[tuple[str, Any]] = [
    ("data.source", "sample"),
    ("mt_sft.start_from", "Qwen/Qwen2.5-1.5B"),
    ("mt_sft.max_steps", 10),
    ("mt_sft.epochs", 2),
    ("mt_sft.learning_rate", 6.0e-6),
    ("mt_grpo.start_from", "models/another"),
    ("evaluate.start_from.mt_sft", "models/another"),
]
MT_GRPO: list[tuple[str, Any]] = [
    *JUDGE,
    *MT_SFT,
    ("mt_grpo.reward.kind", "chrf"),
    ("mt_grpo.reward.model", "models/another"),
    ("mt_grpo.reward.judge.model", "served elsewhere"),
    ("mt_grpo.steps", 10),
    ("mt_grpo.epochs", 3),
    ("mt_grpo.train_batch_size", 256),
    ("mt_grpo.learning_rate", 1.0e-6),
    ("evaluate.start_from.mt_grpo", "models/another"),
]


@pytest.mark.parametrize(
    ("row", "key", "value"),
    [
        (row, key, value)
        for row, changes in {
            "grrm_sft": JUDGE_SFT,
            "grrm_rlvr": JUDGE,
            "mt_sft": MT_SFT,
            "mt_grpo": [*MT_GRPO, ("mt_grpo.cross_lingual_augmentation", True)],
            "mt_grpo_cla": [*MT_GRPO, ("mt_grpo.cross_lingual_augmentation", False)],
        }.items()
        for key, value in changes
    ],
)
def test_a_model_that_was_made_otherwise_is_not_the_papers(
    published: dict[tuple[str, str, str, str], Cell], row: str, key: str, value: Any
) -> None:
    overlays = ["paper.yaml", *(["paper_cla.yaml"] if row == "mt_grpo_cla" else [])]
    config = load_experiment(ROOT, [ROOT / "config" / name for name in overlays])
    *path, last = key.split(".")
    section = config
    for part in path:
        section = section[part]
    section[last] = value
    table, column, metric = ROWS[row]
    assert f"{key} is {value!r}" in str(incomparable(published[table, row, column, metric], config))


def test_an_average_needs_all_its_sets(
    reference: dict[str, Any], published: dict[tuple[str, str, str, str], Cell]
) -> None:
    sets = list(published["ranking_accuracy", "bt_rm", "ranking_average", "ranking_accuracy"].test_sets)
    assert means(reference, "ranking", [*sets, "held_out"]) == {"ranking_average": sets}
    assert means(reference, "ranking", sets[1:]) == {}
    assert means(reference, "translation", sets) == {}


def test_our_score_stands_under_system_set_and_metric(
    published: dict[tuple[str, str, str, str], Cell],
) -> None:
    cell = published["ranking_accuracy", "grrm_rlvr", "held_out", "ranking_accuracy"]
    score = {"value": 0.8258}
    system = {"name": "grrm_rlvr", "by_set": {"held_out": {"metrics": {"ranking_accuracy": score}}}}
    assert find_score(cell, {"systems": [{"name": "grrm_sft", "by_set": {}}, system]}) == score
    assert score["value"] * cell.factor == pytest.approx(cell.value)
    assert find_score(cell, {"systems": [{"name": "grrm_rlvr", "by_set": {}}]}) is None


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("tables", "translation", "source"), "blog", "'blog', expected one of"),
        (("tables", "ranking_accuracy", "rows", "bt_rm", "values"), {"ranking_accuracy": [1.0]}, "bt_rm"),
        (("tables", "ranking_accuracy", "rows", "bt_rm", "ours"), "grrm_sft", "bt_rm.*when"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, path: tuple[str, ...], value: Any, message: str) -> None:
    document = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    entry = document
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    wrong = tmp_path / "reference.yaml"
    wrong.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_reference(wrong, SCHEMA)
