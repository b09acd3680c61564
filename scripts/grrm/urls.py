"""Secrets in addresses: what stands in a configuration is written to disk, to reports and to logs."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

_SECRET_NAME = re.compile("key|token|secret|sig|code|password", re.IGNORECASE)
# Behind a scheme that is mistyped, user:password@host is the beginning of a path.
_MISPLACED = re.compile(r"/[^/@]+:[^/@]+@")


def secret_in(url: str) -> str | None:
    """What in an address looks secret, in words that do not repeat it; None if nothing does.

    That is a user name, a password, or a value in the query whose name speaks of a key, token, secret,
    signature, code or password.
    """
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        user, password = parts.username, parts.password
    except ValueError:
        # No address; whatever stands before an @ may still be a secret.
        return "a user name or password" if "@" in url else None
    if password is not None:
        return "a password"
    if user is not None:
        return "a user name"
    if _MISPLACED.search(parts.path):
        return "a user name or password"
    for text in (parts.query, parts.fragment):
        for name, value in parse_qsl(text.replace(";", "&"), keep_blank_values=True):
            if _SECRET_NAME.search(name):
                # Without a value, the name may be the secret.
                return f"{name!r} in its query" if value else "a key in its query"
    return None
