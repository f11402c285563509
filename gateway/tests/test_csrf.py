"""Unsafe requests that a cookie authenticates must have been meant."""

import logging
from typing import Any

import pytest
from pydantic import SecretStr

from quill_gateway.routes import ROUTES, Route
from quill_gateway.testing import World
from quill_shared.platform.csrf import CsrfTokens

UNSAFE = [
    route for route in ROUTES if route.method != "GET" and not route.public and not route.same_origin_will_do
]


def path_of(route: Route) -> str:
    return "/".join("x-1" if part.startswith("{") else part for part in route.template.split("/"))


async def test_every_unsafe_route_refuses_a_cookie_without_the_token(gateway: World) -> None:
    for route in UNSAFE:
        status, _, body = await gateway.call(route.method, path_of(route), headers=gateway.cookies())
        detail = body["detail"] if "detail" in body else body["issue"][0]["diagnostics"]
        assert (status, detail) == (403, "CSRF failed"), route
    assert gateway.services.seen == []


async def test_every_unsafe_route_accepts_the_token_of_the_session(gateway: World) -> None:
    headers = gateway.browser()
    for route in UNSAFE:
        assert (await gateway.call(route.method, path_of(route), headers=headers))[0] == 200, route


async def test_a_bearer_token_needs_none(gateway: World) -> None:
    assert (await gateway.post("/api/patients", headers=gateway.mint.bearer(), json={}))[0] == 200
    both = {**gateway.cookies(), **gateway.mint.bearer()}
    assert (await gateway.post("/api/patients", headers=both, json={}))[0] == 200


async def test_reading_needs_none(gateway: World) -> None:
    assert (await gateway.get("/api/patients", headers=gateway.cookies()))[0] == 200


async def test_the_token_must_be_the_sessions_own_in_header_and_cookie(gateway: World) -> None:
    mine, other = gateway.csrf.issue("session-of-1"), gateway.csrf.issue("session-of-2")
    second = gateway.csrf.issue("session-of-1")
    forged = CsrfTokens(SecretStr("kF3v9qLw2Zx7Rt5Yb8Nc1Mh4Jd6Gs0Pa")).issue("session-of-1")
    for header, cookie in [
        (None, mine),
        (mine, None),
        (mine, second),
        (mine, other),
        (other, other),
        (forged, forged),
        ("x", "x"),
        ("", ""),
    ]:
        headers = gateway.cookies(1, csrf=cookie)
        if header is not None:
            headers["X-CSRF-Token"] = header
        status, _, body = await gateway.post("/api/patients", headers=headers, json={})
        assert (status, body["error_code"]) == (403, "csrf_failed"), (header, cookie)
    ok = {**gateway.cookies(1, csrf=mine), "X-CSRF-Token": mine}
    assert (await gateway.post("/api/patients", headers=ok, json={}))[0] == 200


async def test_refresh_and_the_public_routes_are_exempt(gateway: World) -> None:
    headers = gateway.cookies()
    assert (await gateway.post("/api/auth/refresh", headers=headers))[0] == 200
    assert (await gateway.post("/api/auth/login", headers=headers, json={}))[0] == 200


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_push_subscription_takes_our_own_origin_instead(gateway: World, method: str) -> None:
    path, own = "/api/push/subscribe", f"http://127.0.0.1:{gateway.port}"

    async def status(**extra: str) -> int:
        named = {name.replace("_", "-"): value for name, value in extra.items()}
        return (await gateway.call(method, path, headers={**gateway.cookies(), **named}))[0]

    assert await status(Sec_Fetch_Site="same-origin") == 200
    assert await status(Origin=own) == 200
    for refused in (
        {},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": f"{own}.evil.example"},
        {"X_CSRF_Token": "wrong", "Sec_Fetch_Site": "same-origin"},
    ):
        assert await status(**refused) == 403, refused


async def test_no_other_route_takes_an_origin_for_a_token(gateway: World) -> None:
    headers = {
        **gateway.cookies(),
        "Sec-Fetch-Site": "same-origin",
        "Origin": f"http://127.0.0.1:{gateway.port}",
    }
    for path in ("/api/push/register", "/api/push/send-test", "/api/patients"):
        assert (await gateway.post(path, headers=headers, json={}))[0] == 403


async def test_a_configured_address_is_the_only_own_origin(open_gateway: Any) -> None:
    gateway = await open_gateway(public_url="https://quill.example/", cors_origins=("https://pwa.example",))

    async def status(origin: str) -> int:
        headers = {**gateway.cookies(), "Origin": origin}
        return int((await gateway.post("/api/push/subscribe", headers=headers, json={}))[0])

    assert await status("https://quill.example") == 200
    assert await status("https://pwa.example") == 200
    assert await status(f"http://127.0.0.1:{gateway.port}") == 403
    assert await status("http://quill.example") == 403


async def test_a_failure_is_logged_without_the_address_as_typed(
    gateway: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "quill_gateway.edge"):
        await gateway.post("/api/patients/patient-7/activate?q=secret", headers=gateway.cookies())
    record = next(record for record in caplog.records if record.message == "csrf failed")
    assert record.__dict__["route"] == "/api/patients/{id}/activate"
    assert "secret" not in str(record.__dict__)


async def test_keys_rotate(open_gateway: Any) -> None:
    old, new = "kF3v9qLw2Zx7Rt5Yb8Nc1Mh4Jd6Gs0Pa", "Wq8Ln2Vb6Xs4Ke0Tz9Hd3Gf7Jm1Rc5Py"
    gateway = await open_gateway(csrf_key=new, csrf_previous_key=old)
    for key in (old, new):
        token = CsrfTokens(SecretStr(key)).issue("session-of-1")
        headers = {**gateway.cookies(1, csrf=token), "X-CSRF-Token": token}
        assert (await gateway.post("/api/patients", headers=headers, json={}))[0] == 200
