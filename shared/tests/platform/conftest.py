"""The platform under test, as the notes service."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from notes import definition, migrate

from quill_shared.platform.testing.postgres import (
    PostgresServer,
    TestDatabase,
    migrated_database,
    truncate_all,
)
from quill_shared.platform.testing.services import Canary, RunningService, running
from quill_shared.platform.testing.tokens import TokenMint


@pytest.fixture(scope="session")
def database(postgres_server: PostgresServer) -> Iterator[TestDatabase]:
    """This worker's database."""
    with migrated_database(postgres_server, "quill_notes", migrate) as database:
        yield database


@pytest.fixture
async def notes(
    database: TestDatabase, mint: TokenMint, canary: Canary, tmp_path: Path
) -> AsyncIterator[RunningService]:
    """The notes service, empty."""
    await truncate_all(database.owner_url)
    async with running(definition, database, mint, canary, upstream=tmp_path) as service:
        service.client.headers["X-Name"] = "tester"
        yield service
