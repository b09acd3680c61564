"""Policy and judge on devices of their own, or on the same ones: two real runs of verl's trainer.

Run by the training environment's python; each run takes about a minute on two cores.
"""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("verl")

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

import train_rl
from configurations import ROOT, experiment, render_rl
from grrm.prompts import load_ranking_prompt
from tiny_model import learn, save_tiny_model

SOURCES = ["the grass", "a frog", "the other side", "in the throat"]
TRANSLATIONS = ["```\ngreen\n```", "```\nfrog\n```"]
VERDICT = "good\n\n### Final Ranking:\n\nA > B\n\n### Scores:\n\nA: 9, B: 2\n"
PROMPT = ROOT / "config/prompts/toy_ranking.yaml"
STEPS, PROMPTS, ROLLOUTS = 2, 2, 4


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    policy, judge = save_tiny_model(folder / "policy"), save_tiny_model(folder / "judge", seed=1)
    learn(policy, [(source, answer) for source in SOURCES for answer in TRANSLATIONS])
    render = load_ranking_prompt(PROMPT).render
    prompts = [
        render(src_text=source, mt_texts=texts, src_lang="en", trg_lang="de")
        for source in SOURCES
        for texts in (["green", "frog"], ["frog", "green"])
    ]
    learn(judge, [(prompt, VERDICT) for prompt in prompts])
    return policy, judge


@pytest.fixture(params=["dedicated", "colocated"])
def run(request, models, tmp_path, monkeypatch):
    """A short GRPO run: its placement, the curve and the judged groups."""
    monkeypatch.chdir(tmp_path)
    policy, judge = models
    rows = [
        {
            "data_source": "translation",
            "prompt": [{"role": "user", "content": source}],
            "ability": "translation",
            "reward_model": {"style": "rule", "ground_truth": ""},
            "extra_info": {
                "index": index,
                "split": "train",
                "src_text": source,
                "src_lang": "en",
                "trg_lang": "de",
            },
        }
        for index, source in enumerate(SOURCES)
    ]
    pq.write_table(pa.Table.from_pylist(rows), "rows.parquet")
    config = experiment()
    settings = {
        "steps": STEPS,
        "train_batch_size": PROMPTS,
        "mini_batch_size": PROMPTS,
        "micro_batch_size": PROMPTS * ROLLOUTS,
        "rollouts": ROLLOUTS,
        "max_prompt_length": 40,
        "max_response_length": 40,
        "learning_rate": 1e-5,
        "warmup_steps": 0,
        "save_steps": STEPS,
        "reward": {
            **config["mt_grpo"]["reward"],
            "placement": request.param,
            "max_prompt_length": 120,
            "max_response_length": 100,
            "deadline": 120,
            "max_failure_rate": 1.0,
        },
    }
    overrides = render_rl(config, "mt_grpo", **settings) | {
        "actor_rollout_ref.model.path": str(policy),
        "reward.reward_model.model_path": str(judge),
        "data.train_files": "rows.parquet",
        "data.val_files": "rows.parquet",
        "trainer.default_local_dir": "checkpoints",
        "+reward.reward_kwargs.prompt": str(PROMPT),
    }
    Path("config.yaml").write_text(yaml.safe_dump(overrides))
    train_rl.main(
        [
            *["--config", "config.yaml", "--data", "rows.parquet", "--python", sys.executable],
            *["--model", "model", "--curve", "curve.jsonl", "--judgements", "judgements.jsonl"],
        ]
    )
    curve, judged = (
        [json.loads(line) for line in Path(name).read_text().splitlines()]
        for name in ("curve.jsonl", "judgements.jsonl")
    )
    return request.param, curve, judged


@pytest.mark.timeout(900)
def test_every_group_is_judged_once_wherever_the_judge_is(run):
    placement, curve, judged = run
    assert [row["step"] for row in curve] == list(range(1, STEPS + 1))
    assert len(judged) == STEPS * PROMPTS
    assert {len(group["rewards"]) for group in judged} == {ROLLOUTS}
    assert {group["step"] for group in judged} == {1, STEPS}
    assert [group for group in judged if group["outcome"] == "judged"]
    for row in curve:
        assert row["reward/groups"] == PROMPTS
        rewards = [reward for group in judged if group["step"] == row["step"] for reward in group["rewards"]]
        assert row["critic/score/mean"] == pytest.approx(sum(rewards) / len(rewards), abs=1e-5)
    # Sharing devices, the judge is asked after all rollouts; else while others are still generated.
    assert all(("timing_s/reward" in row) == (placement == "colocated") for row in curve)
    assert (Path("model") / "config.json").exists()
