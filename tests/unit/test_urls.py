"""What in an address looks secret; the answer never repeats it."""

from __future__ import annotations

import pytest

from grrm.urls import secret_in


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://me:hush@judge/v1", "a password"),
        ("http://:hush@judge/v1", "a password"),
        ("https://hush@judge/v1", "a user name"),
        ("me:hush@judge/v1", "a password"),
        ("http://judge/v1?api-key=hush", "'api-key' in its query"),
        ("http://judge/v1?a=1&ACCESS_TOKEN=hush", "'ACCESS_TOKEN' in its query"),
        ("http://judge/v1?a=1;Signature=hush", "'Signature' in its query"),
        ("http://judge/v1?sig=hush#x", "'sig' in its query"),
        ("http://judge/v1?code=hush", "'code' in its query"),
        ("http://judge/v1#secret=hush", "'secret' in its query"),
        ("http://judge/v1?key-hush", "a key in its query"),
        ("http://me:hush@[::1/v1", "a user name or password"),
        ("http:/me:hush@judge/v1", "a user name or password"),
        ("https:///me:hush@judge/v1", "a user name or password"),
        ("http//me:hush@judge/v1", "a user name or password"),
    ],
)
def test_secrets_are_named_and_not_repeated(url: str, words: str) -> None:
    assert secret_in(url) == words
    assert "hush" not in words


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://127.0.0.1:8000/v1",
        "https://judge/openai/v1/chat/completions?api-version=2024-02-01",
        "judge:8000",
        "http://[::1/v1",
        "http://judge/a@b?model=x",
    ],
)
def test_plain_addresses(url: str) -> None:
    assert secret_in(url) is None
