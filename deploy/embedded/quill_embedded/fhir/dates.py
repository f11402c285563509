"""FHIR dates as half-open ranges of time, as searches compare them (FHIR R4, search on date parameters)."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, NamedTuple

_DATE = re.compile(
    r"(?P<year>\d{4})(-(?P<month>\d\d)(-(?P<day>\d\d)"
    r"(T(?P<hour>\d\d):(?P<minute>\d\d)(:(?P<second>\d\d)(\.(?P<fraction>\d+))?)?"
    r"(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?"
)
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)


class TimeRange(NamedTuple):
    """From ``low`` (included) to ``high`` (excluded)."""

    low: datetime
    high: datetime


def parse_time_range(text: str) -> TimeRange:
    """The range a date of any precision stands for; without a zone it is read as UTC.

    Fractions count to the millisecond, which is also how precisely times are kept.

    Raises:
        ValueError: not a FHIR date, dateTime or instant.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError("not a FHIR date")
    part = match.groupdict()
    year, month, day = int(part["year"]), int(part["month"] or 1), int(part["day"] or 1)
    milliseconds = int((part["fraction"] or "0")[:3].ljust(3, "0"))
    start = datetime(
        year,
        month,
        day,
        int(part["hour"] or 0),
        int(part["minute"] or 0),
        int(part["second"] or 0),
        milliseconds * 1000,
        tzinfo=_zone(part["zone"]),
    )
    try:
        low = start.astimezone(UTC)
    except OverflowError:
        low = _EARLIEST if year == 1 else _LATEST
    try:
        if part["month"] is None:
            high = low.replace(year=year + 1)
        elif part["day"] is None:
            high = low.replace(year=year + month // 12, month=month % 12 + 1)
        else:
            high = low + _length(part)
    except (OverflowError, ValueError):
        high = _LATEST
    return TimeRange(low, high)


def _zone(text: str | None) -> timezone:
    if text is None or text == "Z":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[4:6]))
    return timezone(-offset if text[0] == "-" else offset)


def _length(part: dict[str, str | None]) -> timedelta:
    if part["hour"] is None:
        return timedelta(days=1)
    if part["second"] is None:
        return timedelta(minutes=1)
    return timedelta(milliseconds=1) if part["fraction"] else timedelta(seconds=1)
