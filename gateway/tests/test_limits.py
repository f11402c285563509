"""How much a client may send, and how often."""

import asyncio
import time
from io import BytesIO
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from quill_gateway.clients import Clients
from quill_gateway.limiter import RateLimiter
from quill_gateway.settings import GatewaySettings
from quill_gateway.testing import World
from quill_shared.platform.errors import TooManyRequests
from quill_shared.platform.testing.services import secret

KIB = 1024


def upload(gateway: World, *, length: int) -> bytes:
    """The head of a request that announces a body."""
    token = gateway.mint.token().encode()
    return (
        b"POST /api/patients HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n"
        % (token, length)
    )


async def test_a_body_up_to_the_limit_arrives_whole(gateway: World) -> None:
    for size in (0, 1, 64 * KIB, 300 * KIB, 1024 * KIB):
        body = b"x" * size
        status, _, _ = await gateway.post("/api/patients", headers=gateway.mint.bearer(), data=body)
        assert (status, gateway.services.last.body == body) == (200, True), size
        assert gateway.services.last.headers["content-length"] == str(size)


async def test_a_body_of_unknown_length_arrives_whole(gateway: World) -> None:
    async def parts() -> Any:
        for _ in range(20):
            yield b"y" * 10 * KIB
            await asyncio.sleep(0)

    status, _, _ = await gateway.post("/api/patients", headers=gateway.mint.bearer(), data=parts())
    assert (status, gateway.services.last.body) == (200, b"y" * 200 * KIB)


async def test_a_declared_body_beyond_the_limit_is_413_before_anything_else(gateway: World) -> None:
    large = b"x" * (1024 * KIB + 1)
    status, headers, body = await gateway.post("/api/patients", data=BytesIO(large))
    assert (status, body["error_code"]) == (413, "body_too_large")
    assert body["detail"] == "The request body is too large"
    assert headers["Connection"] == "close"
    assert (await gateway.post("/api/unknown", data=BytesIO(large)))[0] == 404
    assert gateway.services.seen == []


async def test_a_body_that_turns_out_too_large_is_413(gateway: World) -> None:
    async def parts() -> Any:
        for _ in range(40):
            yield b"y" * 64 * KIB

    status, _, body = await gateway.post("/api/patients", headers=gateway.mint.bearer(), data=parts())
    assert (status, body["error_code"]) == (413, "body_too_large")
    assert gateway.services.seen == []


async def test_the_limit_is_a_setting(open_gateway: Any) -> None:
    gateway = await open_gateway(max_body_bytes=10)
    assert (await gateway.post("/api/patients", headers=gateway.mint.bearer(), data=b"x" * 10))[0] == 200
    assert (await gateway.post("/api/patients", headers=gateway.mint.bearer(), data=b"x" * 11))[0] == 413


async def test_a_client_that_stops_in_mid_body_is_408(open_gateway: Any) -> None:
    gateway = await open_gateway(body_idle_seconds=0.2)
    answer = await gateway.raw(upload(gateway, length=100) + b"x" * 5)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert gateway.services.seen == []


async def test_a_body_that_trickles_is_408_at_the_deadline(open_gateway: Any) -> None:
    gateway = await open_gateway(body_idle_seconds=0.4, body_deadline_seconds=1.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    started = time.monotonic()
    writer.write(upload(gateway, length=100))

    async def trickle() -> None:
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.2)

    trickling = asyncio.create_task(trickle())
    try:
        async with asyncio.timeout(5):
            answer = await reader.readuntil(b"\r\n\r\n")
    finally:
        trickling.cancel()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert 0.9 < time.monotonic() - started < 2.5
    assert gateway.services.seen == []
    assert gateway.gateway.body_memory.held == 0


