"""The services behind the gateway: a pool of connections each, and what their failures mean."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import aiohttp
from aiohttp.helpers import TimerNoop
from yarl import URL

from quill_shared.platform.context import WorkContext, bound
from quill_shared.platform.errors import BadGateway, Error, GatewayTimeout, Unavailable

from .settings import GatewaySettings

__all__ = ["FAILURES", "Upstream", "Upstreams", "failure"]

logger = logging.getLogger(__name__)

FAILURES: Final = (aiohttp.ClientError, TimeoutError, OSError)
"""What a call to a service may raise."""
_POOL_WAIT_SECONDS: Final = 5.0
_MAX_HEADER_LINE: Final = 16 * 1024
_ASIDES: Final = 4
_NO_TIMER: Final = TimerNoop()


class Upstream:
    """One service.

    Args:
        name: as the route table calls it.
        base_url: its root, without a slash at the end.
        session: its pool.
        aside: a small one for the gateway's own questions, so that a service's health can be asked however
            busy it is.
    """

    __slots__ = ("aside", "base_url", "name", "session")

    def __init__(
        self, name: str, base_url: str, session: aiohttp.ClientSession, aside: aiohttp.ClientSession
    ) -> None:
        self.name = name
        self.base_url = base_url
        self.session = session
        self.aside = aside

    async def send(
        self, method: str, target: str, *, headers: Mapping[str, str], data: bytes | None = None
    ) -> aiohttp.ClientResponse:
        """One request, as it is: no redirects followed, nothing decoded, the target not rewritten.

        The caller releases the response.
        """
        return await self._send(self.session, method, target, headers, data)

    async def _send(
        self,
        session: aiohttp.ClientSession,
        method: str,
        target: str,
        headers: Mapping[str, str],
        data: bytes | None,
    ) -> aiohttp.ClientResponse:
        try:
            return await self._send_once(session, method, target, headers, data)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as raised:
            # A service may close an idle connection in the instant it is used (RFC 9112 §9.3.1). What may
            # have changed something is not sent again: a DELETE that was done would come back as 404.
            if isinstance(raised, aiohttp.ClientConnectorError) or method != "GET":
                raise
            return await self._send_once(session, method, target, headers, data)

    async def _send_once(
        self,
        session: aiohttp.ClientSession,
        method: str,
        target: str,
        headers: Mapping[str, str],
        data: bytes | None,
    ) -> aiohttp.ClientResponse:
        """What `ClientSession.request` does, without what a gateway has no use for: redirects, cookies,
        credentials, proxies, traces. They are a fifth of its time."""
        timeout, connector = session.timeout, session.connector
        if connector is None or session.closed:
            raise aiohttp.ClientConnectionError("the pool is closed")
        request = aiohttp.ClientRequest(
            method,
            URL(self.base_url + target, encoded=True),
            headers=headers,
            skip_auto_headers=session.skip_auto_headers,
            data=data,
            loop=asyncio.get_running_loop(),
            timer=_NO_TIMER,
            session=session,
        )
        try:
            connection = await connector.connect(request, traces=[], timeout=timeout)
        except TimeoutError as late:
            raise aiohttp.ConnectionTimeoutError from late
        try:
            if connection.protocol is None:
                raise aiohttp.ServerDisconnectedError
            connection.protocol.set_response_params(
                timer=_NO_TIMER,
                read_until_eof=True,
                auto_decompress=False,
                read_timeout=timeout.sock_read,
                max_line_size=_MAX_HEADER_LINE,
                max_field_size=_MAX_HEADER_LINE,
            )
            response = await request.send(connection)
            try:
                await response.start(connection)
            except BaseException:
                response.close()
                raise
        except BaseException:
            connection.close()
            raise
        return response

    async def fetch(self, path: str, *, within: float) -> tuple[int, Any]:
        """Status and JSON of an internal GET, if it comes `within` so many seconds.

        Raises:
            one of FAILURES, or ValueError when it is not JSON.
        """
        async with asyncio.timeout(within):
            response = await self._send(self.aside, "GET", path, {}, None)
            try:
                return response.status, await response.json(content_type=None)
            finally:
                response.release()


Upstreams = Mapping[str, Upstream]


@asynccontextmanager
async def connected(settings: GatewaySettings) -> AsyncIterator[dict[str, Upstream]]:
    """The pools, closed at the end. Opening them connects to nothing."""
    upstreams: dict[str, Upstream] = {}
    async with AsyncExitStack() as stack:
        for name, url in settings.service_urls.items():
            session = await stack.enter_async_context(_pool(settings, settings.upstream_connections))
            aside = await stack.enter_async_context(_pool(settings, _ASIDES))
            upstreams[name] = Upstream(name, url, session, aside)
        yield upstreams


def _pool(settings: GatewaySettings, limit: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=limit,
            keepalive_timeout=settings.upstream_keepalive_seconds,
            ttl_dns_cache=10,
        ),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(
            total=None,
            connect=max(_POOL_WAIT_SECONDS, settings.upstream_connect_seconds),
            sock_connect=settings.upstream_connect_seconds,
            sock_read=settings.upstream_deadline_seconds,
        ),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        trust_env=False,
    )


def failure(raised: Exception, service: str, work: WorkContext) -> Error:
    """What a failed call means to the client. Never a word of the cause."""
    with bound(work):
        logger.warning("service failed", extra={"upstream": service, "error_type": type(raised).__name__})
    if isinstance(raised, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return Unavailable(f"The {service} service cannot be reached", code="service_unavailable")
    if isinstance(raised, TimeoutError):
        return GatewayTimeout(f"The {service} service did not answer in time")
    return BadGateway(f"The {service} service gave an unusable answer")
