"""The caller of the API: signing in, patience, and what is not tried twice."""

import asyncio

import httpx
import pytest

from quill_cli.api import Credentials, api, retry_after
from quill_cli.errors import CommandError, RefusedError, SignInError, UnreachableError, explanation

from .support import FakeQuill, problem

LIST = "/api/organizations"


async def test_one_sign_in_serves_many_calls_at_once(quill: FakeQuill) -> None:
    async with quill.api() as api:
        await asyncio.gather(*(api.request("GET", LIST) for _ in range(10)))
    assert quill.tokens == 1


async def test_a_token_that_ran_out_is_renewed_once_for_all(quill: FakeQuill) -> None:
    async with quill.api() as api:
        await api.request("GET", LIST)
        quill.outdated.add("token-1")
        answers = await asyncio.gather(*(api.request("GET", LIST) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert quill.tokens == 2


async def test_wrong_credentials_are_one_sentence(quill: FakeQuill) -> None:
    async with quill.api(Credentials("admin", "wrong")) as api:
        with pytest.raises(SignInError, match="admin cannot sign in: Invalid credentials"):
            await api.request("GET", LIST)


async def test_a_given_token_is_used_and_never_renewed(quill: FakeQuill) -> None:
    async with quill.api(Credentials(token="token-x")) as api:
        assert (await api.request("GET", LIST)).status_code == 200
        quill.outdated.add("token-x")
        with pytest.raises(SignInError, match="has run out"):
            await api.request("GET", LIST)
    assert quill.tokens == 0


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_followed(quill: FakeQuill, no_waiting: list[float], status: int) -> None:
    quill.trouble[LIST] = [problem(status, "later", "later", **{"Retry-After": "2"})]
    async with quill.api() as api:
        assert (await api.request("GET", LIST)).status_code == 200
    assert no_waiting == [2.0]


async def test_patience_ends(quill: FakeQuill) -> None:
    quill.trouble[LIST] = [problem(503, "Down for maintenance", "unavailable", **{"Retry-After": "3600"})]
    async with quill.api() as api:
        with pytest.raises(UnreachableError, match=r"Down for maintenance \(status 503\)"):
            await api.request("GET", LIST)


async def test_a_write_whose_fate_is_unknown_is_not_repeated(quill: FakeQuill) -> None:
    quill.trouble[LIST] = [httpx.ReadError("broken"), problem(502, "bad", "bad_gateway")]
    async with quill.api() as api:
        with pytest.raises(UnreachableError):
            await api.request("POST", LIST, json={})
        assert (await api.request("POST", LIST, json={})).status_code == 502


async def test_a_repeatable_write_is_repeated(quill: FakeQuill) -> None:
    quill.trouble[LIST] = [httpx.ReadError("broken"), problem(502, "bad", "bad_gateway")]
    async with quill.api() as api:
        assert (await api.request("POST", LIST, json={}, repeatable=True)).status_code == 200


async def test_a_server_that_is_not_there_is_one_sentence(quill: FakeQuill) -> None:
    quill.trouble["/api/auth/token"] = [httpx.ConnectError("refused")] * 2
    async with quill.api(patience=-1) as api:
        with pytest.raises(UnreachableError, match=r"http://quill\.example cannot be reached"):
            await api.request("GET", LIST)


async def test_expected_answers_are_documents_and_others_errors(quill: FakeQuill) -> None:
    quill.trouble["/x"] = [problem(409, "There", "there"), problem(409, "There", "there")]
    async with quill.api() as api:
        assert (await api.expect("GET", "/x", 409))["detail"] == "There"
        with pytest.raises(RefusedError, match=r"GET /x was refused: There \(status 409\)") as raised:
            await api.expect("GET", "/x")
    assert (raised.value.status, raised.value.code) == (409, "there")


async def test_pages_are_followed(quill: FakeQuill) -> None:
    quill.trouble["/pages"] = [
        httpx.Response(200, json={"items": [1, 2], "next_cursor": "c"}),
        httpx.Response(200, json={"items": [3], "next_cursor": None}),
    ]
    async with quill.api() as api:
        assert [each async for each in api.pages("/pages", "items")] == [1, 2, 3]


async def test_an_address_is_checked() -> None:
    quill = FakeQuill()
    with pytest.raises(CommandError, match="is not an address"):
        async with api("localhost:8000", Credentials()):
            pass
    assert quill.calls == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3", 3.0),
        ("0", 0.1),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0.1),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str, expected: float | None) -> None:
    assert retry_after(httpx.Response(503, headers={"Retry-After": value})) == expected


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"issue": [{"expression": ["Patient.gender"], "diagnostics": "no"}, {"code": "invalid"}]},
         "Patient.gender: no; invalid"),
        ({"issue": [{"details": {"text": "because"}}]}, "because"),
        ({"detail": "x", "errors": [{"loc": ["body", "name"], "msg": "missing"}]}, "body.name: missing"),
        ({"detail": "Forbidden."}, "Forbidden"),
        ({"error": "invalid_grant", "error_description": "Invalid credentials"}, "Invalid credentials"),
        ([], "no reason given"),
    ],
)  # fmt: skip
def test_explanations(document: object, text: str) -> None:
    assert explanation(httpx.Response(400, json=document)) == text


def test_an_answer_that_is_no_json_explains_nothing() -> None:
    assert explanation(httpx.Response(502, text="<html>")) == "no reason given"
