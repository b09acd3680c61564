"""Generation with transformers: batches, ends, failures. The models are random or trained on a few rows."""

import json
import os
import subprocess

import pytest

from grrm.files import read_jsonl
from grrm.schemas import write_table
from training_environment import ROOT, json_from_training_environment, run_in_training_environment

# A Qwen2 with random weights and one token per byte. Many of its tokens end an answer, so that some do end.
MAKE_MODEL = """
import sys, torch
from pathlib import Path
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
tokens = Tokenizer(models.BPE({token: i for i, token in enumerate(specials + alphabet)}, []))
tokens.add_special_tokens(specials)
tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokens.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=tokens, eos_token="<|im_end|>", pad_token="<|endoftext|>"
)
tokenizer.chat_template = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\\n{{ m['content'] }}<|im_end|>\\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\\n{% endif %}"
)
torch.manual_seed(1)
model = Qwen2ForCausalLM(Qwen2Config(
    vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=400, initializer_range=0.3,
    eos_token_id=2, pad_token_id=0,
))
# Defaults that must not leak into greedy decoding, as Qwen's models have them.
model.generation_config = GenerationConfig(
    do_sample=True, temperature=0.7, top_k=20, repetition_penalty=1.5, eos_token_id=list(range(2, 30)),
    pad_token_id=0,
)
model.save_pretrained(sys.argv[1])
tokenizer.save_pretrained(sys.argv[1])
"""

COMPARE = """
import json, sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
from grrm.inference import Decoding, generate
folder, prompts = Path(sys.argv[1]), json.loads(sys.argv[2])
def texts(decoding, **options):
    return [[c.text, c.finish] for c in generate(folder, prompts, decoding, **options)]
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
greedy = Decoding(12)
ends = model.generation_config.eos_token_id
plain = []
for prompt in prompts:
    tokens = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"]
    new = []
    with torch.no_grad():
        while len(new) < 12 and (not new or new[-1] not in ends):
            new.append(int(model(torch.tensor([tokens + new])).logits[0, -1].argmax()))
    ended = new[-1] in ends
    text = tokenizer.decode(new[:-1] if ended else new, skip_special_tokens=True)
    plain.append([text, "stop" if ended else "length"])
print(json.dumps({
    "plain": plain,
    "batched": texts(greedy, batch_size=64),
    "in threes": texts(greedy, batch_size=3),
    "single": texts(greedy, batch_size=1),
    "sampled": texts(Decoding(12, 1.0, 5), batch_size=3),
    "sampled again": texts(Decoding(12, 1.0, 5), batch_size=3),
    "another seed": texts(Decoding(12, 1.0, 6), batch_size=3),
}))
"""

# What a model wrote, put in the place of a backend: how rows become results.
RESULTS = """
import json, sys, types
from dataclasses import asdict
from pathlib import Path
import grrm.inference as inference
from grrm.inference import Completion, Decoding
from grrm.prompts import load_ranking_prompt, load_translation_prompt
folder, completions, orders = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
backend = types.ModuleType("written")
backend.generate = lambda model, prompts, decoding: [Completion(*c) for c in completions][: len(prompts)]
sys.modules["written"] = backend
inference._BACKENDS["written"] = "written"
row = {"src_text": "s", "src_lang": "xx", "trg_lang": "yy", "mt_texts": ["p", "q", "r"]}
prompts = Path("config/prompts")
ranked = inference.rank(
    folder, [row] * len(completions), load_ranking_prompt(prompts / "toy_ranking.yaml"), Decoding(9),
    orders=orders, backend="written",
)
translated = inference.translate(
    folder, [row] * len(completions), load_translation_prompt(prompts / "toy_translation.yaml"), Decoding(9),
    backend="written",
)
print(json.dumps([[asdict(r) for r in ranked], [asdict(t) for t in translated]]))
"""

ANSWER = "q is best\n\n### Final Ranking:\n\nB > A = C\n\n### Scores:\n\nB: 9, A: 5, C: 5\n"
TRANSLATION = "think\n\n```\nba du\n```"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "random"
    run_in_training_environment("-c", MAKE_MODEL, folder)
    return folder


@pytest.fixture(scope="module")
def completions(model):
    prompts = ["a" * n + "bc" * (n % 5) for n in (1, 40, 3, 17, 90, 2, 64, 8, 5, 33)]
    return json_from_training_environment(COMPARE, model, json.dumps(prompts))


