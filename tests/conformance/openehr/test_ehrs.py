"""EHRs: one for each patient (openEHR REST API, EHR)."""

import asyncio
from collections import Counter
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from ..servers import Deviation, unique
from .openehr import OpenEhrClient, refusal, status, subject, tag

REPRESENTATION = {"Prefer": "return=representation"}


async def test_an_ehr_is_created_for_a_patient_and_found_by_them(openehr: OpenEhrClient) -> None:
    patient_id = f"p-{unique()}"

    created = await openehr.create_ehr(status(patient_id))

    ehr_id = tag(created)
    assert (created.status_code, created.content) == (201, b"")
    assert str(UUID(ehr_id)) == ehr_id
    assert created.headers["location"] == f"{openehr.base}/ehr/{ehr_id}"
    for found in (await openehr.ehr_of(patient_id), await openehr.http.get(f"/ehr/{ehr_id}")):
        assert found.status_code == 200
        assert found.headers["content-type"].startswith("application/json")
        assert found.json()["ehr_id"] == {"_type": "HIER_OBJECT_ID", "value": ehr_id}
        assert (tag(found), found.headers["location"]) == (ehr_id, created.headers["location"])
        moment = datetime.fromisoformat(found.json()["time_created"]["value"])
        assert moment.tzinfo is not None


async def test_the_answer_is_the_ehr_where_that_is_preferred(openehr: OpenEhrClient) -> None:
    posted = await openehr.create_ehr(status(f"p-{unique()}"), **REPRESENTATION)
    put = await openehr.create_ehr(status(f"p-{unique()}"), ehr_id=str(uuid4()), **REPRESENTATION)

    for answer in (posted, put):
        assert answer.status_code == 201
        assert answer.json()["ehr_id"]["value"] == tag(answer)


async def test_an_ehr_is_created_under_the_id_the_client_chose(openehr: OpenEhrClient) -> None:
    patient_id, ehr_id = f"p-{unique()}", str(uuid4())

    created = await openehr.create_ehr(status(patient_id), ehr_id=ehr_id)

    assert (created.status_code, tag(created)) == (201, ehr_id)
    assert created.headers["location"] == f"{openehr.base}/ehr/{ehr_id}"
    assert (await openehr.ehr_of(patient_id)).json()["ehr_id"]["value"] == ehr_id
    assert tag(await openehr.http.get(f"/ehr/{ehr_id.upper()}")) == ehr_id


async def test_a_patient_has_one_ehr(openehr: OpenEhrClient) -> None:
    patient_id, ehr_id = f"p-{unique()}", str(uuid4())
    await openehr.create_ehr(status(patient_id), ehr_id=ehr_id)

    again = await openehr.create_ehr(status(patient_id))
    other_id = await openehr.create_ehr(status(patient_id), ehr_id=str(uuid4()))
    repeated = await openehr.create_ehr(status(patient_id), ehr_id=ehr_id)
    taken_id = await openehr.create_ehr(status(f"p-{unique()}"), ehr_id=ehr_id)

    for answer in (again, other_id, repeated, taken_id):
        assert (answer.status_code, refusal(answer)) == (409, "Conflict")
    assert (await openehr.ehr_of(patient_id)).json()["ehr_id"]["value"] == ehr_id


async def test_the_same_name_in_another_namespace_is_somebody_else(openehr: OpenEhrClient) -> None:
    patient_id = f"p-{unique()}"

    answers = [await openehr.create_ehr(status(patient_id, namespace)) for namespace in ("fhir", "clinic")]

    assert [each.status_code for each in answers] == [201, 201]
    found = [tag(await openehr.ehr_of(patient_id, namespace)) for namespace in ("fhir", "clinic")]
    assert found == [tag(each) for each in answers]


async def test_subject_ids_differ_by_case(openehr: OpenEhrClient) -> None:
    patient_id = f"p-{unique()}"
    await openehr.create_ehr(status(f"{patient_id}-a"))

    assert (await openehr.ehr_of(f"{patient_id}-A")).status_code == 404


