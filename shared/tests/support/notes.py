"""A small service for the platform's own tests: notes, each kept in a directory that plays the upstream.

A note is written through an intent, announced by an event, and counted by a consumer of that event.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import sqlalchemy as sa
from fastapi import Depends, Query, Request
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import create_async_engine

from quill_shared.platform.database import UnitOfWork
from quill_shared.platform.errors import BadRequest, Conflict, TooManyRequests, Unauthenticated
from quill_shared.platform.events import Consumed, Consumers, Event, Received
from quill_shared.platform.intents import Intent, Settle, begin, finish
from quill_shared.platform.routing import Guard, Uow, router
from quill_shared.platform.schemas import IdInAddress, RequestModel, Text
from quill_shared.platform.service import Runtime, ServiceDefinition
from quill_shared.platform.settings import ServiceSettings
from quill_shared.platform.tables import platform_metadata

metadata = sa.MetaData()
note = sa.Table(
    "note",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
)
seen = sa.Table(
    "seen",
    metadata,
    sa.Column("position", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("note_id", sa.Text, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
)


async def migrate(url: str) -> None:
    """Makes the tables; the platform's own tests need no history."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(platform_metadata.create_all)
        await connection.run_sync(metadata.create_all)
        await connection.execute(
            sa.text("CREATE TABLE late (note_id text REFERENCES note (id) DEFERRABLE INITIALLY DEFERRED)")
        )
    await engine.dispose()


class NoteWritten(Event):
    """A note exists."""

    type_name: ClassVar[str] = "notes.note.written.v1"
    example: ClassVar[Mapping[str, Any]] = {"note_id": "a"}

    note_id: str


class Fact(Consumed):
    """What the consumer reads."""

    note_id: str


class NotesSettings(ServiceSettings):
    """Where the upstream is."""

    upstream: Path


class Counted(TooManyRequests):
    """A refusal that is counted."""

    keeps_effects = True


class Body(RequestModel):
    """A note."""

    id: Text


class Door(Guard):
    """Lets in who says so."""

    async def check(self, request: Request) -> str:
        """The caller."""
        name: str | None = request.headers.get("x-name")
        if name is None:
            raise Unauthenticated
        return name


Caller = Annotated[str, Depends(Door())]
routes = router("notes")
consumers = Consumers()


@routes.post("/api/notes")
async def write(_: Caller, uow: Uow, body: Body, request: Request) -> dict[str, str]:
    """Writes a note upstream, then here."""
    intent = await begin(uow, "note.write", target=body.id, payload={"id": body.id}, grace=0.3)
    put_upstream(request.app.state.runtime.settings.upstream, body.id)
    await finish(uow, intent)
    await _written(uow, body.id)
    return {"id": body.id}


@routes.get("/api/numbers")
async def read(_: Caller, number: Annotated[IdInAddress, Query()]) -> dict[str, int]:
    """Echoes a number."""
    return {"number": number}


@routes.post("/api/refuse")
async def refuse(_: Caller, uow: Uow, kept: Annotated[bool, Query()] = False) -> None:
    """Writes a note and fails."""
    await uow.session.execute(insert(note).values(id="refused", version=1))
    raise Counted() if kept else BadRequest()


@routes.post("/api/twice")
async def twice(_: Caller, uow: Uow) -> None:
    """Violates a constraint in a way nobody foresaw."""
    await uow.session.execute(insert(note).values(id="twice", version=1))
    await uow.session.execute(sa.text("INSERT INTO note (id, version) VALUES ('twice', 1)"))


@routes.post("/api/slow")
async def slow(_: Caller, uow: Uow, body: Body) -> dict[str, str]:
    """Takes half a second over a note."""
    await asyncio.sleep(0.5)
    await _written(uow, body.id)
    return {"id": body.id}


@routes.post("/api/late")
async def late(_: Caller, uow: Uow) -> dict[str, str]:
    """Violates a constraint that is only looked at on commit."""
    await uow.session.execute(sa.text("INSERT INTO late (note_id) VALUES ('nowhere')"))
    return {"status": "done"}


def put_upstream(directory: Path, note_id: str) -> None:
    """Idempotent, like a PUT."""
    (directory / note_id).touch()


async def _written(uow: UnitOfWork, note_id: str) -> None:
    version = await uow.session.scalar(
        insert(note)
        .values(id=note_id, version=1)
        .on_conflict_do_update(index_elements=["id"], set_={"version": note.c.version + 1})
        .returning(note.c.version)
    )
    await uow.publish(NoteWritten(note_id=note_id), subject=f"note:{note_id}", sequence=version or 0)


@consumers.on("notes.note.written.v1", Fact)
async def count(event: Received[Fact], uow: UnitOfWork) -> None:
    """Counts every application; twice would show."""
    if event.data.note_id == "poison":
        raise Conflict("poison")
    await uow.session.execute(insert(seen).values(note_id=event.data.note_id, sequence=event.sequence))


def intents(runtime: Runtime) -> Mapping[str, Settle]:
    """Finishes what a request left."""

    async def settle(intent: Intent, uow: UnitOfWork) -> None:
        put_upstream(runtime.settings.upstream, intent.target)
        await _written(uow, intent.target)

    return {"note.write": settle}


definition = ServiceDefinition(
    name="notes",
    title="Notes",
    package="notes",
    settings=NotesSettings,
    routers=(routes,),
    publishes=(NoteWritten,),
    consumers=consumers,
    metadata=(metadata,),
    intents=intents,
)
