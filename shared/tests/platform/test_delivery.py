"""Outbox, relay, inbox and intents of a running service."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from notes import NoteWritten, note, seen
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from quill_shared.platform.clock import now
from quill_shared.platform.errors import Conflict
from quill_shared.platform.events import Envelope
from quill_shared.platform.identifiers import new_id
from quill_shared.platform.intents import Intent, abandon, begin, finish
from quill_shared.platform.relay import OutboxSignal, Relay, oldest_unpublished_seconds
from quill_shared.platform.tables import inbox, outbox, parked_message, upstream_intent
from quill_shared.platform.testing.services import CANARY_FAMILY, Canary, RunningService


async def scalar(notes: RunningService, query: object) -> int:
    """One number from the service's database."""
    async with notes.runtime.database.engine.connect() as connection:
        found: int = await connection.scalar(query)  # type: ignore[call-overload]
        return found


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits for what must come, for ten seconds at most."""
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_an_event_is_published_and_applied_once(notes: RunningService, canary: Canary) -> None:
    for name in ("a", "b", "a"):
        assert (await notes.client.post("/api/notes", json={"id": name})).status_code == 200

    async def applied() -> bool:
        return await scalar(notes, select(func.count()).select_from(seen)) == 3

    await until(applied)
    assert await scalar(notes, select(func.count()).select_from(inbox)) == 3
    async with notes.runtime.database.engine.connect() as connection:
        rows = await connection.execute(select(seen.c.note_id, seen.c.sequence).order_by(seen.c.position))
    assert [tuple(row) for row in rows if row.note_id == "a"] == [("a", 1), ("a", 2)]


async def test_a_request_and_what_its_event_causes_are_one_trace(
    notes: RunningService, canary: Canary
) -> None:
    await notes.client.post("/api/notes", json={"id": "a"})

    async def processed() -> bool:
        return any(span.name.startswith("process ") for span in canary.spans.get_finished_spans())

    await until(processed)
    assert canary.traces("process notes.note.written.v1") == canary.traces("POST /api/notes")


async def test_an_event_delivered_again_or_at_once_is_applied_once(notes: RunningService) -> None:
    message = await notes.deliver("notes.note.written.v1", {"note_id": "x"})
    await asyncio.gather(*(notes.redeliver(message) for _ in range(5)))

    assert await scalar(notes, select(func.count()).select_from(seen)) == 1


async def test_poison_is_parked_and_blocks_nobody(notes: RunningService) -> None:
    poison = await notes.deliver("notes.note.written.v1", {"note_id": "poison"}, parked=True)
    await notes.deliver("notes.note.written.v1", {"note_id": "wholesome"})

    assert await scalar(notes, select(func.count()).select_from(seen)) == 1
    (parked,) = await notes.bus.parked("notes")
    assert parked.message.id == poison.id
    assert "poison" not in parked.reason
    assert await notes.bus.discard("notes", poison.id)
    assert await scalar(notes, select(func.count()).select_from(parked_message)) == 0


async def test_an_event_that_cannot_be_read_is_parked(notes: RunningService) -> None:
    await notes.deliver("notes.note.written.v1", {"other": 1}, parked=True)

    (parked,) = await notes.bus.parked("notes")
    assert parked.message.type == "notes.note.written.v1"


async def test_an_event_that_fails_leaves_no_word_of_it_in_spans_or_logs(notes: RunningService) -> None:
    """The canary fixture looks for the name afterwards."""
    await notes.deliver("notes.note.written.v1", {"note_id": [CANARY_FAMILY]}, parked=True)


@pytest.mark.parametrize("sqlstate", ["57P01", "57P03", "53300", "08006"])
async def test_a_database_that_is_away_parks_nothing(
    notes: RunningService, monkeypatch: pytest.MonkeyPatch, sqlstate: str
) -> None:
    original = AsyncSession.execute
    left = 8

    async def away(session: AsyncSession, *args: Any, **more: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise DBAPIError("statement", None, _Refusal(sqlstate))
        return await original(session, *args, **more)

    monkeypatch.setattr(AsyncSession, "execute", away)
    async with notes.runtime.database.engine.begin() as connection:
        await connection.execute(
            insert(outbox).values(
                id=new_id(), type="notes.note.written.v1", subject="note:x", body=envelope("x")
            )
        )

    async def applied() -> bool:
        return await scalar(notes, select(func.count()).select_from(seen)) == 1

    await until(applied)
    assert await notes.bus.parked("notes") == []


class _Refusal(Exception):
    """What the driver raises, with PostgreSQL's code."""

    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate
        super().__init__()


