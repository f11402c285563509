"""Pure ASGI around every application: request id, trace, access log and the last catch.

Nothing here derives from BaseHTTPMiddleware, which breaks context variables and streaming.
"""

import logging
import re
import time
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .context import WorkContext, bound
from .identifiers import new_id
from .problems import ErrorHandler
from .telemetry import continue_trace, span

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("quill_access")

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")


class RequestContextMiddleware:
    """Binds the work context and the trace, answers `X-Request-ID`, logs one line per request.

    The log line names the route's template, never the address as typed. An exception that nothing
    below rendered becomes a plain 500.
    """

    def __init__(self, app: ASGIApp, *, service: str, errors: ErrorHandler, access_log: bool = True) -> None:
        self._app = app
        self._service = service
        self._errors = errors
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = headers.get(b"x-request-id", b"")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = str(new_id()).encode()
        name = request_id.decode()
        started = time.perf_counter()
        status = 500
        sent = False

        async def send_with_id(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                sent = True
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        client = scope.get("client")
        work = WorkContext(
            service=self._service,
            request_id=name,
            correlation_id=name,
            causation_id=name,
            client_address=client[0] if client else "",
            user_agent=headers.get(b"user-agent", b"").decode("latin-1")[:200],
        )
        parent = continue_trace({"traceparent": headers.get(b"traceparent", b"").decode("latin-1")})
        runtime: Any = getattr(scope["app"].state, "runtime", None) if "app" in scope else None
        token = otel_context.attach(parent)
        try:
            with bound(work):
                if runtime is not None and runtime.telemetry.records:
                    with span(
                        runtime.telemetry.tracer, scope["method"], context=parent, kind=trace.SpanKind.SERVER
                    ) as recorded:
                        await self._run(scope, receive, send_with_id, lambda: sent)
                        route = _template(scope)
                        recorded.update_name(f"{scope['method']} {route}")
                        recorded.set_attribute("http.request.method", scope["method"])
                        recorded.set_attribute("http.route", route)
                        recorded.set_attribute("http.response.status_code", status)
                else:
                    await self._run(scope, receive, send_with_id, lambda: sent)
                if self._access_log:
                    access_logger.info(
                        "request",
                        extra={
                            "method": scope["method"],
                            "route": _template(scope),
                            "status": status,
                            "duration_ms": round((time.perf_counter() - started) * 1000, 1),
                        },
                    )
        finally:
            otel_context.detach(token)

    async def _run(self, scope: Scope, receive: Receive, send: Send, sent: Any) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as raised:
            if sent():
                logger.exception("request failed after its answer began")
                raise
            response = await self._errors(Request(scope, receive), raised)
            await response(scope, receive, send)


def _template(scope: Scope) -> str:
    route = scope.get("route")
    return str(getattr(route, "path", "-"))
