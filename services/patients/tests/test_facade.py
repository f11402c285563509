"""The FHIR façade: resources in and out as they are."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from quill_patients.fhir import documents
from quill_shared.platform.testing.services import CANARY_FAMILY, CANARY_NHS_NUMBER, RunningService

WARD = 7
NHS = "https://fhir.nhs.uk/Id/nhs-number"
Register = Callable[..., Awaitable[dict[str, Any]]]

REAL_SHAPED = (
    '{"resourceType":"Patient","id":"p-%d","text":{"status":"generated","div":'
    '"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">Person seed: %d</div>"},"extension":[{"url":'
    '"http://hl7.org/fhir/us/core/StructureDefinition/us-core-race","extension":[{"url":"ombCategory",'
    '"valueCoding":{"system":"urn:oid:2.16.840.1.113883.6.238","code":"2106-3","display":"White"}},'
    '{"url":"text","valueString":"White"}]},{"url":"http://synthetichealth.github.io/synthea/years",'
    '"valueDecimal":0.32028987362411020},{"url":"urn:exponent","valueDecimal":1.50E+2}],"identifier":['
    '{"system":"https://github.com/synthetichealth/synthea","value":"e925-%d"},{"type":{"coding":[{"system":'
    '"http://terminology.hl7.org/CodeSystem/v2-0203","code":"DL","display":"Driver\'s License"}],"text":'
    '"Driver\'s License"},"system":"urn:oid:2.16.840.1.113883.4.3.25","value":"S99942380"}],"name":['
    '{"use":"official","family":"Kœpp","given":["Abdul",null],"_given":[null,{"id":"g2"}],"prefix":["Mr."]},'
    '{"use":"maiden","family":"Žižka"}],"telecom":[{"system":"phone","value":"555-978-4581","use":"home"}],'
    '"gender":"male","birthDate":"1956-08-03","deceasedDateTime":"2019-02-01T11:02:03.000+00:00",'
    '"address":[{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/geolocation","extension":['
    '{"url":"latitude","valueDecimal":42.530},{"url":"longitude","valueDecimal":-70.969734}]}],"line":'
    '["313 Lockman Row Suite 4"],"city":"Peabody","state":"Massachusetts","postalCode":"01940","country":'
    '"US"}],"maritalStatus":{"coding":[{"code":"M","display":"M"}],"text":"M"},"multipleBirthInteger":2,'
    '"communication":[{"language":{"coding":[{"system":"urn:ietf:bcp:47","code":"en-US"}]}}],"meta":{"tag":'
    '[{"system":"https://smarthealthit.org/tags","code":"synthea-5-2019"}]}}'
)


def _fhir(headers: dict[str, str]) -> dict[str, str]:
    return {**headers, "Content-Type": "application/fhir+json"}


def _elements(text: str) -> dict[str, str]:
    """Each element's text but for what a server assigns."""
    resource = documents.parse(text)
    resource.pop("id", None)
    meta = resource.pop("meta", {})
    resource["tags"] = meta.get("tag")
    return {name: documents.dump(value) for name, value in resource.items()}


async def test_a_resource_comes_back_as_it_was_sent(patients: RunningService, admin: dict[str, str]) -> None:
    n = 5
    sent = REAL_SHAPED % (n, n, n)
    put = await patients.client.put(f"/api/fhir/Patient/p-{n}", content=sent, headers=_fhir(admin))
    posted = await patients.client.post("/api/fhir/Patient", content=sent, headers=_fhir(admin))

    assert (put.status_code, posted.status_code) == (201, 201), put.text
    assert posted.json()["id"] not in (f"p-{n}", put.json()["id"])
    for created in (put, posted):
        patient_id = created.json()["id"]
        read = await patients.client.get(f"/api/fhir/Patient/{patient_id}", headers=admin)
        found = await patients.client.get(f"/api/fhir/Patient?_id={patient_id}", headers=admin)
        listed = await patients.client.get("/api/patients?scope=admin", headers=admin)
        assert read.headers["content-type"] == "application/fhir+json"
        assert read.headers["etag"] == created.headers["etag"] == 'W/"1"'
        assert _elements(read.text) == _elements(created.text) == _elements(sent)
        assert read.text in found.text
        assert read.text.removesuffix("}") in listed.text
        assert created.headers["location"].endswith(f"/api/fhir/Patient/{patient_id}/_history/1")


async def test_the_capability_statement_is_public(patients: RunningService) -> None:
    answer = await patients.client.get("/api/fhir/metadata")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/fhir+json"
    statement = answer.json()
    assert (statement["resourceType"], statement["fhirVersion"]) == ("CapabilityStatement", "4.0.1")
    assert statement["implementation"]["url"] == "http://service.test/api/fhir"


