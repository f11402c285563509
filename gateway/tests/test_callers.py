"""Who gets in, and what a service learns of them."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from quill_gateway.testing import World
from quill_shared.platform.telemetry import Telemetry
from quill_shared.platform.testing.tokens import TokenMint


async def test_without_credentials_nobody_gets_in(gateway: World) -> None:
    status, headers, body = await gateway.get("/api/patients")
    assert (status, body["detail"], body["error_code"]) == (401, "Not authenticated", "not_authenticated")
    assert headers["WWW-Authenticate"] == "Bearer"
    assert headers["Content-Type"] == "application/problem+json"
    assert gateway.services.seen == []


async def test_a_bearer_token_reaches_the_service_as_it_is(gateway: World) -> None:
    headers = gateway.mint.bearer(7)
    assert (await gateway.get("/api/patients", headers=headers))[0] == 200
    assert gateway.services.last.headers["authorization"] == headers["Authorization"]
    assert gateway.services.last.service == "patients"


async def test_a_cookie_becomes_a_bearer_token_and_is_not_handed_on(gateway: World) -> None:
    token = gateway.mint.token(7)
    await gateway.get(
        "/api/auth/me", headers={"Cookie": f"theme=dark; access_token={token}; refresh_token=r"}
    )
    seen = gateway.services.last
    assert seen.headers["authorization"] == f"Bearer {token}"
    assert "cookie" not in seen.headers


async def test_a_bearer_token_wins_over_the_cookie_even_when_it_is_bad(gateway: World) -> None:
    headers = {**gateway.cookies(1), **gateway.mint.bearer(2)}
    await gateway.get("/api/patients", headers=headers)
    assert gateway.services.last.headers["authorization"] == headers["Authorization"]
    status, _, body = await gateway.get(
        "/api/patients", headers={**gateway.cookies(1), "Authorization": "Bearer nonsense"}
    )
    assert (status, body["detail"]) == (401, "Invalid token")


async def test_another_scheme_is_dropped_and_the_cookie_counts(gateway: World) -> None:
    headers = {**gateway.cookies(3), "Authorization": "Basic dTpw"}
    assert (await gateway.get("/api/patients", headers=headers))[0] == 200
    assert gateway.services.last.headers["authorization"].startswith("Bearer ")
    assert (await gateway.get("/api/patients", headers={"Authorization": "Basic dTpw"}))[0] == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1_700_000_000},
        {"typ": "refresh"},
        {"iss": "elsewhere"},
        {"aud": "elsewhere"},
        {"sub": "x"},
    ],
    ids=str,
)
async def test_a_bad_token_is_invalid(gateway: World, claims: dict[str, Any]) -> None:
    token = gateway.mint.token(1, **claims)
    for headers in ({"Authorization": f"Bearer {token}"}, {"Cookie": f"access_token={token}"}):
        status, _, body = await gateway.get("/api/patients", headers=headers)
        assert (status, body["detail"]) == (401, "Invalid token")
    forged = TokenMint().token(1)
    assert (await gateway.get("/api/patients", headers={"Authorization": f"Bearer {forged}"}))[0] == 401
    assert gateway.services.seen == []


async def test_a_revocation_takes_effect_on_the_next_request(gateway: World) -> None:
    headers = gateway.mint.bearer(5, session_id="s5")
    assert (await gateway.get("/api/patients", headers=headers))[0] == 200
    gateway.revocations.revoke_session("s5", at=datetime.now(UTC), reason="logout")
    status, _, body = await gateway.get("/api/patients", headers=headers)
    assert (status, body["detail"], body["error_code"]) == (401, "Session invalidated", "session_invalidated")

    headers = gateway.mint.bearer(6)
    gateway.revocations.revoke_user(6, not_before=datetime.now(UTC), reason="deactivated")
    assert (await gateway.get("/api/patients", headers=headers))[2]["detail"] == "Inactive user"
    assert (await gateway.get("/api/patients", headers=gateway.mint.bearer(6)))[0] == 200

    gateway.revocations.outdate(7, ver=2)
    body = (await gateway.get("/api/patients", headers=gateway.mint.bearer(7)))[2]
    assert (body["detail"], body["error_code"]) == ("Invalid token", "token_outdated")
    assert (await gateway.get("/api/patients", headers=gateway.mint.bearer(7, ver=2)))[0] == 200


async def test_while_session_state_is_unknown_nobody_is_let_in(gateway: World) -> None:
    gateway.revocations._trusted_until = float("-inf")
    status, headers, body = await gateway.get("/api/patients", headers=gateway.mint.bearer())
    assert (status, body["detail"], headers["Retry-After"]) == (503, "Session state is not known yet", "1")
    assert (await gateway.get("/api/auth/organizations", headers=gateway.cookies()))[0] == 200


@pytest.mark.parametrize(
    "cookies", ["access_token=rubbish", "access_token=", "access_token", "=;;=; ;", "\x80\xff"]
)
async def test_public_routes_ignore_bad_cookies(gateway: World, cookies: str) -> None:
    assert (await gateway.get("/api/auth/organizations", headers={"Cookie": cookies}))[0] == 200
    assert "authorization" not in gateway.services.last.headers
    assert (await gateway.get("/api/patients", headers={"Cookie": cookies}))[0] == 401


async def test_public_routes_ignore_expired_and_revoked_tokens(gateway: World) -> None:
    expired = gateway.mint.token(1, exp=int(time.time()) - 5)
    gateway.revocations.revoke_session("gone", at=datetime.now(UTC), reason="logout")
    for token in (expired, gateway.mint.token(1, session_id="gone")):
        for headers in ({"Cookie": f"access_token={token}"}, {"Authorization": f"Bearer {token}"}):
            assert (await gateway.post("/api/auth/login", headers=headers, json={}))[0] == 200
            assert "authorization" not in gateway.services.last.headers


async def test_the_refresh_token_goes_to_the_refresh_route_and_nowhere_else(gateway: World) -> None:
    headers = {"Cookie": "a=b; refresh_token=opaque; XSRF-TOKEN=x"}
    assert (await gateway.post("/api/auth/refresh", headers=headers))[0] == 200
    assert gateway.services.last.headers["cookie"] == "refresh_token=opaque"
    assert (await gateway.post("/api/auth/login", headers=headers, json={}))[0] == 200
    assert "cookie" not in gateway.services.last.headers


async def test_an_invitation_is_accepted_as_the_signed_in_user_only_with_csrf(gateway: World) -> None:
    await gateway.post("/api/accept-invite", headers=gateway.cookies(4), json={"token": "t"})
    assert "authorization" not in gateway.services.last.headers
    await gateway.post("/api/accept-invite", headers=gateway.browser(4), json={"token": "t"})
    assert gateway.services.last.headers["authorization"].startswith("Bearer ")
    await gateway.post("/api/accept-invite", headers=gateway.mint.bearer(4), json={"token": "t"})
    assert gateway.services.last.headers["authorization"].startswith("Bearer ")


async def test_identity_headers_of_the_client_never_arrive(gateway: World) -> None:
    forged = {
        "X-User-Id": "1",
        "X-User": "root",
        "X_User_Id": "1",
        "X-Quill-Principal": "{}",
        "X-Forwarded-For": "10.0.0.1",
        "X-Forwarded-User": "root",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Real-IP": "10.0.0.1",
        "X-Original-URL": "/api/users",
        "X-HTTP-Method-Override": "DELETE",
        "X-Remote-User": "root",
        "Remote-User": "root",
        "Forwarded": "for=10.0.0.1",
        "True-Client-IP": "10.0.0.1",
        "Referer": "https://pwa.example/?q=a-name",
        "Baggage": "user=1",
        "Proxy-Authorization": "Basic eA==",
    }
    await gateway.get("/api/patients", headers={**gateway.mint.bearer(), **forged})
    seen = gateway.services.last.headers
    assert not {name.lower() for name in forged} & seen.keys() - {
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    }
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-proto"] == "http"
    assert seen["x-forwarded-host"] == f"127.0.0.1:{gateway.port}"


async def test_a_trusted_proxy_names_the_client(open_gateway: Any) -> None:
    gateway = await open_gateway(trusted_proxies=("127.0.0.0/8", "10.0.0.0/8"))

    async def address(chain: str) -> str:
        forwarded = {
            "X-Forwarded-For": chain,
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "quill.example",
        }
        await gateway.get("/api/patients", headers={**gateway.mint.bearer(), **forwarded})
        return str(gateway.services.last.headers["x-forwarded-for"])

    assert await address("203.0.113.9") == "203.0.113.9"
    assert await address("6.6.6.6, 203.0.113.9, 10.1.2.3") == "203.0.113.9"
    assert await address("2001:db8::1") == "2001:db8::1"
    assert await address("203.0.113.9, rubbish") == "127.0.0.1"
    assert gateway.services.last.headers["x-forwarded-proto"] == "https"
    assert gateway.services.last.headers["x-forwarded-host"] == "quill.example"


async def test_repeated_credentials_are_refused_and_repeated_cookies_joined(gateway: World) -> None:
    one, two = (gateway.mint.token(user).encode() for user in (1, 2))
    head = b"GET /api/patients HTTP/1.1\r\nHost: a\r\n"
    twice = b"Authorization: Bearer %s\r\nAuthorization: Bearer %s\r\n\r\n" % (one, two)
    assert (await gateway.raw(head + twice, wait=0.3)).startswith(b"HTTP/1.1 400 ")
    parts = b"Cookie: theme=dark\r\nCookie: access_token=%s\r\n\r\n" % one
    assert (await gateway.raw(head + parts, wait=0.3)).startswith(b"HTTP/1.1 200 ")


async def test_a_request_keeps_its_id_and_its_trace(gateway: World) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {**gateway.mint.bearer(), "X-Request-ID": "client-chosen-1", "traceparent": trace}
    _, answered, _ = await gateway.get("/api/patients", headers=headers)
    assert answered.getall("X-Request-ID") == ["client-chosen-1"]
    assert gateway.services.last.headers["x-request-id"] == "client-chosen-1"
    assert gateway.services.last.headers["traceparent"][3:35] == trace[3:35]
    _, _, body = await gateway.get("/api/patients", headers={"traceparent": trace})
    assert body["trace_id"] == trace[3:35]


async def test_the_services_spans_hang_below_the_gateways(open_gateway: Any) -> None:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry("gateway", processor=SimpleSpanProcessor(exporter))
    gateway = await open_gateway(telemetry=telemetry)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {**gateway.mint.bearer(), "traceparent": trace}
    await gateway.get("/api/patients/Canarygiven?q=Canaryfamily", headers=headers)
    telemetry.close()
    span = next(each for each in exporter.get_finished_spans() if each.name == "GET /api/patients/{id}")
    context = span.get_span_context()
    assert context is not None
    assert span.parent is not None
    assert (f"{context.trace_id:032x}", f"{span.parent.span_id:016x}") == (trace[3:35], trace[36:52])
    assert gateway.services.last.headers["traceparent"] == f"{trace[:36]}{context.span_id:016x}-01"
    assert "Canary" not in span.to_json()


@pytest.mark.parametrize("sent", ["short", "x" * 65, "with space ok", "new;line", "ünï-cödé-1"])
async def test_a_malformed_request_id_is_replaced(gateway: World, sent: str) -> None:
    _, answered, _ = await gateway.get("/api/health", headers={"X-Request-ID": sent})
    assert len(answered.getall("X-Request-ID")) == 1
    assert answered["X-Request-ID"] != sent


async def test_clinical_routes_say_when_the_deployment_has_none(open_gateway: Any) -> None:
    gateway = await open_gateway(clinical_services=False)
    assert (await gateway.get("/api/patients"))[0] == 401
    status, headers, body = await gateway.get("/api/patients", headers=gateway.mint.bearer())
    assert (status, body["detail"]) == (503, "Clinical services are not available in this deployment")
    assert "Retry-After" in headers
    assert (await gateway.get("/api/users", headers=gateway.mint.bearer()))[0] == 200
