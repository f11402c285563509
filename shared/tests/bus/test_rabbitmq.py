"""What only a broker can do to us: be away, go away, come back, refuse, forget."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aio_pika
import pytest

from quill_embedded.rabbitmq import RABBITMQ_SERVER, LocalRabbitMQ
from quill_shared.platform.bus import DeliveryPaused, Message, RabbitMQTransport
from quill_shared.platform.errors import Unavailable

from .conftest import RabbitMQBus
from .proxy import Proxy
from .support import Recorder, failing, message, relay, subscription, tap, until, until_parked

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
async def proxy(rabbitmq_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(rabbitmq_url) as proxy:
        yield proxy


@pytest.fixture
async def channel(rabbitmq_url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    connection = await aio_pika.connect(rabbitmq_url)
    async with connection, connection.channel() as channel:
        yield channel


def through(proxy: Proxy, bus: RabbitMQBus, *, confirm_timeout: float = 10.0) -> RabbitMQTransport:
    """A transport that reaches the broker through `proxy`."""
    transport = RabbitMQTransport(
        proxy.url,
        exchange=bus.exchange,
        confirm_timeout=confirm_timeout,
        retry_pause=0.001,
        grace=1.0,
        heartbeat=1,
    )
    bus.processes.append(transport)
    return transport


async def nothing() -> None:
    """What a tap does that has nothing to catch up with."""


async def test_it_starts_without_a_broker_and_connects_when_there_is_one(
    rabbitmq_bus: RabbitMQBus, proxy: Proxy
) -> None:
    await proxy.cut()
    transport, received = through(proxy, rabbitmq_bus, confirm_timeout=0.2), Recorder()
    async with asyncio.timeout(1):
        await transport.start()
        await transport.subscribe(subscription(rabbitmq_bus.service("orgs"), received))
        await transport.tap(tap(received, nothing))
        assert not transport.connected
        assert list(await transport.publish([message(), message()])) == [False, False]
        with pytest.raises(Unavailable):
            await transport.parked("orgs")

    await proxy.open()

    await until(lambda: transport.connected)
    assert list(await transport.publish([message()])) == [True]
    await until(lambda: len(received.handled) == 2)


async def test_it_can_be_closed_while_the_broker_is_away(rabbitmq_bus: RabbitMQBus, proxy: Proxy) -> None:
    await proxy.cut()
    transport = through(proxy, rabbitmq_bus)
    await transport.start()
    await transport.subscribe(subscription(rabbitmq_bus.service("orgs"), Recorder()))
    await asyncio.sleep(0.2)

    async with asyncio.timeout(2):
        await transport.close()


async def test_a_lost_connection_is_seen_at_once_and_mended(rabbitmq_bus: RabbitMQBus, proxy: Proxy) -> None:
    transport, received, tapped = through(proxy, rabbitmq_bus), Recorder(), Recorder()
    announced = 0

    async def connected() -> None:
        nonlocal announced
        announced += 1

    service = rabbitmq_bus.service("orgs")
    await transport.start()
    await transport.subscribe(subscription(service, received))
    await transport.tap(tap(tapped, connected))
    await until(lambda: transport.connected and announced == 1)

    await proxy.cut()
    await until(lambda: not transport.connected, seconds=1)
    began = time.monotonic()
    assert list(await transport.publish([message()])) == [False]
    assert time.monotonic() - began < 1
    await proxy.open()
    await until(lambda: transport.connected)

    await until(lambda: announced == 2)
    event = message()
    assert list(await transport.publish([event])) == [True]
    await until(lambda: received.ids == [event.id] == tapped.ids)
    assert await transport.parked(service) == []


async def test_a_delivery_outlives_the_connection_and_comes_again(
    rabbitmq_bus: RabbitMQBus, proxy: Proxy
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(_: Message) -> None:
        begun.set()
        await go_on.wait()

    publisher = await rabbitmq_bus.process()
    transport, received = through(proxy, rabbitmq_bus), Recorder(work)
    await transport.start()
    await transport.subscribe(subscription(rabbitmq_bus.service("orgs"), received))
    await until(lambda: publisher.connected and transport.connected)
    event = message()
    await relay(publisher, [event])
    await asyncio.wait_for(begun.wait(), 5)

    await proxy.cut()
    await until(lambda: not transport.connected)
    go_on.set()
    await until(lambda: received.ids == [event.id])
    await proxy.open()

    await until(lambda: received.ids == [event.id, event.id])


async def test_a_broker_that_does_not_confirm_makes_nothing_safe(
    rabbitmq_bus: RabbitMQBus, proxy: Proxy
) -> None:
    transport, received = through(proxy, rabbitmq_bus, confirm_timeout=0.3), Recorder()
    await transport.start()
    await transport.subscribe(subscription(rabbitmq_bus.service("orgs"), received))
    await until(lambda: transport.connected)

    proxy.stall()
    began = time.monotonic()
    assert list(await transport.publish([message() for _ in range(50)])) == [False] * 50
    assert time.monotonic() - began < 2

    proxy.flow()
    event = message()
    await relay(transport, [event])
    await until(lambda: event.id in received.ids)


async def test_a_silent_broker_is_given_up(rabbitmq_bus: RabbitMQBus, proxy: Proxy) -> None:
    transport = through(proxy, rabbitmq_bus)
    await transport.start()
    await until(lambda: transport.connected)

    proxy.stall()

    await until(lambda: not transport.connected, seconds=12)
    proxy.flow()
    await until(lambda: transport.connected)


@pytest.mark.timeout(180)
@pytest.mark.skipif(not RABBITMQ_SERVER.exists(), reason="RabbitMQ is not installed here")
async def test_nothing_is_lost_when_the_broker_restarts_in_the_middle(tmp_path: Path) -> None:
    broker = LocalRabbitMQ(tmp_path / "broker")
    await asyncio.to_thread(broker.start)
    transport = RabbitMQTransport(broker.url, retry_pause=0.001)
    try:
        received, announced = Recorder(), 0

        async def connected() -> None:
            nonlocal announced
            announced += 1

        await transport.start()
        await transport.subscribe(subscription("orgs", received))
        await transport.tap(tap(Recorder(), connected))
        await until(lambda: transport.connected)
        events = [message() for _ in range(3000)]

        async def publish() -> None:
            for start in range(0, len(events), 20):
                waiting = events[start : start + 20]
                while waiting:
                    safe = await transport.publish(waiting)
                    waiting = [event for event, ok in zip(waiting, safe, strict=True) if not ok]
                    await asyncio.sleep(0.05 if waiting else 0.002)

        publishing = asyncio.create_task(publish())
        await until(lambda: len(received.handled) > 200)
        await asyncio.to_thread(broker.stop)
        assert not transport.connected
        assert list(await transport.publish([message()])) == [False]
        await asyncio.to_thread(broker.start)

        await publishing
        await until(lambda: {event.id for event in events} <= set(received.ids), seconds=60)
        assert announced == 2
        assert await transport.parked("orgs") == []
    finally:
        await transport.close()
        await asyncio.to_thread(broker.stop)


async def test_messages_are_persistent_and_described_by_their_properties(
    rabbitmq_bus: RabbitMQBus, channel: aio_pika.abc.AbstractChannel
) -> None:
    transport = await rabbitmq_bus.process()
    await until(lambda: transport.connected)
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(rabbitmq_bus.exchange, "a.happened.v1")
    event = message(body=b'{"specversion":"1.0"}')

    assert list(await transport.publish([event])) == [True]

    incoming = await queue.get(timeout=5)
    assert incoming.body == event.body
    assert incoming.content_type == "application/cloudevents+json"
    assert incoming.message_id == str(event.id)
    assert incoming.type == event.type
    assert incoming.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert not incoming.headers


async def test_a_refused_message_is_not_safe(
    rabbitmq_bus: RabbitMQBus, channel: aio_pika.abc.AbstractChannel
) -> None:
    transport = await rabbitmq_bus.process()
    await until(lambda: transport.connected)
    full = await channel.declare_queue(
        exclusive=True, arguments={"x-max-length": 0, "x-overflow": "reject-publish"}
    )
    await full.bind(rabbitmq_bus.exchange, "a.happened.v1")

    safe = await transport.publish([message(), message("b.happened.v1")])

    assert list(safe) == [False, True]


async def test_a_long_pause_moves_the_message_instead_of_holding_it(rabbitmq_bus: RabbitMQBus) -> None:
    transport = RabbitMQTransport(
        rabbitmq_bus.url, exchange=rabbitmq_bus.exchange, retry_pause=0.001, renew_after=0.3
    )
    rabbitmq_bus.processes.append(transport)
    service, received = rabbitmq_bus.service("orgs"), Recorder(failing(6, DeliveryPaused()))
    await transport.start()
    await transport.subscribe(subscription(service, received, delivery_limit=1, concurrency=1))
    await until(lambda: transport.connected)
    event = message(body=b"whole")

    assert list(await transport.publish([event])) == [True]

    await until(lambda: received.handled == [event])
    assert len(received.offered) == 7
    assert await transport.parked(service) == []


async def test_a_queue_with_other_arguments_is_used_as_it_is(
    rabbitmq_bus: RabbitMQBus, channel: aio_pika.abc.AbstractChannel, caplog: pytest.LogCaptureFixture
) -> None:
    service, received = rabbitmq_bus.service("orgs"), Recorder()
    await channel.declare_queue(f"quill.{service}", durable=True, arguments={"x-queue-type": "quorum"})
    transport = await rabbitmq_bus.process()
    await transport.subscribe(subscription(service, received))
    await until(lambda: transport.connected)
    event = message()

    await relay(transport, [event])

    await until(lambda: received.ids == [event.id])
    assert "exists with other arguments" in caplog.text


async def test_a_queue_deleted_under_its_consumer_is_made_again(
    rabbitmq_bus: RabbitMQBus, channel: aio_pika.abc.AbstractChannel
) -> None:
    service, received = rabbitmq_bus.service("orgs"), Recorder()
    transport = await rabbitmq_bus.process()
    await transport.subscribe(subscription(service, received))
    await until(lambda: transport.connected)

    await channel.queue_delete(f"quill.{service}")
    await until(lambda: not transport.connected)
    await until(lambda: transport.connected)

    event = message()
    await relay(transport, [event])
    await until(lambda: received.ids == [event.id])


async def test_a_channel_that_breaks_is_opened_again(rabbitmq_bus: RabbitMQBus) -> None:
    transport, received = await rabbitmq_bus.process(), Recorder()
    await transport.subscribe(subscription(rabbitmq_bus.service("orgs"), received))
    await until(lambda: transport.connected)
    # RabbitMQ closes the channel of a publisher whose exchange is gone.
    connection = await aio_pika.connect(rabbitmq_bus.url)
    async with connection, connection.channel() as channel:
        await channel.exchange_delete(rabbitmq_bus.exchange)

    assert list(await transport.publish([message()])) == [False]

    await until(lambda: transport.connected)
    assert list(await transport.publish([message("nobody.reads.v1")])) == [True]


async def test_what_somebody_else_published_without_properties_is_parked_with_an_id(
    rabbitmq_bus: RabbitMQBus, channel: aio_pika.abc.AbstractChannel
) -> None:
    service, received = rabbitmq_bus.service("orgs"), Recorder(failing(None))
    transport = await rabbitmq_bus.process()
    await transport.subscribe(subscription(service, received, delivery_limit=1))
    await until(lambda: transport.connected)

    await channel.default_exchange.publish(aio_pika.Message(b"not ours"), f"quill.{service}")

    (parked,) = await until_parked(transport, service, 1)
    assert parked.message.body == b"not ours"
    assert await transport.discard(service, parked.message.id)
    assert await transport.parked(service) == []


async def test_a_wrong_password_is_not_logged(rabbitmq_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="quill_shared")
    password = secrets.token_hex(8)
    address = rabbitmq_url.rpartition("@")[2]
    transport = RabbitMQTransport(f"amqp://guest:{password}@{address}")
    await transport.start()
    await until(lambda: "broker not reached" in caplog.text)
    await transport.close()

    ours = [str(vars(record)) for record in caplog.records if record.name.startswith("quill_shared")]
    assert ours
    assert not any("127.0.0.1" in record for record in ours)
    assert not any(password in str(vars(record)) for record in caplog.records)
