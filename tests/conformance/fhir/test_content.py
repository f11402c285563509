"""What comes back of what was stored (FHIR R4, JSON), and what is refused."""

import json
from decimal import Decimal
from typing import Any

import pytest

from ..servers import unique
from .fhir import JSON, FhirClient, codes, patient, version

WHOLE = """{"resourceType":"Patient","id":"ID",
"meta":{"profile":["http://example.org/p"],"security":[{"system":"urn:s","code":"R"}],
 "tag":[{"system":"urn:t","code":"x"}]},
"implicitRules":"http://example.org/rules","language":"en-GB",
"text":{"status":"generated",
 "div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\"><b>Hello</b>   &amp; more <br/></div>"},
"contained":[{"resourceType":"Organization","id":"org1","name":"Org"}],
"extension":[
 {"url":"urn:d1","valueDecimal":1.10},
 {"url":"urn:d2","valueDecimal":-0.00000010},
 {"url":"urn:d3","valueDecimal":123456789012345678901234.50},
 {"url":"urn:d4","valueDecimal":0.0},
 {"url":"urn:d5","valueQuantity":{"value":1.500}},
 {"url":"urn:t1","valueDateTime":"2020-01-01T10:00:00+00:00"},
 {"url":"urn:t2","valueDateTime":"2020-01-01T10:00:00Z"},
 {"url":"urn:t3","valueDateTime":"2020-01-01T10:00:00.100+01:00"},
 {"url":"urn:t4","valueInstant":"2020-01-01T10:00:00.123456+05:30"},
 {"url":"urn:t5","valueDateTime":"2020"},
 {"url":"urn:t6","valueTime":"10:00:00"},
 {"url":"urn:s1","valueString":"  spaces  kept  "},
 {"url":"urn:s2","valueString":"line\\nbreak\\ttab é 😀 \\u0161"},
 {"url":"urn:s3","valueMarkdown":"# *x*"},
 {"url":"urn:b1","valueBase64Binary":"aGVsbG8="},
 {"url":"urn:n1","extension":[{"url":"n","valueBoolean":true}]}],
"modifierExtension":[{"url":"urn:m","valueBoolean":false}],
"identifier":[{"use":"official","system":"urn:nhs","value":"9434765919","period":{"start":"2020-01-01T00:00:00+00:00"}}],
"active":true,"_active":{"id":"a","extension":[{"url":"urn:e","valueString":"s"}]},
"name":[{"use":"official","family":"Canary","given":["Zoë",null,"B"],"_given":[null,{"extension":[{"url":"urn:g","valueString":"g"}]},null]}],
"telecom":[{"system":"phone","value":"07700 900123","rank":1}],
"gender":"female","birthDate":"1980-02","_birthDate":{"extension":[{"url":"urn:b","valueDateTime":"1980-02-03T10:00:00+00:00"}]},
"deceasedDateTime":"2020-01-01T10:00:00.100+00:00",
"address":[{"line":["1 A St","Flat 2"],"city":"Leeds"}],
"maritalStatus":{"coding":[{"system":"urn:ms","code":"M"}]},
"multipleBirthInteger":2,"photo":[{"contentType":"image/png","data":"AAAA"}]}"""


def exact(text: str) -> Any:
    """JSON with its numbers as their very digits."""
    return json.loads(text, parse_float=lambda digits: f"number {digits}", parse_int=lambda n: f"number {n}")


def assigned(meta: dict[str, Any]) -> dict[str, Any]:
    """`meta` without what is the server's to say."""
    return {name: value for name, value in meta.items() if name not in ("versionId", "lastUpdated", "source")}


