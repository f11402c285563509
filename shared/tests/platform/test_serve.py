"""A process that is told to stop drains, finishes, closes and exits 0."""

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import notes_main
import pytest
from notes import seen
from sqlalchemy import NullPool, func, select
from sqlalchemy.ext.asyncio import create_async_engine

from quill_shared.platform.testing.postgres import TestDatabase, truncate_all


async def events_seen(database: TestDatabase) -> int:
    """How many events were applied."""
    engine = create_async_engine(database.app_url, poolclass=NullPool)
    async with engine.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(seen)) or 0


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def process(
    database: TestDatabase, upstream: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A running notes service and its address."""
    port = free_port()
    support = str(Path(notes_main.__file__).parent)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quill_shared.platform.serve", "notes_main", "--port", str(port)),
        env={
            **os.environ,
            "PYTHONPATH": support,
            "QUILL_ENV": "development",
            "QUILL_SERVICE_KEY": secrets.token_urlsafe(48),
            "QUILL_DATABASE_URL": database.app_url,
            "QUILL_UPSTREAM": str(upstream),
        },
        stderr=asyncio.subprocess.PIPE,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient() as client, asyncio.timeout(20):
            while child.returncode is None:
                try:
                    if (await client.get(f"{address}/health/ready")).status_code == 200:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        yield child, address
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_requests_in_flight_are_answered_and_their_events_leave(
    database: TestDatabase, tmp_path: Path, number: signal.Signals
) -> None:
    await truncate_all(database.owner_url)
    async with process(database, tmp_path) as (child, address), httpx.AsyncClient() as client:
        client.headers["X-Name"] = "tester"
        # A connection still waiting to be accepted when the listener closes is reset by the kernel: no
        # server can help it, so the connections are made before.
        await asyncio.gather(*(client.get(f"{address}/health/live") for _ in range(5)))
        requests = [
            asyncio.create_task(client.post(f"{address}/api/slow", json={"id": str(each)}))
            for each in range(5)
        ]
        await asyncio.sleep(0.25)
        child.send_signal(number)
        answers = await asyncio.gather(*requests)
        code = await asyncio.wait_for(child.wait(), 15)

    assert [each.status_code for each in answers] == [200] * 5
    assert code == 0
    assert await events_seen(database) == 5


async def test_a_missing_secret_stops_the_start_and_is_named(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quill_shared.platform.serve", "notes_main", "--port", str(free_port())),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(notes_main.__file__).parent)},
        stderr=asyncio.subprocess.PIPE,
    )

    _, errors = await asyncio.wait_for(child.communicate(), 20)

    assert child.returncode == 1
    assert b"QUILL_SERVICE_KEY: Field required" in errors
    assert b"Traceback" not in errors
