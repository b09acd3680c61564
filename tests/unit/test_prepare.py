"""Preparation of the stages' data: what models see and are to answer, and how groups are augmented."""

import json
import math
from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import prepare_grrm_rlvr
import prepare_grrm_sft
import prepare_mt_grpo
import prepare_mt_sft
from grrm import schemas
from grrm.data import columns, rl_rows
from grrm.data.augment import TOWER_LANGUAGES, other_languages, plan_ranking_rows
from grrm.data.columns import TextFile, group_fences, ranking_prompts, translation_prompts
from grrm.data.sft_rows import is_verdict, prepared_rows, strip_mention, strip_verdict
from grrm.data.toy_world import make_tables
from grrm.extract import code_block
from grrm.files import UserError, read_jsonl
from grrm.languages import language_name
from grrm.prompts import (
    RankingPrompt,
    TranslationPrompt,
    load_ranking_prompt,
    load_translation_prompt,
    ranking_answer,
)
from grrm.ranking import RankingAnswer, parse_answer
from grrm.schemas import write_table

ROWS = dict.fromkeys(("grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo", "ranking_test", "translation_test"), 60)
TABLES = make_tables(3, ROWS)
PROMPTS = {"grrm": "config/prompts/toy_ranking.yaml", "mt": "config/prompts/toy_translation.yaml"}


@pytest.fixture
def folder(tmp_path, monkeypatch, pytestconfig):
    """A folder with the six tables; the working folder is the root of the repository."""
    monkeypatch.chdir(pytestconfig.rootpath)
    for name, rows in TABLES.items():
        write_table(tmp_path / f"{name}.parquet", rows, name)
    return tmp_path


def run(script, stage, folder, *flags, output="rows", prompt=None):
    task = prompt or ("grrm" if stage.startswith("grrm") else "mt")
    path = folder / output
    files = ["--input", str(folder / f"{stage}.parquet"), "--output", str(path)]
    script.main([*files, "--prompt", PROMPTS[task], *flags])
    return path


def prepared(script, stage, folder, *flags, prompt=None):
    path = run(script, stage, folder, *flags, prompt=prompt)
    return read_jsonl(path) if stage.endswith("_sft") else pq.read_table(path).to_pylist()


# Columns with names of their own


@pytest.mark.parametrize(
    ("script", "stage", "options"),
    [
        (prepare_grrm_sft, "grrm_sft", {"--mt-key": "mt_texts", "--score-key": "scores"}),
        (prepare_grrm_sft, "grrm_sft", {"--analysis-key": "analysis"}),
        (prepare_grrm_rlvr, "grrm_rlvr", {"--mt-key": "mt_texts", "--score-key": "scores"}),
        (prepare_mt_sft, "mt_sft", {"--response-key": "response"}),
    ],
)
def test_columns_may_have_other_names(folder, script, stage, options):
    expected = prepared(script, stage, folder)
    table = pq.read_table(folder / f"{stage}.parquet")
    renamed = {column: f"my_{column}" for column in options.values()}
    names = [renamed.get(name, name) for name in table.column_names]
    other = table.rename_columns(names)
    # What bears the published name is not what is meant.
    for column in options.values():
        other = other.append_column(column, pa.nulls(len(other)))
    pq.write_table(other, folder / f"{stage}.parquet")
    flags = [part for option, column in options.items() for part in (option, f"my_{column}")]
    assert prepared(script, stage, folder, *flags) == expected


def test_a_column_that_is_not_there_is_named(folder):
    with pytest.raises(UserError, match=r"grrm_sft\.parquet: no column quality; found src_text, "):
        run(prepare_grrm_sft, "grrm_sft", folder, "--score-key", "quality")


# Supervised rows


def test_grrm_sft_row_asks_for_a_ranking_and_answers_in_the_form_of_the_paper(folder):
    table = [
        {
            "src_text": "s",
            "trg_text": "t",
            "src_lang": "xx",
            "trg_lang": "yy",
            "mt_texts": ["one", "two", "three"],
            "analysis": "B is best.",
            "scores": [5, 9, 5],
        }
    ]
    write_table(folder / "grrm_sft.parquet", table, "grrm_sft")
    assert prepared(prepare_grrm_sft, "grrm_sft", folder) == [
        {
            "messages": [
                {"role": "user", "content": "Rank translations from xx to yy: s\nA: one\nB: two\nC: three"},
                {
                    "role": "assistant",
                    "content": "B is best.\n\n### Final Ranking:\n\nB > A = C\n\n"
                    "### Scores:\n\nB: 9, A: 5, C: 5\n",
                },
            ]
        }
    ]