async def test_slow_clients_hold_no_connection_to_a_service(open_gateway: Any) -> None:
    gateway = await open_gateway(upstream_connections=2)
    slow = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(2)]
    for _, writer in slow:
        writer.write(upload(gateway, length=100) + b"x")
    await asyncio.sleep(0.1)
    async with asyncio.timeout(2):
        status, _, _ = await gateway.post("/api/patients", headers=gateway.mint.bearer(), data=b"x" * 10)
    assert status == 200
    for reader, writer in slow:
        writer.write(b"x" * 99)
        async with asyncio.timeout(2):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()
    assert [len(seen.body) for seen in gateway.services.seen] == [10, 100, 100]


async def test_health_is_told_while_a_service_is_at_its_limit(open_gateway: Any) -> None:
    gateway = await open_gateway(upstream_connections=1)
    busy, release = asyncio.Event(), asyncio.Event()

    async def slowly(scope: Any, receive: Any, send: Any) -> None:
        busy.set()
        await release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    gateway.services.behaviour = slowly
    gateway.services.answer({"status": "ready"}, at="patients/health/ready")
    call = asyncio.create_task(gateway.get("/api/patients", headers=gateway.mint.bearer()))
    await busy.wait()
    _, _, body = await gateway.get("/api/health")
    assert body["services"]["patients"] == {"available": True}
    release.set()
    assert (await call)[0] == 200


