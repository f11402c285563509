"""What the running service holds: its adapters and its rules in numbers."""

from dataclasses import dataclass
from datetime import timedelta

from quill_shared.platform.csrf import CsrfTokens

from .directories import Patients
from .domain.sessions import SessionLimits
from .domain.throttling import Policy
from .keys import KeyFactory, Signer
from .passwords import OldHashes, Passwords
from .settings import AuthSettings


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast sign-in and registration may fail."""

    account: Policy
    address: Policy
    registration_account: Policy
    registration_address: Policy


@dataclass(frozen=True, slots=True)
class AuthContext:
    """The adapters of the running service."""

    settings: AuthSettings
    passwords: Passwords
    old_hashes: OldHashes
    patients: Patients
    key_factory: KeyFactory
    signer: Signer
    csrf: CsrfTokens
    sessions: SessionLimits
    limits: Limits


def session_limits(settings: AuthSettings) -> SessionLimits:
    """The session rules in the settings."""
    return SessionLimits(
        idle=timedelta(seconds=settings.session_idle_seconds),
        absolute=timedelta(seconds=settings.session_absolute_seconds),
        grace=timedelta(seconds=settings.refresh_grace_seconds),
    )


def throttle_limits(settings: AuthSettings) -> Limits:
    """The limits in the settings."""
    longest = timedelta(seconds=settings.sign_in_longest_delay_seconds)

    def policy(limit: int, *, grows: bool = False) -> Policy:
        return Policy(limit=limit, longest=longest, grows=grows)

    return Limits(
        account=policy(settings.sign_in_failures_per_account, grows=True),
        address=policy(settings.sign_in_failures_per_address),
        registration_account=policy(settings.registrations_per_account),
        registration_address=policy(settings.registrations_per_address),
    )
