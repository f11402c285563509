"""What the façade can do, as a CapabilityStatement (FHIR R4)."""

from typing import Any, Final

_SEARCH: Final = {
    "_id": "token",
    "identifier": "token",
    "name": "string",
    "family": "string",
    "given": "string",
    "birthdate": "date",
    "gender": "token",
}
SEARCH_PARAMETERS: Final = frozenset(_SEARCH)


def capability_statement(base_url: str) -> dict[str, Any]:
    """The statement of a server whose façade is at `base_url`."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-11-20",
        "publisher": "Quill",
        "kind": "instance",
        "software": {"name": "Quill"},
        "implementation": {"description": "The patients of Quill", "url": base_url},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [
            {
                "mode": "server",
                "security": {
                    "cors": False,
                    "description": "Bearer token, or the cookies of a browser session",
                },
                "resource": [
                    {
                        "type": "Patient",
                        "profile": "http://hl7.org/fhir/StructureDefinition/Patient",
                        "interaction": [
                            {"code": code} for code in ("read", "create", "update", "search-type")
                        ],
                        "versioning": "versioned-update",
                        "readHistory": False,
                        "updateCreate": True,
                        "conditionalCreate": True,
                        "conditionalRead": "not-supported",
                        "conditionalUpdate": False,
                        "conditionalDelete": "not-supported",
                        "searchParam": [{"name": name, "type": kind} for name, kind in _SEARCH.items()],
                    }
                ],
            }
        ],
    }
