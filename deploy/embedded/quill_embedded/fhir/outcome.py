"""Errors of the FHIR stand-in, each answered as an OperationOutcome.

::

    FhirError
    ├── InvalidRequestError      400  the request or the content cannot be understood
    ├── NotFoundError            404  never existed, or a type that is not served
    ├── NotAllowedError          405
    ├── NotAcceptableError       406
    ├── ConflictError            409  two writers, or still referenced
    ├── GoneError                410  deleted, or a page that is kept no longer
    ├── PreconditionError        412
    ├── TooLargeError            413
    └── UnprocessableError       422  well-formed, but breaks a rule of the specification

``diagnostics`` names elements by their path and never repeats a value: what a client sent may be about a
patient, and clients log what comes back.
"""

from collections.abc import Sequence
from typing import Any, ClassVar


class FhirError(Exception):
    """A refusal, with one diagnostics text per fault."""

    status: ClassVar[int] = 500

    def __init__(self, *diagnostics: str, status: int | None = None) -> None:
        super().__init__("; ".join(diagnostics))
        self.diagnostics = diagnostics
        self.status_code = status or self.status


class InvalidRequestError(FhirError):
    status = 400


class NotFoundError(FhirError):
    status = 404


class NotAllowedError(FhirError):
    status = 405


class NotAcceptableError(FhirError):
    status = 406


class ConflictError(FhirError):
    status = 409


class GoneError(FhirError):
    status = 410


class PreconditionError(FhirError):
    status = 412


class TooLargeError(FhirError):
    status = 413


class UnprocessableError(FhirError):
    status = 422


def operation_outcome(
    diagnostics: Sequence[str], *, severity: str = "error", code: str = "processing"
) -> dict[str, Any]:
    """Build an OperationOutcome (FHIR R4, OperationOutcome) with one issue per text.

    HAPI uses the code ``processing`` for nearly every failure, whatever the HTTP status is.
    """
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": severity, "code": code, "diagnostics": text} for text in diagnostics],
    }
