"""What an endpoint's tokenizer does not take for text, read from its files: no model library is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from grrm.files import UserError, read_json
from grrm.hub_client import make_hub_client
from grrm.texts import Control, mark

_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_TEMPLATE = "chat_template.jinja"


@cache
def marking(tokenizer: str) -> Callable[[str], str]:
    """What marks the special strings of a tokenizer, those of the known families where it is not named.

    Args:
        tokenizer: its folder, or its name on the hub; may be empty.

    Raises:
        UserError: there is none.
    """
    if not tokenizer:
        return mark
    folder = Path(tokenizer)
    if not folder.is_dir():
        folder = _download(tokenizer)
    # Other people's: no longest text may be 1e30 in digits there, or Infinity.
    files = {
        name: read_json(folder / name, any_size=True, gaps=True)
        for name in _FILES
        if (folder / name).is_file()
    }
    if not files:
        raise UserError(
            f"judge: tokenizer is {tokenizer!r}; expected a folder with {' or '.join(_FILES)}, or a model's "
            "name on the hub"
        )
    texts = [(folder / _TEMPLATE).read_text(encoding="utf-8")] if (folder / _TEMPLATE).is_file() else []
    special: set[str] = set()
    added: set[str] = set()
    for name, content in files.items():
        for token, is_special in _tokens(name, content):
            (special if is_special else added).add(token)
        texts.append(str(content.get("chat_template") or ""))
    return Control.of(special, added, "\n".join(texts)).mark


def _tokens(name: str, content: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Tokens in a file of a tokenizer, and whether they are special."""
    if name == "added_tokens.json":
        yield from ((token, False) for token in content)
        return
    listed = [*content.get("added_tokens", ()), *content.get("added_tokens_decoder", {}).values()]
    yield from ((token["content"], bool(token.get("special"))) for token in listed)
    for key, value in content.items():
        named = value if isinstance(value, list) else [value]
        if key.endswith(("_token", "special_tokens")):
            yield from ((text, True) for text in map(_text, named) if text)


def _text(token: Any) -> str:
    return (
        str(token.get("content") or "")
        if isinstance(token, Mapping)
        else token
        if isinstance(token, str)
        else ""
    )


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    make_hub_client()
    try:
        return Path(snapshot_download(name, allow_patterns=[*_FILES, _TEMPLATE]))
    except Exception as error:  # the client's errors have no common ancestor
        raise UserError(
            f"judge: tokenizer is {name!r}; no such folder, and the hub does not give such a model "
            f"({type(error).__name__}: {next(iter(str(error).strip().splitlines()), 'without a message')})"
        ) from error
