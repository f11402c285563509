"""Registering and changing patients.

Each write goes by an intent (ADR 0005): decided and claimed in our database, then written to FHIR, then
recorded. No transaction is open while FHIR is asked.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from quill_shared.kernel.access import CareAccess
from quill_shared.kernel.access.repository import organisations_of, primary_organisation
from quill_shared.kernel.principal import Principal
from quill_shared.platform.clock import now
from quill_shared.platform.database import UnitOfWork
from quill_shared.platform.errors import FieldError, GatewayTimeout, Unprocessable
from quill_shared.platform.http import NotSent
from quill_shared.platform.identifiers import new_id
from quill_shared.platform.intents import abandon, begin, finish

from .. import repository
from ..domain import InvalidValueError, assignable_id, likely_same
from ..errors import (
    NotOwnOrganisation,
    OrganisationNotFound,
    Overwritten,
    PatientBusy,
    PatientChanged,
    PatientExists,
    PatientNotFound,
    RefusedUpstream,
    SeveralMatches,
    VersionConflict,
)
from ..fhir import documents, mapping, validation
from ..fhir.client import Criteria, Patient
from . import index
from .claims import Identifier, IdentifierClaims, nhs_identifiers, own_id
from .context import PatientsContext

logger = logging.getLogger(__name__)

CREATE: Final = "patient.create"
UPDATE: Final = "patient.update"

_MOST_SAME_BIRTHDAY: Final = 200
_ATTEMPTS: Final = 3
_MEMBERSHIP_TRIES: Final = 5
_MEMBERSHIP_PAUSE: Final = 0.2
_LONGEST_PAUSE_MILLISECONDS: Final = 60

Edit = Callable[[mapping.Resource], mapping.Resource]


@dataclass(frozen=True, slots=True)
class Registered:
    """A new patient; `lookalikes` are the visible ones that may be the same person, None: there are none,
    not even such that the caller may not see.
    """

    patient: Patient
    lookalikes: Sequence[str] | None


class PatientWriting:
    """Writes in the unit of work of a request."""

    def __init__(self, uow: UnitOfWork, context: PatientsContext) -> None:
        self._uow = uow
        self._context = context
        self._fhir = context.fhir
        self._access = CareAccess(uow.session)
        self._claims = IdentifierClaims(uow, context.fhir, context.digest_key)

    async def register(
        self,
        principal: Principal,
        given: mapping.Demographics,
        *,
        patient_id: str | None,
        organisation_id: int | None,
    ) -> Registered:
        """Registers a patient by demographics (hazard 0012: looks for the same person first).

        Raises:
            PatientExists: the NHS number or the id is another record's; nothing is overwritten.
            NotOwnOrganisation: not one to register patients for.
        """
        organisation_id = await self._organisation(principal, organisation_id)
        resource = mapping.new_patient(
            patient_id or str(new_id()), given, mrn_system=self._context.mrn_system
        )
        validation.check(resource, today=now().date())
        identifiers = nhs_identifiers(resource)
        if patient_id is not None:
            identifiers |= {own_id(patient_id)}
            await self._refuse_known_id(patient_id)
        lookalikes, _ = await asyncio.gather(
            self._lookalikes(resource), self._claims.refuse_known(identifiers, resource["id"])
        )
        visible = await self._visible(principal, lookalikes)
        patient = await self._create(principal, resource, identifiers, organisation_id)
        return Registered(patient, visible if lookalikes else None)

    async def store(
        self,
        principal: Principal,
        received: mapping.Resource,
        *,
        organisation_id: int | None,
        unless: Criteria | None = None,
    ) -> tuple[Patient, bool]:
        """Stores a resource as received under a new id (FHIR R4, create); False: `unless` was met already.

        Raises:
            PatientExists: its NHS number is another record's, or `unless` is met by one not to be seen.
            SeveralMatches: `unless` is met by several.
            Unprocessable: not a valid Patient.
        """
        validation.check(received, today=now().date())
        organisation_id = await self._organisation(principal, organisation_id)
        resource = mapping.with_id(received, str(new_id()))
        if unless is not None:
            await self._uow.rollback()
            existing = await self._fhir.search(unless, limit=2)
            if len(existing) > 1:
                raise SeveralMatches
            if existing:
                if not await self._access.may_view(principal, existing[0].patient_id):
                    raise PatientExists(existing[0].patient_id)
                return existing[0], False
        return await self._store(principal, resource, nhs_identifiers(resource), organisation_id), True

    async def replace(
        self,
        principal: Principal,
        patient_id: str,
        received: mapping.Resource,
        *,
        organisation_id: int | None,
        expected: Collection[int] | None = None,
        only_new: bool = False,
    ) -> tuple[Patient, bool]:
        """Stores a resource as received as the patient's next version (FHIR R4, update); for an
        administrator also as a new patient's first, then True.

        Raises:
            Forbidden: the caller may not see the patient.
            PatientChanged: the current version is not an expected one, or `only_new` and there is one.
            PatientExists: its NHS number is another record's, or the id was a deleted one's.
            Unprocessable: not a valid Patient.
        """
        validation.check(received, today=now().date())
        await self._access.require_view(principal, patient_id)
        await self._uow.rollback()
        resource = mapping.with_id(received, patient_id)
        current = await self._fhir.read(patient_id)
        if current is None:
            if not principal.is_admin:
                raise PatientNotFound
            if expected is not None:
                raise PatientChanged
            _require_assignable(patient_id)
            await self._refuse_known_id(patient_id)
            organisation_id = await self._organisation(principal, organisation_id)
            identifiers = nhs_identifiers(resource) | {own_id(patient_id)}
            return await self._store(principal, resource, identifiers, organisation_id), True
        if only_new:
            raise PatientChanged("The patient exists", code="patient_exists")
        changed = await self.change(
            principal, patient_id, lambda before: mapping.replacing(before, received), expected=expected
        )
        return changed, False

    async def change(
        self,
        principal: Principal,
        patient_id: str,
        edit: Edit,
        *,
        expected: Collection[int] | None = None,
    ) -> Patient:
        """Applies `edit` to the current version and to no other; what it leaves alone stays as it is.

        Raises:
            Forbidden: the caller may not see the patient.
            PatientNotFound: there is none.
            PatientChanged: the current version is not an expected one.
            PatientBusy: others were quicker again and again.
            PatientExists: the NHS number is another record's.
            Unprocessable: the outcome would not be a valid Patient.
        """
        await self._access.require_view(principal, patient_id)
        await self._uow.rollback()
        for _ in range(_ATTEMPTS):
            current = await self._fhir.read(patient_id)
            if current is None:
                raise PatientNotFound
            if expected is not None and current.version not in expected:
                raise PatientChanged
            before = documents.parse(current.document.text)
            after = edit(before)
            text = documents.dump(after)
            if text == documents.dump(before):
                # Maybe a change of ours whose answer was lost: known from now on.
                await index.note(self._uow, [current])
                return current
            validation.check(after, today=now().date())
            claimed = nhs_identifiers(after) - nhs_identifiers(before)
            await self._claims.refuse_known(claimed, patient_id)
            try:
                return await self._update(current, text, after, claimed)
            except VersionConflict:
                await asyncio.sleep(secrets.randbelow(_LONGEST_PAUSE_MILLISECONDS) / 1000)
        raise PatientBusy

    async def _store(
        self,
        principal: Principal,
        resource: mapping.Resource,
        identifiers: Collection[Identifier],
        organisation_id: int | None,
    ) -> Patient:
        await self._uow.rollback()
        await self._claims.refuse_known(nhs_identifiers(resource), resource["id"])
        return await self._create(principal, resource, identifiers, organisation_id)

    async def _create(
        self,
        principal: Principal,
        resource: mapping.Resource,
        identifiers: Collection[Identifier],
        organisation_id: int | None,
    ) -> Patient:
        patient_id: str = resource["id"]
        text = documents.dump(resource)
        # An id that the client chose may be known to other clients of the FHIR server.
        is_chosen = own_id(patient_id) in identifiers
        await self._claims.secure(identifiers, patient_id)
        intent = await begin(
            self._uow,
            CREATE,
            target=patient_id,
            payload={
                "text": text,
                "organisation_id": organisation_id,
                "created_by": principal.user_id,
                "is_chosen": is_chosen,
            },
            grace=self._context.grace,
        )
        try:
            patient = await self._fhir.create(patient_id, text, only_new=is_chosen)
        except (NotSent, RefusedUpstream):
            await abandon(self._uow, intent)
            raise
        except VersionConflict as conflict:
            if not is_chosen:
                # Nobody else knows this id: it was an attempt of our own whose answer was lost.
                raise GatewayTimeout from None
            await abandon(self._uow, intent)
            if isinstance(conflict, Overwritten):
                logger.error("record of another writer overwritten", extra={"intent_id": str(intent.id)})
            raise PatientExists(patient_id) from None
        # The intent first, as the reconciler holds it while it writes the rest.
        await finish(self._uow, intent)
        await index.record_created(
            self._uow, patient, organisation_id=organisation_id, created_by=principal.user_id
        )
        return patient

    async def _update(
        self, current: Patient, text: str, after: mapping.Resource, claimed: Collection[Identifier]
    ) -> Patient:
        await self._claims.secure(claimed, current.patient_id)
        intent = await begin(
            self._uow,
            UPDATE,
            target=current.patient_id,
            payload={"version": current.version},
            grace=self._context.grace,
        )
        try:
            patient = await self._fhir.update(current.patient_id, text, version=current.version)
        except (NotSent, RefusedUpstream, VersionConflict):
            await abandon(self._uow, intent)
            raise
        await finish(self._uow, intent)
        await index.note(self._uow, [patient])
        await self._claims.forget_others(after)
        return patient

    async def _organisation(self, principal: Principal, wanted: int | None) -> int | None:
        """The organisation a new patient is registered for: the caller's primary one unless they say so,
        one of their own, for an administrator any.

        A membership that the orgs service has just recorded may be on its way here; it is waited for.

        Raises:
            NotOwnOrganisation: the caller does not work there.
            OrganisationNotFound: an administrator named one that does not exist.
        """
        session = self._uow.session
        if wanted is None:
            wanted = await primary_organisation(session, principal.user_id)
            await self._uow.rollback()
            return wanted
        if principal.is_admin:
            await self._uow.rollback()
            if not await self._context.organisations.exists(wanted):
                raise OrganisationNotFound
            return wanted
        for tries_left in reversed(range(_MEMBERSHIP_TRIES)):
            own = await organisations_of(session, principal.user_id)
            await self._uow.rollback()
            if wanted in own:
                return wanted
            if tries_left:
                await asyncio.sleep(_MEMBERSHIP_PAUSE)
        raise NotOwnOrganisation

    async def _refuse_known_id(self, patient_id: str) -> None:
        """An id is never used a second time, not even after its record was deleted from FHIR."""
        known = await repository.find(self._uow.session, patient_id)
        await self._uow.rollback()
        if known is not None:
            raise PatientExists(patient_id)

    async def _lookalikes(self, resource: mapping.Resource) -> list[str]:
        sought = mapping.identity(resource)
        if sought.born is None:
            return []
        found = await self._fhir.search([("birthdate", sought.born.isoformat())], limit=_MOST_SAME_BIRTHDAY)
        return [
            patient.patient_id
            for patient in found
            if likely_same(sought, mapping.identity(patient.document.content))
        ]

    async def _visible(self, principal: Principal, ids: Sequence[str]) -> list[str]:
        visible = [each for each in ids if await self._access.may_view(principal, each)]
        await self._uow.rollback()
        return visible


def _require_assignable(patient_id: str) -> None:
    """Some FHIR servers take an id of digits only and others do not: Quill never chooses one."""
    try:
        assignable_id(patient_id)
    except InvalidValueError as error:
        fault: FieldError = {"loc": ["body", "id"], "msg": str(error), "type": "invalid_id"}
        raise Unprocessable([fault], "The resource is not a valid Patient", code="invalid_resource") from None
