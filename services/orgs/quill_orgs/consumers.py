"""What the orgs service does on others' events."""

import logging

from quill_shared.kernel.access import account_consumers
from quill_shared.platform.database import UnitOfWork
from quill_shared.platform.events import Consumed, Consumers, Received

from . import repository
from .errors import OrganisationNotFound
from .service import join_patient

logger = logging.getLogger(__name__)
_own = Consumers()


class PatientCreated(Consumed):
    """What is read of patients.patient.created.v1."""

    patient_id: str
    organisation_id: int | None = None


class JoinRequested(Consumed):
    """What is read of auth.join.requested.v1."""

    user_id: int
    organisation_id: int


@_own.on("patients.patient.created.v1", PatientCreated)
async def patient_created(event: Received[PatientCreated], uow: UnitOfWork) -> None:
    """Makes a new patient a member of the organisation they were registered by."""
    if event.data.organisation_id is None:
        return
    try:
        await join_patient(uow, event.data.organisation_id, event.data.patient_id)
    except OrganisationNotFound:
        logger.warning("patient registered for an unknown organisation", extra={"event_id": str(event.id)})


@_own.on("auth.join.requested.v1", JoinRequested)
async def join_requested(event: Received[JoinRequested], uow: UnitOfWork) -> None:
    """Keeps the wish until an administrator decides."""
    await repository.record_join_request(uow.session, event.data.organisation_id, event.data.user_id)


consumers = Consumers.joined([account_consumers, _own])
