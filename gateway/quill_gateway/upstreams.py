"""The services behind the gateway: one pool of connections each, and what their failures mean."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
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
_IDEMPOTENT: Final = frozenset({"GET", "PUT", "DELETE"})
_NO_TIMER: Final = TimerNoop()


class Upstream:
    """One service.

    Args:
        name: as the route table calls it.
        base_url: its root, without a slash at the end.
        session: its pool.
    """

    __slots__ = ("base_url", "name", "session")

    def __init__(self, name: str, base_url: str, session: aiohttp.ClientSession) -> None:
        self.name = name
        self.base_url = base_url
        self.session = session

    async def send(
        self, method: str, target: str, *, headers: Mapping[str, str], data: Any = None
    ) -> aiohttp.ClientResponse:
        """One request, as it is: no redirects followed, nothing decoded, the target not rewritten.

        The caller releases the response.
        """
        try:
            return await self._send(method, target, headers, data)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as raised:
            # A service may close an idle connection in the instant it is used (RFC 9112 §9.3.1).
            is_unmade = isinstance(raised, aiohttp.ClientConnectorError)
            if is_unmade or method not in _IDEMPOTENT or not isinstance(data, bytes | None):
                raise
            return await self._send(method, target, headers, data)

    async def _send(
        self, method: str, target: str, headers: Mapping[str, str], data: Any
    ) -> aiohttp.ClientResponse:
        """What `ClientSession.request` does, without what a gateway has no use for: redirects, cookies,
        credentials, proxies, traces. They are a fifth of its time."""
        session, timeout = self.session, self.session.timeout
        connector = session.connector
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
            response = await self.send("GET", path, headers={})
            try:
                return response.status, await response.json(content_type=None)
            finally:
                response.release()


Upstreams = Mapping[str, Upstream]


@asynccontextmanager
async def connected(settings: GatewaySettings) -> AsyncIterator[dict[str, Upstream]]:
    """The pools, closed at the end. Opening them connects to nothing."""
    upstreams: dict[str, Upstream] = {}
    try:
        for name, url in settings.service_urls.items():
            connector = aiohttp.TCPConnector(
                limit=settings.upstream_connections,
                keepalive_timeout=settings.upstream_keepalive_seconds,
                ttl_dns_cache=10,
            )
            session = aiohttp.ClientSession(
                connector=connector,
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
            upstreams[name] = Upstream(name, url, session)
        yield upstreams
    finally:
        for upstream in upstreams.values():
            await upstream.session.close()


def failure(raised: Exception, service: str, work: WorkContext) -> Error:
    """What a failed call means to the client. Never a word of the cause."""
    with bound(work):
        logger.warning("service failed", extra={"upstream": service, "error_type": type(raised).__name__})
    if isinstance(raised, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return Unavailable(f"The {service} service cannot be reached", code="service_unavailable")
    if isinstance(raised, TimeoutError):
        return GatewayTimeout(f"The {service} service did not answer in time")
    return BadGateway(f"The {service} service gave an unusable answer")
