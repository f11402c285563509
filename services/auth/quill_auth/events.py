"""What the auth service tells the others.

Events about an account share the subject `user:<id>` and its version as sequence; those about one
session have the subject `session:<id>`, those about a grant `grant:<user>:<patient>`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from quill_shared.platform.events import Event
from quill_shared.platform.revocation import SESSION_REVOKED, TOKENS_OUTDATED


class Cbac(BaseModel):
    """What an account's competencies are resolved from: base profession, additions, removals."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bp: str
    add: list[str]
    rem: list[str]


class _AccountFact(Event):
    example: ClassVar[Mapping[str, Any]] = {
        "user_id": 12,
        "username": "amara.okafor",
        "display_name": "Amara Okafor",
        "email": "amara.okafor@example.org",
        "system_permissions": "staff",
        "roles": ["Clinician"],
        "cbac": {"bp": "consultant", "add": [], "rem": ["certify_cremation"]},
        "fhir_patient_id": None,
        "is_active": True,
        "ver": 3,
    }

    user_id: int
    username: str
    display_name: str
    email: str
    system_permissions: str
    roles: list[str]
    cbac: Cbac
    fhir_patient_id: str | None
    is_active: bool
    ver: int


class UserRegistered(_AccountFact):
    """An account exists."""

    type_name: ClassVar[str] = "auth.user.registered.v1"


class UserUpdated(_AccountFact):
    """Something about it changed, or it is active again."""

    type_name: ClassVar[str] = "auth.user.updated.v1"


class UserDeactivated(_AccountFact):
    """It may not be used any more."""

    type_name: ClassVar[str] = "auth.user.deactivated.v1"
    example: ClassVar[Mapping[str, Any]] = {**_AccountFact.example, "is_active": False}


class SessionRevoked(Event):
    """A session ended, or (without a session) all that the user had before `not_before`."""

    type_name: ClassVar[str] = SESSION_REVOKED
    example: ClassVar[Mapping[str, Any]] = {
        "user_id": 12,
        "session_id": "019a9b7e-3c60-7cc1-9d52-5d1d2a4a6a01",
        "not_before": "2026-03-01T09:30:00.123456Z",
        "reason": "logout",
    }

    user_id: int
    session_id: str | None
    not_before: datetime
    reason: str


class TokensOutdated(Event):
    """The account's powers changed: its tokens below `ver` no longer describe it."""

    type_name: ClassVar[str] = TOKENS_OUTDATED
    example: ClassVar[Mapping[str, Any]] = {"user_id": 12, "ver": 3}

    user_id: int
    ver: int


class _GrantFact(Event):
    example: ClassVar[Mapping[str, Any]] = {
        "user_id": 31,
        "patient_id": "p-4711",
        "user_type": "external_hcp",
    }

    user_id: int
    patient_id: str
    user_type: str


class AccessGranted(_GrantFact):
    """A user may see a patient's record."""

    type_name: ClassVar[str] = "auth.access.granted.v1"


class AccessRevoked(_GrantFact):
    """A user may not see it any more."""

    type_name: ClassVar[str] = "auth.access.revoked.v1"


class JoinRequested(Event):
    """Somebody who registered wishes to join an organisation. It is a wish and opens nothing."""

    type_name: ClassVar[str] = "auth.join.requested.v1"
    example: ClassVar[Mapping[str, Any]] = {"user_id": 12, "organisation_id": 7}

    user_id: int
    organisation_id: int


PUBLISHED = (
    UserRegistered,
    UserUpdated,
    UserDeactivated,
    SessionRevoked,
    TokensOutdated,
    AccessGranted,
    AccessRevoked,
    JoinRequested,
)
