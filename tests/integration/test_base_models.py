"""Tokenizer and base models as engines load them, and the tokens LLaMA-Factory makes of prepared rows."""

from pathlib import Path

import pytest
import yaml

import make_sample_data
import make_toy_world
import prepare_grrm_sft
import prepare_mt_sft
from grrm.config import load_experiment
from grrm.data.toy_world import make_language
from grrm.engines.llamafactory import dataset_info, sft_config
from grrm.files import read_jsonl, write_json
from training_environment import ROOT, json_from_training_environment, run_in_training_environment

PROMPTS = ROOT / "config" / "prompts"
SAMPLE = ROOT / "config" / "sample"
# As the workflow reads them; nothing is trained here, so only the length matters.
SETTINGS = {**load_experiment(Path(__file__).parents[2])["grrm_sft"], "cutoff_len": 4096}

LOAD = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
generation = model.generation_config
print(json.dumps({
    "type": model.config.model_type,
    "dtype": str(model.dtype),
    "sizes": [model.config.hidden_size, model.config.num_hidden_layers, model.config.num_attention_heads,
              model.config.intermediate_size, model.config.max_position_embeddings],
    "vocabulary": [model.config.vocab_size, len(tokenizer)],
    "ends": [tokenizer.convert_ids_to_tokens(i) for i in (generation.eos_token_id, generation.pad_token_id)],
}))
"""

TOKENIZE = """
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
texts = json.load(open(sys.argv[2], encoding="utf-8"))
ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
print(json.dumps([[len(i), tokenizer.decode(i)] for i in ids]))
"""

CHAT = """
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
chat = [{"role": "user", "content": "Translate."}, {"role": "assistant", "content": "Yes."}]
texts = [tokenizer.apply_chat_template(chat, tokenize=False),
         tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)]
print(json.dumps([texts, [tokenizer.decode(tokenizer.encode(text)) for text in texts]]))
"""

# LLaMA-Factory's own preprocessing against the tokenizer's own chat template.
LLAMAFACTORY = """
import json, sys, yaml
from transformers import AutoTokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from grrm.engines.sft_rendering import heed_rendering
config = yaml.safe_load(open(sys.argv[1]))
heed_rendering(config)
model, data, training, _, _ = get_train_args(config)
loaded = load_tokenizer(model)
template = get_template_and_fix_tokenizer(loaded["tokenizer"], data)
rows = get_dataset(template, model, data, training, "sft", **loaded)["train_dataset"]
own = AutoTokenizer.from_pretrained(config["model_name_or_path"])
chats = [json.loads(line)["messages"] for line in open(sys.argv[2], encoding="utf-8")]
wrong_ids = wrong_labels = 0
for row, chat in zip(rows, chats, strict=True):
    whole = own.apply_chat_template(chat, tokenize=True, return_dict=False)
    prompt = own.apply_chat_template(chat[:1], tokenize=True, return_dict=False, add_generation_prompt=True)
    wrong_ids += list(row["input_ids"]) != list(whole)
    wrong_labels += list(row["labels"]) != [-100] * len(prompt) + list(whole[len(prompt):])
