"""Requests that two HTTP parsers could take apart differently (RFC 9112 §11.2), on the socket itself."""

import asyncio
import time

import pytest

from quill_gateway import protocol
from quill_gateway.testing import World

HEAD = b"POST /api/patients HTTP/1.1\r\nHost: a\r\n"


def request(token: str, *headers: bytes, body: bytes = b"") -> bytes:
    lines = b"".join(header + b"\r\n" for header in (b"Authorization: Bearer " + token.encode(), *headers))
    return HEAD + lines + b"\r\n" + body


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ((b"Content-Length: 5", b"Content-Length: 6"), b"hello!"),
        ((b"Content-Length: 5", b"Content-Length: 5"), b"hello"),
        ((b"Content-Length: 5, 5",), b"hello"),
        ((b"Content-Length: 5, 6",), b"hello"),
        ((b"Content-Length: +5",), b"hello"),
        ((b"Content-Length: -5",), b"hello"),
        ((b"Content-Length: 0x5",), b"hello"),
        ((b"Content-Length: 5 5",), b"hello"),
        ((b"Content-Length:",), b""),
        ((b"Content-Length: 99999999999999999999999999",), b""),
        ((b"Content-Length : 5",), b"hello"),
        ((b"Content-Length: 5", b"Transfer-Encoding: chunked"), b"0\r\n\r\n"),
        ((b"Transfer-Encoding: chunked", b"Content-Length: 5"), b"0\r\n\r\n"),
        ((b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), b"0\r\n\r\n"),
        ((b"Transfer-Encoding: gzip",), b"x"),
        ((b"Transfer-Encoding: chunked, gzip",), b"0\r\n\r\n"),
        ((b"Transfer-Encoding: xchunked",), b"0\r\n\r\n"),
        ((b"Transfer-Encoding : chunked",), b"0\r\n\r\n"),
        ((b"Transfer-Encoding:\x0bchunked",), b"0\r\n\r\n"),
        ((b"Transfer-Encoding: chunked",), b"xyz\r\nhello\r\n0\r\n\r\n"),
        ((b"Transfer-Encoding: chunked",), b"-1\r\nhello\r\n0\r\n\r\n"),
        ((b"Transfer-Encoding: chunked",), b"5\rhello\r\n0\r\n\r\n"),
        ((b"Transfer-Encoding: chunked",), b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ((b" folded: x",), b""),
        ((b"X-Folded: a\r\n b",), b""),
        ((b"X-Nul: a\x00b",), b""),
        ((b"X-CR: a\rb",), b""),
        ((b"Bad Name: x",), b""),
        ((b": empty",), b""),
        ((b"NoColon",), b""),
        ((b"Host: b",), b""),
        ((b"Content-Type: application/json", b"Content-Type: text/plain"), b""),
    ],
    ids=lambda value: repr(value)[:60],
)
async def test_contradictory_or_broken_framing_is_refused(
    gateway: World, headers: tuple[bytes, ...], body: bytes
) -> None:
    smuggled = b"GET /api/users HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = await gateway.raw(request(gateway.mint.token(), *headers, body=body) + smuggled, wait=0.5)
    assert answer[9:12] in (b"400", b"413"), answer[:300]
    assert b"application/problem+json" in answer
    assert b"x-content-type-options: nosniff" in answer
    assert b"x-request-id: " in answer
    assert [seen for seen in gateway.services.seen if seen.body or seen.method != "POST"] == []


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n\x16\x03\x01\x02\x00\x01\x00",
        b"GARBAGE\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /api/health\r\n\r\n",
        b"GET /api/health HTTP/9.9\r\n\r\n",
        b"GET /api/health HTTP/1.1\r\n\r\n",
        b"GET /api/hea lth HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /api/\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET api/health HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"BREW /api/health HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=repr,
)
async def test_what_is_not_a_request_of_ours_is_refused(gateway: World, sent: bytes) -> None:
    answer = await gateway.raw(sent, wait=0.5)
    assert answer == b"" or answer[9:10] == b"4", answer[:200]
    assert (await gateway.get("/api/health"))[0] == 200


async def test_a_chunked_body_arrives_framed_anew(gateway: World) -> None:
    sent = request(
        gateway.mint.token(),
        b"Transfer-Encoding: chunked",
        body=b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-T: 1\r\n\r\n",
    )
    assert (await gateway.raw(sent, wait=0.3)).startswith(b"HTTP/1.1 200 ")
    seen = gateway.services.last
    assert seen.body == b"hello world"
    assert "x-t" not in seen.headers


async def test_pipelined_requests_are_answered_in_turn(gateway: World) -> None:
    one = b"GET /api/auth/organizations HTTP/1.1\r\nHost: a\r\n\r\n"
    two = b"GET /api/unknown HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = await gateway.raw(one + two)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.index(b"HTTP/1.1 404 ") > 0
    assert [seen.path for seen in gateway.services.seen] == ["/api/auth/organizations"]


async def test_what_follows_a_body_is_a_request_of_its_own(gateway: World) -> None:
    inner = b"GET /api/users HTTP/1.1\r\nHost: a\r\n\r\n"
    await gateway.raw(request(gateway.mint.token(), b"Content-Length: %d" % len(inner), body=inner), wait=0.3)
    assert [(seen.method, seen.body) for seen in gateway.services.seen] == [("POST", inner)]


async def test_headers_named_by_connection_stay_here(gateway: World) -> None:
    token = gateway.mint.token().encode()
    sent = (
        b"GET /api/patients HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n"
        b"Connection: close, Accept-Language\r\n"
        b"Keep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: X\r\nProxy-Connection: keep-alive\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAA\r\nAccept-Language: cy\r\n\r\n" % token
    )
    assert (await gateway.raw(sent)).startswith(b"HTTP/1.1 200 ")
    left = {"keep-alive", "te", "trailer", "proxy-connection", "upgrade", "http2-settings", "accept-language"}
    assert not left & gateway.services.last.headers.keys()


async def test_websockets_are_refused(gateway: World) -> None:
    answer = await gateway.raw(
        b"GET /api/conversations HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        wait=0.3,
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"upgrade_refused" in answer
    assert gateway.services.seen == []


async def test_a_head_without_end_is_cut_off(gateway: World) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /api/health HTTP/1.1\r\nHost: a\r\nX-Endless: ")
    received = b""
    try:
        for _ in range(200):
            writer.write(b"x" * 4096)
            await writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(2):
            received = await reader.read()
    except ConnectionError:
        pass
    finally:
        writer.close()
    assert received == b"" or received.startswith(b"HTTP/1.1 431 ")


async def test_a_head_that_never_comes_is_not_waited_for(
    gateway: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_HEAD_SECONDS", 0.2)
    for begun in (b"", b"GET /api/health HTTP/1.1\r\nHost:"):
        started = time.monotonic()
        assert await gateway.raw(begun, wait=3) == b""
        assert time.monotonic() - started < 2


async def test_many_broken_requests_leave_a_working_gateway(gateway: World) -> None:
    broken = [b"\x00" * 10, b"GET / HTTP/1.1\r\n\x00\r\n\r\n", HEAD + b"Content-Length: 5\r\n\r\nab"]
    await asyncio.gather(*(gateway.raw(broken[number % 3], wait=0.1) for number in range(30)))
    assert (await gateway.get("/api/health"))[0] == 200
