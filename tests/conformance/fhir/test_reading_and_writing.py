"""Storing resources, reading them back, their versions and their end (FHIR R4, RESTful API)."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from ..servers import unique
from .fhir import JSON, FhirClient, codes, ids, link, patient, version


async def test_a_resource_is_stored_under_the_id_the_client_chose(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"

    answer = await fhir.put(patient(patient_id, active=True))

    assert answer.status_code == 201
    assert version(answer) == 1
    assert answer.headers["content-type"].replace(" ", "").lower() == f"{JSON};charset=utf-8"
    assert answer.headers["content-location"] == f"{fhir.base}/Patient/{patient_id}/_history/1"
    assert "location" not in answer.headers
    body = answer.json()
    assert (body["id"], body["active"]) == (patient_id, True)
    updated = datetime.fromisoformat(body["meta"]["lastUpdated"])
    assert body["meta"]["lastUpdated"].endswith("+00:00")
    assert abs(datetime.now(UTC) - updated) < timedelta(minutes=1)
    assert parsedate_to_datetime(answer.headers["last-modified"]) == updated.replace(microsecond=0)
    read = await fhir.get(f"Patient/{patient_id}")
    assert (read.status_code, version(read)) == (200, 1)
    assert read.json()["meta"]["lastUpdated"] == body["meta"]["lastUpdated"]


async def test_the_server_assigns_an_id_to_a_posted_resource(fhir: FhirClient) -> None:
    answer = await fhir.post(patient("ignored", active=True))

    assert answer.status_code == 201
    patient_id = answer.json()["id"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", patient_id)
    assert answer.headers["location"] == f"{fhir.base}/Patient/{patient_id}/_history/1"
    assert version(answer) == 1
    assert version(await fhir.get(f"Patient/{patient_id}")) == 1


async def test_each_change_is_a_version_and_no_change_is_none(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    await fhir.put(patient(patient_id, gender="male", active=True))

    same = await fhir.put(patient(patient_id, active=True, gender="male"))
    changed = await fhir.put(patient(patient_id, active=False))
    again = await fhir.put(patient(patient_id, active=False))

    assert [(each.status_code, version(each)) for each in (same, changed, again)] == [
        (200, 1),
        (200, 2),
        (200, 2),
    ]
    assert changed.json()["meta"]["lastUpdated"] > same.json()["meta"]["lastUpdated"]
    assert again.json()["meta"]["lastUpdated"] == changed.json()["meta"]["lastUpdated"]
    assert "gender" not in (await fhir.get(f"Patient/{patient_id}")).json()


async def test_what_was_read_is_written_back_without_a_version(fhir: FhirClient) -> None:
    """Whatever the server added to `meta` is its own, and does not make its resource another."""
    patient_id = f"p-{unique()}"
    await fhir.put(patient(patient_id, name=[{"family": "Okafor", "given": ["Zoë", "B"]}], active=True))
    read = await fhir.get(f"Patient/{patient_id}")

    answer = await fhir.put_text(f"Patient/{patient_id}", read.content)

    assert (answer.status_code, version(answer)) == (200, 1)


async def test_a_preference_for_a_minimal_answer_is_met(fhir: FhirClient) -> None:
    minimal = await fhir.put(patient(f"p-{unique()}"), Prefer="return=minimal")
    whole = await fhir.put(patient(f"p-{unique()}"), Prefer="return=representation")

    assert (minimal.status_code, minimal.content, minimal.headers["etag"]) == (201, b"", 'W/"1"')
    assert (whole.status_code, whole.json()["resourceType"]) == (201, "Patient")


async def test_what_was_never_there_is_not_found(fhir: FhirClient) -> None:
    patient_id = f"none-{unique()}"

    for path in ("", "/_history", "/_history/1"):
        answer = await fhir.get(f"Patient/{patient_id}{path}")
        assert (answer.status_code, codes(answer)) == (404, {"HAPI-2001"})


@pytest.mark.parametrize("patient_id", ["a_b", "a" * 65, "%C3%A9"])
async def test_an_id_that_cannot_be_is_not_found_and_not_stored(fhir: FhirClient, patient_id: str) -> None:
    read = await fhir.get(f"Patient/{patient_id}")
    stored = await fhir.put(patient(patient_id))

    assert (read.status_code, codes(read)) == (404, {"HAPI-2001"})
    assert stored.status_code == 400


@pytest.mark.parametrize("length", [1, 64])
async def test_ids_are_as_long_as_fhir_allows(fhir: FhirClient, length: int) -> None:
    patient_id = f"{unique()}-A.z{'0' * 64}"[:64] if length == 64 else "x"

    stored = await fhir.put(patient(patient_id))

    assert stored.status_code in (200, 201)
    assert (await fhir.get(f"Patient/{patient_id}")).json()["id"] == patient_id


async def test_ids_differ_by_case(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    await fhir.put(patient(f"{patient_id}-A", active=True))
    await fhir.put(patient(f"{patient_id}-a", active=False))

    assert (await fhir.get(f"Patient/{patient_id}-A")).json()["active"] is True
    assert await fhir.found(("_id", f"{patient_id}-a")) == [f"{patient_id}-a"]


async def test_the_id_in_the_content_must_be_that_of_the_address(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    path = f"Patient/{patient_id}"

    without = await fhir.put_text(path, '{"resourceType":"Patient"}')
    other = await fhir.put_text(path, '{"resourceType":"Patient","id":"other"}')

    assert (without.status_code, codes(without)) == (400, {"HAPI-0419"})
    assert (other.status_code, codes(other)) == (400, {"HAPI-0420"})
    assert (await fhir.get(path)).status_code == 404


async def test_versions_are_read_singly(fhir: FhirClient) -> None:
    path = f"Patient/p-{unique()}"
    for active in (True, False):
        await fhir.put(patient(path.partition("/")[2], active=active))

    first, second = await fhir.get(f"{path}/_history/1"), await fhir.get(f"{path}/_history/2")
    third, odd = await fhir.get(f"{path}/_history/3"), await fhir.get(f"{path}/_history/x")

    assert [(each.status_code, version(each)) for each in (first, second)] == [(200, 1), (200, 2)]
    assert (first.json()["active"], second.json()["active"]) == (True, False)
    assert [(each.status_code, bool(codes(each))) for each in (third, odd)] == [(404, True)] * 2


async def test_the_history_goes_from_the_newest_version_to_the_first(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    path = f"Patient/{patient_id}"
    for active in (True, False):
        await fhir.put(patient(patient_id, active=active))
    await fhir.delete(path)

    history = (await fhir.get(f"{path}/_history")).json()

    assert (history["type"], history["total"]) == ("history", 3)
    assert [(each["request"]["method"], each["response"]["etag"]) for each in history["entry"]] == [
        ("DELETE", 'W/"3"'),
        ("PUT", 'W/"2"'),
        ("POST", 'W/"1"'),
    ]
    assert [each["response"]["status"] for each in history["entry"]] == ["200 OK", "200 OK", "201 Created"]
    assert [each["fullUrl"] for each in history["entry"]] == [f"{fhir.base}/{path}"] * 3
    assert [each["request"]["url"] for each in history["entry"]] == [
        f"{path}/_history/{n}" for n in (3, 2, 1)
    ]
    assert "resource" not in history["entry"][0]
    assert [each["resource"]["active"] for each in history["entry"][1:]] == [False, True]


async def test_a_long_history_is_paged_by_links(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    for year in range(1990, 1995):
        await fhir.put(patient(patient_id, birthDate=str(year)))

    page = await fhir.get(f"Patient/{patient_id}/_history?_count=2")
    seen = []
    while True:
        seen += [each["resource"]["meta"]["versionId"] for each in page.json()["entry"]]
        following = link(page, "next")
        if following is None:
            break
        page = await fhir.http.get(following)
        assert page.status_code == 200

    assert seen == ["5", "4", "3", "2", "1"]


async def test_a_deleted_resource_is_gone_until_it_is_stored_again(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    path = f"Patient/{patient_id}"
    await fhir.put(patient(patient_id))

    deleted = await fhir.delete(path)
    read, last = await fhir.get(path), await fhir.get(f"{path}/_history/2")

    assert deleted.status_code == 200
    assert {issue["severity"] for issue in deleted.json()["issue"]} == {"information"}
    assert deleted.headers["content-location"] == f"{fhir.base}/{path}/_history/2"
    for gone in (read, last):
        assert gone.status_code == 410
        assert gone.headers["location"] == f"{fhir.base}/{path}/_history/2"
        assert codes(gone) == set()
    assert (await fhir.get(f"{path}/_history/1")).status_code == 200
    assert await fhir.found(("_id", patient_id)) == []
    revived = await fhir.put(patient(patient_id))
    assert (revived.status_code, version(revived)) == (201, 3)
    assert await fhir.found(("_id", patient_id)) == [patient_id]


async def test_deleting_what_is_not_there_succeeds(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    await fhir.put(patient(patient_id))
    await fhir.delete(f"Patient/{patient_id}")

    again, never = (
        await fhir.delete(f"Patient/{patient_id}"),
        await fhir.delete(f"Patient/never-{patient_id}"),
    )

    assert (again.status_code, never.status_code) == (200, 200)
    assert again.headers["content-location"].endswith(f"/Patient/{patient_id}/_history/2")
    assert never.headers["content-location"].endswith(f"/Patient/never-{patient_id}")


async def test_unknown_types_are_not_found(fhir: FhirClient) -> None:
    for path in ("Nonsense", "Nonsense/1"):
        answer = await fhir.get(path)
        assert (answer.status_code, codes(answer)) == (404, {"HAPI-0302"})


async def test_the_base_address_is_no_resource(fhir: FhirClient) -> None:
    answer = await fhir.get("")

    assert (answer.status_code, codes(answer)) == (400, {"HAPI-0287"})


async def test_the_server_says_that_it_is_r4(fhir: FhirClient) -> None:
    statement = (await fhir.get("metadata")).json()

    assert (statement["resourceType"], statement["fhirVersion"]) == ("CapabilityStatement", "4.0.1")
    served = {each["type"] for each in statement["rest"][0]["resource"]}
    assert {"Patient", "Communication"} <= served


@pytest.mark.parametrize("accept", ["application/fhir+json", "application/json", "*/*", "text/plain"])
async def test_json_is_what_everybody_gets_who_does_not_ask_for_another(
    fhir: FhirClient, accept: str
) -> None:
    patient_id = f"p-{unique()}"
    await fhir.put(patient(patient_id))

    answer = await fhir.get(f"Patient/{patient_id}", Accept=accept)

    assert (answer.status_code, answer.json()["id"]) == (200, patient_id)
    assert answer.headers["content-type"].startswith(JSON)


async def test_conditional_create_stores_once(fhir: FhirClient) -> None:
    system = f"urn:{unique()}"
    content = {"resourceType": "Patient", "identifier": [{"system": system, "value": "1"}]}

    answers = [await fhir.post(content, If_None_Exist=f"identifier={system}|1") for _ in range(2)]
    await fhir.post(content)
    several = await fhir.post(content, If_None_Exist=f"identifier={system}|1")

    assert [each.status_code for each in answers] == [201, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert (several.status_code, codes(several)) == (412, {"HAPI-0958"})
    assert len(ids(await fhir.search([("identifier", f"{system}|1")]))) == 2
