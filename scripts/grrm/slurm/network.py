"""Which network the machines of a job share: the address at which the others reach this one."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import psutil

from grrm.files import UserError

INTERFACE = "GRRM_INTERFACE"
"""Name of the network's interface, set by the workflow from its key `cluster.interface`."""
_CHOSEN = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")
# Nobody is there, and nothing is sent: they only tell the route out.
_OUTSIDE = ("192.0.2.1", "2001:db8::1")


@dataclass(frozen=True)
class Address:
    """An address of this machine.

    Attributes:
        text: IPv4 or IPv6, without brackets.
        interface: that has it; empty if none is known to.
    """

    text: str
    interface: str

    def variables(self, given: Mapping[str, str]) -> dict[str, str]:
        """What NCCL, gloo and vLLM are told; what is given (by the user) stays."""
        found = {"VLLM_HOST_IP": self.text}
        if self.interface:
            found |= {"NCCL_SOCKET_IFNAME": f"={self.interface}", "GLOO_SOCKET_IFNAME": self.interface}
            if ":" in self.text:
                found["NCCL_SOCKET_FAMILY"] = "AF_INET6"
        return {name: value for name, value in found.items() if name not in given}


def own_address(others: Iterable[str]) -> Address:
    """The address of this machine in the network that it shares with others.

    That of `cluster.interface` (or the one that NCCL or gloo are told); else the one from which the others
    are reached; else that of the route out; else any.

    Args:
        others: names or addresses of other machines.

    Raises:
        UserError: there is none, or the interface has none.
    """
    if interface := _chosen():
        return Address(_address_of(interface), interface)
    towards = [found for host in others for found in _towards(host)]
    reached = [text for text in towards if not _is_loopback(text)]
    outside = [found for host in _OUTSIDE for found in _towards(host)]
    there = [address.text for address in _addresses() if not _is_loopback(address.text)]
    # Loopback only if the others are on this machine, and it has nothing else.
    for text in [*reached, *outside, *there, *towards]:
        return Address(text, next((one.interface for one in _addresses() if one.text == text), ""))
    raise UserError(
        f"{socket.gethostname()} has no address at which other machines could reach it; its interfaces are "
        f"{', '.join(psutil.net_if_addrs())}: name one in cluster.interface"
    )


def endpoint(host: str, port: int) -> str:
    """host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_endpoint(text: str) -> tuple[str, int]:
    """Host and port of what `endpoint` wrote."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _chosen() -> str | None:
    """The interface that is named, by the configuration or for NCCL or gloo."""
    named = [os.environ.get(INTERFACE), *map(os.environ.get, _CHOSEN)]
    # NCCL's lists and prefixes are its own affair; gloo knows lists as well.
    plain = [name.removeprefix("=") for name in named if name and re.fullmatch(r"=?[\w.-]+", name)]
    there = psutil.net_if_addrs()
    if os.environ.get(INTERFACE) and plain[0] not in there:
        raise UserError(
            f"cluster.interface is {plain[0]!r}, {socket.gethostname()} has {', '.join(there)}; name one "
            "that all machines have, or leave it out"
        )
    return next((name for name in plain if name in there), None)


def _address_of(interface: str) -> str:
    found = [one.text for one in _addresses() if one.interface == interface]
    if not found:
        raise UserError(
            f"cluster.interface: {interface!r} of {socket.gethostname()} has no address: is it up? Name "
            "another"
        )
    return found[0]


def _addresses() -> list[Address]:
    """The addresses of interfaces that are up, IPv4 before IPv6; none that hold on one wire only."""
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = [
        (one.family, Address(one.address.partition("%")[0], name))
        for name, addresses in psutil.net_if_addrs().items()
        for one in addresses
        if name in up and one.family in (socket.AF_INET, socket.AF_INET6)
    ]
    found.sort(key=lambda pair: pair[0])
    return [one for _, one in found if not ipaddress.ip_address(one.text).is_link_local]


def _towards(host: str) -> Iterator[str]:
    """Own addresses on the way to a host; nothing is sent."""
    try:
        known = socket.getaddrinfo(host, 1, type=socket.SOCK_DGRAM)
    except OSError:
        return
    for family, kind, protocol, _, where in known:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(where)
                text = str(probe.getsockname()[0]).partition("%")[0]
        except OSError:
            continue
        if not ipaddress.ip_address(text).is_link_local:
            yield text


def _is_loopback(text: str) -> bool:
    return ipaddress.ip_address(text).is_loopback
