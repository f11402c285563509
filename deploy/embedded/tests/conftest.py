"""Databases and running stand-ins for the tests of the embedded stack."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import httpx
import pytest
from starlette.applications import Starlette

from quill_embedded.fhir import FhirSettings, create_fhir_app
from quill_embedded.openehr import OpenEhrSettings, create_openehr_app
from quill_shared.platform.testing.postgres import PostgresServer, empty_database, truncate_all

FHIR_BASE = "http://fhir.test/fhir"
OPENEHR_BASE = "http://openehr.test/ehrbase/rest/openehr/v1"


class StartFhir(Protocol):
    """Starts a FHIR stand-in with other settings than the usual."""

    async def __call__(self, **settings: Any) -> httpx.AsyncClient: ...


@pytest.fixture(scope="session")
def database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database for what makes its own tables, one per worker."""
    with empty_database(postgres_server, "quill_standins") as database:
        yield database.owner_url.replace("postgresql+asyncpg://", "postgresql://", 1)


@pytest.fixture
async def clean_database_url(database_url: str) -> str:
    await truncate_all(database_url)
    return database_url


@pytest.fixture
async def start_fhir(clean_database_url: str) -> AsyncIterator[StartFhir]:
    """Start FHIR stand-ins on the same database; they end with the test."""
    stops: list[Callable[[], Any]] = []

    async def start(**settings: Any) -> httpx.AsyncClient:
        app = create_fhir_app(FhirSettings(database_url=clean_database_url, **settings))
        running = _client(app, FHIR_BASE, headers={"Content-Type": "application/fhir+json"})
        client = await running.__aenter__()
        stops.append(lambda: running.__aexit__(None, None, None))
        return client

    yield start
    for stop in reversed(stops):
        await stop()


@pytest.fixture
async def fhir(start_fhir: StartFhir) -> httpx.AsyncClient:
    """A client of a FHIR stand-in with the usual settings and nothing stored."""
    return await start_fhir()


@pytest.fixture
async def openehr(clean_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an openEHR stand-in with nothing stored."""
    app = create_openehr_app(OpenEhrSettings(database_url=clean_database_url))
    async with _client(app, OPENEHR_BASE) as client:
        yield client


@asynccontextmanager
async def _client(app: Starlette, base_url: str, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=base_url, **options) as client,
    ):
        yield client
