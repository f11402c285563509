import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx

from quill_embedded.fhir import FhirSettings, create_fhir_app
from quill_embedded.openehr import OpenEhrSettings, create_openehr_app


class Forwarder:
    """A port in front of PostgreSQL that can be closed, cutting what runs through it."""

    def __init__(self, database_url: str) -> None:
        self._target = urlsplit(database_url)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0

    async def open(self) -> str:
        """Listen (again on the same port) and return the database's address through this port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        credentials = self._target.netloc.rpartition("@")[0]
        return self._target._replace(netloc=f"{credentials}@127.0.0.1:{self._port}").geturl()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        upstream_reader, upstream = await asyncio.open_connection(self._target.hostname, self._target.port)
        with suppress(asyncio.CancelledError):
            await asyncio.gather(self._copy(reader, upstream), self._copy(upstream_reader, writer))
        for stream in (writer, upstream):
            stream.transport.abort()

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


async def outage(app: Any, forwarder: Forwarder, url: str) -> list[httpx.Response]:
    """The answers before, during and after an outage of the database."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://standin.test") as client,
    ):
        answers = [await client.get(url)]
        await forwarder.close()
        answers.append(await client.get(url))
        await forwarder.open()
        answers.append(await client.get(url))
    await forwarder.close()
    return answers


async def test_fhir_outlives_an_outage_of_its_database(clean_database_url: str) -> None:
    forwarder = Forwarder(clean_database_url)
    app = create_fhir_app(FhirSettings(database_url=await forwarder.open()))
    answers = await outage(app, forwarder, "/fhir/Patient")
    assert [answer.status_code for answer in answers] == [200, 503, 200]
    assert answers[1].json()["resourceType"] == "OperationOutcome"


async def test_openehr_outlives_an_outage_of_its_database(clean_database_url: str) -> None:
    forwarder = Forwarder(clean_database_url)
    app = create_openehr_app(OpenEhrSettings(database_url=await forwarder.open()))
    answers = await outage(app, forwarder, "/ehrbase/rest/status")
    assert [answer.status_code for answer in answers] == [200, 503, 200]
    assert answers[1].json()["error"] == "Service Unavailable"