def envelope(note_id: str) -> bytes:
    """An event as it lies in the outbox."""
    event = Envelope(
        id=new_id(),
        source="quill/test",
        type="notes.note.written.v1",
        subject=f"note:{note_id}",
        time=now(),
        dataschema="urn:x",
        data={"note_id": note_id},
        sequence=1,
    )
    return event.model_dump_json().encode()


async def test_a_cancelled_commit_is_brought_to_its_end_and_told(notes: RunningService) -> None:
    started = asyncio.Event()

    async def work() -> None:
        async with notes.runtime.database.unit_of_work() as uow:
            await uow.session.execute(text("INSERT INTO note (id, version) VALUES ('kept', 1)"))
            await uow.publish(NoteWritten(note_id="kept"), subject="note:kept", sequence=1)
            started.set()
            await uow.commit()

    task = asyncio.create_task(work())
    await started.wait()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def applied() -> bool:
        return await scalar(notes, select(func.count()).select_from(seen)) == 1

    async with asyncio.timeout(2):
        await until(applied)
    assert await scalar(notes, select(func.count()).select_from(note)) == 1


async def test_what_is_rolled_back_is_not_told(notes: RunningService) -> None:
    async with notes.runtime.database.unit_of_work() as uow:
        await uow.publish(NoteWritten(note_id="never"), subject="note:never", sequence=1)

    assert await notes.recorded() == []


async def test_a_commit_of_another_replica_wakes_the_relay(notes: RunningService) -> None:
    """NOTIFY does it; the poll would take seconds."""
    async with notes.runtime.database.engine.begin() as connection:
        await connection.execute(text("NOTIFY quill_outbox"))
        await connection.execute(
            text(
                "INSERT INTO outbox (id, type, subject, body) "
                "SELECT gen_random_uuid(), 'nobody.reads.v1', 's', ''"
            )
        )

    async def published() -> bool:
        return await oldest_unpublished_seconds(notes.runtime.database.engine) == 0

    async with asyncio.timeout(2):
        await until(published)


async def test_only_one_relay_of_a_service_publishes(notes: RunningService) -> None:
    second = Relay(notes.runtime.database.engine, notes.bus, OutboxSignal())

    running = asyncio.create_task(second.run())
    await asyncio.sleep(0.2)
    held = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
        "WHERE locktype = 'advisory' AND granted AND datname = current_database()"
    )
    assert await scalar(notes, held) == 1
    second.stop()
    await asyncio.wait_for(running, 5)


async def test_an_unfinished_intent_is_settled(notes: RunningService, tmp_path: Path) -> None:
    async with notes.runtime.database.unit_of_work() as uow:
        await begin(uow, "note.write", target="left", payload={"id": "left"}, grace=0.0)

    async def settled() -> bool:
        return await scalar(notes, select(func.count()).select_from(upstream_intent)) == 0

    await until(settled)
    assert (tmp_path / "left").exists()
    assert await scalar(notes, select(func.count()).select_from(note)) == 1
    assert [event["data"] for event in await notes.recorded()] == [{"note_id": "left"}]


async def test_an_intent_that_fails_is_tried_again(notes: RunningService, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    async with notes.runtime.database.unit_of_work() as uow:
        await begin(uow, "note.write", target="blocked/x", payload={}, grace=0.0)

    async def tried() -> bool:
        return await scalar(notes, select(func.max(upstream_intent.c.attempts))) >= 1

    await until(tried)
    blocked.mkdir()

    async def settled() -> bool:
        return await scalar(notes, select(func.count()).select_from(upstream_intent)) == 0

    await until(settled)
    assert (blocked / "x").exists()


async def test_a_request_later_than_the_reconciler_is_told_so(notes: RunningService) -> None:
    async with notes.runtime.database.unit_of_work() as uow:
        intent = await begin(uow, "note.write", target="slow", payload={}, grace=60)
        await abandon(uow, intent)
        with pytest.raises(Conflict):
            await finish(uow, intent)


async def test_an_abandoned_intent_leaves_nothing(notes: RunningService) -> None:
    async with notes.runtime.database.unit_of_work() as uow:
        intent: Intent = await begin(uow, "note.write", target="no", payload={}, grace=60)
        await abandon(uow, intent)

    assert await scalar(notes, select(func.count()).select_from(upstream_intent)) == 0
    assert await scalar(notes, select(func.count()).select_from(outbox)) == 0
