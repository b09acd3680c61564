"""Prompts that are too long for the judge are counted before a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grrm.engines.verl_rewards import judge_lengths
from grrm.files import UserError
from grrm.judges.groups import Group
from grrm.rewards.group import GroupOptions
from grrm.rewards.try_lengths import check_lengths, prompt_lengths, spread_rows


class Words:
    """A tokenizer with a token a word, and two around a turn."""

    chat_template = "x"

    def apply_chat_template(self, messages: Any, **_: Any) -> list[str]:
        return ["<s>", *messages[0]["content"].split(), "</s>"]


@pytest.fixture
def options(tmp_path: Path) -> GroupOptions:
    path = tmp_path / "ranking.yaml"
    path.write_text(
        "kind: ranking_score\n"
        'prompt: "{source_language} {target_language} {source}\\n{candidates}"\n'
        "candidate: '{label} {text}'\n"
    )
    return GroupOptions(prompt=str(path), max_failure_rate=0.2)


def row(source: int, reference: int = 1) -> Group:
    return Group("s " * source, (), "r " * reference, "de", "en")


def check(options: GroupOptions, rows: list[Group]) -> str:
    return check_lengths(options, rows, Words(), longest=40, rollouts=4)


def test_lengths_are_those_of_whole_prompts(options: GroupOptions) -> None:
    group = Group("one two three", ("a b", "c"), None, "de", "en")
    # The turn, both languages, the source, and each candidate with its label.
    assert prompt_lengths(options, [group], Words()) == [2 + 2 + 3 + 3 + 2]


def test_what_fits_by_its_bytes_is_not_encoded(options: GroupOptions) -> None:
    class Counting(Words):
        encoded = 0

        def apply_chat_template(self, messages: Any, **options: Any) -> list[str]:
            self.encoded += 1
            return super().apply_chat_template(messages, **options)

    tokenizer, groups = Counting(), [Group("s" * size, ("a", "b"), None, "de", "en") for size in (20, 900)]
    short, long = prompt_lengths(options, groups, tokenizer, enough=100)
    # To know the template, which has been looked at once before, and the longer one.
    assert (tokenizer.encoded, long) == (3, 2 + 2 + 1 + 2 + 2)
    assert long <= short <= 100
    # One sign of three bytes that becomes eighteen letters where it is normalised.
    (wide,) = prompt_lengths(
        options, [Group("\ufdfa" * 4, ("a", "b"), None, "de", "en")], tokenizer, enough=90
    )
    assert tokenizer.encoded == 5 and wide < 20


def test_nothing_is_said_where_everything_fits(options: GroupOptions) -> None:
    assert check(options, [row(5, 4)] * 10) == ""


def test_rows_that_are_likely_to_be_too_long_are_counted(options: GroupOptions) -> None:
    said = check(options, [row(5, 4)] * 8 + [row(5, 30), row(40)])
    assert said.startswith("2 of 10 rows (looked at) are likely to make prompts over the judge's 40 tokens")
    assert "(1 never can be)" in said
    assert "max_prompt_length" in said


def test_a_training_that_would_stop_is_refused(options: GroupOptions) -> None:
    rows = [row(5)] * 7 + [row(60)] * 3
    with pytest.raises(
        UserError, match=r"3 of 10 rows .* can never be judged: .* of up to 68 tokens.* takes 40"
    ):
        check(options, rows)


def test_rows_are_taken_from_all_of_the_file(tmp_path: Path) -> None:
    about = {"src_lang": "de", "trg_lang": "en", "trg_text": "x"}
    rows = [{"extra_info": {"src_text": str(number), **about}} for number in range(2500)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    found = [int(group.question) for group in spread_rows(tmp_path / "rows.parquet", "translation")]
    assert (len(found), found[0], found[-1]) == (1000, 0, 2497)


def test_only_a_judge_of_groups_that_verl_serves_is_looked_at() -> None:
    config = {
        "reward.reward_model.model_path": "judge",
        "reward.reward_model.rollout.prompt_length": 96,
        "actor_rollout_ref.rollout.n": 4,
        "+reward.reward_kwargs.semantics": "strict",
    }
    assert judge_lengths(config) == ["--judge", "judge", "--longest", "96", "--rollouts", "4"]
    assert judge_lengths({**config, "+reward.reward_kwargs.kind": "pairwise_dgr"}) is None
    assert judge_lengths({name: value for name, value in config.items() if "model_path" not in name}) is None
