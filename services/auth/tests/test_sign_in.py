"""Signing in: one answer for everything that is wrong, cookies for browsers, tokens for API clients."""

import asyncio
from typing import Any

import pytest

from quill_auth.bootstrap import definition
from quill_shared.platform.migrations import drift
from quill_shared.platform.tables import platform_metadata
from quill_shared.platform.testing.postgres import TestDatabase

from .harness import PASSWORD, Auth, claims_of


async def test_migrations_and_models_agree(database: TestDatabase) -> None:
    assert await drift(database.owner_url, [*definition.metadata, platform_metadata]) == []


async def test_a_browser_signs_in_and_gets_three_cookies(auth: Auth) -> None:
    person = await auth.person("amara", "staff", roles=["Clinician"])

    answer = await auth.client.post(
        "/api/auth/login", json={"username": "amara", "password": PASSWORD, "totp_code": None}
    )

    assert answer.status_code == 200
    assert answer.json() == {"detail": "ok", "user": {"username": "amara", "roles": ["Clinician"]}}
    assert answer.headers["cache-control"] == "no-store"
    cookies = {line.split("=")[0]: line for line in answer.headers.get_list("set-cookie")}
    assert cookies.keys() == {"access_token", "refresh_token", "XSRF-TOKEN"}
    assert all("SameSite=lax" in line and "Secure" not in line for line in cookies.values())
    assert "HttpOnly" in cookies["access_token"]
    assert "Max-Age=900; Path=/;" in cookies["access_token"]
    assert "Max-Age=604800; Path=/api/auth/refresh;" in cookies["refresh_token"]
    assert "HttpOnly" in cookies["refresh_token"]
    assert "HttpOnly" not in cookies["XSRF-TOKEN"]
    assert "Max-Age=900; Path=/;" in cookies["XSRF-TOKEN"]
    claims = claims_of(answer.cookies["access_token"])
    assert auth.context.csrf.verify(answer.cookies["XSRF-TOKEN"], claims["sid"])
    assert claims["sub"] == str(person.id)


async def test_an_access_token_says_what_the_contract_lists(auth: Auth) -> None:
    person = await auth.person(
        "amara", "staff", base_profession="consultant", removed_competencies=["certify_cremation"]
    )

    claims = claims_of(person.access_token)

    assert {key: claims[key] for key in ("iss", "aud", "typ", "username", "perm", "roles", "ver")} == {
        "iss": "quill",
        "aud": "quill-api",
        "typ": "access",
        "username": "amara",
        "perm": "staff",
        "roles": [],
        "ver": 1,
    }
    assert claims["cbac"] == {"bp": "consultant", "add": [], "rem": ["certify_cremation"]}
    assert isinstance(claims["iat"], float)
    assert claims["exp"] == pytest.approx(claims["iat"] + 900)
    assert {"sid", "jti"} < claims.keys()
    assert "pid" not in claims
    linked = await auth.person("patient", patient="p-1")
    assert claims_of(linked.access_token)["pid"] == "p-1"


@pytest.mark.parametrize(
    "typed", ["amara", "AMARA", " Amara ", "amara@example.org", "Amara@EXAMPLE.org", "\uff41mara"]
)
async def test_user_name_and_address_count_in_any_case(auth: Auth, typed: str) -> None:
    await auth.person("amara")

    answer = await auth.post("/api/auth/login", {"username": typed, "password": PASSWORD})

    assert answer.status_code == 200


async def test_a_password_is_the_same_from_every_keyboard(auth: Auth) -> None:
    body = {"username": "zoë", "email": "zoe@example.org", "password": "pässwörd mit ﬁ"}
    assert (await auth.post("/api/auth/register", body)).status_code == 200

    decomposed = {"username": "zoë", "password": "pässwörd mit fi"}

    assert (await auth.post("/api/auth/login", decomposed)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"username": "amara", "password": "wrong password"},
        {"username": "nobody", "password": PASSWORD},
        {"username": "closed", "password": PASSWORD},
        {"username": "amara", "password": ""},
        {"username": "", "password": ""},
        {"username": "amara", "password": PASSWORD.upper()},
        {"username": "amara", "password": PASSWORD + "x" * 900},
    ],
)
async def test_everything_wrong_is_answered_alike_after_the_same_work(auth: Auth, body: Any) -> None:
    """Safety, fault 7: an unknown name skipped the hash; a deactivated account could sign in."""
    await auth.person("amara")
    closed = await auth.person("closed")
    root = await auth.root()
    await auth.post(f"/api/users/{closed.id}/deactivate", headers=root.headers)
    before = auth.passwords.verified

    answer = await auth.post("/api/auth/login", body)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["detail"], answer.json()["error_code"]) == (
        "Invalid credentials",
        "invalid_credentials",
    )
    assert "set-cookie" not in answer.headers
    assert auth.passwords.verified == before + 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"username": "a", "password": "b", "admin": True}, "admin"),
        ({"username": 7, "password": "b"}, "username"),
        ({"username": "a", "password": ["b"]}, "password"),
        ({"username": "a\0", "password": "b"}, "username"),
        ({"username": "a", "password": "b" * 1025}, "password"),
        ({"username": None, "password": "b"}, "username"),
        ({"password": "b"}, "username"),
        ({"username": "a"}, "password"),
        ({"username": "a", "password": "b", "totp_code": 123456}, "totp_code"),
    ],
)
async def test_a_malformed_sign_in_names_the_field(auth: Auth, body: Any, field: str) -> None:
    answer = await auth.post("/api/auth/login", body)

    assert answer.status_code == 422
    assert field in [error["loc"][-1] for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'"x"', b'{"username":"\\ud800","password":"x"}', b"\xff"]
)
async def test_a_body_that_is_no_sign_in_is_refused(auth: Auth, content: bytes) -> None:
    answer = await auth.client.post(
        "/api/auth/login", content=content, headers={"content-type": "application/json"}
    )

    assert answer.status_code in (400, 422)


