"""The definition of the letters service; the only place where its adapters are chosen."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from quill_shared.kernel.access import access_consumers, access_metadata
from quill_shared.platform.http import UpstreamClient
from quill_shared.platform.service import Runtime, ServiceDefinition

from .openehr import OpenEhr, OpenEhrServer
from .settings import LettersSettings


@dataclass(frozen=True, slots=True)
class LettersContext:
    """The adapters of the running service."""

    openehr: OpenEhr


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
    """Opens the connection to the openEHR server."""
    settings: LettersSettings = runtime.settings
    auth = None
    if settings.openehr_username is not None and settings.openehr_password is not None:
        auth = httpx.BasicAuth(settings.openehr_username, settings.openehr_password.get_secret_value())
    client = UpstreamClient("ehrbase", settings.openehr_url, auth=auth, tracer=runtime.telemetry.tracer)
    context = LettersContext(openehr=OpenEhrServer(client))
    runtime.context = context
    runtime.upstreams["ehrbase"] = context.openehr.works
    try:
        yield
    finally:
        await client.close()


definition = ServiceDefinition(
    name="letters",
    title="Quill letters",
    package="quill_letters",
    settings=LettersSettings,
    consumers=access_consumers,
    metadata=(access_metadata,),
    lifespan=lifespan,
)
