"""Every route of auth, orgs and patients is tried by every kind of caller, against the contract's table.

The routes come from the applications: one that has no line in the table fails here.
"""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from applications import all_endpoints
from attempts import ATTEMPTS
from permissions import BAD_TOKEN, EVERYBODY, EXPECTED, NO_CREDENTIALS, Expectation, route_of
from world import Caller, World

TESTED = ("auth", "orgs", "patients")
ROUTES = {
    each.shape: each.application
    for each in all_endpoints()
    if each.is_public_api and each.application in TESTED
}
TRACE = re.compile("[0-9a-f]{32}")
INTERNAL = [each for each in all_endpoints() if each.is_internal]


def answered(world: World, line: str, caller: Caller, **more: Any) -> tuple[int, str]:
    """Status and words of what a caller gets from a request that is right in itself."""
    attempt = ATTEMPTS[line](world, caller)
    request = {**attempt.request, **more}
    if attempt.token is not None:
        request["headers"] = {**request.get("headers", {}), "Authorization": f"Bearer {attempt.token}"}
    answer = world.call(EXPECTED[line].service, caller, route_of(line)[0], attempt.path, **request)
    world.clients[EXPECTED[line].service].cookies.clear()
    return answer.status_code, _words(answer.json()) if answer.status_code >= 400 else ""


def _words(problem: Any) -> str:
    if "issue" in problem:
        return str(problem["issue"][0]["details"]["text"])
    return str(problem.get("detail", ""))


def refusal(expected: Expectation, caller: Caller) -> tuple[int, str | None]:
    """What somebody who may not call gets; None where the contract leaves the words open."""
    if expected.allowed is not EVERYBODY and not expected.allowed and expected.detail is not None:
        return 401, expected.detail
    if caller is Caller.ANONYMOUS:
        return 401, NO_CREDENTIALS
    if caller is Caller.FORGED:
        return 401, BAD_TOKEN
    return 403, dict(expected.special).get(caller, expected.detail)


def reads_a_body(line: str) -> bool:
    """Whether a route that not everybody may call looks at a body."""
    return route_of(line)[0] != "GET" and EXPECTED[line].allowed not in (EVERYBODY, frozenset())


def test_every_route_has_a_line_in_the_table_and_every_line_a_route() -> None:
    lines = {route_of(line): expected.service for line, expected in EXPECTED.items()}
    assert lines == ROUTES
    assert set(ATTEMPTS) == set(EXPECTED)


@pytest.mark.parametrize("line", EXPECTED)
def test_a_route_answers_each_kind_of_caller_as_the_contract_says(world: World, line: str) -> None:
    expected = EXPECTED[line]
    wrong = []
    for caller in Caller:
        status, words = answered(world, line, caller)
        if caller in expected.allowed:
            if status != expected.status:
                wrong.append(f"{caller}: {status} {words!r}, not {expected.status}")
            continue
        wanted, text = refusal(expected, caller)
        if status != wanted or text not in (None, words):
            wrong.append(f"{caller}: {status} {words!r}, not {wanted} {text!r}")
    assert wrong == []


@pytest.mark.parametrize("line", [line for line in EXPECTED if reads_a_body(line)])
def test_who_is_calling_is_asked_before_what_they_sent(world: World, line: str) -> None:
    """Contract, section 1, order of checks: 401, then the route's own 403, then 422."""
    expected = EXPECTED[line]
    method, _ = route_of(line)
    broken = {"content": b'{"', "headers": {"Content-Type": "application/json"}}
    attempt = ATTEMPTS[line](world, Caller.ANONYMOUS)
    for caller in Caller if expected.by_account else (Caller.ANONYMOUS, Caller.FORGED):
        if caller not in expected.allowed:
            answer = world.call(expected.service, caller, method, attempt.path, **broken)
            assert answer.status_code == refusal(expected, caller)[0], f"{caller}: {answer.text}"


