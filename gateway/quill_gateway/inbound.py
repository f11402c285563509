"""What of a request goes on to the service: headers from a list, lengths that make sense."""

from typing import Final

from multidict import CIMultiDict, istr

from .errors import BodyTooLarge, HeadersTooLarge, InvalidFraming, UpgradeRefused
from .exchange import Exchange

__all__ = ["check_length", "forwarded_headers", "merge_repeated"]

_FORWARDED_HEADERS: Final = {
    name.lower().encode(): istr(name)
    for name in (
        "Accept",
        "Accept-Encoding",
        "Accept-Language",
        "Content-Encoding",
        "Content-Language",
        "Content-Type",
        "Idempotency-Key",
        "If-Match",
        "If-Modified-Since",
        "If-None-Exist",
        "If-None-Match",
        "If-Range",
        "If-Unmodified-Since",
        "Prefer",
        "Range",
        "User-Agent",
    )
}
"""All that a service gets to see of the client's headers. A list of what is let through, because a
list of what is dropped is never complete: identity headers of every spelling, hop-by-hop headers and
those that `Connection` names, cookies, Referer (it may hold what a person typed), all stay outside."""
_ONCE_ONLY: Final = frozenset(
    {b"authorization", b"content-length", b"content-type", b"host", b"transfer-encoding", b"x-csrf-token"}
)
_PLAIN_CONNECTION: Final = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close"})


def forwarded_headers(exchange: Exchange, *, max_bytes: int, max_count: int) -> "CIMultiDict[str]":
    """The headers that go on to the service.

    Raises:
        HeadersTooLarge: there are too many, or they are too long.
        UpgradeRefused: a WebSocket is asked for.
    """
    found = exchange.found
    headers: CIMultiDict[str] = CIMultiDict()
    size = 0
    for name, value in found.items():
        size += len(name) + len(value) + 4
        forwarded = _FORWARDED_HEADERS.get(name)
        if forwarded is not None:
            headers[forwarded] = value.decode("utf-8", "replace")
    if size > max_bytes or len(exchange.scope["headers"]) > max_count:
        raise HeadersTooLarge
    connection = found.get(b"connection")
    if connection is not None and connection not in _PLAIN_CONNECTION:
        for option in connection.lower().split(b","):
            headers.popall(option.strip().decode("latin-1"), None)
    if b"upgrade" in found and b"websocket" in found[b"upgrade"].lower():
        raise UpgradeRefused
    return headers


def merge_repeated(exchange: Exchange) -> None:
    """Joins repeated headers (RFC 9110 §5.3; cookies RFC 9113 §8.2.3).

    Raises:
        InvalidFraming: one is repeated that must not be.
    """
    found: dict[bytes, bytes] = {}
    for name, value in exchange.scope["headers"]:
        if name not in found:
            found[name] = value
        elif name in _ONCE_ONLY:
            raise InvalidFraming
        else:
            found[name] += (b"; " if name == b"cookie" else b", ") + value
    exchange.found = found


def check_length(found: dict[bytes, bytes], length: bytes, limit: int) -> None:
    """Accepts a Content-Length (RFC 9112 §6.3).

    Raises:
        InvalidFraming: it contradicts another header or is no number.
        BodyTooLarge: it is beyond `limit`.
    """
    # Our server refuses these too; the rule must not depend on which server runs the application.
    if b"transfer-encoding" in found or not length.isdigit() or len(length) > 18:
        raise InvalidFraming
    if int(length) > limit:
        raise BodyTooLarge
