"""The API as a browser uses it: cookies, and the CSRF token back in a header; every call is taken down."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx

from .api import http_client
from .errors import RefusedError, UnreachableError

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_CSRF_COOKIE: Final = "XSRF-TOKEN"
_CSRF_HEADER: Final = "X-CSRF-Token"


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was made."""

    method: str
    path: str
    status: int
    milliseconds: float


class Browser:
    """One person's browser.

    Args:
        url: the gateway.
        called: told of every call.
    """

    def __init__(
        self,
        url: str,
        *,
        called: Callable[[Call], None] = lambda call: None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = http_client(url, connections=4, transport=transport)
        self._called = called

    async def __aenter__(self) -> "Browser":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def call(self, method: str, path: str, *expected: int, **call: Any) -> Any:
        """The document of a call that answers 2xx, or one of `expected`.

        Raises:
            RefusedError: another answer.
            UnreachableError: none.
        """
        headers = {}
        token = self._client.cookies.get(_CSRF_COOKIE)
        if method not in _SAFE and token is not None:
            headers[_CSRF_HEADER] = token
        began = time.perf_counter()
        try:
            response = await self._client.request(method, path, headers=headers, **call)
        except httpx.TransportError as error:
            raise UnreachableError(
                f"{self._client.base_url} cannot be reached ({type(error).__name__}); is `make run` up?"
            ) from None
        spent = (time.perf_counter() - began) * 1000
        self._called(Call(method, response.request.url.raw_path.decode(), response.status_code, spent))
        if not response.is_success and response.status_code not in expected:
            raise RefusedError(method, path, response)
        return response.json() if response.content else None

    async def sign_in(self, username: str, password: str) -> Any:
        """Signs in; the cookies stay with this browser."""
        return await self.call("POST", "/api/auth/login", json={"username": username, "password": password})

    async def sign_out(self) -> None:
        """Ends the session on the server."""
        await self.call("POST", "/api/auth/logout")
