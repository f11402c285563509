"""The FHIR servers: the stand-in, set as HAPI is set up for Quill, and HAPI at QUILL_TEST_FHIR_URL."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from quill_embedded.fhir import FhirSettings, create_fhir_app
from quill_shared.platform.testing.postgres import PostgresServer, empty_database

from ..servers import Server, named, served
from .fhir import JSON, FhirClient

_REUSE_SECONDS = 60.0


@pytest.fixture(scope="session")
def fhir_dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database for stand-ins."""
    with empty_database(postgres_server, "quill_conformance") as database:
        yield database.owner_url.replace("postgresql+asyncpg://", "postgresql://", 1)


@pytest.fixture(scope="session")
def embedded_fhir(fhir_dsn: str) -> Iterator[Server]:
    settings = FhirSettings(database_url=fhir_dsn, client_ids="any", reuse_search_seconds=_REUSE_SECONDS)
    with served(create_fhir_app(settings)) as origin:
        yield Server("embedded", f"{origin}/fhir")


@pytest.fixture(scope="session")
def hapi_fhir() -> Server:
    return Server("hapi", named("QUILL_TEST_FHIR_URL").rstrip("/"))


@pytest.fixture(scope="session", params=["embedded", pytest.param("hapi", marks=pytest.mark.hapi)])
def fhir_server(request: pytest.FixtureRequest) -> Server:
    """The server of a case: each of the two in turn."""
    server: Server = request.getfixturevalue(f"{request.param}_fhir")
    return server


@pytest.fixture
async def fhir(fhir_server: Server) -> AsyncIterator[FhirClient]:
    """A client that says what it accepts, as every client of HAPI must."""
    async with httpx.AsyncClient(base_url=fhir_server.url, headers={"Accept": JSON}, timeout=30) as client:
        yield FhirClient(client, fhir_server)
