"""One conversation, two engines: the same tokens, or an error (run by the training environment's python)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llamafactory")

import pyarrow as pa
import pyarrow.parquet as pq
from llamafactory.data import processor as processors
from llamafactory.data.template import TEMPLATES, get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments
from transformers import AutoTokenizer
from verl.utils.tokenizer.continuous_token_wiring import create_continuous_token_builder

from chat_forms import FORMS, TEXTS, Form, save_form
from grrm.engines import try_rendering
from grrm.engines.sft_rendering import heed_rendering
from grrm.files import UserError
from grrm.texts import encode_chat

ANSWER = f"An analysis.\n\n{TEXTS[1]}\n{TEXTS[2]}".strip()
QUESTION = f"  {TEXTS[0]}\n\n{TEXTS[2]}\n"  # with blanks that some templates cut off


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        kind = processors.SupervisedDatasetProcessor
        patched.setattr(kind, "preprocess_dataset", kind.preprocess_dataset)
        patched.setattr("grrm.engines.sft_rendering.TEMPLATES", TEMPLATES)
        yield
    TEMPLATES.pop("model", None)


def learned(
    folder: Path, template: str, *answers: str, question: str = QUESTION, system: str = ""
) -> dict[str, list[Any]]:
    """What LLaMA-Factory makes of a conversation of these answers, as `grrm.engines.sft_main` has it."""
    heed_rendering({"model_name_or_path": str(folder), "template": template})
    tokenizer = AutoTokenizer.from_pretrained(folder)
    arguments = DataArguments(template=template, cutoff_len=4096)
    made = get_template_and_fix_tokenizer(tokenizer, arguments)
    turns = [
        turn
        for answer in answers or [ANSWER]
        for turn in ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    ]
    row = {f"_{name}": [None] for name in ("tools", "images", "videos", "audios")}
    row |= {"_prompt": [turns[:-1]], "_response": [turns[-1:]], "_system": [system]}
    processor = processors.SupervisedDatasetProcessor(made, tokenizer, None, arguments)
    found: dict[str, list[Any]] = processor.preprocess_dataset(row)
    return found


def messages(*contents: str, system: str = "") -> list[dict[str, str]]:
    roles = [("user", "assistant")[place % 2] for place in range(len(contents))]
    turns = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=True)]
    return [*([{"role": "system", "content": system}] if system else []), *turns]


def by_verl(folder: Path, form: Form, conversation: list[dict[str, str]]) -> list[int]:
    """A prompt as verl's agent loop renders it for its rollouts."""
    builder = create_continuous_token_builder(
        AutoTokenizer.from_pretrained(folder), hf_model_type=form.model_type
    )
    found: list[int] = builder._render_tokens(conversation, add_generation_prompt=True)
    return found


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("system", ["", "Be brief."])
def test_a_models_own_template_is_the_same_for_all_engines(name: str, system: str, tmp_path: Path) -> None:
    form = FORMS[name]
    folder = save_form(tmp_path, form)
    if system and name == "gemma":
        with pytest.raises(UserError, match=r"refuses a conversation of system, user.*System role not supp"):
            learned(folder, "model", system=system)
        return
    found = learned(folder, "model", system=system)
    prompt = messages(QUESTION, system=system)
    tokens, labels = found["input_ids"][0], found["labels"][0]
    place = next(at for at, label in enumerate(labels) if label != -100)
    assert tokens[:place] == by_verl(folder, form, prompt)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokens[:place] == encode_chat(tokenizer, prompt, add_generation_prompt=True)
    whole = messages(QUESTION, ANSWER, system=system)
    assert tokens == tokenizer.apply_chat_template(whole, return_dict=False)
    assert labels[place:] == tokens[place:]
    end = form.ends[-1] if form.ends else form.eos
    assert tokenizer.decode(labels[place:]).rstrip("\n") == ANSWER + end


