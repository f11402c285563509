"""Access for people outside: invited once, granted, revoked for good."""

import asyncio
from typing import Any

import httpx
import pytest

from .harness import PASSWORD, Auth, Person

INVITE = "/api/patients/p-1/invite-external"
GRANTS = "/api/patients/p-1/external-access"
ONLY_PATIENT_OR_ADMIN = "Only the patient or an admin can invite external users"


async def invite(auth: Auth, inviter: Person, email: str = "gp@example.org", **more: Any) -> str:
    """The token of a new invitation to p-1."""
    body = {"email": email, "user_type": "external_hcp", **more}
    answer = await auth.post(INVITE, body, headers=inviter.headers)
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["token"]
    assert answer.json()["invite_url"] == f"/app/accept-invite?token={token}"
    assert answer.headers["cache-control"] == "no-store"
    return token


async def accept(auth: Auth, token: str, person: Person | None = None, **body: Any) -> httpx.Response:
    """Takes up an invitation, signed in as `person` if given."""
    headers = person.headers if person else {}
    return await auth.post("/api/accept-invite", {"token": token, **body}, headers=headers)


async def revoke(auth: Auth, by: Person, user_id: int) -> httpx.Response:
    """Closes p-1 to a user."""
    return await auth.client.delete(f"{GRANTS}/{user_id}", headers=by.headers)


async def test_an_invited_stranger_registers_and_is_granted_access(auth: Auth) -> None:
    patient = await auth.person("patient", patient="p-1")
    token = await invite(auth, patient, user_type="patient_advocate")

    answer = await accept(auth, token, username="helper", password=PASSWORD)

    body = answer.json()
    assert (answer.status_code, body["status"]) == (200, "registered")
    fact = {"user_id": body["user_id"], "patient_id": "p-1", "user_type": "patient_advocate"}
    assert await auth.recorded("auth.access.granted.v1") == [fact]
    registered = (await auth.recorded("auth.user.registered.v1"))[-1]
    assert (registered["email"], registered["system_permissions"]) == ("gp@example.org", "patient_advocate")
    listed = await auth.client.get(GRANTS, headers=patient.headers)
    (grant,) = listed.json()["grants"]
    assert grant.pop("granted_at").endswith(("Z", "+00:00"))
    # Safety, fault 9: the invitee was recorded as the granter.
    assert grant == {
        "user_id": body["user_id"],
        "username": "helper",
        "email": "gp@example.org",
        "user_type": "patient_advocate",
        "granted_by": patient.id,
        "access_level": "full",
    }
    assert (await auth.sign_in(Person(body["user_id"], "helper", ""))).access_token


async def test_a_token_is_stored_hashed(auth: Auth) -> None:
    token = await invite(auth, await auth.root())

    (row,) = await auth.sql("SELECT * FROM invite")

    assert len(row["token_hash"]) == 32
    assert token not in str(dict(row))


async def test_an_existing_account_accepts_signed_in_or_by_its_password(auth: Auth) -> None:
    root = await auth.root()
    doctor = await auth.person("doctor", "staff")

    answer = await accept(auth, await invite(auth, root, "Doctor@EXAMPLE.org"), doctor)
    assert (answer.status_code, answer.json()) == (200, {"status": "access_granted", "user_id": doctor.id})
    answer = await accept(auth, await invite(auth, root, doctor.email), password=PASSWORD)
    assert (answer.status_code, answer.json()) == (200, {"status": "access_granted", "user_id": doctor.id})
    (row,) = await auth.sql("SELECT system_permissions FROM account WHERE id = $1", doctor.id)
    assert row["system_permissions"] == "staff"


