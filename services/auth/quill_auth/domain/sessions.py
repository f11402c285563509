"""What a refresh token may still do: the state machine of a session's family of tokens (RFC 9700 §4.14).

A token is fresh until its first use, which replaces it. For a short grace after that it still gets a
sibling (two tabs refreshing at once); afterwards, presenting it can only mean that two parties hold
it, and the session ends.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a session lasts without a refresh, and at all; how long a used token gets siblings."""

    idle: timedelta
    absolute: timedelta
    grace: timedelta


@dataclass(frozen=True, slots=True)
class Family:
    """A session as far as its refresh tokens are concerned."""

    created_at: datetime
    refreshed_at: datetime
    ended: bool
    account_active: bool


class Verdict(Enum):
    """What becomes of a refresh."""

    ROTATE = auto()
    SIBLING = auto()
    REPLAYED = auto()
    EXPIRED = auto()
    ENDED = auto()
    INACTIVE = auto()


def expiry(created_at: datetime, refreshed_at: datetime, limits: SessionLimits) -> datetime:
    """When a session ends if nothing more happens."""
    return min(refreshed_at + limits.idle, created_at + limits.absolute)


def judge(family: Family, first_used_at: datetime | None, now: datetime, limits: SessionLimits) -> Verdict:
    """What becomes of presenting a token of `family` that was first used at `first_used_at` (None: never)."""
    if not family.account_active:
        return Verdict.INACTIVE
    if family.ended:
        return Verdict.ENDED
    if now >= expiry(family.created_at, family.refreshed_at, limits):
        return Verdict.EXPIRED
    if first_used_at is None:
        return Verdict.ROTATE
    if now - first_used_at <= limits.grace:
        return Verdict.SIBLING
    return Verdict.REPLAYED
