"""What every transport promises. The same cases run against the embedded one and against RabbitMQ."""

import asyncio
import logging
import uuid

import pytest

from quill_shared.platform.bus import DeliveryPaused, Message, Transport

from .support import (
    Bus,
    MemoryParking,
    Recorder,
    failing,
    message,
    relay,
    subscription,
    tap,
    until,
    until_parked,
)

CANARY = "Zebedee Canary 9434765919"


async def nothing() -> None:
    """What a tap does that has nothing to catch up with."""


async def test_each_bound_service_gets_exactly_the_types_it_reads(bus: Bus) -> None:
    transport = await bus.process()
    auth, orgs = Recorder(), Recorder()
    await transport.subscribe(subscription(bus.service("auth"), auth, "a.happened.v1"))
    await transport.subscribe(subscription(bus.service("orgs"), orgs, "a.happened.v1", "b.happened.v1"))
    await until(lambda: transport.connected)
    a, b, c = message("a.happened.v1", b'{"n": 1}'), message("b.happened.v1"), message("c.happened.v1")

    assert list(await transport.publish([a, b, c])) == [True, True, True]

    await until(lambda: len(auth.handled) == 1 and len(orgs.handled) == 2)
    assert auth.handled == [a]
    assert set(orgs.handled) == {a, b}


async def test_an_event_nobody_reads_is_safe(bus: Bus) -> None:
    transport = await bus.process()
    await until(lambda: transport.connected)

    assert list(await transport.publish([message("nobody.reads.v1")])) == [True]
    assert list(await transport.publish([])) == []


async def test_nothing_is_safe_before_the_expected_services_have_subscribed(bus: Bus) -> None:
    auth, orgs = bus.service("auth"), bus.service("orgs")
    transport = await bus.process(expected=frozenset({auth, orgs}))
    received = Recorder()
    await transport.subscribe(subscription(auth, received))
    await asyncio.sleep(0.3)
    assert not transport.connected
    assert list(await transport.publish([message(), message("nobody.reads.v1")])) == [False, False]

    await transport.subscribe(subscription(orgs, Recorder()))
    await until(lambda: transport.connected)
    assert list(await transport.publish([message()])) == [True]
    await until(lambda: len(received.handled) == 1)


async def test_a_service_stays_bound_while_none_of_its_replicas_runs(bus: Bus) -> None:
    publisher, consumer = await bus.process(), await bus.process()
    service = bus.service("orgs")
    await consumer.subscribe(subscription(service, Recorder()))
    await until(lambda: publisher.connected and consumer.connected)
    await consumer.close()
    event, received = message(), Recorder()
    publishing = asyncio.create_task(relay(publisher, [event]))
    await asyncio.sleep(0.1)

    successor = await bus.process()
    await successor.subscribe(subscription(service, received))

    await publishing
    await until(lambda: received.ids == [event.id])


async def test_a_failed_delivery_is_made_again(bus: Bus) -> None:
    transport = await bus.process()
    service, received = bus.service("orgs"), Recorder(failing(2))
    await transport.subscribe(subscription(service, received))
    await until(lambda: transport.connected)
    event = message(body=b'{"kept": "whole"}')

    assert list(await transport.publish([event])) == [True]

    await until(lambda: received.handled == [event])
    assert received.offered == [event] * 3
    assert await transport.parked(service) == []


@pytest.mark.parametrize("limit", [1, 3])
async def test_a_message_is_parked_after_as_many_failures_as_the_limit(bus: Bus, limit: int) -> None:
    transport = await bus.process()
    service, received = bus.service("orgs"), Recorder(failing(None))
    await transport.subscribe(subscription(service, received, delivery_limit=limit))
    await until(lambda: transport.connected)
    event = message(body=b'{"kept": "whole"}')

    assert list(await transport.publish([event])) == [True]

    (parked,) = await until_parked(transport, service, 1)
    assert parked.message == event
    assert parked.reason
    assert len(received.offered) == limit
    assert [each.message for each in await transport.parked(service)] == [event]


async def test_no_content_reaches_the_log_or_the_reason(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="quill_shared")
    transport = await bus.process()
    service, received = bus.service("orgs"), Recorder(failing(None, ValueError(CANARY)))
    await transport.subscribe(subscription(service, received, delivery_limit=2))
    await transport.tap(tap(received, nothing))
    await until(lambda: transport.connected)
    assert list(await transport.publish([message(body=CANARY.encode())])) == [True]

    (parked,) = await until_parked(transport, service, 1)
    assert CANARY not in parked.reason
    records = [str(vars(record)) for record in caplog.records]
    assert any("ValueError" in record for record in records)
    assert not any(CANARY in record for record in records)


