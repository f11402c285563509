"""The ASGI application of the openEHR stand-in."""

import base64
import binascii
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from xml.sax.saxutils import escape

import asyncpg
import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .endpoints import BASE_PATH, Endpoints, speaks_xml
from .errors import OpenEhrError, UnauthorizedError, UnavailableError
from .settings import OpenEhrSettings
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


def create_openehr_app(settings: OpenEhrSettings) -> Starlette:
    """Build an openEHR REST server below ``/ehrbase/rest``.

    Nothing is connected until its lifespan starts; then it makes its tables if they are missing.
    """
    store = Store(settings)
    endpoints = Endpoints(store, settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await store.open()
        try:
            yield
        finally:
            await store.close()

    def route(path: str, **handlers: Handler) -> Route:
        async def endpoint(request: Request) -> Response:
            handler = handlers.get(request.method, handlers.get("GET"))
            if handler is None:
                raise HTTPException(405)
            return await _answer(handler, request, settings)

        return Route(path, endpoint, methods=list(handlers))

    templates = f"{BASE_PATH}/definition/template/adl1.4"
    routes = [
        route("/ehrbase/rest/status", GET=endpoints.status),
        route(templates, GET=endpoints.list_templates, POST=endpoints.upload_template),
        route(f"{templates}/{{template_id}}", GET=endpoints.get_template),
        route(f"{BASE_PATH}/ehr", GET=endpoints.get_ehr_by_subject, POST=endpoints.create_ehr),
        route(f"{BASE_PATH}/ehr/{{ehr_id}}", GET=endpoints.get_ehr, PUT=endpoints.create_ehr_with_id),
    ]

    async def refused(request: Request, error: Exception) -> Response:
        refusal = _authentication_refusal(request, settings)
        if refusal is not None:
            return refusal
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else None
        phrase = {404: "Not Found", 405: "Method Not Allowed"}.get(status, "Internal Server Error")
        message = {404: "no such address", 405: "this method is not supported here"}.get(status, "failure")
        return _error(request, status, phrase, message=message, headers=headers)

    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: refused})
    app.router.redirect_slashes = False
    return app


async def _answer(handler: Handler, request: Request, settings: OpenEhrSettings) -> Response:
    """Call a handler and turn every failure into EHRbase's error document."""
    refusal = _authentication_refusal(request, settings)
    if refusal is not None:
        return refusal
    try:
        return await handler(request)
    except OpenEhrError as error:
        return _error(request, error.status, error.status.phrase, message=str(error))
    except _UNREACHABLE as error:
        _logger.warning("database not reachable: %s", type(error).__name__)
        status = UnavailableError.status
        return _error(request, status, status.phrase, message="the database is not reachable")
    except Exception as error:  # noqa: BLE001 - the last boundary
        # Only the kind of failure is logged: a message or traceback may hold what a client sent.
        _logger.error("unexpected failure: %s", type(error).__name__)
        return _error(request, 500, "Internal Server Error", message="unexpected failure")


def _authentication_refusal(request: Request, settings: OpenEhrSettings) -> Response | None:
    if settings.username is None or settings.password is None:
        return None
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(encoded, validate=True) if scheme.lower() == "basic" else b""
    except binascii.Error:
        given = b""
    if secrets.compare_digest(given, f"{settings.username}:{settings.password}".encode()):
        return None
    status = UnauthorizedError.status
    return _error(request, status, status.phrase, headers={"WWW-Authenticate": 'Basic realm="Realm"'})


def _error(
    request: Request,
    status: int,
    phrase: str,
    *,
    message: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """EHRbase's error document, in the client's format; what its framework refuses has a form of its own."""
    if message is None or status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        content = {"timestamp": moment, "status": status, "error": phrase, "path": request.url.path}
    else:
        content = {"error": phrase, "message": message}
    if speaks_xml(request):
        name = "HashMap" if "message" in content else "Map"
        parts = "".join(f"<{key}>{escape(str(value))}</{key}>" for key, value in content.items())
        body = f"<?xml version='1.0' encoding='UTF-8'?><{name}>{parts}</{name}>".encode()
        return Response(body, status_code=status, headers=headers, media_type="application/xml")
    return Response(orjson.dumps(content), status_code=status, headers=headers, media_type="application/json")
