"""Events through RabbitMQ (3.10 or later)."""

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange

from .port import Message, Parked, Subscription, Tap
from .rabbitmq_consumer import QueueConsumer, TapConsumer
from .rabbitmq_link import Link, settle
from .rabbitmq_parking import ParkingQueues
from .rabbitmq_queues import declare_exchange, opened, parked_name, queue_exists, to_wire

_EXPECTED_SECONDS: Final = 0.5
_WATCH_SECONDS: Final = 1.0


class _Publisher:
    """The channel on which events leave."""

    def __init__(self, link: Link, *, exchange: str, expected: frozenset[str]) -> None:
        self._exchange_name = exchange
        self._expected = expected
        self._channel: AbstractChannel | None = None
        self._exchange: AbstractExchange | None = None
        self._blocked = False
        self._holding = link.hold(self._work)

    @property
    def exchange(self) -> AbstractExchange | None:
        """Where to publish at this moment; None when nothing can be published."""
        if self._channel is None or self._channel.is_closed or self._blocked:
            return None
        return self._exchange

    async def stop(self) -> None:
        await settle(self._holding)

    async def _work(self, connection: AbstractConnection) -> None:
        channel = await opened(connection)
        try:
            await declare_exchange(channel, self._exchange_name)
            for service in sorted(self._expected):
                while not await queue_exists(connection, parked_name(service)):  # noqa: ASYNC110
                    await asyncio.sleep(_EXPECTED_SECONDS)
            self._exchange = await channel.get_exchange(self._exchange_name, ensure=False)
            self._channel = channel
            await self._watch(connection, channel)
        finally:
            self._channel = self._exchange = None
            await channel.close()

    async def _watch(self, connection: AbstractConnection, channel: AbstractChannel) -> None:
        """Follows whether the broker has blocked the connection (memory or disk alarm)."""
        self._blocked = False
        closed = asyncio.ensure_future(channel.closed())
        try:
            while connection.transport is not None:
                done, _ = await asyncio.wait({closed}, timeout=_WATCH_SECONDS)
                if done:
                    return
                try:
                    async with asyncio.timeout(0.05):
                        await connection.transport.ready()
                    self._blocked = False
                except TimeoutError:
                    self._blocked = True
        finally:
            closed.cancel()


class RabbitMQTransport:
    """A `Transport` on one topic exchange, a durable quorum queue per service and its parking queue.

    Publishing and consuming have a connection each, because a broker short of memory stops reading
    from those who publish, and acknowledgements must still get through. Both are opened again by
    themselves, for ever.

    Args:
        url: `amqp://` or `amqps://`; never logged.
        exchange: of all events.
        expected: services whose queues must exist before anything is published, so that in a new
            installation no event is lost between a publisher's start and a consumer's.
        confirm_timeout: seconds to wait for the broker's confirms before a message counts as not safe.
        retry_pause, renew_after: see `QueueConsumer`.
        grace: seconds that `stop_consuming` waits for deliveries in hand before it ends them.
        heartbeat: seconds; a silent broker is given up after three of them.
    """

    def __init__(
        self,
        url: str,
        *,
        exchange: str = "quill.events",
        expected: frozenset[str] = frozenset(),
        confirm_timeout: float = 10.0,
        retry_pause: float = 0.05,
        renew_after: float = 600.0,
        grace: float = 20.0,
        heartbeat: int = 5,
    ) -> None:
        self._exchange = exchange
        self._expected = expected
        self._confirm_timeout = confirm_timeout
        self._retry_pause = retry_pause
        self._renew_after = renew_after
        self._grace = grace
        self._publishing = Link(url, name="quill publishing", heartbeat=heartbeat)
        self._consuming = Link(url, name="quill consuming", heartbeat=heartbeat)
        self._parking = ParkingQueues(self._publishing, timeout=confirm_timeout)
        self._publisher: _Publisher | None = None
        self._consumers: list[QueueConsumer] = []
        self._taps: list[TapConsumer] = []

    @property
    def name(self) -> str:
        """`rabbitmq`."""
        return "rabbitmq"

    @property
    def connected(self) -> bool:
        """Whether this process can publish, and receives on every subscription and tap it has."""
        return (
            self._publisher is not None
            and self._publisher.exchange is not None
            and all(consumer.consuming for consumer in self._consumers)
            and all(tap.consuming for tap in self._taps)
        )

    async def start(self) -> None:
        """Begins to connect, and goes on trying."""
        if self._publisher is None:
            self._publisher = _Publisher(self._publishing, exchange=self._exchange, expected=self._expected)

    async def publish(self, messages: Sequence[Message]) -> Sequence[bool]:
        """Writes `messages` one after the other on one channel, then awaits their confirms.

        False means not confirmed: refused, or lost from sight. Never raises for a fault of the broker.
        """
        exchange = self._publisher.exchange if self._publisher is not None else None
        if not messages or exchange is None or not all(consumer.bound for consumer in self._consumers):
            return [False] * len(messages)
        # The tasks begin, and so queue for the channel, in the order they are made.
        offers = [
            asyncio.create_task(exchange.publish(to_wire(message), message.type, mandatory=True))
            for message in messages
        ]
        try:
            await asyncio.wait(offers, timeout=self._confirm_timeout)
        finally:
            for offer in offers:
                offer.cancel()
            outcomes = await asyncio.gather(*offers, return_exceptions=True)
        return [not isinstance(outcome, BaseException) for outcome in outcomes]

    async def subscribe(self, subscription: Subscription) -> None:
        """Declares the service's queue, binds and consumes it; now or when the broker can be reached."""
        self._consumers.append(
            QueueConsumer(
                subscription,
                self._consuming,
                exchange=self._exchange,
                retry_pause=self._retry_pause,
                renew_after=self._renew_after,
            )
        )

    async def tap(self, tap: Tap) -> None:
        """Starts a private queue; now or when the broker can be reached."""
        self._taps.append(TapConsumer(tap, self._consuming, exchange=self._exchange))

    async def parked(self, service: str) -> Sequence[Parked]:
        """What is parked for `service`, oldest first.

        Raises:
            Unavailable: the broker cannot be reached.
        """
        return await self._parking.all(service)

    async def replay(self, service: str, event_id: UUID | None = None) -> int:
        """Puts parked messages (one, or all) back into the service's queue.

        A message leaves the parking queue only after its copy was confirmed.

        Raises:
            Unavailable: the broker cannot be reached, or did not take a copy.
        """
        return await self._parking.replay(service, event_id)

    async def discard(self, service: str, event_id: UUID) -> bool:
        """Removes one parked message for good; whether it was there.

        Raises:
            Unavailable: the broker cannot be reached.
        """
        return await self._parking.discard(service, event_id)

    async def stop_consuming(self) -> None:
        """Takes no further messages and waits for the deliveries in hand; publishing goes on."""
        consumers, self._consumers = self._consumers, []
        taps, self._taps = self._taps, []
        await asyncio.gather(
            *(consumer.stop(self._grace) for consumer in consumers), *(tap.stop() for tap in taps)
        )

    async def close(self) -> None:
        """Stops consuming and closes both connections."""
        await self.stop_consuming()
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            await publisher.stop()
        await asyncio.gather(self._publishing.close(), self._consuming.close())