@pytest.mark.parametrize("name", FORMS)
def test_every_answer_of_a_conversation_is_learned(name: str, tmp_path: Path) -> None:
    folder = save_form(tmp_path, FORMS[name])
    found = learned(folder, "model", "one", "two three")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    whole = messages(QUESTION, "one", QUESTION, "two three")
    assert found["input_ids"][0] == tokenizer.apply_chat_template(whole, return_dict=False)
    kept = [token for token in found["labels"][0] if token != -100]
    assert tokenizer.decode(kept, skip_special_tokens=True).replace("\n", "") == "onetwo three"


@pytest.mark.parametrize("name", ["chatml", "smollm2"])
def test_chatml_takes_the_place_of_a_models_own(name: str, tmp_path: Path) -> None:
    """Without a system turn of its own; the model is saved with ChatML's template, which verl reads."""
    folder = save_form(tmp_path / "model", FORMS[name])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = learned(folder, "chatml")
    text = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n{ANSWER}<|im_end|>\n"
    assert tokenizer.decode(found["input_ids"][0]) == text


@pytest.mark.parametrize("name", ["llama3", "gemma"])
def test_chatml_needs_its_marks_as_tokens(name: str, tmp_path: Path) -> None:
    folder = save_form(tmp_path, FORMS[name])
    with pytest.raises(UserError, match=r"needs '<\|im_start\|>', '<\|im_end\|>' as tokens, .* neither; set"):
        learned(folder, "chatml")
    assert len(AutoTokenizer.from_pretrained(folder)) < 1000


def test_chatml_needs_both_marks(tmp_path: Path) -> None:
    one = replace(FORMS["chatml"], special=("<|endoftext|>", "<|im_end|>"))
    folder = save_form(tmp_path, one)
    with pytest.raises(UserError, match=r"of which the tokenizer has no <\|im_start\|>; set template: model"):
        learned(folder, "chatml")
    with pytest.raises(
        UserError, match=r"its chat template writes '<\|im_start\|>', which .* cuts into pieces"
    ):
        learned(folder, "model")


def test_a_template_of_its_own_needs_the_marks_that_are_in_it(tmp_path: Path) -> None:
    folder = save_form(tmp_path, replace(FORMS["llama3"], template=FORMS["chatml"].template))
    said = r"writes '<\|im_start\|>', '<\|im_end\|>', which the tokenizer cuts into pieces"
    with pytest.raises(UserError, match=said):
        learned(folder, "model")
    with pytest.raises(UserError, match=said):
        try_rendering.check_start(folder, [])


def test_a_model_without_a_template_is_refused(tmp_path: Path) -> None:
    folder = save_form(tmp_path, replace(FORMS["chatml"], template=""), chat_template=None)
    with pytest.raises(UserError, match="the tokenizer has no chat template"):
        learned(folder, "model")
    learned(folder, "chatml")
    with pytest.raises(UserError, match=r"the tokenizer has no chat template.*template: chatml"):
        try_rendering.check_start(folder, [])


def test_more_tokens_than_the_model_has_are_refused(tmp_path: Path) -> None:
    folder = save_form(tmp_path, FORMS["chatml"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>", "<FILL_ME>"])
    tokenizer.save_pretrained(folder)
    said = r"has (\d+) tokens, the model \d+; remove '▁<PRE>', .*'<FILL_ME>' from the tokenizer"
    for template in ("chatml", "model"):
        with pytest.raises(UserError, match=said):
            learned(folder, template)
    with pytest.raises(UserError, match=said):
        try_rendering.check_start(folder, [])


def test_a_tokenizer_that_is_loaded_as_another_one_is_refused(tmp_path: Path) -> None:
    """Named after Qwen2's it is rebuilt, with Qwen2's pre-tokeniser and decoder, and loses the blanks."""
    folder = save_form(tmp_path, replace(FORMS["gemma"], model_type="qwen2"))
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tokenizer_class": "Qwen2Tokenizer"}))
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"vocab_size": 512}))
    with pytest.raises(UserError, match="does not come through its tokenizer"):
        learned(folder, "model")
    with pytest.raises(UserError, match="does not come through its tokenizer"):
        try_rendering.check_start(folder, [messages(QUESTION)])


