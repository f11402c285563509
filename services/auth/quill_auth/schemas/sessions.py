"""Requests and answers about signing in."""

from datetime import datetime

from pydantic import Field

from quill_shared.platform.schemas import Id, RequestModel, ResponseModel, Text

from .fields import LONGEST_TYPED, Email, Name, Password, Username


class Login(RequestModel):
    """Who wants to sign in."""

    username: Text = Field(max_length=LONGEST_TYPED, description="user name or e-mail address, in any case")
    password: Password
    totp_code: Text | None = Field(
        default=None, max_length=64, description="code of a second factor; ignored where none is set up"
    )


class Register(RequestModel):
    """Who wants an account."""

    username: Username | None = None
    email: Email | None = None
    password: Password | None = None
    full_name: Name | None = None
    organisation_id: Id | None = Field(
        default=None, description="organisation to ask to join; an administrator decides"
    )


class Detail(ResponseModel):
    """What became of it."""

    detail: str


class LoginUser(ResponseModel):
    """Who signed in."""

    username: str
    roles: list[str]


class LoginAnswer(Detail):
    """Signed in; the tokens are in cookies."""

    user: LoginUser


class TokenAnswer(ResponseModel):
    """An access token response (RFC 6749 §5.1)."""

    access_token: str
    token_type: str = Field(description="always `Bearer`")
    expires_in: int = Field(description="seconds")
    refresh_token: str


class OrganisationChoice(ResponseModel):
    """An organisation one may ask to join."""

    id: int
    name: str


class OrganisationChoices(ResponseModel):
    """A page of organisations, by name."""

    organizations: list[OrganisationChoice]
    next_cursor: str | None


class MeAnswer(ResponseModel):
    """The caller's account and session."""

    id: int
    username: str
    name: str = Field(description="full name, or else the user name")
    full_name: str | None
    email: str
    roles: list[str]
    system_permissions: str
    totp_enabled: bool
    enabled_features: list[str] = Field(description="of the primary organisation")
    competencies: list[str] = Field(description="what the account may do clinically, sorted")
    fhir_patient_id: str | None
    clinical_services_enabled: bool
    session_expires_at: datetime = Field(description="unless it is refreshed before")
