"""Patients: list, register, read, change, take out of use."""

from typing import Annotated, Any, Literal

from fastapi import Depends, Query
from fastapi.responses import JSONResponse
from starlette.responses import Response

from quill_shared.kernel.guards import (
    ADMIN_REQUIRED,
    Clinician,
    PermissionGuard,
    SignedIn,
    Staff,
    clinical_services,
)
from quill_shared.kernel.permissions import SystemPermission
from quill_shared.kernel.principal import Principal
from quill_shared.platform.errors import Forbidden, Unprocessable
from quill_shared.platform.pagination import PageRequest, encode_cursor, page_request
from quill_shared.platform.routing import router

from .. import schemas
from ..domain import is_patient_id
from ..errors import PatientNotFound
from ..fhir import mapping
from ..fhir.documents import dump, with_members
from ..fhir.resource_schema import FhirPatient
from ..repository import Scope
from ..service import PatientWriting
from .dependencies import (
    NO_STORE,
    Context,
    Expected,
    PatientId,
    Reading,
    RecordEditor,
    Writing,
    patient_answer,
    spliced,
)

routes = router("patients")
routes.dependencies.append(clinical_services)


def _administrator(doing: str) -> Any:
    detail = f"Admin or superadmin permission required to {doing} patients"
    return Depends(PermissionGuard(SystemPermission.ADMIN, detail))


@routes.get("/api/patients", response_model=schemas.PatientList)
async def list_patients(
    principal: SignedIn,
    reading: Reading,
    context: Context,
    page: Annotated[PageRequest, Depends(page_request(int))],
    include_inactive: Annotated[bool, Query(description="also records that are out of use")] = False,
    scope: Annotated[Literal["admin"] | None, Query(description="all patients, for administrators")] = None,
    q: Annotated[
        str | None, Query(max_length=200, description="name, NHS number, MRN or date of birth")
    ] = None,
) -> Response:
    """The patients a caller sees: staff those of their organisations, an external user those granted, a
    patient themselves. While FHIR is not ready, `fhir_ready` is false and the list says nothing.
    """
    if scope == "admin" and not principal.is_admin:
        raise Forbidden(ADMIN_REQUIRED, code="permission_required")
    found = await reading.page(
        Scope(None if scope == "admin" else principal, include_inactive=include_inactive),
        mapping.searches_for(q, mrn_system=context.mrn_system) if q and q.strip() else None,
        after=page.after[0] if page.after else 0,
        limit=page.limit,
    )
    listed = ",".join(
        with_members(patient.document.text, is_active=patient.is_active) for patient in found.patients
    )
    body = spliced(
        "patients",
        f"[{listed}]",
        fhir_ready=found.ready,
        next_cursor=encode_cursor((found.last,)) if found.last is not None else None,
    )
    return Response(body, headers=NO_STORE, media_type="application/json")


@routes.post("/api/patients", response_model=schemas.RegisteredPatient)
@routes.post("/api/fhir/patients", response_model=schemas.RegisteredPatient)
async def register_patient(principal: Staff, writing: Writing, body: schemas.PatientCreate) -> Response:
    """Registers a patient. `warnings` names patients who may be the same person; none was changed."""
    registered = await writing.register(
        principal,
        body.demographics(),
        patient_id=body.patient_id,
        organisation_id=body.organisation_id,
    )
    warnings = (
        [schemas.DuplicateWarning(patient_ids=list(registered.lookalikes)).model_dump()]
        if (registered.lookalikes is not None)
        else []
    )
    patient = registered.patient
    return patient_answer(patient, text=with_members(patient.document.text, warnings=warnings))


@routes.post("/api/patients/verify")
async def verify_patient(
    principal: Clinician,
    reading: Reading,
    patient_id: Annotated[str, Query(max_length=64, description="FHIR id of the patient")],
) -> schemas.PatientReady:
    """Whether the FHIR server has a patient, for those who may see them."""
    try:
        if not is_patient_id(patient_id):
            raise PatientNotFound if principal.is_admin else Forbidden(code="patient_access_denied")
        await reading.get(principal, patient_id)
    except PatientNotFound:
        raise PatientNotFound("Patient not found in FHIR server") from None
    return schemas.PatientReady(patient_id=patient_id)


@routes.get("/api/patients/{patient_id}", response_model=FhirPatient)
@routes.get("/api/fhir/patients/{patient_id}", response_model=FhirPatient)
async def get_patient(principal: SignedIn, reading: Reading, patient_id: PatientId) -> Response:
    """One patient."""
    return patient_answer(await reading.get(principal, patient_id))


@routes.patch("/api/patients/{patient_id}", response_model=FhirPatient)
async def patch_patient(
    principal: RecordEditor,
    writing: Writing,
    context: Context,
    patient_id: PatientId,
    expected: Expected,
    body: schemas.PatientPatch,
) -> Response:
    """Changes what is given and nothing else."""
    if body.patient_id not in (None, patient_id):
        raise Unprocessable.field("patient_id", "is not the one in the address")
    given = body.demographics()
    patient = await writing.change(
        principal,
        patient_id,
        lambda before: mapping.changed(before, given, mrn_system=context.mrn_system),
        expected=expected,
    )
    return patient_answer(patient)


@routes.get("/api/patients/{patient_id}/metadata", response_model=schemas.PatientMetadata)
async def get_metadata(principal: SignedIn, reading: Reading, patient_id: PatientId) -> Response:
    """Whether the record is in use."""
    patient = await reading.get(principal, patient_id)
    return patient_answer(
        patient, text=dump({"patient_id": patient.patient_id, "is_active": patient.is_active})
    )


@routes.post("/api/patients/{patient_id}/deactivate", response_model=schemas.ActivationChanged)
async def deactivate_patient(
    principal: Annotated[Principal, _administrator("deactivate")],
    writing: Writing,
    patient_id: PatientId,
    expected: Expected,
) -> JSONResponse:
    """Takes a record out of use."""
    return await _switched(principal, writing, patient_id, expected, active=False)


@routes.post("/api/patients/{patient_id}/activate", response_model=schemas.ActivationChanged)
async def activate_patient(
    principal: Annotated[Principal, _administrator("activate")],
    writing: Writing,
    patient_id: PatientId,
    expected: Expected,
) -> JSONResponse:
    """Takes a record into use again."""
    return await _switched(principal, writing, patient_id, expected, active=True)


async def _switched(
    principal: Principal,
    writing: PatientWriting,
    patient_id: str,
    expected: frozenset[int] | None,
    *,
    active: bool,
) -> JSONResponse:
    patient = await writing.change(
        principal,
        patient_id,
        lambda before: mapping.with_active(before, active=active),
        expected=expected,
    )
    answer = schemas.ActivationChanged(
        patient_id=patient_id,
        is_active=patient.is_active,
        message=f"Patient {'activated' if active else 'deactivated'} successfully",
    )
    return JSONResponse(answer.model_dump(), headers={**NO_STORE, "ETag": patient.etag})
