"""The whole system on real sockets: six applications and a FHIR server, each with its own database.

It runs on a thread with an event loop of its own, so that plain tests can call it over HTTP like anybody.
"""

import asyncio
import contextlib
import dataclasses
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
import uvicorn
from applications import APPLICATIONS, SERVICES
from deliveries import NOWHERE, databases, required_settings
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from quill_embedded.fhir import FhirSettings, create_fhir_app
from quill_shared.platform.app import create_app
from quill_shared.platform.bus import EmbeddedTransport
from quill_shared.platform.serve import Server
from quill_shared.platform.telemetry import Telemetry
from quill_shared.platform.testing.postgres import PostgresServer, TestDatabase, empty_database
from quill_shared.platform.testing.services import Canary, secret

SUPERADMIN: Final = "root"
_STARTS_WITHIN: Final = 30.0


@dataclass(frozen=True, slots=True)
class System:
    """Where everything is, and the first account's password."""

    urls: Mapping[str, str]
    superadmin_password: str

    def client(self, name: str) -> httpx.Client:
        """A client of one application."""
        return httpx.Client(base_url=self.urls[name], timeout=30)


@contextmanager
def running_system(
    server: PostgresServer, canary: Canary, overrides: Mapping[str, Any] | None = None
) -> Iterator[System]:
    """Runs everything for the block.

    Args:
        canary: collects the spans.
        overrides: settings that differ from the usual, for every application that has them.
    """
    with ExitStack() as stack:
        urls, sockets = {}, {}
        for name in (*APPLICATIONS, "fhir"):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            sockets[name] = listener
            urls[name] = f"http://127.0.0.1:{listener.getsockname()[1]}"
        stores = stack.enter_context(databases(server, tuple(SERVICES)))
        fhir_store = stack.enter_context(empty_database(server, "quill_fhir"))
        password = secret()
        values = {**_values(urls, password), **(overrides or {})}
        apps: dict[str, Any] = {
            "fhir": create_fhir_app(
                FhirSettings(
                    database_url=fhir_store.owner_url.replace("postgresql+asyncpg://", "postgresql://", 1)
                )
            ),
            **_applications(stack, stores, values, canary),
        }
        stack.enter_context(_serving(apps, sockets))
        _await_ready(urls)
        yield System(urls, password)


def _values(urls: Mapping[str, str], password: str) -> dict[str, Any]:
    return {
        "env": "development",
        **{f"{name}_url": urls[name] for name in SERVICES},
        "fhir_url": f"{urls['fhir']}/fhir",
        "openehr_url": NOWHERE,
        "service_key": secret(),
        "csrf_key": secret(),
        "database_pool_size": 3,
        "bootstrap_admin_username": SUPERADMIN,
        "bootstrap_admin_email": f"{SUPERADMIN}@quill.example",
        "bootstrap_admin_password": password,
        "argon2_passes": 1,
        "argon2_memory_kib": 64,
        "registrations_per_address": 100_000,
        "registrations_per_account": 100_000,
        "sign_in_failures_per_address": 100_000,
        "session_rate": 100_000,
        "session_burst": 100_000,
        "address_rate": 100_000,
        "address_burst": 100_000,
        "sweep_interval_seconds": 1.0,
        "shutdown_grace_seconds": 5.0,
    }


def _applications(
    stack: ExitStack, stores: Mapping[str, TestDatabase], values: Mapping[str, Any], canary: Canary
) -> dict[str, Any]:
    bus = EmbeddedTransport(expected=frozenset(SERVICES))
    apps = {}
    for name, definition in APPLICATIONS.items():
        own = {**required_settings(definition), **values}
        if name in stores:
            own["database_url"] = stores[name].app_url
        telemetry = Telemetry(name, processor=SimpleSpanProcessor(canary.spans))
        stack.callback(telemetry.close)
        apps[name] = create_app(
            dataclasses.replace(definition),
            settings=definition.settings(**own),
            transport=bus.join(),
            telemetry=telemetry,
            role="all",
        )
    return apps


@contextmanager
def _serving(apps: Mapping[str, Any], sockets: Mapping[str, socket.socket]) -> Iterator[None]:
    servers = {
        name: Server(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                timeout_graceful_shutdown=5,
            )
        )
        for name, app in apps.items()
    }

    async def serve() -> None:
        await asyncio.gather(*(each.serve(sockets=[sockets[name]]) for name, each in servers.items()))

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="system", daemon=True)
    thread.start()
    try:
        yield
    finally:
        for each in servers.values():
            each.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive(), "an application did not stop"


def _await_ready(urls: Mapping[str, str]) -> None:
    """Waits until every application can do its work.

    Raises:
        TimeoutError: one cannot.
    """
    with httpx.Client(timeout=5) as client:
        for name in APPLICATIONS:
            for _ in range(int(_STARTS_WITHIN / 0.05)):
                with contextlib.suppress(httpx.TransportError):
                    if client.get(f"{urls[name]}/health/ready").status_code == 200:
                        break
                threading.Event().wait(0.05)
            else:
                raise TimeoutError(f"{name} is not ready")
