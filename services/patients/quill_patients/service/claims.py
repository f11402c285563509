"""One NHS number, one patient: who may bear an identifier, decided between concurrent writers.

FHIR is the truth, but it has no unique constraint that spans two writers. So each writer first claims
the identifier in our database, together with its intent. A claim is only a hint: it holds while its
patient is being written, or when FHIR shows that the patient bears the identifier.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Collection, Mapping
from typing import Any, Final

from quill_shared.platform.database import UnitOfWork

from .. import repository
from ..domain import NHS_NUMBER_SYSTEM
from ..errors import PatientExists
from ..fhir.client import FhirPatients
from ..fhir.mapping import nhs_numbers, token
from ..repository import Claim

_ID_SYSTEM: Final = "urn:quill:patient-id"
_PATIENCE_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.05

Identifier = tuple[str, str]


def nhs_identifiers(resource: Mapping[str, Any]) -> frozenset[Identifier]:
    """The identifiers of a resource that no other patient may bear."""
    return frozenset((NHS_NUMBER_SYSTEM, number) for number in nhs_numbers(resource))


def own_id(patient_id: str) -> Identifier:
    """The identifier that an id chosen by a client is."""
    return (_ID_SYSTEM, patient_id)


class IdentifierClaims:
    """Claims identifiers in the transaction of `uow`."""

    def __init__(self, uow: UnitOfWork, fhir: FhirPatients, key: bytes) -> None:
        self._uow = uow
        self._fhir = fhir
        self._key = key

    async def refuse_known(self, identifiers: Collection[Identifier], patient_id: str) -> None:
        """Looks in FHIR, where others write too. To be asked without a transaction open.

        Raises:
            PatientExists: another patient bears one of the identifiers.
        """
        for system, value in sorted(identifiers):
            if system == _ID_SYSTEM:
                if await self._fhir.read(value) is not None:
                    raise PatientExists(value)
                continue
            for found in await self._fhir.search([("identifier", token(system, value))], limit=5):
                if found.patient_id != patient_id:
                    raise PatientExists(found.patient_id)

    async def secure(self, identifiers: Collection[Identifier], patient_id: str) -> None:
        """Claims identifiers for a patient, to become durable with the intent.

        Raises:
            PatientExists: another patient bears one, or is just being registered with it.
        """
        impatient_at = time.monotonic() + _PATIENCE_SECONDS
        while (other := await self._competitor(identifiers, patient_id)) is not None:
            if time.monotonic() > impatient_at:
                raise PatientExists(other)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _competitor(self, identifiers: Collection[Identifier], patient_id: str) -> str | None:
        """Claims everything, then None; or the patient whose write under way will decide.

        Raises:
            PatientExists: another patient bears one.
        """
        by_digest = {self._digest(identifier): identifier for identifier in identifiers}
        stale: dict[bytes, Claim] = {}
        while held := await repository.claim(self._uow.session, list(by_digest), patient_id, stale=stale):
            await self._uow.rollback()
            for digest, holder in held.items():
                if holder is None:
                    continue  # Dropped this very moment: claimed again at once.
                if await self._is_being_written(holder.patient_id):
                    return holder.patient_id
                if await self._bears(holder.patient_id, by_digest[digest]):
                    raise PatientExists(holder.patient_id)
                stale[digest] = holder
        if own_id(patient_id) in identifiers and await self._is_taken(patient_id):
            await self._uow.rollback()
            return patient_id
        return None

    async def _is_taken(self, patient_id: str) -> bool:
        """Whether another request is registering a patient under this id; the claim is held meanwhile.

        Raises:
            PatientExists: one has.
        """
        # In this order: whoever ends their write between the two is then found in the index.
        if await repository.being_written(self._uow.session, [patient_id]):
            return True
        known = await repository.find(self._uow.session, patient_id)
        if known is not None and not known.is_gone:
            raise PatientExists(patient_id)
        return False

    async def _is_being_written(self, patient_id: str) -> bool:
        busy = await repository.being_written(self._uow.session, [patient_id])
        await self._uow.rollback()
        return bool(busy)

    async def forget_others(self, resource: Mapping[str, Any]) -> None:
        """Drops what the patient claimed once and does not bear any more."""
        kept = [*nhs_identifiers(resource), own_id(resource["id"])]
        await repository.forget_claims(
            self._uow.session, resource["id"], but=[self._digest(identifier) for identifier in kept]
        )

    async def _bears(self, patient_id: str, identifier: Identifier) -> bool:
        found = await self._fhir.read(patient_id)
        if found is None or identifier[0] == _ID_SYSTEM:
            return found is not None
        return identifier in nhs_identifiers(found.document.content)

    def _digest(self, identifier: Identifier) -> bytes:
        return hmac.digest(self._key, "|".join(identifier).encode(), hashlib.sha256)
