"""Every route, tried by every kind of caller. A new route cannot be forgotten: the table must hold it."""

from typing import Any

import pytest
from fastapi.routing import APIRoute

from quill_auth.api import routers
from quill_shared.kernel.public import PUBLIC_ROUTES
from quill_shared.platform.routing import guards_of
from quill_shared.platform.service_tokens import make, require_service

from .harness import Auth, Person

ANYBODY, SIGNED_IN, STAFF, ADMIN, SERVICE = "anybody", "signed in", "staff", "admin", "service"
PATIENT_OR_ADMIN = "patient or admin"

TABLE: dict[tuple[str, str], str] = {
    ("POST", "/api/auth/login"): ANYBODY,
    ("GET", "/api/auth/organizations"): ANYBODY,
    ("POST", "/api/auth/register"): ANYBODY,
    ("POST", "/api/auth/token"): ANYBODY,
    ("POST", "/api/auth/refresh"): ANYBODY,
    ("POST", "/api/auth/logout"): SIGNED_IN,
    ("GET", "/api/auth/me"): SIGNED_IN,
    ("GET", "/api/users"): ADMIN,
    ("POST", "/api/users"): ADMIN,
    ("GET", "/api/users/{user_id}"): ADMIN,
    ("PATCH", "/api/users/{user_id}"): ADMIN,
    ("PUT", "/api/users/{user_id}/roles"): ADMIN,
    ("POST", "/api/users/{user_id}/deactivate"): ADMIN,
    ("POST", "/api/users/{user_id}/reactivate"): ADMIN,
    ("PATCH", "/api/users/{user_id}/link-patient"): ADMIN,
    ("POST", "/api/patients/{patient_id}/invite-external"): PATIENT_OR_ADMIN,
    ("GET", "/api/patients/{patient_id}/external-access"): PATIENT_OR_ADMIN,
    ("DELETE", "/api/patients/{patient_id}/external-access/{user_id}"): PATIENT_OR_ADMIN,
    ("POST", "/api/accept-invite"): ANYBODY,
    ("GET", "/.well-known/jwks.json"): ANYBODY,
    ("GET", "/internal/users/{user_id}"): SERVICE,
    ("GET", "/internal/revocations"): SERVICE,
}
ALLOWED = {
    SIGNED_IN: {
        "patient",
        "other patient",
        "staff",
        "external with grant",
        "external",
        "admin",
        "superadmin",
    },
    ADMIN: {"admin", "superadmin"},
    PATIENT_OR_ADMIN: {"patient", "admin", "superadmin"},
    SERVICE: set(),
}
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/api/patients/{patient_id}/invite-external"): {
        "email": "new@example.org",
        "user_type": "external_hcp",
    },
}


def routes() -> list[tuple[str, APIRoute]]:
    """Method and route of everything auth answers."""
    return [
        (method, route)
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    ]


def test_the_table_names_every_route() -> None:
    assert {(method, route.path) for method, route in routes()} == TABLE.keys()


def test_every_route_that_is_not_public_has_a_guard() -> None:
    for method, route in routes():
        guarded = any(True for _ in guards_of(route.dependant))
        internal = any(each.call is require_service for each in route.dependant.dependencies)
        public = (method, route.path) in PUBLIC_ROUTES
        assert public == (TABLE[method, route.path] == ANYBODY)
        assert public or guarded or internal, route.path


@pytest.fixture
async def callers(auth: Auth) -> dict[str, Person]:
    """Every kind of caller."""
    root = await auth.root()
    people = {
        "patient": await auth.person("patient", patient="p-1"),
        "other patient": await auth.person("other", patient="p-2"),
        "staff": await auth.person("staff", "staff"),
        "external with grant": await auth.person("invited", "external_hcp"),
        "external": await auth.person("external", "patient_advocate"),
        "admin": await auth.person("admin", "admin"),
        "superadmin": root,
    }
    token = (
        await auth.post(
            "/api/patients/p-1/invite-external",
            {"email": "invited@example.org", "user_type": "external_hcp"},
            headers=root.headers,
        )
    ).json()["token"]
    accepted = await auth.post(
        "/api/accept-invite", {"token": token}, headers=people["external with grant"].headers
    )
    assert accepted.status_code == 200
    return people


