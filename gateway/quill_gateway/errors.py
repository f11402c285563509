"""Errors the gateway itself answers with.

ClientError
├── InvalidPath           400 invalid_path
├── InvalidFraming        400 invalid_request
├── UpgradeRefused        400 upgrade_refused
├── CsrfFailed            403 csrf_failed
├── MethodNotAllowed      405 method_not_allowed
├── BodyTimeout           408 request_timeout
├── BodyTooLarge          413 body_too_large
├── UriTooLong            414 uri_too_long
├── TooMuchFromAddress    429 too_many_requests
└── HeadersTooLarge       431 headers_too_large
"""

from collections.abc import Iterable

from quill_shared.platform.errors import ClientError, Forbidden, TooManyRequests, Unavailable

__all__ = [
    "BodyTimeout",
    "BodyTooLarge",
    "ClinicalServicesOff",
    "CsrfFailed",
    "HeadersTooLarge",
    "InvalidFraming",
    "InvalidPath",
    "MethodNotAllowed",
    "Refused",
    "TooMuchAtOnce",
    "TooMuchFromAddress",
    "UpgradeRefused",
    "UriTooLong",
]


class Refused(ClientError):
    """A request that goes no further than the gateway."""


class InvalidPath(Refused):
    """The path could be read in more than one way, or not at all (hazard 0035)."""

    code = "invalid_path"
    detail = "The address is not valid"


class InvalidFraming(Refused):
    """Length or other headers contradict each other (RFC 9112 §6.3)."""

    code = "invalid_request"
    detail = "The request is not valid"


class UpgradeRefused(Refused):
    """No WebSockets here (RFC 9110 §7.8)."""

    code = "upgrade_refused"
    detail = "WebSockets are not supported"


class CsrfFailed(Forbidden):
    """A cookie authenticates an unsafe request, but our own pages did not send it (hazard 0021)."""

    code = "csrf_failed"
    detail = "CSRF failed"


class MethodNotAllowed(Refused):
    """The path exists, the method does not (RFC 9110 §15.5.6)."""

    status = 405
    code = "method_not_allowed"
    detail = "Method Not Allowed"

    def __init__(self, allowed: Iterable[str]) -> None:
        super().__init__(headers={"Allow": ", ".join(sorted(allowed))})


class BodyTimeout(Refused):
    """The client stopped sending in the middle of its body, or takes for ever."""

    status = 408
    code = "request_timeout"
    detail = "The request body did not arrive in time"


class BodyTooLarge(Refused):
    """More than `max_body_bytes`, declared or sent."""

    status = 413
    code = "body_too_large"
    detail = "The request body is too large"


class UriTooLong(Refused):
    """Path or query string beyond what any of our routes needs."""

    status = 414
    code = "uri_too_long"
    detail = "The address is too long"


class HeadersTooLarge(Refused):
    """Too many headers, or too long ones (RFC 6585 §5)."""

    status = 431
    code = "headers_too_large"
    detail = "The request headers are too large"


class TooMuchFromAddress(TooManyRequests):
    """One address has more bodies under way than it may have."""

    def __init__(self) -> None:
        super().__init__(retry_after=1)


class TooMuchAtOnce(Unavailable):
    """All bodies under way together are more than the gateway may hold."""

    code = "gateway_busy"
    detail = "Too much is being sent at once. Try again in a moment."

    def __init__(self) -> None:
        super().__init__(retry_after=1)


class ClinicalServicesOff(Unavailable):
    """The deployment has no clinical records (contract, legend K)."""

    code = "clinical_services_disabled"
    detail = "Clinical services are not available in this deployment"

    def __init__(self) -> None:
        super().__init__(retry_after=3600)
