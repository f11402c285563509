"""The system that every kind of caller calls, once per worker."""

from collections.abc import Iterator

import pytest
from world import World, living

from quill_shared.platform.testing.postgres import PostgresServer


@pytest.fixture(scope="session")
def world(postgres_server: PostgresServer) -> Iterator[World]:
    """A running system with one caller of each kind."""
    with living(postgres_server) as world:
        yield world
