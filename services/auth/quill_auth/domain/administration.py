"""Who may administer whom (safety, fault 4): a superadmin anybody, an admin anybody but superadmins, and
nobody raises their own powers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from quill_shared.kernel.permissions import SystemPermission

ROLES: Final = frozenset({"Clinician"})
"""The roles an account may hold."""


@dataclass(frozen=True, slots=True)
class Powers:
    """Everything that decides what an account may do."""

    permission: SystemPermission
    roles: frozenset[str]
    competencies: frozenset[str]

    def raised_by(self, other: "Powers") -> bool:
        """Whether `other` has anything that these powers lack."""
        return (
            other.permission.level > self.permission.level
            or not other.roles <= self.roles
            or not other.competencies <= self.competencies
        )


def may_administer(actor: SystemPermission, *involved: SystemPermission) -> bool:
    """Whether `actor` may act on an account whose permission is, or becomes, one of `involved`."""
    if actor is SystemPermission.SUPERADMIN:
        return True
    return actor is SystemPermission.ADMIN and SystemPermission.SUPERADMIN not in involved


def unknown_roles(roles: Iterable[str]) -> list[str]:
    """Those of `roles` that do not exist, sorted."""
    return sorted(set(roles) - ROLES)
