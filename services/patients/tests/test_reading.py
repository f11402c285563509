"""Lists and single patients: who sees whom, in which order, found by what."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from quill_shared.platform.service_tokens import make
from quill_shared.platform.testing.postgres import truncate_all
from quill_shared.platform.testing.services import (
    CANARY_FAMILY,
    CANARY_GIVEN,
    CANARY_NHS_NUMBER,
    RunningService,
)

WARD, CLINIC, NURSE, ADMIN = 7, 8, 11, 41
Register = Callable[..., Awaitable[dict[str, Any]]]


async def _ids(patients: RunningService, headers: dict[str, str], **query: Any) -> list[str]:
    answer = await patients.client.get("/api/patients", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["fhir_ready"] is True
    return [each["id"] for each in answer.json()["patients"]]


async def test_the_list_is_paged_in_a_stable_order(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    created = [(await register())["id"] for _ in range(5)]
    pages, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        answer = (await patients.client.get("/api/patients", params=query, headers=nurse)).json()
        pages.append([each["id"] for each in answer["patients"]])
        cursor = answer["next_cursor"]
        if cursor is None:
            break
        await register()

    assert [each for page in pages for each in page][:5] == created
    assert all(len(page) == 2 for page in pages[:-1])


async def test_a_list_never_asks_fhir_for_what_the_caller_may_not_see(
    patients: RunningService, nurse: dict[str, str], stranger: dict[str, str], register: Register, proxy: Any
) -> None:
    await register()
    proxy.calls.clear()

    assert await _ids(patients, stranger) == []
    assert await _ids(patients, stranger, q="Byron") == []

    assert [path for _, path in proxy.calls if path.startswith("/fhir/Patient/_search")] == []


async def test_inactive_patients_are_listed_when_asked_for(
    patients: RunningService, nurse: dict[str, str], admin: dict[str, str], register: Register
) -> None:
    kept, left = (await register())["id"], (await register())["id"]
    await patients.client.post(f"/api/patients/{left}/deactivate", headers=admin)

    assert await _ids(patients, nurse) == [kept]
    both = await patients.client.get("/api/patients?include_inactive=true", headers=nurse)
    assert [(each["id"], each["is_active"]) for each in both.json()["patients"]] == [
        (kept, True),
        (left, False),
    ]


async def test_an_administrator_sees_all_in_the_scope_admin(
    patients: RunningService, nurse: dict[str, str], admin: dict[str, str], register: Register
) -> None:
    created = (await register())["id"]

    assert await _ids(patients, admin) == []
    assert await _ids(patients, admin, scope="admin") == [created]
    refused = await patients.client.get("/api/patients?scope=admin", headers=nurse)
    assert refused.status_code == 403
    unknown = await patients.client.get("/api/patients?scope=ward", headers=admin)
    assert unknown.status_code == 422


async def test_patients_and_external_users_see_what_is_theirs(
    patients: RunningService, register: Register
) -> None:
    own, granted, other = [(await register())["id"] for _ in range(3)]
    await patients.deliver(
        "auth.access.granted.v1", {"user_id": 31, "patient_id": granted, "user_type": "external_hcp"}
    )

    assert await _ids(patients, patients.bearer(21, perm="patient", patient_id=own)) == [own]
    assert await _ids(patients, patients.bearer(31, perm="external_hcp")) == [granted]
    assert await _ids(patients, patients.bearer(32, perm="external_hcp")) == []
    assert other not in (own, granted)


async def test_a_patient_is_found_by_what_a_person_types(
    patients: RunningService, nurse: dict[str, str], admin: dict[str, str], register: Register
) -> None:
    one = await register(
        given_name=f"{CANARY_GIVEN} Mary",
        family_name=CANARY_FAMILY,
        nhs_number=CANARY_NHS_NUMBER,
        birth_date="1980-01-02",
        mrn="M-77",
    )
    two = await register(
        given_name="Jan Maria", family_name="van der Berg", birth_date="1980-01-03", mrn="M-78"
    )
    found = {
        CANARY_NHS_NUMBER: one,
        "943 476 5919": one,
        "1980-01-02": one,
        "M-77": one,
        CANARY_FAMILY: one,
        CANARY_FAMILY.lower()[:8]: one,
        CANARY_GIVEN: one,
        f"{CANARY_GIVEN} {CANARY_FAMILY}": one,
        f" {CANARY_FAMILY}  {CANARY_GIVEN} ": one,
        f"{CANARY_GIVEN} Mary": one,
        "van der Berg": two,
        "van der": two,
        "jan van der berg": two,
        "maria": two,
        "9434765918": None,
        "1980-02-31": None,
        "2000-01-01": None,
        "nobody": None,
        "M-7": None,
        "a,b|c$d\\": None,
        "%": None,
        "'": None,
    }
    for q, patient in found.items():
        wanted = [patient["id"]] if patient else []
        assert await _ids(patients, nurse, q=q) == wanted, q
        assert await _ids(patients, admin, q=q, scope="admin") == wanted, q


async def test_a_search_is_paged_too(
    patients: RunningService, nurse: dict[str, str], admin: dict[str, str], register: Register
) -> None:
    wanted = []
    for n in range(6):
        created = await register(family_name="Byron" if n % 2 else "King")
        if n % 2:
            wanted.append(created["id"])
    for headers, scope in ((nurse, {}), (admin, {"scope": "admin"})):
        query: dict[str, Any] = {"q": "byron", "limit": 2, **scope}
        first = (await patients.client.get("/api/patients", params=query, headers=headers)).json()
        query["cursor"] = first["next_cursor"]
        second = (await patients.client.get("/api/patients", params=query, headers=headers)).json()

        assert [each["id"] for each in first["patients"] + second["patients"]] == wanted
        assert second["next_cursor"] is None


async def test_a_blank_search_is_none(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    created = await register()

    assert await _ids(patients, nurse, q=" ") == [created["id"]]


async def test_bad_parameters_are_named(patients: RunningService, nurse: dict[str, str]) -> None:
    long = "q=" + "x" * 201
    for query in (
        "limit=0",
        "limit=1001",
        "limit=x",
        "cursor=x",
        "cursor=WzFd.",
        long,
        "include_inactive=maybe",
    ):
        answer = await patients.client.get(f"/api/patients?{query}", headers=nurse)

        assert answer.status_code == 422, query
        assert query.partition("=")[0] in [error["loc"][-1] for error in answer.json()["errors"]]


@pytest.mark.parametrize("sweep_interval", [0.2])
async def test_more_patients_than_fit_one_search_come_in_order(
    patients: RunningService, admin: dict[str, str], fhir: httpx.AsyncClient, eventually: Any
) -> None:
    for n in range(430):
        family = "Byron" if n % 100 == 0 else "King"
        resource = {"resourceType": "Patient", "id": f"x-{n:03}", "name": [{"family": family}]}
        await fhir.put(f"/Patient/x-{n:03}", json=resource)
    for n in range(430):
        await patients.deliver("orgs.patient.added.v1", {"organisation_id": WARD, "patient_id": f"x-{n:03}"})
    nurse = patients.bearer(NURSE)

    async def complete() -> bool:
        return len(await _ids(patients, nurse)) == 430

    await eventually(complete)
    assert await _ids(patients, nurse) == [f"x-{n:03}" for n in range(430)]
    assert await _ids(patients, nurse, q="byron") == [f"x-{n:03}" for n in range(0, 430, 100)]
    assert await _ids(patients, nurse, limit=250) == [f"x-{n:03}" for n in range(250)]


async def test_a_record_deleted_from_fhir_leaves_the_list(
    patients: RunningService, nurse: dict[str, str], register: Register, fhir: httpx.AsyncClient
) -> None:
    kept, deleted = (await register())["id"], (await register())["id"]
    await fhir.delete(f"/Patient/{deleted}")

    assert await _ids(patients, nurse, include_inactive=True) == [kept]
    (event,) = await patients.recorded("patients.patient.deactivated.v1")
    assert event["data"]["patient_id"] == deleted
    assert await _ids(patients, nurse, include_inactive=True) == [kept]
    assert len(await patients.recorded("patients.patient.deactivated.v1")) == 1
    answer = await patients.client.get(f"/api/patients/{deleted}", headers=nurse)
    assert (answer.status_code, answer.json()["detail"]) == (404, "Patient not found")


async def test_a_fhir_server_that_lost_its_records_is_an_error_not_a_short_list(
    patients: RunningService, nurse: dict[str, str], register: Register, fhir: httpx.AsyncClient
) -> None:
    for _ in range(12):
        await fhir.delete(f"/Patient/{(await register())['id']}")

    answer = await patients.client.get("/api/patients", headers=nurse)

    assert answer.status_code == 502
    assert await patients.recorded("patients.patient.deactivated.v1") == []


async def test_a_fhir_server_that_lost_a_few_records_is_an_error_too(
    patients: RunningService,
    nurse: dict[str, str],
    register: Register,
    fhir: httpx.AsyncClient,
    fhir_server: Any,
) -> None:
    for _ in range(6):
        await register()
    await truncate_all(fhir_server.database.owner_url)

    for query in ("", "?limit=1", "?limit=2"):
        answer = await patients.client.get(f"/api/patients{query}", headers=nurse)
        assert answer.status_code == 502, answer.text
    assert (await patients.client.get("/api/fhir/Patient", headers=nurse)).status_code == 502
    assert await patients.recorded("patients.patient.deactivated.v1") == []


@pytest.mark.parametrize("registered", [1, 2, 3])
async def test_the_last_records_can_be_deleted(
    patients: RunningService,
    nurse: dict[str, str],
    register: Register,
    fhir: httpx.AsyncClient,
    registered: int,
) -> None:
    for patient_id in [(await register())["id"] for _ in range(registered)]:
        await fhir.delete(f"/Patient/{patient_id}")

    assert await _ids(patients, nurse) == []
    assert len(await patients.recorded("patients.patient.deactivated.v1")) == registered


async def test_a_page_of_one_that_another_server_forgot_is_judged_by_the_others(
    patients: RunningService,
    nurse: dict[str, str],
    register: Register,
    fhir: httpx.AsyncClient,
    fhir_server: Any,
) -> None:
    lost, kept = await register(), await register()
    kept.pop("warnings")
    await truncate_all(fhir_server.database.owner_url)
    await fhir.put(f"/Patient/{kept['id']}", json=kept)

    answer = await patients.client.get("/api/patients?limit=1", headers=nurse)

    assert (answer.status_code, answer.json()["patients"]) == (200, [])
    (event,) = await patients.recorded("patients.patient.deactivated.v1")
    assert event["data"]["patient_id"] == lost["id"]


async def test_metadata_and_demographics_name_the_patient(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    created = await register()
    patient_id = created["id"]

    metadata = await patients.client.get(f"/api/patients/{patient_id}/metadata", headers=nurse)
    demographics = await patients.client.get(f"/api/patients/{patient_id}/demographics", headers=nurse)

    assert metadata.json() == {"patient_id": patient_id, "is_active": True}
    del created["warnings"]
    assert demographics.json() == {"patient_id": patient_id, "data": created}
    for answer in (metadata, demographics):
        assert (answer.headers["etag"], answer.headers["cache-control"]) == ('W/"1"', "no-store")


async def test_a_patient_is_verified(
    patients: RunningService,
    nurse: dict[str, str],
    stranger: dict[str, str],
    admin: dict[str, str],
    register: Register,
) -> None:
    patient_id = (await register())["id"]

    ready = await patients.client.post(f"/api/patients/verify?patient_id={patient_id}", headers=nurse)
    hidden = await patients.client.post(f"/api/patients/verify?patient_id={patient_id}", headers=stranger)
    missing = await patients.client.post("/api/patients/verify?patient_id=nobody", headers=admin)

    assert ready.json() == {"patient_id": patient_id, "status": "ready"}
    assert hidden.status_code == 403
    assert (missing.status_code, missing.json()["detail"]) == (404, "Patient not found in FHIR server")


async def test_who_may_not_see_a_patient_does_not_learn_whether_there_is_one(
    patients: RunningService, admin: dict[str, str], register: Register
) -> None:
    stranger = patients.bearer(99, perm="patient")
    existing = f"/api/patients/{(await register())['id']}/metadata"

    def words(answer: httpx.Response) -> dict[str, Any]:
        return {k: v for k, v in answer.json().items() if k not in ("instance", "trace_id")}

    reference = await patients.client.get(existing, headers=stranger)
    for patient_id in ("nobody", "a_b", "x" * 65, "%20", "é", "..."):
        path = f"/api/patients/{patient_id}/metadata"
        forbidden = await patients.client.get(path, headers=stranger)
        missing = await patients.client.get(path, headers=admin)

        assert (forbidden.status_code, words(forbidden)) == (403, words(reference))
        assert (missing.status_code, missing.json()["detail"]) == (404, "Patient not found")


async def test_another_service_asks_for_a_patient(
    patients: RunningService, fhir: httpx.AsyncClient, nurse: dict[str, str]
) -> None:
    await fhir.put("/Patient/x-1", json={"resourceType": "Patient", "id": "x-1", "active": False})
    key = patients.runtime.settings.service_key.get_secret_value()
    headers = {"Authorization": f"Bearer {make(key, caller='orgs', audience='patients')}"}

    known = await patients.client.get("/internal/patients/x-1", headers=headers)
    unknown = await patients.client.get("/internal/patients/x-2", headers=headers)

    assert known.json() == {"patient_id": "x-1", "is_active": False, "version": 1}
    assert unknown.status_code == 404
    assert (await patients.client.get("/internal/patients/a_b", headers=headers)).status_code == 404
    assert (await patients.client.get("/internal/patients/x-1", headers=nurse)).status_code == 401
    (event,) = await patients.recorded("patients.patient.created.v1")
    assert event["data"] == {"patient_id": "x-1", "version": 1, "organisation_id": None, "created_by": None}
