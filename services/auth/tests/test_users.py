"""Administration of accounts: who may do what to whom, and what the others are told."""

import asyncio
from typing import Any

import pytest

from .harness import ADMIN_PASSWORD, PASSWORD, Auth, Person, claims_of, eventually

BODY = {"name": "Amara Okafor", "email": "amara@example.org", "password": PASSWORD}


async def patch(auth: Auth, actor: Person, user_id: int, **body: Any) -> Any:
    """An update."""
    return await auth.client.patch(f"/api/users/{user_id}", json=body, headers=actor.headers)


async def test_an_account_is_created_and_announced(auth: Auth) -> None:
    root = await auth.root()
    powers = {
        "base_profession": "consultant",
        "additional_competencies": ["access_clinic_admin", "access_clinic_admin"],
        "removed_competencies": ["certify_cremation"],
        "system_permissions": "staff",
        "roles": ["Clinician"],
    }

    answer = await auth.post("/api/users", {**BODY, **powers}, headers=root.headers)

    created = answer.json()
    assert (answer.status_code, created["detail"]) == (200, "created")
    assert (created["username"], created["email"]) == ("amaraokafor", "amara@example.org")
    detail = await auth.client.get(f"/api/users/{created['id']}", headers=root.headers)
    assert detail.json() == {
        "id": created["id"],
        "username": "amaraokafor",
        "email": "amara@example.org",
        "name": "Amara Okafor",
        "full_name": "Amara Okafor",
        **powers,
        "additional_competencies": ["access_clinic_admin"],
        "is_active": True,
        "fhir_patient_id": None,
    }
    *_, registered = await auth.recorded("auth.user.registered.v1")
    assert registered["display_name"] == "Amara Okafor"
    assert registered["cbac"] == {
        "bp": "consultant",
        "add": ["access_clinic_admin"],
        "rem": ["certify_cremation"],
    }


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"name": ""}, "Missing required fields"),
        ({"name": None}, "Missing required fields"),
        ({"email": " "}, "Missing required fields"),
        ({"password": ""}, "Missing required fields"),
        ({"password": "1234567"}, "Password must be at least 8 characters"),
        ({"username": "Root"}, "Username already exists"),
        ({"email": "ROOT@example.org"}, "Email already exists"),
        ({"base_profession": "wizard"}, "Unknown base profession: wizard"),
        ({"additional_competencies": ["fly"]}, "Unknown competency: fly"),
        ({"removed_competencies": ["fly"]}, "Unknown competency: fly"),
        ({"roles": ["Wizard"]}, "Unknown role: Wizard"),
        ({"system_permissions": "Admin"}, "Unknown system permission 'Admin'."),
        ({"system_permissions": "root"}, "Unknown system permission 'root'."),
    ],
)
async def test_a_refused_account_says_why(auth: Auth, change: dict[str, Any], detail: str) -> None:
    root = await auth.root()

    answer = await auth.post("/api/users", {**BODY, **change}, headers=root.headers)

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(detail)
    assert len(await auth.sql("SELECT 1 FROM account")) == 1
    assert len(await auth.recorded("auth.user.registered.v1")) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"is_admin": True}, "is_admin"),
        ({"roles": "Clinician"}, "roles"),
        ({"additional_competencies": [7]}, 0),
        ({"system_permissions": 3}, "system_permissions"),
        ({"name": "x\0"}, "name"),
        ({"password": "x" * 129}, "password"),
        ({"email": "nobody"}, "email"),
        ({"roles": ["Clinician"] * 201}, "roles"),
    ],
)
async def test_a_malformed_account_names_the_field(
    auth: Auth, change: dict[str, Any], field: str | int
) -> None:
    root = await auth.root()
    for method, path in (("POST", "/api/users"), ("PATCH", "/api/users/1")):
        answer = await auth.client.request(method, path, json={**BODY, **change}, headers=root.headers)

        assert answer.status_code == 422
        assert field in [error["loc"][-1] for error in answer.json()["errors"]]


