"""The paper's order of magnitude in small: GRPO of 64 prompts with four rollouts each, rendered for one GPU.

Real here: the number of tokens and of special tokens, ChatML, answers of up to 512 tokens, the prompt of the
judge, and that it is asked almost as much as fits. The KV cache is far too small for all requests of a step,
so that vLLM preempts some and computes them again.
"""

from __future__ import annotations

import math
import random
import re
import string
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil
import pytest
import requests

from configurations import ROOT, experiment
from gpu_runs import OVERLAYS, prepare, rendered, translation_row
from grrm.prompts import load_ranking_prompt, load_translation_prompt
from on_cpu import on_cpu
from qwen_model import Pair, learn_answers, save_qwen_model

pytestmark = [pytest.mark.full, pytest.mark.timeout(2400)]

PROMPTS, ROLLOUTS, LONGEST = 64, 4, 512
LONGEST_JUDGED = 2048
# 48,000 tokens of a model with two layers and one key-value head of 32 numbers, in bf16: half of a step's.
KV_CACHE = 12 << 20

# Texts are pieces of two chains of words, of one token each. Wherever an answer begins, it goes on to the end
# of its chain: so it can be learned by heart, siblings differ, and no answer is too long.
_LETTERS = string.ascii_lowercase
WORDS = [first + second for first in _LETTERS for second in _LETTERS]
THOUGHTS, TRANSLATION = WORDS[:190], WORDS[200:490]
FEW, MANY = range(170, 190), range(40)
"""Where a few words of thought begin, and many: one answer in eight has many."""
FEWEST = 160
"""Words of a translation."""

ranking = load_ranking_prompt(ROOT / "config/prompts/ranking.yaml")
translation = load_translation_prompt(ROOT / "config/prompts/toy_translation.yaml")


def source(index: int) -> str:
    # More than a block of the KV cache, 128 tokens, in a prompt: siblings share it.
    return " ".join(random.Random(index).sample(WORDS, 110))


def question(index: int) -> str:
    return translation.render(src_text=source(index), src_lang="en", trg_lang="de")


def translated(draw: random.Random) -> str:
    return " ".join(TRANSLATION[draw.randint(0, len(TRANSLATION) - FEWEST) :])


def answers(draw: random.Random) -> list[Pair]:
    """What the policy learns."""
    pairs = []
    for _ in range(4):
        thoughts = THOUGHTS[draw.choice(MANY if draw.random() < 1 / 8 else FEW) :]
        answer = f"Think: {' '.join(thoughts)}\n\n```\n{translated(draw)}\n```"
        pairs.append((question(draw.randrange(PROMPTS)), answer))
    return pairs


def judgements(draw: random.Random) -> list[Pair]:
    """What the judge learns: of four candidates, the one that is shown first is the best one."""
    prompt = ranking.render(
        src_text=source(draw.randrange(PROMPTS)),
        mt_texts=[translated(draw) for _ in range(ROLLOUTS)],
        src_lang="en",
        trg_lang="de",
    )
    blocks = "### Final Ranking:\n\nA > B > C > D\n\n### Scores:\n\nA: 9, B: 7, C: 5, D: 3"
    return [(prompt, f"good\n\n{blocks}")]


