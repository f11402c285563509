"""The ASGI application of the FHIR stand-in."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import asyncpg
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .capabilities import capability_statement
from .documents import dump, instant
from .interactions import Interactions, json_response, outcome_response
from .outcome import ConflictError, FhirError, NotAllowedError, NotFoundError
from .requests import base_url, check_accept
from .settings import FhirSettings
from .storage import Store

Handler = Callable[[Request], Awaitable[Response]]

_logger = logging.getLogger(__name__)

_UNREACHABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)


class _UnavailableError(FhirError):
    status = 503


def create_fhir_app(settings: FhirSettings) -> Starlette:
    """Build a FHIR R4 server below ``/fhir``.

    Nothing is connected until its lifespan starts; then it makes its tables if they are missing.
    """
    store = Store(settings)
    interactions = Interactions(store, settings)
    started = instant(datetime.now(UTC))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await store.open()
        try:
            yield
        finally:
            await store.close()

    async def metadata(request: Request) -> Response:
        return json_response(dump(capability_statement(base_url(request, settings), started)))

    async def by_type(request: Request) -> Response:
        return await (interactions.create if request.method == "POST" else interactions.search)(request)

    async def by_id(request: Request) -> Response:
        handlers = {"PUT": interactions.update, "DELETE": interactions.delete}
        return await handlers.get(request.method, interactions.read)(request)

    routes = [
        Route("/fhir", _answered(interactions.page), methods=["GET"]),
        Route("/fhir/", _answered(interactions.page), methods=["GET"]),
        Route("/fhir/metadata", _answered(metadata), methods=["GET"]),
        Route("/fhir/{resource_type}", _answered(by_type), methods=["GET", "POST"]),
        Route("/fhir/{resource_type}/_search", _answered(interactions.search), methods=["GET", "POST"]),
        Route("/fhir/{resource_type}/{resource_id}", _answered(by_id), methods=["GET", "PUT", "DELETE"]),
        Route(
            "/fhir/{resource_type}/{resource_id}/_history", _answered(interactions.history), methods=["GET"]
        ),
        Route(
            "/fhir/{resource_type}/{resource_id}/_history/{version}",
            _answered(interactions.vread),
            methods=["GET"],
        ),
    ]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _route_refused})
    app.router.redirect_slashes = False
    return app


def _answered(handler: Handler) -> Handler:
    """Turn every failure of a handler into an OperationOutcome."""

    async def endpoint(request: Request) -> Response:
        try:
            check_accept(request)
            return await handler(request)
        except FhirError as error:
            return outcome_response(error)
        except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
            return outcome_response(ConflictError("HAPI-0550: HAPI-0823: concurrent writes, try again"))
        except _UNREACHABLE as error:
            _logger.warning("database not reachable: %s", type(error).__name__)
            return outcome_response(_UnavailableError("HAPI-0389: the database is not reachable"))
        except Exception as error:  # noqa: BLE001 - the last boundary
            # Only the kind of failure is logged: a message or traceback may hold what a client sent.
            _logger.error("unexpected failure: %s", type(error).__name__)
            return outcome_response(FhirError("HAPI-0389: unexpected failure"))

    return endpoint


async def _route_refused(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == NotAllowedError.status:
        response = outcome_response(
            NotAllowedError("HAPI-0302: this method is not supported at this address")
        )
        response.headers.update(error.headers or {})
        return response
    return outcome_response(NotFoundError("HAPI-0302: unknown address"))
