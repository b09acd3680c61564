"""Which of its addresses a machine names to the others; tests/slurm/test_networks.py has real networks."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from grrm.files import UserError
from grrm.slurm import network
from grrm.slurm.network import Address, endpoint, own_address, split_endpoint


@pytest.fixture(autouse=True)
def interfaces(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Interfaces of this machine; from which the hosts that the test names are reached."""
    for name in ("GRRM_INTERFACE", "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)

    def address(text: str) -> Any:
        return SimpleNamespace(family=socket.AF_INET6 if ":" in text else socket.AF_INET, address=text)

    found = {
        "lo": [address("127.0.0.1"), address("::1")],
        "eth0": [address("192.168.7.5")],
        "ib0": [address("fe80::5%ib0"), address("fd00::5"), address("10.9.0.5")],
        "down0": [address("10.1.0.5")],
    }
    up = {name: SimpleNamespace(isup=name != "down0") for name in found}
    monkeypatch.setattr(network.psutil, "net_if_addrs", lambda: found)
    monkeypatch.setattr(network.psutil, "net_if_stats", lambda: {name: up[name] for name in found})
    return found


def reached(monkeypatch: pytest.MonkeyPatch, **hosts: str) -> None:
    monkeypatch.setattr(network, "_towards", lambda host: iter(filter(None, [hosts.get(host)])))


def test_it_is_that_from_which_the_others_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    reached(monkeypatch, n2="10.9.0.5", **{"192.0.2.1": "192.168.7.5"})
    assert own_address(["n2"]) == Address("10.9.0.5", "ib0")


def test_else_that_of_the_route_out_or_any(monkeypatch: pytest.MonkeyPatch) -> None:
    reached(monkeypatch, n2="127.0.0.1", **{"192.0.2.1": "192.168.7.5"})
    assert own_address(["n2"]).text == "192.168.7.5"
    reached(monkeypatch)
    assert own_address(["n2"]).text == "192.168.7.5"


def test_loopback_only_where_the_others_are_here_too(
    monkeypatch: pytest.MonkeyPatch, interfaces: dict[str, list[Any]]
) -> None:
    for name in ("eth0", "ib0", "down0"):
        del interfaces[name]
    reached(monkeypatch, n2="127.0.0.1")
    assert own_address(["n2"]).text == "127.0.0.1"
    reached(monkeypatch)
    with pytest.raises(UserError, match=r"no address at which other machines.*cluster\.interface"):
        own_address(["n2"])


@pytest.mark.parametrize("variable", ["GRRM_INTERFACE", "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"])
def test_a_named_interface_goes_first(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    reached(monkeypatch, n2="192.168.7.5")
    monkeypatch.setenv(variable, "ib0")
    assert own_address(["n2"]) == Address("10.9.0.5", "ib0")
    # NCCL's own ways to choose among several.
    monkeypatch.setenv(variable, "" if variable == "GRRM_INTERFACE" else "^docker,lo")
    assert own_address(["n2"]).interface == "eth0"


@pytest.mark.parametrize(
    ("name", "words"),
    [("ib7", r"cluster\.interface is 'ib7', .* has lo, eth0"), ("down0", "'down0'.* is it up")],
)
def test_an_interface_that_is_of_no_use_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.setenv("GRRM_INTERFACE", name)
    with pytest.raises(UserError, match=words):
        own_address(["n2"])


def test_what_the_engines_are_told() -> None:
    assert Address("10.9.0.5", "ib0").variables({"NCCL_SOCKET_IFNAME": "^docker"}) == {
        "VLLM_HOST_IP": "10.9.0.5",
        "GLOO_SOCKET_IFNAME": "ib0",
    }
    six = Address("fd00::5", "ib0").variables({})
    assert six["NCCL_SOCKET_IFNAME"] == "=ib0" and six["NCCL_SOCKET_FAMILY"] == "AF_INET6"


@pytest.mark.parametrize(("host", "text"), [("10.0.0.1", "10.0.0.1:80"), ("fd00::1", "[fd00::1]:80")])
def test_an_endpoint_is_read_as_it_was_written(host: str, text: str) -> None:
    assert endpoint(host, 80) == text
    assert split_endpoint(text) == (host, 80)
