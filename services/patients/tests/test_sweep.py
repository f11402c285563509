"""Patients that other clients wrote to FHIR appear, change and leave."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from quill_patients import repository
from quill_patients.service.sweep import Sweep
from quill_shared.platform.errors import UpstreamError
from quill_shared.platform.testing.services import RunningService

Register = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def sweep_interval() -> float:
    """Short, as here somebody waits for it."""
    return 0.2


by_hand = pytest.mark.parametrize("sweep_interval", [60.0])
"""For tests that look themselves: the worker's next look is far away."""


async def _put(fhir: httpx.AsyncClient, patient_id: str, **elements: Any) -> None:
    resource = {"resourceType": "Patient", "id": patient_id, **elements}
    (await fhir.put(f"/Patient/{patient_id}", json=resource)).raise_for_status()


def _sweep(patients: RunningService, *, overlap: float = 60.0, walk_every: float = 1000.0) -> Sweep:
    return Sweep(
        patients.runtime.database,
        patients.runtime.context.fhir,
        overlap=timedelta(seconds=overlap),
        walk_every=timedelta(seconds=walk_every),
    )


async def test_what_others_write_is_noticed_and_told(
    patients: RunningService, admin: dict[str, str], fhir: httpx.AsyncClient, eventually: Any
) -> None:
    steps: list[tuple[dict[str, Any], str, list[str]]] = [
        ({}, "created", ["x-1"]),
        ({"gender": "female"}, "updated", ["x-1"]),
        ({"active": False}, "deactivated", []),
        ({"active": True}, "activated", ["x-1"]),
    ]
    for n, (elements, kind, listed) in enumerate(steps, start=1):
        await _put(fhir, "x-1", **elements)

        async def told(expected: int = n) -> bool:
            return len(await patients.recorded()) == expected

        await eventually(told)
        event = (await patients.recorded())[-1]
        assert event["type"] == f"patients.patient.{kind}.v1"
        assert (event["data"]["version"], event["sequence"]) == (n, n)
        answer = await patients.client.get("/api/patients?scope=admin", headers=admin)
        assert [each["id"] for each in answer.json()["patients"]] == listed
    created = (await patients.recorded())[0]["data"]
    assert created == {"patient_id": "x-1", "version": 1, "organisation_id": None, "created_by": None}


@by_hand
async def test_looking_again_tells_nothing_new(
    patients: RunningService, fhir: httpx.AsyncClient, register: Register
) -> None:
    await register()
    for n in range(3):
        await _put(fhir, f"x-{n}")
    for walk_every in (1000.0, 0.0, 1000.0):
        await _sweep(patients, walk_every=walk_every).run_once()

    assert len(await patients.recorded()) == 4


@by_hand
async def test_a_patient_being_registered_is_left_to_the_request(
    patients: RunningService, nurse: dict[str, str]
) -> None:
    sweep = _sweep(patients, walk_every=0.0)
    create = patients.runtime.context.fhir.create

    async def create_and_sweep(patient_id: str, text: str, *, only_new: bool) -> Any:
        created = await create(patient_id, text, only_new=only_new)
        assert await sweep.run_once()
        return created

    patients.runtime.context.fhir.create = create_and_sweep
    await patients.client.post("/api/patients", json={"given_name": "A", "family_name": "B"}, headers=nurse)

    (event,) = await patients.recorded()
    assert (event["data"]["organisation_id"], event["data"]["created_by"]) == (7, 11)


async def test_a_walk_reads_every_page(
    patients: RunningService, admin: dict[str, str], fhir: httpx.AsyncClient, eventually: Any
) -> None:
    for n in range(230):
        await _put(fhir, f"x-{n}")

    async def known() -> bool:
        return len(await patients.recorded("patients.patient.created.v1")) == 230

    await eventually(known)


@by_hand
async def test_until_the_first_walk_is_complete_no_list_is_answered(
    patients: RunningService, admin: dict[str, str], proxy: Any, register: Register, fhir: httpx.AsyncClient
) -> None:
    await register()
    proxy.before = lambda method, path: 503 if "_search" in path else None
    async with patients.runtime.database.unit_of_work() as uow, uow.session.begin():
        state = await repository.sweep_state(uow.session)
        state.walked_at = None
    answer = await patients.client.get("/api/patients?scope=admin", headers=admin)
    assert answer.json() == {"patients": [], "fhir_ready": False, "next_cursor": None}
    with pytest.raises(UpstreamError):
        await _sweep(patients).run_once()


@by_hand
async def test_of_two_workers_one_looks(
    patients: RunningService, fhir: httpx.AsyncClient, proxy: Any
) -> None:
    async with repository.only_sweep(patients.runtime.database.engine) as mine:
        assert mine
        await _put(fhir, "x-1")
        proxy.calls.clear()
        assert await _sweep(patients, walk_every=0.0).run_once()
        assert not [path for _, path in proxy.calls if "_search" in path]


async def test_a_record_that_came_back_goes_on_in_its_sequence(
    patients: RunningService,
    nurse: dict[str, str],
    register: Register,
    fhir: httpx.AsyncClient,
    eventually: Any,
) -> None:
    patient_id = (await register())["id"]
    await fhir.delete(f"/Patient/{patient_id}")
    await patients.client.get("/api/patients", headers=nurse)
    await _put(fhir, patient_id)

    async def listed() -> bool:
        answer = await patients.client.get("/api/patients", headers=nurse)
        return [each["id"] for each in answer.json()["patients"]] == [patient_id]

    await eventually(listed)
    assert [(event["type"].split(".")[2], event["sequence"]) for event in await patients.recorded()] == [
        ("created", 1),
        ("deactivated", 2),
        ("activated", 3),
    ]


@by_hand
async def test_a_link_to_another_server_is_not_followed(
    patients: RunningService, admin: dict[str, str], register: Register, fhir: httpx.AsyncClient, proxy: Any
) -> None:
    for n in range(210):
        await _put(fhir, f"x-{n}")
    # The stand-in makes its links from the name it was called by.
    proxy.name = "127.0.0.1:9"

    with pytest.raises(UpstreamError):
        await _sweep(patients, walk_every=0.0).run_once()
