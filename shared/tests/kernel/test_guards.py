"""Who may call, in the order of the contract: 401, then 403, then what the deployment lacks."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from guarded import definition, migrate

from quill_shared.platform.testing.postgres import (
    PostgresServer,
    TestDatabase,
    migrated_database,
    truncate_all,
)
from quill_shared.platform.testing.services import Canary, RunningService, running
from quill_shared.platform.testing.tokens import TokenMint


@pytest.fixture(scope="session")
def database(postgres_server: PostgresServer) -> Iterator[TestDatabase]:
    """This worker's database."""
    with migrated_database(postgres_server, "quill_guarded", migrate) as database:
        yield database


@pytest.fixture
async def guarded(database: TestDatabase, mint: TokenMint, canary: Canary) -> AsyncIterator[RunningService]:
    """A service with a route behind each guard."""
    await truncate_all(database.owner_url)
    async with running(definition, database, mint, canary) as service:
        yield service


async def get(service: RunningService, path: str, **claims: Any) -> tuple[int, str]:
    """Status and detail (or the answer's `who`)."""
    answer = await service.client.get(path, headers=service.bearer(**claims) if claims else {})
    body = answer.json()
    return answer.status_code, body.get("detail", body.get("who"))


@pytest.mark.parametrize(
    ("path", "claims", "expected"),
    [
        ("/signed-in", {}, (401, "Not authenticated")),
        ("/signed-in", {"perm": "patient"}, (200, "user1")),
        ("/staff", {"perm": "external_hcp"}, (403, "Forbidden")),
        ("/staff", {"perm": "staff"}, (200, "user1")),
        ("/admin", {"perm": "staff"}, (403, "Requires admin or superadmin permissions")),
        ("/admin", {"perm": "superadmin"}, (200, "user1")),
        ("/clinician", {"perm": "superadmin"}, (403, "Forbidden")),
        ("/clinician", {"perm": "staff", "roles": ["Clinician"]}, (200, "user1")),
        (
            "/competent",
            {"profession": "receptionist"},
            (403, "Forbidden: User lacks required competency 'perform_venepuncture'"),
        ),
        (
            "/competent",
            {"profession": "receptionist", "additional": ["perform_venepuncture"]},
            (200, "user1"),
        ),
        (
            "/competent",
            {"profession": "registered_nurse", "removed": ["perform_venepuncture"]},
            (403, "Forbidden: User lacks required competency 'perform_venepuncture'"),
        ),
        ("/maybe", {}, (200, "nobody")),
        ("/maybe", {"exp": 1}, (200, "nobody")),
        ("/maybe", {"perm": "patient"}, (200, "user1")),
        ("/signed-in", {"perm": "auditor"}, (401, "Invalid token")),
        ("/signed-in", {"profession": "astronaut"}, (401, "Invalid token")),
        ("/signed-in", {"typ": "refresh"}, (401, "Invalid token")),
        ("/letters", {"perm": "staff"}, (403, "User has no primary organisation")),
    ],
)
async def test_a_guard_lets_in_whom_it_should(
    guarded: RunningService, path: str, claims: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert await get(guarded, path, **claims) == expected


async def test_a_feature_follows_the_primary_organisation(guarded: RunningService) -> None:
    await guarded.deliver(
        "orgs.staff.added.v1", {"organisation_id": 7, "user_id": 1, "is_primary": True}, sequence=1
    )
    assert await get(guarded, "/letters", perm="staff") == (
        403,
        "Feature 'letters' is not enabled for this organisation",
    )

    await guarded.deliver(
        "orgs.feature.enabled.v1", {"organisation_id": 7, "feature_key": "letters"}, sequence=3
    )
    assert await get(guarded, "/letters", perm="staff") == (200, "user1")

    await guarded.deliver(
        "orgs.feature.disabled.v1", {"organisation_id": 7, "feature_key": "letters"}, sequence=2
    )
    assert await get(guarded, "/letters", perm="staff") == (200, "user1")

    await guarded.deliver(
        "orgs.feature.disabled.v1", {"organisation_id": 7, "feature_key": "letters"}, sequence=4
    )
    assert (await get(guarded, "/letters", perm="staff"))[0] == 403


@pytest.mark.parametrize(
    ("claims", "status"), [({}, 401), ({"perm": "patient"}, 403), ({"perm": "admin"}, 503)]
)
async def test_what_the_deployment_lacks_is_said_last(
    database: TestDatabase, mint: TokenMint, canary: Canary, claims: dict[str, Any], status: int
) -> None:
    async with running(definition, database, mint, canary, clinical_services=False) as service:
        answered, detail = await get(service, "/clinical", **claims)

    assert answered == status
    if status == 503:
        assert detail == "Clinical services are not available in this deployment"


async def test_a_patient_is_seen_by_those_the_policy_names(guarded: RunningService) -> None:
    await guarded.deliver(
        "orgs.staff.added.v1", {"organisation_id": 7, "user_id": 2, "is_primary": True}, sequence=1
    )
    await guarded.deliver("orgs.patient.added.v1", {"organisation_id": 7, "patient_id": "p-1"}, sequence=2)
    grant = {"user_id": 3, "patient_id": "p-1", "user_type": "external_hcp"}
    await guarded.deliver("auth.access.granted.v1", grant, sequence=1)

    async def sees(user_id: int, **claims: Any) -> bool:
        return (await get(guarded, "/patients/p-1", user_id=user_id, **claims))[0] == 200

    assert await sees(2, perm="staff")
    assert not await sees(2, perm="patient")
    assert await sees(3, perm="external_hcp")
    assert await sees(4, perm="patient", patient_id="p-1")
    assert not await sees(4, perm="patient", patient_id="p-2")
    assert not await sees(5, perm="staff")
    assert await sees(6, perm="admin")

    await guarded.deliver("auth.access.revoked.v1", grant, sequence=2)
    await guarded.deliver("auth.access.granted.v1", grant, sequence=1)
    assert not await sees(3, perm="external_hcp")
    await guarded.deliver("orgs.patient.removed.v1", {"organisation_id": 7, "patient_id": "p-1"}, sequence=3)
    assert not await sees(2, perm="staff")


async def test_a_removal_that_comes_before_its_addition_wins(guarded: RunningService) -> None:
    membership = {"organisation_id": 7, "user_id": 2, "is_primary": True}
    await guarded.deliver("orgs.patient.added.v1", {"organisation_id": 7, "patient_id": "p-1"}, sequence=1)
    await guarded.deliver("orgs.staff.removed.v1", membership, sequence=9)
    await guarded.deliver("orgs.staff.added.v1", membership, sequence=8)

    assert (await get(guarded, "/patients/p-1", user_id=2, perm="staff"))[0] == 403
