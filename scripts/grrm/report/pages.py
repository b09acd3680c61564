"""Plain pages of headings, texts, lists and tables, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Block:
    """A part of a page.

    Attributes:
        kind: what it is.
        content: `title`, `heading`, `text` and `verbatim`: a text; `list`: texts; `table`: rows of cells,
            the first one being the header.
    """

    kind: Literal["title", "heading", "text", "list", "table", "verbatim"]
    content: Any


def to_markdown(blocks: Sequence[Block]) -> str:
    """The page as Markdown."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    match block.kind:
        case "title":
            return f"# {block.content}"
        case "heading":
            return f"## {block.content}"
        case "text":
            return str(block.content)
        case "list":
            return "\n".join(f"- {text}" for text in block.content)
        case "verbatim":
            return "\n".join(f"    {line}" for line in block.content.split("\n"))
        case "table":
            header, *body = [[_cell(cell) for cell in row] for row in block.content]
            rules = ["---", *("---:" for _ in header[1:])]
            return "\n".join(f"| {' | '.join(row)} |" for row in [header, rules, *body])


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")
