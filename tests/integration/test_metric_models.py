"""The metrics that are models, with their real libraries: made small, loaded strictly, and held against the
libraries' own ways to score."""

import json
import os
import subprocess

import pytest

from training_environment import ROOT

# In one process, because importing torch and comet takes longer than all that is done with them.
PROGRAM = """
import json, shutil, sys
from pathlib import Path

import torch
from comet.models import UnifiedMetric, XCOMETMetric
from transformers import MT5Config, MT5ForConditionalGeneration, T5TokenizerFast

from grrm.files import UserError
from grrm.metrics import bleurt, comet, metricx
from grrm.metrics.tiny import TinyModel, degraded_references, write_vocabulary

folder = Path(sys.argv[1])
words = "bado gilo fuma reso tami loka suri peno vado kima".split()
pairs = [(" ".join(words[i % 10 :] + words[: i % 7]), " ".join(words[: i % 9 + 1])) for i in range(60)]
rows = degraded_references(pairs, 4, seed=1)
segments = [{"src": row["src"], "mt": row["mt"], "ref": row["ref"]} for row in rows[:40]]
other_references = [{**segment, "ref": "loka"} for segment in segments]
found = {}


def refused(load, *arguments):
    try:
        load(*arguments)
    except UserError as error:
        return str(error)
    return None


# --- COMET, and from its encoder a CometKiwi and an XCOMET with random weights
comet.train_tiny(folder / "comet", rows, TinyModel(5, batch_size=16))
(folder / "src").write_text("".join(f"{s['src']}\\n" for s in segments))
(folder / "mt").write_text("".join(f"{s['mt']}\\n" for s in segments))
(folder / "ref").write_text("".join(f"{s['ref']}\\n" for s in segments))
shared = dict(
    encoder_model="XLM-RoBERTa", pretrained_model="encoder", sent_layer="mix", hidden_sizes=[32, 16],
    layer_transformation="softmax", word_layer=2, load_pretrained_weights=False, local_files_only=True,
)
kinds = {
    "cometkiwi": (UnifiedMetric, "unified_metric", {"input_segments": ["mt", "src"]}),
    "xcomet": (XCOMETMetric, "xcomet_metric", {}),
}
for name, (model_class, kind, more) in kinds.items():
    torch.manual_seed(0)
    model = model_class(**{**shared, **more, "pretrained_model": str(folder / "comet/encoder")})
    (folder / name / "checkpoints").mkdir(parents=True)
    shutil.copytree(folder / "comet/encoder", folder / name / "encoder")
    hparams = {**dict(model.hparams), "pretrained_model": "encoder"}
    comet._write_checkpoint(folder / name, model, hparams, 0, kind)
for name in ("comet", *kinds):
    scores, signature = comet.score_segments(folder / name, segments)
    changed, _ = comet.score_segments(folder / name, other_references)
    found[name] = {"scores": scores, "signature": signature, "sees reference": scores != changed}

# --- BLEURT
bleurt.train_tiny(folder / "bleurt", rows, TinyModel(60, batch_size=32))
scores, signature = bleurt.score_segments(folder / "bleurt", segments, batch_size=7)
model, tokenizer = bleurt.load_model(folder / "bleurt")
theirs = []
for segment in segments:
    inputs = tokenizer(segment["ref"], segment["mt"], return_tensors="pt")
    theirs.append(model(**inputs).logits.item())
found["bleurt"] = {"scores": scores, "theirs": theirs, "quality": [row["score"] for row in rows[:40]]}
found["bleurt"]["signature"] = signature
(folder / "bleurt/vocab.txt").write_text("")
weights = torch.nn.Linear(1, 1).state_dict()
broken = shutil.copytree(folder / "bleurt", folder / "bleurt_broken")
(broken / "model.safetensors").unlink()
torch.save(weights, broken / "pytorch_model.bin")
found["bleurt"]["refused"] = refused(bleurt.load_model, broken)

# --- MetricX
config = MT5Config(
    vocab_size=250112, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, tie_word_embeddings=False
)
torch.manual_seed(0)
network = MT5ForConditionalGeneration(config).eval()
(folder / "metricx/tokenizer").mkdir(parents=True)
spm = folder / "metricx/tokenizer/spiece.model"
write_vocabulary(spm, [text for pair in pairs for text in pair], pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
tokenizer = T5TokenizerFast(vocab_file=str(spm), extra_ids=0)
tokenizer.save_pretrained(folder / "metricx/tokenizer")


def logit(s):
    text = f"source: {s['src']} candidate: {s['mt']} reference: {s['ref']}"
    ids = torch.tensor([tokenizer(text)["input_ids"][:-1]])
    logits = network(input_ids=ids, decoder_input_ids=torch.zeros((1, 1), dtype=torch.long)).logits
    return logits[0, 0, 250089].item()


with torch.no_grad():  # random logits around 10, within the scale
    network.lm_head.weight.mul_(10 / logit(segments[0]))
network.save_pretrained(folder / "metricx")
theirs = [min(max(logit(segment), 0), 25) for segment in segments]
scores, signature = metricx.score_segments(folder / "metricx", segments, batch_size=7)
free, _ = metricx.score_segments(folder / "metricx", other_references, reference_free=True)
again, _ = metricx.score_segments(folder / "metricx", segments, reference_free=True)
found["metricx"] = {"scores": scores, "theirs": theirs, "signature": signature}
found["metricx"]["reference-free"] = free == again
small = MT5Config(**{**config.to_dict(), "vocab_size": 100})
MT5ForConditionalGeneration(small).save_pretrained(folder / "small")
shutil.copytree(folder / "metricx/tokenizer", folder / "small/tokenizer")
found["metricx"]["refused"] = refused(metricx.load_model, folder / "small")

(folder / "found.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def made(comet_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("metrics")
    done = subprocess.run(
        [comet_python, "-c", PROGRAM, folder],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "scripts"),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def found(made):
    return json.loads((made / "found.json").read_text())


def test_comet_scores_are_those_of_its_own_command(comet_python, made, found):
    done = subprocess.run(
        [
            comet_python.parent / "comet-score",
            *("-s", "../src", "-t", "../mt", "-r", "../ref", "--model", "checkpoints/model.ckpt"),
            *("--gpus", "0", "--quiet", "--to_json", "../theirs.json"),
        ],
        cwd=made / "comet",
        # The command looks for the encoder where the checkpoint says, from here.
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = json.loads((made / "theirs.json").read_text())["../mt"]
    # The command scores in half precision.
    assert [segment["COMET"] for segment in theirs] == pytest.approx(found["comet"]["scores"], abs=2e-3)


def test_each_kind_of_comet_sees_what_it_was_made_for(found):
    sees = {name: found[name]["sees reference"] for name in ("comet", "cometkiwi", "xcomet")}
    assert sees == {"comet": True, "cometkiwi": False, "xcomet": True}
    assert "class:unified_metric|input:src+mt|" in found["cometkiwi"]["signature"]
    assert "class:xcomet_metric|input:src+mt+ref|" in found["xcomet"]["signature"]


def test_bleurt_scores_are_the_librarys_whatever_the_batch(found):
    assert found["bleurt"]["scores"] == pytest.approx(found["bleurt"]["theirs"], abs=1e-5)
    assert found["bleurt"]["signature"].startswith("BLEURT|model:bleurt|weights:")


def test_bleurt_with_other_weights_is_refused(found):
    assert "its weights do not fit its config.json: {'missing_keys'" in found["bleurt"]["refused"]


def test_metricx_scores_are_one_logit_of_the_first_step(found):
    assert found["metricx"]["scores"] == pytest.approx(found["metricx"]["theirs"], abs=1e-3)
    assert len(set(found["metricx"]["theirs"])) > 10
    assert found["metricx"]["reference-free"]
    assert "reference:yes|lower is better" in found["metricx"]["signature"]


def test_a_model_without_metricxs_token_is_refused(found):
    assert "vocab_size is 100, expected more than 250089" in found["metricx"]["refused"]
