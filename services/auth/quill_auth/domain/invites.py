"""When an invitation to a patient's record still stands (safety, fault 9)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class UserType(StrEnum):
    """In what capacity somebody is invited; also the system permission of an account made by it."""

    EXTERNAL_HCP = "external_hcp"
    PATIENT_ADVOCATE = "patient_advocate"


@dataclass(frozen=True, slots=True)
class InviteState:
    """What has become of an invitation so far."""

    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None

    def stands(self, now: datetime) -> bool:
        """Whether it may be accepted: once, in time, and not if it was revoked."""
        return self.used_at is None and self.revoked_at is None and now < self.expires_at


def undoes_revocation(invite: InviteState, access_revoked_at: datetime | None) -> bool:
    """Whether accepting would open again what was closed after the invitation was made."""
    return access_revoked_at is not None and access_revoked_at >= invite.created_at