async def test_a_token_client_gets_tokens_and_no_cookies(auth: Auth) -> None:
    answer = await auth.token(
        grant_type="password",
        username="root",
        password="a password of the first superadmin",
        scope="",
        client_id="swagger",
    )

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    body = answer.json()
    assert body.keys() == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    again = await auth.token(grant_type="refresh_token", refresh_token=body["refresh_token"])
    assert again.status_code == 200
    assert claims_of(again.json()["access_token"])["sid"] == claims_of(body["access_token"])["sid"]


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": "password"}, "invalid_request"),
        ({"grant_type": "password", "username": "root"}, "invalid_request"),
        ({"grant_type": "password", "username": "root", "password": "x"}, "invalid_grant"),
        ({"grant_type": "password", "username": "no\0body", "password": "x"}, "invalid_request"),
        ({"grant_type": "password", "username": ["a", "b"], "password": "x"}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, "invalid_grant"),
    ],
)
async def test_a_refused_token_request_speaks_oauth(auth: Auth, form: Any, error: str) -> None:
    answer = await auth.client.post("/api/auth/token", data=form)

    assert answer.status_code == 400
    assert answer.json().keys() == {"error", "error_description"}
    assert answer.json()["error"] == error
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"


async def test_a_token_request_that_is_no_form_is_an_invalid_request(auth: Auth) -> None:
    for answer in (
        await auth.post("/api/auth/token", {"grant_type": "password"}),
        await auth.client.post("/api/auth/token", files={"grant_type": ("f", b"password")}),
        await auth.client.post("/api/auth/token"),
    ):
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_a_refresh_token_never_passes_as_an_access_token(auth: Auth) -> None:
    """Safety, fault 7."""
    root = await auth.root()

    for token in (root.refresh_token, root.access_token + "x", "x.y.z"):
        answer = await auth.client.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["detail"]) == (401, "Invalid token")
    cookie = {"Authorization": "", "Cookie": f"access_token={root.access_token}"}
    assert (await auth.client.get("/api/auth/me", headers=cookie)).json()["detail"] == "Not authenticated"


async def test_me_tells_everything_about_the_caller(auth: Auth) -> None:
    person = await auth.person("amara", "staff", base_profession="receptionist", roles=["Clinician"])
    await auth.service.deliver(
        "orgs.staff.added.v1", {"organisation_id": 7, "user_id": person.id, "is_primary": True}
    )
    await auth.service.deliver("orgs.feature.enabled.v1", {"organisation_id": 7, "feature_key": "letters"})

    answer = await auth.me(person)

    body = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    expires_at = body.pop("session_expires_at")
    assert expires_at.endswith(("Z", "+00:00"))
    assert body == {
        "id": person.id,
        "username": "amara",
        "name": "amara",
        "full_name": "amara",
        "email": "amara@example.org",
        "roles": ["Clinician"],
        "system_permissions": "staff",
        "totp_enabled": False,
        "enabled_features": ["letters"],
        "competencies": ["access_clinic_admin"],
        "fhir_patient_id": None,
        "clinical_services_enabled": True,
    }


async def test_a_public_route_ignores_a_bad_token(auth: Auth) -> None:
    bad = {"Authorization": "Bearer nonsense"}

    assert (await auth.client.get("/api/auth/organizations", headers=bad)).status_code == 200
    assert (await auth.refresh(None)).json()["detail"] == "No refresh token"


async def test_a_commit_that_fails_is_never_answered_with_success(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(_: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr("quill_shared.platform.database.UnitOfWork.commit", lost)
        answer = await auth.post(
            "/api/auth/login", {"username": "root", "password": "a password of the first superadmin"}
        )

    assert answer.status_code >= 500
    assert "set-cookie" not in answer.headers
    assert await auth.sql("SELECT 1 FROM sign_in_session") == []


async def test_two_sign_ins_at_once_are_two_sessions(auth: Auth) -> None:
    one, other = await asyncio.gather(auth.root(), auth.root())

    assert one.session_id != other.session_id
