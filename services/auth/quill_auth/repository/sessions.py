"""Queries on sessions, refresh tokens and what of them is revoked."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ..models import Account, RefreshToken, SignInSession


async def begin(
    session: AsyncSession, *, session_id: str, user_id: int, client: str, at: datetime
) -> SignInSession:
    """A new session."""
    begun = SignInSession(id=session_id, user_id=user_id, client=client, created_at=at, refreshed_at=at)
    session.add(begun)
    await session.flush()
    return begun


async def add_token(session: AsyncSession, *, token_hash: bytes, session_id: str, at: datetime) -> None:
    """A fresh refresh token of a session."""
    session.add(RefreshToken(token_hash=token_hash, session_id=session_id, issued_at=at))
    await session.flush()


async def owner(session: AsyncSession, token_hash: bytes) -> tuple[str, int] | None:
    """Session and user of a refresh token, without locking anything."""
    row = (
        await session.execute(
            select(SignInSession.id, SignInSession.user_id)
            .join(RefreshToken, RefreshToken.session_id == SignInSession.id)
            .where(RefreshToken.token_hash == token_hash)
        )
    ).first()
    return (row[0], row[1]) if row is not None else None


async def locked(session: AsyncSession, session_id: str) -> SignInSession | None:
    """The session, for this transaction alone: its refreshes happen one after the other."""
    return await session.scalar(
        select(SignInSession)
        .where(SignInSession.id == session_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


async def token(session: AsyncSession, token_hash: bytes) -> RefreshToken | None:
    """A refresh token, as it is now."""
    return await session.scalar(
        select(RefreshToken)
        .where(RefreshToken.token_hash == token_hash)
        .execution_options(populate_existing=True)
    )


async def end(session: AsyncSession, session_id: str, *, reason: str, at: datetime) -> bool:
    """Ends a session; False if it had ended before."""
    ended = await session.scalar(
        update(SignInSession)
        .where(SignInSession.id == session_id, SignInSession.ended_at.is_(None))
        .values(ended_at=at, ended_reason=reason)
        .returning(SignInSession.id)
    )
    return ended is not None


async def newest_token_at(session: AsyncSession, user_id: int) -> datetime | None:
    """When the newest access token of a user's living sessions was issued."""
    return await session.scalar(
        select(func.max(SignInSession.refreshed_at)).where(
            SignInSession.user_id == user_id, SignInSession.ended_at.is_(None)
        )
    )


async def end_all(
    session: AsyncSession, user_id: int, *, reason: str, at: datetime, but: str | None
) -> Sequence[str]:
    """Ends every living session of a user but one; answers which."""
    rows = await session.scalars(
        update(SignInSession)
        .where(
            SignInSession.user_id == user_id,
            SignInSession.ended_at.is_(None),
            SignInSession.id.is_distinct_from(but),
        )
        .values(ended_at=at, ended_reason=reason)
        .returning(SignInSession.id)
    )
    return rows.all()


async def with_account(session: AsyncSession, session_id: str) -> tuple[SignInSession, Account] | None:
    """A session and its account."""
    row = (
        await session.execute(
            select(SignInSession, Account)
            .join(Account, Account.id == SignInSession.user_id)
            .where(SignInSession.id == session_id)
        )
    ).first()
    return (row[0], row[1]) if row is not None else None


async def ended_since(session: AsyncSession, since: datetime) -> Sequence[RowMapping]:
    """session_id, user_id, reason, at of the sessions that ended after `since`, oldest first."""
    return (
        (
            await session.execute(
                select(
                    SignInSession.id.label("session_id"),
                    SignInSession.user_id,
                    SignInSession.ended_reason.label("reason"),
                    SignInSession.ended_at.label("at"),
                )
                .where(SignInSession.ended_at > since)
                .order_by(SignInSession.ended_at)
            )
        )
        .mappings()
        .all()
    )


async def users_ended_since(session: AsyncSession, since: datetime) -> Sequence[RowMapping]:
    """user_id, not_before, reason of the users all of whose tokens were revoked after `since`."""
    return (
        (
            await session.execute(
                select(
                    Account.id.label("user_id"),
                    Account.sessions_ended_at.label("not_before"),
                    Account.sessions_ended_reason.label("reason"),
                )
                .where(Account.sessions_ended_at > since)
                .order_by(Account.sessions_ended_at)
            )
        )
        .mappings()
        .all()
    )


async def powers_changed_since(session: AsyncSession, since: datetime) -> Sequence[RowMapping]:
    """user_id, ver of the users whose powers changed after `since`."""
    return (
        (
            await session.execute(
                select(Account.id.label("user_id"), Account.ver)
                .where(Account.powers_changed_at > since)
                .order_by(Account.powers_changed_at)
            )
        )
        .mappings()
        .all()
    )
