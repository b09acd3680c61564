"""Published recipes: their forms of answers, what they reward, how they are marked, and their toy."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from configurations import ROOT, experiment, recipe
from grrm.catalogue.recipes import RECIPES
from grrm.config import load_experiment
from grrm.config.recipe import recipe_name
from grrm.data import toy_judge
from grrm.data.sft_rows import scoring_chats
from grrm.data.toy_world import make_language
from grrm.extract import in_form
from grrm.files import UserError
from grrm.judges.groups import Group
from grrm.judges.prompts import PromptKind, load_judge_prompt
from grrm.prompts import load_pointwise_prompt, load_translation_prompt
from grrm.report.recipes import Run, recipes_document, recipes_text
from grrm.report.summary import recipe_lines
from grrm.rewards.group import GroupOptions, GroupRewards, Rollout
from grrm.rewards.group.manager import asking_of
from grrm.verdicts import parse_order, parse_preference, parse_score

FILES = sorted((ROOT / "config/recipes").glob("*.yaml"))
TAGS = ("think", "translate")


def rewards(options: GroupOptions, *texts: str, length: int = 10) -> list[float]:
    """Rewards of a group's rollouts."""

    async def run() -> list[float]:
        group = GroupRewards(options, asking_of(options))
        source = Group("Das Haus ist alt.", (), "The house is old.", "de", "en")
        answers = [
            group.reward("uid", Rollout(text, length, number), source, expected=len(texts), step=1)
            for number, text in enumerate(texts)
        ]
        return [answer.value for answer in await asyncio.gather(*answers)]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<think>hm</think><translate> The house </translate>", "The house"),
        (
            "Sure: <think>hm</think>\n<translate>The house</translate> Done.",
            "The house",
        ),  # text outside is free
        ("<think>hm</think><translate> </translate>", ""),
        ("<think>hm<translate>The house</translate>", None),  # the slip of the published example
        ("<translate>The house</translate><think>hm</think>", None),
        ("<think>a</think><think>b</think><translate>c</translate>", None),
        ("<think>hm</think><translate>a</translate><translate>b</translate>", None),
        ("<think>hm <translate></think>The house</translate>", None),
        ("<THINK>hm</THINK><translate>The house</translate>", None),
        ("The house", None),
        ("", None),
    ],
)
def test_a_form_is_its_tags_once_and_in_order(text: str, found: str | None) -> None:
    assert in_form(text, TAGS) == found


def test_the_published_slip_is_not_in_our_prompt() -> None:
    prompt = load_translation_prompt(ROOT / "config/prompts/mt_r1_zero.yaml", "think-translate")
    assert not prompt.chat
    asked = prompt.render(src_text="Das Haus", src_lang="de", trg_lang="en")
    example = asked[asked.index("that is:") :]
    assert in_form(example, TAGS)
    assert asked.rstrip().endswith("Assistant:")


@pytest.mark.parametrize("variant", ["lex", "sem", "mix"])
def test_mt_r1_zero_rewards_as_published(variant: str) -> None:
    reward = recipe(f"mt_r1_zero_{variant}")["mt_grpo"]["reward"]
    lexical = [{"kind": "format"}, {"kind": "bleu"}]
    # What CometKiwi would say cannot be had here: BLEU stands in its place, with the same scale.
    again = {"kind": "bleu", "name": "again"}
    parts = {"lex": lexical, "sem": lexical, "mix": [*lexical, again]}[variant]
    assert len(parts) == len(reward["parts"])
    options = GroupOptions(
        kind="mixture",
        parts=parts,
        form="think-translate",
        score_scale=reward["score_scale"],
        default_reward=reward["default_reward"],
        empty_reward=reward["empty_reward"],
        overlong_buffer=reward["overlong_buffer"],
    )
    perfect = "<think>hm</think><translate>The house is old.</translate>"
    empty, broken = "<think>hm</think><translate></translate>", "<translate>The house is old.</translate>"
    metrics = len(parts) - 1
    assert rewards(options, perfect, empty, broken) == pytest.approx([1 + metrics, -1, -3])
    (alone,) = rewards(options, perfect)
    assert alone == pytest.approx(1 + metrics)  # a group of one translation is scored, too
    assert [part["kind"] for part in reward["parts"]] == {
        "lex": ["format", "bleu"],
        "sem": ["format", "cometkiwi"],
        "mix": ["format", "bleu", "cometkiwi"],
    }[variant]


def test_a_plain_answer_that_was_cut_or_is_empty_is_worth_minus_one_as_in_peg_rl() -> None:
    reward = recipe("peg_rl_baseline")["mt_grpo"]["reward"]
    options = GroupOptions(
        kind="chrf",
        form="plain",
        max_response_length=512,
        score_scale=reward["score_scale"],
        default_reward=reward["default_reward"],
        overlong_buffer=0,
    )
    whole, empty = rewards(options, "The house is old.", " \n")
    assert (whole, empty) == (pytest.approx(2.0), -1)
    assert rewards(options, "The house is old.", length=512) == [-1]
    assert rewards(options, "The house is old.", length=511) == [pytest.approx(2.0)]


def test_every_file_belongs_to_a_recipe() -> None:
    used = {name for files in RECIPES.values() for name in files}
    assert {path.stem for path in FILES} == used | {"toy", "toy_start"}