def test_every_grrm_sft_answer_can_be_read_back(folder):
    rows = prepared(prepare_grrm_sft, "grrm_sft", folder)
    assert len(rows) == 60
    for row, source in zip(rows, TABLES["grrm_sft"], strict=True):
        answer = parse_answer(row["messages"][1]["content"], len(source["scores"]))
        assert isinstance(answer, RankingAnswer)
        assert list(answer.scores.values()) == source["scores"]
        assert answer.analysis == source["analysis"]


def test_mt_sft_answer_is_the_response_of_the_table(folder):
    rows = prepared(prepare_mt_sft, "mt_sft", folder)
    for row, source in zip(rows, TABLES["mt_sft"], strict=True):
        user, assistant = row["messages"]
        assert user == {"role": "user", "content": f"Translate from xx to yy: {source['src_text']}"}
        assert assistant == {"role": "assistant", "content": source["response"]}
        assert code_block(assistant["content"])


def test_mt_sft_response_without_a_code_block_is_an_error_that_names_the_row(folder):
    bad = {**TABLES["mt_sft"][0], "response": "just a translation"}
    write_table(folder / "mt_sft.parquet", [TABLES["mt_sft"][1], bad], "mt_sft")
    with pytest.raises(UserError, match=r"mt_sft\.parquet.*row 1.*just a translation.*code block"):
        run(prepare_mt_sft, "mt_sft", folder)
    assert not (folder / "rows").exists()


def test_mt_sft_responses_without_a_code_block_can_be_dropped(folder, capsys):
    bad = {**TABLES["mt_sft"][0], "response": "just a translation"}
    write_table(folder / "mt_sft.parquet", [TABLES["mt_sft"][1], bad], "mt_sft")
    rows = prepared(prepare_mt_sft, "mt_sft", folder, "--bad-rows", "drop")
    assert [row["messages"][1]["content"] for row in rows] == [TABLES["mt_sft"][1]["response"]]
    assert "1 of 2 rows dropped" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        "B > A = C",
        "Ranking: B > A",
        "### Final Ranking:",
        "**Final Ranking:** A = B",
        "Scores: A: 8, B: 9",
        "A: 8, B: 9.5, C: 10",
        "A: 8/10; B: 7/10",
        "score: A: 8",
        "Overall ranking: C>B>A.",
    ],
)
def test_ranking_and_score_lines_are_verdicts(line):
    assert is_verdict(line)
    assert strip_verdict(f"A is good.\n\n{line}\n") == "A is good."


@pytest.mark.parametrize(
    "line",
    [
        "Scores of the match are translated correctly only by B.",
        "The ranking of the teams is lost in A.",
        "In short, B > A because of the idiom.",
        "A: literal rendering of the score",
        "Ranking B above A is justified by the tone.",
        "x > y",
        "A",
        "",
    ],
)
def test_prose_about_scores_and_rankings_stays(line):
    assert not is_verdict(line)
    assert strip_verdict(f"A is good.\n{line}").endswith(line)


def test_only_the_last_line_is_taken_off():
    assert strip_verdict("A > B\nso it is\nA > B\nA: 9, B: 8") == "A > B\nso it is\nA > B"


def test_an_analysis_is_never_left_empty():
    assert strip_verdict("A > B") == "A > B"


@given(st.text())
def test_stripping_only_shortens(text):
    assert text.startswith(strip_verdict(text))


# Augmentation


def expected_rows(size, subgroups, shuffles):
    """Number of rows of one group, as an interval: what is drawn decides which subsets are small."""
    proper = 2**size - size - 2 if size > 2 else 0
    whole = 1 + min(shuffles, math.factorial(size) - 1)
    smallest, largest = (1 + min(shuffles, math.factorial(k) - 1) for k in (2, max(2, size - 1)))
    added = min(subgroups, proper)
    return whole + added * smallest, whole + added * largest


