"""A request that would succeed for each line of the table of permissions, made anew for every caller."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from world import Caller, World

from quill_shared.platform.testing.services import CANARY_FAMILY, CANARY_GIVEN, secret


@dataclass(frozen=True, slots=True)
class Attempt:
    """A path and what goes with it; `token` replaces the caller's own."""

    path: str
    request: Mapping[str, Any] = field(default_factory=dict)
    token: str | None = None


def _at(path: str, json: object = None, **request: Any) -> Attempt:
    return Attempt(path, request if json is None else {"json": json, **request})


def _new_account(world: World, perm: str = "patient") -> dict[str, str]:
    name = world.unique("made")
    return {
        "name": name,
        "email": f"{name}@quill.example",
        "password": secret(),
        "system_permissions": perm,
    }


def _user(world: World, perm: str = "patient") -> int:
    return world.account(perm=perm)[0]


def _deactivated(world: World, perm: str = "patient") -> int:
    user = _user(world, perm)
    world.do("auth", "POST", f"/api/users/{user}/deactivate")
    return user


def _registration(world: World) -> dict[str, str]:
    name = world.unique("self")
    return {"username": name, "email": f"{name}@home.example", "password": secret()}


def _credentials(world: World, caller: Caller) -> dict[str, str]:
    known = caller if caller in world.accounts else Caller.COLLEAGUE
    _, username, password = world.accounts[known]
    return {"username": username, "password": password}


def _with_cookie(world: World, caller: Caller) -> Attempt:
    answer = world.clients["auth"].post("/api/auth/login", json=_credentials(world, caller))
    cookie = answer.cookies["refresh_token"]
    world.clients["auth"].cookies.clear()
    return Attempt("/api/auth/refresh", {"headers": {"Cookie": f"refresh_token={cookie}"}})


def _logout(world: World, caller: Caller) -> Attempt:
    if caller not in world.accounts:
        return Attempt("/api/auth/logout")
    _, username, password = world.accounts[caller]
    return Attempt("/api/auth/logout", token=world.sign_in(username, password))


def _join_request(world: World, decision: str) -> Attempt:
    """Somebody who asked to join and has been made staff since."""
    organisation = world.organisation()
    body = _registration(world) | {"organisation_id": organisation}
    for _ in range(200):
        listed = world.clients["auth"].get("/api/auth/organizations").json()["organizations"]
        if organisation in [each["id"] for each in listed]:
            break
    assert world.call("auth", Caller.ANONYMOUS, "POST", "/api/auth/register", json=body).status_code == 200
    path = f"/api/organizations/{organisation}/join-requests"
    for _ in range(500):
        pending = world.do("orgs", "GET", path)["join_requests"]
        if pending:
            break
    user = pending[0]["user_id"]
    world.do("auth", "PATCH", f"/api/users/{user}", json={"system_permissions": "staff"})
    return Attempt(f"{path}/{user}/{decision}")


def _member(world: World) -> Attempt:
    organisation = world.organisation()
    return Attempt(f"/api/organizations/{organisation}/staff/{world.staff(organisation)[0]}")


def _patient_member(world: World) -> Attempt:
    organisation = world.organisation()
    path = f"/api/organizations/{organisation}/patients"
    world.do("orgs", "POST", path, json={"patient_id": world.patient})
    return Attempt(f"{path}/{world.patient}")


def _registered(world: World, **more: Any) -> dict[str, Any]:
    return {"given_name": CANARY_GIVEN, "family_name": world.unique(CANARY_FAMILY + " "), **more}


def _resource(world: World) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "name": [{"use": "official", "family": world.unique(CANARY_FAMILY + " "), "given": [CANARY_GIVEN]}],
    }


def _replaced(world: World) -> Attempt:
    path = f"/api/fhir/Patient/{world.patient}"
    resource = world.call("patients", Caller.SUPERADMIN, "GET", path).json()
    return _at(path, {**resource, "gender": "unknown"})


def _switched(world: World, to: str) -> Attempt:
    path = f"/api/patients/{world.patient}"
    world.do("patients", "POST", f"{path}/{'activate' if to == 'deactivate' else 'deactivate'}")
    return Attempt(f"{path}/{to}")


def _invitation(world: World) -> dict[str, str]:
    return {"email": f"{world.unique('guest')}@elsewhere.example", "user_type": "external_hcp"}


