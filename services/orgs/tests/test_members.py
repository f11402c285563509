"""Staff, patients and join requests of an organisation."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest

from quill_shared.platform.testing.services import RunningService

MakeOrganisation = Callable[..., Awaitable[int]]


class Accounts(Protocol):
    """The accounts that exist."""

    def add(self, user_id: int, *, perm: str = "staff", is_active: bool = True) -> Any:
        """One more."""


async def act(orgs: RunningService, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """What an administrator gets: status and body."""
    answer = await orgs.client.request(
        method, f"/api/organizations/{path}", json=body, headers=orgs.bearer(9, perm="admin")
    )
    return answer.status_code, answer.json()


async def primaries(orgs: RunningService, organisations: list[int], user_id: int) -> list[int]:
    """In which of the organisations the member's membership is primary."""
    found = []
    for organisation_id in organisations:
        _, detail = await act(orgs, "GET", str(organisation_id))
        found += [
            organisation_id
            for each in detail["staff_members"]
            if each["id"] == user_id and each["is_primary"]
        ]
    return found


async def test_staff_are_added_once_and_the_first_membership_is_primary(
    orgs: RunningService, make_organisation: MakeOrganisation, accounts: Accounts
) -> None:
    first, second = await make_organisation("A"), await make_organisation("B")
    accounts.add(12)

    assert await act(orgs, "POST", f"{first}/staff", {"user_id": 12}) == (
        200,
        {"organisation_id": first, "user_id": 12, "username": "user12"},
    )
    assert (await act(orgs, "POST", f"{second}/staff", {"user_id": 12}))[0] == 200
    status, problem = await act(orgs, "POST", f"{first}/staff", {"user_id": 12})

    assert (status, problem["detail"]) == (409, "User is already a staff member of this organisation")
    assert await primaries(orgs, [first, second], 12) == [first]
    facts = [event["data"] for event in await orgs.recorded("orgs.staff.added.v1")]
    assert [fact["is_primary"] for fact in facts] == [True, False]


async def test_an_account_known_from_events_is_not_asked_for(
    orgs: RunningService, make_organisation: MakeOrganisation
) -> None:
    organisation_id = await make_organisation()
    fact = {
        "user_id": 30,
        "username": "known",
        "display_name": "K",
        "email": "k@example.org",
        "system_permissions": "staff",
        "roles": [],
        "fhir_patient_id": None,
        "is_active": True,
        "ver": 1,
    }
    await orgs.deliver("auth.user.registered.v1", fact, subject="user:30", sequence=1)

    _, answer = await act(orgs, "POST", f"{organisation_id}/staff", {"user_id": 30})

    assert answer["username"] == "known"


@pytest.mark.parametrize(
    ("perm", "is_active", "status", "detail"),
    [
        ("patient", True, 400, "User must have staff-level permissions or above"),
        ("external_hcp", True, 400, "User must have staff-level permissions or above"),
        ("staff", False, 400, "User is deactivated"),
        (None, True, 404, "User not found"),
    ],
)
async def test_who_may_not_be_staff_is_refused(
    orgs: RunningService,
    make_organisation: MakeOrganisation,
    accounts: Accounts,
    perm: str | None,
    is_active: bool,
    status: int,
    detail: str,
) -> None:
    organisation_id = await make_organisation()
    if perm is not None:
        accounts.add(12, perm=perm, is_active=is_active)

    answered, problem = await act(orgs, "POST", f"{organisation_id}/staff", {"user_id": 12})

    assert (answered, problem["detail"]) == (status, detail)
    assert await orgs.recorded("orgs.staff.added.v1") == []


async def test_removing_the_primary_membership_makes_another_primary(
    orgs: RunningService, make_organisation: MakeOrganisation, accounts: Accounts
) -> None:
    first, second, third = [await make_organisation(name) for name in "ABC"]
    accounts.add(12)
    for organisation_id in (first, second, third):
        await act(orgs, "POST", f"{organisation_id}/staff", {"user_id": 12})

    assert await act(orgs, "DELETE", f"{first}/staff/12") == (200, {"status": "removed"})

    assert await primaries(orgs, [first, second, third], 12) == [second]
    (updated,) = await orgs.recorded("orgs.staff.updated.v1")
    assert updated["data"] == {"organisation_id": second, "user_id": 12, "is_primary": True}
    status, problem = await act(orgs, "DELETE", f"{first}/staff/12")
    assert (status, problem["detail"]) == (404, "Membership not found")


async def test_memberships_changed_at_once_leave_exactly_one_primary(
    orgs: RunningService, make_organisation: MakeOrganisation, accounts: Accounts
) -> None:
    organisations = [await make_organisation(f"Ward {n}") for n in range(6)]
    accounts.add(12)

    added = await asyncio.gather(
        *(act(orgs, "POST", f"{each}/staff", {"user_id": 12}) for each in organisations + organisations)
    )
    removed = await asyncio.gather(
        *(act(orgs, "DELETE", f"{each}/staff/12") for each in organisations[:3] * 2)
    )

    assert sorted(status for status, _ in added) == [200] * 6 + [409] * 6
    assert sorted(status for status, _ in removed) == [200] * 3 + [404] * 3
    assert len(await primaries(orgs, organisations, 12)) == 1
    sequences: dict[str, list[int]] = {}
    for event in await orgs.recorded():
        sequences.setdefault(event["subject"], []).append(event["sequence"])
    assert all(each == sorted(set(each)) for each in sequences.values())


