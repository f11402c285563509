"""What passes through, unchanged and as a stream, and what becomes of a service's failures."""

import asyncio
import contextlib
import gzip
import socket
from typing import Any

import pytest

from quill_gateway.testing import World
from quill_shared.platform.testing.tokens import TokenMint


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_method_path_query_and_body_arrive(gateway: World, method: str) -> None:
    paths = {"PUT": "/api/organizations/3", "PATCH": "/api/users/3", "DELETE": "/api/auth/sessions/3"}
    path = paths.get(method, "/api/users")
    body = b'{"name": "\xc3\xa9"}' if method in ("POST", "PUT", "PATCH") else None
    headers = {
        **gateway.mint.bearer(),
        "Content-Type": "application/json",
        "If-Match": '"1"',
        "Accept": "x/y",
    }
    status, _, _ = await gateway.call(method, f"{path}?a=1&b=%20", headers=headers, data=body)
    seen = gateway.services.last
    assert (status, seen.method, seen.path, seen.query) == (200, method, path, "a=1&b=%20")
    assert seen.body == (body or b"")
    assert (seen.headers["content-type"], seen.headers["if-match"]) == ("application/json", '"1"')
    assert seen.headers["accept"] == "x/y"


async def test_nothing_is_added_to_what_the_client_says_of_itself(gateway: World) -> None:
    answer = await gateway.raw(
        b"POST /api/auth/logout HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n\r\n"
        % gateway.mint.token().encode(),
        wait=0.3,
    )
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert gateway.services.last.headers.keys() == {
        "host",
        "authorization",
        "content-length",
        "traceparent",
        "x-request-id",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
    }


@pytest.mark.parametrize("status", [200, 201, 204, 301, 304, 400, 404, 409, 412, 422, 500, 503])
async def test_the_answer_passes_as_it_is(gateway: World, status: int) -> None:
    body = b"" if status in (204, 304) else b'{"x": 1}'
    gateway.services.answer(body, status=status, etag='"7"', location="/somewhere", retry_after="9")
    answered, headers, _ = await gateway.get("/api/patients", headers=gateway.mint.bearer())
    assert (answered, headers["ETag"], headers["Location"], headers["Retry-After"]) == (
        status,
        '"7"',
        "/somewhere",
        "9",
    )


async def test_an_unchanged_resource_may_tell_the_length_it_would_have(open_gateway: Any) -> None:
    server, port = await raw_service(b'HTTP/1.1 304 Not Modified\r\nETag: "7"\r\nContent-Length: 500\r\n\r\n')
    async with server:
        gateway = await open_gateway(patients_url=f"http://127.0.0.1:{port}")
        status, headers, body = await gateway.get("/api/patients/p", headers=gateway.mint.bearer())
    assert (status, headers["ETag"], body) == (304, '"7"', b"")


