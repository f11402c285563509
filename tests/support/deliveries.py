"""Running one service on a database of its own, and looking at everything it keeps there."""

import asyncio
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import text

from quill_shared.platform.bus import Message
from quill_shared.platform.clock import now
from quill_shared.platform.events import Envelope
from quill_shared.platform.identifiers import new_id
from quill_shared.platform.migrations import upgrade
from quill_shared.platform.service import ServiceDefinition
from quill_shared.platform.testing.postgres import PostgresServer, TestDatabase, migrated_database
from quill_shared.platform.testing.services import RunningService, secret

State = Mapping[str, Sequence[str]]

NOWHERE: Final = "http://127.0.0.1:1"
"""An address at which nobody listens."""

_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^\"]*")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TABLES: Final = """
SELECT c.relname FROM pg_class c
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
AND c.relname NOT IN ('alembic_version', 'inbox')
ORDER BY c.relname
"""


def required_settings(definition: ServiceDefinition) -> dict[str, Any]:
    """A strong value for every secret that the service's settings demand."""
    return {
        name: secret()
        for name, field in definition.settings.model_fields.items()
        if field.is_required()
        and field.annotation is SecretStr
        and name not in {"service_key", "database_url"}
    }


def undisturbed(definition: ServiceDefinition) -> ServiceDefinition:
    """The service without loops of its own, so that only what is delivered changes its tables."""
    return dataclasses.replace(definition, background=())


@contextmanager
def databases(server: PostgresServer, names: Sequence[str]) -> Iterator[Mapping[str, TestDatabase]]:
    """A migrated database for each of the services."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                migrated_database(server, f"quill_{name}", partial(upgrade, f"quill_{name}"))
            )
            for name in names
        }


def message(type_: str, data: Mapping[str, Any], *, sequence: int = 1) -> Message:
    """An event as the bus carries it."""
    envelope = Envelope(
        id=new_id(),
        source=f"quill/{type_.split('.')[0]}",
        type=type_,
        subject="example",
        time=now(),
        dataschema=f"urn:quill:event:{type_}",
        data=dict(data),
        sequence=sequence,
    )
    return Message(envelope.id, type_, envelope.model_dump_json(exclude_none=True).encode())


async def state(service: RunningService) -> State:
    """Every row of every table but the inbox. When an outbox row was relayed does not count."""
    async with service.runtime.database.engine.connect() as connection:
        tables = [row[0] for row in await connection.execute(text(_TABLES))]
        found = {}
        for table in tables:
            columns = "to_jsonb(t) - 'published_at'" if table == "outbox" else "to_jsonb(t)"
            rows = await connection.execute(text(f'SELECT ({columns})::text FROM "{table}" t ORDER BY 1'))
            found[table] = [row[0] for row in rows]
    return found


async def settled(service: RunningService) -> State:
    """The state once the service has relayed what it recorded."""
    for _ in range(500):
        async with service.runtime.database.engine.connect() as connection:
            waiting = await connection.scalar(text("SELECT count(*) FROM outbox WHERE published_at IS NULL"))
        if not waiting:
            return await state(service)
        await asyncio.sleep(0.01)
    raise AssertionError("events stay in the outbox")


def effect(before: State, after: State) -> State:
    """The rows that came and went, without what differs between two equal histories: moments and new ids.

    Of the outbox it is the number of events alone, as their order in time is nobody's promise.
    """
    found = {
        table: sorted(
            _UUID.sub("ID", _MOMENT.sub("WHEN", f"{sign} {row}"))
            for sign, rows, others in (("+", after[table], before[table]), ("-", before[table], after[table]))
            for row in rows
            if row not in others
        )
        for table in after
    }
    return {**found, "outbox": [str(len(found["outbox"]))]}
