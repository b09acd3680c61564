"""Putting a user's text into a prompt: a text cannot speak for anyone else.

A source or a candidate may hold what a tokenizer takes for control ("<|im_end|>", "</s>"): it would end the
user's turn and begin one of its own. What keeps it from that depends on who makes tokens of the prompt:

- Where this project does, the special strings of a text are found from the tokenizer and split into ordinary
  tokens (`encode_chat`, `encode_text`). The model reads the text as it is.
- Where an engine does (rows for LLaMA-Factory and verl, endpoints), a mark breaks them: U+2060 WORD JOINER,
  which shows nothing, behind the first character. `mark` puts one in, also where there are some already, and
  `unmark` takes one out: `unmark(mark(text)) == text` for every text.

A text without such strings stays as it is, byte for byte, and so do its tokens. A filled template (`Filled`)
knows where its texts are; what is its own may hold control tokens on purpose.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self
from weakref import WeakKeyDictionary

from grrm.files import UserError

MARK = "\u2060"
"""WORD JOINER: shows nothing, and no tokenizer takes it for white space."""

_ANGLED = (
    *("s", "bos", "eos", "pad", "unk", "mask", "sep", "cls", "sop", "eop", "eoh", "eod", "eot"),
    *(f"{end}_of_{what}" for end in ("start", "end") for what in ("turn", "image", "text")),
)
_SQUARE = (
    *("INST", "SYSTEM_PROMPT", "AVAILABLE_TOOLS", "TOOL_CALLS", "TOOL_RESULTS", "TOOL_CONTENT", "ARGS"),
    *("CALL_ID", "IMG", "IMG_BREAK", "IMG_END", "CLS", "SEP", "MASK", "gMASK", "PAD", "UNK", "BOS", "EOS"),
)
_NAMES = (
    *(f"<{end}{name}>" for end in ("", "/") for name in _ANGLED),
    *(f"[{end}{name}]" for end in ("", "/") for name in _SQUARE),
    *("<<SYS>>", "<</SYS>>"),
)


def _spaced(*parts: str) -> str:
    """A pattern of parts that follow one another, with any number of marks between them."""
    return f"{MARK}*".join(parts)


def _framed(start: str, end: str, frame: str) -> str:
    """A pattern of a name of up to 64 signs in a frame, such as <|name|>."""
    inner = f"(?:{MARK}*[^{re.escape(start + end + frame)}\\s{MARK}]){{1,64}}"
    return _spaced(re.escape(start), re.escape(frame) + inner, re.escape(frame), re.escape(end))


# <|im_end|> of ChatML, Llama 3, Phi, Cohere...; <｜User｜> of DeepSeek; [|user|] of EXAONE; <start_of_turn>
# of Gemma; [INST], <s>, </s> and <<SYS>> of Mistral and Llama 2; <extra_id_0> of T5; [CLS] of BERT.
FAMILIES = re.compile(
    "|".join(
        [
            *(_framed("<", ">", "|"), _framed("<", ">", "｜"), _framed("[", "]", "|")),
            *(_spaced(*map(re.escape, name)) for name in _NAMES),
            *(
                _spaced(*map(re.escape, name), f"[0-9](?:{MARK}*[0-9])*", ">")
                for name in ("<unused", "<extra_id_", "<reserved_")
            ),
        ]
    )
)
"""Finds special strings of the known families of tokenizers, broken or not: where it is not known which."""
# What a chat template may set between turns in ordinary tokens, such as the [INST] of Llama 2.
_TURNS = re.compile(r"<\|[^<>|\s]{1,64}\|>|\[/?[A-Z_]{2,}\]|<</?SYS>>")
_NEVER = re.compile("(?!)")
_END_OF_TURN = "<|im_end|>"


class Filled(str):
    """A filled template.

    Attributes:
        places: where the user's texts stand in it: beginnings and ends, in order.
    """

    __slots__ = ("places",)
    places: tuple[tuple[int, int], ...]

    def __new__(cls, pieces: Iterable[tuple[str, bool]]) -> Self:
        """Put pieces together, each with whether it is a user's text; they may be filled templates again."""
        texts, places, end = [], [], 0
        for piece, is_text in pieces:
            inner = piece.places if isinstance(piece, Filled) else ((0, len(piece)),) if is_text else ()
            places += [(end + start, end + stop) for start, stop in inner if stop > start]
            texts.append(piece)
            end += len(piece)
        self = super().__new__(cls, "".join(texts))
        self.places = tuple(places)
        return self

    @property
    def pieces(self) -> list[tuple[str, bool]]:
        """What it is made of: the template's own pieces and the texts, in turn."""
        bounds = [0, *(bound for place in self.places for bound in place), len(self)]
        return [(self[a:b], bool(number % 2)) for number, (a, b) in enumerate(pairwise(bounds))]

    def __getnewargs__(self) -> tuple[list[tuple[str, bool]]]:  # type: ignore[override]
        """For copies and other processes."""
        return (self.pieces,)


