"""Grading by real models on the CPU (run by the training environment's python)."""

import shutil

import pytest

pytest.importorskip("torch")

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from grrm.files import UserError
from grrm.inference import Decoding, Engine, grade
from grrm.judges.card import BradleyTerry, JudgeCard, Pointwise, write_card

ROWS = [
    {"question": "who?", "responses": ["the frog", "the other side of the grass", "A"]},
    {
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "?"}],
        "response": "B > A",
    },
]
MAX_LENGTH = 40


@pytest.fixture(scope="module")
def scorer(tiny_model, tmp_path_factory):
    """A sequence classifier of one label with a random head."""
    folder = tmp_path_factory.mktemp("scorer")
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    write_card(folder / "judge.json", JudgeCard(bradley_terry=BradleyTerry(MAX_LENGTH)))
    return folder


def logit(folder, messages):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1).eval()
    tokens = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
    with torch.no_grad():
        return float(model(torch.tensor([tokens[-MAX_LENGTH:]])).logits[0, 0])


def test_bradley_terry_scores_are_the_models_logits_whatever_the_batch(scorer):
    expected = [
        [
            logit(
                scorer,
                [
                    *row.get("messages", [{"role": "user", "content": row.get("question")}]),
                    {"role": "assistant", "content": text},
                ],
            )
            for text in row.get("responses", [row.get("response")])
        ]
        for row in ROWS
    ]
    for batch_size in (1, 4):
        results = grade(scorer, ROWS, engine=Engine("transformers", batch_size=batch_size))
        for result, logits in zip(results, expected, strict=True):
            assert result.scores == pytest.approx(logits, abs=1e-4)
            order = sorted(range(len(logits)), key=lambda i: -logits[i])
            assert [result.ranks[i] for i in order] == list(range(1, len(logits) + 1))
            assert result.failure is None


def test_an_untrained_judge_gives_reasons_and_no_scores(tiny_model, tmp_path):
    folder = tmp_path / "judge"
    shutil.copytree(tiny_model, folder)
    prompt = {
        "kind": "judge_pointwise",
        "prompt": "{question}{reference} {response}",
        "reference": "{reference}",
        "tag": "score",
    }
    write_card(folder / "judge.json", JudgeCard(Pointwise(prompt, 0, 4, 64, 24)))
    for result in grade(folder, ROWS, "pointwise", decoding=Decoding(12), engine=Engine("transformers")):
        assert result.scores == result.ranks == [None] * len(result.judgements)
        assert result.failure in ("unfinished", "unparsable")
        assert any(judgement.reason for judgement in result.judgements)
    with pytest.raises(UserError, match="not for pairwise"):
        grade(folder, ROWS, "pairwise", engine=Engine("transformers"))
