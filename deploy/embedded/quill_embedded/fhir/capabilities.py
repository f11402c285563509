"""What the server can do, as a CapabilityStatement (FHIR R4)."""

from typing import Any, Final

from .definitions import SEARCH_PARAMETERS

_INTERACTIONS: Final = ("create", "read", "vread", "update", "delete", "history-instance", "search-type")


def capability_statement(base_url: str, started: str) -> dict[str, Any]:
    """The answer of ``/metadata``."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": started,
        "kind": "instance",
        "software": {"name": "Quill FHIR stand-in", "version": "0.1.0"},
        "implementation": {"description": "FHIR R4 for one machine", "url": base_url},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [
            {
                "mode": "server",
                "resource": [_resource(resource_type) for resource_type in sorted(SEARCH_PARAMETERS)],
            }
        ],
    }


def _resource(resource_type: str) -> dict[str, Any]:
    parameters = [
        {"name": "_id", "type": "token"},
        {"name": "_lastUpdated", "type": "date"},
        *({"name": item.name, "type": item.kind} for item in SEARCH_PARAMETERS[resource_type].values()),
    ]
    return {
        "type": resource_type,
        "interaction": [{"code": code} for code in _INTERACTIONS],
        "versioning": "versioned-update",
        "readHistory": True,
        "updateCreate": True,
        "conditionalCreate": True,
        "referencePolicy": ["literal", "logical", "enforced", "local"],
        "searchParam": parameters,
    }
