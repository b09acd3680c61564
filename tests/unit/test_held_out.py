"""Rows that are held out of a user's own tables: a share, by the seed, with all that is near them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from grrm.data import held_out
from grrm.data.held_out import hold_out
from grrm.data.leakage import check
from grrm.files import UserError
from grrm.schemas import write_table

WORDS = [f"word{number}" for number in range(400)]
LANGUAGES = {"src_lang": "de", "trg_lang": "hsb"}


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(12))


def pairs(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [{"src_text": sentence(rng), "trg_text": sentence(rng), **LANGUAGES} for _ in range(count)]


def near(row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """The same with another last word, and another translation."""
    words = row["src_text"].split()
    return {**row, "src_text": " ".join([*words[:-1], rng.choice(WORDS)]), "trg_text": sentence(rng)}


def group(row: dict[str, Any]) -> dict[str, Any]:
    candidates = [row["trg_text"], row["trg_text"] + " more"]
    return {
        "src_text": row["src_text"],
        **LANGUAGES,
        "mt_texts": candidates,
        "scores": [9, 3],
        "analysis": "A is right.",
    }


def reasoned(row: dict[str, Any]) -> dict[str, Any]:
    response = f"Think.\n\n```\n{row['trg_text']}\n```"
    return {"src_text": row["src_text"], **LANGUAGES, "response": response}


def written(folder: Path, **tables: list[dict[str, Any]]) -> dict[str, Path]:
    for name, rows in tables.items():
        write_table(folder / f"{name}.parquet", rows, name)
    return {name: folder / f"{name}.parquet" for name in tables}


def texts(table: Any) -> list[str]:
    return list(table["src_text"].to_pylist())


def test_a_share_of_the_sources_is_tested_on_and_trained_on_nowhere(tmp_path: Path) -> None:
    rows = pairs(100)
    paths = written(tmp_path, mt_sft=[reasoned(row) for row in rows], mt_grpo=rows)
    made = hold_out(paths, ["translation"], 0.1, seed=1)
    tested = made["translation_test"]
    assert tested.num_rows == 10
    assert (
        set(texts(made["mt_sft"]))
        == set(texts(made["mt_grpo"]))
        == {r["src_text"] for r in rows} - {*texts(tested)}
    )
    expected = {row["src_text"]: row["trg_text"] for row in rows}
    assert dict(zip(texts(tested), tested["trg_text"].to_pylist(), strict=True)).items() <= expected.items()


def test_the_seed_decides_and_the_same_seed_gives_the_same(tmp_path: Path) -> None:
    paths = written(tmp_path, mt_grpo=pairs(60))
    first, again, other = (
        texts(hold_out(paths, ["translation"], 0.2, seed=seed)["translation_test"]) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_near_duplicates_stay_together_so_the_gate_finds_nothing(tmp_path: Path) -> None:
    rng = random.Random(5)
    rows = pairs(40)
    rows += [near(row, rng) for row in rows[:30]] + [near(row, rng) for row in rows[:10]]
    # The same translation of different sources is known from training as well.
    rows += [{**row, "trg_text": rows[0]["trg_text"]} for row in pairs(4, seed=9)]
    for seed in range(5):
        paths = written(tmp_path, mt_grpo=rows)
        made = hold_out(paths, ["translation"], 0.25, seed)
        assert {*texts(made["mt_grpo"]), *texts(made["translation_test"])} == {r["src_text"] for r in rows}
        for name, table in made.items():
            write_table(tmp_path / f"{name}.parquet", table, name)
        found = check(
            {"mt_grpo": tmp_path / "mt_grpo.parquet"}, {"test": tmp_path / "translation_test.parquet"}
        )
        assert found["tests"][0]["leaked"] == 0
        assert 0 < found["tests"][0]["rows"] <= 0.25 * len(rows)


def test_what_is_ranked_and_what_is_translated_are_held_out_of_all_tables(tmp_path: Path) -> None:
    rows = pairs(80)
    ranked = [group(row) for row in rows[:40]]
    paths = written(tmp_path, grrm_sft=ranked, grrm_rlvr=ranked, mt_grpo=rows)
    made = hold_out(paths, ["ranking", "translation"], 0.2, seed=3)
    held = {*texts(made["ranking_test"]), *texts(made["translation_test"])}
    for stage in paths:
        assert held.isdisjoint(texts(made[stage]))
    assert set(texts(made["ranking_test"])) <= set(texts(made["translation_test"]))
    assert made["ranking_test"].column_names == ["src_text", "src_lang", "trg_lang", "mt_texts", "scores"]
    assert made["ranking_test"]["scores"].to_pylist()[0] == [9.0, 3.0]


@pytest.mark.parametrize("seed", [0, 1])
def test_of_large_tables_a_part_is_compared_and_nothing_near_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(held_out, "_COMPARED", 100)
    rng = random.Random(seed)
    alone = pairs(300, seed)
    rows = [row for one in alone[:100] for row in (one, near(one, rng))] + alone[100:]
    paths = written(tmp_path, mt_sft=[reasoned(row) for row in rows], mt_grpo=rows)
    made = hold_out(paths, ["translation"], 0.05, seed)
    again = hold_out(paths, ["translation"], 0.05, seed)
    assert all(made[name].equals(again[name]) for name in made)
    for name, table in made.items():
        write_table(tmp_path / f"{name}.parquet", table, name)
    trained = {name: tmp_path / f"{name}.parquet" for name in paths}
    (found,) = check(trained, {"test": tmp_path / "translation_test.parquet"})["tests"]
    assert found["leaked"] == 0
    assert 15 <= found["rows"] <= 20
    assert made["mt_grpo"].num_rows == len(rows) - found["rows"]


def test_for_a_task_with_a_test_set_nothing_is_held_out(tmp_path: Path) -> None:
    rows = pairs(50)
    paths = written(tmp_path, grrm_rlvr=[group(row) for row in rows[:25]], mt_grpo=rows[25:])
    made = hold_out(paths, ["ranking"], 0.2, seed=3)
    assert sorted(made) == ["grrm_rlvr", "mt_grpo", "ranking_test"]
    assert made["mt_grpo"].num_rows == 25


def test_reasoned_translations_alone_are_tested_by_their_last_block(tmp_path: Path) -> None:
    rows = pairs(20)
    paths = written(tmp_path, mt_sft=[reasoned(row) for row in rows])
    tested = hold_out(paths, ["translation"], 0.1, seed=0)["translation_test"]
    assert {(r["src_text"], r["trg_text"]) for r in tested.to_pylist()} <= {
        (row["src_text"], row["trg_text"]) for row in rows
    }


@pytest.mark.parametrize(
    ("rows", "share", "says"),
    [
        (pairs(1), 0.1, "nothing of mt_grpo is left to train on"),
        (pairs(1) * 50, 0.1, "of 50 rows (mt_grpo) none can be held out at a share of 0.1"),
    ],
)
def test_too_little_to_hold_anything_out_is_one_line(
    tmp_path: Path, rows: list[dict[str, Any]], share: float, says: str
) -> None:
    with pytest.raises(UserError) as error:
        hold_out(written(tmp_path, mt_grpo=rows), ["translation"], share, 0)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_ranking_test_keeps_the_reference_that_a_prompt_may_show(tmp_path: Path) -> None:
    rows = [{**group(row), "trg_text": row["trg_text"]} for row in pairs(40)]
    made = hold_out(written(tmp_path, grrm_sft=rows), ["ranking"], 0.1, seed=1)
    expected = {row["src_text"]: row["trg_text"] for row in rows}
    tested = made["ranking_test"].to_pylist()
    assert tested and all(row["trg_text"] == expected[row["src_text"]] for row in tested)
    assert "analysis" not in tested[0]


def test_a_reference_beside_reasoning_is_the_reference(tmp_path: Path) -> None:
    rows = pairs(40)
    further = [{**reasoned(row), "trg_text": f"{row['trg_text']}!"} for row in rows]
    made = hold_out(written(tmp_path, mt_sft=further), ["translation"], 0.1, seed=1)
    expected = {row["src_text"]: f"{row['trg_text']}!" for row in rows}
    tested = made["translation_test"].to_pylist()
    assert tested and all(row["trg_text"] == expected[row["src_text"]] for row in tested)


def test_a_further_column_of_two_types_is_named(tmp_path: Path) -> None:
    rows = pairs(40)
    paths = written(
        tmp_path,
        mt_sft=[{**reasoned(row), "number": 1} for row in rows],
        mt_grpo=[{**row, "number": "1"} for row in rows],
    )
    with pytest.raises(UserError, match=r"mt_grpo and mt_sft: a further column is of another type .*number"):
        hold_out(paths, ["translation"], 0.1, seed=1)
