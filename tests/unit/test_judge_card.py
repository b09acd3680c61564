"""The file that says what a judge was trained to answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from grrm.files import UserError
from grrm.judges.card import BradleyTerry, JudgeCard, Pairwise, Pointwise, read_card, use, write_card
from grrm.judges.conversation import question_text, with_response
from grrm.prompts import load_templates
from write_judge_card import main

PROMPTS = Path("config/prompts")


def templates(mode: str) -> dict[str, str]:
    kind = f"judge_{mode}"
    return {"kind": kind, **load_templates(PROMPTS / f"trained_{mode}.yaml", kind)}


@pytest.fixture
def card() -> JudgeCard:
    return JudgeCard(
        Pointwise(templates("pointwise"), 0, 4, 4096, 2048),
        Pairwise(templates("pairwise"), True, 4096, 2048),
        BradleyTerry(4096),
        "judge_sft",
    )


def test_a_card_is_read_back(card: JudgeCard, tmp_path: Path) -> None:
    write_card(tmp_path / "judge.json", card)
    found = read_card(tmp_path)
    assert (found, found.stage) == (card, "judge_sft")
    assert found.modes == ["pointwise", "pairwise", "bradley_terry"]


def test_a_judge_is_asked_and_read_as_in_its_training(card: JudgeCard) -> None:
    assert card.pointwise and card.pairwise
    asked = card.pointwise.asks.render(question="What is 2 + 2?", response="4 ```really```")
    assert "What is 2 + 2?" in asked and "````" in asked
    assert card.pointwise.read("<think>right</think>\n<score>4</score>") == 4
    with pytest.raises(ValueError, match="expected an integer from 0 to 4"):
        card.pointwise.read("<score>5</score>")
    asked = card.pairwise.asks.render(question="q", first="un", second="deux")
    assert asked.index("\nun\n") < asked.index("\ndeux\n")
    assert card.pairwise.read("<think>...</think><better>TIE</better>") == "tie"


def test_a_mode_that_was_not_trained_is_refused(card: JudgeCard) -> None:
    assert use(card, "bradley_terry", "m") == BradleyTerry(4096)
    with pytest.raises(UserError, match="m: trained for bradley_terry, not for pairwise"):
        use(JudgeCard(bradley_terry=BradleyTerry(1)), "pairwise", "m")
    with pytest.raises(ValueError, match="without any mode"):
        write_card("judge.json", JudgeCard())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format is 2; expected 1"),
        ({"pointwise": {"lowest": 0}}, "pointwise is not complete"),
        ({"listwise": {}}, "unknown key 'listwise'"),
        ({"pointwise": None, "pairwise": None, "bradley_terry": None}, "no mode"),
        ({"pointwise.prompt.prompt": "no place for anything"}, "lacks the placeholder"),
        ({"pairwise.prompt.kind": "judge_pointwise"}, "kind is 'judge_pointwise'; expected 'judge_pairwise'"),
    ],
)
def test_a_damaged_card_says_what_is_wrong(
    card: JudgeCard, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    write_card(tmp_path / "judge.json", card)
    content = json.loads((tmp_path / "judge.json").read_text())
    for key, value in change.items():
        *path, last = key.split(".")
        place = content
        for step in path:
            place = place[step]
        place[last] = value
    content = {key: value for key, value in content.items() if value is not None}
    (tmp_path / "judge.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        read_card(tmp_path)
    assert words in str(error.value) and "judge.json" in str(error.value)


def test_a_model_without_a_card_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"judge.json: no such file.*docs/judges.md"):
        read_card(tmp_path)


def test_the_script_writes_what_the_stages_need(tmp_path: Path) -> None:
    limits = ["--pairwise-limits", "64", "72"]
    prompt = ["--pairwise-prompt", str(PROMPTS / "toy_pairwise.yaml")]
    output = ["--output", str(tmp_path / "judge.json")]
    main(["--stage", "judge_pairwise", *prompt, *limits, "--one-order", *output])
    found = read_card(tmp_path)
    assert found.modes == ["pairwise"] and found.pairwise and not found.pairwise.both_orders
    assert (found.pairwise.max_prompt_length, found.pairwise.max_new_tokens) == (64, 72)
    with pytest.raises(UserError, match="a judge without a mode"):
        main(["--stage", "x", "--output", str(tmp_path / "other.json")])


def test_conversations_are_shown_whole() -> None:
    user = {"role": "user", "content": "And more?"}
    assert question_text([user]) == "And more?"
    before = [{"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "A"}]
    assert question_text([*before, user]) == "System: Be brief.\n\nAssistant: A\n\nUser: And more?"
    assert with_response([user], "No.")[-1] == {"role": "assistant", "content": "No."}
