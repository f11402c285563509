"""Errors as a client reads them: `application/problem+json` (RFC 9457), rendered in this one place.

A context may have another form for some of its paths (FHIR's OperationOutcome, OAuth's error object);
it names a renderer for the path prefix in its service definition.
"""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from opentelemetry import trace
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .database import is_database_outage
from .errors import (
    BadRequest,
    ClientError,
    Conflict,
    Error,
    FieldError,
    Forbidden,
    NotFound,
    PreconditionFailed,
    Unauthenticated,
    Unavailable,
    Unprocessable,
)

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
Renderer = Callable[[Error, Request], Response]


def trace_id() -> str:
    """The trace in hand, 32 hexadecimal digits, or an empty string."""
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.trace_id else ""


def problem_document(error: Error, path: str) -> dict[str, Any]:
    """The RFC 9457 members of `error`, with Quill's `error_code` and `trace_id`."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail,
        "instance": path,
        "error_code": error.code,
        "trace_id": trace_id(),
        **error.extra,
    }


def render_problem(error: Error, request: Request) -> Response:
    """`error` as problem+json."""
    return JSONResponse(
        problem_document(error, request.url.path),
        status_code=error.status,
        headers={**error.headers, "Cache-Control": "no-store"},
        media_type=MEDIA_TYPE,
    )


def field_errors(error: RequestValidationError) -> list[FieldError]:
    """The faults pydantic found, without the values that were sent."""
    return [
        {
            "loc": [_printable(part) for part in fault["loc"]],
            "msg": fault["msg"].removeprefix("Value error, "),
            "type": fault["type"],
        }
        for fault in error.errors()
    ]


def _printable(part: Any) -> str | int:
    """A field name as sent may hold what JSON cannot carry back."""
    if isinstance(part, int):
        return part
    return str(part).encode("utf-8", "replace").decode()[:200]


def to_error(raised: Exception) -> Error:
    """What `raised` means to the caller. Anything unforeseen is a 500 without a word of its cause."""
    if isinstance(raised, Error):
        return raised
    if isinstance(raised, RequestValidationError):
        return Unprocessable(field_errors(raised))
    if isinstance(raised, HTTPException):
        return _from_http(raised)
    if is_database_outage(raised) and not isinstance(raised, IntegrityError):
        return Unavailable("The service's database is not available", code="database_unavailable")
    return Error()


_BY_STATUS: dict[int, type[ClientError]] = {
    kind.status: kind
    for kind in (BadRequest, Unauthenticated, Forbidden, NotFound, Conflict, PreconditionFailed)
}


class _Refused(ClientError):
    """A status that only the framework gives: 405, 413, 415, …"""

    def __init__(self, status: int, headers: Mapping[str, str] | None) -> None:
        self.status = status
        phrase = HTTPStatus(status).phrase
        super().__init__(phrase, code=phrase.lower().replace(" ", "_"), headers=headers)


def _from_http(raised: HTTPException) -> Error:
    if raised.status_code == 400:
        return BadRequest("The request body could not be read")
    known = _BY_STATUS.get(raised.status_code)
    return known() if known is not None else _Refused(raised.status_code, raised.headers)


class ErrorHandler:
    """Renders any exception; logs those that are our fault."""

    def __init__(self, renderers: Mapping[str, Renderer]) -> None:
        self._renderers = renderers

    async def __call__(self, request: Request, raised: Exception) -> Response:
        error = to_error(raised)
        if error.status >= 500:
            cause = raised if not isinstance(raised, Error) else None
            logger.error(
                "request failed",
                extra={"error_code": error.code, "error_type": type(raised).__name__},
                exc_info=cause,
            )
        return self._renderer(request.url.path)(error, request)

    def _renderer(self, path: str) -> Renderer:
        for prefix, renderer in self._renderers.items():
            if path.startswith(prefix):
                return renderer
        return render_problem
