"""Bad input is answered with a 4xx that names the fault, and never repeats what was sent.

Bodies and parameters are taken from the OpenAPI documents, so that a new route gets the same treatment. What
is sent carries the canary's name and number, which may not come back in any error or log line.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from operations import Operation, operations, resolved
from patients import PATIENT
from world import Caller, World

from quill_shared.platform.testing.services import CANARY_FAMILY, CANARY_NHS_NUMBER

SERVICES = ("auth", "orgs", "patients", "letters", "messaging")
ALL = list(operations(*SERVICES))
WITH_BODY = [each for each in ALL if each.json_body is not None]
FACADE = "/api/fhir/Patient"
TYPED = [each for each in WITH_BODY if not each.path.startswith(FACADE)]
WITH_QUERY = [each for each in ALL if each.query]
JSON = {"Content-Type": "application/json"}

# Not JSON, or not an object, or more than anybody needs: refused before a field is looked at.
BROKEN_BODIES: Mapping[str, bytes] = {
    "nothing": b"",
    "half an object": b'{"',
    "a trailing comma": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "two objects": b"{}{}",
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "another encoding": '{"a": 1}'.encode("utf-16"),
    "NUL": b"\0",
    "an array": b"[]",
    "a string": json.dumps(CANARY_FAMILY).encode(),
    "a number": CANARY_NHS_NUMBER.encode(),
    "null": b"null",
    "brackets without end": b"[" * 100_000,
    "nested arrays": b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "nested objects": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "a number of ten thousand digits": b'{"a": ' + b"9" * 10_000 + b"}",
    "a number beyond floats": b'{"a": 1e400}',
    "not a number": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "a lone surrogate for a name": b'{"\\ud800": 1}',
    "NUL in a name": b'{"a\\u0000b": 1}',
    "an unknown field": b'{"no_such_field": 1}',
    "a form": b"a=1&b=2",
}

# By JSON type: values that look like it and are not, or that no database can hold.
WRONG_VALUES: Mapping[str, tuple[Any, ...]] = {
    "string": (5, True, ["a"], {"a": 1}, f"{CANARY_FAMILY}\0", f"{CANARY_FAMILY}\ud800", "x" * 200_000),
    "integer": ("12", "x", 1.5, True, [1], {}, 2**63, -(2**63) - 1, 10**400, 0, -1),
    "boolean": ("true", "x", 0, 1, [True], {}),
    "array": ("a", 1, True, {}, [None], [{}], [["a"]]),
    "object": ("a", 1, True, [], [{}]),
}
WRONG_QUERIES: Mapping[str, tuple[str, ...]] = {
    "integer": ("", "x", "1.5", "0", "-1", "1001", str(2**63), "9" * 5000, "1%00", "%FF", "٣"),
    "boolean": ("x", "2", "%00", "%FF"),
    "string": ("%00", f"{CANARY_FAMILY}%00"),
}


NOT_OUR_NUMBERS = ("0", "-1", "1.5", "x", "1e3", "٣", "0x10", str(2**63), "9" * 400, "1%00", "%00", "%FF")


def call(world: World, operation: Operation, **request: Any) -> httpx.Response:
    """What a superadmin with the role of a clinician gets, with ids that exist."""
    path = operation.path.format(
        patient_id=world.patient,
        organisation_id=world.here,
        user_id=world.accounts[Caller.STRANGER_STAFF][0],
        feature_key="teaching",
    )
    caller = Caller.CLINICIAN if "demographics" in path or "verify" in path else Caller.SUPERADMIN
    query = request.pop("query", "")
    return world.call(operation.server, caller, operation.method, path + query, **request)


def said(answer: httpx.Response) -> str:
    """The words of a refusal, in whichever of the three forms; fails if there is no refusal."""
    assert 400 <= answer.status_code < 500, f"{answer.status_code} {answer.text[:300]}"
    problem = answer.json()
    if "issue" in problem:
        assert problem["resourceType"] == "OperationOutcome"
        assert all(issue["severity"] == "error" for issue in problem["issue"])
        return json.dumps(problem["issue"])
    if "error" in problem:
        return f"{problem['error']} {problem['error_description']}"
    assert problem["status"] == answer.status_code
    assert problem["error_code"]
    if answer.status_code == 422:
        assert problem["errors"]
        assert all(error["msg"] and error["loc"] for error in problem["errors"])
    return json.dumps([problem["detail"], problem.get("errors")])


def kinds(operation: Operation, node: Mapping[str, Any]) -> set[str]:
    """The JSON types that a schema allows."""
    node = resolved(operation.document, node)
    if "anyOf" in node:
        return set().union(*(kinds(operation, each) for each in node["anyOf"]))
    return {node["type"]} if "type" in node else set()


def fields(operation: Operation) -> Iterator[tuple[str, str]]:
    """Each field of a body that has one type (besides null), with the type."""
    assert operation.json_body is not None
    for name, node in operation.json_body.get("properties", {}).items():
        (kind, *others) = sorted(kinds(operation, node) - {"null"}) or [""]
        if not others and kind in WRONG_VALUES:
            yield name, kind


def parameters(operation: Operation) -> list[Mapping[str, Any]]:
    """The parameters of an operation."""
    return list(operation.described.get("parameters", ()))


def permits(node: Mapping[str, Any], value: Any) -> bool:
    """Whether a plain string or number lies within what a schema says about it."""
    low, high = node.get("minimum", float("-inf")), node.get("maximum", float("inf"))
    return isinstance(value, int) and not isinstance(value, bool) and bool(low <= value <= high)


@pytest.mark.parametrize("operation", WITH_BODY, ids=lambda each: each.label)
def test_a_body_that_is_no_object_of_ours_is_refused(world: World, operation: Operation) -> None:
    for name, body in BROKEN_BODIES.items():
        answer = call(world, operation, content=body, headers=JSON)
        assert said(answer), name
        if name == "an unknown field" and operation in TYPED:
            assert "no_such_field" in answer.text


@pytest.mark.parametrize("operation", TYPED, ids=lambda each: each.label)
def test_a_field_of_the_wrong_kind_is_named(world: World, operation: Operation) -> None:
    unnamed = []
    for name, kind in fields(operation):
        node = (operation.json_body or {})["properties"][name]
        for value in WRONG_VALUES[kind]:
            if permits(node, value):
                continue
            content = json.dumps({name: value}).encode()
            answer = call(world, operation, content=content, headers=JSON)
            if name not in said(answer):
                unnamed.append(f"{name}={str(value)[:40]!r}: {answer.text[:200]}")
    assert unnamed == []


@pytest.mark.parametrize("operation", WITH_QUERY, ids=lambda each: each.label)
def test_a_parameter_that_cannot_be_read_is_refused(world: World, operation: Operation) -> None:
    for name, node in operation.query.items():
        for kind in kinds(operation, node) & set(WRONG_QUERIES):
            for value in WRONG_QUERIES[kind]:
                answer = call(world, operation, query=f"?{name}={value}")
                assert said(answer), f"{name}={value[:20]}"


@pytest.mark.parametrize(
    "operation",
    [each for each in ALL if "{user_id}" in each.path or "{organisation_id}" in each.path],
    ids=lambda each: each.label,
)
def test_an_address_that_names_no_number_of_ours_is_refused(world: World, operation: Operation) -> None:
    for number in NOT_OUR_NUMBERS:
        path = operation.path.format(
            patient_id=world.patient, organisation_id=number, user_id=number, feature_key="teaching"
        )
        answer = world.call(operation.server, Caller.SUPERADMIN, operation.method, path, json={})
        assert said(answer), number


NHS_NUMBERS = {
    "nine digits": "999000001",
    "eleven digits": "99900000180",
    "letters": "99900000AB",
    "a wrong check digit": "9990000019",
    "a remainder of ten": "9990000000",
    "all zeros": "0000000000",
    "other digits": "٩٩٩٠٠٠٠٠١٨",
    "full-width digits": "".join(chr(0xFF10 + int(digit)) for digit in "9990000018"),
    "a full stop between": "999.000.0018",
    "a plus": "+9990000018",
    "a fraction": "9990000018.0",
    "an exponent": "999000001e1",
    "blank": "   ",
    "nothing": "",
    "a line break": "9990000018\n\r1",
    "NUL": "9990000018\0",
    "a number": 9990000018,
    "true": True,
    "a list": ["9990000018"],
    "an object": {"value": "9990000018"},
}


@pytest.mark.parametrize("number", NHS_NUMBERS.values(), ids=NHS_NUMBERS)
def test_an_nhs_number_of_any_wrong_kind_is_refused_and_named(world: World, number: Any) -> None:
    body = {"given_name": "Wrong", "family_name": "Number", "nhs_number": number}
    for answer in (
        world.call("patients", Caller.SUPERADMIN, "POST", "/api/patients", json=body),
        world.call("patients", Caller.SUPERADMIN, "PATCH", f"/api/patients/{world.patient}", json=body),
    ):
        assert answer.status_code == 422, answer.text
        assert {"nhs_number"} == {error["loc"][1] for error in answer.json()["errors"]}


DATES = {
    "in the future": "2999-01-01",
    "too long ago": "1800-01-01",
    "no such day": "2001-02-29",
    "no such month": "2001-13-01",
    "day first": "31/12/2001",
    "without hyphens": "20011231",
    "with a time": "2001-12-31T00:00:00Z",
    "a week": "2001-W01-1",
    "a number": 20011231,
    "beyond the calendar": "99999-01-01",
    "other digits": "٢٠٠١-01-01",
}


@pytest.mark.parametrize("birth_date", DATES.values(), ids=DATES)
def test_a_date_of_birth_of_any_wrong_kind_is_refused_and_named(world: World, birth_date: Any) -> None:
    body = {"given_name": "Wrong", "family_name": "Date", "birth_date": birth_date}
    answer = world.call("patients", Caller.SUPERADMIN, "POST", "/api/patients", json=body)
    assert answer.status_code == 422, answer.text
    assert {"birth_date"} == {error["loc"][1] for error in answer.json()["errors"]}


WRONG_ELEMENTS: tuple[Any, ...] = (
    None,
    [],
    {},
    "",
    "x",
    1,
    1.5,
    True,
    [None],
    [1],
    [[]],
    [{}],
    {"no_such": 1},
    [{"no_such": 1}],
)


@pytest.mark.parametrize("element", sorted(PATIENT))
def test_a_fhir_element_of_the_wrong_kind_is_refused(world: World, element: str) -> None:
    path = f"{FACADE}/{world.patient}"
    for value in WRONG_ELEMENTS:
        body = {**PATIENT, element: value}
        for method, where in (("POST", FACADE), ("PUT", path)):
            resource = body if method == "POST" else {"id": world.patient, **body}
            answer = world.call("patients", Caller.SUPERADMIN, method, where, json=resource)
            assert answer.status_code < 500, f"{method} {element}={value!r}: {answer.text}"


@pytest.mark.parametrize(
    "credentials",
    [
        b"Bearer",
        b"Bearer x",
        b"Bearer a.b.c",
        b"Bearer " + b"a" * 6000,
        b"Bearer \xff\xfe",
        b"bearer eyJhbGciOiJub25lIn0.e30.",
        b"Basic cm9vdDpyb290",
        b"Token abc",
        b"",
    ],
)
@pytest.mark.parametrize("server", [*SERVICES[:3], "gateway"])
def test_credentials_of_any_wrong_kind_are_nobodys(world: World, server: str, credentials: bytes) -> None:
    path = {"auth": "/api/auth/me", "orgs": "/api/organizations"}.get(server, "/api/patients")
    answer = world.clients[server].get(path, headers={b"Authorization": credentials})
    assert answer.status_code == 401, answer.text
    assert answer.json()["detail"] in {"Not authenticated", "Invalid token"}


@pytest.mark.parametrize(
    "cookies",
    [
        "access_token",
        "access_token=",
        "access_token=x; XSRF-TOKEN=",
        'access_token="a.b.c',
        "access_token=" + "a" * 5000,
        "=; ;;=,access_token=%00",
        "access_token=a; access_token=b",
        "\u00ff=\u00fe",
    ],
)
def test_broken_cookies_are_nobodys_and_public_routes_ignore_them(world: World, cookies: str) -> None:
    headers = {b"Cookie": cookies.encode("latin-1")}
    client = world.clients["gateway"]
    assert client.get("/api/auth/me", headers=headers).status_code in (400, 401)
    public = client.get("/api/auth/organizations", headers=headers)
    assert public.status_code in (200, 400), public.text


def test_a_body_larger_than_anything_of_ours_is_refused(world: World) -> None:
    for operation in TYPED:
        path = operation.path.format(
            patient_id=world.patient, organisation_id=1, user_id=1, feature_key="teaching"
        )
        content = b'{"name": "' + b"x" * (2 * 1024 * 1024) + b'"}'
        answer = world.call(
            "gateway", Caller.SUPERADMIN, operation.method, path, content=content, headers=JSON
        )
        assert answer.status_code == 413, f"{operation}: {answer.status_code}"
        assert said(answer)


def test_where_no_body_is_listed_none_is_needed_whatever_the_content_type(world: World) -> None:
    for operation in ALL:
        required = any(each.get("required") and each["in"] == "query" for each in parameters(operation))
        if operation.method != "post" or "requestBody" in operation.described or required:
            continue
        for headers in ({}, JSON):
            answer = call(world, operation, headers=headers)
            assert answer.status_code not in (411, 415, 422), f"{operation}: {answer.text}"


def test_there_is_something_to_try() -> None:
    assert len(TYPED) > 10
    assert len(WITH_QUERY) > 5
