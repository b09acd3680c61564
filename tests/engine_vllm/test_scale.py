"""The paper's order of magnitude in small: GRPO of 64 prompts with four rollouts each, rendered for one GPU.

Real here: the number of tokens, the special ones, ChatML, both prompts in their words, answers of up to 512
tokens, a judge that is asked almost as much as fits. The KV cache is far too small for all requests of a
step, so that vLLM preempts some and computes them again. Not real: float32, in which a processor with AVX2
alone makes the logits of a token in a seventh of the time that bf16 takes it (test_paper_runs.py has bf16).
"""

from __future__ import annotations

import itertools
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

from chain_model import START, save_chain_model
from configurations import ROOT, experiment
from gpu_runs import OVERLAYS, Run, prepare, rendered, translation_row
from grrm.prompts import load_ranking_prompt, load_translation_prompt
from on_cpu import PACK, on_cpu
from qwen_models import END_OF_TURN

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]

PROMPTS, ROLLOUTS, LONGEST = 64, 4, 512
LONGEST_JUDGED = 800
BLOCK = 128  # tokens that vLLM's cache keeps together on a CPU
# 32,000 tokens of a model with two layers and one key-value head of 32 numbers, in float32.
KV_CACHE = 16 << 20

WORDS = [f" {first}{second}" for first in string.ascii_lowercase for second in string.ascii_lowercase]
THOUGHTS, TRANSLATION = WORDS[:440], WORDS[440:500]
ALTERNATIVES = WORDS[540:559]
# Words of the thinking that are left: most answers are short, some as long as may be.
LEFT = (440, 350, 300, 250, 200, 150, 100, 80, 60, 50, 40, 30, 25, 20, 15, 12, 10, 8, 6, 5, 4, 3, 2, 1)
VERDICT = (
    *("good\n\n", "### Final Ranking:\n\n", "A > B > C > D\n\n"),
    *("### Scores:\n\n", "A: 9, B: 7, C: 5, D: 3"),
)
RANKING = ROOT / "config/prompts/ranking.yaml"
TRANSLATING = ROOT / "config/prompts/translation.yaml"


def chain(*texts: str) -> dict[str, list[str]]:
    return {text: [following] for text, following in itertools.pairwise(texts)}


def policy_says() -> dict[str, list[str]]:
    """Some thinking, and a translation in a code block, in one of thousands of ways."""
    says = chain(*THOUGHTS, ":\n\n", "```\n", TRANSLATION[0])
    says |= chain(*TRANSLATION, "\n\n", "```", END_OF_TURN)
    says[START] = [THOUGHTS[-left] for left in LEFT]
    # A word in three may be another one.
    for place, word in enumerate(ALTERNATIVES, 1):
        before, same, after = TRANSLATION[3 * place - 1 : 3 * place + 2]
        says[before], says[word] = [same, word], [after]
    return says


def judge_says() -> dict[str, list[str]]:
    """The candidate that is shown first is the best one."""
    return chain(START, *VERDICT, END_OF_TURN)


def source(index: int) -> str:
    return "".join(random.Random(index).sample(WORDS, 30)).strip()


def question(index: int) -> str:
    translation = load_translation_prompt(TRANSLATING)
    return translation.render(src_text=source(index), src_lang="en", trg_lang="de")


