"""The toy world: a language pair, its faults, its exact scores, its six disjoint tables."""

import functools
import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import make_toy_world
from grrm.data.toy_world import (
    DEFAULT_ROWS,
    WORDS_PER_SENTENCE,
    describe_errors,
    make_language,
    make_tables,
    penalty,
    true_score,
)
from grrm.extract import code_block
from grrm.ranking import labels, ranking_accuracy
from grrm.schemas import read_table

LANGUAGE = make_language()
ROWS = {name: count // 4 for name, count in DEFAULT_ROWS.items()}
IDIOM = next(iter(LANGUAGE.idioms))
PLAIN = LANGUAGE.plain_words
# plain, idiom (two words), plain, plain
SOURCE = " ".join([PLAIN[0], *IDIOM, PLAIN[1], PLAIN[2]])
RIGHT = LANGUAGE.render(SOURCE)
LITERAL = LANGUAGE.render(SOURCE, [True])


@functools.cache
def small(seed):
    """All tables, a quarter of their size."""
    return make_tables(seed, ROWS)


def sources(tables):
    return [row["src_text"] for rows in tables.values() for row in rows]


# The language


def test_language_has_32_words_in_a_one_to_one_dictionary_and_six_idioms():
    assert len(LANGUAGE.dictionary) == len(set(LANGUAGE.dictionary.values())) == 32
    assert len(LANGUAGE.idioms) == 6
    assert len(PLAIN) == 20


def test_no_word_is_ambiguous():
    assert len(set(LANGUAGE.words)) == len(LANGUAGE.words) == 32 + 32 + 12


def test_words_of_idioms_belong_to_one_idiom_each():
    members = list(itertools.chain(*LANGUAGE.idioms))
    assert len(set(members)) == 12


def test_language_does_not_depend_on_the_seed_of_the_data():
    words = set(LANGUAGE.words)
    for seed in (1, 2):
        assert set(" ".join(sources(small(seed))).split()) <= words


def test_another_language_seed_makes_another_language():
    assert make_language(1) != LANGUAGE


def test_units_are_idioms_and_plain_words():
    assert LANGUAGE.units(SOURCE) == [(PLAIN[0],), IDIOM, (PLAIN[1],), (PLAIN[2],)]
    assert LANGUAGE.units(IDIOM[0]) == [(IDIOM[0],)]


def test_rendering_is_idiomatic_unless_told_to_be_literal():
    assert tuple(RIGHT[1:3]) == LANGUAGE.idioms[IDIOM]
    assert [LANGUAGE.dictionary[word] for word in SOURCE.split()] == LITERAL


# Scores


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (RIGHT, 10),
        (LITERAL, 10 - 3),
        ([SOURCE.split()[0], *RIGHT[1:]], 10 - 2),
        (RIGHT[1:], 10 - 2),
        ([*RIGHT, RIGHT[0]], 10 - 2),
        ([*LITERAL[:3], "nonsense", LITERAL[4]], 10 - 3 - 2),
        (RIGHT[:1] + ["nonsense"] * 2 + RIGHT[3:], 10 - 4),
        ([], 0),
        (["nonsense"] * 9, 0),
    ],
    ids=[
        "right",
        "literal",
        "wrong",
        "missing",
        "added",
        "literal and wrong",
        "idiom lost",
        "empty",
        "noise",
    ],
)
def test_score_is_ten_less_the_errors(words, expected):
    assert true_score(LANGUAGE, SOURCE, " ".join(words)) == expected


@given(st.lists(st.sampled_from([*RIGHT, *LITERAL, "nonsense"]), max_size=8), st.integers(0, 7), st.data())
def test_one_more_wrong_word_costs_at_most_two(words, at, data):
    changed = list(words)
    changed.insert(min(at, len(words)), data.draw(st.sampled_from(["nonsense", *RIGHT])))
    before, after = (penalty(LANGUAGE, SOURCE, " ".join(text)) for text in (words, changed))
    assert abs(before - after) <= 2


@given(st.lists(st.booleans(), min_size=2, max_size=2))
def test_each_literal_idiom_costs_three(literal):
    first, second = list(LANGUAGE.idioms)[:2]
    source = " ".join([*first, PLAIN[3], *second])
    assert penalty(LANGUAGE, source, " ".join(LANGUAGE.render(source, literal))) == 3 * sum(literal)


