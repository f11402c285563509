"""What is declared in RabbitMQ, and how its messages are read.

    quill.events             topic exchange, durable
    quill.<service>          quorum queue, bound to exactly the types the service reads
    quill.<service>.parked   quorum queue for what was given up on

Both queues outlive every process. The parked one is declared after the bindings: whoever sees it may
publish. A delivery limit on it is out of reach, because reading the list counts as a delivery and
RabbitMQ 4 would drop a message after twenty of them.
"""

import hashlib
import logging
from typing import Any, Final
from uuid import UUID

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from ..events import MEDIA_TYPE
from .port import Message, Parked, Subscription

logger = logging.getLogger(__name__)

_OUT_OF_REACH: Final = 1_000_000_000


def queue_name(service: str) -> str:
    """The queue of a service."""
    return f"quill.{service}"


def parked_name(service: str) -> str:
    """The queue of what a service gave up on."""
    return f"quill.{service}.parked"


def to_wire(message: Message) -> aio_pika.Message:
    """`message` as RabbitMQ keeps it: persistent, its type beside it, nothing of its content in headers."""
    return aio_pika.Message(
        message.body,
        content_type=MEDIA_TYPE,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=str(message.id),
        type=message.type,
    )


def from_wire(incoming: AbstractIncomingMessage) -> Message:
    """The message in `incoming`; one that came without our properties gets an id made of its content."""
    try:
        event_id = UUID(incoming.message_id)
    except (AttributeError, TypeError, ValueError):
        event_id = UUID(bytes=hashlib.sha256(incoming.body).digest()[:16])
    return Message(event_id, incoming.type or incoming.routing_key or "", incoming.body)


def parked_from_wire(incoming: AbstractIncomingMessage) -> Parked:
    """The parked message in `incoming`, with the broker's reason, e.g. `delivery_limit`."""
    return Parked(from_wire(incoming), str(incoming.headers.get("x-first-death-reason", "unknown")))


def failures_so_far(incoming: AbstractIncomingMessage) -> int:
    """Failed deliveries before this one, as the broker counts them."""
    count = incoming.headers.get("x-delivery-count", 0)
    return count if isinstance(count, int) else 0


async def opened(connection: AbstractConnection, *, returns_raise: bool = False) -> AbstractChannel:
    """A channel with publisher confirms."""
    channel = connection.channel(publisher_confirms=True, on_return_raises=returns_raise)
    await channel.initialize()
    return channel


async def declare_exchange(channel: AbstractChannel, exchange: str) -> None:
    """The exchange of all events."""
    await channel.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, durable=True)


async def declare_queues(connection: AbstractConnection, exchange: str, subscription: Subscription) -> None:
    """A service's queue with its bindings, and its parking queue.

    AMQP cannot list bindings, so none is guessed to be stale: what a service no longer reads is
    unbound by name (`Subscription.retired`), which holds in the middle of a rolling release too.
    """
    queue, parked = queue_name(subscription.service), parked_name(subscription.service)
    await _declare_queue(
        connection,
        queue,
        {
            "x-queue-type": "quorum",
            # The broker gives up when a message's failures exceed the limit, we when they reach it.
            "x-delivery-limit": subscription.delivery_limit - 1,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": parked,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        },
    )
    channel = await opened(connection)
    try:
        bound = await channel.get_queue(queue)
        for type_ in sorted(subscription.types):
            await bound.bind(exchange, type_)
        for type_ in sorted(subscription.retired - subscription.types):
            await bound.unbind(exchange, type_)
    finally:
        await channel.close()
    await _declare_queue(connection, parked, {"x-queue-type": "quorum", "x-delivery-limit": _OUT_OF_REACH})


async def _declare_queue(connection: AbstractConnection, name: str, arguments: dict[str, Any]) -> None:
    """Declares a durable queue; one that exists with other arguments is used as it is."""
    channel = await opened(connection)
    try:
        await channel.declare_queue(name, durable=True, arguments=arguments)
    except ChannelPreconditionFailed:
        logger.error(
            "queue exists with other arguments, which only deleting it changes", extra={"queue": name}
        )
    finally:
        await channel.close()


async def queue_exists(connection: AbstractConnection, queue: str) -> bool:
    """Whether somebody has declared `queue`."""
    channel = await opened(connection)
    try:
        await channel.declare_queue(queue, passive=True)
    except ChannelNotFoundEntity:
        return False
    finally:
        await channel.close()
    return True
