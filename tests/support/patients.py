"""A FHIR Patient with a little of everything, to be damaged."""

from typing import Any, Final

PATIENT: Final[dict[str, Any]] = {
    "resourceType": "Patient",
    "meta": {"versionId": "1", "lastUpdated": "2026-01-02T03:04:05.678+00:00", "tag": [{"code": "a"}]},
    "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Someone</div>'},
    "identifier": [{"system": "https://fhir.nhs.uk/Id/nhs-number", "value": "9990000018"}],
    "extension": [{"url": "urn:quillmedical:avatar-gradient", "valueInteger": 3}],
    "active": True,
    "name": [{"use": "official", "family": "Fuzz", "given": ["One", "Two"], "period": {"start": "2001"}}],
    "telecom": [{"system": "phone", "value": "0", "rank": 1}],
    "gender": "female",
    "birthDate": "1970-01-01",
    "deceasedDateTime": "2020-01-01T00:00:00Z",
    "address": [{"line": ["1"], "city": "Town"}],
    "contact": [{"name": {"family": "Kin"}}],
    "generalPractitioner": [{"reference": "Organization/1"}],
}