async def test_nobody_accepts_for_another(auth: Auth) -> None:
    root = await auth.root()
    doctor, thief = await auth.person("doctor"), await auth.person("thief")
    token = await invite(auth, root, doctor.email)

    attempts = [
        (await accept(auth, token, thief), 422),
        (await accept(auth, token), 422),
        (await accept(auth, token, password="wrong password"), 400),
        (await accept(auth, token, username="thief", password=PASSWORD + "!"), 400),
        (await accept(auth, token, thief, username="thief2", password="a wrong password"), 400),
    ]

    for answer, status in attempts:
        assert answer.status_code == status, answer.text
    assert {answer.json()["detail"] for answer, status in attempts if status == 400} == {
        "Invalid credentials"
    }
    assert await auth.recorded("auth.access.granted.v1") == []
    assert (await accept(auth, token, doctor)).status_code == 200


async def test_without_a_password_known_and_unknown_addresses_are_answered_alike(auth: Auth) -> None:
    root = await auth.root()
    doctor = await auth.person("doctor")

    answers = [
        await accept(auth, await invite(auth, root, email)) for email in (doctor.email, "nobody@example.org")
    ]

    for answer in answers:
        assert answer.status_code == 422
        assert answer.json()["detail"] == "username and password required for new registration"
        assert [error["loc"] for error in answer.json()["errors"]] == [
            ["body", "username"],
            ["body", "password"],
        ]


async def test_wrong_passwords_for_an_invitation_are_slowed_down(auth: Auth) -> None:
    root = await auth.root()
    doctor = await auth.person("doctor")
    token = await invite(auth, root, doctor.email)

    statuses = [(await accept(auth, token, password=f"wrong password {n}")).status_code for n in range(6)]

    assert statuses == [400] * 5 + [429]


@pytest.mark.parametrize(
    ("statement", "token"),
    [
        (None, "made up"),
        ("UPDATE invite SET expires_at = now()", None),
        ("UPDATE invite SET revoked_at = now()", None),
        ("UPDATE invite SET used_at = now()", None),
        ("DELETE FROM invite", None),
    ],
)
async def test_an_invitation_that_does_not_stand_is_refused_in_one_way(
    auth: Auth, statement: str | None, token: str | None
) -> None:
    given = await invite(auth, await auth.root())
    if statement is not None:
        await auth.sql(statement)

    answer = await accept(auth, token or given, username="helper", password=PASSWORD)

    assert (answer.status_code, answer.json()["detail"]) == (400, "Invalid or expired invite token")
    assert len(await auth.sql("SELECT 1 FROM account")) == 1


async def test_an_invitation_works_once(auth: Auth) -> None:
    """Safety, fault 9: invite tokens worked more than once."""
    root = await auth.root()
    token = await invite(auth, root)
    assert (await accept(auth, token, username="helper", password=PASSWORD)).status_code == 200

    again = await accept(auth, token, username="second", password=PASSWORD)

    assert (again.status_code, again.json()["error_code"]) == (400, "invalid_invite")


async def test_two_accepts_at_once_one_wins(auth: Auth) -> None:
    root = await auth.root()
    token = await invite(auth, root)

    answers = await asyncio.gather(
        *(accept(auth, token, username=f"helper{number}", password=PASSWORD) for number in range(4))
    )

    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    assert len(await auth.sql("SELECT 1 FROM account")) == 2
    assert len(await auth.sql("SELECT 1 FROM access_grant_record")) == 1
    assert len(await auth.recorded("auth.access.granted.v1")) == 1


