"""How failures slow an account or an address down (contract, section 1; hazard 0020).

Up to `limit` failures a window pass. The one that reaches the limit closes the bucket for the rest of
the window; where the policy grows, each further failure doubles the wait, up to `longest`. It is a
delay and never a lock: a stranger cannot shut anybody out for good.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

_QUIET = timedelta(hours=1)
"""Time without a failure after which a bucket is as good as new."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Failures allowed per window, and how long a closed bucket stays closed."""

    limit: int
    longest: timedelta
    grows: bool
    window: timedelta = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is remembered: failures since `since`, how often it closed, and until when it is closed."""

    failures: int
    since: datetime
    closures: int
    closed_until: datetime | None
    last_at: datetime


def seconds_to_wait(bucket: Bucket | None, now: datetime) -> int:
    """Whole seconds until the next attempt is looked at; 0 for now."""
    if bucket is None or bucket.closed_until is None or bucket.closed_until <= now:
        return 0
    return math.ceil((bucket.closed_until - now).total_seconds())


def after_failure(bucket: Bucket | None, now: datetime, policy: Policy) -> Bucket:
    """The bucket once one more failure is counted."""
    if bucket is None or now - bucket.last_at >= _QUIET:
        bucket = Bucket(0, now, 0, None, now)
    failures, since, closures = bucket.failures + 1, bucket.since, bucket.closures
    if closures == 0 and now - since >= policy.window:
        failures, since = 1, now
    if closures == 0 and failures < policy.limit:
        return Bucket(failures, since, 0, None, now)
    if not policy.grows:
        return Bucket(failures, since, 0, since + policy.window, now)
    wait = min(policy.window * 2 ** min(closures, 16), policy.longest)
    return Bucket(failures, since, closures + 1, now + wait, now)
