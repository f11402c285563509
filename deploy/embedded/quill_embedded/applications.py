"""Gateway and services with their settings, all in this process: how the embedded stack differs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI

from quill_auth.bootstrap import definition as auth
from quill_gateway.bootstrap import definition as gateway
from quill_letters.bootstrap import definition as letters
from quill_messaging.bootstrap import definition as messaging
from quill_orgs.bootstrap import definition as orgs
from quill_patients.bootstrap import definition as patients
from quill_shared.platform.app import create_app
from quill_shared.platform.bus import EmbeddedTransport

from .backends import OPENEHR_USERNAME
from .configuration import Configuration
from .provision import DatabaseUrls
from .values import checked, common

SERVICE_DEFINITIONS: Final = (auth, patients, letters, messaging, orgs)
DEFINITIONS: Final = (*SERVICE_DEFINITIONS, gateway)

# Five services share one server with 80 connections. An environment that says otherwise is believed.
_DEFAULTS: Final = {
    "database_pool_size": 4,
    "database_pool_overflow": 6,
}


@dataclass(frozen=True, slots=True)
class Application:
    """One ASGI application and where it is to listen."""

    name: str
    app: FastAPI
    grace: float


def build(
    configuration: Configuration, keys: Mapping[str, str], urls: Mapping[str, DatabaseUrls]
) -> list[Application]:
    """All six, joined by one in-process bus; the gateway last.

    Raises:
        StackError: the environment holds a value that a settings class refuses.
    """
    bus = EmbeddedTransport(expected=frozenset(each.name for each in SERVICE_DEFINITIONS))
    ports = configuration.ports
    values = {
        **common(configuration, keys, _DEFAULTS),
        "fhir_url": f"{ports.url('FHIR')}/fhir",
        "openehr_url": f"{ports.url('openEHR')}/ehrbase/rest/openehr/v1",
        "openehr_username": OPENEHR_USERNAME,
    }
    applications = []
    for definition in DEFINITIONS:
        own: dict[str, Any] = {"port": ports.of(definition.name)}
        if definition.has_database:
            own["database_url"] = urls[definition.package].app
        settings = checked(definition.name, definition.settings, {**values, **own})
        app = create_app(definition, settings=settings, transport=bus.join(), role="all")
        applications.append(Application(definition.name, app, settings.shutdown_grace_seconds))
    return applications
