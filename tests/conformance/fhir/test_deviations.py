"""Where the stand-in does not answer as HAPI, on purpose. Both sides are pinned, each with its reason.

Nothing of Quill depends on either side: it sends no such request, or works with both answers.
"""

import json
import re
from typing import Any, Final

import pytest

from ..servers import Deviation, unique
from .fhir import JSON, FhirClient, codes, communication, patient, version

_STRICT: Final = (
    "HAPI mends or drops what it does not understand, so that data is lost without a word. Quill checks "
    "resources in full before it stores them; the stand-in is as strict, to show where it did not."
)

LENIENT: Final[dict[str, tuple[dict[str, Any], Deviation]]] = {
    "unknown element": ({"nope": 1}, Deviation(_STRICT, 201, 400)),
    "an object for a list": ({"name": {"family": "x"}}, Deviation(_STRICT, 201, 400)),
    "text for an object": ({"name": ["x"]}, Deviation(_STRICT, 201, 400)),
    "empty list": ({"name": []}, Deviation(_STRICT, 201, 400)),
    "empty object": ({"name": [{}]}, Deviation(_STRICT, 201, 400)),
    "null": ({"name": None}, Deviation(_STRICT, 201, 400)),
    "empty text": ({"gender": ""}, Deviation(_STRICT, 201, 400)),
    "control character": ({"name": [{"family": "a\x01b"}]}, Deviation(_STRICT, 201, 400)),
    "text for a number": ({"multipleBirthInteger": "1"}, Deviation(_STRICT, 201, 400)),
    "text for a boolean": ({"active": "true"}, Deviation(_STRICT, 201, 400)),
    "time without zone": ({"deceasedDateTime": "2020-01-01T10:00:00"}, Deviation(_STRICT, 201, 400)),
    "required element missing": ({"communication": [{"preferred": True}]}, Deviation(_STRICT, 201, 400)),
    "extension without url": ({"extension": [{"valueString": "x"}]}, Deviation(_STRICT, 201, 422)),
    "two of a choice": (
        {"multipleBirthInteger": 1, "multipleBirthBoolean": True},
        Deviation(_STRICT, 201, 422),
    ),
}


@pytest.mark.parametrize("fault", LENIENT)
async def test_hapi_stores_what_is_not_valid(fhir: FhirClient, fault: str) -> None:
    elements, deviation = LENIENT[fault]

    answer = await fhir.put(patient(f"p-{unique()}", **elements))

    assert answer.status_code == deviation.expected(fhir.server)


async def test_hapi_stores_a_message_without_the_status_it_must_have(fhir: FhirClient) -> None:
    content = communication(f"c-{unique()}")
    del content["status"]

    answer = await fhir.put(content)

    assert answer.status_code == Deviation(_STRICT, 201, 422).expected(fhir.server)


SEARCHES: Final[dict[str, tuple[tuple[str, str], Deviation]]] = {
    "unknown result parameter": (
        ("_nope", "x"),
        Deviation("Ignoring a parameter widens a search; the stand-in refuses it", 200, 400),
    ),
    "modifier :not": (("gender:not", "female"), Deviation("Quill does not use it", 200, 400)),
    "modifier :missing": (("family:missing", "true"), Deviation("Quill does not use it", 200, 400)),
    "_elements": (("_elements", "id"), Deviation("Quill does not use it", 200, 400)),
    "_summary=true": (("_summary", "true"), Deviation("Quill does not use it", 200, 400)),
    "_offset": (("_offset", "1"), Deviation("Quill follows links", 200, 400)),
}


@pytest.mark.parametrize("name", SEARCHES)
async def test_hapi_searches_by_more_than_quill_uses(fhir: FhirClient, name: str) -> None:
    parameter, deviation = SEARCHES[name]

    answer = await fhir.search([("_id", "x"), parameter])

    assert answer.status_code == deviation.expected(fhir.server)


async def test_hapi_takes_a_form_without_its_content_type_for_a_search_for_all(fhir: FhirClient) -> None:
    deviation = Deviation("A search that drops its criteria shows the wrong patients", 200, 400)
    await fhir.put(patient(f"p-{unique()}"))

    answer = await fhir.search([("_id", "none")], headers={"Content-Type": "text/plain"})

    assert answer.status_code == deviation.expected(fhir.server)
    assert ("entry" in answer.json()) is fhir.server.is_real


@pytest.mark.parametrize("tag", ['W/"x"', "*"])
async def test_hapi_fails_on_an_if_match_that_is_no_number(fhir: FhirClient, tag: str) -> None:
    deviation = Deviation("A fault of HAPI; no version of Quill's making is other than a number", 500, 409)
    patient_id = f"p-{unique()}"
    await fhir.put(patient(patient_id))

    answer = await fhir.put(patient(patient_id, active=True), If_Match=tag)

    assert answer.status_code == deviation.expected(fhir.server)
    assert codes(answer)


