"""Equal to the bit: two steps of each RL stage, alone and beside two busy processes with delayed requests.

Run by the training environment's python; four real runs of verl's trainer, two at a time.
"""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("verl")

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from configurations import ROOT, experiment, render_rl
from grrm.prompts import load_ranking_prompt
from tiny_model import learn, save_tiny_model

SOURCES = ["the grass", "a frog", "the other side", "in the throat"]
TRANSLATIONS = ["```\ngreen\n```", "```\nfrog\n```"]
VERDICTS = ["good\n\n### Final Ranking:\n\nA > B\n\n### Scores:\n\nA: 9, B: 2\n", "no verdict"]
PROMPT = ROOT / "config/prompts/toy_ranking.yaml"
STEPS, PROMPTS, ROLLOUTS = 2, 4, 6
SMALL = {
    "steps": STEPS,
    "train_batch_size": PROMPTS,
    "mini_batch_size": PROMPTS // 2,
    "micro_batch_size": 4,
    "rollouts": ROLLOUTS,
    "max_prompt_length": 120,
    "max_response_length": 60,
    "learning_rate": 1e-3,
    "warmup_steps": 0,
    "save_steps": STEPS,
}
SLOW = {
    "actor_rollout_ref.rollout.agent.agent_loop_config_path": str(ROOT / "tests/slow_requests.yaml"),
    "actor_rollout_ref.rollout.agent.default_agent_loop": "slow",
}


def judge_prompts():
    render = load_ranking_prompt(PROMPT).render
    return [
        render(src_text=source, mt_texts=texts, src_lang="en", trg_lang="de")
        for source in SOURCES
        for texts in (["green", "frog"], ["frog", "green"])
    ]


def row(index, prompt, truth, **info):
    return {
        "data_source": "test",
        "prompt": [{"role": "user", "content": prompt}],
        "ability": "test",
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": {"index": index, "split": "train", "src_lang": "en", "trg_lang": "de", **info},
    }


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Configurations by stage; their models have seen too little to be sure of anything."""
    folder = tmp_path_factory.mktemp("stages")
    policy, judge = save_tiny_model(folder / "policy"), save_tiny_model(folder / "judge", seed=1)
    learn(policy, [(source, answer) for source in SOURCES for answer in TRANSLATIONS], steps=60)
    learn(judge, [(prompt, answer) for prompt in judge_prompts() for answer in VERDICTS], steps=60)
    config = experiment()
    ranking = [row(n, prompt, '{"A": 9, "B": 2}') for n, prompt in enumerate(judge_prompts())]
    translation = [row(n, source, "", src_text=source) for n, source in enumerate(SOURCES * 2)]
    reward = {
        **config["mt_grpo"]["reward"],
        "placement": "dedicated",
        "max_prompt_length": 120,
        "max_response_length": 60,
        "max_failure_rate": 1.0,
    }
    return {
        "grrm_rlvr": (
            ranking,
            render_rl(config, "grrm_rlvr", **SMALL),
            {"actor_rollout_ref.model.path": judge},
        ),
        "mt_grpo": (
            translation,
            render_rl(config, "mt_grpo", **SMALL, reward=reward),
            {
                "actor_rollout_ref.model.path": policy,
                "reward.reward_model.model_path": judge,
                "+reward.reward_kwargs.prompt": PROMPT,
                "reward.reward_manager.module.path": "pkg://slow_requests",
                "reward.reward_manager.name": "SlowRewardManager",
            },
        ),
    }


def train(folder, stages, stage, delay):
    """What a run left: the digest of its weights, and the curve without times."""
    rows, overrides, changes = stages[stage]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    files = dict.fromkeys(("data.train_files", "data.val_files"), "rows.parquet")
    texts = {key: str(value) for key, value in changes.items()}
    whole = overrides | SLOW | files | texts | {"trainer.default_local_dir": "checkpoints"}
    (folder / "config.yaml").write_text(yaml.safe_dump(whole))
    outputs = ["--model", "model", "--curve", "curve.jsonl"]
    if stage == "mt_grpo":
        outputs += ["--judgements", "judgements.jsonl"]
    script = [sys.executable, ROOT / "scripts/train_rl.py", "--python", sys.executable]
    done = subprocess.run(
        [*script, "--config", "config.yaml", "--data", "rows.parquet", *outputs],
        cwd=folder,
        env={
            **os.environ,
            "DELAY": str(delay),
            "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT / "tests")]),
        },
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    curve = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    for step in curve:
        for name in [name for name in step if name.startswith("timing_") or "perf/" in name]:
            del step[name]
    weights = (folder / "model/model.safetensors").read_bytes()
    return hashlib.sha256(weights).hexdigest(), curve


def train_all(folder, stages, delay):
    folder.mkdir()
    with ThreadPoolExecutor(len(stages)) as pool:
        runs = {stage: pool.submit(train, folder / stage, stages, stage, delay) for stage in stages}
        return {stage: run.result() for stage, run in runs.items()}


@pytest.mark.timeout(2400)
def test_weights_do_not_depend_on_what_else_the_machine_does(stages, tmp_path):
    quiet = train_all(tmp_path / "quiet", stages, 0)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        loaded = train_all(tmp_path / "loaded", stages, 0.4)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    for stage in stages:
        (digest, curve), (other, others) = quiet[stage], loaded[stage]
        assert [step["step"] for step in curve] == list(range(1, STEPS + 1))
        assert curve[0]["actor/grad_norm"] > 0, f"{stage}: nothing to learn, nothing to compare"
        for step in curve:
            cut_off = step["response_length/max"] == SMALL["max_response_length"]
            assert (step["response_length/clip_ratio"] > 0) == cut_off
        assert curve == others, stage
        assert digest == other, stage