async def test_of_two_creators_at_once_one_creates(openehr: OpenEhrClient) -> None:
    patient_id, ehr_id = f"p-{unique()}", str(uuid4())

    for_a_patient = await asyncio.gather(*(openehr.create_ehr(status(patient_id)) for _ in range(5)))
    under_an_id = await asyncio.gather(
        *(openehr.create_ehr(status(f"{patient_id}-{n}"), ehr_id=ehr_id) for n in range(5))
    )

    for answers in (for_a_patient, under_an_id):
        assert Counter(each.status_code for each in answers) == {201: 1, 409: 4}
    (created,) = (each for each in for_a_patient if each.status_code == 201)
    assert tag(await openehr.ehr_of(patient_id)) == tag(created)


async def test_an_ehr_needs_no_subject(openehr: OpenEhrClient) -> None:
    bodies: list[dict[str, Any]] = [{}, {"json": status("x", subject={"_type": "PARTY_SELF"})}]

    for body in [*bodies, *bodies]:
        assert (await openehr.http.post("/ehr", **body)).status_code == 201


async def test_an_unknown_ehr_is_not_found(openehr: OpenEhrClient) -> None:
    answers = [
        await openehr.ehr_of(f"nobody-{unique()}"),
        await openehr.http.get(f"/ehr/{uuid4()}"),
        await openehr.http.get("/ehr/nonsense"),
    ]

    assert [(each.status_code, refusal(each)) for each in answers] == [(404, "Not Found")] * 3


async def test_a_search_for_an_ehr_names_subject_and_namespace(openehr: OpenEhrClient) -> None:
    for parameters in ({}, {"subject_id": "x"}, {"subject_namespace": "fhir"}):
        answer = await openehr.http.get("/ehr", params=parameters)
        assert (answer.status_code, refusal(answer)) == (400, "Bad Request")


async def test_an_id_that_is_no_uuid_cannot_be_chosen(openehr: OpenEhrClient) -> None:
    answer = await openehr.create_ehr(status(f"p-{unique()}"), ehr_id="nonsense")

    assert (answer.status_code, refusal(answer)) == (400, "Bad Request")


@pytest.mark.parametrize(
    "changes",
    [
        {"_type": None},
        {"_type": "EHR"},
        {"archetype_node_id": None},
        {"archetype_node_id": "x"},
        {"is_queryable": None},
        {"is_modifiable": "x"},
        {"subject": None},
        {"subject": subject("x", namespace="9 bad")},
        {"subject": subject("x", namespace="a b")},
        {"subject": subject("x", id=None)},
        {"subject": subject("x", id={"_type": "GENERIC_ID", "value": "x"})},
        {"subject": subject("x", type=None)},
        {"subject": subject("x", type="ANY")},
    ],
)
async def test_a_status_must_be_valid(openehr: OpenEhrClient, changes: dict[str, Any]) -> None:
    answer = await openehr.create_ehr(status(f"p-{unique()}", **changes))

    assert (answer.status_code, refusal(answer)) == (400, "Bad Request")


async def test_a_status_without_a_name_is_given_one(openehr: OpenEhrClient) -> None:
    assert (await openehr.create_ehr(status(f"p-{unique()}", name=None))).status_code == 201


@pytest.mark.parametrize("body", ["{", "[]"])
async def test_a_body_must_be_a_json_object(openehr: OpenEhrClient, body: str) -> None:
    answer = await openehr.http.post("/ehr", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, refusal(answer)) == (400, "Bad Request")


