"""Generation with transformers: batches, ends, failures. The models are random or trained on a few rows."""

import json
import os
import signal
import subprocess
import sys
import time

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
from contextlib import closing
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
from grrm.inference import Decoding, Engine, Request, open_backend
folder, prompts = Path(sys.argv[1]), json.loads(sys.argv[2])
def texts(decoding, batch_size, seed=0):
    with closing(open_backend(folder, Engine(batch_size=batch_size))) as backend:
        requests = [Request(prompt, seed + i) for i, prompt in enumerate(prompts)]
        written = dict(backend.generate(requests, decoding))
    return [[written[i].text, written[i].failure] for i in range(len(prompts))]
def rows_of(decoding):
    # Of each forward pass of one batch.
    rows = []
    with closing(open_backend(folder, Engine(batch_size=64))) as backend:
        note = lambda module, args, given: rows.append(len(given["input_ids"]))
        backend._network.register_forward_pre_hook(note, with_kwargs=True)
        list(backend.generate([Request(prompt) for prompt in prompts], decoding))
    return rows
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
greedy, sampled, narrow = Decoding(12), Decoding(12, 1.0), Decoding(12, 1.0, top_p=1e-6)
ends = model.generation_config.eos_token_id
def one_by_one(tokens):
    new = []
    with torch.no_grad():
        while len(new) < 12 and (not new or new[-1] not in ends):
            new.append(int(model(torch.tensor([tokens + new])).logits[0, -1].argmax()))
    ended = new[-1] in ends
    text = tokenizer.decode(new[:-1] if ended else new, skip_special_tokens=True)
    return [text, None if ended else "unfinished"]
def chat(prompt):
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"]
with closing(open_backend(folder, Engine())) as backend:
    requests = [Request("abc", chat=False), Request("a" * 400)]
    continued, too_long = [written for _, written in sorted(backend.generate(requests, greedy))]
print(json.dumps({
    "plain": [one_by_one(chat(prompt)) for prompt in prompts],
    "batched": texts(greedy, 64),
    "in threes": texts(greedy, 3),
    "single": texts(greedy, 1),
    "sampled": texts(sampled, 64),
    "sampled in threes": texts(sampled, 3),
    "another seed": texts(sampled, 64, 100),
    "narrow": texts(narrow, 3),
    "narrow in a batch": texts(narrow, 64),
    "rows": rows_of(greedy),
    "continued": [continued.text, continued.failure],
    "continued one by one": one_by_one(tokenizer("abc")["input_ids"]),
    "too long": too_long.failure,
}))
"""


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


def test_finished_rows_leave_the_batch(completions):
    rows = completions["rows"]
    assert rows[0] == len(completions["plain"])
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] < rows[0]
    assert len(rows) <= 12, "a token is decoded once"


def test_completions_differ_and_both_end_and_are_cut(completions):
    """Else the test above could not fail."""
    assert len({text for text, _ in completions["plain"]}) > 3
    assert {failure for _, failure in completions["plain"]} == {None, "unfinished"}


def test_what_is_sampled_depends_on_the_seed_and_not_on_the_batch(completions):
    assert completions["sampled"] == completions["sampled in threes"]
    assert completions["sampled"] != completions["another seed"]
    assert completions["sampled"] != completions["plain"]


def test_the_likeliest_token_alone_is_the_greedy_one(completions):
    assert completions["narrow"] == completions["narrow in a batch"] == completions["plain"]


def test_a_text_is_continued_without_the_chat_template(completions):
    assert completions["continued"] == completions["continued one by one"]


def test_a_prompt_beyond_the_context_is_not_cut(completions):
    assert completions["too long"] == "prompt_too_long"


# ---------------------------------------------------------------- the programs


def test_rank_candidates_writes_one_line_per_group_and_run(train_python, model, tmp_path):
    groups, output = tmp_path / "ranking_test.parquet", tmp_path / "out.jsonl"
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
    write_table(groups, rows, "ranking_test")
    prompt = ROOT / "config/prompts/toy_ranking.yaml"
    arguments = ["--model", model, "--input", groups, "--output", output, "--prompt", prompt, "--runs", "2"]
    arguments += ["--max-new-tokens", "8", "--candidate-order", "shuffled", "--retries", "1"]
    printed = run_in_training_environment(ROOT / "scripts/rank_candidates.py", *arguments)
    answers = read_jsonl(output)
    assert [(row["run"], row["index"]) for row in answers] == [(run, i) for run in (0, 1) for i in range(3)]
    assert [row["src_text"] for row in answers] == ["s1", "s2", "s400"] * 2
    assert [row["failure"] for row in answers][2::3] == ["prompt_too_long"] * 2
    assert [row["attempts"] for row in answers] == [2, 2, 1] * 2
    assert all(row["scores"] is None and row["detail"] for row in answers)
    assert answers[0]["decoding"] == {"max_new_tokens": 8, "temperature": 0.0, "seed": 0, "top_p": 1.0}
    assert "0 of 6 answers are usable" in printed


@pytest.fixture
def start(train_python):
    """Start `grrm translate` as it is typed where there is no torch."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "scripts"),
        "GRRM_PYTHON": str(train_python),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    started = []

    def begin(*arguments):
        command = [sys.executable, "-m", "grrm.cli", "translate", *map(str, arguments)]
        started.append(
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
                # A shell starts what runs in the background deaf to Ctrl-C, and its children inherit that.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_for_lines(path, lines, process):
    deadline = time.monotonic() + 300
    while not path.exists() or path.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_run_that_is_killed_and_interrupted_loses_nothing_and_asks_nothing_twice(start, model, tmp_path):
    source, prompt = tmp_path / "in.txt", tmp_path / "prompt.yaml"
    source.write_text("".join(f"{'a' * (i % 7)} {i}\n" for i in range(60)))
    prompt.write_text('kind: plain\nprompt: "{source_language} {target_language} {source}"\n')
    arguments = ["--model", model, "--input", source, "--from", "xx", "--to", "yy", "--prompt", prompt]
    arguments += ["--temperature", "1", "--max-new-tokens", "24", "--retries", "1", "--batch-size", "1"]
    output, partial = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"

    killed = start(*arguments, "--output", output)
    wait_for_lines(partial, 4, killed)
    killed.kill()
    killed.communicate(timeout=300)
    kept = partial.read_bytes()
    kept = kept[: kept.rindex(b"\n") + 1]
    lines = kept.count(b"\n")  # of which the first holds the settings
    assert not output.exists()

    interrupted = start(*arguments, "--output", output)
    wait_for_lines(partial, lines + 1, interrupted)
    interrupted.send_signal(signal.SIGINT)
    _, errors = interrupted.communicate(timeout=300)
    assert interrupted.returncode == 130, errors
    assert f"{lines - 1} of 60 answers are there already" in errors
    assert "the same command goes on" in errors
    assert partial.read_bytes().startswith(kept)

    whole = start(*arguments, "--output", tmp_path / "whole.jsonl")
    resumed = start(*arguments, "--output", output)
    for process in (resumed, whole):
        _, errors = process.communicate(timeout=300)
        # The model is random: whether all of its texts can be used is its own affair.
        assert process.returncode in (0, 1), errors
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert [row["index"] for row in read_jsonl(output)] == list(range(60))
    failures = [row["failure"] for row in read_jsonl(output)]
    assert resumed.returncode == int(any(failures))
    assert not partial.exists()
