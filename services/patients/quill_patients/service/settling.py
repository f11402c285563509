"""Ends writes to FHIR whose request did not: the process died, or the answer was lost (ADR 0005)."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from quill_shared.platform.database import UnitOfWork
from quill_shared.platform.intents import Intent, Settle
from quill_shared.platform.service import Runtime

from ..errors import Overwritten, RefusedUpstream
from ..fhir.client import FhirPatients, Patient
from ..fhir.documents import Document
from . import index
from .writing import CREATE, UPDATE

logger = logging.getLogger(__name__)

_ADDED_BY_SERVERS: Final = frozenset({"meta", "text"})


class Settlement:
    """The handlers of unfinished intents."""

    def __init__(self, fhir: FhirPatients) -> None:
        self._fhir = fhir

    async def create(self, intent: Intent, uow: UnitOfWork) -> None:
        """Registers the patient after all: writes the resource unless it is there, and records it.

        What another writer stored under an id that our client chose is not ours, and opened to nobody.
        """
        is_chosen = intent.payload.get("is_chosen", True)
        text = intent.payload["text"]
        patient = await self._fhir.read(intent.target)
        if patient is None:
            try:
                patient = await self._fhir.create(intent.target, text, only_new=is_chosen)
            except RefusedUpstream:
                logger.warning("registration refused by FHIR", extra={"intent_id": str(intent.id)})
                return
            except Overwritten:
                logger.error("record of another writer overwritten", extra={"intent_id": str(intent.id)})
                return
        elif is_chosen and not _says(patient, text):
            logger.warning("id taken by another writer", extra={"intent_id": str(intent.id)})
            await index.note(uow, [patient])
            return
        await index.record_created(
            uow,
            patient,
            organisation_id=intent.payload["organisation_id"],
            created_by=intent.payload["created_by"],
        )

    async def update(self, intent: Intent, uow: UnitOfWork) -> None:
        """Records the version FHIR has now. A change that did not arrive is not made up for: nobody was
        told that it had been, and the caller may have decided otherwise since.
        """
        patient = await self._fhir.read(intent.target)
        if patient is not None:
            await index.note(uow, [patient])


def _says(patient: Patient, text: str) -> bool:
    """Whether a record is the resource in `text`, but for what servers write themselves."""
    return _own_elements(patient.document.content) == _own_elements(Document.of(text).content)


def _own_elements(resource: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name not in _ADDED_BY_SERVERS}


def intent_handlers(runtime: Runtime) -> Mapping[str, Settle]:
    """For the service definition. The adapters are looked up when an intent is due."""

    async def create(intent: Intent, uow: UnitOfWork) -> None:
        await Settlement(runtime.context.fhir).create(intent, uow)

    async def update(intent: Intent, uow: UnitOfWork) -> None:
        await Settlement(runtime.context.fhir).update(intent, uow)

    return {CREATE: create, UPDATE: update}