async def test_cookies_pass_one_by_one(gateway: World) -> None:
    async def login(scope: Any, receive: Any, send: Any) -> None:
        cookies = [
            (b"set-cookie", b"access_token=a; HttpOnly"),
            (b"set-cookie", b"refresh_token=b; HttpOnly"),
        ]
        headers = [*cookies, (b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    gateway.services.behaviour = login
    _, headers, _ = await gateway.post("/api/auth/login", json={})
    assert headers.getall("Set-Cookie") == ["access_token=a; HttpOnly", "refresh_token=b; HttpOnly"]


async def test_compressed_answers_are_not_touched(gateway: World) -> None:
    packed = gzip.compress(b'{"x": 1}' * 100)
    gateway.services.answer(packed, content_encoding="gzip")
    asked = {**gateway.mint.bearer(), "Accept-Encoding": "gzip"}
    answer = await gateway.raw(
        b"GET /api/patients HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        + b"".join(f"{name}: {value}\r\n".encode() for name, value in asked.items())
        + b"\r\n"
    )
    assert answer.endswith(packed)


async def test_headers_of_the_hop_and_of_the_machinery_stay_behind(gateway: World) -> None:
    gateway.services.answer(
        {},
        connection="keep-alive, x-secret-hop",
        keep_alive="timeout=5",
        server="uvicorn/1.0",
        x_powered_by="python",
        x_secret_hop="1",
        x_request_id="not-yours-1",
        access_control_allow_origin="*",
        content_security_policy="default-src *",
        x_frame_options="ALLOWALL",
        proxy_authenticate="Basic",
    )
    _, headers, _ = await gateway.get("/api/patients", headers=gateway.mint.bearer())
    for name in ("Keep-Alive", "Server", "X-Powered-By", "X-Secret-Hop", "Access-Control-Allow-Origin"):
        assert name not in headers
    assert "Proxy-Authenticate" not in headers
    assert headers.getall("X-Frame-Options") == ["DENY"]
    assert headers.getall("Content-Security-Policy")[0].startswith("default-src 'none'")
    assert len(headers.getall("Content-Security-Policy")) == 1
    assert headers["X-Request-ID"] != "not-yours-1"
    assert len(headers.getall("Date", [])) <= 1


async def test_head_is_get_without_a_body(gateway: World) -> None:
    gateway.services.answer({"x": "y" * 100})
    status, headers, body = await gateway.call("HEAD", "/api/patients", headers=gateway.mint.bearer())
    assert (status, body, int(headers["Content-Length"])) == (200, b"", 109)
    assert gateway.services.last.method == "GET"
    assert (await gateway.call("HEAD", "/api/health"))[0] == 200


async def test_answers_flow_as_they_come(gateway: World) -> None:
    release = asyncio.Event()

    async def slowly(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await release.wait()
        await send({"type": "http.response.body", "body": b"last"})

    gateway.services.behaviour = slowly
    url = gateway.url / "api/patients/p/letters/u/pdf"
    async with gateway.client.get(url, headers=gateway.mint.bearer()) as response:
        assert await response.content.readany() == b"first"
        release.set()
        assert await response.content.readany() == b"last"


async def test_an_upload_reaches_its_service_once_it_is_whole(gateway: World) -> None:
    reached = asyncio.Event()

    async def noticing(scope: Any, receive: Any, send: Any) -> None:
        reached.set()
        assert (await receive())["body"] == b"firstlast"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async def parts() -> Any:
        yield b"first"
        await asyncio.sleep(0.1)
        assert not reached.is_set()
        yield b"last"

    gateway.services.behaviour = noticing
    assert (await gateway.post("/api/patients", headers=gateway.mint.bearer(), data=parts()))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "is_safe"),
    [
        ("GET", "/api/patients", True),
        ("HEAD", "/api/patients", True),
        ("POST", "/api/patients", False),
        ("PUT", "/api/patients/p/demographics", False),
        ("PATCH", "/api/users/1", False),
        ("DELETE", "/api/patients/p/external-access/1", False),
    ],
)
async def test_only_what_changes_nothing_is_sent_again(
    open_gateway: Any, method: str, path: str, is_safe: bool
) -> None:
    """A service may do what it is asked and die before it says so."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        with contextlib.suppress(asyncio.IncompleteReadError):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        gateway = await open_gateway(patients_url=address, auth_url=address)
        warm = "/api/users" if path.endswith("/1") else "/api/patients"
        assert (await gateway.get(warm, headers=gateway.mint.bearer()))[0] == 200
        status, _, body = await gateway.call(method, path, headers=gateway.mint.bearer())
        for name in ("auth", "patients"):
            await gateway.gateway.upstreams[name].session.close()
    if is_safe:
        assert (status, len(requests)) == (200, 3)
    else:
        assert (status, body["error_code"], len(requests)) == (502, "upstream_bad_answer", 2)


async def test_a_large_answer_arrives_whole(gateway: World) -> None:
    body = bytes(range(256)) * 20_000
    gateway.services.answer(body, content_type="application/pdf")
    status, headers, received = await gateway.get(
        "/api/patients/p/letters/u/pdf", headers=gateway.mint.bearer()
    )
    assert (status, received == body, headers["Content-Length"]) == (200, True, str(len(body)))


async def test_redirects_are_the_clients_business(gateway: World) -> None:
    gateway.services.answer(b"", status=307, location="http://169.254.169.254/latest")
    status, headers, _ = await gateway.get("/api/patients", headers=gateway.mint.bearer())
    assert (status, headers["Location"]) == (307, "http://169.254.169.254/latest")
    assert len(gateway.services.seen) == 1


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_service_that_is_down_is_503(open_gateway: Any) -> None:
    gateway = await open_gateway(patients_url=f"http://127.0.0.1:{unused_port()}")
    status, headers, body = await gateway.get("/api/patients", headers=gateway.mint.bearer())
    assert (status, body["error_code"]) == (503, "service_unavailable")
    assert body["detail"] == "The patients service cannot be reached"
    assert int(headers["Retry-After"]) >= 1
    assert (await gateway.get("/api/users", headers=gateway.mint.bearer()))[0] == 200


async def test_a_service_that_says_nothing_is_504(open_gateway: Any) -> None:
    gateway = await open_gateway(upstream_deadline_seconds=0.2)

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(2)

    gateway.services.behaviour = silent
    status, _, body = await gateway.get("/api/patients", headers=gateway.mint.bearer())
    assert (status, body["error_code"]) == (504, "upstream_timeout")


async def raw_service(answer: bytes) -> tuple[asyncio.Server, int]:
    """A server that answers every request with the same bytes and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nTraceback",
        b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
        b"HTTP/1.1 200 OK\r\nX-Huge: " + b"x" * 40_000 + b"\r\n\r\n",
    ],
    ids=lambda answer: repr(answer[:40]),
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_service_that_talks_nonsense_is_502(open_gateway: Any, answer: bytes) -> None:
    server, port = await raw_service(answer)
    async with server:
        gateway = await open_gateway(patients_url=f"http://127.0.0.1:{port}")
        status, _, body = await gateway.get("/api/patients", headers=gateway.mint.bearer())
    assert (status, body["error_code"]) == (502, "upstream_bad_answer")
    assert body["detail"] == "The patients service gave an unusable answer"
    assert "Traceback" not in str(body)


