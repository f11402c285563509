"""Every query of the patients context."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, delete, exists, func, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from quill_shared.kernel.access import CareAccess
from quill_shared.kernel.access.repository import project
from quill_shared.kernel.access.tables import patient as access_patient
from quill_shared.kernel.access.tables import staff as access_staff
from quill_shared.kernel.principal import Principal
from quill_shared.platform.tables import upstream_intent

from .models import IdentifierClaim, PatientIndex, SweepState

_SWEEP_LOCK: Final = 0x5155494C_53574545  # "QUILSWEE": one sweep at a time
_STATE: Final = 1


@dataclass(frozen=True, slots=True)
class Scope:
    """Which patients a list may hold: those a principal sees, or everyone."""

    principal: Principal | None
    include_inactive: bool = False
    ids: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A patient's place in the lists."""

    position: int
    patient_id: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Who holds an identifier, as of which claim."""

    patient_id: str
    stamp: int


async def page(session: AsyncSession, scope: Scope, *, after: int, limit: int) -> list[Entry]:
    """Patients in the order in which they became known, after a position."""
    return await _entries(session, scope, PatientIndex.position > after, limit=limit)


async def entries(session: AsyncSession, scope: Scope, ids: Sequence[str]) -> list[Entry]:
    """The places of some patients, in order; those outside the scope are left out."""
    return await _entries(session, scope, PatientIndex.patient_id.in_(ids))


async def _entries(
    session: AsyncSession, scope: Scope, *conditions: ColumnElement[bool], limit: int | None = None
) -> list[Entry]:
    """Restricted in the database, so that no other organisation's patient is ever loaded (fault 12)."""
    query = select(PatientIndex.position, PatientIndex.patient_id).where(~PatientIndex.is_gone, *conditions)
    if not scope.include_inactive:
        query = query.where(PatientIndex.is_active)
    if scope.ids is not None:
        query = query.where(PatientIndex.patient_id.in_(scope.ids))
    if scope.principal is not None:
        # Each visible patient is looked up by the index. A plain join makes PostgreSQL read the whole
        # index of patients, and the cost of an organisation's list grow with the others.
        visible = CareAccess.visible_patients(scope.principal).subquery()
        found = query.where(PatientIndex.patient_id == visible.c[0]).limit(1).lateral()
        query = select(found.c.position, found.c.patient_id).select_from(visible).join(found, true())
        query = query.order_by(found.c.position)
    else:
        query = query.order_by(PatientIndex.position)
    rows = await session.execute(query.limit(limit))
    return [Entry(position, patient_id) for position, patient_id in rows]


async def find(session: AsyncSession, patient_id: str) -> PatientIndex | None:
    """What is known of a patient."""
    return await session.scalar(select(PatientIndex).where(PatientIndex.patient_id == patient_id))


async def latest(session: AsyncSession, *, but: Sequence[str], limit: int) -> list[str]:
    """The patients who became known last and are thought to be there, leaving out some."""
    rows = await session.scalars(
        select(PatientIndex.patient_id)
        .where(~PatientIndex.is_gone, PatientIndex.patient_id.not_in(but))
        .order_by(PatientIndex.position.desc())
        .limit(limit)
    )
    return list(rows)


