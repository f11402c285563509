"""Errors of the façade as OperationOutcome (FHIR R4), one issue per fault."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.responses import Response

from quill_shared.platform.errors import Error
from quill_shared.platform.problems import trace_id

from .client import MEDIA_TYPE

_ISSUE_CODES: Final[Mapping[int, str]] = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    409: "conflict",
    412: "conflict",
    413: "too-long",
    415: "not-supported",
    422: "invalid",
    429: "throttled",
    503: "transient",
    504: "timeout",
}
_FAULT_CODES: Final[Mapping[str, str]] = {
    "missing": "required",
    "unknown_element": "structure",
    "several_values": "structure",
    "structure": "structure",
    "unknown_code": "code-invalid",
    "nhs_number": "business-rule",
    "birth_date": "business-rule",
}
_CODE_SYSTEM: Final = "urn:quillmedical:error-code"

EXISTING_PATIENT_URL: Final = "urn:quillmedical:existing-patient"
"""Extension of the issue of a conflict: the patient who is there already."""


def operation_outcome(error: Error) -> dict[str, Any]:
    """`error` in FHIR's words. The trace id is in `diagnostics`, what is wrong in `details`."""
    faults = error.extra.get("errors")
    if faults:
        issues = [
            _issue(
                _FAULT_CODES.get(fault["type"], "value"),
                fault["msg"],
                fault["type"],
                expression=_expression(fault["loc"]),
            )
            for fault in faults
        ]
    else:
        code = _ISSUE_CODES.get(error.status, "exception" if error.status >= 500 else "processing")
        patient_id = error.extra.get("patient_id")
        if patient_id is not None:
            code = "duplicate"
        issues = [_issue(code, error.detail, error.code, patient_id=patient_id)]
    return {"resourceType": "OperationOutcome", "issue": issues}


def _issue(
    code: str,
    text: str,
    error_code: str,
    *,
    expression: str | None = None,
    patient_id: str | None = None,
) -> dict[str, Any]:
    issue: dict[str, Any] = {
        "severity": "error",
        "code": code,
        "details": {"coding": [{"system": _CODE_SYSTEM, "code": error_code}], "text": text},
    }
    if patient_id is not None:
        reference = {"reference": f"Patient/{patient_id}"}
        issue["extension"] = [{"url": EXISTING_PATIENT_URL, "valueReference": reference}]
    if trace_id():
        issue["diagnostics"] = f"trace {trace_id()}"
    if expression is not None:
        issue["expression"] = [expression]
    return issue


def _expression(location: Sequence[str | int]) -> str:
    """A FHIRPath of the element, or `http.` and the place in the request (FHIR R4, issue.expression)."""
    where, *path = location
    root = "Patient" if where == "body" else f"http.{where}"
    return root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def render_outcome(error: Error, request: Request) -> Response:
    """For the paths of the façade, in the place of problem+json."""
    return JSONResponse(
        operation_outcome(error),
        status_code=error.status,
        headers={**error.headers, "Cache-Control": "no-store"},
        media_type=MEDIA_TYPE,
    )
