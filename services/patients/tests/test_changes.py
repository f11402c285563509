"""Changing patients: only what is given, and never over somebody else's change."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from quill_shared.platform.testing.services import CANARY_FAMILY, CANARY_NHS_NUMBER, RunningService

Register = Callable[..., Awaitable[dict[str, Any]]]

WHOLE = {
    "given_name": "Ada",
    "family_name": "Byron",
    "birth_date": "1980-01-02",
    "gender": "female",
    "mrn": "M-1",
    "address": {"line": ["1 Road"], "city": "Leeds", "postalCode": "LS1"},
    "contact": {"phone": "0113", "email": "ada@example.org"},
}
HOME = {"use": "home", "line": ["1 Road"], "city": "Leeds", "postalCode": "LS1"}
PHONE = {"system": "phone", "value": "0113"}
EMAIL = {"system": "email", "value": "ada@example.org"}
OFFICIAL = {"use": "official", "family": "Byron", "given": ["Ada"]}

Change = tuple[dict[str, Any], dict[str, Any]]


def _without_meta(resource: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name not in ("meta", "warnings")}


async def test_a_patch_changes_what_is_given_and_nothing_else(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    changes: list[Change] = [
        ({"family_name": CANARY_FAMILY}, {"name": [{**OFFICIAL, "family": CANARY_FAMILY}]}),
        ({"given_name": "Mary"}, {"name": [{**OFFICIAL, "given": ["Mary"]}]}),
        ({"birth_date": "1981-01-02"}, {"birthDate": "1981-01-02"}),
        ({"gender": "other", "given_name": None}, {"gender": "other"}),
        ({"address": {"city": "York"}}, {"address": [{**HOME, "city": "York"}]}),
        ({"contact": {"phone": "01904"}}, {"telecom": [{**PHONE, "value": "01904"}, EMAIL]}),
    ]
    for fields, changed in changes:
        before = await register(**WHOLE)

        answer = await patients.client.patch(f"/api/patients/{before['id']}", json=fields, headers=nurse)

        assert answer.status_code == 200, answer.text
        assert answer.headers["etag"] == 'W/"2"'
        assert _without_meta(answer.json()) == {**_without_meta(before), **changed}
        event = (await patients.recorded("patients.patient.updated.v1"))[-1]
        assert event["data"] == {"patient_id": before["id"], "version": 2}
        assert event["sequence"] == 2


async def test_a_patch_without_a_change_makes_no_version(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    before = await register(**WHOLE)
    unchanged: list[dict[str, Any]] = [{}, {"given_name": "Ada"}, {"gender": None}]
    for fields in unchanged:
        answer = await patients.client.patch(f"/api/patients/{before['id']}", json=fields, headers=nurse)

        assert answer.headers["etag"] == 'W/"1"'
    assert await patients.recorded("patients.patient.updated.v1") == []


async def test_what_another_client_wrote_is_kept_to_the_digit(
    patients: RunningService, admin: dict[str, str], fhir: httpx.AsyncClient
) -> None:
    text = (
        '{"resourceType":"Patient","id":"x-1","extension":[{"url":"urn:a","valueDecimal":1.10}],'
        '"name":[{"text":"Ada Byron"}],"deceasedDateTime":"2019-02-01T11:02:03+00:00",'
        '"multipleBirthInteger":2}'
    )
    await fhir.put("/Patient/x-1", content=text)

    await patients.client.patch("/api/patients/x-1", json={"gender": "female"}, headers=admin)

    stored = (await fhir.get("/Patient/x-1")).text
    assert '"valueDecimal":1.10' in stored
    assert "2019-02-01T11:02:03+00:00" in stored
    assert '"text":"Ada Byron"' in stored
    assert '"gender":"female"' in stored


async def test_the_nhs_number_is_corrected(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    other = (await register(nhs_number="9990000018"))["id"]
    patient = await register(nhs_number=CANARY_NHS_NUMBER)
    path = f"/api/patients/{patient['id']}"

    taken = await patients.client.patch(path, json={"nhs_number": "999 000 0018"}, headers=nurse)
    free = await patients.client.patch(path, json={"nhs_number": "999 000 0026"}, headers=nurse)
    again = await register(nhs_number=CANARY_NHS_NUMBER)

    assert (taken.status_code, taken.json()["patient_id"]) == (409, other)
    assert [each["value"] for each in free.json()["identifier"]] == ["9990000026"]
    assert again["id"] != patient["id"], "the number given up is free"


async def test_an_nhs_number_goes_to_one_of_two_who_are_given_it_at_once(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    ids = [(await register())["id"] for _ in range(6)]

    answers = await asyncio.gather(
        *(
            patients.client.patch(f"/api/patients/{each}", json={"nhs_number": "9990000018"}, headers=nurse)
            for each in ids
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 5]


async def test_a_stale_change_is_refused(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    path = f"/api/patients/{(await register())['id']}"
    await patients.client.patch(path, json={"gender": "female"}, headers=nurse)
    for stale in ('W/"1"', '"1"', "1", 'W/"x"', "rubbish", 'W/"99999999999999999999"'):
        answer = await patients.client.patch(
            path, json={"gender": "other"}, headers={**nurse, "If-Match": stale}
        )

        assert answer.status_code == 412, stale
    for version, fresh in enumerate(('W/"{}"', '"{}"', "{}", 'W/"1", W/"{}"', "*"), start=2):
        answer = await patients.client.patch(
            path,
            json={"contact": {"phone": str(version)}},
            headers={**nurse, "If-Match": fresh.format(version)},
        )

        assert (answer.status_code, answer.headers["etag"]) == (200, f'W/"{version + 1}"')


async def test_an_empty_condition_is_refused(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    path = f"/api/patients/{(await register())['id']}"

    answer = await patients.client.patch(path, json={"gender": "other"}, headers={**nurse, "If-Match": ""})

    assert answer.status_code == 400


async def test_of_many_changes_of_one_version_one_is_made(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    path = f"/api/patients/{(await register())['id']}"

    answers = await asyncio.gather(
        *(
            patients.client.patch(
                path, json={"contact": {"phone": str(n)}}, headers={**nurse, "If-Match": 'W/"1"'}
            )
            for n in range(8)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200, *[412] * 7]


async def test_changes_of_different_fields_at_once_are_all_kept_or_refused(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    path = f"/api/patients/{(await register())['id']}"
    changes: list[dict[str, Any]] = [
        {"gender": "female"},
        {"birth_date": "1980-01-02"},
        {"mrn": "M-9"},
        {"address": {"city": "York"}},
        {"contact": {"phone": "1"}},
    ]

    answers = await asyncio.gather(
        *(patients.client.patch(path, json=change, headers=nurse) for change in changes)
    )

    final = (await patients.client.get(path, headers=nurse)).json()
    elements = ("gender", "birthDate", "identifier", "address", "telecom")
    for element, answer in zip(elements, answers, strict=True):
        assert answer.status_code in (200, 409)
        assert (element in final) == (answer.status_code == 200)
    made = sum(answer.status_code == 200 for answer in answers)
    assert made >= 2
    assert len(await patients.recorded("patients.patient.updated.v1")) == made


async def test_a_bad_patch_is_refused(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    path = f"/api/patients/{(await register())['id']}"
    bad: list[tuple[dict[str, Any], str]] = [
        ({"given_name": ""}, "given_name"),
        ({"nhs_number": "1"}, "nhs_number"),
        ({"birth_date": "2999-01-01"}, "birth_date"),
        ({"organisation_id": 7}, "organisation_id"),
        ({"patient_id": "other"}, "patient_id"),
        ({"first_name": "x"}, "first_name"),
    ]
    for fields, where in bad:
        answer = await patients.client.patch(path, json=fields, headers=nurse)

        assert answer.status_code == 422, fields
        assert where in [error["loc"][-1] for error in answer.json()["errors"]]


async def test_demographics_are_put_flat_or_by_fhir_element(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    fax = {"system": "fax", "value": "1"}
    changes: list[Change] = [
        ({"family_name": "King"}, {"name": [{**OFFICIAL, "family": "King"}]}),
        ({"date_of_birth": "1981-01-02", "sex": "other"}, {"birthDate": "1981-01-02", "gender": "other"}),
        ({"birthDate": "1981-01-02", "gender": "other"}, {"birthDate": "1981-01-02", "gender": "other"}),
        (
            {"address": {"line": ["2 Road"], "country": "GB"}},
            {"address": [{**HOME, "line": ["2 Road"], "country": "GB"}]},
        ),
        ({"address": [{"city": "York"}]}, {"address": [{"city": "York"}]}),
        ({"contact": {"email": "b@example.org"}}, {"telecom": [PHONE, {**EMAIL, "value": "b@example.org"}]}),
        ({"name": [{"family": "K"}], "telecom": [fax]}, {"name": [{"family": "K"}], "telecom": [fax]}),
        ({"maritalStatus": {"text": "married"}}, {"maritalStatus": {"text": "married"}}),
        ({"sex": None}, {}),
    ]
    for fields, changed in changes:
        before = await register(**WHOLE)

        answer = await patients.client.put(
            f"/api/patients/{before['id']}/demographics", json=fields, headers=nurse
        )

        body = answer.json()
        assert answer.status_code == 200, body
        assert (body["patient_id"], body["updated"]) == (before["id"], True)
        assert _without_meta(body["data"]) == {**_without_meta(before), **changed}


async def test_bad_demographics_are_refused(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    path = f"/api/patients/{(await register())['id']}/demographics"
    bad: list[tuple[dict[str, Any], str]] = [
        ({"sex": "F"}, "sex"),
        ({"date_of_birth": "1.2.1980"}, "date_of_birth"),
        ({"name": [{"family": 7}]}, "family"),
        ({"name": [{"colour": "red"}]}, "colour"),
        ({"telecom": [{"system": "pigeon", "value": "1"}]}, "system"),
        ({"name": [{"family": "x"}], "given_name": "y"}, "body"),
        ({"sex": "male", "gender": "male"}, "body"),
        ({"nhs_number": CANARY_NHS_NUMBER}, "nhs_number"),
        ({"address": {"street": "x"}}, "street"),
    ]
    for fields, where in bad:
        answer = await patients.client.put(path, json=fields, headers=nurse)

        assert answer.status_code == 422, answer.text
        assert where in [part for error in answer.json()["errors"] for part in error["loc"]]


async def test_a_record_is_taken_out_of_use_and_into_it_again(
    patients: RunningService, admin: dict[str, str], register: Register
) -> None:
    patient_id = (await register())["id"]

    for _ in range(2):
        off = await patients.client.post(f"/api/patients/{patient_id}/deactivate", headers=admin)
        assert off.json() == {
            "patient_id": patient_id,
            "is_active": False,
            "message": "Patient deactivated successfully",
        }
    metadata = await patients.client.get(f"/api/patients/{patient_id}/metadata", headers=admin)
    assert metadata.json()["is_active"] is False
    on = await patients.client.post(f"/api/patients/{patient_id}/activate", headers=admin)
    assert on.json()["message"] == "Patient activated successfully"
    assert [(e["type"].split(".")[2], e["sequence"]) for e in await patients.recorded()] == [
        ("created", 1),
        ("deactivated", 2),
        ("activated", 3),
    ]


async def test_a_missing_patient_is_not_found_by_an_administrator(
    patients: RunningService, admin: dict[str, str]
) -> None:
    calls: list[tuple[str, str, dict[str, str] | None]] = [
        ("PATCH", "/api/patients/nobody", {"gender": "other"}),
        ("PUT", "/api/patients/nobody/demographics", {"sex": "other"}),
        ("POST", "/api/patients/nobody/deactivate", None),
        ("POST", "/api/patients/nobody/activate", None),
        ("GET", "/api/patients/nobody/demographics", None),
        ("GET", "/api/patients/nobody/metadata", None),
        ("GET", "/api/fhir/patients/nobody", None),
    ]
    for method, path, body in calls:
        answer = await patients.client.request(method, path, json=body, headers=admin)

        assert (answer.status_code, answer.json()["detail"]) == (404, "Patient not found"), path


async def test_the_text_for_who_may_not_deactivate(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    patient_id = (await register())["id"]
    for doing in ("deactivate", "activate"):
        answer = await patients.client.post(f"/api/patients/{patient_id}/{doing}", headers=nurse)

        assert answer.status_code == 403
        assert answer.json()["detail"] == f"Admin or superadmin permission required to {doing} patients"


async def test_changing_records_needs_the_competency(
    patients: RunningService, register: Register, nurse: dict[str, str]
) -> None:
    path = f"/api/patients/{(await register())['id']}"
    receptionist = patients.bearer(11, profession="receptionist")

    answer = await patients.client.patch(path, json={"gender": "other"}, headers=receptionist)

    assert answer.status_code == 403
    assert answer.json()["detail"] == "Forbidden: User lacks required competency 'modify_patient_records'"
