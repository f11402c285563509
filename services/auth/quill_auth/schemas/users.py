"""Requests and answers about accounts."""

from typing import Any

from pydantic import Field

from quill_shared.platform.schemas import RequestModel, ResponseModel

from .fields import Email, Name, Password, PatientId, Slug, Slugs, Username, given

_POWERS = (
    "base_profession",
    "additional_competencies",
    "removed_competencies",
    "system_permissions",
    "roles",
)


class _Powers(RequestModel):
    base_profession: Slug | None = Field(default=None, description="default `patient`")
    additional_competencies: Slugs | None = Field(default=None, description="default none")
    removed_competencies: Slugs | None = Field(default=None, description="default none")
    system_permissions: Slug | None = Field(default=None, description="default `patient`")
    roles: Slugs | None = Field(default=None, description="default none")

    @property
    def powers(self) -> dict[str, Any]:
        """The powers that were given."""
        return given({name: getattr(self, name) for name in _POWERS})


class UserCreate(_Powers):
    """A new account."""

    name: Name | None = None
    username: Username | None = Field(
        default=None, description="default: the name in lower case without blanks"
    )
    email: Email | None = None
    password: Password | None = None


class UserUpdate(UserCreate):
    """What changes; fields that are absent or null stay as they are."""

    @property
    def identity(self) -> dict[str, str]:
        """What was given besides powers."""
        return given({name: getattr(self, name) for name in ("name", "username", "email", "password")})


class RolesWrite(RequestModel):
    """The roles an account has from now on."""

    roles: Slugs


class PatientLink(RequestModel):
    """The patient record that is the account's own."""

    fhir_patient_id: PatientId


class UserSummary(ResponseModel):
    """An account in a list."""

    id: int
    username: str
    email: str
    full_name: str | None
    system_permissions: str


class UserList(ResponseModel):
    """A page of accounts, by id."""

    users: list[UserSummary]
    next_cursor: str | None


class UserDetail(ResponseModel):
    """An account."""

    id: int
    username: str
    email: str
    name: str = Field(description="full name, or else the user name")
    full_name: str | None
    base_profession: str
    additional_competencies: list[str]
    removed_competencies: list[str]
    system_permissions: str
    roles: list[str]
    is_active: bool
    fhir_patient_id: str | None


class UserWritten(ResponseModel):
    """What became of an account that was created or updated."""

    detail: str
    id: int
    username: str
    email: str


class UserState(ResponseModel):
    """What became of an account that was deactivated or reactivated."""

    detail: str
    id: int
    username: str


class UserRoles(ResponseModel):
    """An account's roles."""

    id: int
    roles: list[str]


class LinkedPatient(ResponseModel):
    """An account and its own record."""

    user_id: int
    fhir_patient_id: str