async def test_an_admin_never_touches_superadmins(auth: Auth) -> None:
    """Safety, fault 4: an admin could create or promote a superadmin."""
    admin = await auth.person("admin", "admin")
    other = await auth.person("other", "staff")
    superadmin = await auth.person("second", "superadmin")
    attempts = [
        ("POST", "/api/users", {**BODY, "system_permissions": "superadmin"}),
        ("PATCH", f"/api/users/{other.id}", {"system_permissions": "superadmin"}),
        ("PATCH", f"/api/users/{admin.id}", {"system_permissions": "superadmin"}),
        ("PATCH", f"/api/users/{superadmin.id}", {"name": "x"}),
        ("PATCH", f"/api/users/{superadmin.id}", {"password": "a new password"}),
        ("PATCH", f"/api/users/{superadmin.id}", {"system_permissions": "patient"}),
        ("PUT", f"/api/users/{superadmin.id}/roles", {"roles": []}),
        ("POST", f"/api/users/{superadmin.id}/deactivate", None),
        ("POST", f"/api/users/{superadmin.id}/reactivate", None),
        ("PATCH", f"/api/users/{superadmin.id}/link-patient", {"fhir_patient_id": "p-1"}),
    ]
    before = await auth.sql("SELECT * FROM account ORDER BY id")

    for method, path, body in attempts:
        answer = await auth.client.request(method, path, json=body, headers=admin.headers)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "superadmin_required"), path

    assert await auth.sql("SELECT * FROM account ORDER BY id") == before


async def test_a_superadmin_may_do_all_that(auth: Auth) -> None:
    root = await auth.root()
    second = await auth.person("second", "superadmin")

    assert (await patch(auth, root, second.id, name="Second")).status_code == 200
    assert (await patch(auth, root, second.id, system_permissions="admin")).status_code == 200
    assert (await patch(auth, root, second.id, system_permissions="superadmin")).status_code == 200
    for step in ("deactivate", "reactivate"):
        answer = await auth.post(f"/api/users/{second.id}/{step}", headers=root.headers)
        assert answer.json() == {"detail": f"{step}d", "id": second.id, "username": "second"}


@pytest.mark.parametrize(
    "change",
    [
        {"additional_competencies": ["perform_lumbar_puncture"]},
        {"removed_competencies": []},
        {"base_profession": "consultant"},
        {"roles": ["Clinician"]},
    ],
)
async def test_nobody_raises_their_own_powers(auth: Auth, change: dict[str, Any]) -> None:
    admin = await auth.person(
        "admin", "admin", base_profession="receptionist", removed_competencies=["access_clinic_admin"]
    )
    root = await auth.root()

    for person in (admin, root):
        if person is root and "removed_competencies" in change:
            continue
        answer = await patch(auth, person, person.id, **change)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "own_powers")
    if "roles" in change:
        path = f"/api/users/{admin.id}/roles"
        answer = await auth.client.put(path, json=change, headers=admin.headers)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "own_powers")
    (row,) = await auth.sql("SELECT ver, roles FROM account WHERE id = $1", admin.id)
    assert (row["ver"], row["roles"]) == (1, [])


async def test_anybody_may_lower_their_own_powers(auth: Auth) -> None:
    admin = await auth.person("admin", "admin", roles=["Clinician"])

    assert (
        await patch(auth, admin, admin.id, roles=[], system_permissions="staff", name="Me")
    ).status_code == 200


async def test_one_superadmin_remains(auth: Auth) -> None:
    root = await auth.root()

    answer = await patch(auth, root, root.id, system_permissions="admin")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "last_superadmin")

    answer = await auth.post(f"/api/users/{root.id}/deactivate", headers=root.headers)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "own_account")


@pytest.mark.parametrize("attempt", range(3))
async def test_two_superadmins_cannot_demote_each_other_away(auth: Auth, attempt: int) -> None:
    root = await auth.root()
    second = await auth.person("second", "superadmin")

    answers = await asyncio.gather(
        patch(auth, root, second.id, system_permissions="admin"),
        auth.post(f"/api/users/{root.id}/deactivate", headers=second.headers),
        patch(auth, second, second.id, system_permissions="staff"),
    )

    assert any(answer.status_code == 200 for answer in answers)
    assert all(answer.status_code < 500 for answer in answers)
    (row,) = await auth.sql(
        "SELECT count(*) AS n FROM account WHERE is_active AND system_permissions = 'superadmin'"
    )
    assert row["n"] >= 1


