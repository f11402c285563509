"""Calling an upstream: what is retried, what is not, and when we stop beating it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from quill_shared.platform.errors import BadGateway, GatewayTimeout, Unavailable
from quill_shared.platform.http import NotSent, Policy, UpstreamClient

QUICK = Policy(deadline=0.5, concurrency=4, attempts=3, minimum_calls=5, open_seconds=0.2)


class Upstream(httpx.AsyncBaseTransport):
    """An upstream that answers as it is told and remembers what reached it."""

    def __init__(self, answer: Callable[[int], int | Exception]) -> None:
        self.answer = answer
        self.calls: list[str] = []
        self.at_once = self.most_at_once = 0
        self.pause = 0.0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One call."""
        self.calls.append(request.method)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.pause)
            outcome = self.answer(len(self.calls))
            if isinstance(outcome, Exception):
                raise outcome
            return httpx.Response(outcome, json={})
        finally:
            self.at_once -= 1


@asynccontextmanager
async def client_of(upstream: Upstream, policy: Policy = QUICK) -> AsyncIterator[UpstreamClient]:
    """A client of `upstream`."""
    client = UpstreamClient("ledger", "http://ledger.test/api", policy=policy, transport=upstream)
    try:
        yield client
    finally:
        await client.close()


async def test_a_passing_fault_of_a_read_is_retried() -> None:
    upstream = Upstream(lambda n: 503 if n == 1 else 200)
    async with client_of(upstream) as client:
        assert (await client.request("GET", "/x")).status_code == 200

    assert upstream.calls == ["GET", "GET"]


@pytest.mark.parametrize("fault", [503, 502, httpx.ReadError("broken"), httpx.RemoteProtocolError("no HTTP")])
async def test_a_post_that_may_have_arrived_is_not_sent_twice(fault: int | Exception) -> None:
    upstream = Upstream(lambda _: fault)
    async with client_of(upstream) as client:
        with pytest.raises((Unavailable, BadGateway)) as raised:
            await client.request("POST", "/x")

    assert upstream.calls == ["POST"]
    assert not isinstance(raised.value, NotSent)


async def test_a_post_that_cannot_have_arrived_is_retried() -> None:
    upstream = Upstream(lambda n: httpx.ConnectError("refused") if n == 1 else 201)
    async with client_of(upstream) as client:
        assert (await client.request("POST", "/x")).status_code == 201

    assert upstream.calls == ["POST", "POST"]


async def test_a_conditional_write_is_not_sent_twice() -> None:
    upstream = Upstream(lambda _: httpx.ReadError("broken"))
    async with client_of(upstream) as client:
        with pytest.raises(Unavailable):
            await client.request("PUT", "/x", headers={"If-Match": 'W/"1"'}, repeatable=False)

    assert upstream.calls == ["PUT"]


async def test_a_first_attempt_that_may_have_arrived_is_not_forgotten() -> None:
    upstream = Upstream(lambda n: httpx.ReadError("broken") if n == 1 else httpx.ConnectError("refused"))
    async with client_of(upstream) as client:
        with pytest.raises(Unavailable) as raised:
            await client.request("PUT", "/x")

    assert len(upstream.calls) > 1
    assert not isinstance(raised.value, NotSent)


@pytest.mark.parametrize("status", [200, 404, 409, 412, 422, 500])
async def test_an_answer_is_an_answer(status: int) -> None:
    async with client_of(Upstream(lambda _: status)) as client:
        assert (await client.request("GET", "/x")).status_code == status


async def test_the_deadline_covers_everything() -> None:
    upstream = Upstream(lambda _: 200)
    upstream.pause = 5
    async with client_of(upstream) as client:
        with pytest.raises(GatewayTimeout):
            async with asyncio.timeout(2):
                await client.request("GET", "/x")


async def test_retries_stay_within_their_budget() -> None:
    upstream = Upstream(lambda _: 503)
    policy = Policy(deadline=5, minimum_calls=10_000, retry_ratio=0.1, attempts=3)
    async with client_of(upstream, policy) as client:
        for _ in range(100):
            with pytest.raises(Unavailable):
                await client.request("GET", "/x")

    assert len(upstream.calls) <= 112


