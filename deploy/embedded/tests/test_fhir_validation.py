import asyncio
from typing import Any

import httpx
import pytest


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "HAPI-1861"),
        (b"{", "HAPI-1861"),
        (b"[]", "HAPI-1859"),
        (b'"x"', "HAPI-1859"),
        (b"\xff\xfe", "HAPI-1861"),
        (b'{"resourceType":"Patient","id":"p-1","x":NaN}', "HAPI-1861"),
        (b'{"a":' * 100_000, "HAPI-1861"),
        (b"{}", "HAPI-0419"),
        (b'{"id":"p-1"}', "HAPI-1838"),
        (b'{"resourceType":7,"id":"p-1"}', "HAPI-1838"),
        (b'{"resourceType":"Communication","id":"p-1","status":"completed"}', "HAPI-1814"),
        (b'{"resourceType":"Patient"}', "HAPI-0419"),
        (b'{"resourceType":"Patient","id":"p-2"}', "HAPI-0420"),
        (b'{"resourceType":"Patient","id":7}', "HAPI-0420"),
    ],
)
async def test_a_body_that_is_no_such_resource_is_refused(
    fhir: httpx.AsyncClient, content: bytes, code: str
) -> None:
    answer = await fhir.put("/Patient/p-1", content=content)
    assert answer.status_code == 400
    assert code in answer.json()["issue"][0]["diagnostics"]


async def test_a_numeric_id_can_be_chosen_where_the_setting_allows(start_fhir: Any) -> None:
    content = {"resourceType": "Patient", "id": "123"}
    refused = await (await start_fhir()).put("/Patient/123", json=content)
    assert refused.status_code == 400
    assert "HAPI-0960" in refused.text
    fhir = await start_fhir(client_ids="any")
    assert (await fhir.put("/Patient/123", json=content)).status_code == 201
    assert not (await fhir.post("/Patient", json=content)).json()["id"].isdigit()


@pytest.mark.parametrize(
    ("elements", "path"),
    [
        ({"unknown": 1}, "Patient.unknown"),
        ({"gender": "feminine"}, "Patient.gender"),
        ({"gender": 5}, "Patient.gender"),
        ({"birthDate": "2020-02-31"}, "Patient.birthDate"),
        ({"birthDate": "3.2.1980"}, "Patient.birthDate"),
        ({"active": "yes"}, "Patient.active"),
        ({"active": 1}, "Patient.active"),
        ({"active": None}, "Patient.active"),
        ({"multipleBirthInteger": "2"}, "Patient.multipleBirthInteger"),
        ({"multipleBirthInteger": 1.5}, "Patient.multipleBirthInteger"),
        ({"multipleBirthInteger": True}, "Patient.multipleBirthInteger"),
        ({"name": {"family": "x"}}, "Patient.name"),
        ({"name": [{"family": ""}]}, "Patient.name[0].family"),
        ({"name": [{"family": "a\u0000b"}]}, "Patient.name[0].family"),
        ({"name": [{}]}, "Patient.name[0]"),
        ({"name": []}, "Patient.name"),
        ({"name": [{"use": "best"}]}, "Patient.name[0].use"),
        ({"meta": {}}, "Patient.meta"),
        ({"meta": {"lastUpdated": "2020"}}, "Patient.meta.lastUpdated"),
        ({"deceasedDateTime": "2020-01-01T10:00:00"}, "Patient.deceasedDateTime"),
        ({"extension": [{"url": "u", "valueDecimal": "1.5"}]}, "Patient.extension[0].valueDecimal"),
        ({"contained": [{"resourceType": "Fiction", "id": "c"}]}, "HAPI-1815"),
    ],
)
async def test_values_of_the_wrong_form_are_refused(
    fhir: httpx.AsyncClient, elements: dict[str, Any], path: str
) -> None:
    answer = await fhir.put("/Patient/p-1", json={"resourceType": "Patient", "id": "p-1", **elements})
    assert answer.status_code == 400
    assert path in answer.json()["issue"][0]["diagnostics"]
    assert (await fhir.get("/Patient/p-1")).status_code == 404


@pytest.mark.parametrize(
    ("resource_type", "elements", "path"),
    [
        ("Communication", {}, "Communication.status"),
        ("Communication", {"status": "completed", "payload": [{"id": "x"}]}, "Communication.payload"),
        ("Patient", {"deceasedBoolean": True, "deceasedDateTime": "2020"}, "Patient"),
        ("Patient", {"extension": [{"valueString": "x"}]}, "Patient.extension[0]"),
    ],
)
async def test_broken_rules_are_unprocessable(
    fhir: httpx.AsyncClient, resource_type: str, elements: dict[str, Any], path: str
) -> None:
    answer = await fhir.put(
        f"/{resource_type}/r-1", json={"resourceType": resource_type, "id": "r-1", **elements}
    )
    assert answer.status_code == 422
    assert path in answer.json()["issue"][0]["diagnostics"]


