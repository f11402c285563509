"""What is known about the work in hand: request, trace, caller. Logs, problems and events read it.

The middleware binds it for a request, the dispatcher for an event. Ids only, never names.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class WorkContext:
    """Where a piece of work came from.

    `correlation_id` names the request that began the whole chain, `causation_id` the request or
    event directly before this one.
    """

    service: str = ""
    request_id: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    client_address: str = ""
    user_agent: str = ""
    user_id: int | None = None
    session_id: str | None = None


_current: ContextVar[WorkContext | None] = ContextVar("quill_work_context", default=None)
_NOTHING = WorkContext()


def current() -> WorkContext:
    """The context of the work in hand; an empty one outside any."""
    return _current.get() or _NOTHING


@contextmanager
def bound(context: WorkContext) -> Iterator[None]:
    """Binds `context` for the block."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def identify(*, user_id: int, session_id: str | None) -> None:
    """Adds the caller, once known, to the context of the request in hand."""
    _current.set(replace(current(), user_id=user_id, session_id=session_id))