class Metrics:
    """Counters of vLLM's servers, as they publish them, by model."""

    def __init__(self) -> None:
        self.counted: dict[str, Counter[str]] = {}

    def read(self, run: psutil.Process) -> None:
        """Those of all servers of a run at this moment."""
        for port in _ports(run):
            try:
                text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=1).text
            except requests.RequestException:
                continue  # not yet, no more, or Ray's own port
            found: dict[str, Counter[str]] = {}
            for name, labels, value in re.findall(r"^vllm:(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
                model = re.search(r'model_name="([^"]*)"', labels)
                if model and not name.endswith("_bucket"):
                    found.setdefault(Path(model[1]).name, Counter())[name] += float(value)  # type: ignore[assignment]
            self.counted |= found


def _ports(run: psutil.Process) -> set[int]:
    ports = set()
    for process in run.children(recursive=True):
        try:
            if process.name().startswith("ray::EndingServ"):  # names are cut off
                connections = process.net_connections(kind="inet")
                ports |= {found.laddr.port for found in connections if found.status == psutil.CONN_LISTEN}
        except psutil.Error:
            continue
    return ports


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A policy that knows its two chains, and a judge that ranks candidates in the order it is shown."""
    folder = tmp_path_factory.mktemp("models")
    policy = save_qwen_model(folder / "policy")
    judge = save_qwen_model(folder / "judge", seed=1, positions=8192)
    draw = random.Random(0)
    # Where both chains begin is chance, worth 0.034 nats a token.
    assert learn_answers(policy, lambda: answers(draw), steps=400) < 0.05
    assert learn_answers(judge, lambda: judgements(draw), steps=200) < 0.05
    return {"mt_grpo": policy, "grrm_rlvr": judge}


def rows(count: int, split: str) -> list[dict[str, Any]]:
    return [translation_row(question(index), source(index), "de", index, split) for index in range(count)]


def test_nothing_is_lost_where_requests_wait_and_are_preempted(
    models: dict[str, Path], tmp_path: Path
) -> None:
    reward = experiment(*OVERLAYS["one_gpu"])["mt_grpo"]["reward"]
    reward |= {"overlong_buffer": LONGEST // 8, "retries": 0}
    given = rendered("one_gpu", "mt_grpo", max_response_length=LONGEST, reward=reward)
    assert given["data.train_batch_size"] == PROMPTS and given["actor_rollout_ref.rollout.n"] == ROLLOUTS
    assert given["reward.reward_model.rollout.prompt_length"] == LONGEST_JUDGED
    config = on_cpu(given, kv_cache=KV_CACHE) | {
        # Logits of 152,064 numbers a token: for 16,384 tokens, as on GPUs, 24 GB are too small.
        "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": 2048,
        "actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu": 2048,
        # Their counters are what is looked at.
        "actor_rollout_ref.rollout.disable_log_stats": False,
        "reward.reward_model.rollout.disable_log_stats": False,
    }
    prompt, metrics = ROOT / "config/prompts/ranking.yaml", Metrics()
    run = prepare(config, "mt_grpo", tmp_path, models, rows=rows, prompt=prompt, steps=1)
    run.finish(metrics.read)

    groups = run.rows("judgements.jsonl")
    assert len(groups) == PROMPTS and all(len(group["rewards"]) == ROLLOUTS for group in groups)
    for group in groups:
        # The judge ranks four. Where two rollouts say the same it fails, and all have the neutral reward.
        distinct = len({*group["candidate"]} - {None})
        assert group["outcome"] == ("judged" if distinct == ROLLOUTS else "failed")
    assert sum(group["outcome"] == "judged" for group in groups) > 0.8 * PROMPTS
    lengths = [length for group in groups for length in group["lengths"]]
    assert max(lengths) <= LONGEST and max(lengths) > 0.8 * LONGEST

    policy, judge = metrics.counted["policy"], metrics.counted["judge"]
    assert policy["request_success_total"] == PROMPTS * ROLLOUTS
    assert policy["generation_tokens_total"] == sum(lengths)
    assert policy["num_preemptions_total"] > 0 and policy["prefix_cache_hits_total"] > 0
    assert judge["request_success_total"] == PROMPTS
    asked = judge["request_prompt_tokens_sum"] / judge["request_prompt_tokens_count"]
    assert 0.8 * LONGEST_JUDGED < asked <= LONGEST_JUDGED

    (step,) = [row for row in run.rows("curve.jsonl") if "actor/grad_norm" in row]
    assert step["critic/score/mean"] == pytest.approx(fmean(value for g in groups for value in g["rewards"]))
    assert step["reward/judgements"] == PROMPTS
    assert math.isfinite(step["actor/grad_norm"]) and step["actor/grad_norm"] > 0
    assert step["training/rollout_probs_diff_mean"] < 0.005
