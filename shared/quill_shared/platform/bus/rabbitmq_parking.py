"""The parking queues in RabbitMQ: looking at them, putting messages back, removing them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from ..errors import Unavailable
from .port import Parked
from .rabbitmq_link import BROKER_FAULTS, Link, settle
from .rabbitmq_queues import (
    from_wire,
    opened,
    parked_from_wire,
    parked_name,
    queue_exists,
    queue_name,
    to_wire,
)

_Visit = Callable[[AbstractChannel, AbstractIncomingMessage], Awaitable[bool]]
"""Looks at one message, which goes back to its place unless acknowledged; whether to go on."""


class ParkingQueues:
    """The parked messages of every service.

    Looking at them takes them from the queue for a moment, so two people who look at once see a
    part each; nothing is lost by it.

    Args:
        link: where to work.
        timeout: seconds to wait for the broker.
    """

    def __init__(self, link: Link, *, timeout: float) -> None:
        self._link = link
        self._timeout = timeout
        self._one_at_a_time = asyncio.Lock()

    async def all(self, service: str) -> Sequence[Parked]:
        """What is parked for `service`, oldest first."""
        found: list[Parked] = []

        async def look(_: AbstractChannel, incoming: AbstractIncomingMessage) -> bool:
            found.append(parked_from_wire(incoming))
            return True

        await self._visit(service, look)
        return found

    async def replay(self, service: str, event_id: UUID | None) -> int:
        """Puts parked messages (one, or all) back; each leaves only after its copy was confirmed."""
        taken = 0

        async def put_back(channel: AbstractChannel, incoming: AbstractIncomingMessage) -> bool:
            nonlocal taken
            message = from_wire(incoming)
            if event_id in (None, message.id):
                await channel.default_exchange.publish(
                    to_wire(message), queue_name(service), timeout=self._timeout
                )
                await incoming.ack()
                taken += 1
            return message.id != event_id

        await self._visit(service, put_back)
        return taken

    async def discard(self, service: str, event_id: UUID) -> bool:
        """Removes one parked message for good; whether it was there."""
        found = False

        async def remove(_: AbstractChannel, incoming: AbstractIncomingMessage) -> bool:
            nonlocal found
            if from_wire(incoming).id == event_id:
                await incoming.ack()
                found = True
            return not found

        await self._visit(service, remove)
        return found

    async def _visit(self, service: str, visit: _Visit) -> None:
        async with self._one_at_a_time:
            task = asyncio.create_task(self._walk(service, visit))
            try:
                await asyncio.wait({task})
            finally:
                await settle(task)
        if task.cancelled() or isinstance(task.exception(), BROKER_FAULTS):
            raise Unavailable("The event broker is not available")
        task.result()

    async def _walk(self, service: str, visit: _Visit) -> None:
        connection = await self._link.connection(self._timeout)
        name = parked_name(service)
        if not await queue_exists(connection, name):
            return
        channel = await opened(connection, returns_raise=True)
        try:
            queue = await channel.get_queue(name, ensure=False)
            # All are taken before the first is looked at: one replayed in vain soon comes back to the end.
            taken: list[AbstractIncomingMessage] = []
            while (incoming := await queue.get(fail=False, timeout=self._timeout)) is not None:
                taken.append(incoming)
            for incoming in taken:
                if not await visit(channel, incoming):
                    break
            # Tag 0 means every one not acknowledged. Closing the channel would do, but not at once.
            wire = await channel.get_underlay_channel()
            await wire.basic_nack(0, multiple=True, requeue=True)
        finally:
            await channel.close()
