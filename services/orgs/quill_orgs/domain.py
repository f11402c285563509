"""Organisations in the terms of the domain: types, features and who leads after whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class OrganisationType(StrEnum):
    """What kind of organisation it is."""

    HOSPITAL_TEAM = "hospital_team"
    GP_PRACTICE = "gp_practice"
    PRIVATE_CLINIC = "private_clinic"
    DEPARTMENT = "department"
    TEACHING_ESTABLISHMENT = "teaching_establishment"


class FeatureKey(StrEnum):
    """The catalogue of what can be switched on for an organisation."""

    TEACHING = "teaching"
    MESSAGING = "messaging"
    LETTERS = "letters"
    EPR = "epr"


class JoinRequestStatus(StrEnum):
    """What became of a self-registered account's wish to join."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Membership:
    """That somebody belongs to an organisation; at most one of a person's memberships is primary."""

    organisation_id: int
    is_primary: bool


def next_primary(memberships: Sequence[Membership], leaving: int) -> int | None:
    """The organisation that becomes primary when somebody leaves organisation `leaving`.

    The longest-standing of the others, if the one left was primary; else nothing changes. Without
    this rule a person would lose every feature together with one membership (safety, fault 16).

    Args:
        memberships: all of the person's, longest-standing first.
    """
    others = [each for each in memberships if each.organisation_id != leaving]
    if any(each.is_primary for each in others) or not others:
        return None
    return others[0].organisation_id
