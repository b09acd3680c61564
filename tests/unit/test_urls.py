"""What in an address looks secret; the answer never repeats it."""

from __future__ import annotations

import pytest

from grrm.files import UserError
from grrm.urls import address_fault, is_http, read_key, secret_in, shown, without_secrets


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
        ("http://judge/v1;token=hush", "'token' in its query"),
        ("http://judge/v1;a=1;jwt=hush/x", "'jwt' in its query"),
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
    ("url", "usable"),
    [
        ("http://127.0.0.1:8000/v1", True),
        (" https://[::1]:65535 ", True),
        ("http://judge", True),
        ("http://judge:800o/v1", False),
        ("http://judge:65536/v1", False),
        ("http://judge:-1/v1", False),
        ("http://judge:0/v1", False),
        ("http://:80/v1", False),
        ("http://[::1/v1", False),
        ("judge:8000/v1", False),
        ("ftp://judge/v1", False),
    ],
)
def test_an_address_has_a_host_and_a_port_that_there_can_be(url: str, usable: bool) -> None:
    assert is_http(url) == usable
    assert (address_fault(url, "KEY") is None) == usable


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


NAMES = "auth Authorization pwd pass passwd jwt credential X-Amz-Credential sas se.sas bearer user_pass otp"


@pytest.mark.parametrize("name", NAMES.split())
def test_names_that_speak_of_secrets(name: str) -> None:
    assert secret_in(f"http://judge/v1?a=b&{name}=hush") == f"{name!r} in its query"


@pytest.mark.parametrize("name", ["api-version", "model", "passage", "compass", "disaster", "side", "region"])
def test_names_that_do_not(name: str) -> None:
    assert secret_in(f"http://judge/v1?{name}=plain") is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://me:hush@judge:8000/v1?auth=hush#hush", "https://judge:8000/v1"),
        ("judge:8000/v1?pwd=hush", "judge:8000/v1"),
        ("http://judge/v1;token=hush", "http://judge/v1"),
        ("me:hush@judge/v1", "judge/v1"),
        ("http:/me:hush@judge/v1", "an address with a secret in it"),
        ("http://me:hush@[::1/v1", "an address that cannot be read"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("", "no address"),
    ],
)
def test_what_is_shown_of_an_address(url: str, expected: str) -> None:
    assert shown(url) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Cannot reach https://me:hush@hub/x (timeout)", "Cannot reach https://hub/x (timeout)"),
        ("url='http://hub/api?token=hush' failed", "url='http://hub/api' failed"),
        ("at http://hub/api;otp=hush: no", "at http://hub/api no"),
        ("Illegal header value b'Bearer hush'", "Illegal header value b'Bearer ***'"),
        ("proxy me:hush@proxy:80 refused", "proxy proxy:80 refused"),
        ("see https://hub/api?page=2, or ask", "see https://hub/api?page=2, or ask"),
        ("a: b, results/x.json: no such file", "a: b, results/x.json: no such file"),
    ],
)
def test_what_is_shown_of_a_message(text: str, expected: str) -> None:
    assert without_secrets(text) == expected


@pytest.mark.parametrize("key", ["hush\nX: y", "hush\rx", "hush x", "hüsh", "hu\0sh", "hu\u2028sh", "hu\tsh"])
def test_a_key_that_no_header_holds_is_told_when_it_is_read(key: str) -> None:
    with pytest.raises(UserError, match=r"^JUDGE_API_KEY: character \d of the key is .*, which") as told:
        read_key("JUDGE_API_KEY", {"JUDGE_API_KEY": key})
    assert key not in str(told.value)


def test_a_key_is_read_without_what_is_around_it() -> None:
    assert read_key("K", {"K": " hush\n"}) == "hush"
    assert read_key("K", {}) == ""
