"""Keeps the index of patients true to FHIR, and tells the other services what changed."""

import logging
from collections.abc import Sequence

from quill_shared.platform.database import UnitOfWork

from .. import repository
from ..events import PatientActivated, PatientCreated, PatientDeactivated, PatientUpdated
from ..fhir.client import Patient
from ..models import PatientIndex

logger = logging.getLogger(__name__)


def subject(patient_id: str) -> str:
    """The subject of a patient's events."""
    return f"patient:{patient_id}"


async def observe(uow: UnitOfWork, patients: Sequence[Patient]) -> None:
    """Takes note of patients as FHIR has them now.

    Those that a request of ours is just writing are left to it: it knows who writes, and for whom.
    """
    ids = [patient.patient_id for patient in patients]
    if not ids:
        return
    busy = await repository.being_written(uow.session, ids)
    await note(uow, [patient for patient in patients if patient.patient_id not in busy])


async def note(uow: UnitOfWork, patients: Sequence[Patient]) -> None:
    """Takes note of patients as FHIR has them now, whoever wrote them."""
    known = await repository.lock(uow.session, [patient.patient_id for patient in patients])
    for patient in sorted(patients, key=lambda each: (each.last_updated, each.patient_id)):
        row = known.get(patient.patient_id)
        if row is None:
            await _add(uow, patient, organisation_id=None, created_by=None)
        else:
            await _refresh(uow, row, patient)


async def record_created(
    uow: UnitOfWork, patient: Patient, *, organisation_id: int | None, created_by: int
) -> None:
    """A patient was registered here. Staff of the organisation see them from this transaction on."""
    known = await repository.lock(uow.session, [patient.patient_id])
    row = known.get(patient.patient_id)
    if row is None:
        await _add(uow, patient, organisation_id=organisation_id, created_by=created_by)
    else:
        _take(row, patient)
        await uow.publish(
            PatientCreated(
                patient_id=patient.patient_id,
                version=patient.version,
                organisation_id=organisation_id,
                created_by=created_by,
            ),
            subject=subject(patient.patient_id),
            sequence=row.sequence,
        )
    if organisation_id is not None:
        await repository.open_to(uow.session, organisation_id, patient.patient_id)


async def record_gone(uow: UnitOfWork, ids: Sequence[str]) -> None:
    """Patients of the index that FHIR no longer has; to the others they are no longer in use."""
    for row in (await repository.lock(uow.session, ids)).values():
        if row.is_gone:
            continue
        row.is_gone = True
        row.is_active = False
        row.sequence += 1
        logger.warning("patient vanished from FHIR", extra={"version": row.version})
        await uow.publish(
            PatientDeactivated(patient_id=row.patient_id, version=row.version),
            subject=subject(row.patient_id),
            sequence=row.sequence,
        )


async def _add(
    uow: UnitOfWork, patient: Patient, *, organisation_id: int | None, created_by: int | None
) -> None:
    added = await repository.add(
        uow.session,
        patient.patient_id,
        version=patient.version,
        last_updated=patient.last_updated,
        is_active=patient.is_active,
    )
    if added:
        await uow.publish(
            PatientCreated(
                patient_id=patient.patient_id,
                version=patient.version,
                organisation_id=organisation_id,
                created_by=created_by,
            ),
            subject=subject(patient.patient_id),
            sequence=1,
        )


async def _refresh(uow: UnitOfWork, row: PatientIndex, patient: Patient) -> None:
    """An answer of FHIR may be older than what is known; then it changes nothing."""
    newer = patient.version > row.version or patient.last_updated > row.last_updated
    if not newer and not row.is_gone:
        return
    was_active = row.is_active
    _take(row, patient)
    kind: type[PatientUpdated | PatientActivated | PatientDeactivated] = PatientUpdated
    if patient.is_active != was_active:
        kind = PatientActivated if patient.is_active else PatientDeactivated
    await uow.publish(
        kind(patient_id=patient.patient_id, version=patient.version),
        subject=subject(patient.patient_id),
        sequence=row.sequence,
    )


def _take(row: PatientIndex, patient: Patient) -> None:
    row.version = patient.version
    row.last_updated = patient.last_updated
    row.is_active = patient.is_active
    row.is_gone = False
    row.sequence += 1
