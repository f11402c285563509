"""Requests and answers of the patients service. FHIR resources are passed through, not modelled here."""

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from quill_shared.platform.clock import now
from quill_shared.platform.schemas import RequestModel, ResponseModel, Text

from . import domain
from .fhir import mapping
from .fhir.resource_schema import FhirPatient


def _trimmed(value: str) -> str:
    text = value.strip()
    if not text:
        raise ValueError("must not be blank")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("must not contain control characters")
    return text


def _date_of_birth(value: Any) -> date:
    if not isinstance(value, str):
        raise ValueError("must be a date in the form YYYY-MM-DD")
    return domain.birth_date(value, today=now().date())


def _organisation_id(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be an integer")
    return value


Name = Annotated[Text, Field(max_length=400), AfterValidator(domain.person_name)]
NhsNumber = Annotated[
    Text,
    Field(max_length=32, description="10 digits, Modulus 11; spaces and hyphens are removed"),
    AfterValidator(domain.nhs_number),
]
Mrn = Annotated[Text, Field(max_length=64, description="medical record number"), AfterValidator(_trimmed)]
BirthDate = Annotated[
    date, BeforeValidator(_date_of_birth, json_schema_input_type=date), Field(description="YYYY-MM-DD")
]
PatientId = Annotated[Text, AfterValidator(domain.assignable_id)]
OrganisationNumber = Annotated[int, Field(ge=1, le=2**63 - 1)]
OrganisationId = Annotated[int, BeforeValidator(_organisation_id), Field(ge=1, le=2**63 - 1)]
Line = Annotated[Text, StringConstraints(max_length=200), AfterValidator(_trimmed)]
Phone = Annotated[Text, Field(max_length=50), AfterValidator(_trimmed)]
Email = Annotated[Text, Field(max_length=255, pattern=r"^[^@\s]+@[^@\s]+$"), AfterValidator(_trimmed)]


class AddressWrite(RequestModel):
    """A postal address; what is not given stays as it is."""

    line: list[Line] | None = Field(default=None, max_length=10, min_length=1)
    city: Line | None = None
    state: Line | None = None
    postalCode: Line | None = None  # noqa: N815 - FHIR's name for it
    country: Line | None = None

    def value(self) -> mapping.Address:
        """As the mapping takes it."""
        return mapping.Address(
            line=self.line,
            city=self.city,
            state=self.state,
            postal_code=self.postalCode,
            country=self.country,
        )


class ContactWrite(RequestModel):
    """How to reach the patient; what is not given stays as it is."""

    phone: Phone | None = None
    email: Email | None = None

    def value(self) -> mapping.Contact:
        """As the mapping takes it."""
        return mapping.Contact(phone=self.phone, email=self.email)


class _PatientWrite(RequestModel):
    birth_date: BirthDate | None = None
    gender: domain.Gender | None = None
    nhs_number: NhsNumber | None = None
    mrn: Mrn | None = None
    address: AddressWrite | None = None
    contact: ContactWrite | None = None


class PatientCreate(_PatientWrite):
    """A patient to register."""

    given_name: Name
    family_name: Name
    patient_id: PatientId | None = Field(default=None, description="the FHIR id; made up when not given")
    organisation_id: OrganisationId | None = Field(
        default=None, description="one of the caller's own; their primary one when not given"
    )

    def demographics(self) -> mapping.Demographics:
        """As the mapping takes it."""
        return _demographics(self, self.given_name, self.family_name)


class PatientPatch(_PatientWrite):
    """What to change; a field that is absent or null stays as it is."""

    given_name: Name | None = None
    family_name: Name | None = None
    patient_id: Text | None = Field(default=None, description="if given, the one in the address")

    def demographics(self) -> mapping.Demographics:
        """As the mapping takes it."""
        return _demographics(self, self.given_name, self.family_name)


def _demographics(
    body: _PatientWrite, given_name: str | None, family_name: str | None
) -> mapping.Demographics:
    return mapping.Demographics(
        given_name=given_name,
        family_name=family_name,
        born=body.birth_date,
        gender=body.gender,
        nhs_number=body.nhs_number,
        mrn=body.mrn,
        address=body.address.value() if body.address is not None else None,
        contact=body.contact.value() if body.contact is not None else None,
    )


Elements = list[dict[str, Any]]

_SAME = (
    ("given_name", "name"),
    ("family_name", "name"),
    ("date_of_birth", "birthDate"),
    ("sex", "gender"),
    ("contact", "telecom"),
)


class DemographicsWrite(RequestModel):
    """What to change, flat or by FHIR element; what is absent or null stays as it is.

    A FHIR element replaces the whole element, and is validated with the whole resource.
    """

    given_name: Name | None = None
    family_name: Name | None = None
    date_of_birth: BirthDate | None = None
    sex: domain.Gender | None = None
    address: AddressWrite | Elements | None = Field(default=None, union_mode="left_to_right")
    contact: ContactWrite | None = None
    name: Elements | None = Field(default=None, description="FHIR element")
    birthDate: BirthDate | None = Field(default=None, description="FHIR element")  # noqa: N815
    gender: domain.Gender | None = Field(default=None, description="FHIR element")
    telecom: Elements | None = Field(default=None, description="FHIR element")
    maritalStatus: dict[str, Any] | None = Field(default=None, description="FHIR element")  # noqa: N815
    communication: Elements | None = Field(default=None, description="FHIR element")

    @model_validator(mode="after")
    def _once(self) -> Self:
        for flat, element in _SAME:
            if getattr(self, flat) is not None and getattr(self, element) is not None:
                raise ValueError(f"give {flat} or {element}, not both")
        return self

    def demographics(self) -> mapping.Demographics:
        """As the mapping takes it."""
        elements = {
            name: value
            for name in ("name", "telecom", "maritalStatus", "communication")
            if (value := getattr(self, name)) is not None
        }
        address: mapping.Address | None = None
        if isinstance(self.address, AddressWrite):
            address = self.address.value()
        elif self.address is not None:
            elements["address"] = self.address
        return mapping.Demographics(
            given_name=self.given_name,
            family_name=self.family_name,
            born=self.date_of_birth or self.birthDate,
            gender=self.sex or self.gender,
            address=address,
            contact=self.contact.value() if self.contact is not None else None,
            elements=elements,
        )


class PatientReady(ResponseModel):
    """A patient who is in the FHIR server."""

    patient_id: str
    status: Literal["ready"] = "ready"


class PatientMetadata(ResponseModel):
    """What is known of a record beside its content."""

    patient_id: str
    is_active: bool


class ActivationChanged(PatientMetadata):
    """A record is in use, or no longer."""

    message: str


class PatientSummary(ResponseModel):
    """For other services."""

    patient_id: str
    is_active: bool
    version: int


class ListedPatient(FhirPatient):
    """A Patient resource (FHIR R4) in a list."""

    is_active: bool = Field(description="whether the record is in use")


class DuplicateWarning(ResponseModel):
    """Someone of a similar name and the same date of birth is registered already.

    `patient_ids` names those whom the caller may see; there may be others.
    """

    code: Literal["possible_duplicate"] = "possible_duplicate"
    detail: str = "A patient with a similar name and the same date of birth is already registered"
    patient_ids: list[str]


class RegisteredPatient(FhirPatient):
    """A Patient resource (FHIR R4) just registered."""

    warnings: list[DuplicateWarning] = Field(description="who may be the same person; empty when nobody")


class PatientList(ResponseModel):
    """A page of patients, in the order in which they became known."""

    patients: list[ListedPatient]
    fhir_ready: bool = Field(description="false: the FHIR server is not there, and the list says nothing")
    next_cursor: str | None


class Demographics(ResponseModel):
    """A patient's record."""

    patient_id: str
    data: FhirPatient


class DemographicsUpdated(Demographics):
    """A patient's record after a change."""

    updated: Literal[True]


class BundleLink(ResponseModel):
    """A link of a Bundle."""

    relation: Literal["self", "next"]
    url: str


class BundleEntry(ResponseModel):
    """A match."""

    fullUrl: str  # noqa: N815 - FHIR's name for it
    resource: FhirPatient
    search: dict[str, str]


class SearchBundle(ResponseModel):
    """A Bundle of the type searchset (FHIR R4)."""

    resourceType: Literal["Bundle"]  # noqa: N815
    type: Literal["searchset"]
    total: int | None = Field(default=None, description="given when this page is all there is")
    link: list[BundleLink] = Field(
        default=[], description="`self` only if the search is short enough for an address"
    )
    entry: list[BundleEntry] = Field(default=[], description="absent when nothing was found")
