"""Who may call what, as the HTTP contract says: one line per route of auth, orgs and patients.

Written by hand from the contract, never from the code. A line with a remark after the path is a further
case of the same route.
"""

from dataclasses import dataclass
from typing import Final

from world import Caller

SIGNED_IN: Final = frozenset(Caller) - {Caller.ANONYMOUS, Caller.FORGED}
EVERYBODY: Final = frozenset(Caller)
NOBODY: Final = frozenset[Caller]()
SUPERADMIN: Final = frozenset({Caller.SUPERADMIN})
ADMINS: Final = SUPERADMIN | {Caller.ADMIN}
OWN_STAFF: Final = ADMINS | {Caller.COLLEAGUE, Caller.CLINICIAN}
STAFF: Final = OWN_STAFF | {Caller.STRANGER_STAFF, Caller.STRANGER_CLINICIAN}
PATIENT_OR_ADMIN: Final = ADMINS | {Caller.PATIENT}
VIEWERS: Final = OWN_STAFF | {Caller.PATIENT, Caller.EXTERNAL, Caller.ADVOCATE}
"""V(p) of the contract's legend."""
EDITORS: Final = ADMINS | {Caller.CLINICIAN}
"""Staff V(p) with `modify_patient_records`, or A; the receptionist lacks the competency."""
OWN_CLINICIAN: Final = frozenset({Caller.CLINICIAN})
"""C, V(p): the role is needed besides the permission, so that it keeps out administrators without it. A
clinician who may not see the patient gets the same 403 whether it exists or not (contract, section 1)."""