async def lock(session: AsyncSession, ids: Sequence[str]) -> dict[str, PatientIndex]:
    """What is known of some patients, locked against other writers, always in the same order."""
    rows = await session.scalars(
        select(PatientIndex)
        .where(PatientIndex.patient_id.in_(ids))
        .order_by(PatientIndex.patient_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {row.patient_id: row for row in rows}


async def add(
    session: AsyncSession, patient_id: str, *, version: int, last_updated: datetime, is_active: bool
) -> bool:
    """Adds a patient to the index; False if someone else just did."""
    added = await session.execute(
        insert(PatientIndex)
        .values(patient_id=patient_id, version=version, last_updated=last_updated, is_active=is_active)
        .on_conflict_do_nothing(index_elements=["patient_id"])
        .returning(PatientIndex.position)
    )
    return added.first() is not None


async def being_written(session: AsyncSession, ids: Sequence[str]) -> frozenset[str]:
    """Those of `ids` for which a write to FHIR is not known to be finished."""
    rows = await session.scalars(
        select(upstream_intent.c.target).where(upstream_intent.c.target.in_(ids)).distinct()
    )
    return frozenset(rows)


async def claim(
    session: AsyncSession, digests: Sequence[bytes], patient_id: str, *, stale: Mapping[bytes, Claim]
) -> dict[bytes, Claim | None]:
    """Claims identifiers for a patient, also those of which the claim is known to be `stale`; answers those
    that another patient holds, or held a moment ago (None).
    """
    held: dict[bytes, Claim | None] = {}
    for digest in sorted(digests):
        if digest in stale:
            await _take_over(session, digest, stale=stale[digest], patient_id=patient_id)
        statement = insert(IdentifierClaim).values(digest=digest, patient_id=patient_id)
        row = (
            await session.execute(
                statement.on_conflict_do_update(
                    index_elements=["digest"],
                    set_={"stamp": IdentifierClaim.stamp + 1},
                    where=IdentifierClaim.patient_id == statement.excluded.patient_id,
                ).returning(IdentifierClaim.stamp)
            )
        ).first()
        if row is None:
            holder = (
                await session.execute(
                    select(IdentifierClaim.patient_id, IdentifierClaim.stamp).where(
                        IdentifierClaim.digest == digest
                    )
                )
            ).first()
            held[digest] = Claim(*holder) if holder is not None else None
    return held


async def _take_over(session: AsyncSession, digest: bytes, *, stale: Claim, patient_id: str) -> None:
    """Gives a claim that no longer holds to another patient, unless it was renewed meanwhile."""
    await session.execute(
        update(IdentifierClaim)
        .where(
            IdentifierClaim.digest == digest,
            IdentifierClaim.patient_id == stale.patient_id,
            IdentifierClaim.stamp == stale.stamp,
        )
        .values(patient_id=patient_id, stamp=IdentifierClaim.stamp + 1)
    )


async def forget_claims(session: AsyncSession, patient_id: str, *, but: Sequence[bytes]) -> None:
    """Drops a patient's claims to identifiers that the record does not bear any more."""
    await session.execute(
        delete(IdentifierClaim).where(
            IdentifierClaim.patient_id == patient_id, IdentifierClaim.digest.not_in(but)
        )
    )


async def open_to(session: AsyncSession, organisation_id: int, patient_id: str) -> None:
    """Lets the staff of an organisation see a patient at once; the membership itself is the orgs service's,
    whose event overrides this row (any sequence is later than 0).

    Without staff there is nobody to see, and maybe no such organisation: then nothing is written that
    could one day open the record to another organisation under that number.
    """
    has_staff = select(
        exists().where(access_staff.c.organisation_id == organisation_id, access_staff.c.active)
    )
    if await session.scalar(has_staff):
        row = {"organisation_id": organisation_id, "patient_id": patient_id, "active": True, "sequence": 0}
        await project(session, access_patient, row)


async def sweep_state(session: AsyncSession) -> SweepState:
    """How far the sweep has come; a blank one before the first."""
    state = await session.get(SweepState, _STATE, populate_existing=True)
    return state if state is not None else SweepState(id=_STATE, watermark=None, walked_at=None)


async def has_walked(session: AsyncSession) -> bool:
    """Whether the whole FHIR server was looked through once, so that the index is complete."""
    found = select(exists().where(SweepState.id == _STATE, SweepState.walked_at.is_not(None)))
    return bool(await session.scalar(found))


async def advance_sweep(
    session: AsyncSession, *, watermark: datetime | None = None, walked_at: datetime | None = None
) -> None:
    """Notes how far the sweep has come; None leaves what is there."""
    values: Mapping[str, datetime] = {
        name: moment
        for name, moment in (("watermark", watermark), ("walked_at", walked_at))
        if moment is not None
    }
    statement = insert(SweepState).values(id=_STATE, **values)
    if values:
        await session.execute(statement.on_conflict_do_update(index_elements=["id"], set_=dict(values)))


@asynccontextmanager
async def only_sweep(engine: AsyncEngine) -> AsyncIterator[bool]:
    """Whether this process is the one that sweeps, for the block."""
    async with engine.connect() as connection:
        mine = bool(await connection.scalar(select(func.pg_try_advisory_lock(_SWEEP_LOCK))))
        await connection.rollback()
        try:
            yield mine
        finally:
            if mine:
                await connection.execute(select(func.pg_advisory_unlock(_SWEEP_LOCK)))
