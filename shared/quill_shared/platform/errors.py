"""The errors a caller can be told about.

    Error (500 internal_error)
    ├── ClientError
    │   ├── BadRequest            400 bad_request
    │   ├── Unauthenticated       401 not_authenticated
    │   ├── Forbidden             403 forbidden
    │   ├── NotFound              404 not_found
    │   ├── Conflict              409 conflict
    │   ├── PreconditionFailed    412 precondition_failed
    │   ├── Unprocessable         422 validation_error
    │   └── TooManyRequests       429 too_many_requests
    └── UpstreamError
        ├── BadGateway            502 upstream_bad_answer
        ├── Unavailable           503 unavailable
        └── GatewayTimeout        504 upstream_timeout

Each context derives its own from these in its `errors.py`. A client error is expected: it is not
logged as a fault and not alerted on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypedDict


class FieldError(TypedDict):
    """One fault of a request: where it lies, what is wrong and which rule says so."""

    loc: Sequence[str | int]
    msg: str
    type: str


class Error(Exception):
    """An answer other than success.

    Args:
        detail: a sentence a person can read; never patient data, SQL or another system's answer.
        code: stable slug for programs, when the class's own is too general.
        headers: further response headers.
        extra: further members of the problem document (RFC 9457 §3.2).
    """

    status: int = 500
    code: str = "internal_error"
    detail: str = "Internal server error"
    keeps_effects: ClassVar[bool] = False
    """Whether what the transaction wrote so far is committed although the request failed (a failed
    sign-in is counted, a denial is audited)."""

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        if detail is not None:
            self.detail = detail
        if code is not None:
            self.code = code
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})
        super().__init__(self.detail)


class ClientError(Error):
    """The caller can do something about it."""

    status = 400
    code = "bad_request"
    detail = "Bad request"


class BadRequest(ClientError):
    """The request cannot be carried out as it stands."""


class Unauthenticated(ClientError):
    """Nobody we know is calling (RFC 9110 §15.5.2)."""

    status = 401
    code = "not_authenticated"
    detail = "Not authenticated"

    def __init__(self, detail: str | None = None, *, code: str | None = None) -> None:
        super().__init__(detail, code=code, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(ClientError):
    """We know who is calling, and they may not."""

    status = 403
    code = "forbidden"
    detail = "Forbidden"


class NotFound(ClientError):
    """No such thing, or none the caller may know of."""

    status = 404
    code = "not_found"
    detail = "Not Found"


class Conflict(ClientError):
    """The current state does not allow it."""

    status = 409
    code = "conflict"
    detail = "Conflict"


class PreconditionFailed(ClientError):
    """If-Match names a version that is not the current one (RFC 9110 §13.1.1)."""

    status = 412
    code = "precondition_failed"
    detail = "The record has changed since it was read"


class Unprocessable(ClientError):
    """Well-formed, but a field's value is not acceptable; `errors` names each."""

    status = 422
    code = "validation_error"
    detail = "Validation failed"

    def __init__(
        self,
        errors: Sequence[FieldError],
        detail: str | None = None,
        *,
        code: str | None = None,
    ) -> None:
        self.errors = list(errors)
        super().__init__(detail, code=code, extra={"errors": self.errors})

    @classmethod
    def field(cls, name: str, msg: str, *, type: str = "value_error", where: str = "body") -> "Unprocessable":
        """One field is at fault."""
        return cls([{"loc": [where, name], "msg": msg, "type": type}], msg)


class TooManyRequests(ClientError):
    """Slow down: `retry_after` is in seconds (RFC 6585 §4)."""

    status = 429
    code = "too_many_requests"
    detail = "Too many requests"

    def __init__(self, detail: str | None = None, *, retry_after: int = 1, code: str | None = None) -> None:
        super().__init__(detail, code=code, headers={"Retry-After": str(max(1, retry_after))})


class UpstreamError(Error):
    """A system we depend on failed; never carries what it said."""

    status = 502
    code = "upstream_bad_answer"
    detail = "A system behind this service gave an unusable answer"


class BadGateway(UpstreamError):
    """The system behind answered, but not usefully."""


class Unavailable(UpstreamError):
    """The system behind cannot be reached, or is being spared."""

    status = 503
    code = "unavailable"
    detail = "A system behind this service is not available"

    def __init__(self, detail: str | None = None, *, retry_after: int = 2, code: str | None = None) -> None:
        super().__init__(detail, code=code, headers={"Retry-After": str(max(1, retry_after))})


class GatewayTimeout(UpstreamError):
    """The system behind did not answer in time; whether it acted is not known."""

    status = 504
    code = "upstream_timeout"
    detail = "A system behind this service did not answer in time"
