"""What a service is made of, as data. `app.create_app` builds the application from it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import APIRouter
from sqlalchemy import MetaData
from starlette.types import ASGIApp

from .bus import Transport
from .database import Database
from .events import Consumers, Event
from .intents import Settle
from .problems import Renderer
from .revocation import RevocationList, RevocationSnapshot
from .settings import PlatformSettings
from .telemetry import Telemetry
from .tokens import TokenVerifier

Role = Literal["api", "worker", "all"]
"""Which half of a service a process runs (ADR 0008): requests, or consumers, relay and reconciler."""

Check = Callable[[], Awaitable[bool]]


@dataclass(slots=True)
class Runtime:
    """What a running application holds; `app.state.runtime`.

    `context` is the service's own: its `bootstrap` builds it from its adapters, its routes read it.
    """

    definition: "ServiceDefinition"
    settings: Any
    role: Role
    telemetry: Telemetry
    transport: Transport
    verifier: TokenVerifier
    revocations: RevocationList
    optional_database: Database | None = None
    context: Any = None
    upstreams: dict[str, Check] = field(default_factory=dict)
    """Systems behind this service, by the name health reports, and how to ask whether they work."""

    @property
    def database(self) -> Database:
        """The service's database; the gateway has none."""
        if self.optional_database is None:
            raise RuntimeError(f"{self.definition.name} has no database")
        return self.optional_database


@dataclass(frozen=True, slots=True)
class TokenSources:
    """Where public keys and revocations come from when it is not auth's HTTP interface (in auth itself)."""

    keys: Callable[[], Awaitable[Mapping[str, Any]]]
    revocations: Callable[[], Awaitable[RevocationSnapshot]]


def _no_intents(runtime: Runtime) -> Mapping[str, Settle]:
    return {}


@dataclass(frozen=True, slots=True)
class ServiceDefinition:
    """A service.

    Args:
        name: `auth`, `patients`, …; names the queue, the CloudEvents source and the log field.
        title: for the documentation.
        package: the importable package; its `migrations` directory and database go with it.
        settings: read from the environment when the application starts, not when it is built.
        routers: its routes.
        publishes: the events it may record.
        consumers: the events it reads.
        metadata: its tables, besides the platform's.
        lifespan: opens the adapters and sets `runtime.context`; entered after the database is there.
        intents: handlers of unfinished upstream writes, by kind.
        background: loops of the worker role; each runs until cancelled at shutdown.
        edge: stands in front of the application, request context included, and hands on to it what it
            does not answer itself; gets the application and a callable that answers the runtime once
            started.
        protocol: the HTTP protocol of its server, if not uvicorn's own.
        access_log: whether the platform logs a line per request (the gateway writes its own).
        error_renderers: error forms other than problem+json, by path prefix.
        token_sources: see `TokenSources`.
    """

    name: str
    title: str
    package: str
    settings: type[PlatformSettings]
    routers: Sequence[APIRouter] = ()
    publishes: Sequence[type[Event]] = ()
    consumers: Consumers = field(default_factory=Consumers)
    metadata: Sequence[MetaData] = ()
    lifespan: Callable[[Runtime], AbstractAsyncContextManager[None]] | None = None
    intents: Callable[[Runtime], Mapping[str, Settle]] = _no_intents
    background: Sequence[Callable[[Runtime], Awaitable[None]]] = ()
    edge: Callable[[ASGIApp, Callable[[], Runtime]], ASGIApp] | None = None
    protocol: type[asyncio.Protocol] | None = None
    error_renderers: Mapping[str, Renderer] = field(default_factory=dict)
    token_sources: Callable[[Runtime], TokenSources] | None = None
    has_database: bool = True
    access_log: bool = True

    @property
    def source(self) -> str:
        """CloudEvents `source` of what it publishes."""
        return f"quill/{self.name}"


__all__ = ["Check", "Role", "Runtime", "ServiceDefinition", "TokenSources"]
