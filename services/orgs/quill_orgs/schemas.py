"""Requests and answers of the orgs service."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from quill_shared.kernel.fhir_ids import FhirId
from quill_shared.platform.schemas import Id, RequestModel, ResponseModel, Text


def _not_blank(value: str) -> str:
    stripped = value.strip()
    if not stripped:
        raise ValueError("must not be blank")
    return stripped


Name = Annotated[Text, Field(max_length=200), AfterValidator(_not_blank)]


class OrganisationWrite(RequestModel):
    """What an organisation is created or replaced with."""

    name: Name = Field(description="as people know it")
    type: Text = Field(max_length=50, description="one of the organisation types")
    location: Text | None = Field(default=None, max_length=500, description="free text; empty counts as none")


class StaffAdd(RequestModel):
    """Whom to add."""

    user_id: Id


class PatientAdd(RequestModel):
    """Whom to add."""

    patient_id: FhirId = Field(description="FHIR id")


class FeatureSwitch(RequestModel):
    """On or off."""

    enabled: bool = Field(strict=True)


class OrganisationAnswer(ResponseModel):
    """An organisation."""

    id: int
    name: str
    type: str
    location: str | None
    created_at: datetime
    updated_at: datetime


class OrganisationList(ResponseModel):
    """A page of organisations, by name."""

    organizations: list[OrganisationAnswer]
    next_cursor: str | None


class StaffMember(ResponseModel):
    """A member of staff, as the account directory knows them."""

    id: int
    username: str
    email: str
    is_primary: bool


class PatientMember(ResponseModel):
    """A patient of the organisation."""

    patient_id: str
    is_primary: bool


class OrganisationDetail(OrganisationAnswer):
    """An organisation with everybody in it."""

    staff_count: int
    patient_count: int
    staff_members: list[StaffMember]
    patient_members: list[PatientMember]


class StaffAdded(ResponseModel):
    """Who was added."""

    organisation_id: int
    user_id: int
    username: str


class PatientAdded(ResponseModel):
    """Who was added."""

    organisation_id: int
    patient_id: str


class Status(ResponseModel):
    """What became of it."""

    status: str


class Feature(ResponseModel):
    """A feature that is on, since when and by whose decision."""

    feature_key: str
    enabled_at: datetime
    enabled_by: int


class FeatureList(ResponseModel):
    """The features that are on."""

    features: list[Feature]


class JoinRequestAnswer(ResponseModel):
    """A wish to join."""

    user_id: int
    username: str
    email: str
    requested_at: datetime


class JoinRequestList(ResponseModel):
    """The wishes nobody has decided on."""

    join_requests: list[JoinRequestAnswer]


class SharedOrganisation(ResponseModel):
    """An organisation that caller and patient have in common."""

    id: int
    name: str
    type: str


class SharedOrganisationList(ResponseModel):
    """What caller and patient have in common."""

    organisations: list[SharedOrganisation]
