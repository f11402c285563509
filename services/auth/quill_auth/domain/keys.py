"""Which key signs.

A key is published from the moment it exists until it expires, and signs from `activates_at` until a
newer one does. So rotation is: add a key that activates once every verifier has fetched it, let the
old one expire once no token it signed can be alive.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar


@dataclass(frozen=True, slots=True)
class KeyLife:
    """When a key signs and is published."""

    activates_at: datetime
    expires_at: datetime | None

    def published(self, now: datetime) -> bool:
        """Whether verifiers must know it."""
        return self.expires_at is None or now < self.expires_at


_Kid = TypeVar("_Kid")


def signing_key(keys: Iterable[tuple[_Kid, KeyLife]], now: datetime) -> _Kid | None:
    """The one that signs at `now`: of those active and not expired the newest."""
    active = [
        (life.activates_at, kid) for kid, life in keys if life.activates_at <= now and life.published(now)
    ]
    return max(active, key=lambda each: each[0])[1] if active else None