def test_errors_are_named():
    wrong = SOURCE.split()[4]
    assert describe_errors(LANGUAGE, SOURCE, " ".join(RIGHT)) == "good"
    assert describe_errors(LANGUAGE, SOURCE, " ".join(LITERAL)) == "literal"
    assert describe_errors(LANGUAGE, SOURCE, " ".join([*RIGHT[:4], wrong])) == f"{wrong} wrong"
    assert describe_errors(LANGUAGE, SOURCE, " ".join([*LITERAL[:4], wrong])) == f"literal {wrong} wrong"


def test_errors_of_another_length_cannot_be_named():
    with pytest.raises(ValueError, match="expected 5 words"):
        describe_errors(LANGUAGE, SOURCE, RIGHT[0])


# The teacher


def pairs_of(table):
    """Whether two candidates are tied, and whether they are copies, by the scores of a table."""
    return [
        (row["scores"][i] == row["scores"][j], row["mt_texts"][i] == row["mt_texts"][j])
        for row in small(0)[table]
        for i, j in itertools.combinations(range(len(row["scores"])), 2)
    ]


def named_errors(row):
    """The errors that an analysis names, for each candidate; its points are the scores."""
    findings = [each.split(" ") for each in row["analysis"].removeprefix("Analysis: ").split(", ")]
    assert [int(points) for *_, points in findings] == row["scores"]
    return [" ".join(words) for _, *words, _ in findings]


def test_the_truth_keeps_ties():
    pairs = pairs_of("grrm_rlvr")
    assert 0.25 < sum(tie for tie, _ in pairs) / len(pairs) < 0.45
    assert all(tie for tie, same in pairs if same)


def test_teacher_overlooks_most_literal_idioms_and_nothing_else():
    literal = named = 0
    for row in small(0)["grrm_sft"]:
        for found, text in zip(named_errors(row), row["mt_texts"], strict=True):
            true = describe_errors(LANGUAGE, row["src_text"], text)
            literal += true.count("literal")
            named += found.count("literal")
            assert found.count("literal") <= true.count("literal")
            assert [w for w in found.split() if w not in ("literal", "good")] == [
                w for w in true.split() if w not in ("literal", "good")
            ]
    assert literal > 500
    assert 0.35 < named / literal < 0.45


@pytest.mark.parametrize("table", ["grrm_sft", "grrm_rlvr"])
def test_named_errors_add_up_to_the_score(table):
    for row in small(0)[table]:
        seen = [10 - 3 * found.count("literal") - 2 * found.count("wrong") for found in named_errors(row)]
        assert row["scores"] == [max(0, score) for score in seen]


def test_teacher_errs_in_pairs_that_differ_as_well_as_in_ties():
    right, right_untied = [], []
    for row in small(0)["grrm_sft"]:
        true = [true_score(LANGUAGE, row["src_text"], text) for text in row["mt_texts"]]
        names = labels(len(true))
        taught, truth = (dict(zip(names, scores, strict=True)) for scores in (row["scores"], true))
        right.append(ranking_accuracy(taught, truth))
        for x, y in itertools.combinations(names, 2):
            if truth[x] != truth[y]:
                right_untied.append(
                    (taught[x] > taught[y]) == (truth[x] > truth[y]) and taught[x] != taught[y]
                )
    assert 0.72 < sum(right) / len(right) < 0.81
    assert 0.71 < sum(right_untied) / len(right_untied) < 0.81


# The tables


def test_tables_have_as_many_rows_as_asked_for():
    assert {name: len(rows) for name, rows in small(0).items()} == ROWS


def test_no_source_occurs_twice_in_all_tables():
    found = sources(small(0))
    assert len(set(found)) == len(found)


# Seeds whose noise makes a candidate of the test what a row of training has, or the other way round.
@pytest.mark.parametrize("seed", [1, 12])
def test_no_translation_that_is_tested_stands_in_training_data(seed):
    tables = make_tables(seed)
    texts = {
        name: {*(t for row in rows for t in row.get("mt_texts", ())), *(row.get("trg_text") for row in rows)}
        | {code_block(row["response"]) for row in rows if "response" in row}
        for name, rows in tables.items()
    }
    tested = (texts["ranking_test"] | texts["translation_test"]) - {None}
    for name in ("grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo"):
        assert not tested & texts[name]


def test_same_seed_same_tables_other_seed_other_tables():
    assert make_tables(0, ROWS) == small(0)
    assert not set(sources(small(0))) <= set(sources(small(1)))