@pytest.mark.parametrize("endpoint", INTERNAL, ids=lambda each: f"{each.application} {each}")
def test_nobody_but_a_service_calls_an_internal_route(world: World, endpoint: Any) -> None:
    path = endpoint.path.replace("{user_id}", "1").replace("{patient_id}", world.patient)
    statuses = {
        caller: world.call(endpoint.application, caller, endpoint.method, path).status_code
        for caller in Caller
    }
    assert set(statuses.values()) == {401}


def test_a_refusal_does_not_say_whether_the_patient_exists(world: World) -> None:
    patients = (world.patient, "nobody-knows")
    for caller in (
        Caller.OTHER_PATIENT,
        Caller.STRANGER_STAFF,
        Caller.STRANGER_CLINICIAN,
        Caller.EXTERNAL_WITHOUT,
    ):
        for path in ("/api/patients/{}", "/api/patients/{}/demographics", "/api/fhir/Patient/{}"):
            answers = [world.call("patients", caller, "GET", path.format(patient)) for patient in patients]
            texts = [
                TRACE.sub("", answer.text).replace(patient, "")
                for answer, patient in zip(answers, patients, strict=True)
            ]
            assert [answer.status_code for answer in answers] == [403, 403]
            assert texts[0] == texts[1]


SEES: dict[Caller, str] = {
    Caller.PATIENT: "own",
    Caller.OTHER_PATIENT: "other",
    Caller.COLLEAGUE: "own",
    Caller.CLINICIAN: "own",
    Caller.STRANGER_STAFF: "other",
    Caller.STRANGER_CLINICIAN: "other",
    Caller.EXTERNAL: "own",
    Caller.EXTERNAL_WITHOUT: "other",
    Caller.ADVOCATE: "own",
    Caller.ADMIN: "none",
    Caller.SUPERADMIN: "none",
}
"""Which of the world's two patients each caller's list holds; an administrator's without the scope holds
those of the organisations they work for, here none."""


@pytest.mark.parametrize("caller", SEES, ids=str)
def test_a_list_holds_the_patients_that_its_caller_may_see_and_no_others(
    world: World, caller: Caller
) -> None:
    world.do("patients", "POST", f"/api/patients/{world.patient}/activate")
    listed = {
        patient["id"] for patient in world.call("patients", caller, "GET", "/api/patients").json()["patients"]
    }
    wanted = {"own": {world.patient}, "other": {world.other_patient}, "none": set()}[SEES[caller]]
    assert listed & {world.patient, world.other_patient} == wanted
    for patient in listed - wanted:
        assert world.call("patients", caller, "GET", f"/api/patients/{patient}").status_code == 200


@pytest.mark.parametrize("caller", [Caller.ADMIN, Caller.SUPERADMIN], ids=str)
def test_an_administrator_who_asks_for_all_sees_both(world: World, caller: Caller) -> None:
    world.do("patients", "POST", f"/api/patients/{world.patient}/activate")
    answer = world.call("patients", caller, "GET", "/api/patients", params={"scope": "admin"})
    listed = {patient["id"] for patient in answer.json()["patients"]}
    assert {world.patient, world.other_patient} <= listed


def moments(node: Any) -> list[str]:
    """Every point in time of an answer."""
    if isinstance(node, list):
        return [moment for each in node for moment in moments(each)]
    if not isinstance(node, dict):
        return []
    own = [value for name, value in node.items() if name.endswith("_at") and isinstance(value, str)]
    return own + [moment for value in node.values() for moment in moments(value)]


def test_every_moment_is_iso_8601_with_its_offset(world: World) -> None:
    features = f"/api/organizations/{world.here}/features"
    world.do("orgs", "PUT", f"{features}/letters", json={"enabled": True})
    for service, path in (
        ("auth", "/api/auth/me"),
        ("auth", f"/api/patients/{world.patient}/external-access"),
        ("orgs", "/api/organizations"),
        ("orgs", features),
    ):
        found = moments(world.do(service, "GET", path))
        assert found, path
        assert all(datetime.fromisoformat(moment).utcoffset() == timedelta(0) for moment in found)
