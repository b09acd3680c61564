"""How a conversation becomes tokens. The engines must agree on it, and an answer must come through.

Whoever trains, samples or judges renders a conversation by the chat template in the model's folder, and ends
an answer where the model's end tokens are. What is wrong with either shows in no loss: it is looked for
before a training, on a few of its rows.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from grrm.extract import after_thinking
from grrm.files import UserError
from grrm.texts import render_chat

Template = Literal["chatml", "model"]
Messages = Sequence[Mapping[str, Any]]

CHATML = ("<|im_start|>", "<|im_end|>")
ROWS = 4
"""Rows of a training that are looked at."""
_SHOWN = 8  # tokens, or characters times four, on each side of a difference


@dataclass(frozen=True)
class Rendered:
    """Tokens of a conversation: up to where the last answer begins, and of that answer with its end."""

    prompt: list[int]
    answer: list[int]


def rendered(tokenizer: Any, messages: Messages) -> Rendered:
    """A conversation that ends with an answer, by the tokenizer's chat template.

    The prompt's tokens are those that verl and vLLM make of it. The answer's are made of its text alone, as
    no token of an answer that is being written spans its beginning.

    Raises:
        UserError: the template refuses the messages, or begins an answer in another way than it asks for one.
    """
    *before, _ = messages
    asked = render_chat(tokenizer, before, tokenize=False, add_generation_prompt=True)
    whole = render_chat(tokenizer, messages, tokenize=False)
    if not whole.startswith(asked):
        raise UserError(
            f"{_name(tokenizer)}: its chat template asks for an answer in another way than it begins one: "
            f"{difference(asked, whole[: len(asked)], ('asked for', 'begun'))}; use another model"
        )
    return Rendered(prompt_tokens(tokenizer, before), _tokens(tokenizer, whole[len(asked) :]))


def prompt_tokens(tokenizer: Any, messages: Messages) -> list[int]:
    """Tokens of messages that wait for an answer, as verl and vLLM make them.

    Raises:
        UserError: the template refuses the messages.
    """
    found = render_chat(tokenizer, messages, tokenize=True, return_dict=True, add_generation_prompt=True)
    return list(found["input_ids"] if isinstance(found, Mapping) else found)


def turns(tokenizer: Any, messages: Messages) -> list[list[int]]:
    """Tokens of a conversation in pieces: what stands before the first answer, it, what stands before the
    second one...

    Raises:
        UserError: see `rendered`; or the template renders a turn in another way when further ones follow.
    """
    pieces: list[list[int]] = []
    done = ""
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        asked = render_chat(tokenizer, messages[:place], tokenize=False, add_generation_prompt=True)
        if not asked.startswith(done):
            raise UserError(
                f"{_name(tokenizer)}: its chat template changes earlier turns of a conversation: "
                f"{difference(done, asked[: len(done)], ('before', 'after'))}; use another model"
            )
        answer = rendered(tokenizer, messages[: place + 1]).answer
        pieces += [_tokens(tokenizer, asked[len(done) :]), answer]
        done = render_chat(tokenizer, messages[: place + 1], tokenize=False)
    return pieces


def check_tokenizer(tokenizer: Any, vocabulary: int, template: Template = "model") -> None:
    """Raise UserError unless a model can be trained with this tokenizer.

    Args:
        tokenizer: of transformers.
        vocabulary: tokens that the model has.
        template: chatml needs its marks; model needs a chat template, and those of the marks that are in it.
    """
    name = _name(tokenizer)
    if len(tokenizer) > vocabulary:
        raise UserError(
            f"{name}: the tokenizer has {len(tokenizer)} tokens, the model {vocabulary}; remove "
            f"{_quoted(_beyond(tokenizer, vocabulary))} from the tokenizer, or enlarge the model's embeddings"
        )
    split = [mark for mark in CHATML if len(_tokens(tokenizer, mark)) != 1 or _unknown(tokenizer, mark)]
    own = getattr(tokenizer, "chat_template", None)
    if template == "chatml":
        if split:
            raise UserError(
                f"{name}: template chatml needs {_quoted(CHATML)} as tokens, of which the tokenizer has "
                f"{'neither' if len(split) > 1 else f'no {split[0]}'}; set template: model if the model has "
                "a chat template of its own"
            )
    elif not own:
        raise UserError(
            f"{name}: the tokenizer has no chat template, so no conversation can be rendered; set template: "
            "chatml for an SFT if it has ChatML's marks, or use a model with a chat template"
        )
    elif used := [mark for mark in split if mark in str(own)]:
        raise UserError(
            f"{name}: its chat template writes {_quoted(used)}, which the tokenizer cuts into pieces: "
            "no turn would begin or end for certain; use a model that has it as a token"
        )
    elif tokenizer.eos_token_id is None:
        raise UserError(f"{name}: the tokenizer names no end token (eos_token), so no answer would ever end")


def check_same(ours: Sequence[int], theirs: Sequence[int], tokenizer: Any, who: tuple[str, str]) -> None:
    """Raise UserError, with what stands around the first difference, unless both renderings are the same.

    Args:
        ours: tokens of a conversation.
        theirs: of the same one.
        tokenizer: which names them.
        who: made which.
    """
    if list(ours) == list(theirs):
        return
    mine, others = (tokenizer.convert_ids_to_tokens(list(ids)) for ids in (ours, theirs))
    raise UserError(
        f"{_name(tokenizer)}: {who[0]} and {who[1]} render the same conversation differently: "
        f"{difference(mine, others, who)}; use another template, or another model"
    )


def check_carried(tokenizer: Any, conversation: Rendered, answer: str, ends: Collection[int]) -> None:
    """Raise UserError unless an answer comes out of its tokens as it went in, and then ends.

    White space around it, thinking that the template puts before it and compatible forms of Unicode are no
    difference.

    Args:
        tokenizer: which decodes as the engines do.
        conversation: that the answer is the last turn of.
        answer: its text.
        ends: tokens at which the engines stop.
    """
    tokens = conversation.answer
    end = next((place for place, token in enumerate(tokens) if token in ends), None)
    if end is None:
        raise UserError(
            f"{_name(tokenizer)}: an answer has no end in its chat template: it renders as "
            f"{_around(tokenizer.convert_ids_to_tokens(tokens), len(tokens))}, and engines stop at "
            f"{_quoted(tokenizer.convert_ids_to_tokens(sorted(ends)))}; name the token that ends a turn as "
            "eos_token_id in generation_config.json"
        )
    text = tokenizer.decode(tokens[:end], skip_special_tokens=True)
    came = {_plain(text), _plain(after_thinking(text) or "")}
    if not came & {_plain(answer), _plain(after_thinking(answer) or "")}:
        raise UserError(
            f"{_name(tokenizer)}: an answer does not come through its tokenizer and chat template: "
            f"{difference(_plain(answer), _plain(text), ('given', 'got back'))}; use another model"
        )


def difference(one: Sequence[str], other: Sequence[str], who: tuple[str, str]) -> str:
    """What stands around the first difference of two texts, or of two lists of tokens, in words."""
    pairs = zip(one, other, strict=False)
    place = next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    return f"{who[0]} {_around(one, place)}, {who[1]} {_around(other, place)} (at {place})"


def _around(pieces: Sequence[str], place: int) -> str:
    if isinstance(pieces, str):
        return repr(pieces[max(0, place - 4 * _SHOWN) : place + 4 * _SHOWN])
    shown = " ".join(pieces[max(0, place - _SHOWN) : place + _SHOWN]).replace("\n", "\\n")
    return shown or "nothing"


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip()


def _tokens(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
    return ids


def _unknown(tokenizer: Any, token: str) -> bool:
    found = tokenizer.convert_tokens_to_ids(token)
    return found is None or found == tokenizer.unk_token_id


def _beyond(tokenizer: Any, vocabulary: int) -> list[str]:
    """Tokens that the model does not have, at most five."""
    ids = sorted(number for number in tokenizer.get_vocab().values() if number >= vocabulary)[:5]
    found: list[str] = tokenizer.convert_ids_to_tokens(ids)
    return found


def _quoted(tokens: Collection[str]) -> str:
    return ", ".join(repr(token) for token in tokens)


def _name(tokenizer: Any) -> str:
    return getattr(tokenizer, "name_or_path", "") or "the tokenizer"