async def test_every_fault_has_its_issue_and_no_value_is_repeated(fhir: httpx.AsyncClient) -> None:
    content = {"gender": "canary-a", "birthDate": "canary-b", "canary c": "canary-d"}
    answer = await fhir.post("/Patient", json={"resourceType": "Patient", **content})
    assert answer.status_code == 400
    assert len(answer.json()["issue"]) >= 2
    assert "canary" not in answer.text


@pytest.mark.parametrize(
    ("elements", "status", "code"),
    [
        ({"subject": {"reference": "Patient/nobody"}}, 400, "HAPI-1094"),
        ({"subject": {"reference": "Patient/gone"}}, 400, "HAPI-1096"),
        ({"subject": {"reference": "http://other.example/fhir/Patient/p-1"}}, 400, "HAPI-0507"),
        ({"subject": {"reference": "p-1"}}, 400, "HAPI-0505"),
        ({"subject": {"reference": "Practitioner/p-1"}}, 422, "HAPI-0931"),
        ({"partOf": [{"reference": "Communication/none"}]}, 400, "Communication.partOf"),
        ({"sender": {"reference": "Practitioner/dr"}}, 400, "HAPI-1094"),
    ],
)
async def test_a_reference_must_hit_something(
    fhir: httpx.AsyncClient, elements: dict[str, Any], status: int, code: str
) -> None:
    for patient_id in ("p-1", "gone"):
        await fhir.put(f"/Patient/{patient_id}", json={"resourceType": "Patient", "id": patient_id})
    await fhir.delete("/Patient/gone")
    communication = {"resourceType": "Communication", "id": "c-1", "status": "completed", **elements}
    answer = await fhir.put("/Communication/c-1", json=communication)
    assert answer.status_code == status
    assert code in answer.text


@pytest.mark.parametrize(
    "subject",
    [
        {"reference": "Patient/p-1"},
        {"reference": "Patient/p-1/_history/1"},
        {"display": "somebody"},
    ],
)
async def test_references_that_hold_are_kept_as_written(
    fhir: httpx.AsyncClient, subject: dict[str, str]
) -> None:
    await fhir.put("/Patient/p-1", json={"resourceType": "Patient", "id": "p-1"})
    communication = {"resourceType": "Communication", "id": "c-1", "status": "completed", "subject": subject}
    assert (await fhir.put("/Communication/c-1", json=communication)).status_code == 201
    assert (await fhir.get("/Communication/c-1")).json()["subject"] == subject


async def test_what_is_referred_to_cannot_be_deleted(fhir: httpx.AsyncClient) -> None:
    await fhir.put("/Patient/p-1", json={"resourceType": "Patient", "id": "p-1"})
    communication = {
        "resourceType": "Communication",
        "id": "c-1",
        "status": "completed",
        "subject": {"reference": "Patient/p-1"},
    }
    await fhir.put("/Communication/c-1", json=communication)
    answer = await fhir.delete("/Patient/p-1")
    assert answer.status_code == 409
    assert "Communication/c-1 in path Communication.subject" in answer.text
    await fhir.delete("/Communication/c-1")
    assert (await fhir.delete("/Patient/p-1")).status_code == 200
    assert (await fhir.get("/Patient/p-1")).status_code == 410


async def test_a_deletion_and_a_new_reference_never_both_succeed(fhir: httpx.AsyncClient) -> None:
    async def refer(patient_id: str) -> int:
        communication = {
            "resourceType": "Communication",
            "status": "completed",
            "subject": {"reference": f"Patient/{patient_id}"},
        }
        return (await fhir.post("/Communication", json=communication)).status_code

    async def remove(patient_id: str) -> int:
        return (await fhir.delete(f"/Patient/{patient_id}")).status_code

    for number in range(15):
        patient_id = f"p-{number}"
        await fhir.put(f"/Patient/{patient_id}", json={"resourceType": "Patient", "id": patient_id})
        outcomes = await asyncio.gather(remove(patient_id), refer(patient_id), refer(patient_id))
        assert outcomes[0] in (200, 409)
        assert set(outcomes[1:]) == {400} if outcomes[0] == 200 else 201 in outcomes[1:]
