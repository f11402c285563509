"""The public API as an integrator uses it: a bearer token kept fresh, and patience with a busy server."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx

from .errors import CommandError, RefusedError, SignInError, UnreachableError, explanation

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_RENEW_BEFORE: Final = 30.0
_FIRST_PATIENCE: Final = 3.0
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """Either user name and password, or a token that was issued before and cannot be renewed."""

    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


@dataclass(slots=True)
class _Session:
    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    renew_at: float = float("inf")


class Api:
    """One caller of the API.

    Args:
        client: knows the address; closed by its owner.
        patience: seconds to go on trying while the server is away or asks us to wait.
    """

    def __init__(
        self, client: httpx.AsyncClient, credentials: Credentials, *, patience: float = 60.0
    ) -> None:
        self._client = client
        self._credentials = credentials
        self._patience = patience
        self._reached = False
        self._session: _Session | None = None
        self._signing_in = asyncio.Lock()

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> httpx.Response:
        """One call; any answer but those below is returned as it is.

        429 and 503 are tried again after what `Retry-After` says; a broken connection, 502 and 504 only
        where a second try does no harm. A token that has run out is renewed.

        Args:
            repeatable: a second try does no harm, although the method does not say so.

        Raises:
            SignInError: the token is refused, and a new one is not to be had.
            UnreachableError: no answer of use within `patience`.
        """
        deadline = time.monotonic() + self._patience
        pause = _FIRST_PAUSE
        harmless = repeatable or method in _IDEMPOTENT
        renewed = False
        while True:
            session = await self._signed_in()
            sent = {**(headers or {}), "Authorization": f"Bearer {session.access_token}"}
            try:
                response = await self._client.request(
                    method, path, json=json, content=content, params=params, headers=sent
                )
            except httpx.TransportError as error:
                if not (harmless or isinstance(error, httpx.ConnectError)) or time.monotonic() > deadline:
                    raise UnreachableError(self._away(error)) from None
                wait = pause
            else:
                if response.status_code == 401 and not renewed:
                    renewed = True
                    await self._renew(session)
                    continue
                if response.status_code == 401:
                    raise SignInError(f"Signing in did not help: {explanation(response)}.")
                busy = response.status_code in (429, 503)
                if not busy and not (harmless and response.status_code in (502, 504)):
                    return response
                wait = retry_after(response) or pause
                if time.monotonic() + wait > deadline:
                    raise UnreachableError(
                        f"{self._client.base_url} is not able to answer: {explanation(response)} "
                        f"(status {response.status_code})."
                    )
            await asyncio.sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def expect(self, method: str, path: str, *statuses: int, **call: Any) -> Any:
        """The document of one call that answers 2xx, or one of `statuses`.

        Raises:
            RefusedError: another answer.
        """
        response = await self.request(method, path, **call)
        if not response.is_success and response.status_code not in statuses:
            raise RefusedError(method, path, response)
        return response.json() if response.content else None

    async def pages(self, path: str, key: str, **params: str) -> AsyncIterator[Any]:
        """Everything in a paged list, one by one."""
        cursor: str | None = ""
        while cursor is not None:
            page = await self.expect("GET", path, params={**params, **({"cursor": cursor} if cursor else {})})
            for each in page[key]:
                yield each
            cursor = page.get("next_cursor") or None

    async def _signed_in(self) -> _Session:
        session = self._session
        if session is None or time.monotonic() >= session.renew_at:
            await self._renew(session)
        assert self._session is not None, "_renew raises otherwise"
        return self._session

    async def _renew(self, stale: _Session | None) -> None:
        """A new token in place of `stale`, once for all who find it stale at the same time."""
        async with self._signing_in:
            if self._session is not stale:
                return
            if self._credentials.token:
                if stale is not None:
                    raise SignInError("The token is refused, or has run out; give a user name and password.")
                self._session = _Session(self._credentials.token)
                return
            if stale is not None and stale.refresh_token:
                form = {"grant_type": "refresh_token", "refresh_token": stale.refresh_token}
                response = await self._token(form)
                if response.is_success:
                    self._session = _session(response)
                    return
            username, password = self._credentials.username, self._credentials.password
            if not username or not password:
                raise SignInError("No user name and password, and no token, to sign in with.")
            response = await self._token(
                {"grant_type": "password", "username": username, "password": password}
            )
            if not response.is_success:
                raise SignInError(f"{username} cannot sign in: {explanation(response)}.")
            self._session = _session(response)

    async def _token(self, form: Mapping[str, str]) -> httpx.Response:
        # An address that never answered is more likely a mistake than a server that is away.
        patience = self._patience if self._reached else min(self._patience, _FIRST_PATIENCE)
        deadline = time.monotonic() + patience
        while True:
            try:
                response = await self._client.post("/api/auth/token", data=dict(form))
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise UnreachableError(self._away(error)) from None
                wait = 0.5
            else:
                self._reached = True
                wait = retry_after(response) or 1.0
                if response.status_code not in (429, 502, 503, 504) or time.monotonic() + wait > deadline:
                    return response
            await asyncio.sleep(wait)

    def _away(self, error: httpx.TransportError) -> str:
        reason = "nothing listens there" if isinstance(error, httpx.ConnectError) else type(error).__name__
        return f"{self._client.base_url} cannot be reached: {reason}."


@asynccontextmanager
async def api(
    url: str,
    credentials: Credentials,
    *,
    connections: int = 8,
    patience: float = 60.0,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[Api]:
    """A caller of the API at `url`.

    Raises:
        CommandError: `url` is not an address.
    """
    async with http_client(url, connections=connections, transport=transport) as client:
        yield Api(client, credentials, patience=patience)


def http_client(
    url: str, *, connections: int = 8, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """A client for the server at `url`, which is spoken to directly unless the environment names a proxy.

    Raises:
        CommandError: `url` is not an address.
    """
    address = httpx.URL(url.rstrip("/"))
    if address.scheme not in ("http", "https") or not address.host:
        raise CommandError(f"{url!r} is not an address like http://127.0.0.1:8000.")
    return httpx.AsyncClient(
        base_url=address,
        timeout=httpx.Timeout(60.0, connect=5.0),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        transport=transport,
        headers={"User-Agent": "quill-cli"},
    )


def retry_after(response: httpx.Response) -> float | None:
    """The seconds that `Retry-After` asks for (RFC 9110 §10.2.3), at least a tenth; None without one."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        return max(float(value), 0.1)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max((moment - datetime.now(UTC)).total_seconds(), 0.1) if moment.tzinfo else None


def _session(response: httpx.Response) -> _Session:
    answer = response.json()
    life = float(answer.get("expires_in") or 0.0)
    renew_at = time.monotonic() + max(life - _RENEW_BEFORE, life / 2) if life else float("inf")
    return _Session(str(answer["access_token"]), str(answer.get("refresh_token") or ""), renew_at)
