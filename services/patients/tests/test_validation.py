"""A Patient is validated in full before it is written."""

from datetime import date
from typing import Any

import pytest

from quill_patients.domain import NHS_NUMBER_SYSTEM
from quill_patients.fhir import documents, validation
from quill_shared.platform.errors import Unprocessable

TODAY = date(2026, 3, 1)

REAL_SHAPED = """{"resourceType":"Patient","id":"p-1","meta":{"tag":[{"system":"urn:t","code":"c"}]},
"text":{"status":"generated","div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">x</div>"},
"extension":[{"url":"urn:race","extension":[{"url":"ombCategory","valueCoding":{"code":"2106-3"}}]},
{"url":"urn:years","valueDecimal":0.3202898736241102}],
"identifier":[{"type":{"coding":[{"code":"MR"}],"text":"Record Number"},"system":"urn:m","value":"e"}],
"name":[{"use":"official","family":"Koepp","given":["Al",null],"_given":[null,{"id":"g"}],"prefix":["Mr."]}],
"telecom":[{"system":"phone","value":"555","use":"home"}],"gender":"male","birthDate":"1956-08",
"deceasedDateTime":"2019-02-01T11:02:03+00:00",
"address":[{"extension":[{"url":"urn:geo","extension":[{"url":"latitude","valueDecimal":42.530}]}],
"line":["313 Row"],"city":"Peabody","postalCode":"01940","country":"US"}],
"maritalStatus":{"coding":[{"code":"M"}]},"multipleBirthBoolean":false,
"communication":[{"language":{"coding":[{"system":"urn:ietf:bcp:47","code":"en-US"}]}}]}"""


def test_a_real_shaped_patient_is_valid() -> None:
    validation.check(documents.parse(REAL_SHAPED), today=TODAY)


@pytest.mark.parametrize(
    ("elements", "faults"),
    [
        ({"resourceType": "Observation"}, ["resourceType"]),
        ({"gender": "Male"}, ["gender"]),
        ({"active": "yes"}, ["active"]),
        ({"colour": "red"}, ["colour"]),
        ({"Ada Byron": 1}, ["?"]),
        ({"fhir_comments": "x"}, ["?"]),
        ({"name": [{"family": 1}]}, ["name.0.family"]),
        ({"name": {"family": "x"}}, ["name"]),
        ({"name": []}, ["name"]),
        ({"name": [{"family": " "}]}, ["name.0.family"]),
        ({"name": [{"family": "a\x00b"}]}, ["name.0.family"]),
        ({"name": [{"family": "\ud800"}]}, ["name.0.family"]),
        ({"gender": None}, ["gender"]),
        ({"birthDate": "2026-03-02"}, ["birthDate"]),
        ({"birthDate": "1875"}, ["birthDate"]),
        ({"birthDate": 5}, ["birthDate"]),
        ({"birthDate": "1956-08-03T00:00:00Z"}, ["birthDate"]),
        ({"link": [{"type": "refer"}]}, ["link.0.other"]),
        ({"multipleBirthInteger": "1"}, ["multipleBirthInteger"]),
        ({"deceasedBoolean": True, "deceasedDateTime": "2020"}, [""]),
        ({"contained": [{"resourceType": "Nope"}]}, ["contained"]),
        ({"contained": [{"resourceType": 5}]}, ["contained.0"]),
        ({"contained": [{"id": "x"}]}, ["contained.0"]),
        ({"contained": [None]}, ["contained.0"]),
        ({"_active": "2020"}, ["_active"]),
        ({"_active": ["x"]}, ["_active"]),
        ({"_birthDate": "2020"}, ["_birthDate"]),
        ({"_birthDate": [[]]}, ["_birthDate"]),
        ({"name": [{"_family": "2020"}]}, ["name.0._family"]),
        ({"name": [{"given": ["x"], "_given": [1]}]}, ["name.0._given"]),
        ({"telecom": [{"_value": "1"}]}, ["telecom.0._value"]),
        ({"communication": [{"language": {"_text": "2020"}}]}, ["communication.0.language._text"]),
        ({"maritalStatus": {"_text": "2020"}}, ["maritalStatus._text"]),
        ({"identifier": [{"system": NHS_NUMBER_SYSTEM, "value": "943 476 5919"}]}, ["identifier.0.value"]),
        ({"identifier": [{"system": NHS_NUMBER_SYSTEM, "value": "1"}]}, ["identifier.0.value"]),
        ({"identifier": "x"}, ["identifier"]),
        ({"gender": "Male", "birthDate": "2030-01-01", "active": 1}, ["active", "birthDate", "gender"]),
    ],
)  # fmt: skip
def test_each_fault_is_named_by_its_element(elements: dict[str, Any], faults: list[str]) -> None:
    with pytest.raises(Unprocessable) as refused:
        validation.check({"resourceType": "Patient", **elements}, today=TODAY)

    assert sorted({".".join(map(str, each["loc"][1:])) for each in refused.value.errors}) == faults
    assert "Ada" not in str(refused.value.errors)


@pytest.mark.parametrize("failure", [AttributeError, TypeError, RecursionError])
def test_what_the_models_cannot_take_is_a_fault_of_the_structure(
    monkeypatch: pytest.MonkeyPatch, failure: type[Exception]
) -> None:
    def fails(*_: object) -> None:
        raise failure

    monkeypatch.setattr("fhir.resources.R4B.patient.Patient.model_validate", fails)
    with pytest.raises(Unprocessable) as refused:
        validation.check({"resourceType": "Patient"}, today=TODAY)

    assert [each["type"] for each in refused.value.errors] == ["structure"]
