"""EHR_STATUS as it is received and EHR as it is shown (openEHR Reference Model, ehr package)."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from .errors import BadRequestError

DEFAULT_STATUS: Final[dict[str, Any]] = {
    "_type": "EHR_STATUS",
    "archetype_node_id": "openEHR-EHR-EHR_STATUS.generic.v1",
    "name": {"_type": "DV_TEXT", "value": "EHR Status"},
    "subject": {"_type": "PARTY_SELF"},
    "is_queryable": True,
    "is_modifiable": True,
}

_STATUS_ARCHETYPE: Final = "openEHR-EHR-EHR_STATUS.generic.v1"
_SUBJECT_TYPES: Final = frozenset({"PERSON", "ORGANISATION", "GROUP", "AGENT", "ROLE", "PARTY", "ACTOR"})
_SUBJECT_NAMESPACE = re.compile(r"[a-zA-Z][a-zA-Z0-9\-_:/&+?]*")


@dataclass(frozen=True, slots=True)
class Subject:
    """Who an EHR is about, by an id outside the EHR server."""

    namespace: str
    subject_id: str


@dataclass(frozen=True, slots=True)
class Ehr:
    ehr_id: UUID
    status_id: UUID
    created: datetime


def read_status(body: bytes) -> tuple[dict[str, Any], Subject | None]:
    """Check the EHR_STATUS in a request body; an empty body means the default one.

    Returns:
        The status and its subject, which may be left out.

    Raises:
        BadRequestError: not JSON, or a required attribute is missing or wrong.
    """
    if body.strip() in (b"", b"null"):
        return dict(DEFAULT_STATUS), None
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequestError("the body is not JSON") from None
    if not isinstance(status, dict) or status.get("_type") != "EHR_STATUS":
        raise BadRequestError("_type must be EHR_STATUS")
    if status.get("archetype_node_id") != _STATUS_ARCHETYPE:
        raise BadRequestError(f"archetype_node_id must be {_STATUS_ARCHETYPE}")
    for flag in ("is_queryable", "is_modifiable"):
        if not isinstance(status.get(flag), bool):
            raise BadRequestError(f"{flag} must be true or false")
    subject = status.get("subject")
    if not isinstance(subject, dict):
        raise BadRequestError("subject must not be empty")
    if "external_ref" not in subject:
        return status, None
    namespace = _text_at(subject, "external_ref", "namespace")
    subject_id = _text_at(subject, "external_ref", "id", "value")
    if _text_at(subject, "external_ref", "type") not in _SUBJECT_TYPES:
        raise BadRequestError("subject.external_ref.type is missing or not a type of party")
    if not _SUBJECT_NAMESPACE.fullmatch(namespace):
        raise BadRequestError("subject.external_ref.namespace is missing or not a valid namespace")
    if not subject_id or "\x00" in subject_id:
        raise BadRequestError("subject.external_ref.id is missing or not valid")
    if _text_at(subject, "external_ref", "id", "_type") == "GENERIC_ID" and not _text_at(
        subject, "external_ref", "id", "scheme"
    ):
        raise BadRequestError("subject.external_ref.id.scheme is missing")
    return status, Subject(namespace, subject_id)


def show_ehr(ehr: Ehr, system_id: str) -> dict[str, Any]:
    """An EHR as EHRbase shows it since 2.30: the status is a reference, not the object."""
    return {
        "system_id": {"_type": "HIER_OBJECT_ID", "value": system_id},
        "ehr_id": {"_type": "HIER_OBJECT_ID", "value": str(ehr.ehr_id)},
        "ehr_status": {
            "_type": "OBJECT_REF",
            "id": {"_type": "OBJECT_VERSION_ID", "value": f"{ehr.status_id}::{system_id}::1"},
            "namespace": "local",
            "type": "EHR_STATUS",
        },
        "time_created": {"_type": "DV_DATE_TIME", "value": ehr.created.isoformat(timespec="milliseconds")},
    }


def _text_at(value: Any, *path: str) -> str:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value.strip() if isinstance(value, str) else ""
