"""Use cases of the orgs context; each method is one transaction."""

from collections.abc import Mapping, Sequence
from typing import Any

from quill_shared.kernel.access.repository import find_account, project
from quill_shared.kernel.access.tables import account as account_table
from quill_shared.kernel.permissions import SystemPermission
from quill_shared.kernel.principal import Principal
from quill_shared.platform.database import UnitOfWork
from quill_shared.platform.pagination import Page, PageRequest, cut
from quill_shared.platform.preconditions import require_match

from . import repository
from .directories import Accounts, Patients
from .domain import FeatureKey, JoinRequestStatus, OrganisationType, next_primary
from .errors import (
    AccountInactive,
    AlreadyPatient,
    AlreadyStaff,
    JoinRequestNotFound,
    MembershipNotFound,
    OrganisationNotFound,
    PatientNotFound,
    StaffLevelRequired,
    UnknownFeature,
    UnknownOrganisationType,
    UserNotFound,
)
from .events import (
    FeatureDisabled,
    FeatureEnabled,
    OrganisationCreated,
    OrganisationUpdated,
    PatientAdded,
    PatientRemoved,
    StaffAdded,
    StaffRemoved,
    StaffUpdated,
)
from .models import EnabledFeature, Organisation


def _subject(organisation_id: int) -> str:
    return f"organization:{organisation_id}"


