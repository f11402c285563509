"""Templates and EHRs in PostgreSQL; uniqueness is the database's, so two writers cannot both succeed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import orjson

from .ehrs import Ehr, Subject
from .errors import ConflictError
from .settings import OpenEhrSettings
from .templates import Template

_SCHEMA_LOCK: Final = 5_173_082
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS template (
    template_id text PRIMARY KEY,
    concept text NOT NULL,
    archetype_id text NOT NULL,
    created timestamptz NOT NULL DEFAULT date_trunc('milliseconds', now()),
    xml text NOT NULL
);
CREATE TABLE IF NOT EXISTS ehr (
    ehr_id uuid PRIMARY KEY,
    status_id uuid NOT NULL,
    subject_namespace text,
    subject_id text,
    status jsonb NOT NULL,
    created timestamptz NOT NULL DEFAULT date_trunc('milliseconds', now()),
    CONSTRAINT one_ehr_per_subject UNIQUE (subject_namespace, subject_id)
);
"""


@dataclass(frozen=True, slots=True)
class ListedTemplate:
    """A template as the list shows it."""

    template_id: str
    concept: str
    archetype_id: str
    created: datetime


class Store:
    """The database of one openEHR stand-in."""

    def __init__(self, settings: OpenEhrSettings) -> None:
        self._settings = settings
        self._pool: asyncpg.Pool | None = None

    async def open(self) -> None:
        """Connect and make the tables that are not there yet."""
        self._pool = await asyncpg.create_pool(
            self._settings.database_url,
            min_size=1,
            max_size=self._settings.pool_max_size,
            command_timeout=30,
            server_settings={"application_name": "quill-openehr", "jit": "off", "timezone": "UTC"},
        )
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _SCHEMA_LOCK)
            await connection.execute(_SCHEMA)

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        if self._pool is None:
            raise RuntimeError("the store is not open")
        async with self._pool.acquire(timeout=10) as connection:
            yield connection

    async def server_version(self) -> str:
        async with self._connection() as connection:
            version: str = await connection.fetchval("SHOW server_version")
        return version

    async def add_template(self, template: Template) -> None:
        """Store a new template.

        Raises:
            ConflictError: the id is taken.
        """
        async with self._connection() as connection:
            status = await connection.execute(
                "INSERT INTO template (template_id, concept, archetype_id, xml) VALUES ($1, $2, $3, $4)"
                " ON CONFLICT DO NOTHING",
                template.template_id,
                template.concept,
                template.archetype_id,
                template.xml,
            )
        if status != "INSERT 0 1":
            raise ConflictError("Operational template with this template ID already exists")

    async def templates(self) -> list[ListedTemplate]:
        async with self._connection() as connection:
            rows = await connection.fetch(
                "SELECT template_id, concept, archetype_id, created FROM template ORDER BY template_id"
            )
        return [ListedTemplate(*row) for row in rows]

    async def template_xml(self, template_id: str) -> str | None:
        async with self._connection() as connection:
            xml: str | None = await connection.fetchval(
                "SELECT xml FROM template WHERE template_id = $1", template_id
            )
        return xml

    async def add_ehr(self, ehr_id: UUID, status: dict[str, Any], subject: Subject | None) -> Ehr:
        """Store a new EHR.

        Raises:
            ConflictError: the id is taken, or the subject has an EHR already.
        """
        try:
            async with self._connection() as connection:
                row = await connection.fetchrow(
                    "INSERT INTO ehr (ehr_id, status_id, subject_namespace, subject_id, status)"
                    " VALUES ($1, $2, $3, $4, $5) RETURNING ehr_id, status_id, created",
                    ehr_id,
                    uuid4(),
                    subject.namespace if subject else None,
                    subject.subject_id if subject else None,
                    orjson.dumps(status).decode(),
                )
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name == "one_ehr_per_subject":
                raise ConflictError(
                    "Supplied partyId is used by a different EHR in the same partyNamespace."
                ) from None
            raise ConflictError("EHR with this ID already exists") from None
        return Ehr(*row)

    async def ehr(self, ehr_id: UUID) -> Ehr | None:
        async with self._connection() as connection:
            row = await connection.fetchrow(
                "SELECT ehr_id, status_id, created FROM ehr WHERE ehr_id = $1", ehr_id
            )
        return Ehr(*row) if row else None

    async def ehr_of(self, subject: Subject) -> Ehr | None:
        async with self._connection() as connection:
            row = await connection.fetchrow(
                "SELECT ehr_id, status_id, created FROM ehr WHERE subject_namespace = $1 AND subject_id = $2",
                subject.namespace,
                subject.subject_id,
            )
        return Ehr(*row) if row else None