async def test_every_route_answers_every_caller_as_the_table_says(
    auth: Auth, callers: dict[str, Person]
) -> None:
    victim = await auth.person("victim")

    for (method, template), who in TABLE.items():
        path = template.format(user_id=victim.id, patient_id="p-1")
        body = BODIES.get((method, template), {})
        arguments: dict[str, Any] = {} if method in ("GET", "DELETE") else {"json": body}
        anonymous = await auth.client.request(method, path, **arguments)
        auth.client.cookies.clear()
        if who == ANYBODY:
            assert anonymous.status_code < 500
            assert anonymous.status_code not in (403, 404, 405)
            assert anonymous.json().get("detail") != "Not authenticated"
            continue
        assert (anonymous.status_code, anonymous.json()["detail"]) == (401, "Not authenticated"), template
        if template == "/api/auth/logout":
            continue
        for kind, person in callers.items():
            answer = await auth.client.request(method, path, headers=person.headers, **arguments)
            context = f"{kind}: {method} {template} → {answer.status_code} {answer.text}"
            if who == SERVICE:
                assert answer.status_code == 401, context
            elif kind in ALLOWED[who]:
                assert answer.status_code < 500, context
                assert answer.status_code not in (401, 403), context
            else:
                assert answer.status_code == 403, context


async def test_creating_users_refuses_in_its_own_words(auth: Auth, callers: dict[str, Person]) -> None:
    answer = await auth.post("/api/users", {}, headers=callers["staff"].headers)

    assert answer.json()["detail"] == "Admin or superadmin permissions required to create users"
    answer = await auth.client.get("/api/users/1", headers=callers["staff"].headers)
    assert answer.json()["detail"] == "Requires admin or superadmin permissions"


async def test_services_ask_for_accounts_and_revocations(auth: Auth) -> None:
    key = auth.context.settings.service_key.get_secret_value()
    headers = {"Authorization": f"Bearer {make(key, caller='orgs', audience='auth')}"}
    wrong = {"Authorization": f"Bearer {make(key, caller='orgs', audience='patients')}"}
    person = await auth.person("amara", "staff", patient="p-1")
    root = await auth.root()
    await auth.post("/api/auth/logout", headers=person.headers)
    other = await auth.person("other")
    await auth.post(f"/api/users/{other.id}/deactivate", headers=root.headers)

    account = await auth.client.get(f"/internal/users/{person.id}", headers=headers)
    revocations = await auth.client.get("/internal/revocations", headers=headers)

    assert account.json() == {
        "user_id": person.id,
        "username": "amara",
        "display_name": "amara",
        "email": "amara@example.org",
        "system_permissions": "staff",
        "roles": [],
        "cbac": {"bp": "patient", "add": [], "rem": []},
        "fhir_patient_id": "p-1",
        "is_active": True,
        "ver": 2,
        "sequence": 3,
    }
    snapshot = revocations.json()
    assert {(each["session_id"], each["reason"]) for each in snapshot["sessions"]} == {
        (person.session_id, "logout"),
        (other.session_id, "deactivated"),
    }
    assert [(each["user_id"], each["reason"]) for each in snapshot["users"]] == [(other.id, "deactivated")]
    assert snapshot["versions"] == [{"user_id": person.id, "ver": 2}]
    assert snapshot["as_of"]
    assert (await auth.client.get("/internal/users/99", headers=headers)).status_code == 404
    assert (await auth.client.get("/internal/revocations", headers=wrong)).status_code == 401
    await auth.sql(
        "UPDATE sign_in_session SET ended_at = ended_at - interval '21 minutes' WHERE ended_at IS NOT NULL"
    )
    await auth.sql(
        "UPDATE account SET sessions_ended_at = sessions_ended_at - interval '21 minutes',"
        " powers_changed_at = powers_changed_at - interval '21 minutes'"
    )
    old = (await auth.client.get("/internal/revocations", headers=headers)).json()
    assert (old["sessions"], old["users"], old["versions"]) == ([], [], [])
