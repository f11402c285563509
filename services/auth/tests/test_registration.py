"""People who register themselves."""

import asyncio
from typing import Any

import pytest

from .harness import PASSWORD, Auth, Person

BODY = {"username": "amara", "email": "amara@example.org", "password": PASSWORD}


async def known_organisation(auth: Auth, organisation_id: int, name: str) -> None:
    """Tells auth of an organisation."""
    await auth.service.deliver(
        "orgs.organization.created.v1",
        {"organisation_id": organisation_id, "name": name, "type": "hospital_team"},
        subject=f"organization:{organisation_id}",
    )


async def test_organisations_are_listed_by_name_for_anybody(auth: Auth) -> None:
    for organisation_id, name in ((1, "Ward 9"), (2, "Ward 4"), (3, "Clinic")):
        await known_organisation(auth, organisation_id, name)

    first = (await auth.client.get("/api/auth/organizations?limit=2")).json()
    rest = (await auth.client.get(f"/api/auth/organizations?cursor={first['next_cursor']}")).json()

    assert first["organizations"] == [{"id": 3, "name": "Clinic"}, {"id": 2, "name": "Ward 4"}]
    assert rest == {"organizations": [{"id": 1, "name": "Ward 9"}], "next_cursor": None}


async def test_who_registers_gets_the_lowest_powers(auth: Auth) -> None:
    answer = await auth.post("/api/auth/register", {**BODY, "full_name": "Amara Okafor"})

    assert (answer.status_code, answer.json()) == (200, {"detail": "created"})
    *_, registered = await auth.recorded("auth.user.registered.v1")
    assert registered == {
        "user_id": registered["user_id"],
        "username": "amara",
        "display_name": "Amara Okafor",
        "email": "amara@example.org",
        "system_permissions": "patient",
        "roles": [],
        "cbac": {"bp": "patient", "add": [], "rem": []},
        "fhir_patient_id": None,
        "is_active": True,
        "ver": 1,
    }
    person = await auth.sign_in(Person(registered["user_id"], "amara", "amara@example.org"))
    assert (await auth.me(person)).json()["system_permissions"] == "patient"


async def test_an_organisation_is_asked_and_not_joined(auth: Auth) -> None:
    """Safety, fault 1: a stranger became staff of whatever organisation they named."""
    await known_organisation(auth, 7, "Ward 4")

    answer = await auth.post("/api/auth/register", {**BODY, "organisation_id": 7})

    assert answer.status_code == 200
    (account,) = await auth.sql(
        "SELECT id, system_permissions, version FROM account WHERE username = 'amara'"
    )
    assert await auth.recorded("auth.join.requested.v1") == [{"user_id": account["id"], "organisation_id": 7}]
    assert account["system_permissions"] == "patient"
    assert await auth.sql("SELECT 1 FROM access_staff") == []
    sequences = [
        event["sequence"]
        for event in await auth.service.recorded()
        if event["subject"] == f"user:{account['id']}"
    ]
    assert sequences == [1, 2]
    assert account["version"] == 2


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"username": None}, "Missing fields"),
        ({"username": "  "}, "Missing fields"),
        ({"email": ""}, "Missing fields"),
        ({"password": ""}, "Missing fields"),
        ({"password": "short"}, "Password too short"),
        ({"password": "ﬁ" * 3}, "Password too short"),
        ({"username": "ROOT"}, "Username already exists"),
        ({"username": "\uff52\uff4f\uff4f\uff54"}, "Username already exists"),
        ({"email": "Root@Example.ORG"}, "Email already exists"),
        ({"organisation_id": 99}, "Organisation not found"),
    ],
)
async def test_a_refused_registration_says_why(auth: Auth, change: dict[str, Any], detail: str) -> None:
    answer = await auth.post("/api/auth/register", {**BODY, **change})

    assert (answer.status_code, answer.json()["detail"]) == (400, detail)
    assert len(await auth.sql("SELECT 1 FROM account")) == 1
    assert await auth.recorded("auth.join.requested.v1") == []


async def test_missing_fields_may_be_absent_altogether(auth: Auth) -> None:
    answer = await auth.post("/api/auth/register", {})

    assert (answer.status_code, answer.json()["detail"]) == (400, "Missing fields")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"role": "superadmin"}, "role"),
        ({"system_permissions": "admin"}, "system_permissions"),
        ({"username": "a@b"}, "username"),
        ({"username": "a b"}, "username"),
        ({"username": "a" * 151}, "username"),
        ({"username": "a\u200bb"}, "username"),
        ({"email": "no address"}, "email"),
        ({"email": "a@" + "b" * 260 + ".org"}, "email"),
        ({"email": ["a@example.org"]}, "email"),
        ({"password": "x" * 129}, "password"),
        ({"password": 12345678}, "password"),
        ({"full_name": "a\0b"}, "full_name"),
        ({"organisation_id": 2**63}, "organisation_id"),
        ({"organisation_id": -1}, "organisation_id"),
        ({"organisation_id": "7"}, "organisation_id"),
        ({"organisation_id": True}, "organisation_id"),
        ({"organisation_id": 7.5}, "organisation_id"),
    ],
)
async def test_a_malformed_registration_names_the_field(
    auth: Auth, change: dict[str, Any], field: str
) -> None:
    answer = await auth.post("/api/auth/register", {**BODY, **change})

    assert answer.status_code == 422
    assert field in [error["loc"][-1] for error in answer.json()["errors"]]


async def test_one_name_registered_twice_at_once_exists_once(auth: Auth) -> None:
    answers = await asyncio.gather(
        *(
            auth.post("/api/auth/register", {**BODY, "username": name, "email": f"{number}@example.org"})
            for number, name in enumerate(["amara", "Amara", "AMARA", "\uff41mara"])
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    refused = {answer.json()["detail"] for answer in answers if answer.status_code == 400}
    assert refused == {"Username already exists"}
    assert len(await auth.sql("SELECT 1 FROM account WHERE username_key = 'amara'")) == 1