async def test_changed_powers_outdate_tokens_and_other_changes_do_not(auth: Auth) -> None:
    root = await auth.root()
    person = await auth.person("amara", "staff")

    answer = await patch(auth, root, person.id, name="Amara O", email="ao@example.org", username="ao")
    assert answer.json() == {
        "detail": "updated",
        "id": person.id,
        "username": "ao",
        "email": "ao@example.org",
    }
    assert await auth.recorded("auth.tokens.outdated.v1") == []
    assert (await auth.me(person)).json()["username"] == "ao"

    await patch(auth, root, person.id, roles=["Clinician"])
    await patch(auth, root, person.id, roles=["Clinician"])
    await patch(auth, root, person.id, base_profession="consultant", system_permissions="admin")

    assert await auth.recorded("auth.tokens.outdated.v1") == [
        {"user_id": person.id, "ver": 2},
        {"user_id": person.id, "ver": 3},
    ]
    events = [event for event in await auth.service.recorded() if event["subject"] == f"user:{person.id}"]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert [event["data"]["ver"] for event in events] == [1, 1, 2, 2, 3, 3]
    assert events[-1]["data"]["system_permissions"] == "admin"


async def test_an_administrator_demoted_a_moment_ago_administers_nobody(auth: Auth) -> None:
    admin = await auth.person("admin", "admin")
    other = await auth.person("other")
    await auth.sql("UPDATE account SET system_permissions = 'staff', ver = 2 WHERE id = $1", admin.id)

    answer = await patch(auth, admin, other.id, name="x")

    assert (answer.status_code, answer.json()["error_code"]) == (401, "token_outdated")
    await auth.sql("UPDATE account SET is_active = false WHERE id = $1", admin.id)
    answer = await auth.post("/api/users", BODY, headers=admin.headers)
    assert (answer.status_code, answer.json()["detail"]) == (401, "Inactive user")


async def test_a_deactivated_account_is_out_at_once(auth: Auth) -> None:
    root = await auth.root()
    person = await auth.person("amara")

    answer = await auth.post(f"/api/users/{person.id}/deactivate", headers=root.headers)

    assert answer.json() == {"detail": "deactivated", "id": person.id, "username": "amara"}
    (revoked,) = await auth.recorded("auth.session.revoked.v1")
    assert (revoked["user_id"], revoked["session_id"], revoked["reason"]) == (person.id, None, "deactivated")
    (deactivated,) = await auth.recorded("auth.user.deactivated.v1")
    assert deactivated["is_active"] is False

    async def out() -> bool:
        return bool((await auth.me(person)).json().get("detail") == "Inactive user")

    await eventually(out)
    again = await auth.post(f"/api/users/{person.id}/deactivate", headers=root.headers)
    assert (again.status_code, again.json()["error_code"]) == (400, "already_deactivated")


async def test_a_reactivated_account_signs_in_anew(auth: Auth) -> None:
    root = await auth.root()
    person = await auth.person("amara")
    path = f"/api/users/{person.id}/reactivate"
    assert (await auth.post(path, headers=root.headers)).json()["error_code"] == "already_active"
    await auth.post(f"/api/users/{person.id}/deactivate", headers=root.headers)

    assert (await auth.post(path, headers=root.headers)).status_code == 200

    assert (await auth.refresh(person.refresh_token)).json()["detail"] == "Session invalidated"
    assert (await auth.me(await auth.sign_in(person))).status_code == 200
    (updated,) = await auth.recorded("auth.user.updated.v1")
    assert updated["is_active"] is True


async def test_a_password_set_by_an_administrator_ends_all_sessions(auth: Auth) -> None:
    root = await auth.root()
    person = await auth.person("amara")

    assert (await patch(auth, root, person.id, password="another password")).status_code == 200

    assert (await auth.refresh(person.refresh_token)).status_code == 401
    (revoked,) = await auth.recorded("auth.session.revoked.v1")
    assert (revoked["session_id"], revoked["reason"]) == (None, "password_changed")
    person.password = "another password"
    assert (await auth.me(await auth.sign_in(person))).status_code == 200


async def test_ones_own_new_password_ends_the_other_sessions(auth: Auth) -> None:
    root, elsewhere = await auth.root(), await auth.root()

    assert (await patch(auth, root, root.id, password="another password")).status_code == 200

    (revoked,) = await auth.recorded("auth.session.revoked.v1")
    assert revoked["session_id"] == elsewhere.session_id
    assert (await auth.refresh(elsewhere.refresh_token)).status_code == 401
    assert (await auth.refresh(root.refresh_token)).status_code == 200


