"""The time, in one place, so that tests and readers know where it comes from."""

from datetime import UTC, datetime


def now() -> datetime:
    """The current instant, aware, in UTC."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """`moment` as RFC 3339 in UTC with offset, e.g. `2026-03-01T09:30:00.123456+00:00`."""
    return moment.astimezone(UTC).isoformat()
