"""The application of a service, built from its definition. Building connects to nothing."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, get_args

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from . import health
from .bus import RabbitMQTransport, Subscription, Transport
from .bus.parking import DatabaseParkingPlace
from .database import Database
from .errors import Error
from .http import Policy, UpstreamClient
from .inbox import Dispatcher
from .intents import Reconciler
from .middleware import RequestContextMiddleware
from .problems import ErrorHandler
from .relay import OutboxSignal, Relay
from .revocation import RevocationList, RevocationSnapshot
from .service import Role, Runtime, ServiceDefinition, TokenSources
from .service_tokens import ServiceAuth
from .settings import PlatformSettings, ServiceSettings
from .telemetry import Telemetry
from .tokens import JwksCache, TokenVerifier

logger = logging.getLogger(__name__)


def create_app(
    definition: ServiceDefinition,
    *,
    settings: PlatformSettings | None = None,
    transport: Transport | None = None,
    telemetry: Telemetry | None = None,
    role: Role | None = None,
) -> FastAPI:
    """The ASGI application of `definition`.

    Args:
        settings: read from the environment at start when not given.
        transport: this application's connection to the bus, started and closed by it; RabbitMQ from
            the settings when not given.
        telemetry: made from the settings when not given; closed by its owner otherwise.
        role: which half to run; `QUILL_ROLE` when not given, else both.

    The application has `state.runtime` once it has started.
    """
    app = _Application(
        title=definition.title,
        version="0.1.0",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        lifespan=_lifespan(definition, settings, transport, telemetry, role),
        redirect_slashes=False,
    )
    app.state.definition = definition
    errors = ErrorHandler(definition.error_renderers)
    for kind in (Error, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, errors)
    app.include_router(health.router)
    for router in definition.routers:
        app.include_router(router)

    def runtime() -> Runtime:
        running: Runtime = app.state.runtime
        return running

    app.add_middleware(
        RequestContextMiddleware, service=definition.name, errors=errors, access_log=definition.access_log
    )
    if definition.edge is not None:
        app.edge = definition.edge(app.behind_edge, runtime)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


class _Application(FastAPI):
    """FastAPI, with room for something in front of its whole stack (`ServiceDefinition.edge`)."""

    edge: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.edge is None or scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
        else:
            await self.edge(scope, receive, send)

    async def behind_edge(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What the edge hands on to."""
        await super().__call__(scope, receive, send)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
    return app.openapi_schema


def _lifespan(
    definition: ServiceDefinition,
    given_settings: PlatformSettings | None,
    given_transport: Transport | None,
    given_telemetry: Telemetry | None,
    given_role: Role | None,
) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        settings = given_settings or definition.settings()
        role = given_role or _role_from_environment()
        async with AsyncExitStack() as stack:
            runtime, signal = await _assemble(
                stack, definition, settings, given_transport, given_telemetry, role
            )
            app.state.runtime = runtime
            if definition.lifespan is not None:
                await stack.enter_async_context(definition.lifespan(runtime))
            app.state.upstream_probes = {
                name: health.Probe(check, max_age=0.5) for name, check in runtime.upstreams.items()
            }
            if runtime.optional_database is not None:
                app.state.database_probe = health.Probe(runtime.database.ping, max_age=0.5)
            if role in ("api", "all"):
                await stack.enter_async_context(runtime.revocations.following(runtime.transport))
            # Unwound after the workers: events still leave while deliveries are still taken.
            stack.push_async_callback(runtime.transport.stop_consuming)
            if role in ("worker", "all") and definition.has_database:
                await stack.enter_async_context(_working(runtime, signal))
            logger.info("started", extra={"role": role})
            yield
            logger.info("stopping", extra={"role": role})

    return lifespan


def _role_from_environment() -> Role:
    role = os.environ.get("QUILL_ROLE", "all")
    if role not in get_args(Role):
        raise RuntimeError(f"QUILL_ROLE must be one of {', '.join(get_args(Role))}")
    return role  # type: ignore[return-value]