async def test_the_breaker_opens_spares_the_upstream_and_closes_again() -> None:
    healthy = False
    upstream = Upstream(lambda _: 200 if healthy else 500)
    async with client_of(upstream) as client:
        for _ in range(5):
            await client.request("GET", "/x")
        assert client.breaker.is_open
        reached = len(upstream.calls)
        with pytest.raises(NotSent):
            await client.request("GET", "/x")
        assert len(upstream.calls) == reached

        healthy = True
        await asyncio.sleep(0.25)
        assert (await client.request("GET", "/x")).status_code == 200
        assert not client.breaker.is_open


async def test_a_half_open_breaker_lets_one_call_try() -> None:
    upstream = Upstream(lambda _: 500)
    async with client_of(upstream) as client:
        for _ in range(5):
            await client.request("GET", "/x")
        await asyncio.sleep(0.25)
        upstream.pause = 0.1
        reached = len(upstream.calls)
        outcomes = await asyncio.gather(
            *(client.request("GET", "/x") for _ in range(4)), return_exceptions=True
        )

    assert len(upstream.calls) == reached + 1
    assert sum(isinstance(each, NotSent) for each in outcomes) == 3


async def test_calls_in_flight_are_capped() -> None:
    upstream = Upstream(lambda _: 200)
    upstream.pause = 0.02
    async with client_of(upstream) as client:
        await asyncio.gather(*(client.request("GET", "/x") for _ in range(20)))

    assert upstream.most_at_once == 4


@asynccontextmanager
async def socket_server(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that reads a whole request, says `answer` and closes; its address and what it read."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", requests
    finally:
        server.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET"])
async def test_a_connection_that_breaks_after_the_request_left_it_open_what_happened(method: str) -> None:
    async with socket_server(b"") as (address, requests):
        client = UpstreamClient("ledger", address, policy=QUICK)
        try:
            with pytest.raises(Unavailable) as raised:
                await client.request(method, "/x", repeatable=False)
        finally:
            await client.close()

    assert len(requests) == 1
    assert not isinstance(raised.value, NotSent)


@pytest.mark.parametrize(
    "answer",
    [
        b"this is not HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    ],
)
async def test_an_answer_that_is_none_is_an_upstream_fault_and_frees_the_breaker(answer: bytes) -> None:
    async with socket_server(answer) as (address, _):
        client = UpstreamClient("ledger", address, policy=QUICK)
        try:
            for _ in range(QUICK.minimum_calls):
                with pytest.raises((BadGateway, Unavailable)):
                    await client.request("POST", "/x")
            assert client.breaker.is_open
            await asyncio.sleep(0.25)
            with pytest.raises((BadGateway, Unavailable)) as probe:
                await client.request("POST", "/x")
            assert not isinstance(probe.value, NotSent)
        finally:
            await client.close()


async def test_callers_who_give_up_do_not_open_the_breaker() -> None:
    upstream = Upstream(lambda _: 200)
    upstream.pause = 5
    async with client_of(upstream, Policy(deadline=60, minimum_calls=3)) as client:
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.request("GET", "/x"), 0.01)

        assert not client.breaker.is_open


async def test_a_call_that_found_no_place_was_not_sent() -> None:
    upstream = Upstream(lambda _: 200)
    upstream.pause = 0.3
    async with client_of(upstream, Policy(deadline=5, concurrency=1)) as client:
        first = asyncio.create_task(client.request("POST", "/x"))
        await asyncio.sleep(0.01)
        with pytest.raises(NotSent):
            await client.request("POST", "/x", deadline=0.1)
        await first

    assert upstream.calls == ["POST"]


async def test_the_network_is_used_and_a_refused_connection_is_not_sent() -> None:
    client = UpstreamClient("ledger", "http://127.0.0.1:1", policy=QUICK)
    try:
        with pytest.raises(NotSent):
            await client.request("POST", "/x")
    finally:
        await client.close()