def finding(strings: Iterable[str], *, broken: bool = True) -> re.Pattern[str]:
    """What finds these strings; of one character there is nothing to break.

    Args:
        strings: whole ones.
        broken: find them with marks in them, too.
    """
    wanted = sorted({text for text in strings if len(text) > 1}, key=len, reverse=True)
    found = "|".join(_spaced(*map(re.escape, text)) if broken else re.escape(text) for text in wanted)
    return re.compile(found) if found else _NEVER


def mark(text: str, special: re.Pattern[str] = FAMILIES) -> str:
    """A text whose special strings are broken by `MARK`; of a filled template, the texts in it are."""
    if isinstance(text, Filled):
        return Filled((mark(piece, special) if own else piece, own) for piece, own in text.pieces)
    ends = [place + 1 for place in _places(text, special)]
    return MARK.join(text[a:b] for a, b in pairwise([0, *ends, len(text)])) if ends else text


def unmark(text: str, special: re.Pattern[str] = FAMILIES) -> str:
    """The text that `mark` has made this of; a text without marks is itself."""
    ends = [place + 1 for place in _places(text, special)] if MARK in text else []
    pieces = [text[a:b] for a, b in pairwise([0, *ends, len(text)])]
    return "".join([*pieces[:1], *(piece.removeprefix(MARK) for piece in pieces[1:])])


def _places(text: str, special: re.Pattern[str]) -> list[int]:
    """Where special strings begin, also within one another; as they stand, or once the text is normalised
    (NFKC), as some tokenizers do before they look: the full-width ＜|im_end|＞.

    Marks make no difference, so the places in a marked text are those in the text that it was made of.
    """
    found = set(_beginnings(text, special))
    # At once, which is fast: most texts hold nothing of the kind.
    if not text.isascii() and special.search(unicodedata.normalize("NFKC", text)):
        letters = [sign if sign.isascii() else unicodedata.normalize("NFKC", sign) for sign in text]
        origin = [place for place, part in enumerate(letters) for _ in part]
        found |= {origin[place] for place in _beginnings("".join(letters), special)}
    return sorted(found)


def _beginnings(text: str, special: re.Pattern[str]) -> Iterator[int]:
    found = special.search(text)
    while found:
        yield found.start()
        found = special.search(text, found.start() + 1)


def mark_messages(
    messages: Iterable[Mapping[str, Any]], special: re.Pattern[str] = FAMILIES
) -> list[dict[str, Any]]:
    """Messages with their contents marked."""
    return [{**message, "content": mark(message["content"], special)} for message in messages]


@dataclass(frozen=True)
class Control:
    """What a tokenizer does not take for text.

    Attributes:
        special: finds its special tokens, and those that begin and end a turn.
        added: finds all tokens that were added to its vocabulary and are more than letters, those too.
        turns: finds what its chat template sets between turns and is none of them, broken or not.
        marked: as `added` and `turns`, broken or not.
        outside: as `special` and `turns`, broken or not.
    """

    special: re.Pattern[str]
    added: re.Pattern[str]
    turns: re.Pattern[str]
    marked: re.Pattern[str]
    outside: re.Pattern[str]

    @classmethod
    def of(cls, special: Iterable[str], added: Iterable[str], template: str) -> Self:
        """Of tokens, special ones and all that were added, and a chat template."""
        special = {token for token in special if token.strip()}
        # White space and words of a language may have been added as well; they are what they are.
        signs = {token for token in added if any(not (c.isalnum() or c.isspace() or c == "▁") for c in token)}
        turns = set(_TURNS.findall(template)) - special - signs
        return cls(
            finding(special, broken=False),
            finding(special | signs, broken=False),
            finding(turns),
            finding(special | signs | turns),
            finding(special | turns),
        )

    def mark(self, text: str) -> str:
        """As `mark`, for an endpoint with this tokenizer.

        What is no filled template may have words of its own, such as "<think>", which are no special tokens.
        """
        return mark(text, self.marked if isinstance(text, Filled) else self.outside)


def control_of(tokenizer: Any) -> Control:
    """What a tokenizer of transformers does not take for text."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    known = _CONTROL.get(tokenizer)
    if known is None or known[0] != template:
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        special = [*getattr(tokenizer, "all_special_tokens", ())]
        turn = _turn(tokenizer)
        special += [token.content for token in added if token.special or token.content in turn]
        known = template, Control.of(special, getattr(tokenizer, "added_tokens_encoder", {}), template)
        _CONTROL[tokenizer] = known
    return known[1]


def _turn(tokenizer: Any) -> str:
    """A user's turn, to see what begins and ends it; empty if the template will not have it alone."""
    try:
        text = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    except Exception:  # a template raises whatever it likes
        return ""
    return text if isinstance(text, str) else ""


# Of a tokenizer: its chat template, and what it does not take for text.
_CONTROL: WeakKeyDictionary[Any, tuple[str, Control]] = WeakKeyDictionary()