async def test_a_poisonous_message_does_not_block_the_others(bus: Bus) -> None:
    transport = await bus.process()
    poison = message()

    async def choke(offered: Message) -> None:
        if offered.id == poison.id:
            raise ValueError

    service, received = bus.service("orgs"), Recorder(choke)
    await transport.subscribe(subscription(service, received, delivery_limit=3))
    await until(lambda: transport.connected)
    others = [message() for _ in range(20)]

    assert all(await transport.publish([others[0], poison, *others[1:]]))

    await until(lambda: set(received.handled) == set(others))
    assert [each.message for each in await until_parked(transport, service, 1)] == [poison]


async def test_parked_messages_are_listed_oldest_first_and_stay(bus: Bus) -> None:
    transport = await bus.process()
    service = bus.service("orgs")
    await transport.subscribe(subscription(service, Recorder(failing(None)), delivery_limit=1))
    await until(lambda: transport.connected)
    events = [message() for _ in range(3)]
    for number, event in enumerate(events, start=1):
        assert all(await transport.publish([event]))
        await until_parked(transport, service, number)

    for _ in range(3):
        assert [each.message for each in await transport.parked(service)] == events


async def test_replay_delivers_one_or_all_again(bus: Bus) -> None:
    transport = await bus.process()
    service, received = bus.service("orgs"), Recorder(failing(3))
    await transport.subscribe(subscription(service, received, delivery_limit=1))
    await until(lambda: transport.connected)
    events = [message(body=str(n).encode()) for n in range(3)]
    assert all(await transport.publish(events))
    await until_parked(transport, service, 3)

    assert await transport.replay(service, uuid.uuid4()) == 0
    assert await transport.replay(service, events[1].id) == 1
    await until(lambda: received.handled == [events[1]])
    assert {each.message.id for each in await transport.parked(service)} == {events[0].id, events[2].id}

    assert await transport.replay(service) == 2
    await until(lambda: set(received.handled) == set(events))
    assert await transport.parked(service) == []
    assert await transport.replay(service) == 0


async def test_what_fails_again_after_a_replay_is_parked_again(bus: Bus) -> None:
    transport = await bus.process()
    service, received = bus.service("orgs"), Recorder(failing(None))
    await transport.subscribe(subscription(service, received, delivery_limit=2))
    await until(lambda: transport.connected)
    event = message()
    assert all(await transport.publish([event]))
    await until_parked(transport, service, 1)

    await transport.replay(service)

    await until(lambda: len(received.offered) == 4)
    assert [each.message for each in await until_parked(transport, service, 1)] == [event]


async def test_discard_removes_one_message_for_good(bus: Bus) -> None:
    transport = await bus.process()
    service = bus.service("orgs")
    await transport.subscribe(subscription(service, Recorder(failing(None)), delivery_limit=1))
    await until(lambda: transport.connected)
    first, second = message(), message()
    assert all(await transport.publish([first, second]))
    await until_parked(transport, service, 2)

    assert await transport.discard(service, first.id)
    assert not await transport.discard(service, first.id)
    assert [each.message for each in await transport.parked(service)] == [second]


async def test_a_service_nobody_knows_has_nothing_parked(bus: Bus) -> None:
    transport = await bus.process()
    await until(lambda: transport.connected)
    service = bus.service("nobody")

    assert await transport.parked(service) == []
    assert await transport.replay(service) == 0
    assert not await transport.discard(service, uuid.uuid4())


async def test_a_pause_counts_no_failure_and_loses_nothing(bus: Bus) -> None:
    transport = await bus.process()
    paused = 4
    service, received = bus.service("orgs"), Recorder(failing(paused, DeliveryPaused()))
    await transport.subscribe(subscription(service, received, delivery_limit=2, concurrency=1))
    await until(lambda: transport.connected)
    events = [message() for _ in range(3)]

    await relay(transport, events)

    await until(lambda: len(received.handled) == len(events))
    assert received.handled == events
    assert len(received.offered) == len(events) + paused
    assert await transport.parked(service) == []