print(json.dumps({"rows": len(rows), "wrong ids": wrong_ids, "wrong labels": wrong_labels}))
"""


def make_models(folder: Path, prefix: str, *flags: str) -> str:
    return run_in_training_environment(
        "scripts/make_base_models.py",
        "--data-folder", folder,
        "--ranking-prompt", PROMPTS / f"{prefix}ranking.yaml",
        "--translation-prompt", PROMPTS / f"{prefix}translation.yaml",
        "--grrm-output", folder / "grrm_base",
        "--mt-output", folder / "mt_base",
        *flags,
    )  # fmt: skip


def prepare(folder: Path, prefix: str) -> None:
    for script, stage, task in (
        (prepare_grrm_sft, "grrm_sft", "ranking"),
        (prepare_mt_sft, "mt_sft", "translation"),
    ):
        script.main(
            [
                *("--input", str(folder / f"{stage}.parquet")),
                *("--output", str(folder / f"{stage}.jsonl")),
                *("--prompt", str(PROMPTS / f"{prefix}{task}.yaml")),
            ]
        )


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    make_toy_world.main(["--output-folder", str(folder), "--grrm-sft", "800", "--mt-sft", "600"])
    prepare(folder, "toy_")
    make_models(folder, "toy_")
    return folder


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    files = ["--rankings", str(SAMPLE / "rankings.yaml"), "--translations", str(SAMPLE / "translations.yaml")]
    make_sample_data.main([*files, "--output-folder", str(folder)])
    prepare(folder, "")
    make_models(folder, "", "--max-position-embeddings", "2048", "--mt-size", "32", "2", "2", "64")
    return folder


@pytest.fixture(params=["toy", "sample"])
def world(request):
    return request.getfixturevalue(request.param)


def tokenize(folder: Path, texts: list[str], tmp_path: Path) -> list[tuple[int, str]]:
    """The number of tokens of each text, and the text that comes back."""
    write_json(tmp_path / "texts.json", texts)
    return json_from_training_environment(TOKENIZE, folder, tmp_path / "texts.json")


def texts_of(folder: Path, stage: str) -> list[str]:
    return [m["content"] for row in read_jsonl(folder / f"{stage}.jsonl") for m in row["messages"]]


@pytest.mark.parametrize(
    ("model", "sizes"), [("grrm_base", [64, 3, 4, 128, 512]), ("mt_base", [96, 3, 4, 192, 512])]
)
def test_base_models_are_small_qwen2_models_in_float32(toy, model, sizes):
    loaded = json_from_training_environment(LOAD, toy / model)
    assert loaded["type"] == "qwen2"
    assert loaded["dtype"] == "torch.float32"
    assert loaded["sizes"] == sizes
    assert loaded["vocabulary"][0] == loaded["vocabulary"][1]
    assert loaded["ends"] == ["<|im_end|>", "<|endoftext|>"]


def test_sizes_are_parameters(sample):
    loaded = json_from_training_environment(LOAD, sample / "mt_base")
    assert loaded["sizes"] == [32, 2, 2, 64, 2048]


def test_weights_depend_on_the_seed_alone(toy, tmp_path):
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from transformers import AutoTokenizer\n"
        "from grrm.data.tokenizer import ModelSize, save_base_model\n"
        "from grrm.files import sha256\n"
        "tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "sums = []\n"
        "for number, seed in enumerate([7, 7, 8]):\n"
        "    folder = Path(sys.argv[2]) / str(number)\n"
        "    save_base_model(folder, tokenizer, ModelSize(32, 1, 2, 64), 64, seed, ['a text'])\n"
        "    sums.append(sha256(folder / 'model.safetensors'))\n"
        "print(json.dumps(sums))\n"
    )
    first, again, other = json_from_training_environment(code, toy / "grrm_base", tmp_path)
    assert first == again != other


def test_every_toy_word_is_one_token(toy, tmp_path):
    words = [f" {word}" for word in make_language().words]
    assert [count for count, _ in tokenize(toy / "grrm_base", words, tmp_path)] == [1] * len(words)


def test_headings_and_fences_of_answers_are_few_tokens(toy, tmp_path):
    pieces = ["\n\n", ":\n\n", "```\n", "### Final Ranking:\n\n", "### Scores:\n\n"]
    assert [count for count, _ in tokenize(toy / "grrm_base", pieces, tmp_path)] == [1, 1, 1, 4, 3]


def test_lengths_fit_the_demonstration(toy, tmp_path):
    """A GRRM has 64 + 96 tokens, an MT model 24 + 40, one of the answer's being the end of the turn."""
    for stage, longest_prompt, longest_answer in (("grrm_sft", 64, 96), ("mt_sft", 24, 40)):
        counts = [count for count, _ in tokenize(toy / "grrm_base", texts_of(toy, stage), tmp_path)]
        markup = 8  # <|im_start|> user \n ... <|im_end|> \n <|im_start|> assistant \n
        assert max(counts[::2]) + markup <= longest_prompt
        assert max(counts[1::2]) + 1 <= longest_answer


@pytest.mark.parametrize("stage", ["grrm_sft", "mt_sft"])
def test_texts_survive_the_tokenizer_as_engines_load_it(world, stage, tmp_path):
    texts = texts_of(world, stage)
    assert [text for _, text in tokenize(world / "grrm_base", texts, tmp_path)] == texts


def test_unseen_text_survives_too(toy, tmp_path):
    texts = ["Grüße, 世界!\n\n  two  spaces\t", "🎂🎉 ﷽ <b>`x`</b>", "e\N{GREEK SMALL LETTER ALPHA}\r\n"]
    assert [text for _, text in tokenize(toy / "mt_base", texts, tmp_path)] == texts


def test_chat_template_is_chatml(world):
    texts, decoded = json_from_training_environment(CHAT, world / "mt_base")
    prompt = "<|im_start|>user\nTranslate.<|im_end|>\n<|im_start|>assistant\n"
    assert texts == [f"{prompt}Yes.<|im_end|>\n", prompt]
    assert decoded == texts


@pytest.mark.parametrize(("stage", "model"), [("grrm_sft", "grrm_base"), ("mt_sft", "mt_base")])
def test_llamafactory_trains_on_the_answers_tokens_of_the_chat_template(world, stage, model, tmp_path):
    config = sft_config(
        SETTINGS, model=world / model, dataset_dir=tmp_path, output_dir=tmp_path / "checkpoints", seed=0
    )
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    rows = world / f"{stage}.jsonl"
    write_json(tmp_path / "dataset_info.json", dataset_info(rows, tmp_path))
    found = json_from_training_environment(LLAMAFACTORY, tmp_path / "config.yaml", rows)
    assert found == {"rows": len(read_jsonl(rows)), "wrong ids": 0, "wrong labels": 0}


@pytest.mark.parametrize(
    ("text", "message"),
    [("cafe\N{COMBINING ACUTE ACCENT}", "normal form NFC"), ("say <|im_end|> now", "chat markup")],
)
def test_text_that_does_not_survive_is_an_error(toy, tmp_path, text, message):
    code = (
        "import sys, json\n"
        "from transformers import AutoTokenizer\n"
        "from grrm.data.tokenizer import check_round_trip\n"
        "from grrm.files import UserError\n"
        "tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "try:\n    print(check_round_trip(tokenizer, ['fine', sys.argv[2]]))\n"
        "except UserError as error:\n    print(json.dumps(str(error)))\n"
    )
    error = json_from_training_environment(code, toy / "grrm_base", text)
    assert message in error
    assert repr(text) in error


def test_failed_run_leaves_no_model(tmp_path):
    make_toy_world.main(["--output-folder", str(tmp_path), "--grrm-sft", "20", "--mt-sft", "20"])
    with pytest.raises(AssertionError, match=r"error: .*nowhere"):
        make_models(tmp_path, "toy_", "--ranking-prompt", str(tmp_path / "nowhere.yaml"))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".parquet"] * 6
