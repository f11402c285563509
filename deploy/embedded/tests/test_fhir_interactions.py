import asyncio
import json
from typing import Any

import httpx
import pytest


def patient(patient_id: str | None = "p-1", **elements: Any) -> dict[str, Any]:
    identity = {} if patient_id is None else {"id": patient_id}
    return {
        "resourceType": "Patient",
        **identity,
        "name": [{"family": "Okafor", "given": ["Ada"]}],
        **elements,
    }


def diagnostics(response: httpx.Response) -> str:
    outcome = response.json()
    assert outcome["resourceType"] == "OperationOutcome"
    assert all(issue["severity"] == "error" and issue["code"] for issue in outcome["issue"])
    return "; ".join(issue["diagnostics"] for issue in outcome["issue"])


async def test_create_assigns_a_numeric_id_and_the_first_version(fhir: httpx.AsyncClient) -> None:
    answer = await fhir.post("/Patient", json=patient("ignored"))
    body = answer.json()
    assert answer.status_code == 201
    assert body["id"].isdigit()
    assert body["meta"]["versionId"] == "1"
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.headers["location"] == f"http://fhir.test/fhir/Patient/{body['id']}/_history/1"
    assert answer.headers["content-type"] == "application/fhir+json;charset=UTF-8"
    assert "GMT" in answer.headers["last-modified"]
    assert (await fhir.get(f"/Patient/{body['id']}")).json() == body


async def test_a_client_chosen_id_is_created_then_updated(fhir: httpx.AsyncClient) -> None:
    first = await fhir.put("/Patient/p-1", json=patient())
    second = await fhir.put("/Patient/p-1", json=patient(active=True))
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["meta"]["versionId"] == "2"
    assert second.json()["meta"]["lastUpdated"] > first.json()["meta"]["lastUpdated"]


async def test_unchanged_content_makes_no_version(fhir: httpx.AsyncClient) -> None:
    first = await fhir.put("/Patient/p-1", json=patient())
    for content in (patient(), first.json()):
        again = await fhir.put("/Patient/p-1", json=content)
        assert again.status_code == 200
        assert again.json() == first.json()
        assert again.headers["etag"] == 'W/"1"'


async def test_a_server_assigned_id_can_be_updated(fhir: httpx.AsyncClient) -> None:
    created = (await fhir.post("/Patient", json=patient(None))).json()
    answer = await fhir.put(f"/Patient/{created['id']}", json=patient(created["id"], active=False))
    assert (answer.status_code, answer.headers["etag"]) == (200, 'W/"2"')


async def test_content_is_kept_as_received(fhir: httpx.AsyncClient) -> None:
    text = (
        '{"resourceType":"Patient","id":"p-1","meta":{"profile":["http://example.org/p"],"versionId":"9"},'
        '"extension":[{"url":"u","valueDecimal":1.10},{"url":"v","valueDecimal":-0.00000010},'
        '{"url":"w","valueDecimal":123456789012345678901234.50}],'
        '"name":[{"given":["Zoë",null],"_given":[null,{"id":"g"}]}],'
        '"deceasedDateTime":"2020-01-01T10:00:00.100+00:00"}'
    )
    await fhir.put("/Patient/p-1", content=text)
    stored = (await fhir.get("/Patient/p-1")).text
    for part in ("1.10}", "-0.00000010}", "123456789012345678901234.50}", '"2020-01-01T10:00:00.100+00:00"'):
        assert part in stored
    received, kept = json.loads(text), json.loads(stored)
    assert kept.pop("meta").items() >= {"profile": ["http://example.org/p"], "versionId": "1"}.items()
    del received["meta"]
    assert kept == received


async def test_a_decimal_of_other_precision_is_a_change(fhir: httpx.AsyncClient) -> None:
    for text, version in (("1.1", "1"), ("1.10", "2"), ("1.10", "2")):
        content = f'{{"resourceType":"Patient","id":"p-1","extension":[{{"url":"u","valueDecimal":{text}}}]}}'
        answer = await fhir.put("/Patient/p-1", content=content)
        assert answer.json()["meta"]["versionId"] == version


