"""Addresses that hold what must not be written down."""

import pytest

from grrm.urls import secret_in


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://user:word@host/v1", "a password"),
        ("http://:word@host/v1", "a password"),
        ("https://sk-123@host:8000/v1", "a user name"),
        ("http://@host/v1", "a user name"),
        (" http://user@host/v1 ", "a user name"),
        ("http://host/v1?key=k", "'key' in its query"),
        ("http://host/v1?api-version=1&subscription-key=k", "'subscription-key' in its query"),
        ("http://host/v1?API_KEY=k", "'API_KEY' in its query"),
        ("http://host/v1?access_token=t", "'access_token' in its query"),
        ("http://host/v1?client_secret=s", "'client_secret' in its query"),
        ("http://host/v1?sv=1&sig=s", "'sig' in its query"),
        ("http://host/v1?code=c", "'code' in its query"),
        ("http://host/v1?password=", "'password' in its query"),
    ],
)
def test_what_looks_secret_is_named_without_its_value(url, found):
    assert secret_in(url) == found


@pytest.mark.parametrize(
    "url",
    [
        *("", "nowhere", "http://host", "http://127.0.0.1:8000/v1", "http://[::1]:8000/v1", "http://["),
        *("https://host/v1/keys/chat@home", "https://host/v1?api-version=2024-10-21", "http://host/v1#key=k"),
    ],
)
def test_an_address_without_secrets(url):
    assert secret_in(url) is None
