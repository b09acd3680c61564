"""Plain pages of headings, texts, lists and tables, as Markdown and as HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem;
       margin: 2rem auto; padding: 0 1rem }
h2 { font-size: 1.15rem; margin: 1.5rem 0 .5rem }
section { border-top: 1px solid #999; padding: .5rem 0 1rem }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 }
th, td { border: 1px solid #bbb; padding: .3rem .6rem; text-align: left; vertical-align: top }
th { background: #f2f2f2; font-weight: 600 }
th[scope="row"] { width: 11rem }
td.number { text-align: right; white-space: nowrap }
blockquote { margin: .5rem 0; padding: .3rem .8rem; border-left: 4px solid #0072b2; background: #f7f9fb;
             white-space: pre-wrap }
pre { white-space: pre-wrap; margin: 0 }
code { overflow-wrap: anywhere }
.failure { color: #8a3300; font-weight: 600 }
"""


@dataclass(frozen=True)
class Block:
    """A part of a page.

    Attributes:
        kind: what it is.
        content: `title`, `heading`, `text` and `verbatim`: a text; `list`: texts; `table`: rows of cells,
            the first one being the header. `code` in backticks is marked up in all but verbatim blocks.
    """

    kind: Literal["title", "heading", "text", "list", "table", "verbatim"]
    content: Any


def to_markdown(blocks: Sequence[Block]) -> str:
    """The page as Markdown."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def to_html(blocks: Sequence[Block]) -> str:
    """The page as an HTML document that needs no other file; every text is escaped."""
    title = next((block.content for block in blocks if block.kind == "title"), "")
    return html_document(title, "".join(_html(block) for block in blocks if block.kind != "title"))


def html_document(title: str, body: str) -> str:
    """An HTML document in the style of the report; `body` is HTML, `title` is text."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f"{body}</body>\n</html>\n"
    )


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


def _html(block: Block) -> str:
    match block.kind:
        case "title" | "heading":
            return f"<h2>{_inline(block.content)}</h2>\n"
        case "text":
            return f"<p>{_inline(block.content)}</p>\n"
        case "list":
            return "<ul>\n" + "".join(f"<li>{_inline(text)}</li>\n" for text in block.content) + "</ul>\n"
        case "verbatim":
            return f"<blockquote>{escape(block.content)}</blockquote>\n"
        case "table":
            header, *body = block.content
            head = "".join(f'<th scope="col">{_inline(cell)}</th>' for cell in header)
            rows = "".join(
                f'<tr><th scope="row">{_inline(row[0])}</th>'
                + "".join(f'<td class="number">{_inline(cell)}</td>' for cell in row[1:])
                + "</tr>\n"
                for row in body
            )
            return f"<table>\n<tr>{head}</tr>\n{rows}</table>\n"


def _inline(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))
