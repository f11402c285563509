"""What the patients service tells the others: that a record exists or changed, never what it says.

All events of a patient share the subject `patient:<id>`; the sequence counts them. `version` is the
version of the record in FHIR.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from quill_shared.platform.events import Event


class PatientCreated(Event):
    """A record exists. `created_by` is null when another system wrote it to FHIR."""

    type_name: ClassVar[str] = "patients.patient.created.v1"
    example: ClassVar[Mapping[str, Any]] = {
        "patient_id": "0197e3a0-7c1e-7d52-9d4b-2f6f0d0f6f10",
        "version": 1,
        "organisation_id": 7,
        "created_by": 12,
    }

    patient_id: str
    version: int
    organisation_id: int | None
    created_by: int | None


class _PatientFact(Event):
    example: ClassVar[Mapping[str, Any]] = {
        "patient_id": "0197e3a0-7c1e-7d52-9d4b-2f6f0d0f6f10",
        "version": 2,
    }

    patient_id: str
    version: int


class PatientUpdated(_PatientFact):
    """The record changed."""

    type_name: ClassVar[str] = "patients.patient.updated.v1"


class PatientActivated(_PatientFact):
    """The record is in use again."""

    type_name: ClassVar[str] = "patients.patient.activated.v1"


class PatientDeactivated(_PatientFact):
    """The record is no longer in use, or was deleted from FHIR."""

    type_name: ClassVar[str] = "patients.patient.deactivated.v1"


PUBLISHED = (PatientCreated, PatientUpdated, PatientActivated, PatientDeactivated)
