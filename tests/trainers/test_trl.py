"""TRL's own GRPOTrainer with the rewards of this project."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from grrm.files import UserError
from grrm.rewards.trl import GroupReward, group_reward
from tiny_model import save_tiny_model

REFERENCE = "ein kleiner roter Hund"
# What the policy says to every prompt, and its reward: 0.01 x (0.7 x words + 0.3 x BLEU / 10).
COMPLETIONS = {
    f"So.\n\n```\n{REFERENCE}\n```": 0.01 * (0.7 * 4 + 0.3 * 10),
    "```\nxx\n```": 0.01 * (0.7 * 1 + 0.3 * 0),
    "No translation at all.": -0.04,
    "```\nyy zz\n```": 0.01 * (0.7 * 2 + 0.3 * 0),
}
FUNCTIONS = """
import json
from pathlib import Path

def words(group):
    with Path(__file__).with_suffix(".jsonl").open("a") as file:
        file.write(json.dumps(group) + "\\n")
    return [len(text.split()) for text in group["candidates"]]

def vowels(group):
    return [sum(text.count(letter) for letter in "aeiou") for text in group["candidates"]]

def refuses(group):
    raise RuntimeError("not today")
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FUNCTIONS)
    return path


def train(
    model: Path, reward: GroupReward, rows: list[dict[str, Any]], folder: Path, **more: Any
) -> GRPOTrainer:
    """Three steps of two prompts with four completions each."""
    arguments = GRPOConfig(
        output_dir=str(folder),
        max_steps=3,
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=32,
        learning_rate=1e-3,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        seed=1,
    )
    trainer = GRPOTrainer(
        str(model),
        reward_funcs=[reward],
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model),
        **more,
    )
    trainer.train()
    return trainer


def changed(model: Path, trainer: GRPOTrainer) -> bool:
    before = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).state_dict()
    after = trainer.model.state_dict()
    return any(not torch.equal(before[name], after[name].float()) for name in before)


def test_known_completions_get_the_rewards_computed_by_hand(
    model: Path, functions: Path, tmp_path: Path
) -> None:
    reward = group_reward(
        kind="mixture",
        name="mixed",
        num_generations=4,
        parts=[
            {"kind": "function", "function": f"{functions}:words", "range": [0, 10], "weight": 0.7},
            {"kind": "bleu", "weight": 0.3},
        ],
    )
    calls: list[dict[str, Any]] = []

    class Watched(GroupReward):
        async def __call__(self, *args: Any, **kwargs: Any) -> list[float | None]:
            rewards = await super().__call__(*args, **kwargs)
            calls.append({**kwargs, "rewards": rewards})
            return rewards

    reward.__class__ = Watched

    def say(prompts: list[Any], trainer: GRPOTrainer) -> dict[str, Any]:
        tokenizer = trainer.processing_class
        texts = list(COMPLETIONS)
        said = [tokenizer.encode(texts[i % 4], add_special_tokens=False) for i in range(len(prompts))]
        return {
            "prompt_ids": [tokenizer.encode(prompt) for prompt in prompts],
            "completion_ids": said,
            "logprobs": [[0.0] * len(ids) for ids in said],
        }

    rows = [
        {
            "prompt": f"Translate {number}: ",
            "src_text": f"a small red dog {number}",
            "trg_text": REFERENCE,
            "src_lang": "en",
            "trg_lang": "de",
            "rubric": f"rubric {number}",
        }
        for number in range(6)
    ]
    trainer = train(model, reward, rows, tmp_path, rollout_func=say)
    assert len(calls) == 3
    for call in calls:
        assert call["completions"] == list(COMPLETIONS) * 2
        assert call["rewards"] == pytest.approx(list(COMPLETIONS.values()) * 2)
    groups = [json.loads(line) for line in functions.with_suffix(".jsonl").read_text().splitlines()]
    assert len(groups) == 6  # one call for each group of each step
    for group in groups:
        assert sorted(group["candidates"]) == [REFERENCE, "xx", "yy zz"]
        assert group["source"] == f"a small red dog {group['rubric'][-1]}"  # all columns of the row
        assert group["reference"] == REFERENCE
    log = trainer.state.log_history[:3]
    for step in log:
        assert step["rewards/mixed/mean"] == pytest.approx(sum(COMPLETIONS.values()) / 4)
        assert step["rewards/mixed/valid"] == 0.75
        assert step["rewards/mixed/judge_failed"] == 0
        assert step["rewards/mixed/part_function"] == pytest.approx((4 + 1 + 2) / 3)
        assert step["rewards/mixed/part_bleu"] == pytest.approx(10 / 3)
        assert step["rewards/mixed/groups"] == 2
    assert changed(model, trainer)


