"""Queries on invitations and grants."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from quill_shared.platform.pagination import PageRequest

from ..models import AccessGrant, Account, Invite


async def lock_patient(session: AsyncSession, patient_id: str) -> None:
    """Lets one transaction at a time open or close access to a patient's record."""
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:subject, 0))"),
        {"subject": f"external access:{patient_id}"},
    )


async def add_invite(session: AsyncSession, invite: Invite) -> None:
    """Keeps a new invitation."""
    session.add(invite)
    await session.flush()


async def invite(session: AsyncSession, token_hash: bytes) -> Invite | None:
    """An invitation, as it is now."""
    return await session.scalar(
        select(Invite).where(Invite.token_hash == token_hash).execution_options(populate_existing=True)
    )


async def revoke_invites(
    session: AsyncSession, patient_id: str, email_key: str, *, by: int, at: datetime
) -> bool:
    """Revokes what is open of somebody's invitations to a patient's record; False if nothing was."""
    revoked = await session.scalars(
        update(Invite)
        .where(
            Invite.patient_id == patient_id,
            Invite.email_key == email_key,
            Invite.used_at.is_(None),
            Invite.revoked_at.is_(None),
            Invite.expires_at > at,
        )
        .values(revoked_at=at, revoked_by=by)
        .returning(Invite.token_hash)
    )
    return bool(revoked.all())


async def grant_of(session: AsyncSession, user_id: int, patient_id: str) -> AccessGrant | None:
    """A user's grant for a patient, revoked or not, as it is now."""
    return await session.get(AccessGrant, (user_id, patient_id), populate_existing=True)


async def open_grant(
    session: AsyncSession, *, user_id: int, patient_id: str, user_type: str, by: int, at: datetime
) -> int:
    """Grants access, again if it was revoked; answers the grant's new version."""
    values = {
        "user_type": user_type,
        "granted_at": at,
        "granted_by": by,
        "revoked_at": None,
        "revoked_by": None,
    }
    version: int | None = await session.scalar(
        insert(AccessGrant)
        .values(user_id=user_id, patient_id=patient_id, version=1, **values)
        .on_conflict_do_update(
            index_elements=[AccessGrant.user_id, AccessGrant.patient_id],
            set_={**values, "version": AccessGrant.version + 1},
        )
        .returning(AccessGrant.version)
    )
    return version or 1


async def revoke_grant(
    session: AsyncSession, user_id: int, patient_id: str, *, by: int, at: datetime
) -> tuple[str, int] | None:
    """Revokes a grant; its user type and new version, or None if there is none to revoke."""
    row = (
        await session.execute(
            update(AccessGrant)
            .where(
                AccessGrant.user_id == user_id,
                AccessGrant.patient_id == patient_id,
                AccessGrant.revoked_at.is_(None),
            )
            .values(revoked_at=at, revoked_by=by, version=AccessGrant.version + 1)
            .returning(AccessGrant.user_type, AccessGrant.version)
        )
    ).first()
    return (row[0], row[1]) if row is not None else None


async def grants(session: AsyncSession, patient_id: str, request: PageRequest) -> Sequence[RowMapping]:
    """The unrevoked grants for a patient with their accounts, by user id; one more than the page."""
    query = (
        select(
            AccessGrant.user_id,
            Account.username,
            Account.email,
            AccessGrant.user_type,
            AccessGrant.granted_at,
            AccessGrant.granted_by,
        )
        .join(Account, Account.id == AccessGrant.user_id)
        .where(AccessGrant.patient_id == patient_id, AccessGrant.revoked_at.is_(None))
        .order_by(AccessGrant.user_id)
        .limit(request.limit + 1)
    )
    if request.after is not None:
        query = query.where(AccessGrant.user_id > request.after[0])
    return (await session.execute(query)).mappings().all()