def rows(count: int, split: str) -> list[dict[str, Any]]:
    return [translation_row(question(index), source(index), "de", index, split) for index in range(count)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    asked = load_ranking_prompt(RANKING).render(
        src_text="", mt_texts=["a", "b", "c", "d"], src_lang="en", trg_lang="de"
    )
    words = {*WORDS, *re.findall(r" ?[A-Za-z]+|`+|\n+", question(0) + asked)}
    return {
        "mt_grpo": save_chain_model(folder / "policy", policy_says(), words=words, positions=2048),
        "grrm_rlvr": save_chain_model(folder / "judge", judge_says(), words=words, positions=8192, seed=1),
    }


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
                continue  # another server's, which speaks no HTTP
            found: dict[str, Counter[str]] = {}
            for name, labels, value in re.findall(r"^vllm:(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
                model = re.search(r'model_name="([^"]*)"', labels)
                if model and not name.endswith("_bucket"):
                    found.setdefault(Path(model[1]).name, Counter())[name] += int(float(value))
            self.counted |= found


def _ports(run: psutil.Process) -> set[int]:
    ports = set()
    for process in run.children(recursive=True):
        try:
            if process.name().startswith("ray::EndingServer"):
                connections = process.net_connections(kind="inet")
                ports |= {found.laddr.port for found in connections if found.status == psutil.CONN_LISTEN}
        except psutil.Error:
            continue
    return ports


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture(scope="module")
def run(models: dict[str, Path], metrics: Metrics, tmp_path_factory: pytest.TempPathFactory) -> Run:
    reward = experiment(*OVERLAYS["one_gpu"])["mt_grpo"]["reward"]
    reward |= {"overlong_buffer": LONGEST // 8, "retries": 0, "max_prompt_length": LONGEST_JUDGED}
    given = rendered("one_gpu", "mt_grpo", precision="fp32", max_response_length=LONGEST, reward=reward)
    assert given["data.train_batch_size"] == PROMPTS and given["actor_rollout_ref.rollout.n"] == ROLLOUTS
    config = on_cpu(given, kv_cache=KV_CACHE)
    config[PACK] = 1024  # the logits of a token are 152,064 numbers
    for server in ("actor_rollout_ref.rollout", "reward.reward_model.rollout"):
        config[f"{server}.disable_log_stats"] = False  # its counters are what is looked at
    folder = tmp_path_factory.mktemp("run")
    run = prepare(config, "mt_grpo", folder, models, rows=rows, prompt=RANKING, steps=1)
    run.finish(metrics.read)
    return run


def test_every_group_is_judged_by_one_call_and_no_reward_is_lost(run: Run, metrics: Metrics) -> None:
    groups = run.rows("judgements.jsonl")
    assert len(groups) == PROMPTS == metrics.counted["judge"]["request_success_total"]
    for group in groups:
        assert (group["outcome"], group["retries"]) == ("judged", 0)
        assert len({*group["candidate"]}) == len(group["rewards"]) == ROLLOUTS
    (step,) = [row for row in run.rows("curve.jsonl") if "actor/grad_norm" in row]
    assert (step["reward/groups"], step["reward/judged"]) == (PROMPTS, 1.0)
    assert step["critic/score/mean"] == pytest.approx(fmean(value for g in groups for value in g["rewards"]))
    assert math.isfinite(step["actor/grad_norm"]) and step["actor/grad_norm"] > 0
    assert step["training/rollout_probs_diff_mean"] < 0.005


def test_long_answers_are_preempted_and_come_out_whole(run: Run, metrics: Metrics) -> None:
    lengths = [length for group in run.rows("judgements.jsonl") for length in group["lengths"]]
    assert 0.9 * LONGEST < max(lengths) <= LONGEST
    policy = metrics.counted["policy"]
    assert policy["request_success_total"] == PROMPTS * ROLLOUTS
    assert policy["generation_tokens_total"] == sum(lengths)
    assert policy["num_preemptions_total"] > 0


def test_siblings_share_what_their_prompts_begin_with(run: Run, metrics: Metrics) -> None:
    """The judge's prompts differ before a block is full: it has 128 tokens on a CPU, 16 on GPUs."""
    policy, judge = metrics.counted["policy"], metrics.counted["judge"]
    assert policy["prefix_cache_hits_total"] >= PROMPTS * BLOCK
    asked = judge["request_prompt_tokens_sum"] / judge["request_prompt_tokens_count"]
    assert 0.8 * LONGEST_JUDGED < asked <= LONGEST_JUDGED
