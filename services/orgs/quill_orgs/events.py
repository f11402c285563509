"""What the orgs service tells the others.

All events of an organisation share the subject `organization:<id>` and its version as sequence.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from quill_shared.platform.events import Event


class _OrganisationFact(Event):
    example: ClassVar[Mapping[str, Any]] = {"organisation_id": 7, "name": "Ward 4", "type": "hospital_team"}

    organisation_id: int
    name: str
    type: str


class OrganisationCreated(_OrganisationFact):
    """An organisation exists."""

    type_name: ClassVar[str] = "orgs.organization.created.v1"


class OrganisationUpdated(_OrganisationFact):
    """Its name or type changed."""

    type_name: ClassVar[str] = "orgs.organization.updated.v1"


class _StaffFact(Event):
    example: ClassVar[Mapping[str, Any]] = {"organisation_id": 7, "user_id": 12, "is_primary": True}

    organisation_id: int
    user_id: int
    is_primary: bool


class StaffAdded(_StaffFact):
    """An account became a member of staff."""

    type_name: ClassVar[str] = "orgs.staff.added.v1"


class StaffUpdated(_StaffFact):
    """The membership became primary."""

    type_name: ClassVar[str] = "orgs.staff.updated.v1"


class StaffRemoved(_StaffFact):
    """An account is no longer a member of staff."""

    type_name: ClassVar[str] = "orgs.staff.removed.v1"


class _PatientFact(Event):
    example: ClassVar[Mapping[str, Any]] = {"organisation_id": 7, "patient_id": "p-4711"}

    organisation_id: int
    patient_id: str


class PatientAdded(_PatientFact):
    """A patient became the organisation's."""

    type_name: ClassVar[str] = "orgs.patient.added.v1"


class PatientRemoved(_PatientFact):
    """A patient is no longer the organisation's."""

    type_name: ClassVar[str] = "orgs.patient.removed.v1"


class _FeatureFact(Event):
    example: ClassVar[Mapping[str, Any]] = {"organisation_id": 7, "feature_key": "letters"}

    organisation_id: int
    feature_key: str


class FeatureEnabled(_FeatureFact):
    """A feature was switched on."""

    type_name: ClassVar[str] = "orgs.feature.enabled.v1"


class FeatureDisabled(_FeatureFact):
    """A feature was switched off."""

    type_name: ClassVar[str] = "orgs.feature.disabled.v1"


PUBLISHED = (
    OrganisationCreated,
    OrganisationUpdated,
    StaffAdded,
    StaffUpdated,
    StaffRemoved,
    PatientAdded,
    PatientRemoved,
    FeatureEnabled,
    FeatureDisabled,
)
