"""Every query of the orgs context."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, exists, func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from quill_shared.kernel.access.tables import account
from quill_shared.platform.clock import now
from quill_shared.platform.pagination import PageRequest

from .domain import JoinRequestStatus, Membership
from .models import EnabledFeature, JoinRequest, Organisation, PatientMembership, StaffMembership


async def add_organisation(
    session: AsyncSession, *, name: str, type: str, location: str | None
) -> Organisation:
    """A new organisation, at version 1."""
    organisation = Organisation(name=name, type=type, location=location)
    session.add(organisation)
    await session.flush()
    await session.refresh(organisation)
    return organisation


async def list_organisations(session: AsyncSession, page: PageRequest) -> Sequence[Organisation]:
    """By name and id; one more than the page, so that the caller sees whether there is a next."""
    query = select(Organisation).order_by(Organisation.name, Organisation.id).limit(page.limit + 1)
    if page.after is not None:
        query = query.where(tuple_(Organisation.name, Organisation.id) > tuple_(*page.after))
    return (await session.scalars(query)).all()


async def get_organisation(
    session: AsyncSession, organisation_id: int, *, lock: bool = False
) -> Organisation | None:
    """One organisation; `lock`: nobody else changes it until the transaction ends."""
    return await session.get(Organisation, organisation_id, with_for_update=lock or None)


async def advance(session: AsyncSession, organisation_ids: Iterable[int]) -> dict[int, int]:
    """Locks the organisations and raises their versions; answers the new ones of those that exist.

    Always in ascending order, so that two who change the same organisations cannot wait for each other.
    """
    versions: dict[int, int] = {}
    for organisation_id in sorted(set(organisation_ids)):
        version = await session.scalar(
            update(Organisation)
            .where(Organisation.id == organisation_id)
            .values(version=Organisation.version + 1)
            .returning(Organisation.version)
        )
        if version is not None:
            versions[organisation_id] = version
    return versions


async def update_organisation(
    session: AsyncSession, organisation_id: int, *, name: str, type: str, location: str | None
) -> Organisation:
    """The organisation, locked by the caller, with its new values and the next version and revision."""
    updated = await session.execute(
        update(Organisation)
        .where(Organisation.id == organisation_id)
        .values(
            name=name,
            type=type,
            location=location,
            version=Organisation.version + 1,
            revision=Organisation.revision + 1,
            updated_at=now(),
        )
        .returning(Organisation)
        .execution_options(populate_existing=True)
    )
    return updated.scalar_one()


async def staff_members(session: AsyncSession, organisation_id: int) -> list[dict[str, Any]]:
    """id, username, email, is_primary; by id. An account the directory does not know yet has empty texts."""
    rows = await session.execute(
        select(
            StaffMembership.user_id.label("id"),
            func.coalesce(account.c.username, "").label("username"),
            func.coalesce(account.c.email, "").label("email"),
            StaffMembership.is_primary,
        )
        .outerjoin(account, account.c.user_id == StaffMembership.user_id)
        .where(StaffMembership.organisation_id == organisation_id)
        .order_by(StaffMembership.user_id)
    )
    return [dict(row) for row in rows.mappings()]


async def patient_members(session: AsyncSession, organisation_id: int) -> list[dict[str, Any]]:
    """patient_id, is_primary; in the order they came."""
    rows = await session.execute(
        select(PatientMembership.patient_id, PatientMembership.is_primary)
        .where(PatientMembership.organisation_id == organisation_id)
        .order_by(PatientMembership.created_at, PatientMembership.patient_id)
    )
    return [dict(row) for row in rows.mappings()]


async def lock_person(session: AsyncSession, person: str) -> None:
    """Lets one transaction at a time change the memberships of `person` (`user:12`, `patient:p-1`)."""
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:person, 0))"), {"person": person}
    )


async def staff_memberships(session: AsyncSession, user_id: int) -> list[Membership]:
    """All of an account's, longest-standing first."""
    rows = await session.execute(
        select(StaffMembership.organisation_id, StaffMembership.is_primary)
        .where(StaffMembership.user_id == user_id)
        .order_by(StaffMembership.created_at, StaffMembership.organisation_id)
    )
    return [Membership(*row) for row in rows]


async def patient_memberships(session: AsyncSession, patient_id: str) -> list[Membership]:
    """All of a patient's, longest-standing first."""
    rows = await session.execute(
        select(PatientMembership.organisation_id, PatientMembership.is_primary)
        .where(PatientMembership.patient_id == patient_id)
        .order_by(PatientMembership.created_at, PatientMembership.organisation_id)
    )
    return [Membership(*row) for row in rows]


async def add_staff(session: AsyncSession, organisation_id: int, user_id: int, *, is_primary: bool) -> None:
    """One membership more; the caller has seen that it is not there, under the person's lock."""
    await session.execute(
        insert(StaffMembership).values(
            organisation_id=organisation_id, user_id=user_id, is_primary=is_primary
        )
    )


async def add_patient(
    session: AsyncSession, organisation_id: int, patient_id: str, *, is_primary: bool
) -> None:
    """One membership more; the caller has seen that it is not there, under the person's lock."""
    await session.execute(
        insert(PatientMembership).values(
            organisation_id=organisation_id, patient_id=patient_id, is_primary=is_primary
        )
    )


async def remove_staff(session: AsyncSession, organisation_id: int, user_id: int) -> None:
    """One membership less."""
    await session.execute(
        delete(StaffMembership).where(
            StaffMembership.organisation_id == organisation_id, StaffMembership.user_id == user_id
        )
    )


