"""Secrets in addresses, texts and variables: what is shown is written to reports and logs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from grrm.files import UserError

_SECRET_NAME = re.compile(
    r"key|token|secret|sig|code|password|passwd|pwd|auth|jwt|credential|bearer|session|cookie|passphrase"
    # Too short to be looked for within words.
    r"|(?:^|[^a-z])(?:pass|pw|sas|cred|creds|sid|otp|pin|private)(?:$|[^a-z])",
    re.IGNORECASE,
)
# Behind a scheme that is mistyped, user:password@host is the beginning of a path.
_MISPLACED = re.compile(r"/[^/@]+:[^/@]+@")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:/{0,3}[^\s\"'<>`]+|[^\s\"'<>`]+@[^\s\"'<>`]+", re.IGNORECASE)
_BEARER = re.compile(r"\b(bearer|basic)\s+[^\s\"',;)]+", re.IGNORECASE)


def secret_in(url: str) -> str | None:
    """What in an address looks secret, in words that do not repeat it; None if nothing does.

    That is a user name, a password, or a value in the query whose name speaks of a key, token, secret,
    signature, code, password, credential and the like.
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
    for text in (parts.query, parts.fragment, parts.path.partition(";")[2]):
        for name, value in parse_qsl(text.replace(";", "&"), keep_blank_values=True):
            if _SECRET_NAME.search(name):
                # Without a value, the name may be the secret.
                return f"{name!r} in its query" if value else "a key in its query"
    return None


def is_http(url: str) -> bool:
    """Whether it is an http or https URL with a host, and with a number that a port can have, if any."""
    try:
        parts = urlsplit(url.strip())
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port, too
        return False


def address_fault(url: str, variable: str) -> str | None:
    """What is wrong with the address of a server, in words that follow its key; None if nothing is.

    Args:
        url: as it was given.
        variable: of the environment, where the server's key belongs.
    """
    if secret := secret_in(url):
        return f"holds {secret}, expected none; put the key into {variable} instead"
    if not is_http(url):
        return f"is {url!r}, expected an address such as http://127.0.0.1:8000/v1"
    return None


def shown(url: str) -> str:
    """An address for messages: without user name, password, parameters, query and fragment, which may be
    secret."""
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        kept = (parts.scheme, parts.netloc.rpartition("@")[2], parts.path.partition(";")[0], "", "")
    except ValueError:
        return "an address that cannot be read"
    found = urlunsplit(kept).removeprefix("//")
    return "an address with a secret in it" if secret_in(found) else found or "no address"


def without_secrets(text: str) -> str:
    """A text, such as another program's message, in which no address and no header shows a secret."""

    def hidden(found: re.Match[str]) -> str:
        return shown(found[0]) if secret_in(found[0]) else found[0]

    return _BEARER.sub(r"\1 ***", _ADDRESS.sub(hidden, text))


def read_key(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """A key or token of the environment, to be sent in a header; empty if there is none.

    Raises:
        UserError: a header cannot hold it; the message does not either.
    """
    key = environment.get(name, "").strip()
    for place, character in enumerate(key, 1):
        if not "!" <= character <= "~":
            what = "white space" if character.isspace() else "a control character or beyond ASCII"
            raise UserError(f"{name}: character {place} of the key is {what}, which no key has; set it anew")
    return key
