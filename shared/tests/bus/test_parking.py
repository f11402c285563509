"""The parking place in a service's database."""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from quill_shared.platform.bus import DatabaseParkingPlace, EmbeddedTransport, Parked
from quill_shared.platform.database import Database
from quill_shared.platform.tables import platform_metadata
from quill_shared.platform.testing.postgres import (
    PostgresServer,
    TestDatabase,
    migrated_database,
    truncate_all,
)

from .support import Recorder, failing, message, subscription


async def create_tables(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(platform_metadata.create_all)
    await engine.dispose()


@pytest.fixture(scope="session")
def bus_database(postgres_server: PostgresServer) -> Iterator[TestDatabase]:
    with migrated_database(postgres_server, "quill_bus", create_tables) as database:
        yield database


@pytest.fixture
async def parking(bus_database: TestDatabase) -> AsyncIterator[DatabaseParkingPlace]:
    await truncate_all(bus_database.owner_url)
    database = Database(bus_database.app_url, source="quill/bus", pool_size=2)
    yield DatabaseParkingPlace(database)
    await database.close()


async def test_parked_messages_are_kept_whole_and_in_order(parking: DatabaseParkingPlace) -> None:
    kept = [Parked(message(body=str(n).encode()), f"Reason{n}") for n in range(3)]
    for each in kept:
        await parking.add(each)

    assert list(await parking.all()) == kept


async def test_parking_a_message_twice_changes_nothing(parking: DatabaseParkingPlace) -> None:
    event = message()
    await parking.add(Parked(event, "first"))
    await parking.add(Parked(event, "second"))

    assert list(await parking.all()) == [Parked(event, "first")]


async def test_a_message_is_removed_once(parking: DatabaseParkingPlace) -> None:
    first, second = message(), message()
    await parking.add(Parked(first, "no"))
    await parking.add(Parked(second, "no"))

    assert await parking.remove(first.id)
    assert not await parking.remove(first.id)
    assert list(await parking.all()) == [Parked(second, "no")]


async def test_the_embedded_transport_parks_and_replays_from_the_database(
    parking: DatabaseParkingPlace,
) -> None:
    transport, received = EmbeddedTransport(retry_pause=0.001), Recorder(failing(2))
    await transport.start()
    await transport.subscribe(subscription("orgs", received, parking=parking, delivery_limit=2))
    event = message()

    assert list(await transport.publish([event])) == [True]
    assert [each.message for each in await parking.all()] == [event]

    assert await transport.replay("orgs") == 1
    assert received.handled == [event]
    assert list(await parking.all()) == []
