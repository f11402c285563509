"""The six applications as data: their definitions, routes, and the events they publish and read."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.requests import Request

from quill_auth.bootstrap import definition as auth
from quill_gateway.bootstrap import definition as gateway
from quill_letters.bootstrap import definition as letters
from quill_messaging.bootstrap import definition as messaging
from quill_orgs.bootstrap import definition as orgs
from quill_patients.bootstrap import definition as patients
from quill_shared.platform.app import create_app
from quill_shared.platform.errors import Unauthenticated
from quill_shared.platform.events import Event
from quill_shared.platform.routing import Guard
from quill_shared.platform.service import ServiceDefinition
from quill_shared.platform.service_tokens import require_service

SERVICES: Final[dict[str, ServiceDefinition]] = {
    each.name: each for each in (auth, patients, letters, messaging, orgs)
}
APPLICATIONS: Final[dict[str, ServiceDefinition]] = {**SERVICES, gateway.name: gateway}
UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path of an application, with everything FastAPI will resolve for it."""

    application: str
    method: str
    path: str
    dependant: Dependant | None

    @property
    def shape(self) -> tuple[str, str]:
        """Method and path, whatever the parameters are called."""
        return self.method, shape_of(self.path)

    @property
    def is_public_api(self) -> bool:
        """Whether clients reach it through the gateway."""
        return self.path.startswith("/api/")

    @property
    def is_internal(self) -> bool:
        """Whether only other services reach it."""
        return self.path.startswith("/internal/")

    def dependencies(self) -> Iterator[Any]:
        """What is called before the handler, nested dependencies included."""
        pending = [] if self.dependant is None else list(self.dependant.dependencies)
        while pending:
            dependency = pending.pop()
            yield dependency.call
            pending.extend(dependency.dependencies)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def shape_of(path: str) -> str:
    """A path template without the names of its parameters."""
    return re.sub(r"\{[^}]*\}", "{}", path)


@cache
def application(name: str) -> FastAPI:
    """The application as it is built everywhere, not started."""
    return create_app(APPLICATIONS[name])


@cache
def endpoints(name: str) -> tuple[Endpoint, ...]:
    """Every route of an application; HEAD goes with GET."""
    found = []
    for context in iter_route_contexts(application(name).routes):
        original = context.original_route
        dependant = original.dependant if isinstance(original, APIRoute) else None
        for method in sorted(set(context.methods or ()) - {"HEAD"}):
            found.append(Endpoint(name, method, str(context.path), dependant))
    return tuple(found)


def all_endpoints() -> tuple[Endpoint, ...]:
    """Every route of the six."""
    return tuple(each for name in APPLICATIONS for each in endpoints(name))


async def turns_strangers_away(dependency: Any) -> bool:
    """Whether a dependency refuses a request without any credentials.

    It is tried rather than looked up in a list of classes, so that a guard written tomorrow counts, and one
    that has stopped refusing does not.
    """
    if not isinstance(dependency, Guard) and dependency is not require_service:
        return False
    request = Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []})
    check = dependency.check if isinstance(dependency, Guard) else dependency
    try:
        await check(request)
    except Unauthenticated:
        return True
    except (AttributeError, KeyError):
        # It wanted the running application before it asked who is calling.
        return False
    return False


def published() -> dict[str, tuple[str, type[Event]]]:
    """Every event by its type, with the service that publishes it."""
    found: dict[str, tuple[str, type[Event]]] = {}
    for name, definition in APPLICATIONS.items():
        for event in definition.publishes:
            assert event.type_name not in found, f"{event.type_name} has two publishers"
            found[event.type_name] = (name, event)
    return found


def readings() -> tuple[tuple[str, str], ...]:
    """Every (service, event type) for which the service has registered a consumer."""
    return tuple(
        (name, type_) for name, definition in SERVICES.items() for type_ in sorted(definition.consumers.types)
    )