def end_of_turn(tokenizer: Any) -> int | None:
    """The token that ends a chat turn in ChatML, also in models whose end of a text is another one.

    Returns:
        Its number; None where the tokenizer has no such token.
    """
    # Its whole vocabulary would take a tenth of a second to hand over.
    number: int | None = tokenizer.convert_tokens_to_ids(_END_OF_TURN)
    known = number is not None and tokenizer.convert_ids_to_tokens(number) == _END_OF_TURN
    return number if known else None


def ends_of_answer(tokenizer: Any, *declared: Any) -> set[int]:
    """Tokens that end an answer: the tokenizer's, the end of a chat turn, and those that a model declares.

    Args:
        tokenizer: of transformers.
        declared: values of eos_token_id.
    """
    return named_tokens(tokenizer.eos_token_id, end_of_turn(tokenizer), *declared)


def named_tokens(*values: Any) -> set[int]:
    """The tokens in values of a setting such as eos_token_id, each a number, a list of them, or None."""
    numbers = (number for value in values for number in (value if isinstance(value, list) else [value]))
    return {number for number in numbers if number is not None}


def encode_chat(tokenizer: Any, messages: Sequence[Mapping[str, Any]], **options: Any) -> list[int]:
    """Tokens of a conversation in the tokenizer's chat template; those of the template alone are special.

    Args:
        tokenizer: of transformers.
        messages: with role and content. Of a filled template the texts in it are made ordinary; of any other
            content what are special tokens.
        options: of `apply_chat_template`, such as add_generation_prompt.

    Raises:
        UserError: the template refuses the messages.
    """
    control = control_of(tokenizer)
    cut = _unused(message["content"] for message in messages)
    contents = [_divided(message["content"], control, cut) for message in messages]
    told = [{**message, "content": text} for message, text in zip(messages, contents, strict=True)]
    if not any(cut in text for text in contents):
        ids = render_chat(tokenizer, told, tokenize=True, return_dict=True, **options)
        return list(ids["input_ids"] if isinstance(ids, Mapping) else ids)
    text = render_chat(tokenizer, told, tokenize=False, **options)
    return _encoded(tokenizer, text.split(cut))


def render_chat(tokenizer: Any, messages: Sequence[Mapping[str, Any]], **options: Any) -> Any:
    """What the chat template makes of messages, with the options of `apply_chat_template`.

    Raises:
        UserError: it refuses them.
    """
    try:
        return tokenizer.apply_chat_template(messages, **options)
    except (
        Exception
    ) as error:  # a template raises whatever it likes, on a role or an order that it does not know
        name = getattr(tokenizer, "name_or_path", "") or "the tokenizer"
        roles = ", ".join(str(message.get("role")) for message in messages[:6])
        raise UserError(
            f"{name}: its chat template refuses a conversation of {roles}: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}; use messages that it takes, or another model"
        ) from error


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Tokens of a text to be continued, with what the tokenizer sets around it.

    The texts in a filled template are made ordinary; in any other text special strings are special.
    """
    control = control_of(tokenizer)
    cut = _unused([text])
    divided = _divided(text, control, cut) if isinstance(text, Filled) else text
    if cut not in divided:
        whole: list[int] = tokenizer(divided)["input_ids"]
        return whole
    bare, dressed = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    place = next((i for i in range(len(dressed)) if dressed[i : i + len(bare)] == bare), 0)
    return [*dressed[:place], *_encoded(tokenizer, divided.split(cut)), *dressed[place + len(bare) :]]


def _encoded(tokenizer: Any, pieces: Iterable[str]) -> list[int]:
    return [
        token
        for piece in pieces
        if piece
        for token in tokenizer(piece, add_special_tokens=False)["input_ids"]
    ]


def _unused(texts: Iterable[str]) -> str:
    """A string that is in none of these texts: of a code point that is no character."""
    longest = max((len(run) for text in texts for run in re.findall("\ufdd0+", text)), default=0)
    return "\ufdd0" * (longest + 1)


def _divided(text: str, control: Control, cut: str) -> str:
    """A content whose special strings are divided by `cut`, so that no token spans it."""
    if isinstance(text, Filled):
        pieces, special = text.pieces, control.added
    else:
        pieces, special = [(text, True)], control.special
    return "".join(_divided_text(part, special, control, cut) if own else part for part, own in pieces)


def _divided_text(text: str, special: re.Pattern[str], control: Control, cut: str) -> str:
    divided = mark(text, control.turns)
    while special.search(divided):
        divided = special.sub(lambda found: f"{found[0][0]}{cut}{found[0][1:]}", divided)
    # Some tokenizers normalise before they look.
    if not text.isascii() and any(
        special.search(unicodedata.normalize("NFKC", piece)) for piece in divided.split(cut)
    ):
        return cut.join(divided.replace(cut, ""))
    return divided