async def test_versions_are_read_singly_and_as_history(fhir: httpx.AsyncClient) -> None:
    for flag in (True, False):
        await fhir.put("/Patient/p-1", json=patient(active=flag))
    await fhir.delete("/Patient/p-1")
    assert (await fhir.get("/Patient/p-1/_history/1")).json()["active"] is True
    assert (await fhir.get("/Patient/p-1/_history/3")).status_code == 410
    assert "HAPI-0979" in diagnostics(await fhir.get("/Patient/p-1/_history/7"))
    assert (await fhir.get("/Patient/p-1/_history/H")).status_code == 404
    history = (await fhir.get("/Patient/p-1/_history")).json()
    assert (history["type"], history["total"]) == ("history", 3)
    assert [entry["request"]["method"] for entry in history["entry"]] == ["DELETE", "PUT", "POST"]
    assert [entry["response"]["etag"] for entry in history["entry"]] == ['W/"3"', 'W/"2"', 'W/"1"']
    assert "resource" not in history["entry"][0]
    assert history["entry"][1]["resource"]["active"] is False
    assert (await fhir.get("/Patient/none/_history")).status_code == 404


async def test_a_long_history_has_pages(fhir: httpx.AsyncClient) -> None:
    for number in range(5):
        await fhir.put("/Patient/p-1", json=patient(birthDate=f"200{number}"))
    page = (await fhir.get("/Patient/p-1/_history?_count=2")).json()
    seen = []
    while True:
        seen += [entry["resource"]["meta"]["versionId"] for entry in page["entry"]]
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        if not following:
            break
        page = (await fhir.get(following[0])).json()
    assert seen == ["5", "4", "3", "2", "1"]
    assert page["type"] == "history"


async def test_a_deleted_resource_is_gone_until_it_is_put_again(fhir: httpx.AsyncClient) -> None:
    await fhir.put("/Patient/p-1", json=patient())
    answer = await fhir.delete("/Patient/p-1")
    assert answer.status_code == 200
    assert answer.json()["issue"][0]["severity"] == "information"
    assert (await fhir.get("/Patient/p-1")).status_code == 410
    assert (await fhir.delete("/Patient/p-1")).status_code == 200
    assert (await fhir.delete("/Patient/never")).status_code == 200
    assert (await fhir.get("/Patient?_id=p-1")).json()["total"] == 0
    revived = await fhir.put("/Patient/p-1", json=patient())
    assert (revived.status_code, revived.headers["etag"]) == (201, 'W/"3"')


@pytest.mark.parametrize(("setting", "status"), [({}, 409), ({"stale_if_match_status": 412}, 412)])
async def test_a_stale_if_match_is_refused(start_fhir: Any, setting: dict[str, int], status: int) -> None:
    fhir = await start_fhir(**setting)
    await fhir.put("/Patient/p-1", json=patient())
    for tag in ('W/"1"', '"2"', "3"):
        answer = await fhir.put(
            "/Patient/p-1", json=patient(birthDate=f"200{tag[-2:].strip(chr(34))}"), headers={"If-Match": tag}
        )
        assert answer.status_code == 200
    stale = await fhir.put("/Patient/p-1", json=patient(active=True), headers={"If-Match": 'W/"1"'})
    assert stale.status_code == status
    assert "HAPI-0989" in diagnostics(stale)
    # As HAPI: an id never used takes any version, and a deletion looks at none.
    absent = await fhir.put("/Patient/p-2", json=patient("p-2"), headers={"If-Match": 'W/"1"'})
    assert absent.status_code == 201
    assert (await fhir.delete("/Patient/p-1", headers={"If-Match": 'W/"1"'})).status_code == 200


async def test_if_none_match_answers_not_modified(fhir: httpx.AsyncClient) -> None:
    await fhir.put("/Patient/p-1", json=patient())
    answer = await fhir.get("/Patient/p-1", headers={"If-None-Match": 'W/"1"'})
    assert (answer.status_code, answer.content) == (304, b"")


