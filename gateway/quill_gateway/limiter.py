"""A generous limit per client, kept in this process: against abuse and runaway loops, not against use."""

import math
import time
from collections.abc import Callable, Hashable

from quill_shared.platform.errors import TooManyRequests

__all__ = ["RateLimiter"]


class RateLimiter:
    """A token bucket per key, as the generic cell rate algorithm: one number per key.

    The number is the instant at which the bucket would be full again. Full buckets are forgotten when
    the table has grown to `max_keys`; if that frees nothing, the key that has been there longest goes.

    Args:
        rate: requests a second, in the long run.
        burst: requests at once.
        max_keys: clients remembered.
    """

    def __init__(
        self, rate: float, burst: int, *, max_keys: int = 50_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1.0 / rate
        self._tolerance = burst * self._interval
        self._max_keys = max_keys
        self._clock = clock
        self._full_at: dict[Hashable, float] = {}
        self._swept_at = -math.inf

    def __len__(self) -> int:
        """Clients remembered."""
        return len(self._full_at)

    def take(self, key: Hashable) -> None:
        """Counts one request of `key`.

        Raises:
            TooManyRequests: the bucket is empty; `Retry-After` says when to come again.
        """
        now = self._clock()
        full_at = self._full_at.get(key, now)
        if full_at < now:
            full_at = now
        full_at += self._interval
        if full_at - now > self._tolerance:
            raise TooManyRequests(retry_after=math.ceil(full_at - now - self._tolerance))
        if key not in self._full_at and len(self._full_at) >= self._max_keys:
            self._make_room(now)
        self._full_at[key] = full_at

    def _make_room(self, now: float) -> None:
        # At most one sweep a second: a flood of new keys must not make every request pay for one.
        if now - self._swept_at >= 1:
            self._full_at = {key: instant for key, instant in self._full_at.items() if instant > now}
            self._swept_at = now
        if len(self._full_at) >= self._max_keys:
            del self._full_at[next(iter(self._full_at))]
