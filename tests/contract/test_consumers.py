"""Every registered consumer of every service gets every event it reads: again, at once, and out of order.

The table is made from the registry. A new consumer is tested without a line here; one that does nothing on
the published example needs a preparation below, so that its test means something.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from applications import SERVICES, published, readings
from deliveries import effect, message, settled, state

from quill_shared.platform.testing.postgres import TestDatabase, truncate_all
from quill_shared.platform.testing.services import RunningService

PUBLISHED = published()
READINGS = readings()
# What tells one thing an event is about from another; everything else in it is what changed.
IDENTITY = frozenset({"user_id", "organisation_id", "patient_id", "feature_key"})
# A fact, its end, and where its projection lies.
ENDINGS = (
    ("orgs.staff.added.v1", "orgs.staff.removed.v1", "access_staff"),
    ("orgs.patient.added.v1", "orgs.patient.removed.v1", "access_patient"),
    ("orgs.feature.enabled.v1", "orgs.feature.disabled.v1", "access_feature"),
    ("auth.access.granted.v1", "auth.access.revoked.v1", "access_grant"),
)

Prepare = Callable[[RunningService], Awaitable[None]]


async def organisations(orgs: RunningService) -> None:
    """The organisation of the examples, number 7, and the six before it."""
    for number in range(7):
        answer = await orgs.client.post(
            "/api/organizations",
            json={"name": f"Ward {number}", "type": "hospital_team"},
            headers=orgs.bearer(perm="admin"),
        )
        assert answer.status_code == 200
    assert answer.json()["id"] == 7


PREPARATIONS: Mapping[tuple[str, str], Prepare] = {
    ("orgs", "patients.patient.created.v1"): organisations,
    ("orgs", "auth.join.requested.v1"): organisations,
}


def example(type_: str) -> dict[str, Any]:
    """What the publisher shows as an instance of the event."""
    return dict(PUBLISHED[type_][1].example)


def family(type_: str) -> str:
    """The kind of thing an event type is about."""
    return type_.rsplit(".", 2)[0]


def altered(type_: str) -> dict[str, Any]:
    """The example with everything changed but what it is about."""

    def other(value: Any) -> Any:
        if isinstance(value, bool):
            return not value
        if isinstance(value, int):
            return value + 1
        if isinstance(value, str):
            return f"{value}-older"
        if isinstance(value, list):
            return [*value, "older"]
        return value

    data = {name: value if name in IDENTITY else other(value) for name, value in example(type_).items()}
    PUBLISHED[type_][1].model_validate(data)
    return data


async def prepared(consumer: RunningService, service: str, type_: str) -> None:
    """Brings the service to where the event has an effect."""
    prepare = PREPARATIONS.get((service, type_))
    if prepare is not None:
        await prepare(consumer)


@pytest.mark.parametrize(("service", "type_"), READINGS)
async def test_an_event_delivered_again_and_at_once_has_its_effect_once(
    consumer: RunningService, service: str, type_: str, service_databases: Mapping[str, TestDatabase]
) -> None:
    await prepared(consumer, service, type_)
    before = await settled(consumer)
    await consumer.deliver(type_, example(type_), sequence=10)
    alone = effect(before, await settled(consumer))
    assert await settled(consumer) != before, "the example has no effect: add a preparation"

    await truncate_all(service_databases[service].owner_url)
    await prepared(consumer, service, type_)
    before = await settled(consumer)
    event = message(type_, example(type_), sequence=10)
    await asyncio.gather(*(consumer.redeliver(event) for _ in range(3)))
    at_once = await settled(consumer)
    await asyncio.gather(consumer.redeliver(event), consumer.redeliver(event))

    assert effect(before, at_once) == alone
    assert await settled(consumer) == at_once


@pytest.mark.parametrize(("service", "type_"), READINGS)
async def test_an_older_event_changes_nothing(consumer: RunningService, service: str, type_: str) -> None:
    await prepared(consumer, service, type_)
    await consumer.deliver(type_, example(type_), sequence=10)
    newest = await settled(consumer)

    for older in sorted(SERVICES[service].consumers.types):
        if family(older) == family(type_):
            await consumer.deliver(older, altered(older), sequence=9)
            assert await settled(consumer) == newest, f"{older} came late and was believed"


@pytest.mark.parametrize(
    ("service", "begun", "ended", "table"),
    [(service, *ending) for ending in ENDINGS for service, type_ in READINGS if type_ == ending[0]],
)
async def test_a_removal_before_its_addition_leaves_a_tombstone(
    consumer: RunningService, begun: str, ended: str, table: str
) -> None:
    async def rows() -> list[str]:
        return list((await state(consumer))[table])

    await consumer.deliver(ended, example(ended), sequence=10)
    await consumer.deliver(begun, example(begun), sequence=9)
    (tombstone,) = await rows()
    assert '"active": false' in tombstone

    await consumer.deliver(begun, example(begun), sequence=11)
    (again,) = await rows()
    assert '"active": true' in again


@pytest.mark.parametrize("service", ["letters"])
async def test_an_event_that_nobody_can_read_is_parked_and_holds_up_nothing(
    consumer: RunningService,
) -> None:
    await consumer.deliver("orgs.staff.added.v1", {"organisation_id": "seven"}, sequence=10, parked=True)
    await consumer.deliver("orgs.staff.added.v1", example("orgs.staff.added.v1"), sequence=10)

    found = await state(consumer)
    assert len(found["parked_message"]) == 1
    assert len(found["access_staff"]) == 1
