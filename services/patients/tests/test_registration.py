"""Registering patients (contract, section 7)."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from quill_shared.platform.testing.services import (
    CANARY_FAMILY,
    CANARY_GIVEN,
    CANARY_NHS_NUMBER,
    RunningService,
)

WARD, CLINIC, NURSE = 7, 8, 11
CANARY = {"given_name": CANARY_GIVEN, "family_name": CANARY_FAMILY}


async def test_who_registers_a_patient_sees_them_at_once(
    patients: RunningService, nurse: dict[str, str], stranger: dict[str, str]
) -> None:
    answer = await patients.client.post(
        "/api/patients",
        json={
            **CANARY,
            "birth_date": "1980-02-29",
            "gender": "female",
            "nhs_number": "943 476-5919",
            "mrn": "M-1",
        },
        headers=nurse,
    )

    body = answer.json()
    assert answer.status_code == 200, body
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.headers["cache-control"] == "no-store"
    assert body["identifier"][0]["value"] == CANARY_NHS_NUMBER
    assert body["warnings"] == []
    listed = (await patients.client.get("/api/patients", headers=nurse)).json()
    assert listed["fhir_ready"] is True
    assert [each["id"] for each in listed["patients"]] == [body["id"]]
    assert listed["patients"][0]["is_active"] is True
    elsewhere = (await patients.client.get("/api/patients", headers=stranger)).json()
    assert elsewhere == {"fhir_ready": True, "next_cursor": None, "patients": []}
    read = await patients.client.get(f"/api/patients/{body['id']}", headers=nurse)
    assert read.json()["name"] == [{"use": "official", "family": CANARY_FAMILY, "given": [CANARY_GIVEN]}]


async def test_a_registration_is_announced_without_demographics(
    patients: RunningService, nurse: dict[str, str]
) -> None:
    answer = await patients.client.post("/api/fhir/patients", json=CANARY, headers=nurse)

    (event,) = await patients.recorded("patients.patient.created.v1")
    assert event["data"] == {
        "patient_id": answer.json()["id"],
        "version": 1,
        "organisation_id": WARD,
        "created_by": NURSE,
    }
    assert event["subject"] == f"patient:{answer.json()['id']}"
    assert event["sequence"] == 1


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"given_name": ""}, "given_name"),
    ({"family_name": "   "}, "family_name"),
    ({"family_name": "a\0b"}, "family_name"),
    ({"family_name": "a\ud800"}, "family_name"),
    ({"given_name": 7}, "given_name"),
    ({"given_name": "x" * 500}, "given_name"),
    ({"birth_date": "2999-01-01"}, "birth_date"),
    ({"birth_date": "1850-01-01"}, "birth_date"),
    ({"birth_date": "01/02/1980"}, "birth_date"),
    ({"birth_date": 315619200}, "birth_date"),
    ({"gender": "Male"}, "gender"),
    ({"nhs_number": "9434765918"}, "nhs_number"),
    ({"nhs_number": "943476591"}, "nhs_number"),
    ({"nhs_number": "94347659190"}, "nhs_number"),
    ({"nhs_number": "943476591X"}, "nhs_number"),
    ({"nhs_number": "٩٤٣٤٧٦٥٩١٩"}, "nhs_number"),
    ({"nhs_number": ""}, "nhs_number"),
    ({"nhs_number": 9434765919}, "nhs_number"),
    ({"mrn": " "}, "mrn"),
    ({"patient_id": "123"}, "patient_id"),
    ({"patient_id": "a/b"}, "patient_id"),
    ({"organisation_id": "7"}, "organisation_id"),
    ({"organisation_id": True}, "organisation_id"),
    ({"organisation_id": 2**63}, "organisation_id"),
    ({"address": {"town": "x"}}, "town"),
    ({"contact": {"email": "nobody"}}, "email"),
    ({"colour": "red"}, "colour"),
]


async def test_each_bad_field_is_named(patients: RunningService, nurse: dict[str, str]) -> None:
    headers = {**nurse, "Content-Type": "application/json"}
    for fields, where in BAD_FIELDS:
        # httpx would not send an unpaired surrogate.
        content = json.dumps({**CANARY, **fields})
        answer = await patients.client.post("/api/patients", content=content, headers=headers)

        assert answer.status_code == 422, fields
        assert answer.headers["content-type"] == "application/problem+json"
        assert where in [part for error in answer.json()["errors"] for part in error["loc"]], fields
    assert await patients.recorded() == []


async def test_every_bad_field_is_named_at_once(patients: RunningService, nurse: dict[str, str]) -> None:
    answer = await patients.client.post(
        "/api/patients",
        json={"given_name": "", "gender": "M", "nhs_number": "1", "birth_date": "x"},
        headers=nurse,
    )

    assert {error["loc"][1] for error in answer.json()["errors"]} == {
        "given_name",
        "family_name",
        "gender",
        "nhs_number",
        "birth_date",
    }


async def test_a_known_nhs_number_is_a_conflict_with_the_existing_id(
    patients: RunningService, nurse: dict[str, str], stranger: dict[str, str]
) -> None:
    first = await patients.client.post(
        "/api/patients", json={**CANARY, "nhs_number": CANARY_NHS_NUMBER}, headers=nurse
    )
    second = await patients.client.post(
        "/api/patients", json={**CANARY, "nhs_number": "943 476 5919"}, headers=stranger
    )

    assert second.status_code == 409
    problem = second.json()
    assert problem["detail"] == "Patient already exists"
    assert problem["error_code"] == "patient_exists"
    assert problem["patient_id"] == first.json()["id"]
    assert len(await patients.recorded()) == 1


async def test_an_nhs_number_another_client_wrote_is_known_too(
    patients: RunningService, nurse: dict[str, str], fhir: httpx.AsyncClient
) -> None:
    identifier = {"system": "https://fhir.nhs.uk/Id/nhs-number", "value": CANARY_NHS_NUMBER}
    await fhir.put("/Patient/x-1", json={"resourceType": "Patient", "id": "x-1", "identifier": [identifier]})

    answer = await patients.client.post(
        "/api/patients", json={**CANARY, "nhs_number": CANARY_NHS_NUMBER}, headers=nurse
    )

    assert (answer.status_code, answer.json()["patient_id"]) == (409, "x-1")


async def test_an_existing_id_is_never_overwritten(
    patients: RunningService, nurse: dict[str, str], fhir: httpx.AsyncClient
) -> None:
    await fhir.put("/Patient/x-1", json={"resourceType": "Patient", "id": "x-1", "gender": "male"})

    answer = await patients.client.post("/api/patients", json={**CANARY, "patient_id": "x-1"}, headers=nurse)

    assert (answer.status_code, answer.json()["patient_id"]) == (409, "x-1")
    assert (await fhir.get("/Patient/x-1")).json()["meta"]["versionId"] == "1"


async def test_the_id_of_a_deleted_record_is_not_used_again(
    patients: RunningService, nurse: dict[str, str], fhir: httpx.AsyncClient
) -> None:
    body = {**CANARY, "patient_id": "x-1"}
    assert (await patients.client.post("/api/patients", json=body, headers=nurse)).status_code == 200
    await fhir.delete("/Patient/x-1")

    answer = await patients.client.post("/api/patients", json=body, headers=nurse)

    assert (answer.status_code, answer.json()["patient_id"]) == (409, "x-1")


@pytest.mark.parametrize("fields", [{"nhs_number": CANARY_NHS_NUMBER}, {"patient_id": "x-1"}])
async def test_of_twenty_at_once_one_registers(
    patients: RunningService, nurse: dict[str, str], fhir: httpx.AsyncClient, fields: dict[str, str]
) -> None:
    answers = await asyncio.gather(
        *(patients.client.post("/api/patients", json={**CANARY, **fields}, headers=nurse) for _ in range(20))
    )

    created = [answer.json()["id"] for answer in answers if answer.status_code == 200]
    refused = [answer.json()["patient_id"] for answer in answers if answer.status_code == 409]
    assert len(created) == 1
    assert refused == created * 19
    assert (await fhir.get("/Patient")).json()["total"] == 1
    assert len(await patients.recorded()) == 1


async def test_a_number_that_was_given_up_is_free_again(
    patients: RunningService, nurse: dict[str, str], fhir: httpx.AsyncClient
) -> None:
    body = {**CANARY, "nhs_number": CANARY_NHS_NUMBER}
    first = (await patients.client.post("/api/patients", json=body, headers=nurse)).json()["id"]
    # Another client corrects the record: the number was someone else's.
    await fhir.put(f"/Patient/{first}", json={"resourceType": "Patient", "id": first})

    second = await patients.client.post("/api/patients", json=body, headers=nurse)
    third = await patients.client.post("/api/patients", json=body, headers=nurse)

    assert second.status_code == 200
    assert (third.status_code, third.json()["patient_id"]) == (409, second.json()["id"])


async def test_two_numbers_that_were_never_taken_are_free_again(
    patients: RunningService, nurse: dict[str, str], proxy: Any
) -> None:
    system = "https://fhir.nhs.uk/Id/nhs-number"
    numbers = ("9990000018", "9990000026")
    resource = {
        "resourceType": "Patient",
        "identifier": [{"system": system, "value": number} for number in numbers],
    }

    async def store() -> int:
        answer = await patients.client.post(
            "/api/fhir/Patient", json=resource, headers={**nurse, "Content-Type": "application/fhir+json"}
        )
        return answer.status_code

    proxy.before = lambda method, path: 422 if method == "PUT" else None
    refused = await store()
    proxy.before = lambda method, path: None
    async with asyncio.timeout(5):
        stored = await store()

    assert (refused, stored, await store()) == (422, 201, 409)


async def test_possible_duplicates_are_warned_of(
    patients: RunningService, nurse: dict[str, str], stranger: dict[str, str]
) -> None:
    body = {**CANARY, "birth_date": "1980-01-02"}
    first = (await patients.client.post("/api/patients", json=body, headers=nurse)).json()

    seen = (await patients.client.post("/api/patients", json=body, headers=nurse)).json()
    unseen = (await patients.client.post("/api/patients", json=body, headers=stranger)).json()
    other = await patients.client.post(
        "/api/patients", json={**body, "birth_date": "1980-01-03"}, headers=nurse
    )

    assert [warning["patient_ids"] for warning in seen["warnings"]] == [[first["id"]]]
    assert seen["warnings"][0]["code"] == "possible_duplicate"
    assert [warning["patient_ids"] for warning in unseen["warnings"]] == [[]], "no id they may not see"
    assert other.json()["warnings"] == []


async def test_staff_register_for_their_own_organisations_only(
    patients: RunningService, nurse: dict[str, str]
) -> None:
    own = await patients.client.post("/api/patients", json={**CANARY, "organisation_id": WARD}, headers=nurse)
    other = await patients.client.post(
        "/api/patients", json={**CANARY, "organisation_id": CLINIC}, headers=nurse
    )

    assert own.status_code == 200
    assert (other.status_code, other.json()["error_code"]) == (403, "organisation_not_own")


async def test_an_administrator_registers_for_any_organisation(
    patients: RunningService, admin: dict[str, str], stranger: dict[str, str]
) -> None:
    clinics = await patients.client.post(
        "/api/patients", json={**CANARY, "organisation_id": CLINIC}, headers=admin
    )
    nobodys = await patients.client.post("/api/patients", json=CANARY, headers=admin)

    assert (clinics.status_code, nobodys.status_code) == (200, 200)
    listed = (await patients.client.get("/api/patients", headers=stranger)).json()["patients"]
    assert [each["id"] for each in listed] == [clinics.json()["id"]]
    (_, last) = await patients.recorded()
    assert last["data"]["organisation_id"] is None


async def test_an_organisation_that_does_not_exist_is_a_404(
    patients: RunningService, admin: dict[str, str]
) -> None:
    answer = await patients.client.post(
        "/api/patients", json={**CANARY, "organisation_id": 4711}, headers=admin
    )

    assert (answer.status_code, answer.json()["detail"]) == (404, "Organization not found")
    assert await patients.recorded() == []


async def test_an_organisation_nobody_works_for_opens_the_record_to_nobody(
    patients: RunningService, admin: dict[str, str]
) -> None:
    created = await patients.client.post(
        "/api/patients", json={**CANARY, "organisation_id": 999}, headers=admin
    )
    # Much later an organisation gets that number.
    await patients.deliver("orgs.staff.added.v1", {"organisation_id": 999, "user_id": 55, "is_primary": True})

    answer = await patients.client.get(f"/api/patients/{created.json()['id']}", headers=patients.bearer(55))

    assert answer.status_code == 403


async def test_a_membership_on_its_way_is_waited_for(patients: RunningService, nurse: dict[str, str]) -> None:
    async def joins_late() -> None:
        await asyncio.sleep(0.3)
        await patients.deliver(
            "orgs.staff.added.v1", {"organisation_id": CLINIC, "user_id": NURSE, "is_primary": False}
        )

    answer, _ = await asyncio.gather(
        patients.client.post("/api/patients", json={**CANARY, "organisation_id": CLINIC}, headers=nurse),
        joins_late(),
    )

    assert answer.status_code == 200


async def test_the_membership_that_orgs_ends_later_ends_the_view(
    patients: RunningService, nurse: dict[str, str]
) -> None:
    created = (await patients.client.post("/api/patients", json=CANARY, headers=nurse)).json()["id"]
    fact = {"organisation_id": WARD, "patient_id": created}
    await patients.deliver("orgs.patient.added.v1", fact, sequence=1)
    await patients.deliver("orgs.patient.removed.v1", fact, sequence=2)

    answer = await patients.client.get(f"/api/patients/{created}", headers=nurse)

    assert answer.status_code == 403
