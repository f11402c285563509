"""Runs the real gateway for the benchmark: every feature on, limits too high to be what is measured."""

import argparse
import asyncio
import contextlib
import gc
import secrets

import uvloop
from fastapi import FastAPI
from pydantic import SecretStr

from quill_gateway.bootstrap import definition
from quill_gateway.settings import GatewaySettings
from quill_shared.platform.app import create_app
from quill_shared.platform.bus import EmbeddedTransport
from quill_shared.platform.logs import configure_logging
from quill_shared.platform.serve import server


def application(origin: str, auth: str, transport: EmbeddedTransport) -> FastAPI:
    """The gateway in front of one origin that plays all services."""
    settings = GatewaySettings(
        env="production",
        service_key=SecretStr(secrets.token_urlsafe(48)),
        csrf_key=SecretStr(secrets.token_urlsafe(48)),
        auth_url=auth,
        patients_url=origin,
        letters_url=origin,
        messaging_url=origin,
        orgs_url=origin,
        cors_origins=("https://pwa.example.org",),
        session_rate=1_000_000,
        session_burst=1_000_000,
        address_rate=1_000_000,
        address_burst=1_000_000,
        upstream_keepalive_seconds=60,
    )
    return create_app(definition, settings=settings, transport=transport)


async def run(app: FastAPI, transport: EmbeddedTransport, port: int) -> None:
    """Serves until the process is stopped."""
    await transport.start()
    await server(app, host="127.0.0.1", port=port, grace=1).serve()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--origin", required=True, help="root of the service behind")
    parser.add_argument("--auth", required=True, help="root of the service with keys and revocations")
    arguments = parser.parse_args()
    configure_logging("gateway", "INFO")
    transport = EmbeddedTransport()
    app = application(arguments.origin, arguments.auth, transport)
    # As the command that runs a service does it.
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop, contextlib.suppress(KeyboardInterrupt):
        loop.run(run(app, transport, arguments.port))


if __name__ == "__main__":
    main()
