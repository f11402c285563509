"""A pytest plugin: a service under test, run as in production but for the network in front of it.

The application is built from its definition, on a real PostgreSQL database, with the embedded
transport. Requests go through the whole ASGI stack.

    @pytest.fixture
    async def orgs(database: TestDatabase, mint: TokenMint, canary: Canary) -> AsyncIterator[RunningService]:
        async with running(definition, database, mint, canary, accounts_url=...) as service:
            yield service
"""

import dataclasses
import json
import logging
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import select

from ..app import create_app
from ..bus import EmbeddedTransport, Message
from ..clock import now
from ..events import Envelope
from ..identifiers import new_id
from ..logs import JsonFormatter
from ..service import Runtime, ServiceDefinition
from ..tables import outbox, parked_message
from ..telemetry import Telemetry
from .postgres import TestDatabase
from .tokens import TokenMint

__all__ = ["CANARY_FAMILY", "CANARY_GIVEN", "CANARY_NHS_NUMBER", "Canary", "RunningService", "secret"]

CANARY_GIVEN = "Canarygiven"
CANARY_FAMILY = "Canaryfamily"
CANARY_NHS_NUMBER = "9434765919"
"""A valid number of nobody. Tests use these three as a patient's, and `Canary` looks for them afterwards."""

_NEEDLES = (CANARY_GIVEN.lower(), CANARY_FAMILY.lower(), CANARY_NHS_NUMBER)


def secret() -> str:
    """A secret strong enough for the settings."""
    return secrets.token_urlsafe(48)


class Canary(logging.Handler):
    """Everything in which no patient data may be: logs, spans, problem bodies, events, parked messages.

    Collected during a test, searched at its end.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonFormatter("test"))
        self.spans = InMemorySpanExporter()
        self._kept: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a log line as it would have been written."""
        self.keep("log", self.format(record))

    def keep(self, where: str, text: str) -> None:
        """Keeps `text` for the search."""
        self._kept.append((where, text))

    def lines(self) -> list[str]:
        """Everything kept so far."""
        return [text for _, text in self._kept]

    def forget(self) -> None:
        """Drops what was kept; for the tests of the canary itself."""
        self._kept.clear()

    async def response(self, response: httpx.Response) -> None:
        """Keeps the body of an error answer."""
        if response.status_code >= 400:
            await response.aread()
            self.keep(f"answer {response.status_code}", response.text)

    def traces(self, name: str) -> set[str]:
        """The trace ids of the finished spans called `name`."""
        contexts = [span.get_span_context() for span in self.spans.get_finished_spans() if span.name == name]
        return {format(context.trace_id, "032x") for context in contexts if context is not None}

    def found(self) -> list[str]:
        """Where patient data lies that should not."""
        for span in self.spans.get_finished_spans():
            self.keep("span", span.to_json(indent=None))
        return [
            f"{where}: {text[:300]}"
            for where, text in self._kept
            if any(needle in text.lower() for needle in _NEEDLES)
        ]


@dataclass(slots=True)
class RunningService:
    """A started application and the means to talk to it and about it."""

    app: FastAPI
    runtime: Runtime
    client: httpx.AsyncClient
    mint: TokenMint
    bus: EmbeddedTransport

    def bearer(self, user_id: int = 1, **claims: Any) -> dict[str, str]:
        """See `TokenMint.token`."""
        return self.mint.bearer(user_id, **claims)

    async def deliver(
        self,
        type_: str,
        data: Mapping[str, Any],
        *,
        subject: str = "test:1",
        sequence: int = 1,
        parked: bool = False,
    ) -> Message:
        """Has the bus deliver an event of another service; returns once its effect is committed.

        Args:
            parked: the event is one that cannot be applied and is expected to be parked.
        """
        envelope = Envelope(
            id=new_id(),
            source="quill/test",
            type=type_,
            subject=subject,
            time=now(),
            dataschema=f"urn:quill:event:{type_}",
            data=dict(data),
            sequence=sequence,
        )
        message = Message(envelope.id, type_, envelope.model_dump_json(exclude_none=True).encode())
        await self.redeliver(message, parked=parked)
        return message

    async def redeliver(self, message: Message, *, parked: bool = False) -> None:
        """Delivers a message (again)."""
        assert list(await self.bus.publish([message])) == [True]
        kept = {each.message.id for each in await self.bus.parked(self.runtime.definition.name)}
        assert (message.id in kept) == parked

    async def recorded(self, type_: str | None = None) -> list[dict[str, Any]]:
        """The events the service left in its outbox, oldest first; only those of `type_` if given."""
        async with self.runtime.database.engine.connect() as connection:
            rows = await connection.execute(select(outbox.c.type, outbox.c.body).order_by(outbox.c.position))
            return [json.loads(row.body) for row in rows if type_ in (None, row.type)]


@asynccontextmanager
async def running(
    definition: ServiceDefinition,
    database: TestDatabase,
    mint: TokenMint,
    canary: Canary,
    *,
    own_tokens: bool = False,
    **settings: Any,
) -> AsyncIterator[RunningService]:
    """Runs a service for the block.

    Args:
        own_tokens: for auth, which signs its own; `mint` is then no good.
        settings: beside the ones every service needs.
    """
    if not own_tokens:
        definition = dataclasses.replace(definition, token_sources=lambda _: mint.sources)
    values = {
        "env": "development",
        "service_key": secret(),
        "database_url": database.app_url,
        "database_pool_size": 5,
        "intent_grace_seconds": 0.5,
        **settings,
    }
    bus = EmbeddedTransport()
    telemetry = Telemetry(definition.name, processor=SimpleSpanProcessor(canary.spans))
    app = create_app(
        definition, settings=definition.settings(**values), transport=bus, telemetry=telemetry, role="all"
    )
    try:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app, raise_app_exceptions=False),
                base_url="http://service.test",
                event_hooks={"response": [canary.response]},
            ) as client,
        ):
            await _known(app.state.runtime)
            service = RunningService(app, app.state.runtime, client, mint, bus)
            yield service
            await _keep_events(service, canary)
    finally:
        telemetry.close()


async def _known(runtime: Runtime) -> None:
    await runtime.revocations.reload()


async def _keep_events(service: RunningService, canary: Canary) -> None:
    async with service.runtime.database.engine.connect() as connection:
        for row in await connection.execute(select(outbox.c.type, outbox.c.body)):
            canary.keep(f"event {row.type}", row.body.decode())
        for row in await connection.execute(select(parked_message.c.type, parked_message.c.reason)):
            canary.keep(f"parked {row.type}", row.reason)


@pytest.fixture(scope="session")
def mint() -> TokenMint:
    """Signs the tokens of the test run."""
    return TokenMint()


@pytest.fixture
def canary() -> Iterator[Canary]:
    """Listens for patient data where none may be, and fails the test if there was any."""
    watch = Canary()
    root = logging.getLogger()
    level = root.level
    root.addHandler(watch)
    root.setLevel(logging.INFO)
    try:
        yield watch
    finally:
        root.removeHandler(watch)
        root.setLevel(level)
    assert watch.found() == []
