"""Where a request comes from, when proxies stand in front."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

__all__ = ["Client", "Clients"]

_HOST = re.compile(rb"[A-Za-z0-9.\-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}|\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?")


class Client(NamedTuple):
    """The caller as the services are told of it.

    `key` is what the rate limit counts: the address, of IPv6 the /64 a customer is given.
    """

    address: str
    key: str
    scheme: str
    host: bytes


class Clients:
    """Tells the client's address.

    `X-Forwarded-*` is believed only from `trusted` peers, and of `X-Forwarded-For` only the part that
    they wrote: from the right, the first address that is not one of theirs. `Forwarded` and
    `X-Real-IP` are never read.
    """

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._trusted = tuple(trusted)
        self._is_trusted = lru_cache(maxsize=4096)(self._belongs_to_us)

    def identify(self, peer: str, scheme: str, found: Mapping[bytes, bytes]) -> Client:
        """The client behind `peer`, the other end of the connection."""
        host = found.get(b"host", b"")
        address = peer
        if self._trusted and self._is_trusted(peer):
            chain = found.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
            for hop in reversed(chain):
                parsed = _hop(hop.strip())
                if parsed is None:
                    break
                address = str(parsed)
                if not self._is_trusted(address):
                    break
            proto = found.get(b"x-forwarded-proto")
            if proto in (b"http", b"https"):
                scheme = proto.decode()
            host = found.get(b"x-forwarded-host", host)
        if not _HOST.fullmatch(host):
            host = b""
        return Client(address, _rate_key(address), scheme, host)

    def _belongs_to_us(self, address: str) -> bool:
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


def _hop(text: str) -> IPv4Address | IPv6Address | None:
    """An entry of X-Forwarded-For; some proxies write the port too, IPv6 addresses then in brackets."""
    found = _WITH_PORT.fullmatch(text)
    return _parse((found[1] or found[2]) if found else text)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(maxsize=4096)
def _rate_key(address: str) -> str:
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, 64), strict=False))
    return address if parsed is None else str(parsed)
