"""Clients of one service in another."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .http import Policy, UpstreamClient
from .service import Runtime
from .service_tokens import ServiceAuth


@asynccontextmanager
async def service_client(runtime: Runtime, name: str, url: str) -> AsyncIterator[UpstreamClient]:
    """A client of the service `name`'s internal routes, signed as the calling service."""
    client = UpstreamClient(
        name,
        url,
        policy=Policy(deadline=3.0),
        tracer=runtime.telemetry.tracer,
        auth=ServiceAuth(
            runtime.settings.service_key.get_secret_value(), caller=runtime.definition.name, audience=name
        ),
    )
    try:
        yield client
    finally:
        await client.close()