async def test_a_conflicting_update_changes_nothing(auth: Auth) -> None:
    root = await auth.root()
    person = await auth.person("amara")

    for body, detail in (
        ({"username": "ROOT", "name": "x"}, "Username already exists"),
        ({"email": "root@EXAMPLE.org"}, "Email already exists"),
        ({"password": "short"}, "Password must be at least 8 characters"),
        ({"name": ""}, "Missing required fields"),
    ):
        answer = await patch(auth, root, person.id, **body)
        assert (answer.status_code, answer.json()["detail"]) == (400, detail)
    kept = (await auth.client.get(f"/api/users/{person.id}", headers=root.headers)).json()
    assert (kept["username"], kept["name"]) == ("amara", "amara")


async def test_if_match_refuses_what_has_changed_since(auth: Auth) -> None:
    root = await auth.root()
    person = await auth.person("amara")
    path = f"/api/users/{person.id}"
    seen = (await auth.client.get(path, headers=root.headers)).headers["etag"]

    first = await auth.client.patch(path, json={"name": "A"}, headers={**root.headers, "If-Match": seen})
    late = await auth.client.patch(path, json={"name": "B"}, headers={**root.headers, "If-Match": seen})
    odd = await auth.client.patch(path, json={"name": "B"}, headers={**root.headers, "If-Match": "W/x, 7"})

    assert [first.status_code, late.status_code, odd.status_code] == [200, 412, 412]
    tag = first.headers["etag"]
    again = await auth.client.put(
        f"{path}/roles", json={"roles": []}, headers={**root.headers, "If-Match": f'"0", {tag}'}
    )
    assert again.status_code == 200


