"""From source tables to the rows of supervised fine-tuning.

They are chats, `{"messages": [user, assistant]}`, one line of JSON each.

`semantics`: "strict", or "paper" for what the released preparation writes, its slips included (NJUNLP/GRRM
1b81b29, scripts/).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from grrm.extract import code_block
from grrm.files import UserError
from grrm.prompts import PointwisePrompt, RankingPrompt, TranslationPrompt, ranking_answer, ranking_verdict
from grrm.schemas import BadRows
from grrm.texts import mark_messages

Semantics = Literal["strict", "paper"]
Row = dict[str, Any]


def chat(user: list[dict[str, str]], answer: str) -> Row:
    """One supervised example: the user's messages and the answer to learn."""
    return {"messages": [*user, *mark_messages([{"role": "assistant", "content": answer}])]}


def ranking_chat(row: Row, prompt: RankingPrompt, semantics: Semantics = "strict") -> Row:
    """A row of the grrm_sft table as a chat: the ranking prompt, then analysis, ranking and scores.

    With semantics "paper" the analysis may be empty, or end with empty lines.

    Raises:
        ValueError: with semantics "strict" the analysis is empty.
    """
    shown = {name: row[name] for name in ("src_text", "mt_texts", "src_lang", "trg_lang")}
    user = prompt.messages(**shown, columns=row)
    if semantics == "paper":
        return chat(user, f"{strip_mention(row['analysis'])}\n\n{ranking_verdict(row['scores'])}")
    return chat(user, ranking_answer(strip_verdict(row["analysis"]), row["scores"]))


def translation_chat(row: Row, prompt: TranslationPrompt) -> Row:
    """A row of the mt_sft table as a chat: the translation prompt, then the response, stripped."""
    user = prompt.messages(**{name: row[name] for name in ("src_text", "src_lang", "trg_lang")}, columns=row)
    return chat(user, row["response"].strip())


def scoring_chats(row: Row, prompt: PointwisePrompt) -> list[Row]:
    """The candidates of a row of the grrm_sft table, each as a chat: a question about it, and its score."""
    languages = {name: row[name] for name in ("src_text", "src_lang", "trg_lang")}
    return [
        chat(prompt.messages(**languages, mt_text=text, columns=row), str(score))
        for text, score in zip(row["mt_texts"], row["scores"], strict=True)
    ]


def with_translation(row: Row) -> Row:
    """A row of the mt_sft table whose response ends with the translation in a code block.

    Raises:
        ValueError: it does not.
    """
    if code_block(row["response"]) is None:
        raise ValueError(
            f"response is {row['response']!r}; expected an analysis, then the translation in one code block "
            "at the end"
        )
    return row


def prepared_rows(
    tables: Iterable[pa.Table], prepare: Callable[[Row], Row], path: str | Path, bad_rows: BadRows
) -> Iterator[Row]:
    """What `prepare` makes of the rows of a table; a row for which it raises ValueError is bad.

    Args:
        tables: the pieces of the table.
        prepare: makes one row.
        path: where the rows come from, for messages.
        bad_rows: "error" stops when all bad rows are counted; "drop" leaves them out and says how many.

    Raises:
        UserError: a row is bad or, with "drop", no row is good.
    """
    rows = bad = 0
    first = ""
    for table in tables:
        for row in table.to_pylist():
            try:
                prepared = prepare(row)
            except ValueError as error:
                bad += 1
                first = first or f"{path}, row {rows} (the first is 0): {error}"
            else:
                if bad_rows == "drop" or not bad:
                    yield prepared
            rows += 1
    if bad and (bad_rows == "error" or bad == rows):
        raise UserError(
            f"{first} ({bad} of {rows} rows are bad); repair them, or leave them out with --bad-rows drop"
        )
    if bad:
        print(f"{path}: {bad} of {rows} rows dropped, the first of them: {first}")


_RANK = r"[A-Z](?:\s*[>=]\s*[A-Z])+"
_SCORE = r"[A-Z]\s*[:=：]\s*\d+(?:\.\d+)?(?:\s*/\s*10)?"
_HEADING = r"(?i:(?:final\s+|overall\s+)?(?:rankings?|scores?|scoring))\s*[:：]?"
_VERDICT = re.compile(
    rf"[#*\s]*(?:{_HEADING}[*\s]*(?:{_RANK}|{_SCORE}(?:\s*[,;，；]\s*{_SCORE})*)?"
    rf"|{_RANK}|{_SCORE}(?:\s*[,;，；]\s*{_SCORE})+)[*.\s]*"
)


def is_verdict(line: str) -> bool:
    """Whether a line is nothing but a ranking ("B > A"), scores ("A: 8, B: 9") or the heading of either."""
    return _VERDICT.fullmatch(line) is not None


def strip_verdict(analysis: str) -> str:
    """Take the last line off an analysis if it is a ranking or score line; prose about scores stays."""
    body, _, last = analysis.rstrip().rpartition("\n")
    return body.rstrip() if body.strip() and is_verdict(last) else analysis.rstrip()


_MENTION = re.compile("[Ss]core|[Ss]coring|[Rr]anking")


def strip_mention(analysis: str) -> str:
    """Take the last line off an analysis if it speaks of scores or of a ranking: what the paper does."""
    lines = analysis.strip().splitlines()
    return "\n".join(lines[:-1] if lines and _MENTION.search(lines[-1]) else lines)
