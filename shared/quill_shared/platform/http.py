"""Calling another system over HTTP: deadline, retries within a budget, circuit breaker, concurrency cap.

httpx's API on aiohttp's transport (ADR 0003). One client per upstream, closed at shutdown.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from opentelemetry import trace
from opentelemetry.propagate import inject
from opentelemetry.trace import SpanKind

from .context import current
from .errors import BadGateway, GatewayTimeout, Unavailable, UpstreamError
from .telemetry import span

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_KEEPALIVE_SECONDS: Final = 4.0
"""Less than servers keep an idle connection (uvicorn 5 s), so that a call seldom meets one just closed."""
_UNUSABLE: Final = frozenset({502, 504})


class NotSent(Unavailable):
    """The upstream certainly did nothing: the request never reached it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How an upstream is treated.

    Args:
        deadline: seconds for one call, retries included.
        concurrency: calls in flight at once; further ones wait for a place within their deadline.
        attempts: tries of an idempotent call.
        retry_ratio: retries allowed as a share of calls, over the last `window` seconds.
        failure_ratio: share of failed calls in the window that opens the breaker.
        minimum_calls: calls in the window before the breaker judges.
        open_seconds: how long the breaker stays open before one call may try.
    """

    deadline: float = 10.0
    concurrency: int = 32
    attempts: int = 3
    retry_ratio: float = 0.1
    failure_ratio: float = 0.5
    minimum_calls: int = 10
    open_seconds: float = 2.0
    window: float = 10.0


class RetryBudget:
    """Lets retries be at most a share of calls, so that a struggling upstream is not beaten further."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._calls: deque[float] = deque()
        self._retries: deque[float] = deque()

    def called(self) -> None:
        """Counts a first attempt."""
        self._calls.append(time.monotonic())
        self._trim(self._calls)

    def allows(self) -> bool:
        """Whether one more retry fits; counts it if so. A quiet upstream always gets one."""
        self._trim(self._retries)
        if len(self._retries) >= max(1.0, self._policy.retry_ratio * len(self._calls)):
            return False
        self._retries.append(time.monotonic())
        return True

    def _trim(self, times: deque[float]) -> None:
        horizon = time.monotonic() - self._policy.window
        while times and times[0] < horizon:
            times.popleft()


class Breaker:
    """Closed, open, or half open (one call probes). Judges over a sliding window."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._outcomes: deque[tuple[float, bool]] = deque()
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether calls are refused at the moment."""
        return self._opened_at is not None

    def admit(self) -> bool:
        """Whether a call may go out now. Who is admitted must `record` or `release`."""
        if self._opened_at is None:
            return True
        if self._probing or time.monotonic() - self._opened_at < self._policy.open_seconds:
            return False
        self._probing = True
        return True

    def record(self, *, ok: bool) -> None:
        """Takes note of how a call that was admitted ended."""
        instant = time.monotonic()
        if self._opened_at is not None:
            self._probing = False
            self._opened_at = None if ok else instant
            self._outcomes.clear()
            self._failures = 0
            return
        self._outcomes.append((instant, ok))
        self._failures += not ok
        while self._outcomes[0][0] < instant - self._policy.window:
            self._failures -= not self._outcomes.popleft()[1]
        if len(self._outcomes) >= self._policy.minimum_calls and (
            self._failures >= self._policy.failure_ratio * len(self._outcomes)
        ):
            self._opened_at = instant

    def release(self) -> None:
        """An admitted call was given up by its caller: that says nothing about the upstream."""
        self._probing = False


def _never_left(error: httpx.TransportError) -> bool:
    """Whether the request cannot have reached the upstream.

    httpx-aiohttp calls every connection fault a ConnectTimeout; aiohttp's own class tells apart a
    connection that was never made from one that broke after the request had gone.
    """
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientError):
        return isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)


async def _sent_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """aiohttp sends what HTTP calls idempotent a second time when a connection breaks. Whether that is
    right is ours to say, so it is told of such a fault by a name that it leaves alone.
    """
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError("the connection broke") from error


