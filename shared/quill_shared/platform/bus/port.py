"""What a transport of events must do. RabbitMQ and the embedded one both pass its contract suite."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Message:
    """An event on the wire: its id, its routing key and the CloudEvents document."""

    id: UUID
    type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Parked:
    """A message that was given up on, kept until a person decides."""

    message: Message
    reason: str


class ParkingPlace(Protocol):
    """Where a transport without a broker keeps what it gave up on: the consuming service's database."""

    async def add(self, parked: Parked) -> None:
        """Keeps `parked` durably; a second time for one message changes nothing."""

    async def all(self) -> Sequence[Parked]:
        """Everything kept, oldest first."""

    async def remove(self, event_id: UUID) -> bool:
        """Forgets one message; whether it was there."""


class DeliveryPaused(Exception):
    """The consumer cannot work now (its database is away): keep the message, count nothing, try again."""


Deliver = Callable[[Message], Awaitable[None]]
"""Handles one message. Returning means its effect is committed; `DeliveryPaused` means later; any other
exception is a failed delivery."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A durable queue of a service, shared by its replicas.

    Args:
        service: names the queue, `quill.<service>`, and its parking place.
        types: the routing keys it is bound to; exactly these.
        delivery_limit: failed deliveries before a message is parked.
        concurrency: messages of this subscription handled at once.
        parking: used by a transport that has no parking queue of its own.
        retired: types that an earlier release read and this one does not; a durable queue is unbound
            from them. A type may leave this list one release later.
    """

    service: str
    types: frozenset[str]
    deliver: Deliver
    parking: ParkingPlace
    delivery_limit: int = 5
    concurrency: int = 8
    retired: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Tap:
    """A private, transient queue of one process (revocations).

    `connected` is awaited whenever the tap has (again) begun to receive, so that what was missed can
    be fetched from its owner.
    """

    types: frozenset[str]
    deliver: Deliver
    connected: Callable[[], Awaitable[None]]


class Transport(Protocol):
    """A bus of events with at-least-once delivery."""

    @property
    def name(self) -> str:
        """`rabbitmq` or `embedded`, as health reports it."""

    @property
    def connected(self) -> bool:
        """Whether events can flow at this moment."""

    async def start(self) -> None:
        """Begins to connect; returns without waiting for success."""

    async def publish(self, messages: Sequence[Message]) -> Sequence[bool]:
        """Offers `messages` in order; answers for each whether it is safe with the bus.

        A message that is not safe must be offered again. Messages nobody is bound to are safe.
        """

    async def subscribe(self, subscription: Subscription) -> None:
        """Starts consuming. Bindings survive the process where the transport is durable."""

    async def tap(self, tap: Tap) -> None:
        """Starts a private queue."""

    async def parked(self, service: str) -> Sequence[Parked]:
        """What is parked for `service`, oldest first."""

    async def replay(self, service: str, event_id: UUID | None = None) -> int:
        """Delivers parked messages (one, or all) again; answers how many were taken out."""

    async def discard(self, service: str, event_id: UUID) -> bool:
        """Removes one parked message for good; whether it was there."""

    async def stop_consuming(self) -> None:
        """Takes no further messages and waits for the deliveries in hand."""

    async def close(self) -> None:
        """Stops everything."""
