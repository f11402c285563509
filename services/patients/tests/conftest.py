"""The patients service under test, on a real database and the FHIR stand-in over HTTP."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import httpx
import pytest
import uvicorn

from quill_embedded.fhir.app import create_fhir_app
from quill_embedded.fhir.settings import FhirSettings
from quill_patients.bootstrap import definition
from quill_shared.platform.migrations import upgrade
from quill_shared.platform.testing.postgres import (
    PostgresServer,
    TestDatabase,
    empty_database,
    migrated_database,
    truncate_all,
)
from quill_shared.platform.testing.services import Canary, RunningService, running, secret
from quill_shared.platform.testing.tokens import TokenMint

WARD, CLINIC, NOBODYS = 7, 8, 999
NURSE, STRANGER, OWN_PATIENT, OTHER_PATIENT, GRANTED, UNGRANTED, ADMIN = 11, 12, 21, 22, 31, 32, 41


@dataclass(frozen=True, slots=True)
class FhirServer:
    """A running FHIR server and its database."""

    url: str
    database: TestDatabase


@pytest.fixture(scope="session")
def database(postgres_server: PostgresServer) -> Iterator[TestDatabase]:
    """This worker's database."""
    with migrated_database(postgres_server, "quill_patients", partial(upgrade, "quill_patients")) as database:
        yield database


@pytest.fixture(scope="session")
def fhir_server(postgres_server: PostgresServer) -> Iterator[FhirServer]:
    """The stand-in, in a thread of its own as it would be in a process of its own."""
    with empty_database(postgres_server, "quill_fhir") as database:
        dsn = database.owner_url.replace("postgresql+asyncpg://", "postgresql://", 1)
        # Named as TCP, without which asyncio leaves Nagle's algorithm on: 40 ms for each answer.
        with socket.socket(proto=socket.IPPROTO_TCP) as listening:
            listening.bind(("127.0.0.1", 0))
            app = create_fhir_app(FhirSettings(database_url=dsn))
            server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
            thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
            thread.start()
            while not server.started:
                assert thread.is_alive()
                thread.join(0.01)
            yield FhirServer(f"http://127.0.0.1:{listening.getsockname()[1]}/fhir", database)
            server.should_exit = True
            thread.join()


@pytest.fixture
async def fhir(fhir_server: FhirServer) -> AsyncIterator[httpx.AsyncClient]:
    """Another client of the FHIR server, which is empty at first."""
    await truncate_all(fhir_server.database.owner_url)
    async with httpx.AsyncClient(
        base_url=fhir_server.url, headers={"Content-Type": "application/fhir+json"}
    ) as client:
        yield client


class KnownOrganisations:
    """The owner of organisations: the ward, the clinic, and one that nobody works for."""

    async def exists(self, organisation_id: int) -> bool:
        """Whether it is one of them."""
        return organisation_id in (WARD, CLINIC, NOBODYS)


class FaultyProxy:
    """Stands between the service and the FHIR server, and passes everything on until told otherwise.

    Args:
        target: where the server is.

    `before` and `after` decide what becomes of a call: before it is passed on, and before its answer is.
    They get the method and the address, and answer a status to give instead, `HANG`, `CUT`, or None.
    """

    HANG, CUT = "hang", "cut"

    def __init__(self, target: str) -> None:
        self.target = target
        self.url = ""
        self.name = ""
        self.calls: list[tuple[str, str]] = []
        self.before: Callable[[str, str], int | str | None] = lambda method, path: None
        self.after: Callable[[str, str], int | str | None] = lambda method, path: None
        self._server: asyncio.Server | None = None
        self._client = httpx.AsyncClient(timeout=20)
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> None:
        """Listens, at the same address as before if it did."""
        if self.url:
            port = int(self.url.split(":")[2].partition("/")[0])
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/fhir"

    async def stop(self) -> None:
        """Is gone: connections are refused."""
        if self._server is not None:
            self._server.close()
            for task in list(self._open):
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
            await self._server.wait_closed()

    async def close(self) -> None:
        """Ends for good."""
        await self.stop()
        await self._client.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        length = int(next((value for name, value in headers.items() if name.lower() == "content-length"), 0))
        body = await reader.readexactly(length)
        self.calls.append((method, path))
        fate = self.before(method, path)
        status, content, media_type = 200, b"", "application/fhir+json"
        etag = ""
        if fate is None:
            origin = self.target.removesuffix("/fhir")
            kept = {name: value for name, value in headers.items() if name.lower() not in _OF_THE_HOP}
            answer = await self._client.request(
                method,
                f"{origin}{path}",
                content=body,
                headers={**kept, "Host": self.name or self.url.split("/")[2]},
            )
            status, content = answer.status_code, answer.content
            etag = answer.headers.get("etag", "")
            fate = self.after(method, path)
        if fate == self.HANG:
            await asyncio.sleep(30)
        if fate == self.CUT:
            return False
        if isinstance(fate, int):
            status, content = fate, b"<html>not ready</html>"
            media_type = "text/html"
        tag = f"ETag: {etag}\r\n" if etag else ""
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: {media_type}\r\n{tag}"
            f"Content-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        await writer.drain()
        return True