TEMPLATES_THAT_FAIL = {
    "an answer is begun in another way": (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant:\n{% endif %}",
        r"asks for an answer in another way than it begins one: asked for '.*assistant:.n', begun '.*\(at ",
    ),
    "an answer is not asked for": (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}",
        r"does not come through .*: given 'An analysis.*, got back 'assistant",
    ),
    "an answer has no end": (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
        r"an answer has no end in its chat template: .* engines stop at '<\|im_end\|>'; name the token",
    ),
    "an answer loses its lines": (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | replace('\n', ' ') }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        r"does not come through .*: given '.*\\n\\n### Final .*, got back '.*  ### Final",
    ),
}


@pytest.mark.parametrize("fault", TEMPLATES_THAT_FAIL)
def test_a_template_that_fails_an_answer_is_refused_by_both_trainings(fault: str, tmp_path: Path) -> None:
    template, said = TEMPLATES_THAT_FAIL[fault]
    folder = save_form(tmp_path, replace(FORMS["chatml"], template=template))
    with pytest.raises(UserError, match=said) as refused:
        learned(folder, "model")
    assert "\n" not in str(refused.value)
    with pytest.raises(UserError):
        try_rendering.check_start(folder, [messages(QUESTION)])


def test_a_template_that_changes_earlier_turns_is_refused(tmp_path: Path) -> None:
    template = FORMS["chatml"].template.replace(
        "{{ m['content'] }}", "{{ m['content'] if loop.last else m['content'] | upper }}"
    )
    folder = save_form(tmp_path, replace(FORMS["chatml"], template=template))
    with pytest.raises(UserError, match=r"its chat template changes earlier turns|asks for an answer in"):
        learned(folder, "model", "one", "two")


def test_a_tokenizer_that_loses_the_format_is_refused(tmp_path: Path) -> None:
    folder = save_form(tmp_path, FORMS["chatml"])
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(tokenizer | {"normalizer": {"type": "Lowercase"}}), encoding="utf-8")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    for check in (
        lambda: learned(folder, "chatml"),
        lambda: try_rendering.check_start(folder, [messages(QUESTION)]),
    ):
        with pytest.raises(UserError, match=r"given 'An analysis.*', got back 'an analysis"):
            check()


def test_gemma_without_the_end_of_a_turn_among_its_ends_is_refused(tmp_path: Path) -> None:
    folder = save_form(tmp_path, replace(FORMS["gemma"], ends=("<eos>",)))
    for check in (
        lambda: learned(folder, "model"),
        lambda: try_rendering.check_start(folder, [messages(QUESTION)]),
    ):
        with pytest.raises(UserError, match=r"no end .* <end_of_turn> .*, and engines stop at '<eos>'"):
            check()


def test_other_renderings_are_shown_around_their_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if LLaMA-Factory's ChatML had another header than that which it saves for verl."""
    folder = save_form(tmp_path, FORMS["chatml"])
    other = replace(TEMPLATES["chatml"], format_user=TEMPLATES["chatml"].format_observation)
    monkeypatch.setitem(TEMPLATES, "chatml", other)
    monkeypatch.setattr(type(other), "fix_jinja_template", lambda self, tokenizer: None)
    said = r"LLaMA-Factory and verl render .* differently: LLaMA-Factory <\|im_start\|>.*, verl .*\(at 1\)"
    with pytest.raises(UserError, match=said) as refused:
        learned(folder, "chatml")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", FORMS)
def test_verl_starts_with_every_form(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_form(tmp_path / "model", FORMS[name])
    pq.write_table(pa.table({"prompt": [messages(QUESTION)] * 8}), tmp_path / "rows.parquet")
    arguments = ["--model", str(folder), "--data", str(tmp_path / "rows.parquet"), "--judge", str(folder)]
    try_rendering.main(arguments)
    assert capsys.readouterr().out == ""


def test_an_end_that_generation_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = save_form(tmp_path, replace(FORMS["llama3"], ends=("<|end_of_text|>",)))
    with pytest.raises(
        UserError, match=r"end token is '<\|eot_id\|>' .*, generation ends at \[\d+\]; add it"
    ):
        try_rendering.check_start(folder, [])
