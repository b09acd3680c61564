"""The one place that knows which verl this package was written against."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import metadata
from typing import Any

SUPPORTED_VERL = "0.9.1"


class IncompatibleVerlError(ImportError):
    """The installed verl is not the one this package replaces parts of."""


def check_verl_version(found: str | None = None) -> None:
    """Refuse any verl but the supported one; `found` is the installed version unless given.

    Raises:
        IncompatibleVerlError: verl is missing or has another version.
    """
    if found is None:
        try:
            found = metadata.version("verl")
        except metadata.PackageNotFoundError:
            found = "none"
    if found != SUPPORTED_VERL:
        raise IncompatibleVerlError(
            f"grrm.verl_plugin needs verl {SUPPORTED_VERL}, found {found}: it replaces functions of that "
            f"version. Install verl=={SUPPORTED_VERL} (the training environment pins it), or remove "
            "grrm.verl_plugin.register from VERL_USE_EXTERNAL_MODULES."
        )


def check_signature(
    function: Callable[..., Any], expected: list[str], where: str, of: str = f"verl {SUPPORTED_VERL}"
) -> None:
    """Refuse to replace a function whose parameters are not those it had when the replacement was written.

    Args:
        function: what is to be replaced.
        expected: its parameter names, in order.
        where: file that defines it, for the message.
        of: package and version it belongs to.

    Raises:
        IncompatibleVerlError: the parameters differ.
    """
    # Ray adds one to the methods of its actors.
    found = [name for name in inspect.signature(function).parameters if name != "_ray_trace_ctx"]
    if found != expected:
        name = getattr(function, "__qualname__", repr(function))
        raise IncompatibleVerlError(
            f"{where}: {name} takes ({', '.join(found)}), expected ({', '.join(expected)}) as in {of}: it is "
            "another version, or has been changed; reinstall it."
        )