class OrganisationService:
    """Organisations, who belongs to them, and what is switched on for them."""

    def __init__(self, uow: UnitOfWork, accounts: Accounts, patients: Patients) -> None:
        self._uow = uow
        self._session = uow.session
        self._accounts = accounts
        self._patients = patients

    async def page(self, page: PageRequest) -> Page[Organisation]:
        """Every organisation, by name."""
        rows = await repository.list_organisations(self._session, page)
        return cut(rows, page, lambda each: (each.name, each.id))

    async def create(self, *, name: str, type: str, location: str | None) -> Organisation:
        """A new organisation.

        Raises:
            UnknownOrganisationType: not in the catalogue.
        """
        organisation = await repository.add_organisation(
            self._session, name=name, type=_known_type(type), location=_text_or_none(location)
        )
        await self._uow.publish(
            OrganisationCreated(organisation_id=organisation.id, name=name, type=type),
            subject=_subject(organisation.id),
            sequence=organisation.version,
        )
        return organisation

    async def update(
        self,
        organisation_id: int,
        *,
        name: str,
        type: str,
        location: str | None,
        if_match: frozenset[str] | None,
    ) -> Organisation:
        """Replaces name, type and location.

        Raises:
            OrganisationNotFound: no such organisation.
            UnknownOrganisationType: not in the catalogue.
            PreconditionFailed: changed since the caller read it.
        """
        current = await self._existing(organisation_id, lock=True)
        require_match(if_match, current.revision)
        organisation = await repository.update_organisation(
            self._session,
            organisation_id,
            name=name,
            type=_known_type(type),
            location=_text_or_none(location),
        )
        await self._uow.publish(
            OrganisationUpdated(organisation_id=organisation_id, name=name, type=type),
            subject=_subject(organisation_id),
            sequence=organisation.version,
        )
        return organisation

    async def summary(self, organisation_id: int) -> Organisation:
        """One organisation.

        Raises:
            OrganisationNotFound: no such organisation.
        """
        return await self._existing(organisation_id)

    async def detail(self, organisation_id: int) -> dict[str, Any]:
        """The organisation with its staff and patients.

        Raises:
            OrganisationNotFound: no such organisation.
        """
        organisation = await self._existing(organisation_id)
        staff = await repository.staff_members(self._session, organisation_id)
        patients = await repository.patient_members(self._session, organisation_id)
        return {
            **repository.as_mapping(organisation),
            "staff_count": len(staff),
            "patient_count": len(patients),
            "staff_members": staff,
            "patient_members": patients,
        }

    async def add_staff(self, organisation_id: int, user_id: int) -> str:
        """Makes an account a member of staff; primary if it had no organisation. Answers the user name.

        Raises:
            OrganisationNotFound, UserNotFound: no such one.
            StaffLevelRequired, AccountInactive: the account may not be staff.
            AlreadyStaff: it is one already.
        """
        await self._existing(organisation_id)
        account = await self._staff_account(user_id)
        if not await self._join_staff(organisation_id, user_id):
            raise AlreadyStaff
        return str(account["username"])

    async def remove_staff(self, organisation_id: int, user_id: int) -> None:
        """Ends a membership; if it was primary, the longest-standing other one becomes so (fault 16).

        Raises:
            MembershipNotFound: not a member.
        """
        await repository.lock_person(self._session, f"user:{user_id}")
        memberships = await repository.staff_memberships(self._session, user_id)
        if all(each.organisation_id != organisation_id for each in memberships):
            raise MembershipNotFound
        successor = next_primary(memberships, organisation_id)
        versions = await repository.advance(
            self._session, [organisation_id] if successor is None else [organisation_id, successor]
        )
        await repository.remove_staff(self._session, organisation_id, user_id)
        await self._uow.publish(
            StaffRemoved(organisation_id=organisation_id, user_id=user_id, is_primary=False),
            subject=_subject(organisation_id),
            sequence=versions[organisation_id],
        )
        if successor is not None:
            await repository.make_staff_primary(self._session, successor, user_id)
            await self._uow.publish(
                StaffUpdated(organisation_id=successor, user_id=user_id, is_primary=True),
                subject=_subject(successor),
                sequence=versions[successor],
            )

    async def add_patient(self, organisation_id: int, patient_id: str) -> None:
        """Makes a patient the organisation's.

        Raises:
            OrganisationNotFound, PatientNotFound: no such one.
            AlreadyPatient: already the organisation's.
        """
        await self._existing(organisation_id)
        await self._uow.rollback()  # nothing is written yet, and the question may take seconds
        if not await self._patients.exists(patient_id):
            raise PatientNotFound
        if not await join_patient(self._uow, organisation_id, patient_id):
            raise AlreadyPatient

    async def remove_patient(self, organisation_id: int, patient_id: str) -> None:
        """Ends a patient's membership.

        Raises:
            MembershipNotFound: not a member.
        """
        await repository.lock_person(self._session, f"patient:{patient_id}")
        memberships = await repository.patient_memberships(self._session, patient_id)
        if all(each.organisation_id != organisation_id for each in memberships):
            raise MembershipNotFound
        version = await _advance(self._uow, organisation_id)
        await repository.remove_patient(self._session, organisation_id, patient_id)
        successor = next_primary(memberships, organisation_id)
        if successor is not None:
            await repository.make_patient_primary(self._session, successor, patient_id)
        await self._uow.publish(
            PatientRemoved(organisation_id=organisation_id, patient_id=patient_id),
            subject=_subject(organisation_id),
            sequence=version,
        )

    async def features(self, organisation_id: int) -> Sequence[EnabledFeature]:
        """What is switched on.

        Raises:
            OrganisationNotFound: no such organisation.
        """
        await self._existing(organisation_id)
        return await repository.features(self._session, organisation_id)

    async def switch_feature(self, organisation_id: int, key: str, *, enabled: bool, by: Principal) -> str:
        """Switches a feature; answers `enabled`, `already_enabled`, `disabled` or `already_disabled`.

        Raises:
            OrganisationNotFound: no such organisation.
            UnknownFeature: not in the catalogue.
        """
        await self._existing(organisation_id)
        if key not in set(FeatureKey):
            raise UnknownFeature
        # The version is raised first: it locks the organisation, so that what two people switch at
        # once reaches the others in the order in which it happened here.
        version = await _advance(self._uow, organisation_id)
        if enabled:
            changed = await repository.enable_feature(self._session, organisation_id, key, by=by.user_id)
        else:
            changed = await repository.disable_feature(self._session, organisation_id, key)
        word = "enabled" if enabled else "disabled"
        if not changed:
            await self._uow.rollback()
            return f"already_{word}"
        fact = FeatureEnabled if enabled else FeatureDisabled
        await self._uow.publish(
            fact(organisation_id=organisation_id, feature_key=key),
            subject=_subject(organisation_id),
            sequence=version,
        )
        return word

    async def join_requests(self, organisation_id: int) -> Sequence[Mapping[Any, Any]]:
        """The pending ones.

        Raises:
            OrganisationNotFound: no such organisation.
        """
        await self._existing(organisation_id)
        return await repository.join_requests(self._session, organisation_id)

    async def approve_join(self, organisation_id: int, user_id: int, *, by: Principal) -> None:
        """Turns a wish into a membership (fault 1: only an administrator's decision does).

        Raises:
            OrganisationNotFound, JoinRequestNotFound: no such one.
            StaffLevelRequired, AccountInactive: the account may not be staff; the wish stays pending.
        """
        await self._existing(organisation_id)
        if not await repository.is_join_pending(self._session, organisation_id, user_id):
            raise JoinRequestNotFound
        await self._staff_account(user_id)
        decided = await repository.decide_join_request(
            self._session, organisation_id, user_id, JoinRequestStatus.APPROVED, by=by.user_id
        )
        if not decided:
            raise JoinRequestNotFound
        # Somebody may have added them meanwhile: then the wish is fulfilled already.
        await self._join_staff(organisation_id, user_id)

    async def reject_join(self, organisation_id: int, user_id: int, *, by: Principal) -> None:
        """Declines a wish.

        Raises:
            OrganisationNotFound, JoinRequestNotFound: no such one.
        """
        await self._existing(organisation_id)
        decided = await repository.decide_join_request(
            self._session, organisation_id, user_id, JoinRequestStatus.REJECTED, by=by.user_id
        )
        if not decided:
            raise JoinRequestNotFound

    async def shared(self, principal: Principal, patient_id: str) -> Sequence[Organisation]:
        """What caller and patient have in common: for staff the organisations where one works and the
        other is a patient, for the patient their own, for anybody else nothing.
        """
        if principal.fhir_patient_id == patient_id:
            return await repository.organisations_of_patient(self._session, patient_id)
        if not principal.is_staff:
            return []
        return await repository.shared_organisations(self._session, principal.user_id, patient_id)

    async def _existing(self, organisation_id: int, *, lock: bool = False) -> Organisation:
        organisation = await repository.get_organisation(self._session, organisation_id, lock=lock)
        if organisation is None:
            raise OrganisationNotFound
        return organisation

    async def _staff_account(self, user_id: int) -> Mapping[str, Any]:
        """The account, if it may be staff. The directory may lag: before saying no, its owner is asked."""
        known = await find_account(self._session, user_id)
        if known is None or not _may_be_staff(known):
            await self._uow.rollback()  # nothing is written yet, and the question may take seconds
            found = await self._accounts.find(user_id)
            if found is None:
                raise UserNotFound
            known = found.model_dump()
            await project(self._session, account_table, known)
        if not known["is_active"]:
            raise AccountInactive
        if not _may_be_staff(known):
            raise StaffLevelRequired
        return known

    async def _join_staff(self, organisation_id: int, user_id: int) -> bool:
        """Records the membership; False if it was there already."""
        await repository.lock_person(self._session, f"user:{user_id}")
        memberships = await repository.staff_memberships(self._session, user_id)
        if any(each.organisation_id == organisation_id for each in memberships):
            return False
        version = await _advance(self._uow, organisation_id)
        is_primary = not memberships
        await repository.add_staff(self._session, organisation_id, user_id, is_primary=is_primary)
        await self._uow.publish(
            StaffAdded(organisation_id=organisation_id, user_id=user_id, is_primary=is_primary),
            subject=_subject(organisation_id),
            sequence=version,
        )
        return True


