"""Which origin a browser's request comes from, and what other origins may do (CORS, Fetch standard §3.2).

Default: none but our own. With a list, exactly its origins may call with cookies; `*`, possible in
development only, opens reading without cookies.
"""

from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["CrossOrigin"]

Headers = list[tuple[bytes, bytes]]

_ALLOWED_HEADERS: Final = (
    b"Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Prefer, "
    b"Traceparent, X-CSRF-Token, X-Request-ID"
)
_EXPOSED_HEADERS: Final = b"Content-Location, ETag, Last-Modified, Location, Retry-After, X-Request-ID"


class CrossOrigin:
    """The allow-list.

    Args:
        origins: `scheme://host[:port]`, lower case.
        public_url: our own address; unset: what the request's own Host says.
    """

    def __init__(self, origins: Sequence[str], public_url: str | None) -> None:
        self._any = "*" in origins
        self._listed = frozenset(origin.encode() for origin in origins if origin != "*")
        self._own = _origin_of(public_url) if public_url else None

    @property
    def active(self) -> bool:
        """Whether any other origin is let in."""
        return self._any or bool(self._listed)

    def answer_headers(self, origin: bytes | None) -> Headers:
        """What an answer to `origin` carries."""
        if not self.active:
            return []
        headers: Headers = [(b"vary", b"Origin")]
        if origin is None:
            return headers
        if origin.lower() in self._listed:
            headers += [
                (b"access-control-allow-origin", origin),
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-expose-headers", _EXPOSED_HEADERS),
            ]
        elif self._any:
            headers += [
                (b"access-control-allow-origin", b"*"),
                (b"access-control-expose-headers", _EXPOSED_HEADERS),
            ]
        return headers

    def preflight_headers(self, found: Mapping[bytes, bytes], allowed: frozenset[str]) -> Headers:
        """What OPTIONS on a path with the methods `allowed` is answered with."""
        methods = ", ".join(sorted(allowed | {"OPTIONS"})).encode()
        headers: Headers = [(b"allow", methods)]
        origin_headers = self.answer_headers(found.get(b"origin"))
        headers += origin_headers
        is_allowed = any(name == b"access-control-allow-origin" for name, _ in origin_headers)
        if is_allowed and b"access-control-request-method" in found:
            headers += [
                (b"access-control-allow-methods", methods),
                (b"access-control-allow-headers", _ALLOWED_HEADERS),
                (b"access-control-max-age", b"600"),
            ]
        return headers

    def is_ours(self, found: Mapping[bytes, bytes], *, scheme: str, host: bytes) -> bool:
        """Whether the browser vouches that one of our own pages sent the request.

        `Sec-Fetch-Site` and `Origin` are set by the browser and out of a page's reach (Fetch
        Metadata §2; Fetch §3.2).
        """
        if found.get(b"sec-fetch-site") == b"same-origin":
            return True
        origin = found.get(b"origin", b"").lower()
        if not origin or origin == b"null":
            return False
        own = self._own if self._own is not None else f"{scheme}://".encode() + host.lower()
        return origin == own or origin in self._listed


def _origin_of(url: str) -> bytes:
    scheme, _, rest = url.lower().partition("://")
    return f"{scheme}://{rest.partition('/')[0]}".encode()
