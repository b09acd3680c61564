"""Answers out of responses. Golden vectors are the answers of the paper's published extractors."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grrm.extract import code_block, last_code_block, last_line, tag, whole_text, without_thinking
from grrm.prompts import TRANSLATION_KINDS, translation_answer
from grrm.rewards.rows import response_text

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "grrm_extract.jsonl"

# Text in which fences, tags and line ends are likely.
awkward = st.lists(
    st.sampled_from(["`", "```", "````", "\n", "\r\n", " ", "zh", "text", "你好", "{x}", "<b>"])
).map("".join)
texts = awkward | st.text()


# code_block


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("think\n```\n你好\n```", "你好"),
        ("think\n\n```\none\n\ntwo\n```\n\n", "one\n\ntwo"),
        ("```x```", "x"),
        ("x ```y``` ", "y"),
        ("a ` and `` b\n```\nc ` d `` e\n```", "c ` d `` e"),
        ("think\r\n```\r\n你好\r\n```\r\n", "你好"),
    ],
)
def test_code_block(text, block):
    assert code_block(text) == block


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no block",
        "```unclosed",
        "```\nunclosed",
        "```",
        "```\n```",
        "```\n  \n```",
        "```x``",
        "```\nx\n```\nmore",
        "```\na\n```\n```\nb\n```",
        "```\na```b\n```",
        "````\nx\n```",
        "```\nx\n````",
    ],
)
def test_no_single_code_block_at_the_end(text):
    assert code_block(text) is None


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("```text\nHello\n```", "Hello"),
        ("```zh-CN \n你好\n```", "你好"),
        ("````c++\nx\n````", "x"),
        ("```text\r\nHello\r\n```", "Hello"),
        # Not tags: a line of text, text on the line of the fences, another script.
        ("```Hello there\nfriend\n```", "Hello there\nfriend"),
        ("```text```", "text"),
        ("```Hello\nfriend```", "Hello\nfriend"),
        ("```你好\n朋友\n```", "你好\n朋友"),
        ("```\ntext\nHello\n```", "text\nHello"),
    ],
)
def test_a_language_tag_is_left_out(text, block):
    assert code_block(text) == block


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("````\nuse ```x``` here\n````", "use ```x``` here"),
        ("see ```x``` first\n````\ny\n````", "y"),
        ("`````\n````\n```\n`````", "````\n```"),
    ],
)
def test_a_longer_fence_lets_backticks_survive(text, block):
    assert code_block(text) == block


@given(texts, texts)
def test_a_translation_answer_reads_back(analysis, translation):
    # Any text survives but for white space around it, whatever either text contains.
    if translation.strip():
        assert code_block(translation_answer(analysis, translation)) == translation.strip()


@given(texts)
def test_a_code_block_is_stripped_and_not_empty(text):
    block = code_block(text)
    assert block is None or (block and block == block.strip())


# last_line


@pytest.mark.parametrize(
    ("text", "line"),
    [("", None), (" \n ", None), ("one", "one"), ("a\n\n", "a"), ("a\n b \n", "b"), ("a\r\nb\r\n", "b"),
     ("a\u2028b", "a\u2028b")],
)  # fmt: skip
def test_last_line(text, line):
    assert last_line(text) == line


# whole_text


@pytest.mark.parametrize(
    ("text", "whole"), [("", None), (" \n", None), (" a\n\nb ", "a\n\nb"), ("```x```", "```x```")]
)
def test_whole_text(text, whole):
    assert whole_text(text) == whole


# tag


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("<score>7</score>", "7"),
        ("<score>3</score> no: <score> 4\n</score> end", "4"),
        ("<Score>7</SCORE>", "7"),
        ("<score></score>", ""),
        ("<score>a < b</score>", "a < b"),
        ("<score><b>7</b></score>", "<b>7</b>"),
        ("<score>1 <score>2</score>", "2"),
        ("<score>2</score> <score>3", "2"),
        ("<score>2</score></score>", "2"),
        ("<think><score>1</score></think> <score>2</score>", "2"),
        ("<score>2</score> <think><score>1</score></think>", "2"),
        ("<score>2</score> <THINK>unclosed <score>1</score>", "2"),
        ("never opened <score>1</score></think> <score>2</score>", "2"),
        ("<thinking><score>1</score></thinking><score>2</score>", "2"),
    ],
)
def test_tag(text, content):
    assert tag(text, "score") == content


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "<score>7",
        "7</score>",
        "</score>7<score>",
        "<scores>7</scores>",
        "<score>7</better>",
        "<think><score>1</score></think>",
        "<think><score>1</score>",
        "<score>1</score></think>",
    ],
)
def test_no_tag(text):
    assert tag(text, "score") is None


def test_the_name_of_a_tag_is_taken_literally():
    assert tag("<a.b>1</a.b><axb>2</axb>", "a.b") == "1"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("【思考】x【/思考】y", "y"),
        ("a[思考]x\n<score>1</score>[/思考]b", "ab"),
        ("x【/思考】y", "y"),
        ("x[/思考]y", "y"),
        ("【思考】x【/思考】y<think>z</think>【思考】x【/思考】", "y"),
        ("【思考】\nWhy the sky is blue", "【思考】\nWhy the sky is blue"),
        ("[思考] and [/思] are text", "[思考] and [/思] are text"),
        ("【思考】x[/思考]y", "y"),
    ],
)
def test_thinking_between_other_marks(text, left):
    assert without_thinking(text) == left


def test_published_marks_of_thinking():
    lines = GOLDEN.with_name("judge_parse.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["fn"] == "reward._filter_thinking_parts"]
    assert len(rows) == 3
    for row in rows:
        assert without_thinking(row["text"]).strip() == row["out"]["value"], row


def test_one_word_behind_the_fence_is_the_text_if_there_is_no_other():
    assert code_block("```Hello\n```") == "Hello"
    assert code_block("```text\nHello\n```") == "Hello"


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("```\nx\n```", "x"),
        ("Draft:\n```\nx\n```\nBetter:\n```\ny\n```", "y"),
        ("<think>```\nx\n``` or ```</think>\n```\ny\n```", "y"),
        ("````\na ``` b\n````", "a ``` b"),
        ("```\nx\n```\nDone.", None),
        ("```\nx\n```\n```", None),
        ("```\nx\n``` and ```", None),
    ],
)
def test_last_code_block(text, block):
    assert last_code_block(text) == block


THOUGHT = ["<think>\n\n</think>\n\n", "<thinking>Hm, ```\nx\n``` </thinking>", "opened before</think>\n", ""]
ENDLESS = ["<think>", "<THINKING>\nHm.", "<think>a</think><think>b", "x</think><think>"]
KINDS = {
    "codeblock-think": "So:\n```\nGuten Morgen.\n```",
    "plain": "Guten Morgen.",
    "seed-x": "Guten Morgen. [COT] Because.",
    "ssr": "So: <answer>Guten Morgen.</answer>",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("thought", THOUGHT)
def test_thinking_is_no_part_of_a_translation(kind, thought):
    assert TRANSLATION_KINDS[kind](thought + KINDS[kind]) == "Guten Morgen."


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("thought", ENDLESS)
def test_thinking_that_never_ends_is_no_translation(kind, thought):
    assert TRANSLATION_KINDS[kind](f"{thought}\n{KINDS[kind]}") is None
    assert TRANSLATION_KINDS[kind](f"{KINDS[kind]}\n{thought}") is None


@pytest.mark.parametrize("thought", ENDLESS)
def test_thinking_that_never_ends_is_no_response(thought):
    assert code_block(f"{thought}\n```\nx\n```") is None
    assert response_text(f"{thought}\nx") is None


def test_without_thinking():
    assert without_thinking("a<think>b</think>c<think>d</think>e") == "ace"


def thinking_by_patterns(text):
    """The definition, in three patterns that take the square of a text's length."""
    flags = re.DOTALL | re.IGNORECASE
    text = re.sub(
        r"<(think|thinking)>.*?</\1>|【思考】.*?【/思考】|\[思考\].*?\[/思考\]", "", text, flags=flags
    )
    text = re.sub(r".*(?:</think(?:ing)?>|【/思考】|\[/思考\])", "", text, count=1, flags=flags)
    return re.sub(r"<think(?:ing)?>.*", "", text, count=1, flags=flags)


