"""The auth service under test, with the owner of patients replaced at its port."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from quill_auth.bootstrap import definition
from quill_auth.keys import KeyFactory, KeyRecord
from quill_auth.secret_keys import SecretKeys
from quill_shared.platform.clock import now
from quill_shared.platform.migrations import upgrade
from quill_shared.platform.testing.postgres import (
    PostgresServer,
    TestDatabase,
    migrated_database,
    truncate_all,
)
from quill_shared.platform.testing.services import Canary, running
from quill_shared.platform.testing.tokens import TokenMint

from .harness import SEALING_KEY, SETTINGS, Auth, CountedPasswords, KnownPatients


@pytest.fixture(scope="session")
def database(postgres_server: PostgresServer) -> Iterator[TestDatabase]:
    """This worker's database."""
    with migrated_database(postgres_server, "quill_auth", partial(upgrade, "quill_auth")) as database:
        yield database


@pytest.fixture(scope="session")
def signing_key() -> KeyRecord:
    """A key pair, made once: that takes longer than most tests."""
    factory = KeyFactory(SecretKeys("signing keys", SecretStr(SEALING_KEY)), bits=2048)
    return asyncio.run(factory.new(activates_at=now()))


@pytest.fixture
async def empty_database(database: TestDatabase) -> TestDatabase:
    """The database without a row."""
    await truncate_all(database.owner_url)
    return database


@pytest.fixture
async def keyed_database(empty_database: TestDatabase, signing_key: KeyRecord) -> TestDatabase:
    """The database with a key that signs."""
    columns = asdict(signing_key)
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    connection = await asyncpg.connect(empty_database.owner_url.replace("+asyncpg", ""))
    try:
        await connection.execute(
            f"INSERT INTO signing_key ({', '.join(columns)}) VALUES ({places})", *columns.values()
        )
    finally:
        await connection.close()
    return empty_database


@pytest.fixture
def patients() -> KnownPatients:
    """The owner of patients."""
    return KnownPatients()


@pytest.fixture
def settings() -> dict[str, Any]:
    """What a test module changes in the settings."""
    return {}


@pytest.fixture
async def auth(
    keyed_database: TestDatabase,
    mint: TokenMint,
    canary: Canary,
    patients: KnownPatients,
    settings: dict[str, Any],
) -> AsyncIterator[Auth]:
    """The service with nobody in it but the first superadmin."""
    values = {**SETTINGS, **settings}
    async with running(definition, keyed_database, mint, canary, own_tokens=True, **values) as service:
        passwords = CountedPasswords(service.runtime.context.passwords)
        service.runtime.context = replace(service.runtime.context, passwords=passwords, patients=patients)
        yield Auth(service, keyed_database, passwords, patients)
