"""Consuming from RabbitMQ: a service's durable queue, and a process's transient one."""

import asyncio
import contextlib
import contextvars
import enum
import logging
from typing import Final

from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue

from ..identifiers import new_id
from .port import DeliveryPaused, Message, Subscription, Tap
from .rabbitmq_link import BROKER_FAULTS, Link, settle
from .rabbitmq_queues import (
    declare_exchange,
    declare_queues,
    failures_so_far,
    from_wire,
    opened,
    queue_name,
    to_wire,
)
from .reporting import about
from .taps import announce, serve

logger = logging.getLogger(__name__)

_CANCEL_SECONDS: Final = 5.0
_CONFIRM_SECONDS: Final = 10.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_LONGEST_RETRY_PAUSE: Final = 1.0


class _Verdict(enum.Enum):
    DONE = enum.auto()
    FAILED = enum.auto()
    HELD_TOO_LONG = enum.auto()
    LEFT = enum.auto()


async def _until_ended(channel: AbstractChannel) -> None:
    """Returns when the broker has ended the channel or its consumer."""
    wire = await channel.get_underlay_channel()
    ended = asyncio.Event()
    wire.on_consumer_cancel_callbacks.add(lambda _: ended.set())
    wire.closing.add_done_callback(lambda _: ended.set())
    await ended.wait()


class QueueConsumer:
    """One subscription on its durable queue.

    A delivery runs in a task that the loss of the channel does not end: its effect may be about to
    commit. The message then comes again, and the inbox knows it.

    Args:
        link: where it consumes.
        retry_pause: seconds a message that failed for the first time is held before it goes back;
            doubles with each failure.
        renew_after: seconds a message is held while deliveries are paused. Then a copy takes its
            place at the end of the queue: the broker ends a consumer that holds a message for half an
            hour, and would count that as a failure.
    """

    def __init__(
        self, subscription: Subscription, link: Link, *, exchange: str, retry_pause: float, renew_after: float
    ) -> None:
        self.bound = False
        """Whether the queue and its bindings have been there since this process started."""
        self._subscription = subscription
        self._exchange = exchange
        self._retry_pause = retry_pause
        self._renew_after = renew_after
        self._slots = asyncio.Semaphore(subscription.concurrency)
        self._in_hand: set[asyncio.Task[None]] = set()
        self._at_work: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._pause = _FIRST_PAUSE
        self._channel: AbstractChannel | None = None
        self._consumer: tuple[AbstractQueue, str] | None = None
        self._holding = link.hold(self._work)

    @property
    def consuming(self) -> bool:
        """Whether messages come at this moment."""
        return self._consumer is not None and self._channel is not None and not self._channel.is_closed

    async def stop(self, grace: float) -> None:
        """Takes nothing more, waits up to `grace` seconds for what is in hand, returns the rest."""
        self._stopped = True
        if self._consumer is not None:
            queue, tag = self._consumer
            cancelling = asyncio.create_task(self._cancel(queue, tag))
            await asyncio.wait({cancelling})
        await settle(*(self._in_hand - self._at_work))
        if self._at_work:
            await asyncio.wait(self._at_work, timeout=grace)
        await settle(*self._in_hand)
        # Closing the channel gives back to the queue whatever was not acknowledged.
        await settle(self._holding)

    async def _cancel(self, queue: AbstractQueue, tag: str) -> None:
        with contextlib.suppress(*BROKER_FAULTS):
            await queue.cancel(tag, timeout=_CANCEL_SECONDS)

    async def _work(self, connection: AbstractConnection) -> None:
        channel = await opened(connection, returns_raise=True)
        try:
            await declare_exchange(channel, self._exchange)
            await declare_queues(connection, self._exchange, self._subscription)
            self.bound = True
            await channel.set_qos(prefetch_count=self._subscription.concurrency)
            queue = await channel.get_queue(queue_name(self._subscription.service), ensure=False)
            self._channel = channel
            self._consumer = (queue, await queue.consume(self._take))
            await _until_ended(channel)
        finally:
            self._channel = self._consumer = None
            await channel.close()

    async def _take(self, incoming: AbstractIncomingMessage) -> None:
        if self._stopped:
            return
        task = asyncio.create_task(self._handle(incoming), context=contextvars.Context())
        self._in_hand.add(task)
        task.add_done_callback(self._in_hand.discard)
        task.add_done_callback(self._at_work.discard)

    async def _handle(self, incoming: AbstractIncomingMessage) -> None:
        message = from_wire(incoming)
        async with self._slots:
            verdict = await self._deliver(message)
            while verdict is _Verdict.HELD_TOO_LONG and not await self._renewed(message):
                verdict = await self._deliver(message)
            # A channel that is gone has given the message back already.
            with contextlib.suppress(*BROKER_FAULTS):
                if verdict is _Verdict.LEFT:
                    return
                if verdict is _Verdict.FAILED:
                    pause = self._retry_pause * 2 ** min(failures_so_far(incoming), 16)
                    await asyncio.sleep(min(pause, _LONGEST_RETRY_PAUSE))
                    # Not nack: from RabbitMQ 4.3 only a reject counts towards the delivery limit.
                    await incoming.reject(requeue=True)
                else:
                    await incoming.ack()

    async def _deliver(self, message: Message) -> _Verdict:
        """Offers `message` until it is handled or has failed; a pause is no failure."""
        if message.type in self._subscription.retired:
            return _Verdict.DONE
        if message.type not in self._subscription.types:
            # A newer replica has bound the queue to it, and must get it.
            return self._failed(message, "UnknownType")
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        renew_at = loop.time() + self._renew_after
        while True:
            await self._resumed.wait()
            self._at_work.add(task)
            try:
                await self._subscription.deliver(message)
            except DeliveryPaused:
                self._at_work.discard(task)
                if self._stopped:
                    return _Verdict.LEFT
                self._hold_off()
                if loop.time() >= renew_at:
                    return _Verdict.HELD_TOO_LONG
            except Exception as error:  # noqa: BLE001 - any failure counts; its text may hold patient data
                self._at_work.discard(task)
                return self._failed(message, type(error).__name__)
            else:
                self._pause = _FIRST_PAUSE
                return _Verdict.DONE

    def _failed(self, message: Message, reason: str) -> _Verdict:
        logger.warning(
            "delivery failed", extra=about(message, self._subscription.service) | {"error_type": reason}
        )
        return _Verdict.FAILED

    def _hold_off(self) -> None:
        """Begins no delivery for a while, longer each time in a row."""
        if self._resumed.is_set():
            self._resumed.clear()
            asyncio.get_running_loop().call_later(self._pause, self._resumed.set)
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    async def _renewed(self, message: Message) -> bool:
        """Puts a copy of `message` at the end of the queue; whether the broker has it."""
        if self._channel is None:
            return False
        queue = queue_name(self._subscription.service)
        try:
            await self._channel.default_exchange.publish(to_wire(message), queue, timeout=_CONFIRM_SECONDS)
        except BROKER_FAULTS:
            return False
        return True


