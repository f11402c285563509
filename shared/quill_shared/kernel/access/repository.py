"""Every query on the projection of access facts."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, Table, exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from .tables import account, feature, grant, patient, staff


async def project(session: AsyncSession, table: Table, row: Mapping[str, Any]) -> None:
    """Writes `row`, unless what is there was built from a later event."""
    statement = insert(table).values(**row)
    keys = [column.name for column in table.primary_key]
    changed = {name: statement.excluded[name] for name in row if name not in keys}
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=keys, set_=changed, where=table.c.sequence < statement.excluded.sequence
        )
    )


def patients_of_staff(user_id: int) -> Select[tuple[str]]:
    """Ids of the patients who share an organisation with a member of staff."""
    return (
        select(patient.c.patient_id)
        .join(staff, staff.c.organisation_id == patient.c.organisation_id)
        .where(staff.c.user_id == user_id, staff.c.active, patient.c.active)
    )


def patients_granted_to(user_id: int) -> Select[tuple[str]]:
    """Ids of the patients whose records were granted to a user."""
    return select(grant.c.patient_id).where(grant.c.user_id == user_id, grant.c.active)


async def shares_organisation(session: AsyncSession, user_id: int, patient_id: str) -> bool:
    """Whether a member of staff and a patient have an organisation in common."""
    found = patients_of_staff(user_id).where(patient.c.patient_id == patient_id)
    return bool(await session.scalar(select(exists(found))))


async def holds_grant(session: AsyncSession, user_id: int, patient_id: str) -> bool:
    """Whether an unrevoked grant exists."""
    found = patients_granted_to(user_id).where(grant.c.patient_id == patient_id)
    return bool(await session.scalar(select(exists(found))))


async def primary_organisation(session: AsyncSession, user_id: int) -> int | None:
    """The organisation an account works for first of all."""
    return await session.scalar(
        select(staff.c.organisation_id)
        .where(staff.c.user_id == user_id, staff.c.active, staff.c.is_primary)
        .limit(1)
    )


async def organisations_of(session: AsyncSession, user_id: int) -> Sequence[int]:
    """Ids of the organisations an account is staff of, ascending."""
    rows = await session.scalars(
        select(staff.c.organisation_id)
        .where(staff.c.user_id == user_id, staff.c.active)
        .order_by(staff.c.organisation_id)
    )
    return rows.all()


async def enabled_features(session: AsyncSession, organisation_id: int) -> frozenset[str]:
    """Keys of the features switched on for an organisation."""
    rows = await session.scalars(
        select(feature.c.feature_key).where(feature.c.organisation_id == organisation_id, feature.c.active)
    )
    return frozenset(rows.all())


async def find_account(session: AsyncSession, user_id: int) -> dict[str, Any] | None:
    """An account of the directory."""
    row = (await session.execute(select(account).where(account.c.user_id == user_id))).mappings().first()
    return None if row is None else dict(row)
