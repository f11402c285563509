"""The endpoints of the openEHR REST API that are served: status, templates and EHRs.

Compositions and queries are not part of this server; their addresses answer 404.
"""

import platform
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID, uuid4
from xml.sax.saxutils import escape

import orjson
from starlette.requests import Request
from starlette.responses import Response

from .ehrs import Ehr, Subject, read_status, show_ehr
from .errors import BadRequestError, NotAcceptableError, NotFoundError, TooLargeError, UnsupportedMediaError
from .settings import OpenEhrSettings
from .storage import Store
from .templates import read_template

BASE_PATH: Final = "/ehrbase/rest/openehr/v1"

_VERSION: Final = "0.1.0"
_XML: Final = "application/xml"
_JSON: Final = "application/json"
# EHRbase knows no better: every resource has the same time.
_LAST_MODIFIED: Final = {"Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}


class Endpoints:
    """Handlers over one store."""

    def __init__(self, store: Store, settings: OpenEhrSettings) -> None:
        self._store = store
        self._settings = settings

    async def status(self, request: Request) -> Response:
        """GET /ehrbase/rest/status: like EHRbase in XML, unless JSON is asked for."""
        told = {
            "ehrbase_version": f"{_VERSION} (Quill stand-in)",
            "openehr_sdk_version": "none",
            "archie_version": "none",
            "jvm_version": f"none (Python {platform.python_version()})",
            "os_version": platform.system(),
            "postgres_version": await self._store.server_version(),
        }
        if _JSON in request.headers.get("accept", "").lower():
            return _json(told)
        parts = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in told.items())
        body = f"<?xml version='1.0' encoding='UTF-8'?><status>{parts}</status>".encode()
        return Response(body, media_type=_XML)

    async def upload_template(self, request: Request) -> Response:
        """POST /definition/template/adl1.4: 201; the same id again 409; a bad template 400."""
        _choose(request, _XML)
        if _media_type(request) != _XML:
            raise UnsupportedMediaError("a template is uploaded as application/xml")
        template = read_template(await self._body(request))
        await self._store.add_template(template)
        headers = _template_headers(request, template.template_id)
        if _wants_representation(request):
            return Response(template.xml, status_code=201, headers=headers, media_type=_XML)
        return Response(status_code=201, headers=headers)

    async def list_templates(self, request: Request) -> Response:
        """GET /definition/template/adl1.4"""
        _choose(request, _JSON)
        return _json(
            [
                {
                    "template_id": item.template_id,
                    "concept": item.concept,
                    "archetype_id": item.archetype_id,
                    "created_timestamp": item.created.isoformat(timespec="milliseconds"),
                }
                for item in await self._store.templates()
            ]
        )

    async def get_template(self, request: Request) -> Response:
        """GET /definition/template/adl1.4/{template_id}: the template as it was uploaded."""
        template_id: str = request.path_params["template_id"]
        xml = await self._store.template_xml(template_id)
        if xml is None:
            raise NotFoundError("Operational template with this template ID not found")
        _choose(request, _XML)
        return Response(xml, headers=_template_headers(request, template_id), media_type=_XML)

    async def create_ehr(self, request: Request) -> Response:
        """POST /ehr: 201; a subject that has an EHR 409."""
        return await self._create(request, uuid4())

    async def create_ehr_with_id(self, request: Request) -> Response:
        """PUT /ehr/{ehr_id}: 201; a taken id or subject 409; not a UUID 400."""
        ehr_id = _uuid(request.path_params["ehr_id"])
        if ehr_id is None:
            raise BadRequestError("EHR ID is not a UUID")
        return await self._create(request, ehr_id)

    async def get_ehr(self, request: Request) -> Response:
        """GET /ehr/{ehr_id}"""
        _choose(request, _JSON)
        ehr_id = _uuid(request.path_params["ehr_id"])
        ehr = await self._store.ehr(ehr_id) if ehr_id else None
        return self._found(request, ehr, "No EHR found with this ID")

    async def get_ehr_by_subject(self, request: Request) -> Response:
        """GET /ehr?subject_id=…&subject_namespace=…"""
        _choose(request, _JSON)
        subject_id = request.query_params.get("subject_id", "")
        namespace = request.query_params.get("subject_namespace", "")
        if not subject_id or not namespace:
            raise BadRequestError("subject_id and subject_namespace are required")
        if "\x00" in subject_id + namespace:
            raise BadRequestError("subject_id and subject_namespace must be text")
        ehr = await self._store.ehr_of(Subject(namespace, subject_id))
        return self._found(request, ehr, "No EHR found for this subject")

    async def _create(self, request: Request, ehr_id: UUID) -> Response:
        _choose(request, _JSON)
        body = await self._body(request)
        if body.strip() and _media_type(request) != _JSON:
            raise UnsupportedMediaError("an EHR_STATUS is sent as application/json")
        status, subject = read_status(body)
        ehr = await self._store.add_ehr(ehr_id, status, subject)
        headers = _headers(f"{_base(request)}/ehr/{ehr_id}", ehr_id)
        if _wants_representation(request):
            return _json(show_ehr(ehr, self._settings.system_id), status=201, headers=headers)
        return Response(status_code=201, headers=headers)

    def _found(self, request: Request, ehr: Ehr | None, missing: str) -> Response:
        if ehr is None:
            raise NotFoundError(missing)
        shown = show_ehr(ehr, self._settings.system_id)
        return _json(shown, headers=_headers(f"{_base(request)}/ehr/{ehr.ehr_id}", ehr.ehr_id))

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._settings.max_body_bytes:
                raise TooLargeError("the request body is too large")
        return bytes(body)


def _json(document: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), status_code=status, headers=headers, media_type=_JSON)


def _choose(request: Request, media_type: str) -> None:
    offers = [
        item.partition(";")[0].strip().lower() for item in request.headers.get("accept", "*/*").split(",")
    ]
    if not any(offer in (media_type, "*/*", "application/*", "") for offer in offers):
        raise NotAcceptableError(f"this answer can only be given as {media_type}")


def speaks_xml(request: Request) -> bool:
    """Whether XML is the first format a client names of those an error can be told in."""
    for item in request.headers.get("accept", "").split(","):
        offer = item.partition(";")[0].strip().lower()
        if offer in (_XML, _JSON):
            return offer == _XML
    return False


def _headers(location: str, tag: object) -> dict[str, str]:
    return {"ETag": f'"{tag}"', "Location": location, **_LAST_MODIFIED}


def _template_headers(request: Request, template_id: str) -> dict[str, str]:
    return _headers(f"{_base(request)}/definition/template/adl1.4/{quote(template_id)}", template_id)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _wants_representation(request: Request) -> bool:
    return "return=representation" in request.headers.get("prefer", "").replace(" ", "")


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None


def _base(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}{BASE_PATH}"
