"""The messaging service under test."""

from collections.abc import Iterator
from functools import partial

import pytest

from quill_shared.platform.migrations import upgrade
from quill_shared.platform.testing.postgres import PostgresServer, TestDatabase, migrated_database


@pytest.fixture(scope="session")
def database(postgres_server: PostgresServer) -> Iterator[TestDatabase]:
    """This worker's database."""
    with migrated_database(
        postgres_server, "quill_messaging", partial(upgrade, "quill_messaging")
    ) as database:
        yield database
