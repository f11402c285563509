"""The definition of the orgs service; the only place where its adapters are chosen."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from quill_shared.kernel.access import access_metadata
from quill_shared.platform.service import Runtime, ServiceDefinition
from quill_shared.platform.service_clients import service_client

from .api import OrgsContext, routes
from .consumers import consumers
from .directories import HttpAccounts, HttpPatients
from .events import PUBLISHED
from .models import Base
from .settings import OrgsSettings


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
    """Opens the connections to the owners of accounts and patients."""
    settings: OrgsSettings = runtime.settings
    async with AsyncExitStack() as stack:
        auth = await stack.enter_async_context(service_client(runtime, "auth", settings.auth_url))
        patients = await stack.enter_async_context(service_client(runtime, "patients", settings.patients_url))
        runtime.context = OrgsContext(accounts=HttpAccounts(auth), patients=HttpPatients(patients))
        yield


definition = ServiceDefinition(
    name="orgs",
    title="Quill organisations",
    package="quill_orgs",
    settings=OrgsSettings,
    routers=(routes,),
    publishes=PUBLISHED,
    consumers=consumers,
    metadata=(Base.metadata, access_metadata),
    lifespan=lifespan,
)