def test_the_policys_own_completions_are_rewarded_by_a_function(
    model: Path, functions: Path, tmp_path: Path
) -> None:
    reward = group_reward(kind="function", task="conversation", function=f"{functions}:vowels", range=[0, 40])
    rows = [
        {
            "prompt": [{"role": "user", "content": f"What is {number}?"}],
            "question": f"What is {number}?",
            "chosen": "aeiou",
        }
        for number in range(6)
    ]
    trainer = train(model, reward, rows, tmp_path)
    completions = trainer._logs["completion"]
    rewards = trainer._logs["rewards"]["function"]
    assert len(completions) == len(rewards) > 0
    for completion, earned in zip(completions, rewards, strict=True):
        text = completion[-1]["content"].strip()
        vowels = sum(text.count(letter) for letter in "aeiou")
        assert earned == pytest.approx(0.1 * vowels / 40 if text else -0.04, abs=1e-6)
    assert len(set(rewards)) > 1
    assert changed(model, trainer)


# ---------------------------------------------------------------- without a trainer


def ask(
    reward: GroupReward, prompts: list[Any], completions: list[Any], **columns: Any
) -> list[float | None]:
    return asyncio.run(reward(prompts=prompts, completions=completions, **columns))


ROW = {"src_lang": "en", "trg_lang": "de", "trg_text": REFERENCE}


def columns(*sources: str | None, **more: Any) -> dict[str, list[Any]]:
    return {
        "src_text": list(sources),
        **{name: [value] * len(sources) for name, value in (ROW | more).items()},
    }


def test_a_failure_is_neutral_and_a_row_of_another_task_has_no_reward(functions: Path) -> None:
    reward = group_reward(kind="function", function=f"{functions}:refuses", range=[0, 10])
    texts = ["```\na\n```", "```\nb\n```", "none", "```\na\n```"]
    asked = columns("s", "s", "s", None)
    assert ask(reward, ["p"] * 3 + ["q"], texts, **asked) == [0.05, 0.05, -0.04, None]


def test_neighbours_with_the_same_prompt_are_a_group(functions: Path) -> None:
    texts = [f"```\n{'w ' * number}\n```" for number in (1, 2, 3, 4)]
    options: dict[str, Any] = {"kind": "function", "function": f"{functions}:words", "range": [0, 10]}
    for size, groups in ((0, [4]), (2, [2, 2]), (4, [4])):
        figures: dict[str, float] = {}
        reward = group_reward(**options, num_generations=size)
        rewards = ask(reward, ["p"] * 4, texts, log_metric=figures.__setitem__, **columns(*["s"] * 4))
        assert rewards == pytest.approx([0.01, 0.02, 0.03, 0.04])
        assert figures["rewards/function/groups"] == len(groups)
    with pytest.raises(UserError, match="4 completions of a prompt stand together, expected 3"):
        ask(group_reward(**options, num_generations=3), ["p"] * 4, texts, **columns(*["s"] * 4))


def test_what_the_data_set_lacks_is_named(functions: Path) -> None:
    reward = group_reward(kind="function", function=f"{functions}:words", range=[0, 10])
    with pytest.raises(UserError, match=r"no column src_text.*it has domain, rubric"):
        ask(reward, ["p"], ["c"], rubric=["r"], domain=["d"])
    with pytest.raises(UserError, match="unknown colour"):
        group_reward(kind="bleu", colour="red")


def test_the_length_penalty_counts_tokens(functions: Path) -> None:
    reward = group_reward(
        kind="function",
        function=f"{functions}:words",
        range=[0, 10],
        max_response_length=20,
        overlong_buffer=10,
    )
    texts = ["```\na\n```", "```\na b\n```"]
    ids = [[0] * 20, [0] * 10]
    rewards = ask(reward, ["p"] * 2, texts, completion_ids=ids, **columns("s", "s"))
    assert rewards == pytest.approx([0.01 - 0.04, 0.02])
