"""What the routes share: guards, ports, conditions, and answers that pass FHIR resources through."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Path
from starlette.requests import Request
from starlette.responses import Response

from quill_shared.kernel.guards import authenticate, require_competency
from quill_shared.kernel.principal import Principal
from quill_shared.platform.errors import BadRequest, Forbidden
from quill_shared.platform.routing import Guard, Uow

from ..domain import is_patient_id
from ..errors import PatientNotFound
from ..fhir.client import Patient
from ..fhir.documents import dump
from ..service import PatientReading, PatientsContext, PatientWriting

_ETAG: Final = re.compile(r'\s*(?:W/)?"?([0-9]{1,18})"?\s*')

NO_STORE: Final = {"Cache-Control": "no-store"}


class RecordEditorGuard(Guard):
    """Staff with the competency to change records, or an administrator."""

    async def check(self, request: Request) -> Principal:
        """The caller, if they may change records."""
        principal = await authenticate(request)
        if principal.is_admin:
            return principal
        if not principal.is_staff:
            raise Forbidden(code="permission_required")
        require_competency(principal, "modify_patient_records")
        return principal


RecordEditor = Annotated[Principal, Depends(RecordEditorGuard())]


def context_of(request: Request) -> PatientsContext:
    """The adapters of the running service."""
    context: PatientsContext = request.app.state.runtime.context
    return context


Context = Annotated[PatientsContext, Depends(context_of)]


def _reading(uow: Uow, context: Context) -> PatientReading:
    return PatientReading(uow, context)


def _writing(uow: Uow, context: Context) -> PatientWriting:
    return PatientWriting(uow, context)


Reading = Annotated[PatientReading, Depends(_reading)]
Writing = Annotated[PatientWriting, Depends(_writing)]


async def _patient_id(
    request: Request, patient_id: Annotated[str, Path(description="FHIR id of the patient")]
) -> str:
    """An id of the form FHIR has. For any other the answer is that of a patient who is not there."""
    if not is_patient_id(patient_id):
        if (await authenticate(request)).is_admin:
            raise PatientNotFound
        raise Forbidden(code="patient_access_denied")
    return patient_id


PatientId = Annotated[str, Depends(_patient_id)]


def _expected(
    if_match: Annotated[
        str | None, Header(alias="If-Match", description='the version to change, as `W/"3"`')
    ] = None,
) -> frozenset[int] | None:
    """The versions named in If-Match (RFC 9110 §13.1.1); None for any. What is no version of ours never
    matches.

    Raises:
        BadRequest: the header is empty, and so says nothing.
    """
    if if_match is not None and not if_match.strip():
        raise BadRequest("If-Match must name a version")
    if if_match is None or if_match.strip() == "*":
        return None
    tags = (_ETAG.fullmatch(part) for part in if_match.split(","))
    return frozenset(int(tag[1]) for tag in tags if tag is not None)


Expected = Annotated[frozenset[int] | None, Depends(_expected)]


def patient_answer(
    patient: Patient,
    *,
    status: int = 200,
    media_type: str = "application/json",
    text: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One patient as FHIR has them, with their version."""
    return Response(
        text if text is not None else patient.document.text,
        status_code=status,
        headers={**NO_STORE, "ETag": patient.etag, **(headers or {})},
        media_type=media_type,
    )


def spliced(name: str, text: str, **members: Any) -> str:
    """A JSON object with `members` and, last, the JSON `text` as it is under `name`."""
    body = dump(members).removesuffix("}")
    return f'{body}{"," if members else ""}"{name}":{text}}}'