class UpstreamClient:
    """One upstream.

    Args:
        name: how logs, spans and health call it.
        base_url: its root; request paths are appended.
        policy: see `Policy`.
        headers: sent with every request.
        tracer: records a span per call.
        transport: replaces the network, for tests of the policy.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        policy: Policy | None = None,
        headers: Mapping[str, str] | None = None,
        auth: httpx.Auth | None = None,
        tracer: trace.Tracer | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self.policy = policy or Policy()
        self.base_url = base_url
        self.breaker = Breaker(self.policy)
        self._budget = RetryBudget(self.policy)
        self._places = asyncio.Semaphore(self.policy.concurrency)
        self._headers = dict(headers or {})
        self._auth = auth
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._tracer = tracer or trace.NoOpTracer()

    @property
    def client(self) -> httpx.AsyncClient:
        """The connection pool, opened at first use (it belongs to the running loop)."""
        if self._client is None:
            self._client = httpx.AsyncClient(
                base_url=self.base_url,
                headers=self._headers,
                auth=self._auth,
                follow_redirects=False,
                transport=self._transport or AiohttpTransport(client=self._session),
                timeout=httpx.Timeout(self.policy.deadline, connect=2.0),
            )
        return self._client

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self.policy.concurrency,
                keepalive_timeout=_KEEPALIVE_SECONDS,
                ssl=httpx.create_ssl_context(),
            ),
            middlewares=(_sent_once,),
        )

    async def close(self) -> None:
        """Closes the pool."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Any = None,
        json: Any = None,
        content: bytes | None = None,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: float | None = None,
        repeatable: bool | None = None,
    ) -> httpx.Response:
        """One call with everything above. Any answer below 500 is returned as it is; so is a 500.

        Args:
            deadline: seconds for this call instead of the policy's.
            repeatable: whether a call that may have arrived is sent again; by default what HTTP calls
                idempotent (RFC 9110 §9.2.2). False for a conditional write: its own first attempt would
                make the second one fail.

        Raises:
            NotSent: refused by the breaker, no place free in time, or no connection: nothing happened.
            GatewayTimeout: no answer in time; whether the upstream acted is not known.
            Unavailable: the connection broke or it answered 503; whether it acted is not known.
            BadGateway: it answered 502 or 504, or something that is not HTTP.
        """
        limit = deadline or self.policy.deadline
        with span(
            self._tracer,
            f"{self.name} {method}",
            kind=SpanKind.CLIENT,
            attributes={"http.request.method": method, "server.address": self.name},
        ) as recorded:
            sent = dict(headers or {})
            inject(sent)
            sent.setdefault("X-Request-ID", current().request_id)
            call = {"params": params, "json": json, "content": content, "data": data, "headers": sent}
            ends_at = asyncio.get_running_loop().time() + limit
            if repeatable is None:
                repeatable = method in _IDEMPOTENT
            response = await self._attempts(method, path, call, ends_at, repeatable=repeatable)
            recorded.set_attribute("http.response.status_code", response.status_code)
            return response

    async def _attempts(
        self, method: str, path: str, call: dict[str, Any], ends_at: float, *, repeatable: bool
    ) -> httpx.Response:
        self._budget.called()
        attempt = 0
        unknown: UpstreamError | None = None
        while True:
            attempt += 1
            try:
                return await self._with_place(method, path, call, ends_at)
            except (Unavailable, BadGateway) as error:
                if not isinstance(error, NotSent):
                    unknown = error
                retryable = isinstance(error, NotSent) or repeatable
                pause = 0.05 * 2**attempt
                in_time = asyncio.get_running_loop().time() + pause < ends_at
                if (
                    not (retryable and in_time)
                    or attempt >= self.policy.attempts
                    or self.breaker.is_open
                    or not self._budget.allows()
                ):
                    # What an earlier attempt did is not undone by a later one that did not get through.
                    raise unknown or error from None
                await asyncio.sleep(pause)

    async def _with_place(
        self, method: str, path: str, call: dict[str, Any], ends_at: float
    ) -> httpx.Response:
        try:
            async with asyncio.timeout_at(ends_at):
                await self._places.acquire()
        except TimeoutError:
            raise NotSent(f"{self.name} has too many calls waiting") from None
        try:
            if not self.breaker.admit():
                raise NotSent(f"{self.name} is not available")
            return await self._attempt(method, path, call, ends_at)
        finally:
            self._places.release()

    async def _attempt(self, method: str, path: str, call: dict[str, Any], ends_at: float) -> httpx.Response:
        try:
            async with asyncio.timeout_at(ends_at):
                response = await self.client.request(method, path, **call)
        except httpx.TransportError as error:
            self.breaker.record(ok=False)
            if _never_left(error):
                raise NotSent(f"{self.name} cannot be reached") from None
            if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
                raise GatewayTimeout(f"{self.name} did not answer in time") from None
            raise Unavailable(f"{self.name} broke off the connection") from None
        except TimeoutError:
            self.breaker.record(ok=False)
            raise GatewayTimeout(f"{self.name} did not answer in time") from None
        except (httpx.HTTPError, aiohttp.ClientError):
            self.breaker.record(ok=False)
            raise BadGateway(f"{self.name} gave an unusable answer") from None
        except BaseException:
            self.breaker.release()
            raise
        self.breaker.record(ok=response.status_code < 500)
        if response.status_code == 503:
            raise Unavailable(f"{self.name} is not available")
        if response.status_code in _UNUSABLE:
            raise BadGateway(f"{self.name} gave an unusable answer")
        return response
