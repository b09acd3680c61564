"""Templates of report/, and how they show numbers and texts."""

from __future__ import annotations

import re

import jinja2
from markupsafe import Markup, escape

from grrm.files import shipped
from grrm.prompts import code_fence
from grrm.report.numbers import duration, number, significant

_REPORT = shipped("report")
ASSETS = _REPORT / "page"


def template(name: str) -> jinja2.Template:
    """A template of report/ or report/page; what fills one of HTML is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([ASSETS, _REPORT]),
        autoescape=jinja2.select_autoescape(["html.j2"], default=False),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        number=number, significant=significant, duration=duration, code=_code, fenced=_fenced, cell=_cell
    )
    return environment.get_template(name)


def _code(text: str) -> Markup:
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _fenced(text: str) -> str:
    """A text as a block of Markdown, whatever backticks it holds."""
    fence = code_fence(text)
    return f"{fence}text\n{text.rstrip()}\n{fence}"


def _cell(text: str) -> str:
    """A text on one line of a table of Markdown."""
    return " ".join(text.split()).replace("|", "\\|")