async def test_every_value_survives_with_its_digits_zone_and_spaces(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    text = WHOLE.replace("ID", patient_id, 1)

    stored = await fhir.put_text(f"Patient/{patient_id}", text)
    assert stored.status_code == 201, stored.text

    for answer in (stored, await fhir.get(f"Patient/{patient_id}")):
        sent, received = exact(text), exact(answer.text)
        assert assigned(received.pop("meta")) == sent.pop("meta")
        assert received == sent


async def test_a_search_shows_the_same_content_as_a_read(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    await fhir.put_text(f"Patient/{patient_id}", WHOLE.replace("ID", patient_id, 1))

    read = await fhir.get(f"Patient/{patient_id}")
    found = await fhir.search([("_id", patient_id)])

    assert exact(found.text)["entry"][0]["resource"] == exact(read.text)


@pytest.mark.parametrize(("first", "second"), [("1.1", "1.10"), ("1.10", "1.1"), ("0", "0.0")])
async def test_a_decimal_of_other_precision_is_a_change(fhir: FhirClient, first: str, second: str) -> None:
    patient_id = f"p-{unique()}"
    assert Decimal(first) == Decimal(second)

    answers = [
        await fhir.put_text(
            f"Patient/{patient_id}",
            f'{{"resourceType":"Patient","id":"{patient_id}","extension":[{{"url":"urn:d","valueDecimal":{digits}}}]}}',
        )
        for digits in (first, second, second)
    ]

    assert [version(each) for each in answers] == [1, 2, 2]


async def test_the_version_and_time_a_client_states_are_the_servers_to_set(fhir: FhirClient) -> None:
    stated = {"versionId": "7", "lastUpdated": "2001-01-01T00:00:00Z"}

    answer = await fhir.put(patient(f"p-{unique()}", meta=stated))

    assert version(answer) == 1
    assert answer.json()["meta"]["lastUpdated"] > "2026"


async def test_hapi_keeps_tags_and_security_labels_that_an_update_leaves_out(fhir: FhirClient) -> None:
    """They go by an operation of their own; profiles are replaced by the update."""
    patient_id = f"p-{unique()}"
    label, tag, other = ({"system": "urn:l", "code": code} for code in "abc")
    labelled = {"profile": ["http://example.org/p"], "security": [label], "tag": [tag]}
    await fhir.put(patient(patient_id, meta=labelled))

    without = await fhir.put(patient(patient_id, active=True))
    another = await fhir.put(patient(patient_id, active=True, meta={"tag": [other]}))

    assert assigned(without.json()["meta"]) == {"security": [label], "tag": [tag]}
    kept = assigned(another.json()["meta"])
    assert kept["security"] == [label]
    assert sorted(each["code"] for each in kept["tag"]) == ["b", "c"]


async def test_resources_of_some_size_are_stored(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    content = patient(
        patient_id,
        name=[{"family": "x" * 5000, "given": [f"g{n}" for n in range(50)]}],
        photo=[{"contentType": "image/png", "data": "AAAA" * 250_000}],
    )

    stored = await fhir.put(content)

    assert stored.status_code == 201
    assert (await fhir.get(f"Patient/{patient_id}")).json()["photo"] == content["photo"]


REFUSED: dict[str, tuple[str | bytes, set[str]]] = {
    "cut off": ('{"resourceType":"Patient",', {"HAPI-1861"}),
    "empty": ("", {"HAPI-1861"}),
    "a list": ("[]", {"HAPI-1861"}),
    "null": ("null", {"HAPI-1861"}),
    "not UTF-8": (b"\xff\xfe", {"HAPI-1861"}),
    "no type": ('{"id":"ID"}', {"HAPI-1838"}),
    "unknown type": ('{"resourceType":"Nope","id":"ID"}', {"HAPI-1814"}),
    "another type": ('{"resourceType":"Communication","id":"ID","status":"completed"}', {"HAPI-1814"}),
    "boolean": ('{"resourceType":"Patient","id":"ID","active":"yes"}', {"HAPI-1821"}),
    "code": ('{"resourceType":"Patient","id":"ID","gender":"neither"}', {"HAPI-1821"}),
    "inner code": ('{"resourceType":"Patient","id":"ID","identifier":[{"use":"nope"}]}', {"HAPI-1821"}),
    "month": ('{"resourceType":"Patient","id":"ID","birthDate":"1980-13-01"}', {"HAPI-1821"}),
    "day": ('{"resourceType":"Patient","id":"ID","birthDate":"1980-02-30"}', {"HAPI-1821"}),
    "words": ('{"resourceType":"Patient","id":"ID","birthDate":"last week"}', {"HAPI-1821"}),
    "integer": ('{"resourceType":"Patient","id":"ID","multipleBirthInteger":1.5}', {"HAPI-1821"}),
    "contained": ('{"resourceType":"Patient","id":"ID","contained":[{"resourceType":"Nope"}]}', set()),
}


@pytest.mark.parametrize("fault", REFUSED)
async def test_content_that_cannot_be_read_is_refused(fhir: FhirClient, fault: str) -> None:
    text, expected = REFUSED[fault]
    patient_id = f"p-{unique()}"
    content = text if isinstance(text, bytes) else text.replace("ID", patient_id)

    answer = await fhir.put_text(f"Patient/{patient_id}", content)

    assert answer.status_code == 400
    assert codes(answer) >= expected
    assert (await fhir.get(f"Patient/{patient_id}")).status_code == 404


@pytest.mark.parametrize("media_type", ["application/json", "application/fhir+json; charset=utf-8"])
async def test_content_is_fhir_json_under_either_name(fhir: FhirClient, media_type: str) -> None:
    assert (await fhir.put(patient(f"p-{unique()}"), Content_Type=media_type)).status_code == 201


async def test_content_of_no_known_type_is_refused(fhir: FhirClient) -> None:
    text = json.dumps(patient("p-1"))

    other = await fhir.http.put("/Patient/p-1", content=text, headers={"Content-Type": "text/plain"})
    none = await fhir.http.put("/Patient/p-1", content=text)

    assert (other.status_code, codes(other)) == (400, {"HAPI-0449"})
    assert (none.status_code, codes(none)) == (400, {"HAPI-0448"})


async def test_a_name_given_twice_means_the_last(fhir: FhirClient) -> None:
    """Quill refuses such content itself, as servers differ."""
    patient_id = f"p-{unique()}"
    text = f'{{"resourceType":"Patient","id":"{patient_id}","active":true,"active":false}}'

    answer = await fhir.put_text(f"Patient/{patient_id}", text)

    assert (answer.status_code, answer.json()["active"]) == (201, False)
    assert answer.headers["content-type"].startswith(JSON)
