"""Which proxy stands between this machine and an address, from the environment."""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from urllib.parse import urlsplit

import httpx
import psutil

from grrm.files import UserError

_EXPECTED = "expected one like http://host:port; correct or unset it, or name the server in NO_PROXY"


def proxy_for(url: str) -> str | None:
    """The proxy by which an address is asked; None if there is none, as for this machine's own addresses.

    Raises:
        UserError: it is of a kind that cannot be used; the message does not show it.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    proxies = urllib.request.getproxies()
    name = parts.scheme if proxies.get(parts.scheme) else "all"
    proxy = proxies.get(name, "").strip()
    # In this order: the names of this machine may take a while to find out.
    if not host or not proxy or _is_excepted(host, parts.port, proxies.get("no", "")) or is_here(host):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        # As the client makes it: SOCKS needs a package that may not be there.
        httpx.HTTPTransport(proxy=proxy, verify=False)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        kind = proxy.partition("://")[0]
        about = f"{name.upper()}_PROXY: a proxy of kind {kind} that cannot be used ({type(error).__name__})"
        raise UserError(f"{about}; {_EXPECTED}") from error
    return proxy


def is_here(host: str) -> bool:
    """Whether a host is this machine, by any of its names and addresses."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower() in {socket.gethostname().lower(), socket.getfqdn().lower()}
    if address.is_loopback or address.is_unspecified:
        return True
    own = (card.address.partition("%")[0] for cards in psutil.net_if_addrs().values() for card in cards)
    return str(address) in own


def _is_excepted(host: str, port: int | None, excepted: str) -> bool:
    """Whether NO_PROXY names a host: itself, a domain above it, a network that holds it, or all."""
    for entry in filter(None, (part.strip().lower() for part in excepted.split(","))):
        name, its_port = _split(entry)
        if its_port is not None and its_port != port:
            continue
        name = name.removeprefix("*").removeprefix(".")
        if not name or host == name or host.endswith(f".{name}") or _is_in(host, name):
            return True
    return False


def _split(entry: str) -> tuple[str, int | None]:
    """Host and port of an entry of NO_PROXY; of an address with colons only in brackets."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        host, _, port = entry.partition(":") if entry.count(":") == 1 else (entry, "", "")
    return host, int(port) if port.isdecimal() else None


def _is_in(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
