"""Request bodies: handed on as they come, counted while they do."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

from starlette.types import Receive

from .errors import BodyTimeout, BodyTooLarge

__all__ = ["ClientGone", "RequestBody", "drain"]

_DRAIN_SECONDS: Final = 2.0
_DRAIN_BYTES: Final = 32 * 1024 * 1024


class ClientGone(Exception):
    """The client hung up in the middle of its request; there is nobody to answer."""


class RequestBody:
    """The body of one request.

    Args:
        limit: bytes at most.
        idle: seconds a client may pause.

    `failure` says afterwards why an upload ended early, if it did.
    """

    __slots__ = ("_count", "_idle", "_limit", "_receive", "complete", "failure", "first")

    def __init__(self, receive: Receive, *, limit: int, idle: float) -> None:
        self._receive = receive
        self._limit = limit
        self._idle = idle
        self._count = 0
        self.first = b""
        self.complete = False
        self.failure: Exception | None = None

    async def begin(self) -> None:
        """Reads the first part, which mostly is all.

        Raises:
            BodyTooLarge, BodyTimeout, ClientGone.
        """
        self.first = await self._next()

    async def stream(self) -> AsyncIterator[bytes]:
        """The whole body, the first part included. Raises as `begin` does."""
        if self.first:
            yield self.first
        while not self.complete:
            try:
                part = await self._next()
            except (BodyTooLarge, BodyTimeout, ClientGone) as failure:
                self.failure = failure
                raise
            if part:
                yield part

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout(self._idle):
                message = await self._receive()
        except TimeoutError:
            raise BodyTimeout from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        part: bytes = message.get("body", b"")
        self._count += len(part)
        if self._count > self._limit:
            raise BodyTooLarge
        self.complete = not message.get("more_body", False)
        return part


async def drain(receive: Receive) -> None:
    """Reads and forgets what the client still sends, for a while.

    Closing a connection with unread data resets it, and the client would never see the answer that
    says why (RFC 9112 §9.6).
    """
    deadline = time.monotonic() + _DRAIN_SECONDS
    remaining = _DRAIN_BYTES
    while remaining > 0:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                message = await receive()
        except TimeoutError:
            return
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
        remaining -= len(message.get("body", b""))