class TapConsumer:
    """One tap on an exclusive queue that goes with the connection."""

    def __init__(self, tap: Tap, link: Link, *, exchange: str) -> None:
        self._tap = tap
        self._exchange = exchange
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._channel: AbstractChannel | None = None
        self._serving = asyncio.create_task(serve(tap, self._messages), context=contextvars.Context())
        self._holding = link.hold(self._work)

    @property
    def consuming(self) -> bool:
        """Whether messages come at this moment."""
        return self._channel is not None and not self._channel.is_closed

    async def stop(self) -> None:
        """Takes and hands on nothing more."""
        await settle(self._holding, self._serving)

    async def _work(self, connection: AbstractConnection) -> None:
        channel = await opened(connection)
        try:
            await declare_exchange(channel, self._exchange)
            queue = await channel.declare_queue(
                f"quill.tap.{new_id()}",
                exclusive=True,
                auto_delete=True,
                arguments={"x-queue-type": "classic"},
            )
            for type_ in sorted(self._tap.types):
                await queue.bind(self._exchange, type_)
            await queue.consume(self._take, no_ack=True)
            self._channel = channel
            announcing = asyncio.create_task(announce(self._tap), context=contextvars.Context())
            try:
                await _until_ended(channel)
            finally:
                await settle(announcing)
        finally:
            self._channel = None
            await channel.close()

    async def _take(self, incoming: AbstractIncomingMessage) -> None:
        self._messages.put_nowait(from_wire(incoming))
