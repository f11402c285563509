"""The headers of every answer, and the answers that the gateway gives itself."""

import json
from collections.abc import Iterable
from typing import Final

from quill_shared.platform.errors import Error
from quill_shared.platform.problems import MEDIA_TYPE, problem_document

__all__ = ["API_CSP", "DOCS_CSP", "NEVER_FROM_SERVICES", "SecurityHeaders", "render"]

Headers = list[tuple[bytes, bytes]]

API_CSP: Final = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
DOCS_CSP: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; frame-ancestors 'none'; "
    b"base-uri 'none'; form-action 'self'"
)
"""Swagger UI and ReDoc style their elements inline; scripts come from our own files only."""

_COMMON: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_HSTS: Final = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
_FHIR_FACADE: Final = (b"/api/fhir/Patient", b"/api/fhir/metadata")

NEVER_FROM_SERVICES: Final = frozenset(
    {
        # Hop by hop (RFC 9110 §7.6.1); our own server frames and dates the answer.
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"date",
        b"server",
        b"via",
        b"x-powered-by",
        b"alt-svc",
        # Said by the gateway, once.
        b"x-request-id",
        b"content-security-policy",
        b"cross-origin-resource-policy",
        b"strict-transport-security",
        *(name for name, _ in _COMMON),
        # Cross-origin access is the gateway's decision alone.
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-allow-headers",
        b"access-control-allow-methods",
        b"access-control-expose-headers",
        b"access-control-max-age",
    }
)


class SecurityHeaders:
    """What every answer carries, errors included.

    Args:
        development: without HSTS, which would make a browser refuse plain HTTP on localhost.
        cross_origin: whether pages of other origins (the CORS list) may read answers at all.
    """

    def __init__(self, *, development: bool, cross_origin: bool) -> None:
        policy = b"cross-origin" if cross_origin else b"same-origin"
        shared: tuple[tuple[bytes, bytes], ...] = (*_COMMON, (b"cross-origin-resource-policy", policy))
        if not development:
            shared = (*shared, _HSTS)
        self.api = (*shared, (b"content-security-policy", API_CSP))
        self.docs = (*shared, (b"content-security-policy", DOCS_CSP))


def render(error: Error, *, path: bytes, trace_id: str) -> tuple[int, Headers, bytes]:
    """Status, headers and body of `error`: problem+json, below the FHIR façade an OperationOutcome."""
    if path.startswith(_FHIR_FACADE) and not path.startswith(b"/api/fhir/patients"):
        document, media_type = _operation_outcome(error), "application/fhir+json"
    else:
        document, media_type = problem_document(error, path.decode("ascii", "replace")), MEDIA_TYPE
        document["trace_id"] = trace_id
    body = json.dumps(document).encode()
    headers: Headers = [
        (b"content-type", media_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *_encoded(error.headers.items()),
    ]
    return error.status, headers, body


def _encoded(headers: Iterable[tuple[str, str]]) -> Headers:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


_ISSUE_TYPES: Final = {
    400: "structure",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    408: "timeout",
    413: "too-long",
    414: "too-long",
    429: "throttled",
    431: "too-long",
    503: "transient",
    504: "timeout",
}


def _operation_outcome(error: Error) -> dict[str, object]:
    issue = {
        "severity": "error",
        "code": _ISSUE_TYPES.get(error.status, "exception"),
        "details": {"coding": [{"code": error.code}]},
        "diagnostics": error.detail,
    }
    return {"resourceType": "OperationOutcome", "issue": [issue]}