async def test_a_body_must_say_that_it_is_json(openehr: OpenEhrClient) -> None:
    for headers in ({"Content-Type": "text/plain"}, {}):
        answer = await openehr.http.post("/ehr", content=b"{}", headers=headers)
        assert answer.status_code == 415
        assert set(answer.json()) == {"timestamp", "status", "error", "path"}


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("DELETE", "/ehr", 405),
        ("DELETE", "/ehr/0f0e7ad6-62a3-4f4f-8a3e-8f6b1a4f6f60", 405),
        ("PATCH", "/ehr", 405),
        ("PUT", "/ehr", 405),
        ("GET", "/nonsense", 404),
    ],
)
async def test_what_is_not_served_says_so(openehr: OpenEhrClient, method: str, path: str, code: int) -> None:
    answer = await openehr.http.request(method, path)

    assert answer.status_code == code
    assert refusal(answer) == {404: "Not Found", 405: "Method Not Allowed"}[code]


async def test_credentials_are_asked_for_everywhere(openehr: OpenEhrClient) -> None:
    async with httpx.AsyncClient(headers={"Accept": "application/json"}) as stranger:
        for url in (openehr.status_url, f"{openehr.base}/ehr/{uuid4()}", f"{openehr.base}/nonsense"):
            for credentials in (None, ("quill", "wrong")):
                answer = await stranger.get(url, auth=credentials)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Basic realm=")
                assert set(answer.json()) == {"timestamp", "status", "error", "path"}


async def test_ehrbase_shows_the_status_in_an_ehr_or_since_2_30_refers_to_it(openehr: OpenEhrClient) -> None:
    """Quill reads the id of an EHR and nothing else, so that either will do."""
    deviation = Deviation("The stand-in answers as 2.30 and later do", None, "OBJECT_REF")
    created = await openehr.create_ehr(status(f"p-{unique()}"), **REPRESENTATION)

    shown = created.json()["ehr_status"]

    kind = shown["_type"]
    assert kind in ("EHR_STATUS", "OBJECT_REF")
    assert openehr.server.is_real or kind == deviation.expected(openehr.server)
    identifier = shown["uid" if kind == "EHR_STATUS" else "id"]
    assert identifier["_type"] == "OBJECT_VERSION_ID"
    object_id, system, number = identifier["value"].split("::")
    assert (str(UUID(object_id)), number) == (object_id, "1")
    assert system == created.json()["system_id"]["value"]


async def test_ehrbase_takes_an_empty_subject_id(openehr: OpenEhrClient) -> None:
    deviation = Deviation("It would be one EHR for all who have no id", 201, 400)

    answer = await openehr.create_ehr(status("", namespace=f"n{unique()}"))

    assert answer.status_code == deviation.expected(openehr.server)


async def test_ehrbase_speaks_xml_too(openehr: OpenEhrClient) -> None:
    deviation = Deviation("Quill asks for JSON, always", 200, 406)
    created = await openehr.create_ehr(status(f"p-{unique()}"))

    answer = await openehr.http.get(f"/ehr/{tag(created)}", headers={"Accept": "application/xml"})

    assert answer.status_code == deviation.expected(openehr.server)


async def test_no_other_format_is_spoken(openehr: OpenEhrClient) -> None:
    created = await openehr.create_ehr(status(f"p-{unique()}"))

    answer = await openehr.http.get(f"/ehr/{tag(created)}", headers={"Accept": "text/plain"})

    assert answer.status_code == 406


async def test_json_is_the_default_for_an_ehr(openehr: OpenEhrClient) -> None:
    created = await openehr.create_ehr(status(f"p-{unique()}"))

    answer = await openehr.http.get(f"/ehr/{tag(created)}", headers={"Accept": "*/*"})

    assert answer.json()["ehr_id"]["value"] == tag(created)


async def test_ehrbase_tells_its_status_in_xml_unless_json_is_asked_for(openehr: OpenEhrClient) -> None:
    told = await openehr.http.get(openehr.status_url)
    other = await openehr.http.get(openehr.status_url, headers={"Accept": "*/*"})

    assert told.status_code == 200
    assert {"ehrbase_version", "postgres_version"} <= set(told.json())
    assert (other.status_code, other.headers["content-type"].partition(";")[0]) == (200, "application/xml")
