"""Who is calling: the claims of a verified access token in the kernel's terms."""

from dataclasses import dataclass
from functools import cached_property

from quill_shared.platform.tokens import Claims

from .cbac import final_competencies
from .permissions import SystemPermission

CLINICIAN = "Clinician"


@dataclass(frozen=True)
class Principal:
    """An account with a session.

    `fhir_patient_id` is the patient record the account belongs to, if any.
    """

    user_id: int
    session_id: str
    username: str
    roles: frozenset[str]
    permission: SystemPermission
    base_profession: str
    additional_competencies: tuple[str, ...]
    removed_competencies: tuple[str, ...]
    fhir_patient_id: str | None
    powers_version: int

    @classmethod
    def from_claims(cls, claims: Claims) -> "Principal":
        """The principal that `claims` describe."""
        return cls(
            user_id=claims.user_id,
            session_id=claims.sid,
            username=claims.username,
            roles=frozenset(claims.roles),
            permission=SystemPermission.parse(claims.perm),
            base_profession=claims.cbac.bp,
            additional_competencies=claims.cbac.add,
            removed_competencies=claims.cbac.rem,
            fhir_patient_id=claims.pid,
            powers_version=claims.ver,
        )

    @cached_property
    def competencies(self) -> frozenset[str]:
        """What the account may do clinically: (base ∪ additional) − removed."""
        return frozenset(
            final_competencies(self.base_profession, self.additional_competencies, self.removed_competencies)
        )

    @property
    def is_staff(self) -> bool:
        """Staff, admin or superadmin."""
        return self.permission.at_least(SystemPermission.STAFF)

    @property
    def is_admin(self) -> bool:
        """Admin or superadmin."""
        return self.permission.at_least(SystemPermission.ADMIN)

    @property
    def is_superadmin(self) -> bool:
        """Superadmin."""
        return self.permission is SystemPermission.SUPERADMIN

    @property
    def is_external(self) -> bool:
        """An external professional or a patient's advocate."""
        return self.permission.is_external

    @property
    def is_clinician(self) -> bool:
        """Holds the role `Clinician`."""
        return CLINICIAN in self.roles
