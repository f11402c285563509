"""FHIR ids in addresses and bodies (FHIR R4 §2.24.0.1, datatype id)."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator

_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")


def fhir_id(value: str) -> str:
    """`value`, if it is an id.

    Ids of dots alone are none here, although FHIR allows them: as a part of an address they would mean
    another one (RFC 3986 §5.2.4).

    Raises:
        ValueError: it is not.
    """
    if not _ID.fullmatch(value) or not value.strip("."):
        raise ValueError("must be a FHIR id: 1 to 64 letters, digits, hyphens and dots, not dots alone")
    return value


FhirId = Annotated[str, AfterValidator(fhir_id)]
"""The id of a FHIR resource."""
