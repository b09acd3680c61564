"""The samples of the report: what the judge is shown of the translations, and what comes of it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import judge_translations
from grrm.files import UserError, read_jsonl, write_jsonl
from grrm.report.samples import read_samples
from grrm.report.summary import labelled
from grrm.schemas import write_table
from judge_server import Act
from serving import serving

PROMPT = Path(__file__).parents[2] / "config/prompts/toy_ranking.yaml"
LANGUAGES = {"src_lang": "xx", "trg_lang": "yy"}


def answer(best, other):
    ranking, scores = f"{best} > {other}", f"{best}: 9, {other}: 5"
    return f"{best} is better\n\n### Final Ranking:\n\n{ranking}\n\n### Scores:\n\n{scores}\n"


def knowing(call):
    """A judge that prefers the translation b, wherever it stands."""
    return Act(answer("A", "B") if "\nA: b\n" in call.prompt else answer("B", "A"))


def write_inputs(tmp_path, texts):
    """A test set and translations of it, by model."""
    (n,) = {len(translations) for translations in texts.values()}
    rows = [{**LANGUAGES, "src_text": f"s{i}", "trg_text": f"t{i}", "comment": None} for i in range(n)]
    write_table(tmp_path / "test.parquet", rows, "translation_test")
    for name, translations in texts.items():
        write_jsonl(
            tmp_path / f"{name}.jsonl",
            [
                {"index": i, "src_text": f"s{i}", "raw": f"raw {text}", "translation": text, "failure": None}
                for i, text in enumerate(translations)
            ],
        )


@pytest.fixture
def arguments(tmp_path):
    write_inputs(tmp_path, {"before": ["a", "a", None, "a"], "after": ["b", "a", "b", "b"]})
    named = [f"{name}={tmp_path / name}.jsonl" for name in ("before", "after")]
    return [
        *("--model", "judge", "--reference", str(tmp_path / "test.parquet"), "--translations", *named),
        *("--prompt", str(PROMPT), "--limit", "3", "--max-new-tokens", "9"),
        *("--output", str(tmp_path / "samples.jsonl")),
    ]


def test_different_translations_are_compared_and_equal_or_missing_ones_are_not(arguments, tmp_path):
    with serving(knowing) as server:
        for _ in range(2):  # the second run finds the first one's output
            judge_translations.main([*arguments, "--base-url", server.url])
        (call,) = server.calls
    samples = read_samples(tmp_path / "samples.jsonl")
    assert [sample["candidates"] for sample in samples] == [["a", "b"], ["a"], ["b"]]
    order = samples[0]["judgement"].pop("candidate_order")
    shown = ["ab"[i] for i in order]
    assert call.prompt.endswith(f"s0\nA: {shown[0]}\nB: {shown[1]}")
    said = answer("A", "B") if shown == ["b", "a"] else answer("B", "A")
    assert samples[0]["judgement"] == {"answer": said, "scores": [5, 9], "failure": None, "detail": None}
    assert [sample["judgement"] for sample in samples[1:]] == [None, None]
    assert samples[2]["translations"] == {"before": None, "after": "b"}
    assert samples[2]["raw"] == {"before": "raw None", "after": "raw b"}
    assert samples[0]["judge_model"] == "judge"
    assert not (tmp_path / "samples.jsonl.partial").exists()


def test_what_is_left_of_a_run_with_other_settings_stops_nobody_but_who_would_lose_it(arguments, tmp_path):
    left = tmp_path / "samples.jsonl.partial"
    left.write_text('{"settings": {"model": "another"}}\n')
    with serving(knowing) as server:
        command = [*arguments, "--base-url", server.url]
        with pytest.raises(UserError, match='model: "another" there, "judge" now'):
            judge_translations.main(command)
        judge_translations.main([*command, "--discard-stale"])
    assert not left.exists()
    assert len(read_samples(tmp_path / "samples.jsonl")) == 3


def test_no_model_stands_at_the_same_position_in_every_question(arguments, tmp_path):
    write_inputs(tmp_path, {"before": ["a"] * 20, "after": ["b"] * 20})
    with serving(knowing) as server:
        judge_translations.main([*arguments, "--limit", "20", "--base-url", server.url])
        prompts = [call.prompt for call in server.calls]
    samples = read_samples(tmp_path / "samples.jsonl")
    judgements = [sample["judgement"] for sample in samples]
    first = [judgement["candidate_order"][0] for judgement in judgements]
    assert 4 <= sum(first) <= 16
    assert sum(prompt.endswith("A: b\nB: a") for prompt in prompts) == sum(first)
    # What it says is turned back.
    assert [judgement["scores"] for judgement in judgements] == [[5, 9]] * 20
    assert [labelled({"judgement": j, "candidates": ["a", "b"]})[j["answer"][0]] for j in judgements] == [
        "b"
    ] * 20


def test_a_judge_that_always_prefers_what_it_sees_first_prefers_no_model(arguments, tmp_path):
    write_inputs(tmp_path, {"before": ["a"] * 20, "after": ["b"] * 20})
    with serving(lambda _: Act(answer("A", "B"))) as server:
        judge_translations.main([*arguments, "--limit", "20", "--base-url", server.url])
    won = [sample["judgement"]["scores"] == [5, 9] for sample in read_samples(tmp_path / "samples.jsonl")]
    assert 4 <= sum(won) <= 16


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
