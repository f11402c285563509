"""Who is calling: an API client with a bearer token, or a browser with cookies.

- A bearer token wins over cookies: no other site can make a browser send one, so it needs no CSRF
  token. Other Authorization schemes are none of ours; they are dropped and the cookie counts.
- An unsafe request that a cookie authenticates needs the CSRF token of its session.
- On public routes a credential that is not good enough is as if it were not there. That includes a
  cookie without CSRF token: an invitation is accepted as the signed-in user only with it.
"""

import logging
from collections.abc import Mapping
from typing import Final, NamedTuple

from quill_shared.platform.csrf import CSRF_COOKIE, CSRF_HEADER, CsrfTokens
from quill_shared.platform.errors import Unauthenticated, Unavailable
from quill_shared.platform.tokens import Claims, TokenVerifier, bearer_token

from .clients import Client
from .errors import CsrfFailed
from .origins import CrossOrigin
from .routes import Route

__all__ = ["SAFE_METHODS", "Caller", "Callers", "Credential", "cookie"]

logger = logging.getLogger(__name__)

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_ACCESS_COOKIE: Final = b"access_token"
_CSRF_COOKIE: Final = CSRF_COOKIE.encode()
_CSRF_HEADER: Final = CSRF_HEADER.lower().encode()


class Credential(NamedTuple):
    """A token as presented. `claims` is there already if the token was verified a moment ago."""

    token: str
    by_cookie: bool
    claims: Claims | None


class Caller(NamedTuple):
    """A token that is good, and whose it is."""

    token: str
    claims: Claims


def cookie(header: bytes, name: bytes) -> bytes | None:
    """The first cookie `name` of a Cookie header (RFC 6265 §4.2.1)."""
    if name not in header:
        return None
    for pair in header.split(b";"):
        key, _, value = pair.strip().partition(b"=")
        if key == name:
            return value
    return None


class Callers:
    """Tells who calls, and whether the call was meant.

    Args:
        verifier: verifies access tokens; its revocation list is asked on every request.
        csrf: checks CSRF tokens.
        origins: for the one route where our own origin counts as the CSRF header.
    """

    def __init__(self, verifier: TokenVerifier, csrf: CsrfTokens, origins: CrossOrigin) -> None:
        self._verifier = verifier
        self._csrf = csrf
        self._origins = origins

    def present(self, found: Mapping[bytes, bytes]) -> Credential | None:
        """The credential of a request, before it is judged; costs no signature check."""
        token = None
        authorization = found.get(b"authorization")
        if authorization is not None:
            token = bearer_token(authorization.decode("latin-1"))
        by_cookie = False
        if token is None:
            cookies = found.get(b"cookie")
            value = cookie(cookies, _ACCESS_COOKIE) if cookies is not None else None
            if not value:
                return None
            token = value.decode("latin-1")
            by_cookie = True
        try:
            return Credential(token, by_cookie, self._verifier.verify_cached(token))
        except (Unauthenticated, Unavailable):
            # Said again, in its turn, by `verify`.
            return Credential(token, by_cookie, None)

    async def admit(
        self,
        route: Route,
        method: str,
        found: Mapping[bytes, bytes],
        credential: Credential | None,
        client: Client,
    ) -> Caller | None:
        """The caller; None for nobody in particular, on public routes only.

        Raises:
            Unauthenticated: contract, section 1, "401 texts".
            CsrfFailed: an unsafe request by cookie without the session's CSRF token.
            Unavailable: it cannot be known at present.
        """
        if credential is None:
            if route.public:
                return None
            raise Unauthenticated
        claims = credential.claims
        if claims is None:
            try:
                claims = await self._verifier.verify(credential.token)
            except (Unauthenticated, Unavailable):
                if route.public:
                    return None
                raise
        if (
            credential.by_cookie
            and method not in SAFE_METHODS
            and not self._was_meant(route, found, claims, client)
        ):
            if route.public:
                return None
            raise CsrfFailed
        return Caller(credential.token, claims)

    def _was_meant(self, route: Route, found: Mapping[bytes, bytes], claims: Claims, client: Client) -> bool:
        if not route.csrf:
            return True
        header = found.get(_CSRF_HEADER, b"").decode("latin-1")
        cookies = found.get(b"cookie", b"")
        in_cookie = (cookie(cookies, _CSRF_COOKIE) or b"").decode("latin-1")
        if self._csrf.accepts(header=header, cookie=in_cookie, session_id=claims.sid):
            return True
        if route.same_origin_will_do and not header:
            return self._origins.is_ours(found, scheme=client.scheme, host=client.host)
        return False
