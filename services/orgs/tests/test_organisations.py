"""Organisations and their features, as an administrator sees them."""

from collections.abc import Awaitable, Callable

import pytest

from quill_orgs.bootstrap import definition
from quill_shared.platform.migrations import drift
from quill_shared.platform.service_tokens import make
from quill_shared.platform.tables import platform_metadata
from quill_shared.platform.testing.postgres import TestDatabase
from quill_shared.platform.testing.services import RunningService

MakeOrganisation = Callable[..., Awaitable[int]]


async def test_migrations_and_models_agree(database: TestDatabase) -> None:
    assert await drift(database.owner_url, [*definition.metadata, platform_metadata]) == []


async def test_an_organisation_is_created_and_announced(orgs: RunningService) -> None:
    answer = await orgs.client.post(
        "/api/organizations",
        json={"name": "  Ward 4 ", "type": "hospital_team", "location": " "},
        headers=orgs.bearer(perm="admin"),
    )

    body = answer.json()
    assert answer.status_code == 200
    assert (body["name"], body["type"], body["location"]) == ("Ward 4", "hospital_team", None)
    assert body["created_at"].endswith(("+00:00", "Z"))
    (event,) = await orgs.recorded()
    assert event["type"] == "orgs.organization.created.v1"
    assert event["data"] == {"organisation_id": body["id"], "name": "Ward 4", "type": "hospital_team"}
    assert event["correlationid"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        ({"name": "x", "type": "hotel"}, 400, None),
        ({"name": "  ", "type": "gp_practice"}, 422, "name"),
        ({"name": "a\0b", "type": "gp_practice"}, 422, "name"),
        ({"name": "x" * 201, "type": "gp_practice"}, 422, "name"),
        ({"type": "gp_practice"}, 422, "name"),
        ({"name": "x", "type": "gp_practice", "colour": "red"}, 422, "colour"),
        ({"name": 7, "type": "gp_practice"}, 422, "name"),
        ([], 422, None),
    ],
)
async def test_a_bad_organisation_is_refused(
    orgs: RunningService, body: object, status: int, where: str | None
) -> None:
    answer = await orgs.client.post("/api/organizations", json=body, headers=orgs.bearer(perm="admin"))

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    if where is not None:
        assert where in [error["loc"][-1] for error in answer.json()["errors"]]
    assert await orgs.recorded() == []


async def test_the_unknown_type_is_answered_with_the_known_ones(orgs: RunningService) -> None:
    answer = await orgs.client.post(
        "/api/organizations", json={"name": "x", "type": "hotel"}, headers=orgs.bearer(perm="admin")
    )

    assert answer.json()["detail"] == (
        "Invalid organisation type. Must be one of: hospital_team, gp_practice, private_clinic, department, "
        "teaching_establishment"
    )


async def test_the_list_is_paged_by_name(orgs: RunningService, make_organisation: MakeOrganisation) -> None:
    for name in ("Cedar", "Ash", "Birch"):
        await make_organisation(name)
    admin = orgs.bearer(perm="admin")

    first = (await orgs.client.get("/api/organizations?limit=2", headers=admin)).json()
    second = (
        await orgs.client.get(f"/api/organizations?cursor={first['next_cursor']}", headers=admin)
    ).json()

    assert [each["name"] for each in first["organizations"]] == ["Ash", "Birch"]
    assert [each["name"] for each in second["organizations"]] == ["Cedar"]
    assert second["next_cursor"] is None


@pytest.mark.parametrize("cursor", ["x", "W10", "bnVsbA", "WzEsMl0", "%FF", "WyJhIiwiYiJd"])
async def test_a_cursor_that_is_none_is_refused(orgs: RunningService, cursor: str) -> None:
    answer = await orgs.client.get(f"/api/organizations?cursor={cursor}", headers=orgs.bearer(perm="admin"))

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", "cursor"]


