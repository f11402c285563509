"""The façade's searches: their links, their limits, and what they say when nobody can know."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from quill_patients import repository
from quill_shared.platform.testing.services import RunningService

Register = Callable[..., Awaitable[dict[str, Any]]]
FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "quill.example.org:8443"}


@pytest.mark.parametrize(
    ("headers", "public_url", "root"),
    [
        ({}, None, "http://service.test"),
        (FORWARDED, None, "https://quill.example.org:8443"),
        (FORWARDED, "https://care.example.org", "https://care.example.org"),
        ({**FORWARDED, "X-Forwarded-Host": ""}, None, "https://service.test"),
        ({"X-Forwarded-Proto": "gopher", "X-Forwarded-Host": 'a"b'}, None, "http://localhost"),
    ],
)
async def test_links_name_quill_as_the_client_does(
    patients: RunningService,
    nurse: dict[str, str],
    register: Register,
    headers: dict[str, str],
    public_url: str | None,
    root: str,
) -> None:
    patients.runtime.context = replace(patients.runtime.context, public_url=public_url)
    patient_id = (await register())["id"]
    content = {"Content-Type": "application/fhir+json"}

    statement = (await patients.client.get("/api/fhir/metadata", headers=headers)).json()
    bundle = (await patients.client.get("/api/fhir/Patient", headers={**nurse, **headers})).json()
    created = await patients.client.post(
        "/api/fhir/Patient", content='{"resourceType":"Patient"}', headers={**nurse, **headers, **content}
    )

    assert statement["implementation"]["url"] == f"{root}/api/fhir"
    assert bundle["entry"][0]["fullUrl"] == f"{root}/api/fhir/Patient/{patient_id}"
    assert bundle["link"][0]["url"].startswith(f"{root}/api/fhir/Patient?_page=")
    assert created.headers["location"].startswith(f"{root}/api/fhir/Patient/")


@pytest.mark.parametrize("long", ["_id", "family"])
async def test_a_search_too_long_for_a_link_has_one_page(
    patients: RunningService, nurse: dict[str, str], register: Register, long: str
) -> None:
    ids = [(await register())["id"] for _ in range(3)]
    values = {
        "_id": ",".join([*ids, *(f"{n:036}" for n in range(200))]),
        "family": ",".join(["byron", *(f"{n:036}" for n in range(200))]),
    }

    async def search(**more: str) -> Any:
        return await patients.client.post(
            "/api/fhir/Patient/_search", data={long: values[long], **more}, headers=nurse
        )

    whole, paged = await search(), await search(_count="2")

    assert whole.status_code == 200, whole.text
    assert [entry["resource"]["id"] for entry in whole.json()["entry"]] == ids
    assert "link" not in whole.json()
    assert paged.status_code == 400
    assert paged.json()["issue"][0]["expression"] == [f"http.query.{long}"]


async def test_a_link_fits_what_the_gateway_takes(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    ids = [(await register())["id"] for _ in range(3)]
    asked = ",".join([*ids, *(f"{n:036}" for n in range(100))])

    answer = await patients.client.get(f"/api/fhir/Patient?_count=2&_id={quote(asked)}", headers=nurse)

    links = {link["relation"]: link["url"] for link in answer.json()["link"]}
    assert len(links["next"]) < 8192
    following = (await patients.client.get(links["next"], headers=nurse)).json()
    assert [entry["resource"]["id"] for entry in following["entry"]] == ids[2:]


async def test_nothing_found_is_not_said_while_fhir_is_away(
    patients: RunningService,
    nurse: dict[str, str],
    stranger: dict[str, str],
    admin: dict[str, str],
    proxy: Any,
) -> None:
    await proxy.stop()

    for query in ("", "?name=ada", "?_id=x-1"):
        for headers in (nurse, stranger, admin):
            answer = await patients.client.get(f"/api/fhir/Patient{query}", headers=headers)
            assert answer.status_code == 503, query
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["resourceType"] == "OperationOutcome"


async def test_nothing_is_said_before_fhir_was_looked_through(
    patients: RunningService, stranger: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: object) -> bool:
        return False

    search = partial(patients.client.get, "/api/fhir/Patient", headers=stranger)
    assert (await search()).json()["total"] == 0
    monkeypatch.setattr(repository, "has_walked", never)

    answer = await search()

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
