"""Every prompt that a configuration names is read before anything runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import render_rl
from configurations import experiment
from grrm.files import UserError
from grrm.judges.configured_prompts import check_prompts
from grrm.judges.prompts import check_judge_prompt

FUNCTION = "def ask(*, question, response, reference{more}):\n    return question + response + '<score>'\n"


@pytest.fixture(autouse=True)
def checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])


def changed(path: str, value: Any, *overlays: str) -> dict[str, Any]:
    """The configuration with another value at a dotted path."""
    config = experiment(*overlays)
    *above, last = path.split(".")
    section = config
    for key in above:
        section = section[key]
    section[last] = value
    return config


@pytest.mark.parametrize(
    "overlays",
    [(), ("smoke",), ("paper",), ("paper", "paper_released"), ("judges",), ("paper", "judges_paper")],
)
def test_the_prompts_of_every_configuration_will_do(overlays: tuple[str, ...]) -> None:
    check_prompts(experiment(*overlays))


@pytest.mark.parametrize(
    ("section", "kind", "file"),
    [
        ("mt_grpo", "grrm", "ranking.yaml"),
        ("mt_grpo", "sqm", "sqm.yaml"),
        ("mt_grpo", "pairwise_elo", "translation_pairwise.yaml"),
        ("mt_grpo", "bradley_terry", "translation_plain.yaml"),
        ("alignment.grpo", "pairwise_dgr", "judge_pairwise.yaml"),
        ("alignment.grpo", "listwise", "judge_listwise.yaml"),
    ],
)
def test_an_unknown_placeholder_of_a_reward_is_named(
    tmp_path: Path, section: str, kind: str, file: str
) -> None:
    mine = tmp_path / "mine.yaml"
    config = changed(f"{section}.reward.kind", kind, "judges")
    reward = config["mt_grpo"]["reward"] if section == "mt_grpo" else config["alignment"]["grpo"]["reward"]
    reward["prompt"] = str(mine)
    with pytest.raises(UserError, match=r"mine\.yaml: no such prompt file"):
        check_prompts(config)
    templates = yaml.safe_load(Path("config/prompts", file).read_text(encoding="utf-8"))
    mine.write_text(yaml.safe_dump(templates))
    check_prompts(config)
    mine.write_text(yaml.safe_dump(templates | {"prompt": templates["prompt"] + "{colour}"}))
    with pytest.raises(UserError, match=r"mine\.yaml: prompt has the unknown placeholder \{colour\}"):
        check_prompts(config)


@pytest.mark.parametrize(
    ("path", "overlays"),
    [
        ("prompts.ranking", ()),
        ("prompts.translation", ()),
        ("judges.prompts.pointwise", ("judges",)),
        ("judges.prompts.pairwise", ("judges",)),
    ],
)
def test_a_file_that_holds_another_prompt_is_named(path: str, overlays: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"sqm\.yaml: kind is 'sqm'; expected"):
        check_prompts(changed(path, "config/prompts/sqm.yaml", *overlays))


def test_the_judge_of_the_evaluation_is_asked_what_can_be_asked() -> None:
    config = changed("evaluate.llm_judge.prompt", "config/prompts/sqm.yaml")
    check_prompts(config)  # nobody asks it
    config["evaluate"]["metrics"] = ["llm_judge"]
    with pytest.raises(UserError, match=r"sqm\.yaml: kind is 'sqm'; expected 'judge_translation'"):
        check_prompts(config)


def test_kinds_that_are_compared_have_prompts_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def check(spec: str, kind: Any, **more: Any) -> Any:
        seen.append((spec, kind))
        return check_judge_prompt(spec, kind, **more)

    monkeypatch.setattr("grrm.judges.configured_prompts.check_judge_prompt", check)
    check_prompts(changed("reward_comparison", ["grrm", "bleu", "pairwise_dgr", "pointwise"]))
    assert seen == [
        ("config/prompts/translation_pairwise.yaml", "judge_pairwise"),
        ("config/prompts/translation_pointwise.yaml", "judge_pointwise"),
    ]


def test_what_is_no_translation_has_no_languages() -> None:
    prompt = "config/prompts/translation_pairwise.yaml"
    with pytest.raises(UserError, match=r"translation_pairwise\.yaml: .* asks for source_language, target_"):
        check_prompts(changed("alignment.grpo.reward.prompt", prompt, "judges"))


def test_the_authors_prompts_are_not_there_yet() -> None:
    config = changed("prompts.ranking", "upstream")
    config["prompts"]["translation"] = "upstream"
    check_prompts(config)


def test_a_function_is_not_run_while_the_workflow_is_planned(tmp_path: Path) -> None:
    config = changed("mt_grpo.reward.kind", "pointwise")
    config["mt_grpo"]["reward"]["prompt"] = f"{tmp_path}/mine.py:ask"
    with pytest.raises(UserError, match=r"mine\.py: no such file"):
        check_prompts(config)
    (tmp_path / "mine.py").write_text("raise SystemError\n")
    check_prompts(config)


# ---------------------------------------------------------------- functions, when the training is rendered


def render(tmp_path: Path, function: str, task: str = "translation") -> None:
    settings = changed("mt_grpo.reward.kind", "pointwise")["mt_grpo"]
    settings["reward"]["judge"] |= {"url": "http://127.0.0.1:9/v1", "model": "judge"}
    render_rl.main(
        [
            *["--stage", "mt_grpo", "--settings", json.dumps(settings), "--model", "m"],
            *["--data", "d", "--judge-prompt", f"{tmp_path}/mine.py:{function}", "--task", task],
            *["--checkpoints", "c", "--output", str(tmp_path / "config.yaml")],
        ]
    )


@pytest.mark.parametrize("more", ["", ", **languages", ", source_language", ", colour='red'"])
def test_a_function_that_will_do_is_rendered(tmp_path: Path, more: str) -> None:
    (tmp_path / "mine.py").write_text(FUNCTION.format(more=more))
    render(tmp_path, "ask")
    assert (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize(
    ("text", "task", "words"),
    [
        ("x = 1\n", "translation", r"mine\.py: no function ask"),
        ("import flax_of_no_kind\n", "translation", r"mine\.py: cannot be loaded \(ModuleNotFoundError: "),
        ("def ask(\n", "translation", r"mine\.py: cannot be loaded \(SyntaxError: "),
        (FUNCTION.format(more=", source_language"), "conversation", r"mine\.py:ask: .* asks for source_l"),
        ("def ask(question, /): ...\n", "translation", r"mine\.py:ask: takes question by position only"),
    ],
)
def test_a_function_that_will_not_do_is_named_before_the_training(
    tmp_path: Path, text: str, task: str, words: str
) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError, match=words):
        render(tmp_path, "ask", task)
    assert not (tmp_path / "config.yaml").exists()


def test_it_is_light(tmp_path: Path) -> None:
    code = (
        "import sys, grrm.judges.configured_prompts\n"
        "sys.exit(bool({'numpy', 'pyarrow', 'httpx', 'sacrebleu', 'torch'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], cwd="scripts", check=True)
