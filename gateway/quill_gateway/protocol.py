"""The HTTP/1.1 server's protocol, with the bounds that it lacks.

uvicorn's own collects the head of a request for as long as a client cares to send one. Here a head has
a size and a time; and what the parser refuses (contradicting lengths, broken framing: RFC 9112 §6.3,
§11.2) is answered like every other error: as a problem document with the security headers.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from quill_shared.platform.errors import ClientError
from quill_shared.platform.identifiers import new_id

from .answers import SecurityHeaders, render
from .errors import HeadersTooLarge, InvalidFraming

__all__ = ["GuardedProtocol"]

_MAX_HEAD_BYTES: Final = 64 * 1024
_HEAD_SECONDS: Final = 10.0
_HEADERS: Final = SecurityHeaders(development=True, cross_origin=False).api
"""Without HSTS: nothing is known of the deployment here, and it says so with every other answer."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    flow: FlowControl

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._began = False
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._fault: ClientError = InvalidFraming()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the clock of the first head."""
        super().connection_made(transport)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses, and counts what belongs to a head that is not complete yet."""
        self._began = False
        super().data_received(data)
        if self._in_head:
            if not self._began:
                self._head_size += len(data)
            if self._head_size > _MAX_HEAD_BYTES:
                self._refuse(HeadersTooLarge())
            elif self._head_timer is None:
                self._start_clock()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = self._began = True
        self._head_size = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is there."""
        self._in_head = False
        self._stop_clock()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answers what cannot be parsed, and closes: where the next request begins nobody knows."""
        self._in_head = False
        self._stop_clock()
        status, headers, body = render(self._fault, path=b"", trace_id="")
        head = [f"HTTP/1.1 {status} {_PHRASES[status]}\r\n".encode()]
        own = (*headers, *_HEADERS, (b"x-request-id", str(new_id()).encode()), (b"connection", b"close"))
        head += [name + b": " + value + b"\r\n" for name, value in (*self.server_state.default_headers, *own)]
        self.transport.write(b"".join([*head, b"\r\n", body]))
        self.transport.close()

    def _refuse(self, fault: ClientError) -> None:
        self._fault = fault
        self.send_400_response(fault.detail)

    def _start_clock(self) -> None:
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._head_is_late)

    def _stop_clock(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()


_PHRASES: Final = {400: "Bad Request", 431: "Request Header Fields Too Large"}