async def test_replicas_share_the_messages_of_their_service(bus: Bus) -> None:
    publisher, one, other = await bus.process(), await bus.process(), await bus.process()
    service, first, second = bus.service("orgs"), Recorder(), Recorder()
    await one.subscribe(subscription(service, first))
    await other.subscribe(subscription(service, second))
    await until(lambda: publisher.connected and one.connected and other.connected)
    events = [message() for _ in range(40)]

    await relay(publisher, events)

    await until(lambda: len(first.handled) + len(second.handled) >= len(events))
    assert first.handled
    assert second.handled
    assert sorted([*first.ids, *second.ids]) == sorted(event.id for event in events)


async def test_messages_of_one_publish_arrive_in_order(bus: Bus) -> None:
    transport = await bus.process()
    received = Recorder()
    await transport.subscribe(subscription(bus.service("orgs"), received, concurrency=1))
    await until(lambda: transport.connected)
    batches = [[message() for _ in range(100)] for _ in range(3)]

    for batch in batches:
        assert all(await transport.publish(batch))

    await until(lambda: len(received.handled) == 300)
    assert received.handled == [event for batch in batches for event in batch]


async def test_no_more_messages_are_in_hand_than_the_subscription_allows(bus: Bus) -> None:
    transport = await bus.process()
    at_once = most = 0

    async def work(_: Message) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1

    received = Recorder(work)
    await transport.subscribe(subscription(bus.service("orgs"), received, concurrency=3))
    await until(lambda: transport.connected)

    await asyncio.gather(*(relay(transport, [message() for _ in range(5)]) for _ in range(6)))

    await until(lambda: len(received.handled) == 30)
    assert most == 3


async def test_a_tap_in_each_process_gets_what_comes_after_it_connected(bus: Bus) -> None:
    transport, later = await bus.process(), await bus.process()
    first, second, announced = Recorder(), Recorder(), asyncio.Event()

    async def connected() -> None:
        announced.set()

    await transport.tap(tap(first, connected))
    await until(lambda: transport.connected and later.connected)
    await asyncio.wait_for(announced.wait(), 5)
    early, event = message(), message()
    await relay(transport, [early])

    announced.clear()
    await later.tap(tap(second, connected))
    await asyncio.wait_for(announced.wait(), 5)
    await relay(transport, [event, message("b.happened.v1")])

    await until(lambda: second.handled)
    await until(lambda: len(first.handled) == 2)
    assert first.handled == [early, event]
    assert second.handled == [event]


async def test_a_tap_that_could_not_catch_up_is_told_again(bus: Bus) -> None:
    transport = await bus.process()
    calls = 0

    async def connected() -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise ConnectionError

    await transport.tap(tap(Recorder(), connected))

    await until(lambda: calls == 3)
    await asyncio.sleep(0.1)
    assert calls == 3


async def test_a_failing_or_slow_tap_holds_up_nobody(bus: Bus) -> None:
    transport = await bus.process()
    received, taps = Recorder(), Recorder(failing(1))
    never = asyncio.Event()

    async def wait(_: Message) -> None:
        await never.wait()

    await transport.subscribe(subscription(bus.service("orgs"), received))
    await transport.tap(tap(taps, nothing))
    await transport.tap(tap(Recorder(wait), nothing))
    await until(lambda: transport.connected)
    events = [message(), message()]

    assert all(await transport.publish(events))

    await until(lambda: len(received.handled) == 2 and len(taps.offered) == 2)
    assert taps.handled == events[1:]


async def test_shutting_down_finishes_the_message_in_hand(bus: Bus) -> None:
    publisher, leaving = await bus.process(), await bus.process()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(_: Message) -> None:
        begun.set()
        await go_on.wait()

    service, received, successor = bus.service("orgs"), Recorder(work), Recorder()
    await leaving.subscribe(subscription(service, received))
    await until(lambda: publisher.connected and leaving.connected)
    event = message()
    publishing = asyncio.create_task(relay(publisher, [event]))
    await asyncio.wait_for(begun.wait(), 5)
    stopping = asyncio.create_task(leaving.stop_consuming())
    await asyncio.sleep(0.05)
    assert not stopping.done()

    go_on.set()
    await stopping
    await publishing

    assert received.ids == [event.id]
    staying = await bus.process()
    await staying.subscribe(subscription(service, successor))
    await until(lambda: staying.connected)
    later = message()
    await relay(publisher, [later])
    await until(lambda: later.id in successor.ids)
    assert successor.ids == [later.id]
    assert received.ids == [event.id]


