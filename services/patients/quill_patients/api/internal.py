"""What other services ask. The gateway does not know these routes."""

from fastapi import Depends

from quill_shared.platform.routing import router
from quill_shared.platform.service_tokens import require_service

from .. import schemas
from ..domain import is_patient_id
from ..errors import PatientNotFound
from .dependencies import Reading

routes = router("internal")


@routes.get(
    "/internal/patients/{patient_id}", dependencies=[Depends(require_service)], include_in_schema=False
)
async def get_summary(reading: Reading, patient_id: str) -> schemas.PatientSummary:
    """Whether there is such a patient, asked of FHIR itself."""
    if not is_patient_id(patient_id):
        raise PatientNotFound
    patient = await reading.summary(patient_id)
    return schemas.PatientSummary(
        patient_id=patient.patient_id, is_active=patient.is_active, version=patient.version
    )