async def _assemble(
    stack: AsyncExitStack,
    definition: ServiceDefinition,
    settings: PlatformSettings,
    given_transport: Transport | None,
    given_telemetry: Telemetry | None,
    role: Role,
) -> tuple[Runtime, OutboxSignal]:
    telemetry = given_telemetry
    if telemetry is None:
        telemetry = Telemetry(definition.name, otlp_endpoint=settings.otlp_endpoint)
        stack.push_async_callback(asyncio.to_thread, telemetry.close)
    transport = given_transport
    if transport is None:
        if settings.rabbitmq_url is None:
            raise RuntimeError("QUILL_RABBITMQ_URL is not set")
        transport = RabbitMQTransport(
            settings.rabbitmq_url.get_secret_value(),
            # Only a relay publishes; an API process would merely be ready later.
            expected=settings.event_consumers
            if isinstance(settings, ServiceSettings) and role != "api"
            else frozenset(),
            grace=settings.shutdown_grace_seconds,
        )
    await transport.start()
    stack.push_async_callback(transport.close)
    signal = OutboxSignal()
    database = _database(definition, settings, signal)
    if database is not None:
        stack.push_async_callback(database.close)
    auth = UpstreamClient(
        "auth",
        settings.auth_url,
        policy=Policy(deadline=3.0),
        tracer=telemetry.tracer,
        auth=ServiceAuth(settings.service_key.get_secret_value(), caller=definition.name, audience="auth"),
    )
    stack.push_async_callback(auth.close)
    sources = _remote_sources(auth)
    keys = JwksCache(lambda: sources.keys())
    stack.push_async_callback(keys.close)
    revocations = RevocationList(lambda: sources.revocations())
    verifier = TokenVerifier(keys, settings.token_issuer, settings.token_audience, revocations)
    runtime = Runtime(
        definition=definition,
        settings=settings,
        role=role,
        telemetry=telemetry,
        transport=transport,
        verifier=verifier,
        revocations=revocations,
        optional_database=database,
    )
    if definition.token_sources is not None:
        sources = definition.token_sources(runtime)
    return runtime, signal


def _database(
    definition: ServiceDefinition, settings: PlatformSettings, signal: OutboxSignal
) -> Database | None:
    if not definition.has_database:
        return None
    if not isinstance(settings, ServiceSettings):
        raise TypeError(f"the settings of {definition.name} lack a database")
    database = Database(
        settings.database_url.get_secret_value(),
        source=definition.source,
        pool_size=settings.database_pool_size,
        pool_overflow=settings.database_pool_overflow,
        statement_timeout=settings.statement_timeout_seconds,
        committed=signal.notify,
    )
    signal.attach(database.engine)
    return database


def _remote_sources(auth: UpstreamClient) -> TokenSources:
    async def keys() -> Mapping[str, Any]:
        response = await auth.request("GET", "/.well-known/jwks.json")
        response.raise_for_status()
        document: Mapping[str, Any] = response.json()
        return document

    async def revocations() -> RevocationSnapshot:
        response = await auth.request("GET", "/internal/revocations")
        response.raise_for_status()
        return RevocationSnapshot.model_validate_json(response.content)

    return TokenSources(keys=keys, revocations=revocations)


@asynccontextmanager
async def _working(runtime: Runtime, signal: OutboxSignal) -> AsyncIterator[None]:
    """Runs the worker's half: consumers, relay, reconciler and the service's own loops."""
    definition, settings, database = runtime.definition, runtime.settings, runtime.database
    tracer = runtime.telemetry.tracer
    consumers = definition.consumers
    dispatcher = Dispatcher(definition.name, database, consumers, tracer)
    await runtime.transport.subscribe(
        Subscription(
            service=definition.name,
            types=consumers.types,
            retired=consumers.retired,
            deliver=dispatcher.deliver,
            parking=DatabaseParkingPlace(database),
            delivery_limit=settings.delivery_limit,
        )
    )
    relay = Relay(database.engine, runtime.transport, signal)
    reconciler = Reconciler(
        definition.name, database, definition.intents(runtime), tracer, grace=settings.intent_grace_seconds
    )
    relaying = asyncio.create_task(relay.run(), name=f"{definition.name} relay")
    reconciling = asyncio.create_task(reconciler.run(), name=f"{definition.name} reconciler")
    loops = [asyncio.create_task(_forever(loop, runtime)) for loop in definition.background]
    try:
        yield
    finally:
        relay.stop()
        reconciler.stop()
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        _, late = await asyncio.wait({relaying, reconciling}, timeout=5)
        for task in late:
            task.cancel()
        await asyncio.gather(relaying, reconciling, return_exceptions=True)


async def _forever(loop: Any, runtime: Runtime) -> None:
    """Runs a background loop again if it fails; it is logged, and the pause keeps it from spinning."""
    while True:
        try:
            await loop(runtime)
        except Exception as error:  # noqa: BLE001 - the loop must outlive any single failure
            logger.warning("background loop interrupted", extra={"error_type": type(error).__name__})
        await asyncio.sleep(1)
