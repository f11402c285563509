"""Writes that were cut off between FHIR and our database: nothing lost, nothing doubled (ADR 0005)."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from quill_patients.service import index
from quill_patients.service.settling import Settlement
from quill_shared.platform.intents import Intent
from quill_shared.platform.testing.services import RunningService

Register = Callable[..., Awaitable[dict[str, Any]]]
BODY = {"given_name": "Ada", "family_name": "Byron", "nhs_number": "9990000018"}


@pytest.fixture
def fhir_deadline() -> float:
    """Short, as nobody waits here."""
    return 0.5


@pytest.fixture
def grace() -> float:
    """Short, as here somebody waits for it; longer than the writes themselves."""
    return 1.5


async def _visible(patients: RunningService, nurse: dict[str, str]) -> list[str]:
    answer = await patients.client.get("/api/patients", headers=nurse)
    return [each["id"] for each in answer.json()["patients"]]


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("fate", ["hang", "cut"])
async def test_a_registration_whose_answer_was_lost_is_finished(
    patients: RunningService,
    nurse: dict[str, str],
    fhir: httpx.AsyncClient,
    proxy: Any,
    eventually: Any,
    fate: str,
    *,
    written: bool,
) -> None:
    def lose(method: str, path: str) -> str | None:
        return fate if method == "PUT" else None

    setattr(proxy, "after" if written else "before", lose)
    answer = await patients.client.post("/api/patients", json=BODY, headers=nurse)
    assert answer.status_code in (503, 504)
    # The number is taken from the start, although nobody knows yet whether the record is there.
    proxy.before = proxy.after = lambda method, path: None

    async def finished() -> bool:
        return len(await patients.recorded("patients.patient.created.v1")) == 1

    await eventually(finished)
    (patient_id,) = await _visible(patients, nurse)
    (event,) = await patients.recorded()
    assert event["data"] == {"patient_id": patient_id, "version": 1, "organisation_id": 7, "created_by": 11}
    assert (await fhir.get("/Patient")).json()["total"] == 1
    again = await patients.client.post("/api/patients", json=BODY, headers=nurse)
    assert (again.status_code, again.json()["patient_id"]) == (409, patient_id)


async def test_a_failure_of_our_database_after_fhir_is_made_good(
    patients: RunningService,
    nurse: dict[str, str],
    fhir: httpx.AsyncClient,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(index, "record_created", fails)
        answer = await patients.client.post("/api/patients", json=BODY, headers=nurse)
    assert answer.status_code == 500
    assert (await fhir.get("/Patient")).json()["total"] == 1

    async def finished() -> bool:
        return len(await _visible(patients, nurse)) == 1

    await eventually(finished)
    assert len(await patients.recorded()) == 1
    assert (await fhir.get("/Patient")).json()["total"] == 1


async def test_a_change_whose_answer_was_lost_is_recorded_once(
    patients: RunningService, nurse: dict[str, str], register: Register, proxy: Any, eventually: Any
) -> None:
    patient_id = (await register())["id"]
    proxy.after = lambda method, path: "cut" if method == "PUT" else None

    answer = await patients.client.patch(
        f"/api/patients/{patient_id}", json={"gender": "other"}, headers=nurse
    )
    assert answer.status_code == 503
    proxy.after = lambda method, path: None

    async def finished() -> bool:
        return len(await patients.recorded("patients.patient.updated.v1")) == 1

    await eventually(finished)
    (event,) = await patients.recorded("patients.patient.updated.v1")
    assert event["data"] == {"patient_id": patient_id, "version": 2}


async def test_one_lost_answer_to_a_conditional_change_is_no_failed_condition(
    patients: RunningService,
    nurse: dict[str, str],
    register: Register,
    proxy: Any,
    fhir: httpx.AsyncClient,
    eventually: Any,
) -> None:
    patient_id = (await register())["id"]
    lost: list[str] = []

    def lose_one(method: str, path: str) -> str | None:
        if method != "PUT" or lost:
            return None
        lost.append(path)
        return "cut"

    proxy.after = lose_one
    answer = await patients.client.patch(
        f"/api/patients/{patient_id}", json={"gender": "other"}, headers={**nurse, "If-Match": 'W/"1"'}
    )
    assert answer.status_code == 503
    assert (await fhir.get(f"/Patient/{patient_id}")).json()["meta"]["versionId"] == "2"

    async def finished() -> bool:
        return len(await patients.recorded("patients.patient.updated.v1")) == 1

    await eventually(finished, within=4.0)


async def test_a_change_made_again_after_its_answer_was_lost_is_known_at_once(
    patients: RunningService, nurse: dict[str, str], register: Register, proxy: Any
) -> None:
    patient_id = (await register())["id"]

    async def change() -> int:
        answer = await patients.client.patch(
            f"/api/patients/{patient_id}", json={"gender": "other"}, headers=nurse
        )
        return answer.status_code

    proxy.after = lambda method, path: "cut" if method == "PUT" else None
    first = await change()
    proxy.after = lambda method, path: None

    assert (first, await change()) == (503, 200)
    assert len(await patients.recorded("patients.patient.updated.v1")) == 1


async def test_a_change_that_did_not_arrive_is_not_made_later(
    patients: RunningService,
    nurse: dict[str, str],
    register: Register,
    proxy: Any,
    eventually: Any,
    fhir: httpx.AsyncClient,
) -> None:
    patient_id = (await register())["id"]
    proxy.before = lambda method, path: "cut" if method == "PUT" else None
    await patients.client.patch(f"/api/patients/{patient_id}", json={"gender": "other"}, headers=nurse)
    proxy.before = lambda method, path: None

    async def settled() -> bool:
        answer = await patients.client.patch(
            f"/api/patients/{patient_id}", json={"birth_date": "1980-01-02"}, headers=nurse
        )
        return answer.status_code == 200

    await eventually(settled)
    assert "gender" not in (await fhir.get(f"/Patient/{patient_id}")).json()
    assert len(await patients.recorded("patients.patient.updated.v1")) == 1


async def test_settling_twice_is_settling_once(
    patients: RunningService, nurse: dict[str, str], register: Register, fhir: httpx.AsyncClient
) -> None:
    patient_id = (await register())["id"]
    payload = {"text": "{}", "organisation_id": 7, "created_by": 11, "is_chosen": False}
    settlement = Settlement(patients.runtime.context.fhir)
    for kind, settle in (("patient.create", settlement.create), ("patient.update", settlement.update)):
        async with patients.runtime.database.unit_of_work() as uow, uow.session.begin():
            await settle(Intent(None, kind, patient_id, payload), uow)  # type: ignore[arg-type]

    assert await _visible(patients, nurse) == [patient_id]
    assert (await fhir.get(f"/Patient/{patient_id}")).json()["meta"]["versionId"] == "1"
    assert await patients.recorded("patients.patient.updated.v1") == []
