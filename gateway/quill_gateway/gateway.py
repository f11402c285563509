"""Everything the gateway decides with, put together once at the start."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from quill_shared.platform.csrf import CsrfTokens
from quill_shared.platform.service import Runtime
from quill_shared.platform.telemetry import Telemetry

from .accesslog import AccessLog
from .answers import SecurityHeaders
from .bodies import BodyMemory
from .callers import Callers
from .clients import Clients
from .limiter import RateLimiter
from .matching import RouteTable
from .openapi import MergedDocument
from .origins import CrossOrigin
from .routes import ROUTES
from .settings import GatewaySettings
from .systemhealth import SystemHealth
from .upstreams import Upstreams, connected

__all__ = ["Gateway", "opened"]

_TABLE = RouteTable(ROUTES)


@dataclass(frozen=True, slots=True)
class Gateway:
    """The parts of the data path, and of the few answers the gateway composes itself."""

    routes: RouteTable
    upstreams: Upstreams
    clients: Clients
    callers: Callers
    origins: CrossOrigin
    origins_active: bool
    session_limiter: RateLimiter
    address_limiter: RateLimiter
    access_log: AccessLog
    health: SystemHealth
    document: MergedDocument
    telemetry: Telemetry
    api_headers: tuple[tuple[bytes, bytes], ...]
    docs_headers: tuple[tuple[bytes, bytes], ...]
    docs: bool
    clinical_services: bool
    max_body_bytes: int
    max_header_bytes: int
    max_headers: int
    body_idle_seconds: float
    body_deadline_seconds: float
    body_memory: BodyMemory


@asynccontextmanager
async def opened(runtime: Runtime) -> AsyncIterator[None]:
    """Builds the gateway into `runtime.context` for as long as the application runs."""
    settings: GatewaySettings = runtime.settings
    previous = [settings.csrf_previous_key] if settings.csrf_previous_key is not None else []
    csrf = CsrfTokens(settings.csrf_key, previous=previous)
    origins = CrossOrigin(settings.cors_origins, settings.public_url)
    security = SecurityHeaders(development=settings.development, cross_origin=origins.active)
    access_log = AccessLog()
    async with connected(settings) as upstreams:
        runtime.context = Gateway(
            routes=_TABLE,
            upstreams=upstreams,
            clients=Clients(settings.trusted_proxies),
            callers=Callers(runtime.verifier, csrf, origins),
            origins=origins,
            origins_active=origins.active,
            session_limiter=RateLimiter(settings.session_rate, settings.session_burst),
            address_limiter=RateLimiter(settings.address_rate, settings.address_burst),
            access_log=access_log,
            health=SystemHealth(upstreams, runtime.transport, clinical_services=settings.clinical_services),
            document=MergedDocument(upstreams, ROUTES),
            telemetry=runtime.telemetry,
            api_headers=security.api,
            docs_headers=security.docs,
            docs=settings.development,
            clinical_services=settings.clinical_services,
            max_body_bytes=settings.max_body_bytes,
            max_header_bytes=settings.max_header_bytes,
            max_headers=settings.max_headers,
            body_idle_seconds=settings.body_idle_seconds,
            body_deadline_seconds=settings.body_deadline_seconds,
            body_memory=BodyMemory(
                total=settings.body_memory_bytes, per_address=settings.body_memory_bytes_per_address
            ),
        )
        try:
            yield
        finally:
            access_log.flush()
