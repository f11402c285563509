"""Queries on signing keys."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import insert, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from ..keys import KeyRecord
from ..models import SigningKey

_LOCK = 0x5155494C_4B455953  # "QUILKEYS": replicas that start together make one first key


async def lock(session: AsyncSession) -> None:
    """Lets one transaction at a time decide whether a key is needed."""
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


async def live(session: AsyncSession, at: datetime) -> Sequence[KeyRecord]:
    """Every key that has not expired, oldest first."""
    rows = await session.execute(
        select(
            SigningKey.kid,
            SigningKey.public_key,
            SigningKey.private_key,
            SigningKey.sealed_with,
            SigningKey.activates_at,
            SigningKey.expires_at,
        )
        .where(or_(SigningKey.expires_at.is_(None), SigningKey.expires_at > at))
        .order_by(SigningKey.activates_at, SigningKey.kid)
    )
    return [KeyRecord(*row) for row in rows]


async def add(session: AsyncSession, record: KeyRecord) -> None:
    """Keeps a new key pair."""
    await session.execute(insert(SigningKey).values(**asdict(record)))
