"""Demographics of one patient."""

from starlette.responses import Response

from quill_shared.kernel.guards import Clinician, SignedIn, clinical_services
from quill_shared.platform.errors import Unprocessable
from quill_shared.platform.routing import router

from .. import schemas
from ..errors import RefusedUpstream
from ..fhir import mapping
from .dependencies import Context, Expected, PatientId, Reading, Writing, patient_answer, spliced

routes = router("patients")
routes.dependencies.append(clinical_services)


@routes.get("/api/patients/{patient_id}/demographics", response_model=schemas.Demographics)
async def get_demographics(principal: SignedIn, reading: Reading, patient_id: PatientId) -> Response:
    """The patient's record, as FHIR has it."""
    patient = await reading.get(principal, patient_id)
    return patient_answer(patient, text=spliced("data", patient.document.text, patient_id=patient.patient_id))


@routes.put("/api/patients/{patient_id}/demographics", response_model=schemas.DemographicsUpdated)
async def put_demographics(
    principal: Clinician,
    writing: Writing,
    context: Context,
    patient_id: PatientId,
    expected: Expected,
    body: schemas.DemographicsWrite,
) -> Response:
    """Changes what is given and nothing else."""
    given = body.demographics()
    try:
        patient = await writing.change(
            principal,
            patient_id,
            lambda before: mapping.changed(before, given, mrn_system=context.mrn_system),
            expected=expected,
        )
    except RefusedUpstream as refusal:
        if not given.elements:
            raise
        # What was refused is an element as the client made it.
        raise Unprocessable(
            [
                {"loc": ["body", name], "msg": "refused by the FHIR server", "type": "fhir_refused"}
                for name in given.elements
            ],
            code=refusal.code,
        ) from None
    return patient_answer(
        patient,
        text=spliced("data", patient.document.text, patient_id=patient.patient_id, updated=True),
    )