def orders_of(plan):
    return [(int(plan.groups[row]), plan.order(row)) for row in range(len(plan))]


@given(st.integers(2, 8), st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**32))
def test_augmented_orders_of_a_group(size, subgroups, shuffles, seed):
    orders = [order for _, order in orders_of(plan_ranking_rows([size], seed, subgroups, shuffles))]
    assert len(set(orders)) == len(orders), "no order twice"
    assert all(2 <= len(order) <= size and len(set(order)) == len(order) for order in orders)
    assert all(0 <= index < size for order in orders for index in order)
    per_subset = Counter(tuple(sorted(order)) for order in orders)
    assert all(subset in orders for subset in per_subset), "each subset also in its own order"
    assert per_subset[tuple(range(size))] == 1 + min(shuffles, math.factorial(size) - 1)
    assert len(per_subset) == 1 + (min(subgroups, 2**size - size - 2) if size > 2 else 0)
    for subset, count in per_subset.items():
        assert count == 1 + min(shuffles, math.factorial(len(subset)) - 1)
    low, high = expected_rows(size, subgroups, shuffles)
    assert low <= len(orders) <= high


@pytest.mark.parametrize(("size", "rows"), [(2, 2.0), (3, 11.0), (4, 17.8)])
def test_four_and_four_give_the_published_number_of_rows(size, rows):
    groups = 20_000
    assert len(plan_ranking_rows([size] * groups, 0, 4, 4)) / groups == pytest.approx(rows, abs=0.05)


def test_no_augmentation_gives_one_row_for_each_group():
    assert orders_of(plan_ranking_rows([3, 2, 4], 0, 0, 0)) == [
        (0, (0, 1, 2)),
        (1, (0, 1)),
        (2, (0, 1, 2, 3)),
    ]


def test_large_groups_are_augmented_without_listing_all_subsets():
    assert len(plan_ranking_rows([26], 0, 4, 4)) == 25


def test_subsets_and_orders_are_drawn_evenly():
    drawn = Counter(order for _, order in orders_of(plan_ranking_rows([4] * 5000, 0, 1, 0)) if len(order) < 4)
    assert len(drawn) == 10
    assert all(400 < count < 600 for count in drawn.values())
    others = Counter(order for _, order in orders_of(plan_ranking_rows([3] * 5000, 0, 0, 2)))
    assert others.pop((0, 1, 2)) == 5000
    assert len(others) == 5
    assert all(1850 < count < 2150 for count in others.values())


@given(st.integers(0, 2**32))
def test_plan_depends_on_the_seed_alone(seed):
    sizes = [2, 3, 4] * 10
    plan = orders_of(plan_ranking_rows(sizes, seed, 2, 2))
    assert plan == orders_of(plan_ranking_rows(sizes, seed, 2, 2))
    assert plan != orders_of(plan_ranking_rows(sizes, seed + 1, 2, 2))


def test_what_is_drawn_for_a_group_does_not_depend_on_the_others():
    whole = orders_of(plan_ranking_rows([3, 4, 8, 2, 4], 0, 3, 3))
    other = orders_of(plan_ranking_rows([5, 4, 8], 0, 3, 3))
    for group in (1, 2):
        assert [row for row in whole if row[0] == group] == [row for row in other if row[0] == group]


# Columns

TEXTS = st.text(alphabet="ab `{}\n语", min_size=1, max_size=12)
LANGUAGES = st.sampled_from(["en", "zh_CN", "deu"])
GROUPS = st.lists(
    st.fixed_dictionaries(
        {
            "src_text": TEXTS,
            "src_lang": LANGUAGES,
            "trg_lang": LANGUAGES,
            "mt_texts": st.lists(TEXTS, min_size=2, max_size=5),
        }
    ),
    min_size=1,
    max_size=4,
)
TEMPLATES = st.sampled_from(
    [
        RankingPrompt("{fence}{source_language}{target_language}: {source}\n{candidates}", "{label}: {text}"),
        RankingPrompt("{candidates}{source} {labels} {count}{fence}", "{fence}{text}{fence} {label}{label}"),
        RankingPrompt(
            "{source}{candidates}{source_language}{target_language} {not a placeholder}", "{text}{label}"
        ),
        load_ranking_prompt("config/prompts/ranking.yaml"),
    ]
)