async def test_an_organisation_is_updated(orgs: RunningService, make_organisation: MakeOrganisation) -> None:
    organisation_id = await make_organisation()

    answer = await orgs.client.put(
        f"/api/organizations/{organisation_id}",
        json={"name": "Ward 5", "type": "department", "location": "Level 2"},
        headers=orgs.bearer(perm="admin"),
    )

    assert answer.status_code == 200
    assert (answer.json()["name"], answer.json()["location"]) == ("Ward 5", "Level 2")
    events = await orgs.recorded()
    assert [event["sequence"] for event in events] == [1, 2]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/organizations/99", None),
        ("PUT", "/api/organizations/99", {"name": "x", "type": "gp_practice"}),
        ("POST", "/api/organizations/99/staff", {"user_id": 1}),
        ("POST", "/api/organizations/99/patients", {"patient_id": "p-1"}),
        ("GET", "/api/organizations/99/features", None),
        ("PUT", "/api/organizations/99/features/letters", {"enabled": True}),
        ("GET", "/api/organizations/99/join-requests", None),
        ("POST", "/api/organizations/99/join-requests/1/approve", None),
    ],
)
async def test_an_unknown_organisation_is_a_404(
    orgs: RunningService, method: str, path: str, body: object
) -> None:
    answer = await orgs.client.request(method, path, json=body, headers=orgs.bearer(perm="admin"))

    assert (answer.status_code, answer.json()["detail"]) == (404, "Organization not found")


@pytest.mark.parametrize("organisation_id", ["0", "-1", "x", "9223372036854775808", "1.5", "%00"])
async def test_an_impossible_id_is_a_4xx(orgs: RunningService, organisation_id: str) -> None:
    answer = await orgs.client.get(f"/api/organizations/{organisation_id}", headers=orgs.bearer(perm="admin"))

    assert answer.status_code in (400, 422)


async def test_a_change_to_a_version_not_meant_is_refused(
    orgs: RunningService, make_organisation: MakeOrganisation
) -> None:
    organisation_id = await make_organisation()
    path, admin = f"/api/organizations/{organisation_id}", orgs.bearer(perm="admin")
    tag = (await orgs.client.get(path, headers=admin)).headers["etag"]
    body = {"name": "Ward 5", "type": "department"}

    first = await orgs.client.put(path, json=body, headers={**admin, "If-Match": tag})
    second = await orgs.client.put(path, json=body, headers={**admin, "If-Match": tag})

    assert (tag, first.status_code, first.headers["etag"]) == ('W/"1"', 200, 'W/"2"')
    assert (second.status_code, second.json()["error_code"]) == (412, "precondition_failed")


async def test_only_services_ask_for_an_organisation_inside(
    orgs: RunningService, make_organisation: MakeOrganisation
) -> None:
    organisation_id = await make_organisation()
    path = f"/internal/organizations/{organisation_id}"
    key = orgs.runtime.settings.service_key.get_secret_value()

    async def ask(token: str, at: str = path) -> int:
        return (await orgs.client.get(at, headers={"Authorization": f"Bearer {token}"})).status_code

    assert await ask(make(key, caller="patients", audience="orgs")) == 200
    assert await ask(make(key, caller="patients", audience="orgs"), "/internal/organizations/99") == 404
    assert await ask(make(key, caller="patients", audience="auth")) == 401
    assert await ask(make(key + "x", caller="patients", audience="orgs")) == 401
    assert await ask(orgs.mint.token(perm="superadmin")) == 401


async def test_a_feature_is_switched_once(orgs: RunningService, make_organisation: MakeOrganisation) -> None:
    organisation_id = await make_organisation()
    admin = orgs.bearer(9, perm="admin")
    path = f"/api/organizations/{organisation_id}/features/letters"

    answers = [
        (await orgs.client.put(path, json={"enabled": enabled}, headers=admin)).json()["status"]
        for enabled in (True, True, False, False, True)
    ]

    assert answers == ["enabled", "already_enabled", "disabled", "already_disabled", "enabled"]
    (feature,) = (await orgs.client.get(path.rpartition("/")[0], headers=admin)).json()["features"]
    assert (feature["feature_key"], feature["enabled_by"]) == ("letters", 9)
    events = [event for event in await orgs.recorded() if ".feature." in event["type"]]
    assert [event["type"].split(".")[2] for event in events] == ["enabled", "disabled", "enabled"]
    assert [event["sequence"] for event in events] == sorted({event["sequence"] for event in events})


async def test_an_unknown_feature_is_refused(
    orgs: RunningService, make_organisation: MakeOrganisation
) -> None:
    organisation_id = await make_organisation()

    answer = await orgs.client.put(
        f"/api/organizations/{organisation_id}/features/coffee",
        json={"enabled": True},
        headers=orgs.bearer(perm="admin"),
    )

    assert (answer.status_code, answer.json()["error_code"]) == (400, "unknown_feature")
