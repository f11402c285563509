"""Events: facts in the past tense that a service tells the others.

The envelope is CloudEvents 1.0 in structured JSON. A publisher declares each event as an `Event`
class in its `events.py`; a consumer keeps a minimal model of its own of what it reads.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Generic, Self, TypeVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict

MEDIA_TYPE = "application/cloudevents+json"


class Event(BaseModel):
    """The `data` of an event; the class carries its type and an example.

    Ids and access facts only: never demographics, message bodies or letter text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type_name: ClassVar[str]
    """Routing key, e.g. `orgs.staff.added.v1`; not called `type`, which a payload may need."""
    example: ClassVar[Mapping[str, Any]]
    """One valid instance, for the committed schema and for every consumer's contract test."""


class Envelope(BaseModel):
    """CloudEvents 1.0 §3, with the extensions Quill uses."""

    model_config = ConfigDict(extra="allow", frozen=True)

    specversion: str = "1.0"
    id: UUID
    source: str
    type: str
    subject: str
    time: AwareDatetime
    datacontenttype: str = "application/json"
    dataschema: str
    data: dict[str, Any]
    traceparent: str | None = None
    correlationid: str = ""
    causationid: str = ""
    sequence: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as it lies in the outbox."""

    id: UUID
    type: str
    subject: str


class Consumed(BaseModel):
    """Base of a consumer's own model of an event's data: reads what it needs, ignores the rest."""

    model_config = ConfigDict(extra="ignore", frozen=True)


T = TypeVar("T", bound=Consumed)


@dataclass(frozen=True, slots=True)
class Received(Generic[T]):
    """An event as a consumer sees it."""

    id: UUID
    type: str
    subject: str
    sequence: int
    time: datetime
    source: str
    data: T


@dataclass(frozen=True, slots=True)
class Consumer:
    """A handler of one event type. Its effect and the inbox row commit together."""

    event_type: str
    model: type[Consumed]
    handle: Callable[[Received[Any], Any], Awaitable[None]]


@dataclass(slots=True)
class Consumers:
    """The events a service reads.

    Example:
        consumers = Consumers()

        @consumers.on("orgs.staff.added.v1", StaffFact)
        async def staff_added(event: Received[StaffFact], uow: UnitOfWork) -> None: ...
    """

    by_type: dict[str, tuple[Consumer, ...]] = field(default_factory=dict)
    retired: frozenset[str] = frozenset()
    """Types an earlier release read; the queue is unbound from them and leftovers are acknowledged."""

    def on(
        self, type: str, model: type[T]
    ) -> Callable[
        [Callable[[Received[T], Any], Awaitable[None]]], Callable[[Received[T], Any], Awaitable[None]]
    ]:
        """Registers the decorated coroutine function for `type`."""

        def register(
            handle: Callable[[Received[T], Any], Awaitable[None]],
        ) -> Callable[[Received[T], Any], Awaitable[None]]:
            self.by_type[type] = (*self.by_type.get(type, ()), Consumer(type, model, handle))
            return handle

        return register

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """All the handlers of `parts`; several may read the same type."""
        whole = cls()
        for part in parts:
            for type_, handlers in part.by_type.items():
                whole.by_type[type_] = (*whole.by_type.get(type_, ()), *handlers)
            whole.retired |= part.retired
        return whole

    @property
    def types(self) -> frozenset[str]:
        """The routing keys that a queue for these consumers is bound to."""
        return frozenset(self.by_type)