async def test_the_documentation_shows_the_whole_patient(patients: RunningService) -> None:
    document = (await patients.client.get("/openapi.json")).json()

    schemas = document["components"]["schemas"]
    assert schemas["Patient"]["properties"]["contact"]["items"]["$ref"].endswith("/PatientContact")
    assert schemas["HumanName"]["properties"]["use"]["enum"][0] == "usual"
    for operation in (
        document["paths"]["/api/fhir/Patient"]["post"],
        document["paths"]["/api/fhir/Patient/{patient_id}"]["put"],
    ):
        body = operation["requestBody"]["content"]["application/fhir+json"]["schema"]
        assert body == {"$ref": "#/components/schemas/Patient"}
    text = json.dumps(document)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in schemas


FAULTS: list[tuple[str, int, list[str | None]]] = [
    ("", 400, [None]),
    ("[]", 400, [None]),
    ('"resourceType":', 400, [None]),
    ('{"resourceType":"Patient","gender":"male","gender":"female"}', 400, [None]),
    ('{"resourceType":"Patient","multipleBirthInteger":NaN}', 400, [None]),
    ("\ufeff{" + '"a":{' * 90 + "}" * 91, 400, [None]),
    ('{"resourceType":"Observation"}', 422, ["Patient.resourceType"]),
    (
        '{"resourceType":"Patient","gender":"Male","active":"yes","birthDate":"2999-01-01"}',
        422,
        ["Patient.gender", "Patient.active", "Patient.birthDate"],
    ),
    ('{"resourceType":"Patient","name":[{"family":7}]}', 422, ["Patient.name[0].family"]),
    ('{"resourceType":"Patient","colour":"red"}', 422, ["Patient.colour"]),
    ('{"resourceType":"Patient","meta":null}', 422, ["Patient.meta"]),
    (
        '{"resourceType":"Patient","meta":[1],"identifier":{"a":7}}',
        422,
        ["Patient.meta", "Patient.identifier"],
    ),
    ('{"resourceType":"Patient","name":[{"family":"a\\u0000b"}]}', 422, ["Patient.name[0].family"]),
    ('{"resourceType":"Patient","name":[{"family":"\\ud800"}]}', 422, ["Patient.name[0].family"]),
    (
        f'{{"resourceType":"Patient","identifier":[{{"system":"{NHS}","value":"1"}}]}}',
        422,
        ["Patient.identifier[0].value"],
    ),
    ('{"resourceType":"Patient","generalPractitioner":[{"reference":"Practitioner/no"}]}', 422, ["Patient"]),
]


async def test_each_fault_of_a_resource_is_an_issue(patients: RunningService, nurse: dict[str, str]) -> None:
    for content, status, expressions in FAULTS:
        answer = await patients.client.post(
            "/api/fhir/Patient", content=content.encode(), headers=_fhir(nurse)
        )

        outcome = answer.json()
        assert answer.status_code == status, outcome
        assert answer.headers["content-type"] == "application/fhir+json"
        assert outcome["resourceType"] == "OperationOutcome"
        assert [issue.get("expression", [None])[0] for issue in outcome["issue"]] == expressions
    assert await patients.recorded() == []


