"""What the environment says about proxies and certificates: used, left alone or told, but never hung on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from grrm.asking.client import JudgeClient
from grrm.asking.options import JudgeOptions
from grrm.asking.proxies import is_here, proxy_for
from grrm.files import UserError
from grrm.hub_client import make_hub_client

SCRIPTS = Path(__file__).parents[2] / "scripts"
VARIABLES = [
    name for base in ("ALL", "HTTP", "HTTPS", "NO") for name in (f"{base}_PROXY", f"{base.lower()}_proxy")
]

HOW = ("--input", "-", "--input-format", "text")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def client(url: str) -> JudgeClient:
    return JudgeClient(JudgeOptions(model="m", url=url), {})


@pytest.mark.parametrize(
    "host",
    ["localhost", "a.localhost", "127.0.0.1", "127.8.8.8", "0.0.0.0", "[::1]", "[::]", socket.gethostname()],
)
def test_this_machine_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert proxy_for(f"http://{host}:8000/v1") is None


def test_so_are_its_own_addresses() -> None:
    cards = [card for cards in psutil.net_if_addrs().values() for card in cards]
    own = [card.address for card in cards if card.family in (socket.AF_INET, socket.AF_INET6)]
    assert own
    assert all(map(is_here, own))
    assert not is_here("192.0.2.1")
    assert not is_here("judge")


@pytest.mark.parametrize(
    ("excepted", "host", "is_excepted"),
    [
        ("[::1]", "judge", False),
        ("[2001:db8::1]", "[2001:db8::1]", True),
        ("2001:db8::1", "[2001:db8::1]", True),
        ("[2001:db8::1]:8000", "[2001:db8::1]", True),
        ("[2001:db8::1]:9000", "[2001:db8::1]", False),
        ("judge", "judge", True),
        ("judge:8000", "judge", True),
        ("judge:9000", "judge", False),
        (" .example.org , x", "judge.example.org", True),
        ("*.example.org", "judge.example.org", True),
        ("example.org", "anotherexample.org", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("*", "judge", True),
        ("JUDGE", "judge", True),
        ("", "judge", False),
    ],
)
def test_who_is_asked_without_a_proxy_by_its_name(
    monkeypatch: pytest.MonkeyPatch, excepted: str, host: str, is_excepted: bool
) -> None:
    monkeypatch.setenv("http_proxy", "proxy:3128")
    monkeypatch.setenv("no_proxy", excepted)
    assert proxy_for(f"http://{host}:8000/v1") == (None if is_excepted else "http://proxy:3128")
    client(f"http://{host}:8000/v1")


@pytest.mark.parametrize("proxy", ["socks://me:hush@proxy:1", "ftp://proxy:1", "http://me:hush@proxy:xx"])
def test_a_proxy_that_cannot_be_used_is_told_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(UserError, match=r"^ALL_PROXY: a proxy of kind .* NO_PROXY$") as told:
        client("http://judge/v1")
    assert "hush" not in str(told.value)
    client("http://127.0.0.1:8000/v1")


def test_certificates_that_are_gone_are_told_only_where_they_matter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    client("http://judge/v1")
    with pytest.raises(UserError, match=r"SSL_CERT_FILE is .*gone\.pem.*cannot be read"):
        client("https://judge/v1")


@pytest.mark.parametrize("proxy", ["socks5://proxy:1", "socks://proxy:1"])
def test_grrm_translate_ends_with_one_line(tmp_path: Path, proxy: str) -> None:
    command = "-m grrm.cli translate --model m --base-url http://judge/v1 --from en --to de"
    done = subprocess.run(
        [sys.executable, *command.split(), *HOW, "--output", str(tmp_path / "out.jsonl")],
        input="Hello.\n",
        text=True,
        capture_output=True,
        timeout=100,
        check=False,
        env={**os.environ, "ALL_PROXY": proxy, "PYTHONPATH": str(SCRIPTS)},
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ALL_PROXY: a proxy of kind socks")
    assert done.stderr.count("\n") == 1


def test_a_task_that_fails_wakes_who_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from grrm.inference import openai_backend
    from grrm.inference.backends import Decoding, Engine, Request

    async def dies(*_: object) -> None:
        raise RuntimeError("dead")

    monkeypatch.setattr(JudgeClient, "complete", dies)
    backend = openai_backend.open("m", Engine(base_url="http://127.0.0.1:1/v1"))
    with pytest.raises(RuntimeError, match="dead"):
        list(backend.generate([Request("a", seed=1)], Decoding()))
    backend.close()


# --- the hub's own client ---

HUB_CODE = """
import sys
from pathlib import Path
from grrm.files import UserError
from grrm.process import run_main

def find_model():
    from grrm.inference.backends import find_model
    find_model("a/b")

def tokenizer():
    from grrm.asking.tokens import marking
    marking("a/b")

def reachable():
    from grrm.data.datasets import load_datasets
    from grrm.data.hub import Patience, reachable
    entries = load_datasets(Path("config/datasets.yaml"), Path("config/schemas/datasets.schema.yaml"))
    reachable(next(iter(entries.values())), "main", Patience(0, 0.1))

def upload():
    from grrm.report.upload import upload
    upload("a/b", {"x": b"x"}, private=True)

def token():
    from grrm.preflight.downloads import check_token
    raise UserError(str(check_token().found))

def offline():
    from huggingface_hub import constants
    constants.HF_HUB_OFFLINE = True
    reachable()

run_main(globals()[sys.argv[1]])
"""


@pytest.mark.parametrize(
    ("what", "variable", "value"),
    [
        ("find_model", "NO_PROXY", "localhost,[::1]"),
        ("reachable", "no_proxy", "[fe80::1]:80, [::1]"),
        ("tokenizer", "NO_PROXY", "http://[bad"),
        ("find_model", "ALL_PROXY", "socks5://user:hidden@127.0.0.1:9"),
        ("tokenizer", "HTTP_PROXY", "http://user:hidden@host:port"),
        ("reachable", "HTTPS_PROXY", "http://user:hidden@host:port"),
        ("upload", "https_proxy", "::::"),
        ("offline", "ALL_PROXY", "socks5://user:hidden@127.0.0.1:9"),
        ("token", "SSL_CERT_FILE", "/no/such/file"),
    ],
)
def test_what_the_hubs_client_cannot_parse_is_one_line(what: str, variable: str, value: str) -> None:
    endpoint = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_secret", "PYTHONPATH": str(SCRIPTS)}
    environment = {**os.environ, "HTTP_PROXY": "http://127.0.0.1:9", **endpoint, variable: value}
    done = subprocess.run(
        [sys.executable, "-c", HUB_CODE, what],
        env=environment,
        cwd=SCRIPTS.parent,
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if "again in" not in line]
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    assert "hidden" not in done.stderr + done.stdout
    if variable.upper() == "NO_PROXY":
        assert "cannot be made" not in done.stderr
    else:
        assert variable in done.stderr


def test_addresses_in_brackets_are_named_to_the_hubs_client_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "a.b,[::1],[2001:db8::1]:8000 ,[x],10.0.0.0/8")
    make_hub_client()
    assert os.environ["NO_PROXY"] == "a.b,::1,2001:db8::1 ,[x],10.0.0.0/8"