def stored(texts, folder):
    file = TextFile(folder)
    for start in range(0, len(texts), 2):
        # A slice: what stands before it in its buffers is not its own.
        file.add(pa.array(["before", *texts[start : start + 2]]).slice(1))
    file.close()
    return file


@given(GROUPS, TEMPLATES)
def test_prompts_of_a_column_are_those_of_its_rows(tmp_path_factory, groups, prompt):
    folder = tmp_path_factory.getbasetemp()
    sources = stored([group["src_text"] for group in groups], folder)
    candidates = stored([text for group in groups for text in group["mt_texts"]], folder)
    sizes = np.array([len(group["mt_texts"]) for group in groups])
    codes = {name: pa.array([group[name] for group in groups]) for name in ("src_lang", "trg_lang")}
    rendered = ranking_prompts(
        prompt,
        src_texts=sources.take(np.arange(len(groups))),
        src_langs=codes["src_lang"],
        trg_langs=codes["trg_lang"],
        mt_texts=candidates.take(np.arange(sizes.sum())),
        sizes=sizes,
        fences=group_fences(sources.fences, candidates.fences, sizes),
    )
    assert rendered.to_pylist() == [prompt.render(**group) for group in groups]


@given(GROUPS, st.sampled_from(["{source}", "{fence}{source}{fence} {source_language} {target_language}"]))
def test_translation_prompts_of_a_column_are_those_of_its_rows(tmp_path_factory, groups, template):
    prompt = TranslationPrompt(template)
    sources = stored([group["src_text"] for group in groups], tmp_path_factory.getbasetemp())
    order = np.arange(len(groups))[::-1]
    rendered = translation_prompts(
        prompt,
        src_texts=sources.take(order),
        src_langs=pa.array([groups[row]["src_lang"] for row in order]),
        trg_langs=pa.array([groups[row]["trg_lang"] for row in order]),
        fences=sources.fences[order],
    )
    wanted = [{name: groups[row][name] for name in ("src_text", "src_lang", "trg_lang")} for row in order]
    assert rendered.to_pylist() == [prompt.render(**row) for row in wanted]


def test_texts_on_disk_are_taken_by_number(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "_RESIDENT_BYTES", 0)
    texts = stored(["one", "zwei", "三", "`````", "four"], tmp_path)
    for _ in range(2):
        assert texts.take(np.array([4, 0, 0, 2])).to_pylist() == ["four", "one", "one", "三"]
    assert texts.fences.tolist() == [3, 3, 3, 6, 3]
    assert list(tmp_path.iterdir()) == [], "the file has no name"


# Ranking rows


def test_ranking_rows_keep_text_score_and_label_together(folder):
    rows = prepared(
        prepare_grrm_rlvr, "grrm_rlvr", folder, "--subgroup-augment", "2", "--shuffle-augment", "2"
    )
    for row in rows:
        info = row["extra_info"]
        source = TABLES["grrm_rlvr"][info["group"]]
        assert info["src_text"] == source["src_text"]
        assert info["mt_texts"] == [source["mt_texts"][i] for i in info["shuffle_indices"]]
        truth = json.loads(row["reward_model"]["ground_truth"])
        assert list(truth) == ["A", "B", "C", "D"][: len(truth)]
        assert list(truth.values()) == [source["scores"][i] for i in info["shuffle_indices"]]
        (message,) = row["prompt"]
        lines = [f"{label}: {text}" for label, text in zip(truth, info["mt_texts"], strict=True)]
        assert message["content"].split("\n")[1:] == lines
    assert {row["extra_info"]["group"] for row in rows} == set(range(60))


def test_ranking_rows_have_the_layout_of_verl(folder):
    rows = prepared(
        prepare_grrm_rlvr, "grrm_rlvr", folder, "--data-source", "toy.ranking_score", "--split", "test"
    )
    for number, row in enumerate(rows):
        assert set(row) == {"data_source", "prompt", "ability", "reward_model", "extra_info"}
        assert row["data_source"] == "toy.ranking_score"
        assert row["ability"] == "ranking"
        assert row["reward_model"]["style"] == "rule"
        assert row["prompt"][0]["role"] == "user"
        assert (row["extra_info"]["index"], row["extra_info"]["split"]) == (number, "test")