_OF_THE_HOP = frozenset({"host", "content-length", "connection", "transfer-encoding", "accept-encoding"})


@pytest.fixture
def fhir_deadline() -> float:
    """Seconds the service gives FHIR for a call; tests of slowness override this."""
    return 8.0


@pytest.fixture
async def proxy(fhir_server: FhirServer) -> AsyncIterator[FaultyProxy]:
    """Between the service and FHIR; a test makes it fail."""
    proxy = FaultyProxy(fhir_server.url)
    await proxy.start()
    yield proxy
    await proxy.close()


@pytest.fixture
def grace() -> float:
    """Seconds until an unfinished write is settled; tests of that override this."""
    return 30.0


@pytest.fixture
def sweep_interval() -> float:
    """Seconds between two looks for what others wrote, after the first; tests of the sweep override this."""
    return 60.0


@pytest.fixture
async def patients(
    database: TestDatabase,
    mint: TokenMint,
    canary: Canary,
    fhir: httpx.AsyncClient,
    proxy: FaultyProxy,
    fhir_deadline: float,
    sweep_interval: float,
    grace: float,
) -> AsyncIterator[RunningService]:
    """The service with a small world: a ward with a nurse, a clinic with a stranger."""
    await truncate_all(database.owner_url)
    async with running(
        definition,
        database,
        mint,
        canary,
        fhir_url=proxy.url,
        fhir_deadline_seconds=fhir_deadline,
        identifier_key=secret(),
        sweep_interval_seconds=sweep_interval,
        intent_grace_seconds=grace,
    ) as service:
        service.runtime.context = replace(service.runtime.context, organisations=KnownOrganisations())
        for organisation_id, user_id in ((WARD, NURSE), (CLINIC, STRANGER)):
            await service.deliver(
                "orgs.staff.added.v1",
                {"organisation_id": organisation_id, "user_id": user_id, "is_primary": True},
            )
        await eventually(partial(_is_complete, service))
        yield service


async def _is_complete(service: RunningService) -> bool:
    """Whether the FHIR server was looked through once, without which no list is answered."""
    answer = await service.client.get("/api/patients", headers=service.bearer(ADMIN, perm="admin"))
    return bool(answer.json().get("fhir_ready"))


async def eventually(holds: Callable[[], Awaitable[bool]], *, within: float = 8.0) -> None:
    """Waits until `holds` answers true."""
    deadline = time.monotonic() + within
    while not await holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.05)


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Awaitable[None]]:
    """See `eventually`."""
    return eventually


@pytest.fixture
def nurse(patients: RunningService) -> dict[str, str]:
    """A member of the ward's staff who may change records."""
    return patients.bearer(NURSE, roles=["Clinician"], profession="registered_nurse")


@pytest.fixture
def stranger(patients: RunningService) -> dict[str, str]:
    """The like of another organisation."""
    return patients.bearer(STRANGER, roles=["Clinician"], profession="registered_nurse")


@pytest.fixture
def admin(patients: RunningService) -> dict[str, str]:
    """An administrator who works nowhere."""
    return patients.bearer(ADMIN, perm="admin", roles=["Clinician"])


Register = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def register(patients: RunningService, nurse: dict[str, str]) -> Register:
    """Registers a patient of the ward and answers the resource."""

    async def register(**fields: Any) -> dict[str, Any]:
        body = {"given_name": "Ada", "family_name": "Byron", **fields}
        answer = await patients.client.post("/api/patients", json=body, headers=nurse)
        assert answer.status_code == 200, answer.text
        patient: dict[str, Any] = answer.json()
        return patient

    return register
