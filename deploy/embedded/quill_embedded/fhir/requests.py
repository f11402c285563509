"""What a FHIR request says in its headers, address and body, checked."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from .documents import parse_resource
from .outcome import (
    InvalidRequestError,
    NotAcceptableError,
    NotFoundError,
    TooLargeError,
    UnsupportedMediaError,
)
from .settings import FhirSettings
from .validation import MODELS

_JSON_TYPES: Final = frozenset(
    {"application/fhir+json", "application/json", "application/json+fhir", "text/json"}
)
_ACCEPTED: Final = _JSON_TYPES | {"*/*", "application/*", "text/*", ""}
_FORMATS: Final = _JSON_TYPES | {"json"}
_RESOURCE_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9.\-_]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_ETAG = re.compile(r'\s*(?:W/)?"?(?P<version>[^"\s]*)"?\s*')
_MOST_PARAMETERS: Final = 200


@dataclass(frozen=True, slots=True)
class SearchInput:
    """The parameters of a search in the order given, and the address a ``self`` link repeats."""

    parameters: list[tuple[str, str]]
    fresh: bool
    no_store: bool
    max_results: int | None


def base_url(request: Request, settings: FhirSettings) -> str:
    """Base of the links in an answer: the setting, or what the client called this server."""
    if settings.base_url is not None:
        return settings.base_url.rstrip("/")
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        raise InvalidRequestError("HAPI-0389: invalid Host header")
    return f"{request.url.scheme}://{host}/fhir"


def resource_type_of(request: Request) -> str:
    resource_type: str = request.path_params["resource_type"]
    if resource_type not in MODELS:
        known = ", ".join(sorted(MODELS))
        raise NotFoundError(
            f"HAPI-0302: Unknown resource type - Server knows how to handle: [{known}]",
        )
    return resource_type


def resource_id_of(request: Request) -> str:
    resource_id: str = request.path_params["resource_id"]
    if not _RESOURCE_ID.fullmatch(resource_id):
        raise InvalidRequestError("HAPI-0521: Invalid resource ID, it must match [A-Za-z0-9\\-\\.]{1,64}")
    return resource_id


def check_accept(request: Request) -> None:
    """Only JSON is spoken."""
    wanted = request.query_params.get("_format")
    if wanted is not None:
        # An unencoded + in a query string arrives as a space.
        if wanted.replace(" ", "+") not in _FORMATS:
            raise NotAcceptableError("HAPI-0403: this server answers application/fhir+json only")
        return
    offers = request.headers.get("accept", "*/*").split(",")
    if not any(offer.partition(";")[0].strip().lower() in _ACCEPTED for offer in offers):
        raise NotAcceptableError("HAPI-0403: this server answers application/fhir+json only")


def expected_version(request: Request) -> str | None:
    """The version named in If-Match (``W/"n"``, ``"n"`` or bare)."""
    header = request.headers.get("if-match")
    if header is None:
        return None
    match = _ETAG.fullmatch(header)
    if match is None or not match["version"]:
        raise InvalidRequestError("HAPI-0389: invalid If-Match header")
    return match["version"]


async def received_resource(request: Request, settings: FhirSettings) -> dict[str, object]:
    """Read and parse a resource in the request body."""
    media_type = _media_type(request)
    if media_type not in _JSON_TYPES:
        raise UnsupportedMediaError(
            "HAPI-0448: Request has an unsupported Content-Type. Use application/fhir+json for FHIR content"
        )
    return parse_resource(await _body(request, settings))


async def search_input(request: Request, settings: FhirSettings) -> SearchInput:
    """The parameters from the query string and, for POST, the form."""
    parameters = _parse_query(request.url.query)
    if request.method == "POST":
        if _media_type(request) != "application/x-www-form-urlencoded":
            raise UnsupportedMediaError("HAPI-0446: POST _search needs application/x-www-form-urlencoded")
        body = await _body(request, settings)
        parameters += _parse_query(body.decode("utf-8", "replace"))
    control = {item.strip().lower() for item in request.headers.get("cache-control", "").split(",")}
    limits = [item.removeprefix("max-results=") for item in control if item.startswith("max-results=")]
    if any(not re.fullmatch(r"\d{1,9}", limit) for limit in limits):
        raise InvalidRequestError("HAPI-0389: invalid max-results in Cache-Control")
    return SearchInput(
        parameters,
        fresh="no-cache" in control or "no-store" in control,
        no_store="no-store" in control,
        max_results=min(map(int, limits)) if limits else None,
    )


def _parse_query(query: str) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise InvalidRequestError("HAPI-0389: too many parameters") from None
    if any("\x00" in key or "\x00" in value for key, value in pairs):
        raise InvalidRequestError("HAPI-0389: control character in a parameter")
    return pairs


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _body(request: Request, settings: FhirSettings) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > settings.max_body_bytes:
            raise TooLargeError(f"HAPI-0389: the request body is larger than {settings.max_body_bytes} bytes")
    return bytes(body)
