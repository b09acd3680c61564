"""A group followed from its source text to the gradient: numbers by hand, and the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import explain_group
from grrm.files import UserError, read_jsonl, write_jsonl, write_text
from grrm.report.explained_group import choose, explain, render

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = {
    "experiment": "tiny",
    "seed": 3,
    "prompts": {
        "translation": str(ROOT / "config/prompts/toy_translation.yaml"),
        "ranking": str(ROOT / "config/prompts/toy_ranking.yaml"),
    },
    "mt_grpo": {
        "rollouts": 4,
        "temperature": 1.0,
        "train_batch_size": 2,
        "mini_batch_size": 2,
        "micro_batch_size": 8,
        "max_response_length": 48,
        "max_grad_norm": 1.0,
        "sft_coef": 0.1,
        "reward": {
            "score_scale": 0.1,
            "default_reward": -0.4,
            "overlong_buffer": 16,
            "overlong_penalty": 0.4,
        },
    },
}
JUDGED = {
    "step": 1,
    "outcome": "judged",
    "scores": [9, 3],
    "candidate": [1, 0, 1, None],
    "lengths": [8, 8, 40, 8],
    # 40 tokens are half way through the last 16 of 48: a penalty of 0.2.
    "rewards": [0.3, 0.9, 0.1, -0.4],
    "src_text": "tuki ropo",
    "src_lang": "xx",
    "trg_lang": "yy",
    "candidates": ["vogo fegu", "vozu | zavi"],
    "answer": "A keeps the idiom.\n\n### Final Ranking:\nA > B\n\n### Scores:\nA: 9, B: 3",
}
SAME = {"step": 1, "outcome": "identical", "rewards": [0.5] * 4, "candidate": [0] * 4, "lengths": [8] * 4}
STEP = {"step": 1, "actor/grad_norm": 1.5, "actor/lr": 3e-5, "critic/score/mean": 2.9 / 8}


def explained(**changes: Any) -> dict[str, Any]:
    config = CONFIG | {"mt_grpo": CONFIG["mt_grpo"] | changes}
    return explain(config, [JUDGED, SAME], [{"step": 1, "val": 0}, STEP], 1)


def test_advantages_are_rewards_beside_their_groups_mean() -> None:
    found = explained()
    assert found["mean"] == pytest.approx(0.225)
    assert [rollout.advantage for rollout in found["rollouts"]] == pytest.approx(
        [0.075, 0.675, -0.125, -0.625]
    )
    assert [rollout.penalty for rollout in found["rollouts"]] == pytest.approx([0, 0, 0.2, 0])
    assert [rollout.label for rollout in found["rollouts"]] == ["B", "A", "B", None]
    assert [rollout.score for rollout in found["rollouts"]] == [3, 9, 3, None]


def test_a_weight_is_the_advantage_over_all_rollouts_and_the_likelihood_of_the_better_ones() -> None:
    # Eight rollouts in the step, two of them better than their groups.
    weights = [rollout.weight for rollout in explained()["rollouts"]]
    assert weights == pytest.approx(
        [0.075 / 8 + 0.1 * 0.075 / 2, 0.675 / 8 + 0.1 * 0.675 / 2, -0.125 / 8, -0.625 / 8]
    )
    assert [rollout.weight for rollout in explained(sft_coef=0.0)["rollouts"]] == pytest.approx(
        [0.075 / 8, 0.675 / 8, -0.125 / 8, -0.625 / 8]
    )


def test_the_group_with_the_most_different_rewards_is_shown() -> None:
    plain = JUDGED | {"rewards": [0.3, 0.9, 0.3, 0.3]}
    unread = {"step": 1, "outcome": "failed", "answer": "?", "rewards": [0.1, 0.2, 0.3, 0.4]}
    assert choose([unread, plain, JUDGED], 1) is JUDGED
    with pytest.raises(UserError, match=r"step 7: no judged group .*; expected one of \[1\]"):
        choose([JUDGED], 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mini_batch_size": 1}, r"mt_grpo.mini_batch_size is 1, expected 2"),
        ({"micro_batch_size": 4}, r"mt_grpo.micro_batch_size is 4, expected 8"),
    ],
)
def test_steps_of_several_updates_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        explained(**changes)


def test_records_of_different_runs_are_refused() -> None:
    with pytest.raises(UserError, match=r"step 1: the mean reward .* 0\.362500, that of the curve 0\.400000"):
        explain(CONFIG, [JUDGED, SAME], [STEP | {"critic/score/mean": 0.4}], 1)
    with pytest.raises(UserError, match="step 1: the training's curve does not have it"):
        explain(CONFIG, [JUDGED, SAME], [], 1)


def test_the_page_shows_prompts_answers_and_numbers() -> None:
    page = render(explained(), CONFIG)
    assert "```text\nTranslate from xx to yy: tuki ropo\n```" in page
    assert "A: vogo fegu\nB: vozu | zavi\n```" in page
    assert "| 3 | vozu \\| zavi | 40 |" in page
    assert "| 4 | none: the response holds no code block | 8 |" in page
    assert "| 2 | A | 9 | 0.000 | 0.900 | +0.675 | +0.1181 |" in page
    assert "| 4 | – | – | 0.000 | −0.400 | −0.625 | −0.0781 |" in page
    assert "Of its 2 groups 1 were judged, 1 held equal translations only" in page
    assert "{" not in page


def test_the_script_reads_an_experiments_folder(tmp_path: Path) -> None:
    write_text(tmp_path / "config.yaml", yaml.safe_dump(CONFIG))
    write_jsonl(tmp_path / "curves/mt_grpo.judgements.jsonl", [JUDGED, SAME])
    write_jsonl(tmp_path / "curves/mt_grpo.jsonl", [STEP])
    explain_group.main(["--results", str(tmp_path), "--step", "1", "--output", str(tmp_path / "page.md")])
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == render(explained(), CONFIG)


def test_the_page_of_the_documentation_is_that_of_a_run(tmp_path: Path) -> None:
    """Of a finished demonstration's step, as `--extract` kept it."""
    run, page = ROOT / "tests/data/explained_run", tmp_path / "page.md"
    (step,) = {row["step"] for part in explain_group.PARTS for row in read_jsonl(run / part)}
    arguments = ["--results", str(run), "--step", str(step), "--output", str(page)]
    explain_group.main([*arguments, "--extract", str(tmp_path / "again")])
    assert page.read_text(encoding="utf-8") == (ROOT / "docs/how_it_works.md").read_text(encoding="utf-8")
    for part in ("config.yaml", *explain_group.PARTS):
        assert (tmp_path / "again" / part).read_bytes() == (run / part).read_bytes()