async def test_the_bodies_of_one_address_are_bounded_and_those_of_others_are_served(
    open_gateway: Any,
) -> None:
    gateway = await open_gateway(
        max_body_bytes=1000,
        body_memory_bytes_per_address=1500,
        body_memory_bytes=2000,
        trusted_proxies=("127.0.0.1/32",),
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(upload(gateway, length=1000) + b"x" * 900)
    await asyncio.sleep(0.1)

    async def post(size: int, address: str) -> tuple[int, Any, Any]:
        headers = {**gateway.mint.bearer(), "X-Forwarded-For": address}
        answer: tuple[int, Any, Any] = await gateway.post("/api/patients", headers=headers, data=b"y" * size)
        return answer

    status, headers, body = await post(700, "127.0.0.1")
    assert (status, body["error_code"], headers["Retry-After"]) == (429, "too_many_requests", "1")
    assert (await post(500, "127.0.0.1"))[0] == 200
    assert (await post(1000, "203.0.113.1"))[0] == 200
    gateway.gateway.body_memory.take("203.0.113.2", 500)
    status, headers, body = await post(900, "203.0.113.1")
    assert (status, body["error_code"], headers["Retry-After"]) == (503, "gateway_busy", "1")
    gateway.gateway.body_memory.give_back("203.0.113.2", 500)
    writer.write(b"x" * 100)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    assert (gateway.gateway.body_memory.held, len(gateway.gateway.body_memory)) == (0, 0)


def test_one_body_must_fit() -> None:
    with pytest.raises(ValidationError, match="max_body_bytes must not exceed"):
        GatewaySettings(
            env="production",
            service_key=SecretStr(secret()),
            csrf_key=SecretStr(secret()),
            max_body_bytes=32 * KIB * KIB,
        )


async def test_a_client_that_hangs_up_in_mid_body_leaves_nothing_behind(gateway: World) -> None:
    await gateway.raw(upload(gateway, length=900_000) + b"x" * 200_000, wait=0.1)
    await asyncio.sleep(0.1)
    assert (await gateway.get("/api/patients", headers=gateway.mint.bearer()))[0] == 200
    assert [seen.method for seen in gateway.services.seen] == ["GET"]
    assert gateway.gateway.body_memory.held == 0


async def test_headers_have_a_size_and_a_number(gateway: World) -> None:
    many = {f"X-{number}": "1" for number in range(70)}
    assert (await gateway.get("/api/health", headers=many))[0] == 431
    status, _, body = await gateway.get("/api/health", headers={"X-Long": "x" * 17 * KIB})
    assert (status, body["error_code"]) == (431, "headers_too_large")
    assert (await gateway.get("/api/unknown", headers=many))[0] == 404


async def test_a_session_that_runs_wild_is_slowed_and_others_are_not(open_gateway: Any) -> None:
    gateway = await open_gateway(session_rate=1, session_burst=5)
    wild, other = gateway.mint.bearer(1), gateway.mint.bearer(2)
    # The first use of a token counts for the address; it is not known to be good yet.
    statuses = [(await gateway.get("/api/patients", headers=wild))[0] for _ in range(7)]
    assert statuses == [200] * 6 + [429]
    status, headers, body = await gateway.get("/api/patients", headers=wild)
    assert (status, body["error_code"], body["detail"]) == (429, "too_many_requests", "Too many requests")
    assert int(headers["Retry-After"]) >= 1
    assert (await gateway.get("/api/patients", headers=other))[0] == 200


async def test_an_address_is_limited_before_its_tokens_are_looked_at(open_gateway: Any) -> None:
    gateway = await open_gateway(address_rate=1, address_burst=4)
    bad = [{"Authorization": f"Bearer a.b.{number}"} for number in range(6)]
    statuses = [(await gateway.get("/api/patients", headers=each))[0] for each in bad]
    assert statuses == [401] * 4 + [429] * 2
    assert (await gateway.get("/api/health"))[0] == 429


async def test_the_address_behind_a_trusted_proxy_is_what_counts(open_gateway: Any) -> None:
    gateway = await open_gateway(address_rate=1, address_burst=2, trusted_proxies=("127.0.0.1/32",))

    async def statuses(*addresses: str) -> list[int]:
        return [
            (await gateway.get("/api/health", headers={"X-Forwarded-For": each}))[0] for each in addresses
        ]

    assert await statuses("203.0.113.1", "203.0.113.1", "203.0.113.1", "203.0.113.2") == [200, 200, 429, 200]
    # One customer holds a whole /64.
    assert await statuses("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:1::1") == [
        200,
        200,
        429,
        200,
    ]


async def test_an_address_with_a_port_is_the_same_client(open_gateway: Any) -> None:
    gateway = await open_gateway(trusted_proxies=("127.0.0.1/32", "10.0.0.0/8"))
    for written, told in (
        ("203.0.113.1:443", "203.0.113.1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("203.0.113.1:443, 10.0.0.1:80", "203.0.113.1"),
        ("203.0.113.1:", "127.0.0.1"),
        ("203.0.113.1:443:443", "127.0.0.1"),
        ("[203.0.113.1", "127.0.0.1"),
        ("somebody:443", "127.0.0.1"),
    ):
        headers = {**gateway.mint.bearer(), "X-Forwarded-For": written}
        await gateway.get("/api/patients", headers=headers)
        assert gateway.services.last.headers["x-forwarded-for"] == told, written


def test_an_ipv4_address_counts_as_itself_however_the_peer_is_written() -> None:
    clients = Clients(())
    for peer in ("1.2.3.4", "::ffff:1.2.3.4", "::ffff:102:304"):
        assert clients.identify(peer, "http", {}).key == "1.2.3.4"
    assert clients.identify("", "http", {}).key == ""


def test_a_bucket_fills_again() -> None:
    now = [0.0]
    limiter = RateLimiter(10, 5, clock=lambda: now[0])
    for _ in range(5):
        limiter.take("a")
    with pytest.raises(TooManyRequests):
        limiter.take("a")
    now[0] += 0.1
    limiter.take("a")
    with pytest.raises(TooManyRequests) as refused:
        limiter.take("a")
    assert refused.value.headers["Retry-After"] == "1"
    now[0] += 100
    for _ in range(5):
        limiter.take("a")


def test_the_memory_for_clients_is_bounded() -> None:
    now = [0.0]
    limiter = RateLimiter(1, 10, max_keys=100, clock=lambda: now[0])
    for number in range(1000):
        limiter.take(number)
        now[0] += 0.001
    assert len(limiter) <= 100
    now[0] += 1000
    limiter.take("new")
    assert len(limiter) == 1, "those whose bucket is full are forgotten first"
