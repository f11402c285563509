"""What is deleted once it can no longer matter."""

from datetime import datetime

from sqlalchemy import delete, or_
from sqlalchemy.ext.asyncio import AsyncSession

from ..models import SignInSession, ThrottleBucket


async def forget_sessions(session: AsyncSession, *, ended_before: datetime, created_before: datetime) -> None:
    """Removes sessions, with their refresh tokens, that ended long ago or are past their absolute life."""
    await session.execute(
        delete(SignInSession).where(
            or_(SignInSession.ended_at < ended_before, SignInSession.created_at < created_before)
        )
    )


async def forget_buckets(session: AsyncSession, *, last_before: datetime) -> None:
    """Removes throttle buckets without a failure since `last_before`."""
    await session.execute(delete(ThrottleBucket).where(ThrottleBucket.last_at < last_before))
