"""The catalogue of events, as the events contract states it: what carries what, and who reads it.

Written by hand from the contract, never from the code: the tests compare the two.
"""

from dataclasses import dataclass
from typing import Final

PROCESSES: Final = "every process that verifies tokens"
"""Read from a private queue of each process, not by a service's consumers."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event type: the members of its `data`, and the services that read it."""

    data: frozenset[str]
    read_by: frozenset[str]


def _entry(data: str, read_by: str) -> Entry:
    readers = {PROCESSES} if read_by == PROCESSES else set(read_by.split())
    return Entry(frozenset(data.split()), frozenset(readers))


_ACCOUNT: Final = _entry(
    "user_id username display_name email system_permissions roles cbac fhir_patient_id is_active ver",
    "orgs messaging patients letters",
)
_GRANT: Final = _entry("user_id patient_id user_type", "patients letters messaging")
_ORGANISATION: Final = _entry("organisation_id name type", "auth letters messaging")
_STAFF: Final = _entry("organisation_id user_id is_primary", "auth patients letters messaging")
_MEMBER: Final = _entry("organisation_id patient_id", "auth patients letters messaging")
_FEATURE: Final = _entry("organisation_id feature_key", "auth")
_PATIENT: Final = _entry("patient_id version", "orgs letters messaging auth")

CATALOGUE: Final[dict[str, Entry]] = {
    "auth.user.registered.v1": _ACCOUNT,
    "auth.user.updated.v1": _ACCOUNT,
    "auth.user.deactivated.v1": _ACCOUNT,
    "auth.session.revoked.v1": _entry("user_id session_id not_before reason", PROCESSES),
    "auth.tokens.outdated.v1": _entry("user_id ver", PROCESSES),
    "auth.access.granted.v1": _GRANT,
    "auth.access.revoked.v1": _GRANT,
    "auth.join.requested.v1": _entry("user_id organisation_id", "orgs"),
    "orgs.organization.created.v1": _ORGANISATION,
    "orgs.organization.updated.v1": _ORGANISATION,
    "orgs.staff.added.v1": _STAFF,
    "orgs.staff.updated.v1": _STAFF,
    "orgs.staff.removed.v1": _STAFF,
    "orgs.patient.added.v1": _MEMBER,
    "orgs.patient.removed.v1": _MEMBER,
    "orgs.feature.enabled.v1": _FEATURE,
    "orgs.feature.disabled.v1": _FEATURE,
    "patients.patient.created.v1": _entry(
        "patient_id version organisation_id created_by", "orgs letters messaging auth"
    ),
    "patients.patient.updated.v1": _PATIENT,
    "patients.patient.activated.v1": _PATIENT,
    "patients.patient.deactivated.v1": _PATIENT,
    "letters.letter.created.v1": _entry("patient_id composition_uid author_user_id", "messaging"),
    "letters.letter.amended.v1": _entry("patient_id composition_uid author_user_id", "messaging"),
    "messaging.conversation.created.v1": _entry("conversation_id patient_id", ""),
    "messaging.conversation.status_changed.v1": _entry("conversation_id patient_id", ""),
    "messaging.message.sent.v1": _entry(
        "conversation_id message_id patient_id sender_id recipient_ids", "messaging"
    ),
    "audit.recorded.v1": _entry("", "auth"),
}

LATER_EVENTS: Final[dict[str, str]] = {
    "letters.letter.created.v1": "letters",
    "letters.letter.amended.v1": "letters",
    "messaging.conversation.created.v1": "messaging",
    "messaging.conversation.status_changed.v1": "messaging",
    "messaging.message.sent.v1": "messaging",
    "audit.recorded.v1": "audit",
}
"""Types that nobody publishes yet, by the capability that will."""

LATER_READERS: Final[dict[tuple[str, str], str]] = {
    **{
        (type_, service): f"{service} acts on a patient's record with its own capability"
        for type_ in (
            "patients.patient.created.v1",
            "patients.patient.updated.v1",
            "patients.patient.activated.v1",
            "patients.patient.deactivated.v1",
        )
        for service in ("letters", "messaging", "auth")
    },
    **{
        (type_, "orgs"): "a membership does not change with the record; only a new record makes one"
        for type_ in (
            "patients.patient.updated.v1",
            "patients.patient.activated.v1",
            "patients.patient.deactivated.v1",
        )
    },
}
"""Readings in the catalogue that no service has registered, and why nothing is missing today."""

FURTHER_READERS: Final[dict[tuple[str, str], str]] = {
    (type_, service): "gates its routes on a feature, as the catalogue allows any service to"
    for type_ in ("orgs.feature.enabled.v1", "orgs.feature.disabled.v1")
    for service in ("letters", "messaging")
}
"""Readings beyond the catalogue, and why."""
