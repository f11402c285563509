"""One request on its way through the gateway, and the identifiers it travels with."""

import re
import secrets
import time
from typing import Final

from opentelemetry import trace
from starlette.types import Message, Receive, Scope, Send

from quill_shared.platform.context import WorkContext, current
from quill_shared.platform.identifiers import new_id
from quill_shared.platform.tokens import Claims

from .clients import Client
from .routes import Route

__all__ = ["Exchange", "traceparent_of"]

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_TRACEPARENT: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_of(span: trace.Span) -> str:
    """`span` as the parent of what follows (W3C Trace Context §2.2)."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


class Exchange:
    """What is known of a request so far. Kept small: there is one per request on the fast path."""

    __slots__ = (
        "announced",
        "begun",
        "claims",
        "client",
        "found",
        "method",
        "path",
        "query",
        "receive",
        "request_id",
        "route",
        "scope",
        "send_raw",
        "started",
        "status",
        "traceparent",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.started = time.perf_counter()
        self.scope = scope
        self.receive = receive
        self.send_raw = send
        self.method: str = scope["method"]
        self.path: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
        self.query: bytes = scope["query_string"]
        self.found: dict[bytes, bytes] = dict(scope["headers"])
        self.route: Route | None = None
        self.client: Client | None = None
        self.claims: Claims | None = None
        self.status = 500
        self.begun = False
        self.announced: tuple[tuple[bytes, bytes], ...] = ()
        self.request_id, self.traceparent = self._identify()

    @property
    def trace_id(self) -> str:
        """The 32 hexadecimal digits of the trace."""
        return self.traceparent[3:35]

    def work(self) -> WorkContext:
        """The request as logs name it."""
        return WorkContext(
            service="gateway",
            request_id=self.request_id,
            correlation_id=self.request_id,
            client_address=self.client.address if self.client else "",
            user_id=self.claims.user_id if self.claims else None,
            session_id=self.claims.sid if self.claims else None,
        )

    async def send(self, message: Message) -> None:
        """Sends to the client, and takes note that the answer has begun."""
        if message["type"] == "http.response.start":
            self.begun = True
            self.status = message["status"]
        await self.send_raw(message)

    def _identify(self) -> tuple[str, str]:
        """The request's id, the caller's if it is well-formed, and its trace, the caller's if there is one
        (W3C Trace Context §2.2). Where both begin here, they share their digits."""
        work = current()
        if work.request_id:
            # Somebody around us has seen to it.
            return work.request_id, traceparent_of(trace.get_current_span())
        traceparent = self.found.get(b"traceparent")
        if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
            fresh, parent = "", traceparent.decode()
        else:
            digits = secrets.token_hex(24)
            fresh, parent = digits[:32], f"00-{digits[:32]}-{digits[32:]}-01"
        given = self.found.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            request_id = given.decode()
        else:
            request_id = fresh or str(new_id())
        self.announced = ((b"x-request-id", request_id.encode()),)
        return request_id, parent
