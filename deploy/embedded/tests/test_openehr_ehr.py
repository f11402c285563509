import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest


def status(subject_id: str = "p-1", namespace: str = "fhir", **changes: Any) -> dict[str, Any]:
    reference = {
        "_type": "PARTY_REF",
        "namespace": namespace,
        "type": "PERSON",
        "id": {"_type": "GENERIC_ID", "value": subject_id, "scheme": "fhir"},
    }
    return {
        "_type": "EHR_STATUS",
        "archetype_node_id": "openEHR-EHR-EHR_STATUS.generic.v1",
        "name": {"value": "EHR Status"},
        "subject": {"_type": "PARTY_SELF", "external_ref": reference},
        "is_queryable": True,
        "is_modifiable": True,
        **changes,
    }


def subject_of_type(kind: str, scheme: str | None = "fhir") -> dict[str, Any]:
    identifier = {"_type": "GENERIC_ID", "value": "p-1", **({"scheme": scheme} if scheme else {})}
    reference = {"_type": "PARTY_REF", "namespace": "fhir", "type": kind, "id": identifier}
    return {"_type": "PARTY_SELF", "external_ref": reference}


async def test_an_ehr_is_created_and_found_by_id_and_subject(openehr: httpx.AsyncClient) -> None:
    answer = await openehr.post("/ehr", json=status())
    ehr_id = answer.headers["etag"].strip('"')
    assert (answer.status_code, answer.content) == (201, b"")
    assert answer.headers["location"].endswith(f"/ehrbase/rest/openehr/v1/ehr/{ehr_id}")
    by_id = (await openehr.get(f"/ehr/{ehr_id}")).json()
    assert by_id["ehr_id"]["value"] == ehr_id
    assert by_id["ehr_status"]["type"] == "EHR_STATUS"
    assert by_id["ehr_status"]["id"]["value"].endswith("::local.ehrbase.org::1")
    found = await openehr.get("/ehr", params={"subject_id": "p-1", "subject_namespace": "fhir"})
    assert found.json() == by_id


async def test_an_ehr_is_created_under_a_chosen_id(openehr: httpx.AsyncClient) -> None:
    ehr_id = str(uuid4())
    headers = {"Prefer": "return=representation"}
    answer = await openehr.put(f"/ehr/{ehr_id}", json=status(), headers=headers)
    assert (answer.status_code, answer.json()["ehr_id"]["value"]) == (201, ehr_id)
    again = await openehr.put(f"/ehr/{ehr_id}", json=status("p-2"))
    assert (again.status_code, again.json()["error"]) == (409, "Conflict")
    assert (await openehr.put("/ehr/no-uuid", json=status("p-3"))).status_code == 400


async def test_an_ehr_needs_no_subject(openehr: httpx.AsyncClient) -> None:
    assert [(await openehr.post("/ehr")).status_code for _ in range(2)] == [201, 201]
    without = status(subject={"_type": "PARTY_SELF"})
    assert (await openehr.post("/ehr", json=without)).status_code == 201


async def test_of_two_creators_for_a_subject_one_wins(openehr: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(openehr.post("/ehr", json=status()) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    assert (await openehr.post("/ehr", json=status(namespace="other"))).status_code == 201


async def test_an_unknown_ehr_is_not_found(openehr: httpx.AsyncClient) -> None:
    for path in (f"/ehr/{uuid4()}", "/ehr/no-uuid"):
        answer = await openehr.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"] == "Not Found"
    params = {"subject_id": "nobody", "subject_namespace": "fhir"}
    assert (await openehr.get("/ehr", params=params)).status_code == 404
    assert (await openehr.get("/ehr", params={"subject_id": "nobody"})).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        [],
        status(_type="EHR"),
        status(archetype_node_id="x"),
        status(is_queryable=None),
        status(is_modifiable="true"),
        status(subject=None),
        status(subject_id=""),
        status(namespace="9 bad"),
        status(subject={"_type": "PARTY_SELF", "external_ref": "x"}),
        status(subject=subject_of_type("ANY")),
        status(subject=subject_of_type("PERSON", scheme=None)),
    ],
)
async def test_a_bad_status_is_refused(openehr: httpx.AsyncClient, body: Any) -> None:
    answer = await openehr.post("/ehr", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "Bad Request")


async def test_bodies_must_be_json(openehr: httpx.AsyncClient) -> None:
    broken = await openehr.post("/ehr", content="{", headers={"Content-Type": "application/json"})
    assert broken.status_code == 400
    assert (
        await openehr.post("/ehr", content="{}", headers={"Content-Type": "text/plain"})
    ).status_code == 415


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("DELETE", "/ehr", 405),
        ("DELETE", "/ehr/0f0e7ad6-62a3-4f4f-8a3e-8f6b1a4f6f60", 405),
        ("POST", "/ehr/0f0e7ad6-62a3-4f4f-8a3e-8f6b1a4f6f60/composition", 404),
        ("POST", "/query/aql", 404),
    ],
)
async def test_what_is_not_served_says_so(
    openehr: httpx.AsyncClient, method: str, path: str, code: int
) -> None:
    answer = await openehr.request(method, path)
    assert answer.status_code == code
    assert set(answer.json()) == {"error", "message"}