async def test_patients_are_added_once(orgs: RunningService, make_organisation: MakeOrganisation) -> None:
    organisation_id = await make_organisation()

    assert await act(orgs, "POST", f"{organisation_id}/patients", {"patient_id": "p-1"}) == (
        200,
        {"organisation_id": organisation_id, "patient_id": "p-1"},
    )
    twice, problem = await act(orgs, "POST", f"{organisation_id}/patients", {"patient_id": "p-1"})
    unknown, missing = await act(orgs, "POST", f"{organisation_id}/patients", {"patient_id": "p-9"})

    assert (twice, problem["detail"]) == (409, "Patient is already a member of this organisation")
    assert (unknown, missing["detail"]) == (404, "Patient not found")
    _, detail = await act(orgs, "GET", str(organisation_id))
    assert detail["patient_members"] == [{"patient_id": "p-1", "is_primary": True}]
    assert (detail["staff_count"], detail["patient_count"]) == (0, 1)
    assert (await act(orgs, "DELETE", f"{organisation_id}/patients/p-1"))[0] == 200
    assert (await act(orgs, "DELETE", f"{organisation_id}/patients/p-1"))[0] == 404
    assert [event["type"] for event in await orgs.recorded()][1:] == [
        "orgs.patient.added.v1",
        "orgs.patient.removed.v1",
    ]


async def test_a_registered_patient_joins_the_organisation_once(
    orgs: RunningService, make_organisation: MakeOrganisation
) -> None:
    organisation_id = await make_organisation()
    fact = {"patient_id": "p-7", "version": 1, "organisation_id": organisation_id, "created_by": 4}

    message = await orgs.deliver("patients.patient.created.v1", fact, subject="patient:p-7")
    await asyncio.gather(orgs.redeliver(message), orgs.redeliver(message))

    (event,) = await orgs.recorded("orgs.patient.added.v1")
    assert event["data"] == {"organisation_id": organisation_id, "patient_id": "p-7"}
    assert event["causationid"] == str(message.id)


async def test_a_self_registration_is_a_request_until_an_administrator_approves(
    orgs: RunningService, make_organisation: MakeOrganisation, accounts: Accounts
) -> None:
    organisation_id = await make_organisation()
    accounts.add(40, perm="patient")
    await orgs.deliver("auth.join.requested.v1", {"user_id": 40, "organisation_id": organisation_id})
    path = f"{organisation_id}/join-requests"

    _, pending = await act(orgs, "GET", path)
    assert [each["user_id"] for each in pending["join_requests"]] == [40]
    assert (await act(orgs, "GET", str(organisation_id)))[1]["staff_count"] == 0
    status, problem = await act(orgs, "POST", f"{path}/40/approve")
    assert (status, problem["error_code"]) == (400, "staff_level_required")

    accounts.add(40, perm="staff")
    assert await act(orgs, "POST", f"{path}/40/approve") == (200, {"status": "approved"})
    assert (await act(orgs, "GET", str(organisation_id)))[1]["staff_members"][0]["id"] == 40
    assert (await act(orgs, "POST", f"{path}/40/approve"))[0] == 404


async def test_a_request_of_somebody_added_meanwhile_is_fulfilled(
    orgs: RunningService, make_organisation: MakeOrganisation, accounts: Accounts
) -> None:
    organisation_id = await make_organisation()
    accounts.add(40)
    await orgs.deliver("auth.join.requested.v1", {"user_id": 40, "organisation_id": organisation_id})
    await act(orgs, "POST", f"{organisation_id}/staff", {"user_id": 40})

    assert (await act(orgs, "POST", f"{organisation_id}/join-requests/40/approve"))[0] == 200

    assert (await act(orgs, "GET", f"{organisation_id}/join-requests"))[1]["join_requests"] == []
    assert len(await orgs.recorded("orgs.staff.added.v1")) == 1


@pytest.mark.parametrize("patient_id", [".", "..", "a/b", "a b", "", "x" * 65, "ä"])
async def test_a_patient_id_that_is_none_is_refused(
    orgs: RunningService, make_organisation: MakeOrganisation, patient_id: str
) -> None:
    organisation_id = await make_organisation()

    status, problem = await act(orgs, "POST", f"{organisation_id}/patients", {"patient_id": patient_id})

    assert (status, problem["errors"][0]["loc"]) == (422, ["body", "patient_id"])


async def test_a_rejected_request_does_not_come_back(
    orgs: RunningService, make_organisation: MakeOrganisation
) -> None:
    organisation_id = await make_organisation()
    request = {"user_id": 41, "organisation_id": organisation_id}
    await orgs.deliver("auth.join.requested.v1", request)

    assert await act(orgs, "POST", f"{organisation_id}/join-requests/41/reject") == (
        200,
        {"status": "rejected"},
    )
    await orgs.deliver("auth.join.requested.v1", request)

    assert (await act(orgs, "GET", f"{organisation_id}/join-requests"))[1]["join_requests"] == []


async def test_shared_organisations_are_those_of_both(
    orgs: RunningService, make_organisation: MakeOrganisation, accounts: Accounts
) -> None:
    first, second = await make_organisation("A"), await make_organisation("B")
    accounts.add(12)
    for organisation_id in (first, second):
        await act(orgs, "POST", f"{organisation_id}/staff", {"user_id": 12})
    await act(orgs, "POST", f"{first}/patients", {"patient_id": "p-1"})

    async def shared(**claims: Any) -> list[str]:
        answer = await orgs.client.get(
            "/api/patients/p-1/shared-organisations", headers=orgs.bearer(**claims)
        )
        return [each["name"] for each in answer.json()["organisations"]]

    assert await shared(user_id=12, perm="staff") == ["A"]
    assert await shared(user_id=13, perm="staff") == []
    assert await shared(user_id=12, perm="patient") == []
    assert await shared(user_id=12, perm="external_hcp") == []
    assert await shared(user_id=50, perm="patient", patient_id="p-1") == ["A"]
    assert await shared(user_id=51, perm="patient", patient_id="p-2") == []