def test_rows_are_shuffled(folder):
    for script, stage in ((prepare_grrm_rlvr, "grrm_rlvr"), (prepare_mt_grpo, "mt_grpo")):
        order = [row["extra_info"]["src_text"] for row in prepared(script, stage, folder)]
        table = [row["src_text"] for row in TABLES[stage]]
        assert sorted(order) == sorted(table)
        assert order != table


@pytest.mark.parametrize(
    ("script", "stage"),
    [
        (prepare_grrm_sft, "grrm_sft"),
        (prepare_grrm_rlvr, "grrm_rlvr"),
        (prepare_mt_sft, "mt_sft"),
        (prepare_mt_grpo, "mt_grpo"),
    ],
)
def test_same_input_same_bytes(script, stage, folder):
    first, second = (run(script, stage, folder, output=name) for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("script", "stage"), [(prepare_grrm_rlvr, "grrm_rlvr"), (prepare_mt_grpo, "mt_grpo")]
)
def test_other_seed_other_order(script, stage, folder):
    first = prepared(script, stage, folder, "--seed", "1")
    second = prepared(script, stage, folder, "--seed", "2")
    assert [row["extra_info"]["src_text"] for row in first] != [
        row["extra_info"]["src_text"] for row in second
    ]


def test_many_batches_are_one_table(folder, monkeypatch):
    flags = ("--subgroup-augment", "2", "--shuffle-augment", "2")
    whole = prepared(prepare_grrm_rlvr, "grrm_rlvr", folder, *flags)
    monkeypatch.setattr(rl_rows, "BATCH_ROWS", 7)
    monkeypatch.setattr(schemas, "BATCH_ROWS", 11)
    assert prepared(prepare_grrm_rlvr, "grrm_rlvr", folder, *flags) == whole
    assert [row["extra_info"]["index"] for row in whole] == list(range(len(whole)))


def test_held_out_groups_become_rows_too(folder):
    flags = ("--table", "ranking_test", "--split", "test")
    rows = prepared(prepare_grrm_rlvr, "ranking_test", folder, *flags, prompt="grrm")
    assert len(rows) == 60
    for row in rows:
        scores = TABLES["ranking_test"][row["extra_info"]["group"]]["scores"]
        assert list(json.loads(row["reward_model"]["ground_truth"]).values()) == scores


def test_scores_on_another_scale_have_no_verified_reward(folder):
    table = [{**TABLES["ranking_test"][0], "scores": [-1.5] * len(TABLES["ranking_test"][0]["scores"])}]
    write_table(folder / "ranking_test.parquet", table, "ranking_test")
    with pytest.raises(
        UserError, match=r"ranking_test\.parquet, row 0 .*score -1\.5: .* integers from 0 to 10"
    ):
        run(prepare_grrm_rlvr, "ranking_test", folder, "--table", "ranking_test", prompt="grrm")


@pytest.mark.parametrize("score", [0.5, 10.5, float("nan"), 11])
def test_the_row_of_a_score_that_cannot_be_verified_is_named(folder, score):
    table = [dict(row) for row in TABLES["ranking_test"][:5]]
    table[3]["scores"] = [*table[3]["scores"][:-1], score]
    pq.write_table(pa.Table.from_pylist(table), folder / "ranking_test.parquet")
    with pytest.raises(UserError, match=r"ranking_test\.parquet, row 3 "):
        run(prepare_grrm_rlvr, "ranking_test", folder, "--table", "ranking_test", prompt="grrm")


def test_rankings_without_references_are_prepared_alike(folder):
    def rows():
        return prepared(prepare_grrm_rlvr, "grrm_rlvr", folder, prompt="grrm")

    before, file = rows(), folder / "grrm_rlvr.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["trg_text"]), file)
    assert rows() == before


def test_negative_augmentation_is_refused(folder, capsys):
    with pytest.raises(SystemExit):
        run(prepare_grrm_rlvr, "grrm_rlvr", folder, "--shuffle-augment", "-1")
    assert "--shuffle-augment" in capsys.readouterr().err