async def test_json_is_spoken(patients: RunningService, nurse: dict[str, str]) -> None:
    spoken: list[tuple[dict[str, str], int]] = [
        ({"Content-Type": "application/fhir+xml"}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Accept": "application/fhir+xml"}, 406),
        ({"Content-Type": "application/json", "Accept": "text/html, */*;q=0.1"}, 201),
    ]
    for headers, status in spoken:
        answer = await patients.client.post(
            "/api/fhir/Patient",
            content=b'{"resourceType":"Patient"}',
            headers={"Content-Type": "application/fhir+json", **nurse, **headers},
        )

        assert answer.status_code == status, headers
        assert answer.headers["content-type"] == "application/fhir+json"


async def test_the_duplicate_rule_holds_here_too(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    existing = (await register(nhs_number=CANARY_NHS_NUMBER))["id"]
    resource = {"resourceType": "Patient", "identifier": [{"system": NHS, "value": CANARY_NHS_NUMBER}]}

    answers = await asyncio.gather(
        *(patients.client.post("/api/fhir/Patient", json=resource, headers=_fhir(nurse)) for _ in range(3))
    )

    for answer in answers:
        (issue,) = answer.json()["issue"]
        assert answer.status_code == 409
        assert (issue["code"], issue["details"]["text"]) == ("duplicate", "Patient already exists")
        assert issue["extension"] == [
            {
                "url": "urn:quillmedical:existing-patient",
                "valueReference": {"reference": f"Patient/{existing}"},
            }
        ]


async def test_a_patient_is_created_under_a_condition(
    patients: RunningService, nurse: dict[str, str], stranger: dict[str, str]
) -> None:
    resource = {"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "1"}]}
    condition = {"If-None-Exist": "identifier=urn:x|1"}

    async def create(headers: dict[str, str], **more: str) -> httpx.Response:
        return await patients.client.post(
            "/api/fhir/Patient", json=resource, headers={**_fhir(headers), **more}
        )

    first = await create(nurse, **condition)
    again = await create(nurse, **condition)
    hidden = await create(stranger, **condition)
    await create(nurse)
    several = await create(nurse, **condition)
    other = await create(nurse, **{"If-None-Exist": "name=x"})

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]
    assert (hidden.status_code, several.status_code, other.status_code) == (409, 412, 400)


async def test_an_update_is_conditional(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    before = await register()
    del before["warnings"]
    path = f"/api/fhir/Patient/{before['id']}"

    async def put(resource: dict[str, Any], **headers: str) -> httpx.Response:
        return await patients.client.put(path, json=resource, headers={**_fhir(nurse), **headers})

    updated = await put({**before, "gender": "female"}, **{"If-Match": 'W/"1"'})
    stale = await put({**before, "gender": "male"}, **{"If-Match": 'W/"1"'})
    exists = await put({**before, "gender": "male"}, **{"If-None-Match": "*"})
    other_id = await put({**before, "id": "other"})
    no_id = await put({name: value for name, value in before.items() if name != "id"})
    unconditional = await put({"resourceType": "Patient", "id": before["id"]})

    assert (updated.status_code, updated.headers["etag"]) == (200, 'W/"2"')
    assert updated.json()["gender"] == "female"
    assert (stale.status_code, stale.json()["issue"][0]["code"]) == (412, "conflict")
    assert (exists.status_code, other_id.status_code, no_id.status_code) == (412, 422, 422)
    assert unconditional.json().keys() == {"resourceType", "id", "meta"}


async def test_an_administrator_stores_under_an_id_of_their_choice(
    patients: RunningService, admin: dict[str, str], nurse: dict[str, str], fhir: httpx.AsyncClient
) -> None:
    resource = {"resourceType": "Patient", "id": "x-1", "name": [{"family": CANARY_FAMILY}]}
    path = f"/api/fhir/Patient/x-1?organisation_id={WARD}"

    staff = await patients.client.put(path, json=resource, headers=_fhir(nurse))
    expected = await patients.client.put(path, json=resource, headers={**_fhir(admin), "If-Match": 'W/"1"'})
    answers = await asyncio.gather(
        *(
            patients.client.put(path, json=resource, headers={**_fhir(admin), "If-None-Match": "*"})
            for _ in range(5)
        )
    )

    assert (staff.status_code, expected.status_code) == (403, 412)
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 201
    assert set(statuses[1:]) <= {409, 412}
    assert (await fhir.get("/Patient/x-1")).json()["meta"]["versionId"] == "1"
    listed = (await patients.client.get("/api/patients", headers=nurse)).json()["patients"]
    assert [each["id"] for each in listed] == ["x-1"]
    numeric = await patients.client.put(
        "/api/fhir/Patient/123", json={**resource, "id": "123"}, headers=_fhir(admin)
    )
    assert numeric.status_code == 422


SEARCHES = [
    ("identifier", f"{NHS}|{CANARY_NHS_NUMBER}"),
    ("identifier", CANARY_NHS_NUMBER),
    ("name", "ad"),
    ("family", "Byr"),
    ("family:exact", "Byron"),
    ("given", "ADA"),
    ("birthdate", "1980-01-02"),
    ("birthdate", "ge1980-01-01"),
    ("birthdate", "1980"),
    ("gender", "female"),
    ("gender", "female,other"),
]


async def test_a_search_finds_whom_it_means(
    patients: RunningService,
    nurse: dict[str, str],
    admin: dict[str, str],
    stranger: dict[str, str],
    register: Register,
) -> None:
    wanted = await register(nhs_number=CANARY_NHS_NUMBER, birth_date="1980-01-02", gender="female")
    await register(given_name="Grace", family_name="Hopper", birth_date="1970-01-02", gender="male")
    url = f"http://service.test/api/fhir/Patient/{wanted['id']}"
    for name, value in SEARCHES:
        asked = {name: value}
        for headers in (nurse, admin):
            got = await patients.client.get("/api/fhir/Patient", params=asked, headers=headers)
            posted = await patients.client.post("/api/fhir/Patient/_search", data=asked, headers=headers)
            for answer in (got, posted):
                bundle = answer.json()
                assert answer.status_code == 200, bundle
                assert (bundle["type"], bundle["total"]) == ("searchset", 1)
                assert [entry["fullUrl"] for entry in bundle["entry"]] == [url]
                assert bundle["entry"][0]["resource"]["id"] == wanted["id"]
                assert f"={value}" not in answer.text, "what was searched for is echoed"
        nothing = await patients.client.get("/api/fhir/Patient", params=asked, headers=stranger)
        assert nothing.json()["total"] == 0
        assert "entry" not in nothing.json()


async def test_parameters_given_together_must_all_hold(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    ids = [
        (await register(given_name=given, family_name=family, gender=gender))["id"]
        for given, family, gender in (
            ("Ada", "Byron", "female"),
            ("Ada", "King", "female"),
            ("Ada", "Byron", "other"),
        )
    ]

    async def found(query: str) -> list[str]:
        answer = await patients.client.get(f"/api/fhir/Patient?{query}", headers=nurse)
        return [entry["resource"]["id"] for entry in answer.json().get("entry", [])]

    assert await found("name=ada&name=byron&gender=female") == [ids[0]]
    assert await found(f"_id={ids[1]},{ids[2]}&family=byron") == [ids[2]]
    assert await found(f"_id={ids[1]}&_id={ids[2]}") == []
    assert await found(f"_id={ids[1]},nobody") == [ids[1]]
    assert await found("_format=json&_pretty=true") == ids


@pytest.mark.parametrize("query", ["name=ada&_count=2", "_count=2"])
@pytest.mark.parametrize("who", ["nurse", "admin"])
async def test_a_long_answer_is_followed_by_its_links(
    patients: RunningService,
    nurse: dict[str, str],
    admin: dict[str, str],
    register: Register,
    query: str,
    who: str,
) -> None:
    headers = nurse if who == "nurse" else admin
    ids = [(await register())["id"] for _ in range(5)]
    url: str | None = f"/api/fhir/Patient?{query}"
    found, pages = [], 0
    while url is not None:
        bundle = (await patients.client.get(url, headers=headers)).json()
        links = {link["relation"]: link["url"] for link in bundle["link"]}
        found += [entry["resource"]["id"] for entry in bundle["entry"]]
        again = (await patients.client.get(links["self"], headers=headers)).json()
        assert again["entry"] == bundle["entry"]
        url = links.get("next")
        assert url is None or "ada" not in url
        pages += 1

    assert (found, pages) == (ids, 3)
    link = (await patients.client.get(f"/api/fhir/Patient?{query}", headers=headers)).json()["link"][1]["url"]
    stolen = await patients.client.get(link, headers=patients.bearer(77, perm="admin"))
    assert stolen.status_code == 400


NOT_UNDERSTOOD = [
    ("colour=red", "colour"),
    ("address=x", "address"),
    ("_sort=name", "_sort"),
    ("_include=x", "_include"),
    ("name:missing=true", "name:missing"),
    ("gender:not=male", "gender:not"),
    ("birthdate=yesterday", "birthdate"),
    ("birthdate=1980-02-31", "birthdate"),
    ("name=", "name"),
    ("name:=x", "name:"),
    ("_id:=x", "_id:"),
    ("_count=1&_count=2", "_count"),
    ("_count=0", "_count"),
    ("_count=-1", "_count"),
    ("_count=x", "_count"),
    ("_id=a_b", "_id"),
    ("_page=x", "_page"),
    ("_page=x&name=y", "_page"),
    ("Ada Byron=1", "?"),
]


async def test_what_a_search_does_not_understand_is_refused(
    patients: RunningService, nurse: dict[str, str], register: Register
) -> None:
    await register()
    for query, where in NOT_UNDERSTOOD:
        answer = await patients.client.get(f"/api/fhir/Patient?{query}", headers=nurse)

        assert answer.status_code == 400, answer.text
        assert answer.json()["issue"][0]["expression"] == [f"http.query.{where}"]


async def test_faults_outside_the_routes_are_outcomes_too(
    patients: RunningService, nurse: dict[str, str], admin: dict[str, str]
) -> None:
    answers = {
        "login": await patients.client.get("/api/fhir/Patient"),
        "forbidden": await patients.client.get("/api/fhir/Patient/nobody", headers=nurse),
        "not-found": await patients.client.get("/api/fhir/Patient/nobody", headers=admin),
        "not-supported": await patients.client.delete("/api/fhir/Patient/nobody", headers=admin),
    }

    for code, answer in answers.items():
        assert answer.json()["issue"][0]["code"] == code
        assert answer.headers["content-type"] == "application/fhir+json"