async def test_nothing_undoes_a_revocation_but_a_new_invitation(auth: Auth) -> None:
    """Safety, fault 9: re-posting a used invite undid a revocation."""
    root = await auth.root()
    doctor = await auth.person("doctor")
    used = await invite(auth, root, doctor.email)
    assert (await accept(auth, used, doctor)).status_code == 200
    unused = await invite(auth, root, doctor.email)

    answer = await revoke(auth, root, doctor.id)

    assert (answer.status_code, answer.json()) == (200, {"status": "revoked"})
    fact = {"user_id": doctor.id, "patient_id": "p-1", "user_type": "external_hcp"}
    assert await auth.recorded("auth.access.revoked.v1") == [fact]
    for token in (used, unused):
        assert (await accept(auth, token, doctor)).status_code == 400
    # Not even one whose own revocation was lost.
    await auth.sql("UPDATE invite SET revoked_at = NULL, revoked_by = NULL")
    assert (await accept(auth, unused, doctor)).status_code == 400
    assert (await auth.client.get(GRANTS, headers=root.headers)).json()["grants"] == []
    assert (await revoke(auth, root, doctor.id)).status_code == 200
    again = await revoke(auth, root, doctor.id)
    assert (again.status_code, again.json()["detail"]) == (404, "Active access grant not found")

    assert (await accept(auth, await invite(auth, root, doctor.email), doctor)).status_code == 200

    events = [event for event in await auth.service.recorded() if event["subject"].startswith("grant:")]
    assert [event["sequence"] for event in events] == [1, 2, 3]
    assert {event["subject"] for event in events} == {f"grant:{doctor.id}:p-1"}


async def test_an_invitation_that_nobody_took_up_can_be_withdrawn(auth: Auth) -> None:
    root = await auth.root()
    doctor, other = await auth.person("doctor"), await auth.person("other")
    token, others = await invite(auth, root, doctor.email), await invite(auth, root, other.email)

    answer = await revoke(auth, root, doctor.id)

    assert (answer.status_code, answer.json()) == (200, {"status": "revoked"})
    assert (await accept(auth, token, doctor)).status_code == 400
    assert (await revoke(auth, root, doctor.id)).status_code == 404
    assert await auth.recorded("auth.access.revoked.v1") == []
    assert (await accept(auth, others, other)).status_code == 200


async def test_an_expired_invitation_is_nothing_to_withdraw(auth: Auth) -> None:
    root = await auth.root()
    doctor = await auth.person("doctor")
    await invite(auth, root, doctor.email)
    await auth.sql("UPDATE invite SET expires_at = now()")

    assert (await revoke(auth, root, doctor.id)).status_code == 404


async def test_a_new_invitation_takes_the_place_of_the_one_before(auth: Auth) -> None:
    root = await auth.root()
    first, second = await invite(auth, root), await invite(auth, root, "GP@example.org")

    refused = await accept(auth, first, username="helper", password=PASSWORD)

    assert (refused.status_code, refused.json()["error_code"]) == (400, "invalid_invite")
    assert (await accept(auth, second, username="helper", password=PASSWORD)).status_code == 200


@pytest.mark.parametrize("attempt", range(3))
async def test_an_accept_racing_a_revocation_ends_revoked_or_granted_and_told_so(
    auth: Auth, attempt: int
) -> None:
    root = await auth.root()
    doctor = await auth.person("doctor")
    assert (await accept(auth, await invite(auth, root, doctor.email), doctor)).status_code == 200
    second = await invite(auth, root, doctor.email)

    accepted, revoked = await asyncio.gather(accept(auth, second, doctor), revoke(auth, root, doctor.id))

    assert revoked.status_code == 200
    assert accepted.status_code in (200, 400)
    (grant,) = await auth.sql("SELECT revoked_at, version FROM access_grant_record")
    assert grant["revoked_at"] is not None
    last = [event for event in await auth.service.recorded() if event["subject"].startswith("grant:")][-1]
    assert (last["type"], last["sequence"]) == ("auth.access.revoked.v1", grant["version"])


async def test_a_chosen_name_may_be_taken(auth: Auth) -> None:
    root = await auth.root()
    token = await invite(auth, root)

    taken = await accept(auth, token, username="ROOT", password=PASSWORD)
    short = await accept(auth, token, username="helper", password="short")

    assert (taken.status_code, taken.json()["detail"]) == (409, "Username already taken")
    assert (short.status_code, short.json()["detail"]) == (400, "Password too short")
    assert (await accept(auth, token, username="helper", password=PASSWORD)).status_code == 200


