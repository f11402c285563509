"""Keyset pages: a stable order, a page size, an opaque cursor that names the last row seen.

Cost per page does not depend on how deep the page lies.
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query

from .errors import Unprocessable

T = TypeVar("T")
MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What part of a list is wanted: at most `limit` rows after the key `after` (None: from the start)."""

    limit: int
    after: tuple[Any, ...] | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list, and the cursor of the next part (None at the end)."""

    items: Sequence[T]
    next_cursor: str | None


def encode_cursor(key: Sequence[str | int]) -> str:
    """An opaque, URL-safe cursor for a row's sort key."""
    return base64.urlsafe_b64encode(json.dumps(list(key)).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, kinds: Sequence[type]) -> tuple[Any, ...]:
    """The key in `cursor`, checked against the column types.

    Raises:
        Unprocessable: not a cursor of this list.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        key = json.loads(base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        key = None
    if (
        not isinstance(key, list)
        or len(key) != len(kinds)
        or any(type(part) is not kind for part, kind in zip(key, kinds, strict=True))
        or any(isinstance(part, int) and not -(2**63) <= part < 2**63 for part in key)
        or any(isinstance(part, str) and not storable(part) for part in key)
    ):
        raise Unprocessable.field("cursor", "is not a cursor of this list", where="query")
    return tuple(key)


def storable(value: str) -> bool:
    """Whether PostgreSQL can hold `value`: no NUL, no lone surrogate."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def page_request(*kinds: type, default: int = MAX_PAGE) -> Callable[..., PageRequest]:
    """A dependency that reads `limit` and `cursor` for a list sorted by columns of `kinds`."""

    def read(
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="rows per page")] = default,
        cursor: Annotated[
            str | None, Query(max_length=512, description="`next_cursor` of the page before")
        ] = None,
    ) -> PageRequest:
        return PageRequest(limit, decode_cursor(cursor, kinds) if cursor is not None else None)

    return read


def cut(rows: Sequence[T], request: PageRequest, key: Callable[[T], Sequence[str | int]]) -> Page[T]:
    """A page from `rows`, which were read with `limit + 1`."""
    items = rows[: request.limit]
    more = len(rows) > request.limit
    return Page(items, encode_cursor(key(items[-1])) if more and items else None)
