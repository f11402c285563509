"""The definition of the messaging service; the only place where its adapters are chosen."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from quill_shared.kernel.access import access_consumers, access_metadata
from quill_shared.platform.http import UpstreamClient
from quill_shared.platform.service import Runtime, ServiceDefinition

from .fhir import Fhir, FhirServer
from .settings import MessagingSettings


@dataclass(frozen=True, slots=True)
class MessagingContext:
    """The adapters of the running service."""

    fhir: Fhir


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
    """Opens the connection to the FHIR server."""
    settings: MessagingSettings = runtime.settings
    client = UpstreamClient("fhir", settings.fhir_url, tracer=runtime.telemetry.tracer)
    context = MessagingContext(fhir=FhirServer(client))
    runtime.context = context
    runtime.upstreams["fhir"] = context.fhir.works
    try:
        yield
    finally:
        await client.close()


definition = ServiceDefinition(
    name="messaging",
    title="Quill messaging",
    package="quill_messaging",
    settings=MessagingSettings,
    consumers=access_consumers,
    metadata=(access_metadata,),
    lifespan=lifespan,
)