async def test_conditional_create_finds_the_existing_one(fhir: httpx.AsyncClient) -> None:
    content = patient(None, identifier=[{"system": "urn:x", "value": "1"}])
    headers = {"If-None-Exist": "identifier=urn:x|1"}
    answers = await asyncio.gather(*(fhir.post("/Patient", json=content, headers=headers) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    await fhir.post("/Patient", json=content)
    assert (await fhir.post("/Patient", json=content, headers=headers)).status_code == 412


async def test_prefer_minimal_leaves_the_body_out(fhir: httpx.AsyncClient) -> None:
    answer = await fhir.put("/Patient/p-1", json=patient(), headers={"Prefer": "return=minimal"})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (201, b"", 'W/"1"')


async def test_writers_of_one_resource_never_lose_an_update(fhir: httpx.AsyncClient) -> None:
    await fhir.put("/Patient/p-1", json=patient())
    answers = await asyncio.gather(
        *(fhir.put("/Patient/p-1", json=patient(birthDate=f"{1950 + number}")) for number in range(20))
    )
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 409}
    stored = [answer.json()["meta"]["versionId"] for answer in answers if answer.status_code == 200]
    assert sorted(map(int, stored)) == list(range(2, len(stored) + 2))
    assert (await fhir.get("/Patient/p-1/_history?_count=100")).json()["total"] == len(stored) + 1


async def test_of_writers_with_the_same_if_match_one_wins(fhir: httpx.AsyncClient) -> None:
    await fhir.put("/Patient/p-1", json=patient())
    answers = await asyncio.gather(
        *(
            fhir.put("/Patient/p-1", json=patient(birthDate=f"{1950 + n}"), headers={"If-Match": 'W/"1"'})
            for n in range(10)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9


async def test_of_creators_of_one_id_one_creates(fhir: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(fhir.put("/Patient/p-1", json=patient(birthDate=f"{1950 + number}")) for number in range(10))
    )
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(201) == 1
    assert set(statuses) <= {200, 201, 409}


async def test_metadata_names_what_is_served(fhir: httpx.AsyncClient) -> None:
    answer = (await fhir.get("/metadata")).json()
    assert (answer["resourceType"], answer["fhirVersion"]) == ("CapabilityStatement", "4.0.1")
    assert [item["type"] for item in answer["rest"][0]["resource"]] == ["Communication", "Patient"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/Observation", 404),
        ("GET", "/Observation/1", 404),
        ("POST", "/Observation", 404),
        ("GET", "/Patient/unknown", 404),
        ("GET", "/Patient/_history", 404),
        ("GET", "/Patient/a_b", 404),
        ("PUT", "/Patient/a_b", 400),
        ("PUT", f"/Patient/{'a' * 65}", 400),
        ("PATCH", "/Patient/p-1", 405),
        ("PUT", "/Patient", 405),
        ("POST", "/Patient/p-1", 405),
        ("DELETE", "/metadata", 405),
        ("GET", "/Patient/p-1/_history/1/more", 404),
        ("GET", "", 400),
    ],
)
async def test_wrong_addresses_and_methods_are_outcomes(
    fhir: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await fhir.request(method, f"http://fhir.test/fhir{path}", json={})
    assert answer.status_code == status
    assert diagnostics(answer)


async def test_only_json_is_spoken(fhir: httpx.AsyncClient) -> None:
    await fhir.put("/Patient/p-1", json=patient())
    for content_type in ("text/plain", "application/fhir+xml", ""):
        answer = await fhir.post("/Patient", content=b"{}", headers={"Content-Type": content_type})
        assert answer.status_code == 400
        assert diagnostics(answer)
    assert (await fhir.get("/Patient/p-1", headers={"Accept": "application/fhir+xml"})).status_code == 406
    assert (await fhir.get("/Patient/p-1?_format=xml")).status_code == 406
    for accept in ("application/fhir+json", "application/fhir+xml, */*;q=0.1", "application/json"):
        assert (await fhir.get("/Patient/p-1", headers={"Accept": accept})).status_code == 200


async def test_a_body_larger_than_allowed_is_refused(start_fhir: Any) -> None:
    fhir = await start_fhir(max_body_bytes=100)
    answer = await fhir.put("/Patient/p-1", json=patient(language="x" * 200))
    assert answer.status_code == 413
    assert diagnostics(answer)
