"""The client of the Hugging Face hub, made by what the environment says about proxies and certificates."""

from __future__ import annotations

import os
import re

from grrm.files import UserError

_VARIABLES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
# Of NO_PROXY: [::1] and [::1]:8000, which older clients cannot parse.
_BRACKETED = re.compile(r"(?<![^,\s])\[([0-9A-Fa-f:.]+)\](?::\d+)?(?=[,\s]|$)")


def make_hub_client() -> None:
    """Have the hub's client made, before it is asked for something.

    Raises:
        UserError: it cannot be made of these variables; the message has their names only.
    """
    names = [name for base in _VARIABLES for name in (base, base.lower()) if os.environ.get(name)]
    for name in names:
        if name.upper() == "NO_PROXY":
            os.environ[name] = _BRACKETED.sub(r"\1", os.environ[name])
    from huggingface_hub.utils import get_session

    try:  # offline, too: the hub makes it before it looks whether it may ask
        get_session()
    except Exception as error:  # the client's errors have no common ancestor, and may quote a password
        raise UserError(
            f"the hub's client cannot be made of {', '.join(names) or 'the environment'} "
            f"({type(error).__name__}); expected proxies like http://host:port, names and addresses that are "
            "asked without one, and certificates that are there; correct or unset them"
        ) from error
