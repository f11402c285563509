"""The openEHR servers: the stand-in, and EHRbase at QUILL_TEST_OPENEHR_URL with _USERNAME and _PASSWORD."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from quill_embedded.openehr import OpenEhrSettings, create_openehr_app
from quill_shared.platform.testing.postgres import PostgresServer, empty_database

from ..servers import Server, named, served, unique
from .openehr import BASE_PATH, OpenEhrClient


@pytest.fixture(scope="session")
def embedded_openehr(postgres_server: PostgresServer) -> Iterator[Server]:
    with empty_database(postgres_server, "quill_conformance_openehr") as database:
        dsn = database.owner_url.replace("postgresql+asyncpg://", "postgresql://", 1)
        name, password = "quill", unique()
        settings = OpenEhrSettings(database_url=dsn, username=name, password=password)
        with served(create_openehr_app(settings)) as origin:
            yield Server("embedded", f"{origin}{BASE_PATH}", (name, password))


@pytest.fixture(scope="session")
def real_ehrbase() -> Server:
    url = named("QUILL_TEST_OPENEHR_URL").rstrip("/")
    credentials = named("QUILL_TEST_OPENEHR_USERNAME"), named("QUILL_TEST_OPENEHR_PASSWORD")
    return Server("ehrbase", url, credentials)


@pytest.fixture(
    scope="session",
    params=["embedded_openehr", pytest.param("real_ehrbase", marks=pytest.mark.ehrbase)],
    ids=["embedded", "ehrbase"],
)
def openehr_server(request: pytest.FixtureRequest) -> Server:
    """The server of a case: each of the two in turn."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
async def openehr(openehr_server: Server) -> AsyncIterator[OpenEhrClient]:
    """A client with its credentials, which asks for JSON unless a case says otherwise."""
    async with httpx.AsyncClient(
        base_url=openehr_server.url,
        auth=openehr_server.credentials,
        headers={"Accept": "application/json"},
        timeout=30,
    ) as client:
        yield OpenEhrClient(client, openehr_server)