def _of_patient(suffix: str = "", *, fhir: bool = False) -> Callable[[World, Caller], Attempt]:
    root = "/api/fhir/Patient" if fhir else "/api/patients"
    return lambda world, _: Attempt(f"{root}/{world.patient}{suffix}")


def _unknown(path: str) -> Callable[[World, Caller], Attempt]:
    return lambda world, _: Attempt(path.format("nobody-knows"))


def _of_organisation(suffix: str = "") -> Callable[[World, Caller], Attempt]:
    return lambda world, _: Attempt(f"/api/organizations/{world.here}{suffix}")


Make = Callable[[World, Caller], Attempt]

ATTEMPTS: Final[dict[str, Make]] = {
    "POST /api/auth/login": lambda w, c: _at("/api/auth/login", _credentials(w, c)),
    "GET /api/auth/organizations": lambda w, c: _at("/api/auth/organizations"),
    "POST /api/auth/register": lambda w, c: _at("/api/auth/register", _registration(w)),
    "POST /api/auth/token": lambda w, c: _at(
        "/api/auth/token", data={"grant_type": "password", **_credentials(w, c)}
    ),
    "POST /api/auth/refresh with the cookie": _with_cookie,
    "POST /api/auth/refresh": lambda w, c: _at("/api/auth/refresh"),
    "POST /api/auth/logout": _logout,
    "GET /api/auth/me": lambda w, c: _at("/api/auth/me"),
    "GET /api/users": lambda w, c: _at("/api/users"),
    "GET /api/users of a patient": lambda w, c: _at("/api/users", params={"patient_id": w.patient}),
    "POST /api/users": lambda w, c: _at("/api/users", _new_account(w)),
    "POST /api/users, a superadmin": lambda w, c: _at("/api/users", _new_account(w, "superadmin")),
    "GET /api/users/{}": lambda w, c: _at(f"/api/users/{w.accounts[Caller.COLLEAGUE][0]}"),
    "PATCH /api/users/{}": lambda w, c: _at(f"/api/users/{_user(w)}", {"name": "Renamed"}),
    "PATCH /api/users/{} to superadmin": lambda w, c: _at(
        f"/api/users/{_user(w)}", {"system_permissions": "superadmin"}
    ),
    "PATCH /api/users/{}, a superadmin": lambda w, c: _at(
        f"/api/users/{_user(w, 'superadmin')}", {"name": "Renamed"}
    ),
    "PUT /api/users/{}/roles": lambda w, c: _at(f"/api/users/{_user(w)}/roles", {"roles": ["Clinician"]}),
    "PUT /api/users/{}/roles of a superadmin": lambda w, c: _at(
        f"/api/users/{_user(w, 'superadmin')}/roles", {"roles": ["Clinician"]}
    ),
    "POST /api/users/{}/deactivate": lambda w, c: _at(f"/api/users/{_user(w)}/deactivate"),
    "POST /api/users/{}/deactivate a superadmin": lambda w, c: _at(
        f"/api/users/{_user(w, 'superadmin')}/deactivate"
    ),
    "POST /api/users/{}/reactivate": lambda w, c: _at(f"/api/users/{_deactivated(w)}/reactivate"),
    "POST /api/users/{}/reactivate a superadmin": lambda w, c: _at(
        f"/api/users/{_deactivated(w, 'superadmin')}/reactivate"
    ),
    "PATCH /api/users/{}/link-patient": lambda w, c: _at(
        f"/api/users/{_user(w)}/link-patient", {"fhir_patient_id": w.record(w.elsewhere)}
    ),
    "PATCH /api/users/{}/link-patient of a superadmin": lambda w, c: _at(
        f"/api/users/{_user(w, 'superadmin')}/link-patient", {"fhir_patient_id": w.record(w.elsewhere)}
    ),
    "GET /api/organizations": lambda w, c: _at("/api/organizations"),
    "POST /api/organizations": lambda w, c: _at("/api/organizations", {"name": "New", "type": "department"}),
    "GET /api/organizations/{}": _of_organisation(),
    "PUT /api/organizations/{}": lambda w, c: _at(
        f"/api/organizations/{w.here}", {"name": "Renamed", "type": "hospital_team"}
    ),
    "POST /api/organizations/{}/staff": lambda w, c: _at(
        f"/api/organizations/{w.elsewhere}/staff", {"user_id": _user(w, "staff")}
    ),
    "DELETE /api/organizations/{}/staff/{}": lambda w, c: _member(w),
    "POST /api/organizations/{}/patients": lambda w, c: _at(
        f"/api/organizations/{w.organisation()}/patients", {"patient_id": w.patient}
    ),
    "DELETE /api/organizations/{}/patients/{}": lambda w, c: _patient_member(w),
    "GET /api/organizations/{}/features": _of_organisation("/features"),
    "PUT /api/organizations/{}/features/{}": lambda w, c: _at(
        f"/api/organizations/{w.here}/features/teaching", {"enabled": True}
    ),
    "GET /api/organizations/{}/join-requests": _of_organisation("/join-requests"),
    "POST /api/organizations/{}/join-requests/{}/approve": lambda w, c: _join_request(w, "approve"),
    "POST /api/organizations/{}/join-requests/{}/reject": lambda w, c: _join_request(w, "reject"),
    "GET /api/patients/{}/shared-organisations": _of_patient("/shared-organisations"),
    "GET /api/patients": lambda w, c: _at("/api/patients"),
    "GET /api/patients with scope=admin": lambda w, c: _at("/api/patients", params={"scope": "admin"}),
    "POST /api/patients": lambda w, c: _at("/api/patients", _registered(w)),
    "POST /api/patients for an organisation": lambda w, c: _at(
        "/api/patients", _registered(w, organisation_id=w.here)
    ),
    "POST /api/fhir/patients": lambda w, c: _at("/api/fhir/patients", _registered(w)),
    "POST /api/patients/verify": lambda w, c: _at("/api/patients/verify", params={"patient_id": w.patient}),
    "GET /api/patients/{}": _of_patient(),
    "GET /api/patients/{} nobody knows": _unknown("/api/patients/{}"),
    "GET /api/fhir/patients/{}": lambda w, c: _at(f"/api/fhir/patients/{w.patient}"),
    "PATCH /api/patients/{}": lambda w, c: _at(f"/api/patients/{w.patient}", {"gender": "other"}),
    "GET /api/patients/{}/demographics": _of_patient("/demographics"),
    "GET /api/patients/{}/demographics nobody knows": _unknown("/api/patients/{}/demographics"),
    "PUT /api/patients/{}/demographics": lambda w, c: _at(
        f"/api/patients/{w.patient}/demographics", {"sex": "female"}
    ),
    "GET /api/patients/{}/metadata": _of_patient("/metadata"),
    "GET /api/patients/{}/metadata nobody knows": _unknown("/api/patients/{}/metadata"),
    "POST /api/patients/{}/deactivate": lambda w, c: _switched(w, "deactivate"),
    "POST /api/patients/{}/activate": lambda w, c: _switched(w, "activate"),
    "GET /api/fhir/metadata": lambda w, c: _at("/api/fhir/metadata"),
    "POST /api/fhir/Patient": lambda w, c: _at("/api/fhir/Patient", _resource(w)),
    "GET /api/fhir/Patient": lambda w, c: _at("/api/fhir/Patient", params={"_count": "5"}),
    "POST /api/fhir/Patient/_search": lambda w, c: _at("/api/fhir/Patient/_search", data={"_count": "5"}),
    "GET /api/fhir/Patient/{}": _of_patient(fhir=True),
    "GET /api/fhir/Patient/{} nobody knows": _unknown("/api/fhir/Patient/{}"),
    "PUT /api/fhir/Patient/{}": lambda w, c: _replaced(w),
    "POST /api/patients/{}/invite-external": lambda w, c: _at(
        f"/api/patients/{w.patient}/invite-external", _invitation(w)
    ),
    "POST /api/accept-invite": lambda w, c: _at(
        "/api/accept-invite",
        {"token": w.invite(w.other_patient), "username": w.unique("guest"), "password": secret()},
    ),
    "GET /api/patients/{}/external-access": _of_patient("/external-access"),
    "DELETE /api/patients/{}/external-access/{}": lambda w, c: _at(
        f"/api/patients/{w.patient}/external-access/{w.external(w.patient)[0]}"
    ),
}
