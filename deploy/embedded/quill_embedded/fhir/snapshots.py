"""Results kept for paging: the ids are fixed when the search is made, the pages show the content of later.

HAPI keeps a search for an hour and answers 410 afterwards; so does this.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from .outcome import GoneError
from .storage import Connection


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A kept result: resources' row ids, or for a history (``rid`` set) the versions of one resource.

    ``created`` is a time before the search began: a write that the result misses is never older.
    """

    snapshot_id: UUID
    query: str
    rid: int | None
    members: list[int]
    created: datetime


async def keep(connection: Connection, snapshot: Snapshot, *, retention_seconds: float) -> None:
    """Store a result and drop those that have expired."""
    await connection.execute(
        "INSERT INTO result_snapshot (id, query, rid, members, created) VALUES ($1, $2, $3, $4, $5)",
        snapshot.snapshot_id,
        snapshot.query,
        snapshot.rid,
        snapshot.members,
        snapshot.created,
    )
    await connection.execute(
        "DELETE FROM result_snapshot WHERE created < now() - $1::interval",
        timedelta(seconds=retention_seconds),
    )


async def page_of(connection: Connection, snapshot_id: str, *, retention_seconds: float) -> Snapshot:
    """A kept result by the id in a page link.

    Raises:
        GoneError: it has expired or never existed.
    """
    try:
        key = UUID(snapshot_id)
    except ValueError:
        raise GoneError(_gone("?")) from None
    row = await connection.fetchrow(
        "SELECT query, rid, members, created FROM result_snapshot"
        " WHERE id = $1 AND created >= now() - $2::interval",
        key,
        timedelta(seconds=retention_seconds),
    )
    if row is None:
        raise GoneError(_gone(str(key)))
    return Snapshot(key, row["query"], row["rid"], row["members"], row["created"])


async def reusable(connection: Connection, query: str, *, within_seconds: float) -> Snapshot | None:
    """The newest result of the very same search, if it is young enough to be answered again."""
    row = await connection.fetchrow(
        "SELECT id, members, created FROM result_snapshot WHERE query = $1 AND rid IS NULL"
        " AND created >= now() - $2::interval ORDER BY created DESC LIMIT 1",
        query,
        timedelta(seconds=within_seconds),
    )
    return Snapshot(row["id"], query, None, row["members"], row["created"]) if row else None


def _gone(snapshot_id: str) -> str:
    return f'HAPI-0417: Search ID "{snapshot_id}" does not exist and may have expired'
