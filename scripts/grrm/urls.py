"""What addresses may hold that must not be written down: they stand in configurations, logs and commands."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

_SECRET = re.compile(r"key|token|secret|sig|code|password", re.IGNORECASE)


def secret_in(url: str) -> str | None:
    """What looks secret in an address, in words and without its value; None if nothing does.

    Any user name or password does, and what the query holds under a name such as key, token or sig.
    """
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return None  # no address at all: whoever asks it says so
    if parts.password is not None:
        return "a password"
    if "@" in parts.netloc:
        return "a user name"
    names = (name for name, _ in parse_qsl(parts.query, keep_blank_values=True))
    return next((f"{name!r} in its query" for name in names if _SECRET.search(name)), None)