def test_shuffling_shows_every_candidate_in_every_place(folder):
    rows = prepared(prepare_grrm_rlvr, "grrm_rlvr", folder, "--shuffle-augment", "4")
    places = defaultdict(set)
    for row in rows:
        if len(row["extra_info"]["mt_texts"]) == 2:
            places[row["extra_info"]["group"]].add(tuple(row["extra_info"]["shuffle_indices"]))
    assert places
    assert all(orders == {(0, 1), (1, 0)} for orders in places.values())


def test_paper_semantics_give_the_published_ranking_rows(folder):
    flags = ("--subgroup-augment", "2", "--shuffle-augment", "2")
    ours = prepared(prepare_grrm_rlvr, "grrm_rlvr", folder, *flags)
    theirs = prepared(prepare_grrm_rlvr, "grrm_rlvr", folder, *flags, "--semantics", "paper")
    assert len(ours) == len(theirs)
    shuffles = 0
    for strict, paper in zip(ours, theirs, strict=True):
        same = {"data_source", "prompt", "ability", "reward_model"}
        assert {key: paper[key] for key in same} == {key: strict[key] for key in same}
        shown, info = strict["extra_info"], paper["extra_info"]
        positions = sorted(shown["shuffle_indices"])
        shuffles += positions != shown["shuffle_indices"]
        assert info == {
            "index": shown["index"],
            "split": "train",
            "src_lang": "xx",
            "trg_lang": "yy",
            "analysis": TABLES["grrm_rlvr"][shown["group"]]["analysis"],
            "mt_texts": shown["mt_texts"] if positions == shown["shuffle_indices"] else None,
            "shuffle_indices": [positions.index(index) for index in shown["shuffle_indices"]],
        }
    assert 0 < shuffles < len(ours)


def test_paper_semantics_take_off_any_last_line_that_mentions_scores(folder):
    assert strip_mention(" A is good.\nIts ranking is lost. ") == "A is good."
    assert strip_mention("A scores.\nB does not.") == "A scores.\nB does not."
    table = [{**TABLES["grrm_sft"][0], "analysis": "First.\nThe score of the match is lost in B."}]
    write_table(folder / "grrm_sft.parquet", table, "grrm_sft")
    strict, paper = (
        prepared(prepare_grrm_sft, "grrm_sft", folder, "--semantics", semantics)[0]["messages"][1]["content"]
        for semantics in ("strict", "paper")
    )
    assert strict.startswith("First.\nThe score of the match is lost in B.\n\n### Final Ranking:")
    assert paper.startswith("First.\n\n### Final Ranking:")


@pytest.mark.parametrize(
    ("analysis", "before"),
    [
        ("First.\n\nScores: A: 8, B: 3", "First.\n"),  # stripped first, not after
        (" Both score well.\n", ""),
        ("A is good.", "A is good."),
    ],
)
def test_paper_semantics_leave_of_an_analysis_what_the_published_preparation_leaves(folder, analysis, before):
    table = [{**TABLES["grrm_sft"][0], "mt_texts": ["one", "two"], "scores": [8, 3], "analysis": analysis}]
    write_table(folder / "grrm_sft.parquet", table, "grrm_sft")
    (row,) = prepared(prepare_grrm_sft, "grrm_sft", folder, "--semantics", "paper")
    answer = f"{before}\n\n### Final Ranking:\n\nA > B\n\n### Scores:\n\nA: 8, B: 3\n"
    assert row["messages"][1]["content"] == answer


def test_a_row_that_cannot_be_prepared_is_named_or_dropped(capsys):
    def prepare(row):
        return {"answer": ranking_answer(row["analysis"], [8, 3])}

    tables = [pa.table({"analysis": ["Good."]}), pa.table({"analysis": ["Good.", " "]})]
    with pytest.raises(
        UserError, match=r"x\.parquet, row 2 .*: the analysis is empty \(1 of 3 rows are bad\)"
    ):
        list(prepared_rows(tables, prepare, "x.parquet", "error"))
    assert len(list(prepared_rows(tables, prepare, "x.parquet", "drop"))) == 2
    assert "1 of 3 rows dropped" in capsys.readouterr().out
    with pytest.raises(UserError, match="1 of 1 rows"):
        list(prepared_rows([tables[1][1:]], prepare, "x.parquet", "drop"))