async def join_patient(uow: UnitOfWork, organisation_id: int, patient_id: str) -> bool:
    """Records the membership of a patient known to exist; False if it was there already.

    Raises:
        OrganisationNotFound: no such organisation.
    """
    await repository.lock_person(uow.session, f"patient:{patient_id}")
    memberships = await repository.patient_memberships(uow.session, patient_id)
    if any(each.organisation_id == organisation_id for each in memberships):
        return False
    version = await _advance(uow, organisation_id)
    await repository.add_patient(uow.session, organisation_id, patient_id, is_primary=not memberships)
    await uow.publish(
        PatientAdded(organisation_id=organisation_id, patient_id=patient_id),
        subject=_subject(organisation_id),
        sequence=version,
    )
    return True


async def _advance(uow: UnitOfWork, organisation_id: int) -> int:
    versions = await repository.advance(uow.session, [organisation_id])
    if organisation_id not in versions:
        raise OrganisationNotFound
    return versions[organisation_id]


def _may_be_staff(account: Mapping[str, Any]) -> bool:
    permission = SystemPermission.parse(account["system_permissions"])
    return bool(account["is_active"]) and permission.at_least(SystemPermission.STAFF)


def _known_type(type: str) -> str:
    if type not in set(OrganisationType):
        raise UnknownOrganisationType
    return type


def _text_or_none(value: str | None) -> str | None:
    return (value or "").strip() or None