async def test_one_name_created_twice_at_once_exists_once(auth: Auth) -> None:
    root = await auth.root()

    answers = await asyncio.gather(
        *(
            auth.post("/api/users", {**BODY, "email": f"a{number}@example.org"}, headers=root.headers)
            for number in range(4)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]


async def test_an_account_is_linked_to_one_patient_and_a_patient_to_one_account(auth: Auth) -> None:
    root = await auth.root()
    person, other = await auth.person("amara"), await auth.person("other")
    path = f"/api/users/{person.id}/link-patient"

    answer = await auth.client.patch(path, json={"fhir_patient_id": "p-1"}, headers=root.headers)

    assert (answer.status_code, answer.json()) == (200, {"user_id": person.id, "fhir_patient_id": "p-1"})
    assert await auth.recorded("auth.tokens.outdated.v1") == [{"user_id": person.id, "ver": 2}]
    assert (await auth.recorded("auth.user.updated.v1"))[-1]["fhir_patient_id"] == "p-1"
    assert claims_of((await auth.sign_in(person)).access_token)["pid"] == "p-1"
    for user_id, patient_id, status, detail in (
        (person.id, "p-1", 200, None),
        (other.id, "p-1", 409, "FHIR patient already linked to another user"),
        (other.id, "p-9", 404, "Patient not found"),
        (999, "p-2", 404, "User not found"),
    ):
        answer = await auth.client.patch(
            f"/api/users/{user_id}/link-patient", json={"fhir_patient_id": patient_id}, headers=root.headers
        )
        assert (answer.status_code, answer.json().get("detail")) == (status, detail)
    assert len(await auth.recorded("auth.tokens.outdated.v1")) == 1


@pytest.mark.parametrize("value", [None, "", "a b", "../x", "x" * 65, 7, "p-1\0", ["p-1"]])
async def test_a_malformed_patient_id_names_the_field(auth: Auth, value: Any) -> None:
    root = await auth.root()

    answer = await auth.client.patch(
        "/api/users/1/link-patient", json={"fhir_patient_id": value}, headers=root.headers
    )

    assert answer.status_code == 422
    assert [error["loc"][-1] for error in answer.json()["errors"]] == ["fhir_patient_id"]


async def test_two_accounts_linked_to_one_patient_at_once_one_wins(auth: Auth) -> None:
    root = await auth.root()
    people = [await auth.person(f"person{number}") for number in range(3)]

    answers = await asyncio.gather(
        *(
            auth.client.patch(
                f"/api/users/{person.id}/link-patient", json={"fhir_patient_id": "p-1"}, headers=root.headers
            )
            for person in people
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]


@pytest.mark.parametrize("user_id", ["0", "-1", str(2**63), "x", "1e3", "1.5"])
async def test_an_impossible_user_id_is_refused(auth: Auth, user_id: str) -> None:
    root = await auth.root()

    answer = await auth.client.get(f"/api/users/{user_id}", headers=root.headers)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["path", "user_id"]


async def test_an_unknown_user_is_not_found(auth: Auth) -> None:
    root = await auth.root()
    for method, path, body in (
        ("GET", "/api/users/99", None),
        ("PATCH", "/api/users/99", {"name": "x"}),
        ("PUT", "/api/users/99/roles", {"roles": []}),
        ("POST", "/api/users/99/deactivate", None),
        ("POST", "/api/users/99/reactivate", None),
    ):
        answer = await auth.client.request(method, path, json=body, headers=root.headers)
        assert (answer.status_code, answer.json()["detail"]) == (404, "User not found")


async def test_users_are_listed_by_page_and_by_level(auth: Auth) -> None:
    root = await auth.root()
    for perm in ("patient", "external_hcp", "staff", "admin"):
        await auth.person(f"a-{perm}", perm)

    async def usernames(query: str) -> list[str]:
        answer = await auth.client.get(f"/api/users?{query}", headers=root.headers)
        assert answer.status_code == 200, answer.text
        return [user["username"] for user in answer.json()["users"]]

    assert await usernames("permission_level=staff") == ["root", "a-staff", "a-admin"]
    assert await usernames("permission_level=superadmin") == ["root"]
    assert len(await usernames("permission_level=patient")) == 5
    page = (await auth.client.get("/api/users?limit=2", headers=root.headers)).json()
    assert [user.keys() for user in page["users"]] == [
        {"id", "username", "email", "full_name", "system_permissions"}
    ] * 2
    assert await usernames(f"cursor={page['next_cursor']}") == ["a-external_hcp", "a-staff", "a-admin"]
    answer = await auth.client.get("/api/users?permission_level=boss", headers=root.headers)
    assert (answer.status_code, answer.json()["detail"]) == (400, "Invalid permission_level: boss")
    for query in (
        "limit=0",
        "limit=1001",
        "cursor=x",
        "patient_id=a%2Fb",
        "patient_id=",
        "limit=99999999999999999999",
    ):
        assert (await auth.client.get(f"/api/users?{query}", headers=root.headers)).status_code == 422


async def test_a_patients_carers_are_named_to_those_who_may_see_the_patient(auth: Auth) -> None:
    """Safety, fault 3: anybody could ask for a patient's staff."""
    root = await auth.root()
    carer, colleague = await auth.person("carer", "staff"), await auth.person("colleague", "staff")
    stranger, former = await auth.person("stranger", "staff"), await auth.person("former", "staff")
    patient = await auth.person("patient", patient="p-1")
    demoted = await auth.person("demoted", "patient")
    organisation = 1
    for number, person in enumerate((carer, colleague, former, demoted)):
        await auth.service.deliver(
            "orgs.staff.added.v1",
            {"organisation_id": organisation, "user_id": person.id, "is_primary": True},
            sequence=number + 1,
        )
    await auth.service.deliver(
        "orgs.staff.added.v1", {"organisation_id": 2, "user_id": stranger.id, "is_primary": True}
    )
    await auth.service.deliver(
        "orgs.patient.added.v1", {"organisation_id": organisation, "patient_id": "p-1"}, sequence=9
    )
    await auth.post(f"/api/users/{former.id}/deactivate", headers=root.headers)

    for person in (carer, colleague, root):
        answer = await auth.client.get("/api/users?patient_id=p-1", headers=person.headers)
        assert [user["username"] for user in answer.json()["users"]] == ["carer", "colleague"]
    answer = await auth.client.get("/api/users?patient_id=p-1", headers=stranger.headers)
    unknown = await auth.client.get("/api/users?patient_id=p-404", headers=stranger.headers)
    patients = await auth.client.get("/api/users?patient_id=p-1", headers=patient.headers)
    for refused in (answer, unknown, patients):
        assert refused.status_code == 403
        assert refused.json()["detail"] == "Requires admin or superadmin permissions"
    answer = await auth.client.get("/api/users", headers=carer.headers)
    assert answer.status_code == 403


async def test_a_user_name_cannot_be_somebodys_address(auth: Auth) -> None:
    root = await auth.root()

    answer = await auth.post("/api/users", {**BODY, "username": "root@example.org"}, headers=root.headers)

    assert answer.status_code == 422
    answer = await auth.post("/api/auth/login", {"username": "root@example.org", "password": ADMIN_PASSWORD})
    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["a@b", "  ", "\u202eevil\u202c"])
async def test_a_name_that_makes_no_user_name_is_refused(auth: Auth, name: str) -> None:
    root = await auth.root()

    answer = await auth.post("/api/users", {**BODY, "name": name}, headers=root.headers)

    assert answer.status_code in (400, 422)