async def test_only_the_patient_or_an_admin_decides(auth: Auth) -> None:
    admin, patient = await auth.person("admin", "admin"), await auth.person("patient", patient="p-1")
    other, staff = await auth.person("other", patient="p-2"), await auth.person("staff", "staff")
    external = await auth.person("external", "external_hcp")
    token = await invite(auth, patient, external.email)
    assert (await accept(auth, token, external)).status_code == 200
    body = {"email": "x@example.org", "user_type": "external_hcp"}

    for person in (other, staff, external):
        answer = await auth.post(INVITE, body, headers=person.headers)
        assert (answer.status_code, answer.json()["detail"]) == (403, ONLY_PATIENT_OR_ADMIN)
        unknown = await auth.post("/api/patients/p-404/invite-external", body, headers=person.headers)
        assert (unknown.status_code, unknown.json()["detail"]) == (403, ONLY_PATIENT_OR_ADMIN)
        answer = await auth.client.get(GRANTS, headers=person.headers)
        assert (answer.status_code, answer.json()["detail"]) == (403, "Access denied")
        assert (await revoke(auth, person, external.id)).status_code == 403
    for person in (admin, patient):
        assert (await auth.post(INVITE, body, headers=person.headers)).status_code == 200
        assert (await auth.client.get(GRANTS, headers=person.headers)).status_code == 200
    assert (await revoke(auth, patient, external.id)).status_code == 200


async def test_nobody_is_invited_to_a_record_that_does_not_exist(auth: Auth) -> None:
    root = await auth.root()

    answer = await auth.post(
        "/api/patients/p-404/invite-external",
        {"email": "x@example.org", "user_type": "external_hcp"},
        headers=root.headers,
    )

    assert (answer.status_code, answer.json()["detail"]) == (404, "Patient not found")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": ""}, "email"),
        ({"email": "nobody"}, "email"),
        ({"email": "a" * 250 + "@example.org"}, "email"),
        ({"email": None}, "email"),
        ({"user_type": "staff"}, "user_type"),
        ({"user_type": None}, "user_type"),
        ({"days": 30}, "days"),
    ],
)
async def test_a_malformed_invitation_names_the_field(auth: Auth, change: dict[str, Any], field: str) -> None:
    root = await auth.root()

    answer = await auth.post(
        INVITE, {"email": "x@example.org", "user_type": "external_hcp", **change}, headers=root.headers
    )

    assert answer.status_code == 422
    assert [error["loc"][-1] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("body", [{}, {"token": 7}, {"token": "a\0"}, {"token": "x", "role": "admin"}])
async def test_a_malformed_acceptance_is_refused(auth: Auth, body: dict[str, Any]) -> None:
    assert (await auth.post("/api/accept-invite", body)).status_code == 422


async def test_users_with_a_grant_are_among_the_carers_at_once(auth: Auth) -> None:
    root = await auth.root()
    doctor = await auth.person("doctor", "external_hcp")
    await accept(auth, await invite(auth, root, doctor.email), doctor)

    async def carers() -> list[str]:
        answer = await auth.client.get("/api/users?patient_id=p-1", headers=root.headers)
        return [user["username"] for user in answer.json()["users"]]

    assert await carers() == ["doctor"]
    await revoke(auth, root, doctor.id)
    assert await carers() == []


class TestWithoutClinicalServices:
    """A deployment without clinical records."""

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"clinical_services": False}

    async def test_external_access_is_off(self, auth: Auth) -> None:
        root = await auth.root()

        for method, path in (
            ("POST", INVITE),
            ("POST", "/api/accept-invite"),
            ("GET", GRANTS),
            ("DELETE", f"{GRANTS}/1"),
        ):
            answer = await auth.client.request(method, path, headers=root.headers)
            assert answer.status_code == 503
            assert answer.json()["detail"] == "Clinical services are not available in this deployment"
        assert (await auth.me(root)).json()["clinical_services_enabled"] is False
