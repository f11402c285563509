"""Who is calling: the claims of a verified access token in the kernel's terms."""

from dataclasses import dataclass
from functools import lru_cache

from quill_shared.platform.tokens import CbacClaims, Claims

from .cbac import final_competencies
from .permissions import SystemPermission

CLINICIAN = "Clinician"


@lru_cache(maxsize=4096)
def _competencies(cbac: CbacClaims) -> frozenset[str]:
    return frozenset(final_competencies(cbac.bp, cbac.add, cbac.rem))


@dataclass(frozen=True, slots=True)
class Principal:
    """An account with a session.

    `competencies` are the final ones: (base ∪ additional) − removed.
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
    competencies: frozenset[str]
    fhir_patient_id: str | None
    powers_version: int

    @classmethod
    def from_claims(cls, claims: Claims) -> "Principal":
        """The principal that `claims` describe.

        Raises:
            UnknownPermissionError, UnknownIdError: the claims name what the catalogue does not.
        """
        cbac = claims.cbac
        return cls(
            user_id=claims.user_id,
            session_id=claims.sid,
            username=claims.username,
            roles=frozenset(claims.roles),
            permission=SystemPermission.parse(claims.perm),
            base_profession=cbac.bp,
            additional_competencies=cbac.add,
            removed_competencies=cbac.rem,
            competencies=_competencies(cbac),
            fhir_patient_id=claims.pid,
            powers_version=claims.ver,
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
