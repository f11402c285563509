"""Queries on throttle buckets. Replicas share them, so that a limit holds however many there are."""

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ..domain.throttling import Bucket
from ..models import ThrottleBucket

_COLUMNS = (
    ThrottleBucket.failures,
    ThrottleBucket.since,
    ThrottleBucket.closures,
    ThrottleBucket.closed_until,
    ThrottleBucket.last_at,
)


async def read(session: AsyncSession, key: bytes) -> Bucket | None:
    """A bucket, without locking it."""
    row = (await session.execute(select(*_COLUMNS).where(ThrottleBucket.key == key))).first()
    return Bucket(*row) if row is not None else None


async def locked(session: AsyncSession, key: bytes) -> Bucket | None:
    """A bucket if there is one, for this transaction alone."""
    query = select(*_COLUMNS).where(ThrottleBucket.key == key).with_for_update()
    row = (await session.execute(query)).first()
    return Bucket(*row) if row is not None else None


async def claimed(session: AsyncSession, key: bytes, fresh: Bucket) -> Bucket:
    """A bucket for this transaction alone, made from `fresh` if there is none: two first failures at once
    are counted as two.
    """
    await session.execute(
        insert(ThrottleBucket)
        .values(
            key=key,
            failures=fresh.failures,
            since=fresh.since,
            closures=fresh.closures,
            closed_until=fresh.closed_until,
            last_at=fresh.last_at,
        )
        .on_conflict_do_nothing()
    )
    return await locked(session, key) or fresh


async def write(session: AsyncSession, key: bytes, bucket: Bucket) -> None:
    """Replaces a bucket."""
    values = {
        "failures": bucket.failures,
        "since": bucket.since,
        "closures": bucket.closures,
        "closed_until": bucket.closed_until,
        "last_at": bucket.last_at,
    }
    await session.execute(
        insert(ThrottleBucket)
        .values(key=key, **values)
        .on_conflict_do_update(index_elements=[ThrottleBucket.key], set_=values)
    )


async def forget(session: AsyncSession, key: bytes) -> None:
    """Removes a bucket."""
    await session.execute(delete(ThrottleBucket).where(ThrottleBucket.key == key))