marks = ["<think>", "</think>", "<THINKING>", "</thinking>", "【思考】", "【/思考】", "[思考]", "[/思考]"]
# Pieces of marks too: what is left of a cut can become one.
pieces = ["<thi", "nk>", "</", "x", " ", "\n", "<score>1</score>"]


@given(st.lists(st.sampled_from(marks + pieces), max_size=14).map("".join))
def test_thinking_is_what_the_patterns_say(text):
    assert without_thinking(text) == thinking_by_patterns(text)


@pytest.mark.parametrize("filling", ["x", "<think>", "<thinking></think>", "[思考]", "<"])
def test_long_answers_are_read(filling):
    # With a step back for every character this would not end within minutes.
    text = filling * (200_000 // len(filling))
    opened = text.startswith("<think")
    assert tag(f"<score>1</score>{text}", "score") == (None if "</" in filling else "1")
    assert tag(f"{text}<score>2</score>", "score") == ("2" if "</" in filling or not opened else None)


# Agreement with the published extractors


def golden(*names):
    vectors = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    return [pytest.param(v, id=f"{v['id']}-{v['fn']}") for v in vectors if v["fn"] in names]


def has_language_tag(text):
    """Published: the tag stays in the translation."""
    return "```zh\n" in text


def has_more_than_one_block(text):
    """Published: one of the two extractors takes the last block, the other none."""
    return text.count("```") > 2


def has_longer_fence(text):
    """Published: backticks beyond three are text."""
    return "````" in text


@pytest.mark.parametrize("vector", golden("rm_lib._block_extractor", "run_mt._block_extractor"))
def test_golden_code_block(vector):
    text, published = vector["text"], vector["out"]["value"]
    if has_language_tag(text):
        assert published == f"zh\n{code_block(text)}"
    elif has_more_than_one_block(text):
        assert code_block(text) is None
    elif has_longer_fence(text):
        assert code_block(text) == "x"
    else:
        assert code_block(text) == published


@pytest.mark.parametrize("vector", golden("run_mt._block_extractor"))
def test_golden_last_code_block(vector):
    text, published = vector["text"], vector["out"]["value"]
    assert last_code_block(text) == (published.removeprefix("zh\n") if has_language_tag(text) else published)


@pytest.mark.parametrize("vector", golden("rm_lib._line_extractor"))
def test_golden_last_line(vector):
    assert last_line(vector["text"]) == vector["out"]["value"]


@pytest.mark.parametrize("vector", golden("rm_lib._one_line_extractor"))
def test_golden_only_line(vector):
    # Published: the last line, if it is the only one.
    lines = [line for line in vector["text"].split("\n") if line.strip()]
    assert vector["out"]["value"] == (last_line(vector["text"]) if len(lines) == 1 else None)
