"""The data path: raw ASGI in, aiohttp out (ADR 0003).

Checks in the order of the contract: path and method, header limits, body size, rate limit, session,
CSRF; then the request goes to its service as it is, once its body is whole, and the answer comes back as a
stream. What the gateway answers itself (health, documentation) goes to the FastAPI application inside.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

import aiohttp
from multidict import CIMultiDict, istr
from opentelemetry import trace
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quill_shared.platform.context import bound
from quill_shared.platform.errors import Error, NotFound
from quill_shared.platform.service import Runtime
from quill_shared.platform.telemetry import continue_trace, span

from .accesslog import Entry
from .answers import NEVER_FROM_SERVICES, render
from .bodies import ClientGone, RequestBody, drain
from .callers import cookie
from .clients import Client
from .errors import (
    BodyTimeout,
    BodyTooLarge,
    ClinicalServicesOff,
    CsrfFailed,
    InvalidFraming,
    TooMuchAtOnce,
    TooMuchFromAddress,
)
from .exchange import Exchange, traceparent_of
from .gateway import Gateway
from .inbound import check_length, forwarded_headers, merge_repeated
from .matching import check_path, check_query
from .outbound import relay
from .upstreams import FAILURES, Upstream, failure

__all__ = ["Edge"]

logger = logging.getLogger(__name__)

_AUTHORIZATION: Final = istr("Authorization")
_REQUEST_ID: Final = istr("X-Request-ID")
_TRACEPARENT: Final = istr("traceparent")
_FORWARDED_FOR: Final = istr("X-Forwarded-For")
_FORWARDED_PROTO: Final = istr("X-Forwarded-Proto")
_FORWARDED_HOST: Final = istr("X-Forwarded-Host")
_UNREAD: Final = (BodyTooLarge, TooMuchAtOnce, TooMuchFromAddress)
_IDENTIFYING: Final = frozenset({b"x-request-id", b"traceparent"})


class Edge:
    """The gateway as ASGI middleware around the FastAPI application that answers for itself."""

    def __init__(self, app: ASGIApp, runtime: Callable[[], Runtime]) -> None:
        self._app = app
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection's request."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        gateway: Gateway = self._runtime().context
        exchange = Exchange(scope, receive, send)
        if gateway.telemetry.records and exchange.announced:
            await self._traced(gateway, exchange)
        else:
            await self._handle(gateway, exchange)
        if gateway.access_log.enabled:
            _note(gateway, exchange)

    async def _traced(self, gateway: Gateway, exchange: Exchange) -> None:
        """Handles the request within a span that continues the caller's trace."""
        parent = continue_trace({"traceparent": exchange.traceparent})
        tracer = gateway.telemetry.tracer
        with span(tracer, exchange.method, context=parent, kind=trace.SpanKind.SERVER) as recorded:
            exchange.traceparent = traceparent_of(recorded)
            await self._handle(gateway, exchange)
            route = exchange.route.template if exchange.route is not None else "-"
            recorded.update_name(f"{exchange.method} {route}")
            recorded.set_attribute("http.request.method", exchange.method)
            recorded.set_attribute("http.route", route)
            recorded.set_attribute("http.response.status_code", exchange.status)

    async def _handle(self, gateway: Gateway, exchange: Exchange) -> None:
        try:
            await self._serve(gateway, exchange)
        except Error as error:
            await self._refuse(gateway, exchange, error)
        except ClientGone:
            exchange.status = 499
        except Exception:
            with bound(exchange.work()):
                logger.exception("request failed")
            await self._refuse(gateway, exchange, Error())

    async def _serve(self, gateway: Gateway, exchange: Exchange) -> None:
        found, method, path = exchange.found, exchange.method, exchange.path
        if b"host" not in found and exchange.scope["http_version"] != "1.0":
            raise InvalidFraming
        check_path(path)
        check_query(exchange.query)
        if method == "OPTIONS":
            await self._options(gateway, exchange)
            return
        route = exchange.route = gateway.routes.find(method, path)
        exchange.scope["route"] = route
        if route.docs and not gateway.docs:
            raise NotFound
        if len(found) != len(exchange.scope["headers"]):
            merge_repeated(exchange)
        headers = forwarded_headers(
            exchange, max_bytes=gateway.max_header_bytes, max_count=gateway.max_headers
        )
        length = found.get(b"content-length")
        has_body = b"transfer-encoding" in found or (length is not None and length != b"0")
        if has_body and length is not None:
            check_length(found, length, gateway.max_body_bytes)
        client = _client(gateway, exchange)
        credential = gateway.callers.present(found)
        if credential is not None and credential.claims is not None:
            gateway.session_limiter.take(credential.claims.sid)
        else:
            gateway.address_limiter.take(client.key)
        caller = await gateway.callers.admit(route, method, found, credential, client)
        if caller is not None:
            exchange.claims = caller.claims
        if route.clinical and not gateway.clinical_services:
            raise ClinicalServicesOff
        if route.service == "gateway":
            await self._answer_ourselves(gateway, exchange)
            return
        if caller is not None:
            headers[_AUTHORIZATION] = f"Bearer {caller.token}"
        if route.cookie is not None:
            value = cookie(found.get(b"cookie", b""), route.cookie.encode())
            if value is not None:
                headers["Cookie"] = f"{route.cookie}={value.decode('latin-1')}"
        headers[_REQUEST_ID] = exchange.request_id
        headers[_TRACEPARENT] = exchange.traceparent
        headers[_FORWARDED_FOR] = client.address
        headers[_FORWARDED_PROTO] = client.scheme
        headers[_FORWARDED_HOST] = client.host.decode("latin-1")
        await self._proxy(gateway, exchange, gateway.upstreams[route.service], headers, has_body=has_body)

    async def _proxy(
        self,
        gateway: Gateway,
        exchange: Exchange,
        upstream: Upstream,
        headers: "CIMultiDict[str]",
        *,
        has_body: bool,
    ) -> None:
        if not has_body:
            response = await self._sent(exchange, upstream, headers, None)
        else:
            body = RequestBody(
                exchange.receive,
                gateway.body_memory,
                exchange.client.key if exchange.client is not None else "",
                limit=gateway.max_body_bytes,
                idle=gateway.body_idle_seconds,
                deadline=gateway.body_deadline_seconds,
            )
            try:
                response = await self._sent(exchange, upstream, headers, await body.read() or None)
            finally:
                body.release()
        try:
            await relay(gateway, exchange, response, upstream.name)
        finally:
            response.release()

    async def _sent(
        self, exchange: Exchange, upstream: Upstream, headers: "CIMultiDict[str]", data: bytes | None
    ) -> aiohttp.ClientResponse:
        target = exchange.path.decode("ascii")
        if exchange.query:
            target = f"{target}?{exchange.query.decode('ascii')}"
        method = "GET" if exchange.method == "HEAD" else exchange.method
        try:
            return await upstream.send(method, target, headers=headers, data=data)
        except FAILURES as raised:
            raise failure(raised, upstream.name, exchange.work()) from None

    async def _answer_ourselves(self, gateway: Gateway, exchange: Exchange) -> None:
        """Lets the application inside answer, and adds what every answer carries."""
        route = exchange.route
        is_page = route is not None and route.docs

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [each for each in message["headers"] if each[0].lower() not in NEVER_FROM_SERVICES]
                if not any(name.lower() == b"cache-control" for name, _ in kept):
                    kept.append((b"cache-control", b"no-store"))
                kept.extend(gateway.docs_headers if is_page else gateway.api_headers)
                kept.extend(gateway.origins.answer_headers(exchange.found.get(b"origin")))
                kept.extend(exchange.announced)
                message = {**message, "headers": kept}
            await exchange.send(message)

        # HEAD is GET to the application; our server leaves the body out.
        headers = [each for each in exchange.scope["headers"] if each[0] not in _IDENTIFYING]
        headers.append((b"x-request-id", exchange.request_id.encode()))
        headers.append((b"traceparent", exchange.traceparent.encode()))
        scope = {**exchange.scope, "method": "GET", "headers": headers}
        await self._app(scope, exchange.receive, send)

    async def _options(self, gateway: Gateway, exchange: Exchange) -> None:
        """Answers OPTIONS, CORS preflights among them, for paths that exist."""
        allowed = gateway.routes.allowed(exchange.path)
        if not allowed:
            raise NotFound
        gateway.address_limiter.take(_client(gateway, exchange).key)
        headers = gateway.origins.preflight_headers(exchange.found, allowed)
        headers.extend(gateway.api_headers)
        headers.append((b"cache-control", b"no-store"))
        headers.extend(exchange.announced)
        await exchange.send({"type": "http.response.start", "status": 204, "headers": headers})
        await exchange.send({"type": "http.response.body", "body": b""})

    async def _refuse(self, gateway: Gateway, exchange: Exchange, error: Error) -> None:
        """Answers with an error of the gateway's own."""
        if isinstance(error, CsrfFailed):
            with bound(exchange.work()):
                logger.warning(
                    "csrf failed",
                    extra={
                        "method": exchange.method,
                        "route": exchange.route.template if exchange.route else "-",
                    },
                )
        if exchange.begun:
            return
        status, headers, body = render(error, path=exchange.path, trace_id=exchange.trace_id)
        headers.extend(gateway.api_headers)
        headers.extend(gateway.origins.answer_headers(exchange.found.get(b"origin")))
        headers.extend(exchange.announced)
        is_late = isinstance(error, BodyTimeout)
        unread = not is_late and (isinstance(error, _UNREAD) or b"transfer-encoding" in exchange.found)
        if unread or is_late:
            # Who sends too slowly is not waited for once more.
            headers.append((b"connection", b"close"))
        await exchange.send({"type": "http.response.start", "status": status, "headers": headers})
        await exchange.send({"type": "http.response.body", "body": body, "more_body": unread})
        if unread:
            if b"expect" not in exchange.found:
                await drain(exchange.receive)
            await exchange.send({"type": "http.response.body", "body": b""})


def _client(gateway: Gateway, exchange: Exchange) -> Client:
    peer = exchange.scope["client"]
    client = gateway.clients.identify(peer[0] if peer else "", exchange.scope["scheme"], exchange.found)
    exchange.client = client
    return client


def _note(gateway: Gateway, exchange: Exchange) -> None:
    route, claims = exchange.route, exchange.claims
    gateway.access_log.add(
        Entry(
            time.time(),
            exchange.method,
            route.template if route is not None else "-",
            exchange.status,
            time.perf_counter() - exchange.started,
            route.service if route is not None else "",
            exchange.request_id,
            exchange.trace_id,
            claims.user_id if claims is not None else None,
            claims.sid if claims is not None else None,
        )
    )
