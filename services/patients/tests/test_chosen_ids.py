"""Ids that clients choose: never another writer's record, nor the access to one that was there before."""

import json
from typing import Any

import httpx
import pytest

from quill_patients.fhir.client import HttpFhirPatients
from quill_patients.service.settling import Settlement
from quill_shared.platform.http import UpstreamClient
from quill_shared.platform.intents import Intent
from quill_shared.platform.testing.services import RunningService

WARD, NURSE = 7, 11
BODY = {"given_name": "Ada", "family_name": "Byron", "patient_id": "x-1"}
RESOURCE = {"resourceType": "Patient", "id": "x-1", "gender": "female"}
FOREIGN = {"resourceType": "Patient", "id": "x-1", "gender": "male"}


@pytest.fixture
def grace() -> float:
    """Short, as here somebody waits for it."""
    return 1.5


async def _listed(patients: RunningService, headers: dict[str, str]) -> list[str]:
    answer = await patients.client.get("/api/patients", headers=headers)
    return [each["id"] for each in answer.json()["patients"]]


class _Quick:
    """Another client of the FHIR server, which stores its record just before a write of ours arrives.

    Args:
        refusals: how many conditional writes a server to the letter of FHIR refuses first.
    """

    def __init__(self, url: str, *, refusals: int = 0) -> None:
        self._url = url
        self._refusals = refusals
        self._done = False

    def __call__(self, method: str, path: str) -> int | None:
        if method != "PUT" or self._done:
            return None
        if self._refusals:
            self._refusals -= 1
            return 412
        self._done = True
        httpx.put(
            f"{self._url}/Patient/x-1",
            content=json.dumps(FOREIGN),
            headers={"Content-Type": "application/fhir+json"},
        ).raise_for_status()
        return None


async def _register(patients: RunningService, how: str, admin: dict[str, str]) -> httpx.Response:
    if how == "registered":
        body = {**BODY, "organisation_id": WARD}
        return await patients.client.post("/api/patients", json=body, headers=admin)
    headers = {**admin, "Content-Type": "application/fhir+json"}
    return await patients.client.put(
        f"/api/fhir/Patient/x-1?organisation_id={WARD}", json=RESOURCE, headers=headers
    )


HOW = pytest.mark.parametrize("how", ["registered", "put"])


@HOW
async def test_a_record_stored_in_the_gap_is_not_overwritten(
    patients: RunningService,
    nurse: dict[str, str],
    admin: dict[str, str],
    proxy: Any,
    fhir: httpx.AsyncClient,
    how: str,
) -> None:
    proxy.before = _Quick(proxy.target)

    answer = await _register(patients, how, admin)

    assert answer.status_code == 409, answer.text
    stored = (await fhir.get("/Patient/x-1")).json()
    assert (stored["gender"], stored["meta"]["versionId"]) == ("male", "1")
    assert await _listed(patients, nurse) == []
    assert await patients.recorded() == []


@HOW
async def test_a_server_without_version_0_stores_what_is_new(
    patients: RunningService, nurse: dict[str, str], admin: dict[str, str], proxy: Any, how: str
) -> None:
    refused: list[str] = []

    def strict(method: str, path: str) -> int | None:
        if method != "PUT" or refused:
            return None
        refused.append(path)
        return 412

    proxy.before = strict

    answer = await _register(patients, how, admin)

    assert answer.is_success, answer.text
    assert await _listed(patients, nurse) == ["x-1"]


@HOW
async def test_a_record_that_such_a_server_let_us_overwrite_is_opened_to_nobody(
    patients: RunningService, nurse: dict[str, str], admin: dict[str, str], proxy: Any, how: str
) -> None:
    proxy.before = _Quick(proxy.target, refusals=1)

    answer = await _register(patients, how, admin)

    assert answer.status_code == 409, answer.text
    assert await _listed(patients, nurse) == []
    assert await patients.recorded() == []


@pytest.mark.parametrize("written", [True, False])
async def test_a_lost_answer_is_made_good(
    patients: RunningService, nurse: dict[str, str], proxy: Any, eventually: Any, *, written: bool
) -> None:
    setattr(proxy, "after" if written else "before", lambda method, path: "cut" if method == "PUT" else None)
    answer = await patients.client.post("/api/patients", json=BODY, headers=nurse)
    proxy.before = proxy.after = lambda method, path: None
    assert answer.status_code == 503

    async def registered() -> bool:
        return await _listed(patients, nurse) == ["x-1"]

    await eventually(registered)
    (event,) = await patients.recorded()
    assert event["data"] == {
        "patient_id": "x-1",
        "version": 1,
        "organisation_id": WARD,
        "created_by": NURSE,
    }


async def _settle(patients: RunningService, fhir_url: str) -> None:
    client = UpstreamClient("fhir", fhir_url)
    payload = {
        "text": json.dumps(RESOURCE),
        "organisation_id": WARD,
        "created_by": NURSE,
        "is_chosen": True,
    }
    intent = Intent(None, "patient.create", "x-1", payload)  # type: ignore[arg-type]
    async with patients.runtime.database.unit_of_work() as uow, uow.session.begin():
        await Settlement(HttpFhirPatients(client)).create(intent, uow)
    await client.close()


async def test_settling_adopts_no_record_of_another_writer(
    patients: RunningService, nurse: dict[str, str], proxy: Any, fhir: httpx.AsyncClient
) -> None:
    await fhir.put("/Patient/x-1", json=FOREIGN)

    await _settle(patients, proxy.url)

    assert (await fhir.get("/Patient/x-1")).json()["gender"] == "male"
    assert await _listed(patients, nurse) == []
    (event,) = await patients.recorded()
    assert event["data"]["organisation_id"] is None


async def test_settling_opens_nothing_that_it_has_overwritten(
    patients: RunningService, nurse: dict[str, str], proxy: Any
) -> None:
    proxy.before = _Quick(proxy.target, refusals=1)

    await _settle(patients, proxy.url)

    assert await _listed(patients, nurse) == []
    assert await patients.recorded() == []


async def test_settling_adopts_what_is_our_own(
    patients: RunningService, nurse: dict[str, str], proxy: Any, fhir: httpx.AsyncClient
) -> None:
    await fhir.put("/Patient/x-1", json=RESOURCE)

    await _settle(patients, proxy.url)

    assert await _listed(patients, nurse) == ["x-1"]


async def test_the_id_of_a_deleted_record_is_not_put_again(
    patients: RunningService, nurse: dict[str, str], admin: dict[str, str], fhir: httpx.AsyncClient
) -> None:
    assert (await patients.client.post("/api/patients", json=BODY, headers=nurse)).status_code == 200
    await fhir.delete("/Patient/x-1")
    assert await _listed(patients, nurse) == []

    answer = await _register(patients, "put", admin)

    assert answer.status_code == 409
    assert await _listed(patients, nurse) == []
    assert (await fhir.get("/Patient/x-1")).status_code == 410
