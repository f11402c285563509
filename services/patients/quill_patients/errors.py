"""The errors of the patients context.

Error
├── ClientError
│   ├── Forbidden
│   │   └── NotOwnOrganisation        403 organisation_not_own
│   ├── NotFound
│   │   ├── PatientNotFound           404 patient_not_found
│   │   └── OrganisationNotFound      404 organization_not_found
│   ├── NotAcceptable                 406 not_acceptable
│   ├── Conflict
│   │   ├── PatientExists             409 patient_exists
│   │   └── PatientBusy               409 patient_busy
│   ├── PreconditionFailed
│   │   ├── PatientChanged            412 precondition_failed
│   │   └── SeveralMatches            412 several_matches
│   └── UnsupportedMedia              415 unsupported_media_type
└── UpstreamError
    └── RefusedUpstream               502 fhir_refused

Inside the service only, never shown: `VersionConflict`, another writer was quicker, and `Overwritten`, whose
record ours has replaced.
"""

from collections.abc import Sequence

from quill_shared.platform.errors import (
    BadGateway,
    ClientError,
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
)


class OrganisationNotFound(NotFound):
    """The organisation that a patient should be registered for does not exist."""

    code = "organization_not_found"
    detail = "Organization not found"


class NotOwnOrganisation(Forbidden):
    """Staff register patients for the organisations they work for."""

    code = "organisation_not_own"
    detail = "You are not a member of this organisation"


class PatientNotFound(NotFound):
    """No such patient; said only to those who may see every patient, or this one."""

    code = "patient_not_found"
    detail = "Patient not found"


class NotAcceptable(ClientError):
    """FHIR is answered as JSON only (FHIR R4, RESTful API, content types)."""

    status = 406
    code = "not_acceptable"
    detail = "Only application/fhir+json is available"


class UnsupportedMedia(ClientError):
    """FHIR is read as JSON only."""

    status = 415
    code = "unsupported_media_type"
    detail = "The content must be application/fhir+json"


class PatientExists(Conflict):
    """The NHS number or the id is another record's, which is never overwritten (fault 5)."""

    code = "patient_exists"
    detail = "Patient already exists"

    def __init__(self, patient_id: str) -> None:
        self.patient_id = patient_id
        super().__init__(extra={"patient_id": patient_id})


class PatientBusy(Conflict):
    """Others kept changing the record while we tried."""

    code = "patient_busy"
    detail = "The record is being changed by others; please try again"


class PatientChanged(PreconditionFailed):
    """If-Match names a version that is not the current one."""


class SeveralMatches(PreconditionFailed):
    """A conditional create whose condition several patients meet (FHIR R4, conditional create)."""

    code = "several_matches"
    detail = "If-None-Exist is met by more than one patient"


class RefusedUpstream(BadGateway):
    """The FHIR server refused what we sent although we had found it valid; `codes` are its own."""

    code = "fhir_refused"
    detail = "The FHIR server refused the record"

    def __init__(self, codes: Sequence[str] = ()) -> None:
        self.codes = tuple(codes)
        super().__init__()


class VersionConflict(Conflict):
    """The FHIR server has another version than the one we changed."""


class Overwritten(VersionConflict):
    """A record that was to be new took the place of another writer's."""
