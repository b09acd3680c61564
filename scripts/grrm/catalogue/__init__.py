"""What there is: metrics, kinds of reward, trainings. Data alone, read while the Snakefile is parsed.

What an entry does (load, score, train) stands in it as a name, `module:attribute`, of something on a higher
floor, which is imported where it is done.
"""

from __future__ import annotations

import importlib
from typing import Any


def resolve(name: str) -> Any:
    """The object that `module:attribute` names.

    Raises:
        ImportError: there is no such module.
        AttributeError: it has nothing of that name.
    """
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
