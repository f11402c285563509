"""The errors of the auth context.

Error
├── BadRequest
│   ├── InvalidCredentials        400 invalid_credentials      keeps its count
│   ├── MissingFields             400 missing_fields
│   ├── PasswordTooShort          400 password_too_short
│   ├── UsernameExists            400 username_exists          keeps its count
│   ├── EmailExists               400 email_exists             keeps its count
│   ├── UnknownOrganisation       400 organisation_not_found
│   ├── UnknownValue              400 unknown_profession, unknown_competency, unknown_permission, unknown_role
│   ├── InvalidPermissionLevel    400 invalid_permission_level
│   ├── OwnAccount                400 own_account
│   ├── AlreadyInState            400 already_deactivated, already_active
│   ├── LastSuperadmin            400 last_superadmin
│   ├── InvalidInvite             400 invalid_invite
│   │   └── GuessedInvite                                      keeps its count
│   └── OAuthError                400 invalid_request, unsupported_grant_type
├── Unauthenticated
│   ├── NoRefreshToken            401 no_refresh_token
│   ├── BadRefreshToken           401 bad_refresh_token
│   └── InvalidatedSession        (platform)
│       ├── ExpiredSession        401 session_expired
│       └── ReplayedRefreshToken  401 session_invalidated      keeps the session's end
├── Forbidden
│   ├── SuperadminRequired        403 superadmin_required
│   ├── CarersHidden              403 patient_access_denied
│   └── OwnPowers                 403 own_powers
├── NotFound
│   ├── UserNotFound              404 user_not_found
│   ├── PatientNotFound           404 patient_not_found
│   └── GrantNotFound             404 grant_not_found
├── Conflict
│   ├── PatientAlreadyLinked      409 patient_already_linked
│   └── NameTaken                 409 username_taken, email_taken
├── PreconditionFailed            (platform)
├── TooManyRequests
│   └── TooManyAttempts           429 too_many_attempts
└── Unavailable
    └── Overloaded                503 sign_in_busy
"""

from quill_shared.platform.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    Unprocessable,
)
from quill_shared.platform.revocation import InvalidatedSession


class InvalidCredentials(BadRequest):
    """Unknown account, wrong password or deactivated account: never says which (safety, fault 7)."""

    code = "invalid_credentials"
    detail = "Invalid credentials"
    keeps_effects = True


class MissingFields(BadRequest):
    """A required field is absent or empty."""

    code = "missing_fields"
    detail = "Missing fields"


class PasswordTooShort(BadRequest):
    """Fewer than 8 characters."""

    code = "password_too_short"
    detail = "Password too short"


class UsernameExists(BadRequest):
    """Somebody has the user name, in whatever case."""

    code = "username_exists"
    detail = "Username already exists"
    keeps_effects = True


class EmailExists(BadRequest):
    """Somebody has the e-mail address, in whatever case."""

    code = "email_exists"
    detail = "Email already exists"
    keeps_effects = True


class UnknownOrganisation(BadRequest):
    """No such organisation to ask to join."""

    code = "organisation_not_found"
    detail = "Organisation not found"


class UnknownValue(BadRequest):
    """A profession, competency, permission or role that does not exist; the detail names it."""


class InvalidPermissionLevel(BadRequest):
    """Not a level users can be listed by."""

    code = "invalid_permission_level"


class OwnAccount(BadRequest):
    """Nobody deactivates or reactivates themselves."""

    code = "own_account"


class AlreadyInState(BadRequest):
    """There is nothing to do."""


class LastSuperadmin(BadRequest):
    """One superadmin must remain."""

    code = "last_superadmin"
    detail = "The last superadmin can be neither demoted nor deactivated"


class InvalidInvite(BadRequest):
    """Unknown, used, revoked or expired: never says which."""

    code = "invalid_invite"
    detail = "Invalid or expired invite token"


class GuessedInvite(InvalidInvite):
    """The same, where the guess is counted."""

    keeps_effects = True


class RegistrationFieldsRequired(Unprocessable):
    """Nobody is identified by what was sent, so it can only be a new registration, and lacks something."""

    def __init__(self, missing: list[str]) -> None:
        detail = "username and password required for new registration"
        super().__init__(
            [{"loc": ["body", name], "msg": detail, "type": "missing"} for name in missing],
            detail,
            code="registration_fields_required",
        )


class OAuthError(BadRequest):
    """The token request itself is at fault; `code` is RFC 6749's error (§5.2)."""


class NoRefreshToken(Unauthenticated):
    """The cookie is missing."""

    code = "no_refresh_token"
    detail = "No refresh token"


class BadRefreshToken(Unauthenticated):
    """Not one of ours."""

    code = "bad_refresh_token"
    detail = "Bad refresh token"


class ExpiredSession(InvalidatedSession):
    """Idle for too long, or at its end."""

    code = "session_expired"


class ReplayedRefreshToken(InvalidatedSession):
    """Used again after the grace: two parties hold it, so the session is over (RFC 9700 §4.14.2)."""

    keeps_effects = True


class SuperadminRequired(Forbidden):
    """Superadmins are administered by superadmins only."""

    code = "superadmin_required"
    detail = "Only a superadmin may create, edit or promote to superadmin"


class CarersHidden(Forbidden):
    """Who cares for a patient is told to those who may see the patient, and to administrators."""

    code = "patient_access_denied"
    detail = "Requires admin or superadmin permissions"


class OwnPowers(Forbidden):
    """Nobody raises their own powers."""

    code = "own_powers"
    detail = "You cannot raise your own powers"


class UserNotFound(NotFound):
    """No such account."""

    code = "user_not_found"
    detail = "User not found"


class PatientNotFound(NotFound):
    """No such patient."""

    code = "patient_not_found"
    detail = "Patient not found"


class GrantNotFound(NotFound):
    """The user holds neither an unrevoked grant nor an open invitation for the patient."""

    code = "grant_not_found"
    detail = "Active access grant not found"


class PatientAlreadyLinked(Conflict):
    """A patient record belongs to at most one account."""

    code = "patient_already_linked"
    detail = "FHIR patient already linked to another user"


class NameTaken(Conflict):
    """An invited person chose what somebody else has."""

    code = "username_taken"
    detail = "Username already taken"


class TooManyAttempts(TooManyRequests):
    """This account or address has to wait."""

    code = "too_many_attempts"
    detail = "Too many attempts. Try again later."


class Overloaded(Unavailable):
    """Too many passwords are waiting to be checked, or this one waited too long."""

    code = "sign_in_busy"
    detail = "Sign-in is busy. Try again in a moment."