async def test_hapi_speaks_xml_too(fhir: FhirClient) -> None:
    deviation = Deviation("Quill asks for JSON, always", 200, 406)
    patient_id = f"p-{unique()}"
    await fhir.put(patient(patient_id))

    answer = await fhir.get(f"Patient/{patient_id}", Accept="application/fhir+xml")

    assert answer.status_code == deviation.expected(fhir.server)


async def test_hapi_compresses_answers(fhir: FhirClient) -> None:
    deviation = Deviation("Nothing is gained on one machine", "gzip", None)

    answer = await fhir.get("metadata", Accept_Encoding="gzip")

    assert answer.headers.get("content-encoding") == deviation.expected(fhir.server)
    assert answer.json()["fhirVersion"] == "4.0.1"


async def test_hapi_writes_resources_in_its_own_words(fhir: FhirClient) -> None:
    """Order, spaces, exponents and escapes are not kept: Quill returns what it was given as far as the
    server does, and relies on values alone.
    """
    patient_id = f"p-{unique()}"
    text = (
        '{ "id":"ID", "birthDate" : "1980", "resourceType":"Patient","active":true,'
        '"text":{"status":"generated","div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">&#233;</div>"},'
        '"extension":[{"url":"urn:a","valueDecimal":1e3},{"url":"urn:b","valueDecimal":1.0E-5}]}'
    ).replace("ID", patient_id)
    decimals = Deviation("The stand-in keeps what it was sent", ["1000", "0.000010"], ["1e3", "1.0E-5"])
    order = Deviation("The stand-in keeps what it was sent", ["text", "active"], ["birthDate", "active"])
    div = Deviation("The stand-in keeps what it was sent", "é", "&#233;")

    await fhir.put_text(f"Patient/{patient_id}", text)
    answer = await fhir.get(f"Patient/{patient_id}")

    content = json.loads(answer.text)
    digits = re.findall(r'"valueDecimal":([^}]*)}', answer.text)
    assert digits == decimals.expected(fhir.server)
    assert [float(each) for each in digits] == [1000.0, 0.00001]
    names = [name for name in content if name not in ("resourceType", "id", "meta", "extension")]
    assert names[:2] == [name for name in names if name in order.expected(fhir.server)]  # type: ignore[operator]
    assert f">{div.expected(fhir.server)}<" in content["text"]["div"]
    assert answer.headers["content-type"].startswith(JSON)


async def test_hapi_names_the_request_in_meta_source(fhir: FhirClient) -> None:
    """The name is the request's own, X-Request-ID; it makes no difference between two versions."""
    deviation = Deviation("Content is to come back as it was sent", "#ward-7-request", None)
    patient_id = f"p-{unique()}"

    answer = await fhir.put(patient(patient_id), X_Request_ID="ward-7-request")
    again = await fhir.put(patient(patient_id), X_Request_ID="another")

    assert answer.json()["meta"].get("source") == deviation.expected(fhir.server)
    assert version(again) == 1


async def test_hapi_takes_the_version_out_of_a_reference(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    await fhir.put(patient(patient_id))
    sent = f"Patient/{patient_id}/_history/1"
    deviation = Deviation("Quill refers to resources, not to versions", f"Patient/{patient_id}", sent)

    answer = await fhir.put(communication(f"c-{unique()}", subject={"reference": sent}))

    assert answer.json()["subject"]["reference"] == deviation.expected(fhir.server)


async def test_hapi_repeats_what_it_was_sent_in_its_diagnostics(fhir: FhirClient) -> None:
    """Which may be about a patient: of an OperationOutcome Quill logs the codes and nothing else."""
    deviation = Deviation("The stand-in's own logs and errors name no values", True, False)

    answer = await fhir.put(patient(f"p-{unique()}", birthDate="Canary"))

    assert ("Canary" in answer.text) is deviation.expected(fhir.server)


async def test_hapi_counts_a_whole_answer_that_needs_no_page(fhir: FhirClient) -> None:
    deviation = Deviation("Optional in FHIR; HAPI tells when it happens to know", {None, 3}, {None})
    suffix = unique()
    for number in range(3):
        await fhir.put(patient(f"p{number}-{suffix}"))

    among = ",".join(f"p{number}-{suffix}" for number in range(3))
    answer = await fhir.search([("_id", among), ("_count", "2")])

    assert answer.json().get("total") in deviation.expected(fhir.server)  # type: ignore[operator]
