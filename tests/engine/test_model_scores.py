"""Checkpoints that score, in a process of their own (run by the training environment's python)."""

import asyncio
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForSequenceClassification

from grrm.files import UserError
from grrm.inference.bradley_terry import load
from grrm.judges.card import FILE, BradleyTerry, JudgeCard, Pairwise, write_card
from grrm.judges.groups import Group
from grrm.rewards.kinds import Scorer, ScoringOptions
from grrm.rewards.model_scores import NO_REFERENCE, ModelOptions, _of_complete, load_bradley_terry
from tiny_model import save_tiny_model

PROMPT = yaml.safe_load((Path(__file__).parents[2] / "config/prompts/toy_pairwise.yaml").read_text())


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory):
    folder = save_tiny_model(tmp_path_factory.mktemp("reward"))
    torch.manual_seed(1)
    config = Qwen2Config.from_pretrained(folder, num_labels=1, max_position_embeddings=64)
    Qwen2ForSequenceClassification(config).float().save_pretrained(folder)
    return folder


def scored(folder, *groups):
    async def run():
        async with Scorer(ScoringOptions("bradley_terry", model=ModelOptions(str(folder)))) as scorer:
            return [result.scores for result in (await scorer.score_groups(groups)).groups], (
                await scorer.score_group(groups[0])
            )

    return asyncio.run(run())


def test_a_score_is_the_logit_at_the_end_of_the_conversation(reward_model):
    turns = ({"role": "user", "content": "the frog"}, {"role": "assistant", "content": "B"})
    conversation = (*turns, {"role": "user", "content": "a throat"})
    group = Group("a throat", ("the grass", "C: 2", "a frog in the throat"), turns=conversation)
    too_long = Group("the grass is greener", ("A = B", "the other side " * 40))
    (first, second), again = scored(reward_model, group, too_long)
    tokenizer = AutoTokenizer.from_pretrained(reward_model)
    model = Qwen2ForSequenceClassification.from_pretrained(reward_model).eval()
    model.config.pad_token_id = tokenizer.pad_token_id
    for text, score in zip(group.candidates, first, strict=True):
        messages = [*conversation, {"role": "assistant", "content": text}]
        ids = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)["input_ids"]
        with torch.inference_mode():
            assert score == pytest.approx(float(model(ids).logits[0, 0]), abs=1e-5)
    assert len(set(first)) == 3
    assert second[0] is not None
    assert second[1] is None
    assert again.scores == pytest.approx(first, abs=1e-5)


def test_a_judge_scores_the_end_of_what_is_longer_than_in_its_training(reward_model, tmp_path):
    folder = tmp_path / "judge"
    shutil.copytree(reward_model, folder)
    write_card(folder / FILE, JudgeCard(bradley_terry=BradleyTerry(12)))
    messages = [{"role": "user", "content": "the grass"}, {"role": "assistant", "content": "the frog " * 40}]
    reward = load_bradley_terry(folder, "cpu", 8, 1)([{"messages": messages}])
    assert reward == [(pytest.approx(load(folder, 12)([messages])[0], abs=1e-5), "")]
    write_card(folder / FILE, JudgeCard(pairwise=Pairwise(PROMPT, True, 64, 16)))
    with pytest.raises(UserError, match="trained for pairwise, not for bradley_terry"):
        load_bradley_terry(folder, "cpu", 8, 1)


def test_a_folder_of_another_kind_stops_the_run(tmp_path):
    with pytest.raises(UserError, match="not a sequence-classification checkpoint"):
        load_bradley_terry(tmp_path, "cpu", 8, 1)


def test_segments_without_a_text_that_is_needed_have_a_reason_and_are_not_asked_about():
    asked = []

    def predict(items):
        asked.append([item["ref"] for item in items])
        return [float(len(item["ref"])) for item in items]

    score = _of_complete(["src", "ref"], predict)
    segments = [("a", "xx"), ("a", " "), (None, "q"), ("b", "yyy")]
    assert score([{"src": source, "ref": reference} for source, reference in segments]) == [
        (2.0, ""),
        (None, NO_REFERENCE),
        (None, NO_REFERENCE),
        (3.0, ""),
    ]
    assert score([{"src": "", "ref": "x"}]) == [(None, NO_REFERENCE)]
    assert asked == [["xx", "yyy"]]
