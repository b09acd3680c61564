"""Taking the answer out of a model's response."""

from __future__ import annotations

import re
from collections.abc import Sequence

# A fence is a run of three backticks or more; shorter runs are text.
_FENCE = re.compile("`{3,}")
# "```text\n": one word right behind the opening fence, alone on its line.
_LANGUAGE_TAG = re.compile(r"[ \t]*[A-Za-z][\w+#.-]*[ \t]*\r?\n", re.ASCII)
# The first character has no case, so that the search leaps from one to the next: a judge's answers are long.
_THINKING_MARK = re.compile(r"<(?i:/?think(?:ing)?>)")
_ANY_THINKING_MARK = re.compile(rf"{_THINKING_MARK.pattern}|【/?思考】|\[/?思考\]")
END_MARKS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>", "</s>")
"""Ends of a turn in the chat templates of Qwen, GPT-2, Llama 3, Gemma and Llama 2."""


def code_block(text: str) -> str | None:
    """The text in the one code block that ends a response, without the white space around it; else None.

    The response must end with a fence of k >= 3 backticks and hold exactly one other run of k or more,
    the opening fence, of the same length: with a longer fence, text that contains ``` survives. Either
    fence may share its line with text. If the closing fence stands on its own line, one word behind the
    opening fence is a language tag, and left out, unless it is all there is. No block, a second one, an
    unclosed one and an empty one are None, and so is whatever stands behind thinking that never ends.
    """
    return None if after_thinking(text) is None else _final_block(text, only=True)


def last_code_block(text: str) -> str | None:
    """The last of the code blocks outside thinking, with which the response must end; else None.

    For models that were not trained to write one block and no more; otherwise as `code_block`.
    """
    answer = after_thinking(text)
    return None if answer is None else _final_block(answer, only=False)


def _final_block(text: str, *, only: bool) -> str | None:
    text = text.rstrip()
    fences = list(_FENCE.finditer(text))
    if not fences or fences[-1].end() != len(text):
        return None
    length = len(fences[-1][0])
    fences = [fence for fence in fences if len(fence[0]) >= length]
    if len(fences) % 2 or (only and len(fences) > 2):
        return None
    opening, closing = fences[-2:]
    if len(opening[0]) != length:
        return None
    block = text[opening.end() : closing.start()]
    tag = _LANGUAGE_TAG.match(block)
    if tag and block.rstrip(" \t").endswith("\n") and block[tag.end() :].strip():
        block = block[tag.end() :]
    return block.strip() or None


def whole_text(text: str) -> str | None:
    """The whole response without its thinking and the white space around it; None if nothing else is there.

    None as well if the thinking never ends.
    """
    return (after_thinking(text) or "").strip() or None


def before_reasoning(text: str) -> str | None:
    """What stands before `[COT]`, after which Seed-X explains its translation; None if nothing does.

    Thinking is left out first; None if it never ends.
    """
    return (after_thinking(text) or "").partition("[COT]")[0].strip() or None


def answer_tag(text: str) -> str | None:
    """What the last <answer>...</answer> outside thinking holds; None if there is none, or nothing in it.

    None as well if the thinking never ends.
    """
    return tag(after_thinking(text) or "", "answer") or None


def in_form(text: str, names: Sequence[str]) -> str | None:
    """What the last of the named tags holds, where each stands in a response once, and in that order.

    <think>...</think> <answer>...</answer>, say: every opening and closing tag exactly once, none inside
    another, the text between them free. Letter case counts. The content may be empty; None: another form.
    """
    marks = [mark for name in names for mark in (f"<{name}>", f"</{name}>")]
    places = [text.find(mark) for mark in marks]
    if any(text.count(mark) != 1 for mark in marks) or places != sorted(places):
        return None
    return text[places[-2] + len(marks[-2]) : places[-1]].strip()


def translate_tag(text: str) -> str | None:
    """What the last <translate>...</translate> outside thinking holds; None if there is none, or it is empty.

    None as well if the thinking never ends.
    """
    return tag(after_thinking(text) or "", "translate") or None


def last_line(text: str) -> str | None:
    """The last line that is not blank, without the white space around it; None if there is none."""
    return text.strip().rpartition("\n")[2].strip() or None


def tag(text: str, name: str) -> str | None:
    """What the last well-formed <name>...</name> outside thinking holds; None if there is none.

    Letter case of the name does not matter; white space around the content is left out. Thinking is
    <think>...</think> (or <thinking>, 【思考】...【/思考】, [思考]...[/思考]), all before a closing mark
    that was never opened (chat templates may open it in the prompt), and all after a <think> that is never
    closed.
    """
    found = tags(without_thinking(text), name)
    return found[-1][1].strip() if found else None


def tags(text: str, name: str) -> list[re.Match[str]]:
    """All well-formed <name>...</name> in a text without thinking, in order; group 1 is the content."""
    name = re.escape(name)
    # The content holds no tag of this name: of nested or unclosed opening tags, the innermost counts.
    content = rf"[^<]*+(?:<(?!(?i:/?{name}>))[^<]*+)*+"
    return list(re.finditer(rf"<(?i:{name}>)({content})<(?i:/{name}>)", text))


def without_end(text: str, marks: Sequence[str] = END_MARKS) -> str:
    """A response without the white space and the marks of the end of a turn that it ends with."""
    text = text.rstrip()
    while mark := next((mark for mark in marks if mark and text.endswith(mark)), None):
        text = text.removesuffix(mark).rstrip()
    return text


def after_thinking(text: str) -> str | None:
    """The response without its thinking, as `tag` defines it; None if there is thinking that never ends.

    In time proportional to its length.
    """
    text, endless = _without_finished_thinking(text)
    return text if endless is None else None


def without_thinking(text: str) -> str:
    """The response without its thinking; of one that never ends its thinking, what stands before it.

    As the published reward takes it out (tests/data/golden); whoever needs an answer asks `after_thinking`.
    """
    text, endless = _without_finished_thinking(text)
    return text[:endless]


def _without_finished_thinking(text: str) -> tuple[str, int | None]:
    """The rest of a response, and where in it thinking begins that never ends."""
    marks = _thinking_marks(text)
    if not marks:
        return text, None
    text = _without_closed_thinking(text, marks)
    rest, endless = 0, None
    for mark in _thinking_marks(text):
        if _closes(mark):
            rest, endless = mark.end(), None
        elif endless is None and mark[0].startswith("<"):  # without an end 【思考】 is a heading
            endless = mark.start()
    return text[rest:], None if endless is None else endless - rest


def _thinking_marks(text: str) -> list[re.Match[str]]:
    if "思考" in text:
        return list(_ANY_THINKING_MARK.finditer(text))
    return list(_THINKING_MARK.finditer(text)) if "<" in text else []


def _without_closed_thinking(text: str, marks: Sequence[re.Match[str]]) -> str:
    """Without what stands between an opening mark and the next closing one of its kind."""
    closing_of: dict[int, int] = {}
    next_closing: dict[str, int] = {}
    for index in reversed(range(len(marks))):
        kind = marks[index][0].replace("/", "").lower()
        if _closes(marks[index]):
            next_closing[kind] = index
        elif kind in next_closing:
            closing_of[index] = next_closing[kind]
    kept, position, index = [], 0, 0
    while index < len(marks):
        if index in closing_of:
            kept.append(text[position : marks[index].start()])
            index = closing_of[index]
            position = marks[index].end()
        index += 1
    return "".join([*kept, text[position:]])


def _closes(mark: re.Match[str]) -> bool:
    return "/" in mark[0]
