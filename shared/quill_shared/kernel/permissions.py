"""The system permission of an account: the coarse hierarchy beside roles and competencies.

`patient < staff < admin < superadmin`. The two kinds of external user, `external_hcp` and
`patient_advocate`, stand at patient level: they see a record only through a grant.
"""

from enum import StrEnum
from typing import NoReturn, Self

__all__ = ["SystemPermission", "UnknownPermissionError"]


class UnknownPermissionError(ValueError):
    """A text that names no system permission. `value` is what was given."""

    def __init__(self, value: str) -> None:
        self.value = value
        known = ", ".join(permission.value for permission in SystemPermission)
        super().__init__(f"Unknown system permission {value!r}. Must be one of: {known}")


class SystemPermission(StrEnum):
    """What an account may do in the system as a whole.

    Example:
        >>> SystemPermission.parse("admin").at_least(SystemPermission.STAFF)
        True
    """

    PATIENT = "patient"
    EXTERNAL_HCP = "external_hcp"
    PATIENT_ADVOCATE = "patient_advocate"
    STAFF = "staff"
    ADMIN = "admin"
    SUPERADMIN = "superadmin"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Return the permission that `value` spells exactly.

        Raises:
            UnknownPermissionError: for anything else, other letter case and surrounding blanks included.
        """
        try:
            return cls(value)
        except ValueError:
            raise UnknownPermissionError(value) from None

    @property
    def level(self) -> int:
        """The height in the hierarchy, 0 (patients and external users) to 3 (superadmin)."""
        return _LEVELS[self]

    @property
    def is_external(self) -> bool:
        """Whether the account belongs to someone invited to single records from outside."""
        return self in _EXTERNAL

    def at_least(self, required: "SystemPermission") -> bool:
        """Whether this permission reaches the level of `required`."""
        return self.level >= required.level

    # A StrEnum would compare as text, where "admin" comes before "patient": refused, so that nobody
    # writes `permission >= STAFF` and opens a door.
    def _unordered(self, other: object) -> NoReturn:
        raise TypeError("system permissions are compared with at_least(), not by order")

    __lt__ = __le__ = __gt__ = __ge__ = _unordered


_LEVELS = {
    SystemPermission.PATIENT: 0,
    SystemPermission.EXTERNAL_HCP: 0,
    SystemPermission.PATIENT_ADVOCATE: 0,
    SystemPermission.STAFF: 1,
    SystemPermission.ADMIN: 2,
    SystemPermission.SUPERADMIN: 3,
}
_EXTERNAL = frozenset({SystemPermission.EXTERNAL_HCP, SystemPermission.PATIENT_ADVOCATE})
