"""Events inside one process, for the embedded default.

Nothing is kept here: the publisher's outbox is the store. A message is safe only when every bound
service's inbox transaction has committed or the message lies in that service's parking place, so that
killing the process at any instant loses nothing.
"""

import asyncio
import contextlib
import contextvars
import enum
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from .port import DeliveryPaused, Message, Parked, Subscription, Tap
from .reporting import about
from .taps import announce, serve

logger = logging.getLogger(__name__)

_LONGEST_PAUSE = 1.0


class _Outcome(enum.Enum):
    DELIVERED = enum.auto()
    PARKED = enum.auto()
    KEPT = enum.auto()


class _Replica:
    """One subscription, and what it has in hand."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self._slots = asyncio.Semaphore(subscription.concurrency)
        self._in_hand: set[asyncio.Task[None]] = set()
        self.stopped = False

    async def handle(self, message: Message) -> None:
        """Delivers `message` in a context of its own, as a consumer in another process would have."""
        async with self._slots:
            if self.stopped:
                raise DeliveryPaused
            task = asyncio.create_task(self._deliver(message), context=contextvars.Context())
            self._in_hand.add(task)
            task.add_done_callback(self._in_hand.discard)
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                raise
            if task.cancelled():
                raise DeliveryPaused
            task.result()

    async def _deliver(self, message: Message) -> None:
        await self.subscription.deliver(message)

    async def stop(self, grace: float) -> None:
        """Takes nothing more; ends what is still in hand after `grace` seconds."""
        self.stopped = True
        if self._in_hand:
            _, late = await asyncio.wait(self._in_hand, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


@dataclass(slots=True)
class _Queue:
    """What a service is bound to, which outlives its subscriptions, and its replicas."""

    latest: Subscription
    replicas: list[_Replica] = field(default_factory=list)
    turn: int = 0

    def next(self, type_: str) -> _Replica | None:
        """The replica whose turn it is among those that read `type_`."""
        able = [replica for replica in self.replicas if type_ in replica.subscription.types]
        if not able:
            return None
        self.turn += 1
        return able[self.turn % len(able)]


class _Tapped:
    """A tap with its queue and the tasks that serve it."""

    def __init__(self, tap: Tap) -> None:
        self.types = tap.types
        self.queue: asyncio.Queue[Message] = asyncio.Queue()
        context = contextvars.Context()
        self._tasks = (
            asyncio.create_task(serve(tap, self.queue), context=context),
            asyncio.create_task(announce(tap), context=context.copy()),
        )

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Hub:
    """What the transports of one process share."""

    def __init__(self, expected: frozenset[str], retry_pause: float, grace: float) -> None:
        self.expected = expected
        self.retry_pause = retry_pause
        self.grace = grace
        self.queues: dict[str, _Queue] = {}
        self.taps: list[_Tapped] = []

    @property
    def complete(self) -> bool:
        return self.expected <= self.queues.keys()

    async def offer_in_order(self, queue: _Queue, messages: Sequence[Message]) -> int:
        """Delivers `messages` one after the other; how many are safe before the first that is not."""
        for safe, message in enumerate(messages):
            if await self.deliver(queue, message) is _Outcome.KEPT:
                return safe
        return len(messages)

    async def deliver(self, queue: _Queue, message: Message) -> _Outcome:
        """Delivers `message` to a replica, again after a failure, and parks it at the limit."""
        failures = 0
        while True:
            replica = queue.next(message.type)
            if replica is None:
                return _Outcome.KEPT
            try:
                await replica.handle(message)
            except DeliveryPaused:
                return _Outcome.KEPT
            except Exception as error:  # noqa: BLE001 - any failure counts; its text may hold patient data
                failures += 1
                subscription, reason = replica.subscription, type(error).__name__
            else:
                return _Outcome.DELIVERED
            logger.warning(
                "delivery failed",
                extra=about(message, subscription.service) | {"error_type": reason, "attempt": failures},
            )
            if failures >= subscription.delivery_limit:
                return await self._park(subscription, message, f"{reason} after {failures} deliveries")
            await asyncio.sleep(min(self.retry_pause * 2 ** (failures - 1), _LONGEST_PAUSE))

    async def _park(self, subscription: Subscription, message: Message, reason: str) -> _Outcome:
        try:
            await subscription.parking.add(Parked(message, reason))
        except Exception as error:  # noqa: BLE001 - not parked, so not safe: its publisher keeps it
            logger.error(
                "message not parked",
                extra=about(message, subscription.service) | {"error_type": type(error).__name__},
            )
            return _Outcome.KEPT
        logger.error("message parked", extra=about(message, subscription.service) | {"reason": reason})
        return _Outcome.PARKED


class EmbeddedTransport:
    """A `Transport` between the services of one process.

    Args:
        expected: the services that must have subscribed once before anything is taken; until then
            `publish` answers False throughout, as a broker's durable queue would not exist yet.
        retry_pause: seconds before the second delivery of a message that failed; doubles each time.
        grace: seconds that `stop_consuming` waits for deliveries in hand before it ends them.

    A service stays bound to the types of its latest subscription when its last replica has gone:
    messages of these types are then not safe, and stay with their publisher.

    Example:
        bus = EmbeddedTransport(expected=frozenset({"auth", "orgs"}))
        auth, orgs = bus.join(), bus.join()
    """

    def __init__(
        self, *, expected: frozenset[str] = frozenset(), retry_pause: float = 0.01, grace: float = 20.0
    ) -> None:
        self._hub = _Hub(expected, retry_pause, grace)
        self._started = False
        self._closed = False
        self._replicas: list[_Replica] = []
        self._taps: list[_Tapped] = []

    def join(self) -> "EmbeddedTransport":
        """A further transport on the same bus, with a life of its own, as a process of its own would have."""
        other = EmbeddedTransport()
        other._hub = self._hub
        return other

    @property
    def name(self) -> str:
        """`embedded`."""
        return "embedded"

    @property
    def connected(self) -> bool:
        """Whether this transport runs and every expected service has subscribed."""
        return self._started and not self._closed and self._hub.complete

    async def start(self) -> None:
        """Opens for publishing."""
        self._started = True

    async def publish(self, messages: Sequence[Message]) -> Sequence[bool]:
        """Delivers `messages`, in order within a service and to different services at once."""
        if not self.connected:
            return [False] * len(messages)
        for tapped in self._hub.taps:
            for message in messages:
                if message.type in tapped.types:
                    tapped.queue.put_nowait(message)
        bound = [
            (queue, [n for n, message in enumerate(messages) if message.type in queue.latest.types])
            for queue in self._hub.queues.values()
        ]
        bound = [(queue, numbers) for queue, numbers in bound if numbers]
        safe = [True] * len(messages)
        async with asyncio.TaskGroup() as group:
            offers = [
                (
                    numbers,
                    group.create_task(self._hub.offer_in_order(queue, [messages[n] for n in numbers])),
                )
                for queue, numbers in bound
            ]
        for numbers, task in offers:
            for n in numbers[task.result() :]:
                safe[n] = False
        return safe

    async def subscribe(self, subscription: Subscription) -> None:
        """Adds a replica of `subscription.service`, which is from now on bound to exactly its types."""
        replica = _Replica(subscription)
        self._replicas.append(replica)
        queue = self._hub.queues.setdefault(subscription.service, _Queue(subscription))
        queue.latest = subscription
        queue.replicas.append(replica)

    async def tap(self, tap: Tap) -> None:
        """Starts a private queue; `tap.connected()` is awaited in the background."""
        tapped = _Tapped(tap)
        self._taps.append(tapped)
        self._hub.taps.append(tapped)

    async def parked(self, service: str) -> Sequence[Parked]:
        """What lies in the parking place of `service`, oldest first."""
        queue = self._hub.queues.get(service)
        return await queue.latest.parking.all() if queue else []

    async def replay(self, service: str, event_id: UUID | None = None) -> int:
        """Delivers parked messages again. One that fails again stays parked and is not counted."""
        queue = self._hub.queues.get(service)
        if queue is None:
            return 0
        taken = 0
        for parked in await queue.latest.parking.all():
            if event_id not in (None, parked.message.id):
                continue
            outcome = await self._hub.deliver(queue, parked.message)
            if outcome is _Outcome.KEPT:
                break
            if outcome is _Outcome.DELIVERED:
                taken += await queue.latest.parking.remove(parked.message.id)
        return taken

    async def discard(self, service: str, event_id: UUID) -> bool:
        """Removes one parked message for good; whether it was there."""
        queue = self._hub.queues.get(service)
        return await queue.latest.parking.remove(event_id) if queue else False

    async def stop_consuming(self) -> None:
        """Takes no further messages on this transport and waits for the deliveries in hand."""
        replicas, self._replicas = self._replicas, []
        taps, self._taps = self._taps, []
        for queue in self._hub.queues.values():
            queue.replicas = [replica for replica in queue.replicas if replica not in replicas]
        for tapped in taps:
            with contextlib.suppress(ValueError):
                self._hub.taps.remove(tapped)
        await asyncio.gather(*(replica.stop(self._hub.grace) for replica in replicas))
        await asyncio.gather(*(tapped.stop() for tapped in taps))

    async def close(self) -> None:
        """Stops consuming; `publish` answers False from now on."""
        self._closed = True
        await self.stop_consuming()