async def test_an_answer_cut_off_in_the_middle_is_cut_off_for_the_client_too(open_gateway: Any) -> None:
    server, port = await raw_service(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    async with server:
        gateway = await open_gateway(patients_url=f"http://127.0.0.1:{port}")
        answer = await gateway.raw(
            b"GET /api/patients HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n\r\n"
            % gateway.mint.token().encode()
        )
    assert b"hello" in answer
    assert not answer.endswith(b"0\r\n\r\n")


async def test_a_service_that_answers_before_the_upload_ended_is_heard(gateway: World) -> None:
    async def hasty(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 422, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    async def parts() -> Any:
        for _ in range(10):
            yield b"x" * 1000
            await asyncio.sleep(0.01)

    gateway.services.behaviour = hasty
    status, _, _ = await gateway.post("/api/patients", headers=gateway.mint.bearer(), data=parts())
    assert status == 422


async def test_a_fault_of_our_own_is_a_500_that_says_nothing(
    gateway: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(gateway.gateway.upstreams["patients"]), "send", broken)
    status, headers, body = await gateway.get("/api/patients", headers=gateway.mint.bearer())
    assert (status, body["detail"], body["error_code"]) == (500, "Internal server error", "internal_error")
    assert "secret" not in str(body)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "request failed" in caplog.text


async def test_every_answer_carries_the_security_headers(open_gateway: Any) -> None:
    gateway = await open_gateway()
    bearer = gateway.mint.bearer()
    large = {f"X-{number}": "1" for number in range(70)}
    answers = [
        await gateway.get("/api/patients", headers=bearer),
        await gateway.get("/api/patients"),
        await gateway.get("/api/unknown"),
        await gateway.call("DELETE", "/api/users"),
        await gateway.get("/api/patients/%2e%2e"),
        await gateway.get("/api/health", headers=large),
        await gateway.post("/api/patients", headers=gateway.cookies()),
        await gateway.get("/api/health"),
        await gateway.get("/health/live"),
        await gateway.call("OPTIONS", "/api/users"),
    ]
    assert sorted(status for status, _, _ in answers) == [200, 200, 200, 204, 400, 401, 403, 404, 405, 431]
    for _, headers, _ in answers:
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Strict-Transport-Security"].startswith("max-age=31536000")
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert len(headers.getall("X-Request-ID")) == 1
        assert "Server" not in headers


async def test_development_is_without_hsts_and_caching_stays_the_services_choice(open_gateway: Any) -> None:
    gateway = await open_gateway(env="development")
    gateway.services.answer({}, cache_control="private, max-age=60")
    _, headers, _ = await gateway.get("/api/patients", headers=gateway.mint.bearer())
    assert "Strict-Transport-Security" not in headers
    assert headers.getall("Cache-Control") == ["private, max-age=60"]


async def test_errors_below_the_fhir_facade_are_operation_outcomes(gateway: World) -> None:
    status, headers, body = await gateway.get("/api/fhir/Patient/p1")
    assert (status, headers["Content-Type"]) == (401, "application/fhir+json")
    assert body["resourceType"] == "OperationOutcome"
    assert body["issue"] == [
        {
            "severity": "error",
            "code": "login",
            "details": {"coding": [{"code": "not_authenticated"}]},
            "diagnostics": "Not authenticated",
        }
    ]
    assert (await gateway.get("/api/fhir/patients/p1"))[1]["Content-Type"] == "application/problem+json"


async def test_many_requests_at_once(gateway: World, mint: TokenMint) -> None:
    calls = [
        gateway.get(f"/api/patients/p{number}", headers=mint.bearer(number + 1)) for number in range(150)
    ]
    assert {status for status, _, _ in await asyncio.gather(*calls)} == {200}
    assert len({seen.path for seen in gateway.services.seen}) == 150