# Translation rows


def test_translation_rows_keep_the_reference_for_reports_only(folder):
    reference = {row["src_text"]: row["trg_text"] for row in TABLES["mt_grpo"]}
    for number, row in enumerate(prepared(prepare_mt_grpo, "mt_grpo", folder)):
        info = row["extra_info"]
        assert row["ability"] == "translation"
        assert row["data_source"] == "grrm.translation"
        assert row["prompt"] == [{"role": "user", "content": f"Translate from xx to yy: {info['src_text']}"}]
        assert row["reward_model"] == {"style": "rule", "ground_truth": ""}
        assert info == {
            "index": number,
            "split": "train",
            "src_lang": "xx",
            "trg_lang": "yy",
            "src_text": info["src_text"],
            "trg_text": reference[info["src_text"]],
        }


REAL_PAIRS = [
    {"src_text": f"source {number}", "trg_text": f"target {number}", "src_lang": source, "trg_lang": target}
    for number, (source, target) in enumerate(
        [("en", "de"), ("zh", "en"), ("ja", "en"), ("pt_BR", "ru")] * 50
    )
]


@pytest.mark.parametrize("semantics", ["strict", "paper"])
def test_cross_lingual_augmentation_adds_a_row_for_another_language(folder, semantics):
    write_table(folder / "mt_grpo.parquet", REAL_PAIRS, "mt_grpo")
    flags = ("--cross-lingual-augmentation", "--semantics", semantics)
    rows = prepared(prepare_mt_grpo, "mt_grpo", folder, *flags)
    by_source = defaultdict(list)
    for row in rows:
        info = row["extra_info"]
        by_source[info["src_text"]].append(info)
        assert row["reward_model"]["ground_truth"] == ""
        name = language_name(info["trg_lang"])
        assert row["prompt"][0]["content"].startswith(
            f"Translate from {language_name(info['src_lang'])} to {name}: "
        )
    assert len(by_source) == len(REAL_PAIRS)
    for pair in REAL_PAIRS:
        added = [info for info in by_source[pair["src_text"]] if info["trg_lang"] != pair["trg_lang"]]
        kept = [info for info in by_source[pair["src_text"]] if info["trg_lang"] == pair["trg_lang"]]
        assert len(added) == len(kept) == 1
        assert kept[0]["trg_text"] == pair["trg_text"]
        assert added[0]["trg_text"] == (pair["trg_text"] if semantics == "paper" else None)
        assert added[0]["src_lang"] == pair["src_lang"]
        assert added[0]["trg_lang"] in TOWER_LANGUAGES
        assert added[0]["trg_lang"] != pair["src_lang"][:2]


def test_other_languages_are_drawn_evenly():
    count = 7000
    drawn = Counter(other_languages(["en"] * count, ["de"] * count, np.arange(count), 0))
    assert set(drawn) == set(TOWER_LANGUAGES) - {"en", "de"}
    assert all(775 < number < 975 for number in drawn.values())


def test_without_augmentation_translation_prompts_ask_for_the_table_s_language(folder):
    write_table(folder / "mt_grpo.parquet", REAL_PAIRS, "mt_grpo")
    prompt = load_translation_prompt("config/prompts/toy_translation.yaml")
    wanted = {
        prompt.render(**{name: pair[name] for name in ("src_text", "src_lang", "trg_lang")})
        for pair in REAL_PAIRS
    }
    rows = prepared(prepare_mt_grpo, "mt_grpo", folder)
    assert {row["prompt"][0]["content"] for row in rows} == wanted


def test_failed_preparation_leaves_the_old_file(folder):
    output = run(prepare_mt_grpo, "mt_grpo", folder)
    before = output.read_bytes()
    write_table(folder / "mt_grpo.parquet", [{**TABLES["mt_grpo"][0], "src_text": "x"}], "mt_grpo")
    (folder / "mt_grpo.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(UserError, match=r"mt_grpo\.parquet"):
        run(prepare_mt_grpo, "mt_grpo", folder)
    assert output.read_bytes() == before
