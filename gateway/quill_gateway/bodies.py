"""Request bodies: taken whole before a service is troubled with them.

A service's connection is then held for as long as the service takes, never for as long as a client does.
"""

import asyncio
import time
from typing import Final

from starlette.types import Receive

from .errors import BodyTimeout, BodyTooLarge, TooMuchAtOnce, TooMuchFromAddress

__all__ = ["BodyMemory", "ClientGone", "RequestBody", "drain"]

_DRAIN_SECONDS: Final = 2.0
_DRAIN_BYTES: Final = 32 * 1024 * 1024


class ClientGone(Exception):
    """The client hung up in the middle of its request; there is nobody to answer."""


class BodyMemory:
    """The bytes that all bodies together may hold, and those of one client address.

    What has arrived counts, not what was announced.

    Args:
        total: bytes of all bodies.
        per_address: bytes of the bodies of one address.
    """

    __slots__ = ("_by_address", "_per_address", "_total", "held")

    def __init__(self, *, total: int, per_address: int) -> None:
        self._total = total
        self._per_address = per_address
        self._by_address: dict[str, int] = {}
        self.held = 0

    def __len__(self) -> int:
        """Addresses that hold anything."""
        return len(self._by_address)

    def take(self, address: str, count: int) -> None:
        """Counts `count` bytes more.

        Raises:
            TooMuchAtOnce, TooMuchFromAddress: they are not counted.
        """
        of_address = self._by_address.get(address, 0) + count
        if of_address > self._per_address:
            raise TooMuchFromAddress
        if self.held + count > self._total:
            raise TooMuchAtOnce
        self._by_address[address] = of_address
        self.held += count

    def give_back(self, address: str, count: int) -> None:
        """Forgets `count` bytes that were taken."""
        self.held -= count
        left = self._by_address[address] - count
        if left:
            self._by_address[address] = left
        else:
            del self._by_address[address]


class RequestBody:
    """The body of one request.

    Args:
        memory: where its bytes are counted, until `release`.
        address: under which name.
        limit: bytes at most.
        idle: seconds a client may pause.
        deadline: seconds that it may take in all.
    """

    __slots__ = ("_address", "_count", "_deadline", "_idle", "_limit", "_memory", "_receive")

    def __init__(
        self, receive: Receive, memory: BodyMemory, address: str, *, limit: int, idle: float, deadline: float
    ) -> None:
        self._receive = receive
        self._memory = memory
        self._address = address
        self._limit = limit
        self._idle = idle
        self._deadline = deadline
        self._count = 0

    async def read(self) -> bytes:
        """The whole of it.

        Raises:
            BodyTooLarge, BodyTimeout, TooMuchAtOnce, TooMuchFromAddress, ClientGone.
        """
        ends_at = time.monotonic() + self._deadline
        part, is_more = await self._next(ends_at)
        if not is_more:
            return part
        # One buffer: a client that sends byte by byte must not cost an object for each.
        whole = bytearray(part)
        while is_more:
            part, is_more = await self._next(ends_at)
            whole += part
        return bytes(whole)

    def release(self) -> None:
        """Its bytes no longer count."""
        if self._count:
            self._memory.give_back(self._address, self._count)
            self._count = 0

    async def _next(self, ends_at: float) -> tuple[bytes, bool]:
        try:
            async with asyncio.timeout(min(self._idle, ends_at - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            raise BodyTimeout from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        part: bytes = message.get("body", b"")
        if self._count + len(part) > self._limit:
            raise BodyTooLarge
        if part:
            self._memory.take(self._address, len(part))
            self._count += len(part)
        return part, message.get("more_body", False)


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
