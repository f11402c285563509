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
)
from .settings import FhirSettings
from .validation import MODELS

_JSON_TYPES: Final = frozenset(
    {"application/fhir+json", "application/json", "application/json+fhir", "text/json"}
)
_OTHER_ENCODINGS: Final = frozenset(
    {"application/fhir+xml", "application/xml", "text/xml", "application/fhir+turtle", "text/turtle"}
)
_FORMATS: Final = _JSON_TYPES | {"json"}
_MOST_RESULTS: Final = 1000
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
    """The id in the address, whatever its form: one that cannot be is merely not known."""
    resource_id: str = request.path_params["resource_id"]
    return resource_id.replace("\x00", "?")


def assignable_id_of(request: Request) -> str:
    """The id in the address, which a resource is to be stored under."""
    resource_id = resource_id_of(request)
    if not _RESOURCE_ID.fullmatch(resource_id):
        raise InvalidRequestError("HAPI-0521: Can not process entity, this is not a valid FHIR ID")
    return resource_id


def check_accept(request: Request) -> None:
    """Only JSON is spoken. Types that FHIR has no encoding for do not count, as with HAPI."""
    wanted = request.query_params.get("_format")
    if wanted is not None:
        # An unencoded + in a query string arrives as a space.
        if wanted.replace(" ", "+") not in _FORMATS:
            raise NotAcceptableError("HAPI-0403: this server answers application/fhir+json only")
        return
    offers = {
        offer.partition(";")[0].strip().lower() for offer in request.headers.get("accept", "*/*").split(",")
    }
    if offers and offers <= _OTHER_ENCODINGS:
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
        code = "0449: Incorrect Content-Type header value" if media_type else "0448: No Content-Type header"
        raise InvalidRequestError(f"HAPI-{code} was provided in the request, use application/fhir+json")
    return parse_resource(await _body(request, settings))


async def search_input(request: Request, settings: FhirSettings) -> SearchInput:
    """The parameters from the query string and, for POST, the form."""
    parameters = _parse_query(request.url.query)
    if request.method == "POST":
        if _media_type(request) != "application/x-www-form-urlencoded":
            raise InvalidRequestError("HAPI-0446: POST _search needs application/x-www-form-urlencoded")
        body = await _body(request, settings)
        parameters += _parse_query(body.decode("utf-8", "replace"))
    control = {item.strip().lower() for item in request.headers.get("cache-control", "").split(",")}
    limits = [int(item[12:]) for item in control if re.fullmatch(r"max-results=\d{1,9}", item)]
    if any(limit > _MOST_RESULTS for limit in limits):
        raise InvalidRequestError(
            f"HAPI-1165: Cache-Control header max-results value must not exceed {_MOST_RESULTS}"
        )
    return SearchInput(
        parameters,
        fresh="no-cache" in control or "no-store" in control,
        no_store="no-store" in control,
        max_results=min(limits, default=None),
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