async def remove_patient(session: AsyncSession, organisation_id: int, patient_id: str) -> None:
    """One membership less."""
    await session.execute(
        delete(PatientMembership).where(
            PatientMembership.organisation_id == organisation_id, PatientMembership.patient_id == patient_id
        )
    )


async def make_staff_primary(session: AsyncSession, organisation_id: int, user_id: int) -> None:
    """Marks a membership as the account's primary one."""
    await session.execute(
        update(StaffMembership)
        .where(StaffMembership.organisation_id == organisation_id, StaffMembership.user_id == user_id)
        .values(is_primary=True)
    )


async def make_patient_primary(session: AsyncSession, organisation_id: int, patient_id: str) -> None:
    """Marks a membership as the patient's primary one."""
    await session.execute(
        update(PatientMembership)
        .where(
            PatientMembership.organisation_id == organisation_id, PatientMembership.patient_id == patient_id
        )
        .values(is_primary=True)
    )


async def features(session: AsyncSession, organisation_id: int) -> Sequence[EnabledFeature]:
    """The features that are on, by key."""
    rows = await session.scalars(
        select(EnabledFeature)
        .where(EnabledFeature.organisation_id == organisation_id)
        .order_by(EnabledFeature.feature_key)
    )
    return rows.all()


async def enable_feature(session: AsyncSession, organisation_id: int, key: str, *, by: int) -> bool:
    """Whether it was off before."""
    done = await session.execute(
        insert(EnabledFeature)
        .values(organisation_id=organisation_id, feature_key=key, enabled_by=by)
        .on_conflict_do_nothing()
        .returning(EnabledFeature.feature_key)
    )
    return done.first() is not None


async def disable_feature(session: AsyncSession, organisation_id: int, key: str) -> bool:
    """Whether it was on before."""
    done = await session.execute(
        delete(EnabledFeature)
        .where(EnabledFeature.organisation_id == organisation_id, EnabledFeature.feature_key == key)
        .returning(EnabledFeature.feature_key)
    )
    return done.first() is not None


async def record_join_request(session: AsyncSession, organisation_id: int, user_id: int) -> None:
    """A wish, once; a decision already made stands. For unknown ones it is in vain."""
    if not await session.scalar(select(exists().where(Organisation.id == organisation_id))):
        return
    await session.execute(
        insert(JoinRequest)
        .values(organisation_id=organisation_id, user_id=user_id, status=JoinRequestStatus.PENDING)
        .on_conflict_do_nothing()
    )


async def join_requests(session: AsyncSession, organisation_id: int) -> list[dict[str, Any]]:
    """user_id, username, email, requested_at of the pending ones, oldest first."""
    rows = await session.execute(
        select(
            JoinRequest.user_id,
            func.coalesce(account.c.username, "").label("username"),
            func.coalesce(account.c.email, "").label("email"),
            JoinRequest.requested_at,
        )
        .outerjoin(account, account.c.user_id == JoinRequest.user_id)
        .where(
            JoinRequest.organisation_id == organisation_id, JoinRequest.status == JoinRequestStatus.PENDING
        )
        .order_by(JoinRequest.requested_at, JoinRequest.user_id)
    )
    return [dict(row) for row in rows.mappings()]


async def is_join_pending(session: AsyncSession, organisation_id: int, user_id: int) -> bool:
    """Whether a wish awaits its decision."""
    pending = exists().where(
        JoinRequest.organisation_id == organisation_id,
        JoinRequest.user_id == user_id,
        JoinRequest.status == JoinRequestStatus.PENDING,
    )
    return bool(await session.scalar(select(pending)))


async def decide_join_request(
    session: AsyncSession, organisation_id: int, user_id: int, status: JoinRequestStatus, *, by: int
) -> bool:
    """Whether there was a pending one."""
    done = await session.execute(
        update(JoinRequest)
        .where(
            JoinRequest.organisation_id == organisation_id,
            JoinRequest.user_id == user_id,
            JoinRequest.status == JoinRequestStatus.PENDING,
        )
        .values(status=status, decided_at=now(), decided_by=by)
        .returning(JoinRequest.user_id)
    )
    return done.first() is not None


async def shared_organisations(
    session: AsyncSession, user_id: int, patient_id: str
) -> Sequence[Organisation]:
    """The organisations in which one is staff and the other patient, by name."""
    rows = await session.scalars(
        select(Organisation)
        .join(StaffMembership, StaffMembership.organisation_id == Organisation.id)
        .join(PatientMembership, PatientMembership.organisation_id == Organisation.id)
        .where(StaffMembership.user_id == user_id, PatientMembership.patient_id == patient_id)
        .order_by(Organisation.name, Organisation.id)
    )
    return rows.all()


async def organisations_of_patient(session: AsyncSession, patient_id: str) -> Sequence[Organisation]:
    """The organisations a patient belongs to, by name."""
    rows = await session.scalars(
        select(Organisation)
        .join(PatientMembership, PatientMembership.organisation_id == Organisation.id)
        .where(PatientMembership.patient_id == patient_id)
        .order_by(Organisation.name, Organisation.id)
    )
    return rows.all()


def as_mapping(organisation: Organisation) -> dict[str, Any]:
    """The columns a client sees."""
    return {
        name: getattr(organisation, name)
        for name in ("id", "name", "type", "location", "revision", "created_at", "updated_at")
    }
