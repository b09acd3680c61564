"""The samples of the report: what the judge is shown of the translations, and what comes of it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import judge_translations
from grrm.files import read_jsonl, write_jsonl
from grrm.report.samples import read_samples
from grrm.schemas import write_table
from judge_server import Act
from serving import serving

PROMPT = Path(__file__).parents[2] / "config/prompts/toy_ranking.yaml"
ANSWER = "B is better\n\n### Final Ranking:\n\nB > A\n\n### Scores:\n\nB: 9, A: 5\n"


@pytest.fixture
def arguments(tmp_path):
    languages = {"src_lang": "xx", "trg_lang": "yy"}
    rows = [{**languages, "src_text": f"s{i}", "trg_text": f"t{i}", "comment": None} for i in range(4)]
    write_table(tmp_path / "test.parquet", rows, "translation_test")
    texts = {"before": ["a", "a", None, "a"], "after": ["b", "a", "b", "b"]}
    for name, translations in texts.items():
        write_jsonl(
            tmp_path / f"{name}.jsonl",
            [
                {"index": i, "src_text": f"s{i}", "raw": f"raw {text}", "translation": text, "failure": None}
                for i, text in enumerate(translations)
            ],
        )
    named = [f"{name}={tmp_path / name}.jsonl" for name in texts]
    return [
        *("--model", "judge", "--reference", str(tmp_path / "test.parquet"), "--translations", *named),
        *("--prompt", str(PROMPT), "--limit", "3", "--max-new-tokens", "9"),
        *("--output", str(tmp_path / "samples.jsonl")),
    ]


def test_different_translations_are_compared_and_equal_or_missing_ones_are_not(arguments, tmp_path):
    with serving(lambda _: Act(ANSWER)) as server:
        for _ in range(2):  # the second run finds the first one's output
            judge_translations.main([*arguments, "--base-url", server.url])
        (call,) = server.calls
    assert call.prompt.endswith("s0\nA: a\nB: b")
    samples = read_samples(tmp_path / "samples.jsonl")
    assert [sample["candidates"] for sample in samples] == [["a", "b"], ["a"], ["b"]]
    assert samples[0]["judgement"] == {"answer": ANSWER, "scores": [5, 9], "failure": None, "detail": None}
    assert [sample["judgement"] for sample in samples[1:]] == [None, None]
    assert samples[2]["translations"] == {"before": None, "after": "b"}
    assert samples[2]["raw"] == {"before": "raw None", "after": "raw b"}
    assert samples[0]["judge_model"] == "judge"
    assert not (tmp_path / "samples.jsonl.partial").exists()


def test_other_translations_need_other_judgements(arguments, tmp_path):
    with serving(lambda _: Act("no idea")) as server:
        judge_translations.main([*arguments, "--base-url", server.url])
        (tmp_path / "samples.jsonl").unlink()
        rows = read_jsonl(tmp_path / "after.jsonl")
        write_jsonl(tmp_path / "after.jsonl", [{**row, "translation": "c"} for row in rows])
        judge_translations.main([*arguments, "--base-url", server.url])
        assert len(server.calls) == 3
    sample = read_samples(tmp_path / "samples.jsonl")[0]
    assert sample["judgement"]["failure"] == "incomplete"
    assert sample["judgement"]["scores"] is None
