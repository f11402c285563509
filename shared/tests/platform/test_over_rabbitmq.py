"""A service as it runs in production: api and worker apart, RabbitMQ between them."""

import asyncio
import os
import secrets
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from notes import definition, seen
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from quill_shared.platform.app import create_app
from quill_shared.platform.service import Role
from quill_shared.platform.testing.postgres import TestDatabase, truncate_all
from quill_shared.platform.testing.tokens import TokenMint


@pytest.mark.rabbitmq
async def test_what_the_api_writes_the_worker_applies(
    database: TestDatabase, mint: TokenMint, tmp_path: Path
) -> None:
    await truncate_all(database.owner_url)
    settings = definition.settings(
        env="development",
        service_key=secrets.token_urlsafe(48),
        database_url=database.app_url,
        rabbitmq_url=os.environ["QUILL_TEST_RABBITMQ_URL"],
        event_consumers=frozenset({"notes"}),
        upstream=tmp_path,
    )
    service = replace(definition, token_sources=lambda _: mint.sources)
    roles: tuple[Role, Role] = ("api", "worker")
    api, worker = (create_app(service, settings=settings, role=role) for role in roles)
    async with (
        worker.router.lifespan_context(worker),
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://notes.test") as client,
    ):
        async with asyncio.timeout(20):
            while (await client.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.05)
        for name in range(20):
            answer = await client.post("/api/notes", json={"id": str(name)}, headers={"X-Name": "tester"})
            assert answer.status_code == 200
        async with asyncio.timeout(20):
            while await applied(api.state.runtime.database.engine) < 20:
                await asyncio.sleep(0.02)
        assert await applied(api.state.runtime.database.engine) == 20


async def applied(engine: AsyncEngine) -> int:
    """How many events the worker applied."""
    async with engine.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(seen)) or 0
