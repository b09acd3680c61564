"""Blocks of a page of the documentation that a reader follows; the words before a block say where it goes."""

from __future__ import annotations

import re

BLOCK = re.compile(
    r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
NEW_FILE = re.compile(r"`([\w./]+)`:")
