"""The definition of the patients service; the only place where its adapters are chosen."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from quill_shared.kernel.access import access_metadata
from quill_shared.platform.health import Probe
from quill_shared.platform.http import Policy, UpstreamClient
from quill_shared.platform.service import Runtime, ServiceDefinition
from quill_shared.platform.service_clients import service_client

from .api import routers
from .consumers import consumers
from .directories import HttpOrganisations
from .events import PUBLISHED
from .fhir.client import HttpFhirPatients
from .fhir.outcome import render_outcome
from .models import Base
from .sealing import Seal, derived_key
from .service import PatientsContext
from .service.settling import intent_handlers
from .service.sweep import sweeping
from .settings import PatientsSettings


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
    """Opens the connections to the FHIR server and to the owner of organisations."""
    settings: PatientsSettings = runtime.settings
    client = UpstreamClient(
        "fhir",
        settings.fhir_url,
        policy=Policy(deadline=settings.fhir_deadline_seconds),
        tracer=runtime.telemetry.tracer,
    )
    fhir = HttpFhirPatients(client)
    secret = settings.identifier_key.get_secret_value()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        orgs = await stack.enter_async_context(service_client(runtime, "orgs", settings.orgs_url))
        runtime.context = PatientsContext(
            fhir=fhir,
            fhir_ready=Probe(fhir.ping, max_age=0.0, timeout=2.0),
            organisations=HttpOrganisations(orgs),
            mrn_system=settings.mrn_system,
            digest_key=derived_key(secret, "identifiers"),
            seal=Seal(derived_key(secret, "cursors")),
            grace=settings.intent_grace_seconds,
            public_url=settings.public_url,
        )
        runtime.upstreams["fhir"] = fhir.ping
        yield


definition = ServiceDefinition(
    name="patients",
    title="Quill patients",
    package="quill_patients",
    settings=PatientsSettings,
    routers=routers,
    publishes=PUBLISHED,
    consumers=consumers,
    metadata=(Base.metadata, access_metadata),
    lifespan=lifespan,
    intents=intent_handlers,
    background=(sweeping,),
    error_renderers={"/api/fhir/Patient": render_outcome, "/api/fhir/metadata": render_outcome},
)
