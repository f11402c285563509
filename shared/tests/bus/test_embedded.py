"""What only the embedded transport promises: safe means committed."""

import asyncio
import contextvars

import pytest

from quill_shared.platform.bus import DeliveryPaused, EmbeddedTransport, Message, Parked

from .support import MemoryParking, Recorder, failing, message, subscription


@pytest.fixture
async def transport() -> EmbeddedTransport:
    transport = EmbeddedTransport(retry_pause=0.001)
    await transport.start()
    return transport


async def test_safe_means_that_every_service_has_finished_with_it(transport: EmbeddedTransport) -> None:
    go_on = asyncio.Event()

    async def wait(_: Message) -> None:
        await go_on.wait()

    quick, slow = Recorder(), Recorder(wait)
    await transport.subscribe(subscription("auth", quick))
    await transport.subscribe(subscription("orgs", slow))
    events = [message(), message()]
    publishing = asyncio.create_task(transport.publish(events))

    async with asyncio.timeout(5):
        while len(quick.handled) < 2:
            await asyncio.sleep(0.001)
    assert slow.handled == []
    assert not publishing.done()

    go_on.set()
    assert list(await publishing) == [True, True]
    assert slow.handled == events


async def test_what_one_service_could_not_take_is_not_safe(transport: EmbeddedTransport) -> None:
    orgs, letters = Recorder(failing(1, DeliveryPaused())), Recorder()
    await transport.subscribe(subscription("orgs", orgs, "a.happened.v1"))
    await transport.subscribe(subscription("letters", letters, "a.happened.v1", "b.happened.v1"))
    first, other, second = message(), message("b.happened.v1"), message()

    assert list(await transport.publish([first, other, second])) == [False, True, False]
    assert orgs.offered == [first], "nothing later may overtake what is paused"

    assert list(await transport.publish([first, second])) == [True, True]
    assert orgs.handled == [first, second]


async def test_what_cannot_be_parked_is_not_safe(transport: EmbeddedTransport) -> None:
    class Away(MemoryParking):
        async def add(self, parked: Parked) -> None:
            raise ConnectionError

    await transport.subscribe(subscription("orgs", Recorder(failing(None)), parking=Away(), delivery_limit=1))

    assert list(await transport.publish([message()])) == [False]


async def test_the_reason_names_the_failure_by_type(transport: EmbeddedTransport) -> None:
    await transport.subscribe(
        subscription("orgs", Recorder(failing(None, LookupError("Mrs Canary"))), delivery_limit=2)
    )
    assert list(await transport.publish([message()])) == [True]

    (parked,) = await transport.parked("orgs")
    assert parked.reason == "LookupError after 2 deliveries"


async def test_replicas_take_turns(transport: EmbeddedTransport) -> None:
    replicas = [Recorder(), Recorder(), Recorder()]
    for replica in replicas:
        await transport.join().subscribe(subscription("orgs", replica))

    assert all(await transport.publish([message() for _ in range(9)]))

    assert [len(replica.handled) for replica in replicas] == [3, 3, 3]


async def test_a_consumer_does_not_see_the_publishers_context(transport: EmbeddedTransport) -> None:
    user = contextvars.ContextVar("user", default="nobody")
    seen: list[str] = []

    async def look(_: Message) -> None:
        seen.append(user.get())

    await transport.subscribe(subscription("orgs", look))
    user.set("Mrs Canary")
    await transport.publish([message()])

    assert seen == ["nobody"]


async def test_nothing_is_taken_before_the_start() -> None:
    transport = EmbeddedTransport()
    received = Recorder()
    await transport.subscribe(subscription("orgs", received))

    assert not transport.connected
    assert list(await transport.publish([message()])) == [False]
    assert received.offered == []
