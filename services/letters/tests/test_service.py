"""The letters service starts, migrates and says how it and the openEHR server behind it are."""

from collections.abc import AsyncIterator

import pytest

from quill_letters.bootstrap import definition
from quill_shared.platform.migrations import drift
from quill_shared.platform.tables import platform_metadata
from quill_shared.platform.testing.postgres import TestDatabase
from quill_shared.platform.testing.services import Canary, RunningService, running
from quill_shared.platform.testing.tokens import TokenMint


@pytest.fixture
async def letters(database: TestDatabase, mint: TokenMint, canary: Canary) -> AsyncIterator[RunningService]:
    """The service with an openEHR server that nobody runs."""
    async with running(definition, database, mint, canary, openehr_url="http://127.0.0.1:1/rest") as service:
        yield service


async def test_migrations_and_models_agree(database: TestDatabase) -> None:
    assert await drift(database.owner_url, [*definition.metadata, platform_metadata]) == []


async def test_it_is_ready_although_the_server_behind_it_is_away(letters: RunningService) -> None:
    answer = await letters.client.get("/health/ready")

    assert answer.status_code == 200
    assert answer.json()["checks"]["database"]["available"] is True
    assert answer.json()["upstreams"] == {"ehrbase": {"available": False}}


async def test_it_follows_access_facts(letters: RunningService) -> None:
    staff = {"organisation_id": 1, "user_id": 2, "is_primary": True}

    message = await letters.deliver("orgs.staff.added.v1", staff, sequence=1)
    await letters.redeliver(message)

    assert (await letters.client.get("/health/live")).json() == {"status": "live", "service": "letters"}
