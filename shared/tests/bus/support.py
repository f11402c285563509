"""What the contract suite needs of a bus, and the consumers it plays."""

import asyncio
import itertools
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from quill_shared.platform.bus import Message, Parked, ParkingPlace, Subscription, Tap, Transport

Settings = Any


class Bus(Protocol):
    """One bus under test, on which processes come and go."""

    async def process(self, *, expected: frozenset[str] = frozenset()) -> Transport:
        """A started transport, as a process of its own would have."""

    def service(self, name: str) -> str:
        """The name under which this test's service `name` is known, where brokers are shared."""


class MemoryParking:
    """A parking place for a transport that wants one."""

    def __init__(self) -> None:
        self.kept: dict[uuid.UUID, Parked] = {}

    async def add(self, parked: Parked) -> None:
        self.kept.setdefault(parked.message.id, parked)

    async def all(self) -> Sequence[Parked]:
        return list(self.kept.values())

    async def remove(self, event_id: uuid.UUID) -> bool:
        return self.kept.pop(event_id, None) is not None


class Recorder:
    """A consumer that remembers what it was given, and does `then` with it first."""

    def __init__(self, then: Callable[[Message], Awaitable[None]] | None = None) -> None:
        self.offered: list[Message] = []
        self.handled: list[Message] = []
        self._then = then

    async def __call__(self, message: Message) -> None:
        self.offered.append(message)
        if self._then is not None:
            await self._then(message)
        self.handled.append(message)

    @property
    def ids(self) -> list[uuid.UUID]:
        return [message.id for message in self.handled]


def failing(times: int | None, error: Exception | None = None) -> Callable[[Message], Awaitable[None]]:
    """A `then` that fails `times` times (None: always) before it lets messages pass."""
    numbers = itertools.count()

    async def fail(_: Message) -> None:
        if times is None or next(numbers) < times:
            raise error or ValueError("no")

    return fail


def message(type_: str = "a.happened.v1", body: bytes = b"{}") -> Message:
    return Message(uuid.uuid4(), type_, body)


def subscription(
    service: str,
    deliver: Callable[[Message], Awaitable[None]],
    *types: str,
    parking: ParkingPlace | None = None,
    **settings: Settings,
) -> Subscription:
    return Subscription(
        service,
        frozenset(types or {"a.happened.v1"}),
        deliver,
        parking or MemoryParking(),
        **settings,
    )


def tap(deliver: Callable[[Message], Awaitable[None]], connected: Callable[[], Awaitable[None]]) -> Tap:
    return Tap(frozenset({"a.happened.v1"}), deliver, connected)


async def until(condition: Callable[[], object], *, seconds: float = 15.0) -> None:
    """Waits for `condition` to hold."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        await asyncio.sleep(0.01)


async def until_parked(transport: Transport, service: str, count: int) -> Sequence[Parked]:
    """Waits for `count` messages in the parking place of `service`."""
    deadline = time.monotonic() + 15.0
    while len(parked := await transport.parked(service)) != count:
        assert time.monotonic() < deadline, f"{len(parked)} parked instead of {count}"
        await asyncio.sleep(0.05)
    return parked


async def relay(transport: Transport, messages: Sequence[Message]) -> None:
    """Offers `messages` until each is safe, as the relay of an outbox does."""
    deadline = time.monotonic() + 30.0
    waiting = list(messages)
    while waiting:
        assert time.monotonic() < deadline, f"{len(waiting)} messages were never safe"
        safe = await transport.publish(waiting)
        waiting = [message for message, ok in zip(waiting, safe, strict=True) if not ok]
        if waiting:
            await asyncio.sleep(0.05)