@pytest.mark.parametrize("way", ["batched", "in threes", "single"])
def test_greedy_completions_are_those_of_one_token_at_a_time(completions, way):
    assert completions[way] == completions["plain"]


def test_completions_differ_and_both_end_and_are_cut(completions):
    """Else the test above could not fail."""
    assert len({text for text, _ in completions["plain"]}) > 3
    assert {finish for _, finish in completions["plain"]} == {"stop", "length"}


def test_sampling_follows_the_seed(completions):
    assert completions["sampled"] == completions["sampled again"]
    assert completions["sampled"] != completions["another seed"]
    assert completions["sampled"] != completions["in threes"]


@pytest.fixture(scope="module")
def results(model):
    written = [
        [ANSWER, "stop"],
        [ANSWER, "length"],
        ["", "prompt"],
        ["no idea", "stop"],
        [TRANSLATION, "stop"],
    ]
    orders = [[2, 0, 1], *[[0, 1, 2]] * 4]
    return json_from_training_environment(RESULTS, model, json.dumps(written), json.dumps(orders))


def test_scores_come_back_in_the_order_of_the_row(results):
    """Shown in the order 2, 0, 1: label B is candidate 0."""
    ranked = results[0][0]
    assert (ranked["scores"], ranked["failure"], ranked["candidate_order"]) == ([9, 5, 5], None, [2, 0, 1])


def test_an_answer_that_cannot_be_used_has_a_reason_and_no_scores(results):
    ranked = results[0][1:]
    assert [row["failure"] for row in ranked] == ["unfinished", "prompt_too_long", "incomplete", "header"]
    assert all(row["scores"] is None and row["detail"] for row in ranked)


def test_a_translation_is_taken_out_of_its_code_block(results):
    translated = results[1]
    assert [row["translation"] for row in translated] == [None, None, None, None, "ba du"]
    assert [row["failure"] for row in translated] == [
        "no_translation",
        "unfinished",
        "prompt_too_long",
        "no_translation",
        None,
    ]


# ---------------------------------------------------------------- the programs


def run(python, script, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [python, ROOT / "scripts" / script, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture
def groups(tmp_path):
    rows = [
        {
            "src_text": f"s{i}",
            "src_lang": "xx",
            "trg_lang": "yy",
            "mt_texts": ["p", "q" * i],
            "scores": [1.0, 2.0],
        }
        for i in (1, 2, 400)
    ]
    write_table(tmp_path / "ranking_test.parquet", rows, "ranking_test")
    return tmp_path / "ranking_test.parquet"


def rank(python, model, groups, output, *more):
    return run(
        python, "rank_candidates.py", "--model", model, "--input", groups, "--output", output,
        "--prompt", ROOT / "config/prompts/toy_ranking.yaml", "--max-new-tokens", 8, *more,
    )  # fmt: skip


def test_rank_candidates_writes_one_line_per_group(train_python, model, groups, tmp_path):
    result = rank(train_python, model, groups, tmp_path / "out.jsonl", "--candidate-order", "shuffled")
    assert result.returncode == 0, result.stderr[-2000:]
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert [(row["index"], row["src_text"]) for row in rows] == [(0, "s1"), (1, "s2"), (2, "s400")]
    assert rows[2]["failure"] == "prompt_too_long"
    assert all(row["scores"] is None and row["failure"] for row in rows)
    assert rows[0]["decoding"] == {"max_new_tokens": 8, "temperature": 0.0, "seed": 0}
    assert "0 of 3 answers are valid" in result.stdout
    assert "2 of 3 completions" in result.stderr or "3 of 3 completions" in result.stderr


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        (["config.json"], "config.json"),
        (["tokenizer.json"], "a tokenizer"),
        (["model.safetensors"], "weights"),
    ],
)
def test_an_incomplete_model_folder_is_named(train_python, model, groups, tmp_path, missing, named):
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in model.iterdir():
        if file.name not in missing:
            (broken / file.name).symlink_to(file)
    result = rank(train_python, broken, groups, tmp_path / "out.jsonl")
    assert result.returncode == 2
    assert "it lacks" in result.stderr
    assert named in result.stderr.splitlines()[-1]
    assert not (tmp_path / "out.jsonl").exists()


def test_a_missing_model_folder_is_named(train_python, groups, tmp_path):
    result = rank(train_python, tmp_path / "nowhere", groups, tmp_path / "out.jsonl")
    assert result.returncode == 2
    assert "nowhere: no such model folder" in result.stderr
