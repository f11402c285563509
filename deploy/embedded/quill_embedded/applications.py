"""Gateway and services with their settings: the one place that says how the embedded stack differs.

Every settings class takes what it knows of one set of values. What is not given here comes from the
environment as in any other deployment, so that, say, `QUILL_SESSION_RATE=5 make run` does what it says.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from pydantic import ValidationError

from quill_auth.bootstrap import definition as auth
from quill_gateway.bootstrap import definition as gateway
from quill_letters.bootstrap import definition as letters
from quill_messaging.bootstrap import definition as messaging
from quill_orgs.bootstrap import definition as orgs
from quill_patients.bootstrap import definition as patients
from quill_shared.platform.app import create_app
from quill_shared.platform.bus import EmbeddedTransport
from quill_shared.platform.service import ServiceDefinition

from .backends import OPENEHR_USERNAME
from .configuration import Configuration
from .errors import StackError
from .ports import HOST
from .provision import DatabaseUrls
from .world import SUPERADMIN

SERVICE_DEFINITIONS: Final = (auth, patients, letters, messaging, orgs)
DEFINITIONS: Final = (*SERVICE_DEFINITIONS, gateway)

# Five services share one server with 80 connections. An environment that says otherwise is believed.
_DEFAULTS: Final = {
    "database_pool_size": 4,
    "database_pool_overflow": 6,
    "shutdown_grace_seconds": 5.0,
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
    values = _values(configuration, keys)
    applications = []
    for definition in DEFINITIONS:
        own: dict[str, Any] = {"port": configuration.ports.of(definition.name)}
        if definition.has_database:
            own["database_url"] = urls[definition.package].app
        settings = _settings(definition, {**values, **own})
        app = create_app(definition, settings=settings, transport=bus.join(), role="all")
        applications.append(Application(definition.name, app, settings.shutdown_grace_seconds))
    return applications


def _values(configuration: Configuration, keys: Mapping[str, str]) -> dict[str, Any]:
    ports = configuration.ports
    given = {name for name in _DEFAULTS if f"QUILL_{name.upper()}" in os.environ}
    values: dict[str, Any] = {
        **{name: value for name, value in _DEFAULTS.items() if name not in given},
        "env": "development",
        "host": HOST,
        "log_level": configuration.log_level,
        **{f"{name}_url": ports.url(name) for name in ("auth", "patients", "letters", "messaging", "orgs")},
        "fhir_url": f"{ports.url('FHIR')}/fhir",
        "openehr_url": f"{ports.url('openEHR')}/ehrbase/rest/openehr/v1",
        "openehr_username": OPENEHR_USERNAME,
        **{name: keys[name] for name in keys if name != "demo_password"},
    }
    if not os.environ.get("QUILL_BOOTSTRAP_ADMIN_USERNAME"):
        values["bootstrap_admin_username"] = SUPERADMIN.username
        values["bootstrap_admin_email"] = SUPERADMIN.email
        values["bootstrap_admin_password"] = keys["demo_password"]
    return values


def _settings(definition: ServiceDefinition, values: Mapping[str, Any]) -> Any:
    try:
        return definition.settings(**values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = f"QUILL_{first['loc'][0]}".upper() if first["loc"] else "its settings"
        reason = first["msg"].removeprefix("Value error, ")
        raise StackError(f"The {definition.name} service refuses {name}: {reason}.") from None