def test_a_table_of_another_size_leaves_its_rows_as_they_are():
    fewer = make_tables(0, {**ROWS, "grrm_sft": ROWS["grrm_sft"] - 100})
    assert fewer["grrm_sft"] == small(0)["grrm_sft"][:-100]


def test_unknown_tables_are_refused():
    with pytest.raises(ValueError, match="expected rows of"):
        make_tables(0, {"grrm_sft": 1})


def test_sentences_have_five_different_words():
    for source in sources(small(0)):
        words = source.split()
        assert len(words) == len(set(words)) == WORDS_PER_SENTENCE


def test_most_sentences_have_one_idiom_and_the_tests_as_many_as_the_training():
    tables = make_tables(0)
    for name in ("grrm_rlvr", "mt_sft", "ranking_test", "translation_test"):
        counts = [len(LANGUAGE.idioms_in(row["src_text"])) for row in tables[name]]
        # A word may not occur twice, which drops more sentences of many plain words.
        for idioms, share in ((0, 0.15), (1, 0.74), (2, 0.11)):
            assert math.isclose(counts.count(idioms) / len(counts), share, abs_tol=0.05), name


@pytest.mark.parametrize("table", ["grrm_rlvr", "ranking_test"])
def test_scores_are_true(table):
    for row in small(0)[table]:
        assert row["scores"] == [true_score(LANGUAGE, row["src_text"], text) for text in row["mt_texts"]]


@pytest.mark.parametrize("table", ["grrm_sft", "grrm_rlvr", "mt_grpo", "ranking_test", "translation_test"])
def test_references_are_right(table):
    for row in small(0)[table]:
        assert true_score(LANGUAGE, row["src_text"], row["trg_text"]) == 10


def test_groups_have_two_to_four_candidates():
    sizes = [len(row["mt_texts"]) for row in small(0)["grrm_sft"]]
    assert set(sizes) == {2, 3, 4}


def test_translation_data_are_mostly_literal_and_otherwise_good():
    literal = idioms = good = 0
    for row in small(0)["mt_sft"]:
        translation = code_block(row["response"])
        assert translation is not None
        for idiom in LANGUAGE.idioms_in(row["src_text"]):
            idioms += 1
            literal += " ".join(LANGUAGE.word_by_word(idiom)) in translation
        good += describe_or_short(row["src_text"], translation) in {"good", "literal", "literal literal"}
    assert 0.55 < literal / idioms < 0.68
    assert good / len(small(0)["mt_sft"]) > 0.8


def describe_or_short(source, translation):
    if len(translation.split()) != WORDS_PER_SENTENCE:
        return "omission"
    return describe_errors(LANGUAGE, source, translation)


def test_analysis_of_a_translation_says_how_its_idioms_are_rendered():
    row = next(row for row in small(0)["mt_sft"] if LANGUAGE.idioms_in(row["src_text"]))
    analysis, _, _ = row["response"].partition("\n\n```\n")
    for idiom in LANGUAGE.idioms_in(row["src_text"]):
        renderings = (LANGUAGE.idioms[idiom], LANGUAGE.word_by_word(idiom))
        assert any(f"{' '.join(idiom)} = {' '.join(words)}" in analysis for words in renderings)


def test_comment_explains_the_idioms_of_a_test_sentence():
    for row in small(0)["translation_test"]:
        idioms = LANGUAGE.idioms_in(row["src_text"])
        assert (row["comment"] is None) == (not idioms)
        assert all(" ".join(LANGUAGE.idioms[idiom]) in row["comment"] for idiom in idioms)


# The script


def test_script_writes_six_tables_of_the_right_schema(tmp_path):
    flags = [f"--{name.replace('_', '-')}={random.Random(name).randint(1, 9)}" for name in DEFAULT_ROWS]
    make_toy_world.main(["--output-folder", str(tmp_path), "--seed", "5", *flags])
    for name in DEFAULT_ROWS:
        table = read_table(tmp_path / f"{name}.parquet", name)
        assert table.num_rows == random.Random(name).randint(1, 9)
    assert len(list(tmp_path.iterdir())) == 6


def test_script_refuses_tables_without_rows(tmp_path, capsys):
    with pytest.raises(SystemExit):
        make_toy_world.main(["--output-folder", str(tmp_path), "--mt-sft", "0"])
    assert "not a positive whole number" in capsys.readouterr().err
