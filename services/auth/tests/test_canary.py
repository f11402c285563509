"""Nothing that a person types is found in logs, spans or error bodies; the fixture `canary` looks."""

import pytest

from quill_shared.platform.testing.services import CANARY_FAMILY, CANARY_GIVEN, CANARY_NHS_NUMBER

from .harness import PASSWORD, Auth

NAME = f"{CANARY_GIVEN} {CANARY_FAMILY}"
EMAIL = f"{CANARY_GIVEN}.{CANARY_FAMILY}@example.org"

ATTEMPTS = [
    ("POST", "/api/auth/login", {"username": EMAIL, "password": CANARY_NHS_NUMBER}),
    ("POST", "/api/auth/login", {"username": NAME, "password": PASSWORD, "nhs_number": CANARY_NHS_NUMBER}),
    ("POST", "/api/auth/register", {"username": NAME, "email": NAME, "password": CANARY_FAMILY}),
    ("POST", "/api/auth/register", {"username": CANARY_FAMILY, "email": EMAIL, "password": "short"}),
    ("POST", "/api/auth/register", {"username": "root", "email": EMAIL, "password": CANARY_NHS_NUMBER}),
    ("POST", "/api/users", {"name": NAME, "email": NAME, "password": PASSWORD}),
    ("POST", "/api/users", {"name": NAME + "@", "email": EMAIL, "password": PASSWORD}),
    ("POST", "/api/users", {"name": NAME, "username": "root", "email": EMAIL, "password": PASSWORD}),
    ("PATCH", "/api/users/1", {"name": f"{NAME}\0", "password": CANARY_FAMILY[:7]}),
    ("PATCH", "/api/users/1/link-patient", {"fhir_patient_id": NAME}),
    ("POST", "/api/patients/p-1/invite-external", {"email": NAME, "user_type": CANARY_NHS_NUMBER}),
    ("POST", "/api/accept-invite", {"token": NAME, "username": CANARY_FAMILY, "password": PASSWORD}),
    ("GET", f"/api/users?patient_id={NAME}", None),
    ("GET", f"/api/auth/organizations?cursor={CANARY_FAMILY}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ATTEMPTS)
async def test_what_is_typed_is_not_repeated(auth: Auth, method: str, path: str, body: object) -> None:
    root = await auth.root()

    answer = await auth.client.request(method, path, json=body, headers=root.headers)

    assert 400 <= answer.status_code < 500


async def test_what_oauth_clients_type_is_not_repeated(auth: Auth) -> None:
    for form in (
        {"grant_type": NAME},
        {"grant_type": "password", "username": NAME, "password": CANARY_NHS_NUMBER},
        {"grant_type": "refresh_token", "refresh_token": NAME},
    ):
        assert (await auth.token(**form)).status_code == 400