async def test_a_message_whose_consumer_ends_midway_is_delivered_elsewhere(bus: Bus) -> None:
    publisher, leaving, staying = await bus.process(), await bus.process(), await bus.process()
    begun = asyncio.Event()

    async def hang(_: Message) -> None:
        begun.set()
        await asyncio.Event().wait()

    service, received, elsewhere = bus.service("orgs"), Recorder(hang), Recorder()
    await leaving.subscribe(subscription(service, received))
    await until(lambda: publisher.connected and leaving.connected)
    event = message()
    publishing = asyncio.create_task(relay(publisher, [event]))
    await asyncio.wait_for(begun.wait(), 5)
    await staying.subscribe(subscription(service, elsewhere))
    await until(lambda: staying.connected)

    await leaving.close()

    await publishing
    await until(lambda: elsewhere.ids == [event.id])
    assert received.handled == []


async def test_a_paused_consumer_can_be_shut_down(bus: Bus) -> None:
    publisher, leaving, staying = await bus.process(), await bus.process(), await bus.process()
    service, received, elsewhere = bus.service("orgs"), Recorder(failing(None, DeliveryPaused())), Recorder()
    await leaving.subscribe(subscription(service, received))
    await until(lambda: publisher.connected and leaving.connected)
    event = message()
    publishing = asyncio.create_task(relay(publisher, [event]))
    await until(lambda: received.offered)
    async with asyncio.timeout(5):
        await leaving.close()

    await staying.subscribe(subscription(service, elsewhere))

    await publishing
    await until(lambda: elsewhere.ids == [event.id])


async def test_a_type_the_latest_release_has_retired_is_not_delivered_any_more(bus: Bus) -> None:
    publisher, old, new = await bus.process(), await bus.process(), await bus.process()
    service, before, after = bus.service("orgs"), Recorder(), Recorder()
    await old.subscribe(subscription(service, before, "a.happened.v1", "b.happened.v1"))
    await until(lambda: publisher.connected and old.connected)
    await old.close()
    await new.subscribe(subscription(service, after, "b.happened.v1", retired=frozenset({"a.happened.v1"})))
    await until(lambda: new.connected)
    kept = message("b.happened.v1")

    await relay(publisher, [message("a.happened.v1"), kept])

    await until(lambda: after.handled)
    assert after.handled == [kept]
    assert before.handled == []
    assert await publisher.parked(service) == []


async def test_a_type_only_a_newer_replica_reads_reaches_it(bus: Bus) -> None:
    publisher, old, new = await bus.process(), await bus.process(), await bus.process()
    service, before, after = bus.service("orgs"), Recorder(), Recorder()
    limit = 100  # As many tries as it takes while both releases run.
    await old.subscribe(subscription(service, before, "a.happened.v1", delivery_limit=limit))
    await until(lambda: old.connected)
    await new.subscribe(subscription(service, after, "a.happened.v1", "b.happened.v1", delivery_limit=limit))
    await until(lambda: publisher.connected and new.connected)
    events = [message("b.happened.v1") for _ in range(4)]

    await relay(publisher, events)

    await until(lambda: len(after.handled) == 4)
    assert {event.type for event in before.offered} <= {"a.happened.v1"}


async def test_a_closed_transport_takes_nothing(bus: Bus) -> None:
    transport = await bus.process()
    await transport.subscribe(subscription(bus.service("orgs"), Recorder()))
    await until(lambda: transport.connected)
    await transport.close()

    assert not transport.connected
    assert list(await transport.publish([message(), message("nobody.reads.v1")])) == [False, False]
    await transport.close()


async def test_a_publisher_that_gives_up_waiting_leaves_the_bus_working(bus: Bus) -> None:
    transport = await bus.process()
    received = Recorder()
    await transport.subscribe(subscription(bus.service("orgs"), received))
    await until(lambda: transport.connected)
    events = [message() for _ in range(50)]
    publishing = asyncio.create_task(publish(transport, events))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing

    await relay(transport, events)

    await until(lambda: {event.id for event in events} <= set(received.ids))


async def publish(transport: Transport, events: list[Message]) -> None:
    await transport.publish(events)


async def test_parking_is_where_the_subscription_says_or_with_the_broker(bus: Bus) -> None:
    transport = await bus.process()
    service, parking = bus.service("orgs"), MemoryParking()
    await transport.subscribe(
        subscription(service, Recorder(failing(None)), parking=parking, delivery_limit=1)
    )
    await until(lambda: transport.connected)
    event = message()
    assert all(await transport.publish([event]))
    await until_parked(transport, service, 1)

    assert list(parking.kept) == ([event.id] if transport.name == "embedded" else [])