NO_CREDENTIALS: Final = "Not authenticated"
BAD_TOKEN: Final = "Invalid token"
_ADMIN: Final = "Requires admin or superadmin permissions"
_CREATE: Final = "Admin or superadmin permissions required to create users"
_COMPETENCY: Final = "Forbidden: User lacks required competency 'modify_patient_records'"
_INVITE: Final = "Only the patient or an admin can invite external users"
_EXTERNAL: Final = "Access denied"
_SWITCH: Final = "Admin or superadmin permission required to {} patients"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What callers of a route get.

    Args:
        service: who serves it.
        allowed: who gets `status`; everybody else signed in gets 403.
        status: of an allowed call.
        detail: the words of the 403, where the contract gives them.
        by_account: whether the 403 is decided from the account alone, before the body is looked at.
        special: who gets another 403 text than `detail`.
    """

    service: str
    allowed: frozenset[Caller]
    status: int = 200
    detail: str | None = None
    by_account: bool = False
    special: tuple[tuple[Caller, str], ...] = ()


def _auth(allowed: frozenset[Caller], detail: str | None = None, *, by_account: bool = False) -> Expectation:
    return Expectation("auth", allowed, detail=detail, by_account=by_account)


def _orgs(allowed: frozenset[Caller] = ADMINS, detail: str = _ADMIN) -> Expectation:
    return Expectation("orgs", allowed, detail=detail, by_account=allowed == ADMINS)


def _patients(
    allowed: frozenset[Caller], detail: str | None = None, *, status: int = 200, by_account: bool = False
) -> Expectation:
    return Expectation("patients", allowed, status, detail, by_account)


_PATCH: Final = Expectation("patients", EDITORS, special=((Caller.COLLEAGUE, _COMPETENCY),))

EXPECTED: Final[dict[str, Expectation]] = {
    # 4 Authentication
    "POST /api/auth/login": _auth(EVERYBODY),
    "GET /api/auth/organizations": _auth(EVERYBODY),
    "POST /api/auth/register": _auth(EVERYBODY),
    "POST /api/auth/token": _auth(EVERYBODY),
    "POST /api/auth/refresh with the cookie": _auth(EVERYBODY),
    "POST /api/auth/refresh": _auth(NOBODY, "No refresh token"),
    "POST /api/auth/logout": _auth(SIGNED_IN),
    "GET /api/auth/me": _auth(SIGNED_IN),
    # 5 Users and competencies
    "GET /api/users": _auth(ADMINS, _ADMIN, by_account=True),
    "GET /api/users of a patient": _auth(OWN_STAFF, _ADMIN),
    "POST /api/users": _auth(ADMINS, _CREATE, by_account=True),
    "POST /api/users, a superadmin": _auth(SUPERADMIN),
    "GET /api/users/{}": _auth(ADMINS, by_account=True),
    "PATCH /api/users/{}": _auth(ADMINS, by_account=True),
    "PATCH /api/users/{} to superadmin": _auth(SUPERADMIN),
    "PATCH /api/users/{}, a superadmin": _auth(SUPERADMIN),
    "PUT /api/users/{}/roles": _auth(ADMINS, by_account=True),
    "PUT /api/users/{}/roles of a superadmin": _auth(SUPERADMIN),
    "POST /api/users/{}/deactivate": _auth(ADMINS, by_account=True),
    "POST /api/users/{}/deactivate a superadmin": _auth(SUPERADMIN),
    "POST /api/users/{}/reactivate": _auth(ADMINS, by_account=True),
    "POST /api/users/{}/reactivate a superadmin": _auth(SUPERADMIN),
    "PATCH /api/users/{}/link-patient": _auth(ADMINS, by_account=True),
    "PATCH /api/users/{}/link-patient of a superadmin": _auth(SUPERADMIN),
    # 6 Organisations
    "GET /api/organizations": _orgs(),
    "POST /api/organizations": _orgs(),
    "GET /api/organizations/{}": _orgs(),
    "PUT /api/organizations/{}": _orgs(),
    "POST /api/organizations/{}/staff": _orgs(),
    "DELETE /api/organizations/{}/staff/{}": _orgs(),
    "POST /api/organizations/{}/patients": _orgs(),
    "DELETE /api/organizations/{}/patients/{}": _orgs(),
    "GET /api/organizations/{}/features": _orgs(),
    "PUT /api/organizations/{}/features/{}": _orgs(),
    "GET /api/organizations/{}/join-requests": _orgs(),
    "POST /api/organizations/{}/join-requests/{}/approve": _orgs(),
    "POST /api/organizations/{}/join-requests/{}/reject": _orgs(),
    "GET /api/patients/{}/shared-organisations": _orgs(SIGNED_IN),
    # 7 Patients
    "GET /api/patients": _patients(SIGNED_IN),
    "GET /api/patients with scope=admin": _patients(ADMINS),
    "POST /api/patients": _patients(STAFF, by_account=True),
    "POST /api/patients for an organisation": _patients(OWN_STAFF),
    "POST /api/fhir/patients": _patients(STAFF, by_account=True),
    "POST /api/patients/verify": _patients(OWN_CLINICIAN),
    "GET /api/patients/{}": _patients(VIEWERS),
    "GET /api/patients/{} nobody knows": _patients(ADMINS, status=404),
    "GET /api/fhir/patients/{}": _patients(VIEWERS),
    "PATCH /api/patients/{}": _PATCH,
    "GET /api/patients/{}/demographics": _patients(VIEWERS),
    "GET /api/patients/{}/demographics nobody knows": _patients(ADMINS, status=404),
    "PUT /api/patients/{}/demographics": _patients(OWN_CLINICIAN),
    "GET /api/patients/{}/metadata": _patients(VIEWERS),
    "GET /api/patients/{}/metadata nobody knows": _patients(ADMINS, status=404),
    "POST /api/patients/{}/deactivate": _patients(ADMINS, _SWITCH.format("deactivate"), by_account=True),
    "POST /api/patients/{}/activate": _patients(ADMINS, _SWITCH.format("activate"), by_account=True),
    "GET /api/fhir/metadata": _patients(EVERYBODY),
    "POST /api/fhir/Patient": _patients(STAFF, status=201, by_account=True),
    "GET /api/fhir/Patient": _patients(SIGNED_IN),
    "POST /api/fhir/Patient/_search": _patients(SIGNED_IN),
    "GET /api/fhir/Patient/{}": _patients(VIEWERS),
    "GET /api/fhir/Patient/{} nobody knows": _patients(ADMINS, status=404),
    "PUT /api/fhir/Patient/{}": _PATCH,
    # 9 External access
    "POST /api/patients/{}/invite-external": _auth(PATIENT_OR_ADMIN, _INVITE),
    "POST /api/accept-invite": _auth(EVERYBODY),
    "GET /api/patients/{}/external-access": _auth(PATIENT_OR_ADMIN, _EXTERNAL),
    "DELETE /api/patients/{}/external-access/{}": _auth(PATIENT_OR_ADMIN, _EXTERNAL),
}


def route_of(line: str) -> tuple[str, str]:
    """Method and path of a line of the table, without its remark."""
    method, path, *_ = line.replace(",", " ").split()
    return method, path
