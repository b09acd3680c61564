"""Snakemake reads a rule file once for all plans of a test process: that takes a third of a plan.

For processes that are forked from the one that imports this; a file that a test has changed is read anew.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import snakemake.workflow

_parse = snakemake.workflow.parse
_PLACE = "\0"  # where a file lies is in what is made of it
_folder = tempfile.TemporaryDirectory()


def _remembered(
    path: Any, workflow: Any, linemap: dict[int, int], overwrite_shellcmd: Any = None, rulecount: int = 0
) -> tuple[str, int]:
    """`snakemake.parser.parse`: what it gives and the lines that it puts into `linemap`."""
    place = repr(path.get_path_or_uri(secret_free=True))
    text = Path(path.get_path_or_uri(secret_free=False)).read_bytes()
    known = Path(_folder.name, hashlib.sha256(b"%d %s" % (rulecount, text)).hexdigest())
    if known.exists():
        code, count, lines = pickle.loads(known.read_bytes())
        linemap.update(lines)
        return code.replace(_PLACE, place), count
    code, count = _parse(path, workflow, linemap, overwrite_shellcmd, rulecount)
    part = known.with_suffix(f".{os.getpid()}")
    part.write_bytes(pickle.dumps((code.replace(place, _PLACE), count, linemap)))
    part.rename(known)
    return code, count


snakemake.workflow.parse = _remembered
