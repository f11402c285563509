"""Queries on accounts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from quill_shared.kernel.access.tables import patient, staff
from quill_shared.kernel.permissions import SystemPermission
from quill_shared.platform.pagination import PageRequest

from ..models import AccessGrant, Account

_SUPERADMINS = 0x5155494C_53555052  # "QUILSUPR": one transaction at a time may reduce the superadmins
_AT_LEAST_STAFF = [each.value for each in SystemPermission if each.at_least(SystemPermission.STAFF)]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a sign-in is checked against."""

    user_id: int
    password_hash: str
    is_active: bool


async def add(session: AsyncSession, values: Mapping[str, Any]) -> Account | None:
    """A new account; None if its user name or e-mail address is somebody's already."""
    return await session.scalar(insert(Account).values(**values).on_conflict_do_nothing().returning(Account))


async def username_taken(session: AsyncSession, username_key: str) -> bool:
    """Whether an account has the user name."""
    found = select(Account.id).where(Account.username_key == username_key)
    return await session.scalar(found) is not None


async def get(session: AsyncSession, user_id: int) -> Account | None:
    """One account."""
    return await session.get(Account, user_id)


async def by_email(session: AsyncSession, email_key: str) -> Account | None:
    """The account with an e-mail address."""
    return await session.scalar(select(Account).where(Account.email_key == email_key))


async def credentials(session: AsyncSession, typed_key: str) -> Credentials | None:
    """By user name or e-mail address. No user name holds an @, so at most one account matches."""
    row = (
        await session.execute(
            select(Account.id, Account.password_hash, Account.is_active).where(
                or_(Account.username_key == typed_key, Account.email_key == typed_key)
            )
        )
    ).first()
    return Credentials(*row) if row is not None else None


async def bcrypt_cost(session: AsyncSession) -> int | None:
    """The highest cost among the bcrypt hashes of an older system; None if there are none left.

    Costs that no system uses do not count: one such hash would make every sign-in wait.
    """
    cost = await session.scalar(
        select(func.max(func.substr(Account.password_hash, 5, 2))).where(
            Account.password_hash.regexp_match(r"^\$2[aby]\$(0[4-9]|1[0-4])\$")
        )
    )
    return int(cost) if cost is not None else None


async def shared(session: AsyncSession, user_id: int) -> Account | None:
    """The account as it is now, which stays so until the end of this transaction."""
    return await session.scalar(
        select(Account)
        .where(Account.id == user_id)
        .with_for_update(read=True)
        .execution_options(populate_existing=True)
    )


async def locked(session: AsyncSession, user_ids: Collection[int]) -> dict[int, Account]:
    """The accounts as they are now, for this transaction alone to change.

    Always in ascending order, so that two people who administer each other cannot wait for each other.
    """
    rows = await session.scalars(
        select(Account)
        .where(Account.id.in_(user_ids))
        .order_by(Account.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return {account.id: account for account in rows}


async def assign(session: AsyncSession, account: Account, values: Mapping[str, Any]) -> str | None:
    """Changes a locked account; the name of the unique index that stands against it, if one does."""
    try:
        async with session.begin_nested():
            for name, value in values.items():
                setattr(account, name, value)
            await session.flush()
    except IntegrityError as error:
        cause = getattr(error.orig, "__cause__", None)
        return str(getattr(cause, "constraint_name", ""))
    return None


async def lock_superadmins(session: AsyncSession) -> None:
    """Lets one transaction at a time make superadmins fewer."""
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SUPERADMINS})


async def active_superadmins(session: AsyncSession) -> int:
    """How many there are."""
    count = await session.scalar(
        select(func.count()).where(
            Account.system_permissions == SystemPermission.SUPERADMIN.value, Account.is_active
        )
    )
    return int(count or 0)


async def page(
    session: AsyncSession, request: PageRequest, permissions: Collection[str] | None
) -> Sequence[Account]:
    """By id, only those with one of `permissions` if given; one more than the page."""
    where: list[ColumnElement[bool]] = []
    if permissions is not None:
        where.append(Account.system_permissions.in_(permissions))
    return await _page(session, request, where)


async def carers(
    session: AsyncSession, request: PageRequest, patient_id: str, permissions: Collection[str] | None
) -> Sequence[Account]:
    """Active staff sharing an organisation with a patient, and users holding a grant, by id.

    Memberships come from the projection; accounts and grants are our own and so never behind.
    """
    sharing = (
        select(staff.c.user_id)
        .join(patient, and_(patient.c.organisation_id == staff.c.organisation_id, patient.c.active))
        .where(staff.c.active, patient.c.patient_id == patient_id)
    )
    granted = select(AccessGrant.user_id).where(
        AccessGrant.patient_id == patient_id, AccessGrant.revoked_at.is_(None)
    )
    where: list[ColumnElement[bool]] = [
        Account.is_active.is_(True),
        or_(
            and_(Account.id.in_(sharing), Account.system_permissions.in_(_AT_LEAST_STAFF)),
            Account.id.in_(granted),
        ),
    ]
    if permissions is not None:
        where.append(Account.system_permissions.in_(permissions))
    return await _page(session, request, where)


async def _page(
    session: AsyncSession, request: PageRequest, where: Sequence[ColumnElement[bool]]
) -> Sequence[Account]:
    query = select(Account).where(*where).order_by(Account.id).limit(request.limit + 1)
    if request.after is not None:
        query = query.where(Account.id > request.after[0])
    return (await session.scalars(query)).all()
