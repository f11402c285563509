"""How services recognise each other: a token of one minute, signed with the key they share.

Used on routes below `/internal/`, which the gateway does not know and so never forwards (ADR 0015).
"""

import secrets
from collections.abc import Generator
from typing import Final

import httpx
import jwt
from fastapi import Request

from .clock import now
from .errors import Unauthenticated

_ALGORITHM: Final = "HS256"
_LIFE_SECONDS: Final = 60
_TYPE: Final = "service"


def make(key: str, *, caller: str, audience: str) -> str:
    """A token that says `caller` speaks to `audience`."""
    issued = int(now().timestamp())
    claims = {
        "iss": caller,
        "aud": audience,
        "iat": issued,
        "exp": issued + _LIFE_SECONDS,
        "jti": secrets.token_urlsafe(12),
        "typ": _TYPE,
    }
    return jwt.encode(claims, key, algorithm=_ALGORITHM)


def verify(key: str, token: str, *, audience: str) -> str:
    """The service that made `token`.

    Raises:
        Unauthenticated: not one of ours, not for `audience`, or expired.
    """
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[_ALGORITHM],
            audience=audience,
            leeway=5,
            options={"require": ["exp", "iss", "aud"]},
        )
    except jwt.PyJWTError:
        raise Unauthenticated("Invalid token", code="invalid_token") from None
    if claims.get("typ") != _TYPE:
        raise Unauthenticated("Invalid token", code="invalid_token")
    return str(claims["iss"])


class ServiceAuth(httpx.Auth):
    """Signs each request of a client as coming from `caller`."""

    def __init__(self, key: str, *, caller: str, audience: str) -> None:
        self._key = key
        self._caller = caller
        self._audience = audience

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Adds the Authorization header."""
        request.headers["Authorization"] = (
            f"Bearer {make(self._key, caller=self._caller, audience=self._audience)}"
        )
        yield request


async def require_service(request: Request) -> str:
    """Guard of internal routes: the name of the calling service."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    runtime = request.app.state.runtime
    return verify(runtime.settings.service_key.get_secret_value(), token, audience=runtime.definition.name)