@pytest.mark.parametrize("name", sorted({files[0] for files in RECIPES.values()} - {"grrm"}))
def test_every_setting_of_a_training_says_where_it_comes_from(name: str) -> None:
    lines = (ROOT / f"config/recipes/{name}.yaml").read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("mt_grpo:"))
    settings = [line for line in lines[start:] if re.match(r"\s+\w+: \S", line)]
    assert len(settings) > 4
    for line in settings:
        assert re.search(r" # \S|kind: |parts: ", line), f"{line.strip()} has no source"


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_not_all_published_is_marked_wherever_it_appears(name: str) -> None:
    config = recipe(name)
    exact = not (name == "ssr_zero" or name.endswith("_alone"))
    assert config["recipe"]["exact"] is exact
    assert recipe_name(config["recipe"]).startswith("in the style of ") is not exact
    (line,) = recipe_lines(config)
    assert ("Not published, chosen here" in line) is not exact


def test_a_recipe_in_a_style_has_to_say_what_was_chosen(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        yaml.safe_dump({"recipe": {"title": "X", "source": "y", "exact": False}}), encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"recipe\.open is missing"):
        load_experiment(ROOT, [file])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reward": {"kind": "format"}}, "expected it as a part of a mixture"),
        ({"policy_loss": "ppo"}, "mt_grpo.sft_coef is 0.1, expected 0"),
        ({"reward": {"placement": "policy"}}, "expected a kind or part that asks any model"),
        ({"reward": {"placement": "policy", "kind": "bleu"}}, "expected a kind or part that asks any model"),
        (
            {"reward": {"placement": "policy", "kind": "sqm", "model": "x/y"}},
            "expected null for mt_grpo.reward.model",
        ),
    ],
)
def test_what_does_not_go_together_is_said(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as raised:
        load_experiment(ROOT, changes={"mt_grpo": changes})
    assert words in str(raised.value)


def test_a_policy_that_judges_itself_has_room_for_the_questions() -> None:
    files = [ROOT / "config/paper.yaml", ROOT / "config/recipes/ssr_zero.yaml"]
    with pytest.raises(UserError, match="are 5096 tokens, expected at most 3072"):
        load_experiment(ROOT, files, {"mt_grpo": {"reward": {"max_response_length": 3048}}})


def test_the_toy_judge_says_what_is_true_in_the_forms_it_is_asked_for() -> None:
    language = make_language()
    source = " ".join(language.plain_words[:5])
    best = language.reference(source)
    worse, worst = f"{best} wrong", f"{best} wrong wrong"
    shown = {"question": source, "source_language": "Loran", "target_language": "Elmish"}

    def asked(kind: PromptKind, **texts: Any) -> str:
        name = kind.removeprefix("judge_")
        prompt = load_judge_prompt(f"{ROOT}/config/prompts/translation_{name}.yaml", kind)
        return toy_judge.judge(language, prompt.render(**shown, **texts))

    for first, second, verdict in [(best, worse, "A"), (worst, best, "B"), (worse, f"{best} bad", "tie")]:
        assert parse_preference(asked("judge_pairwise", first=first, second=second)) == verdict
    assert [parse_score(asked("judge_pointwise", response=text), 1, 10) for text in (best, worst)] == [10, 6]
    order = parse_order(asked("judge_listwise", candidates=[worst, best, f"{best} bad bad", worse]), 4)
    assert order == [{1}, {3}, {0, 2}]
    with pytest.raises(ValueError, match="expected a source and translations"):
        toy_judge.judge(language, "What is 2 + 2?")


def test_the_toy_judge_answers_over_http_and_refuses_what_it_does_not_know() -> None:
    with toy_judge.serving() as url:
        body = json.dumps({"messages": [{"role": "user", "content": "What is 2 + 2?"}]}).encode()
        request = urllib.request.Request(
            f"{url}/chat/completions", body, {"Content-Type": "application/json"}
        )
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request, timeout=10)
        assert raised.value.code == 400


def test_candidates_of_groups_become_questions_about_single_translations() -> None:
    prompt = load_pointwise_prompt(ROOT / "config/prompts/toy_sqm.yaml")
    row = {
        "src_text": "a b",
        "src_lang": "de",
        "trg_lang": "en",
        "mt_texts": ["x y", "x z"],
        "scores": [9, 3],
    }
    first, second = scoring_chats(row, prompt)
    assert [turn["content"] for turn in first["messages"]] == ["Grade from German to English: a b = x y", "9"]
    assert second["messages"][1]["content"] == "3"
    assert prompt.read(second["messages"][1]["content"]) == 3


def test_the_table_marks_styles_and_own_metrics() -> None:
    value = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3}
    metrics = {"bleu": {**value, "value": 40.0}, "chrf++": {**value, "value": 60.0}, "comet": value}
    found = {
        "baseline": {"metrics": metrics},
        "kinds": [
            {
                "metrics": {**metrics, "bleu": {**value, "value": 45.5}},
                "difference": {},
                "n": 3,
                "training": {"steps": 12, "reward": {"first": 0.1, "last": 0.25}},
                "judge_calls": {},
            }
        ],
    }
    run = Run(
        "ssr_zero", recipe("ssr_zero")["recipe"], "SFT on both tasks", ["format", "bleu"], found, 384, 90.0
    )
    text = recipes_text(recipes_document([run], {"cpu": "a processor", "cores": 2}, "2026-11-30"))
    assert "| in the style of SSR-Zero | SFT on both tasks | 0.10 → 0.25 | 40.0 → 45.5* | 60.0 → " in text
    assert "| 12 | 384 | 1.5 min |" in text
    assert "2026-11-30, a processor, 2 cores" in text


def test_the_demonstration_itself_follows_no_recipe() -> None:
    assert recipe_lines(experiment()) == []
