"""The services whose consumers are tested, each on its own database."""

from collections.abc import AsyncIterator, Iterator, Mapping

import pytest
from applications import SERVICES
from deliveries import NOWHERE, databases, required_settings, undisturbed

from quill_shared.platform.testing.postgres import PostgresServer, TestDatabase, truncate_all
from quill_shared.platform.testing.services import Canary, RunningService, running
from quill_shared.platform.testing.tokens import TokenMint


@pytest.fixture(scope="session")
def service_databases(postgres_server: PostgresServer) -> Iterator[Mapping[str, TestDatabase]]:
    """This worker's database of each service."""
    with databases(postgres_server, tuple(SERVICES)) as found:
        yield found


@pytest.fixture
async def consumer(
    service: str, service_databases: Mapping[str, TestDatabase], mint: TokenMint, canary: Canary
) -> AsyncIterator[RunningService]:
    """The service that the test names, with an empty database and nothing behind it."""
    database = service_databases[service]
    await truncate_all(database.owner_url)
    definition = undisturbed(SERVICES[service])
    away = {name: NOWHERE for name in definition.settings.model_fields if name.endswith("_url")}
    settings = {**away, **required_settings(definition)}
    for name in ("database_url", "rabbitmq_url"):
        settings.pop(name, None)
    async with running(definition, database, mint, canary, **settings) as started:
        yield started
