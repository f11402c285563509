"""The FHIR façade for integrators (FHIR R4, RESTful API).

Resources come in and go out as they are: validated in full, never re-serialised.
"""

import re
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from quill_shared.kernel.guards import SignedIn, Staff, clinical_services
from quill_shared.kernel.principal import Principal
from quill_shared.platform.errors import BadRequest, Unprocessable
from quill_shared.platform.routing import router

from .. import schemas
from ..errors import NotAcceptable, RefusedUpstream, UnsupportedMedia
from ..fhir import documents, mapping
from ..fhir.capabilities import capability_statement
from ..fhir.client import MEDIA_TYPE, Patient
from ..fhir.resource_schema import FhirPatient
from ..repository import Scope
from ..service import PatientPage, PatientReading, PatientsContext
from .dependencies import (
    NO_STORE,
    Context,
    Expected,
    PatientId,
    Reading,
    RecordEditor,
    Writing,
    context_of,
    patient_answer,
)
from .searching import (
    LONGEST_PAGE_TOKEN,
    SearchRequest,
    bad_parameter,
    conditional_create,
    parameters_of,
    search_request,
)

_JSON: Final = frozenset({MEDIA_TYPE, "application/json", "application/json+fhir", "text/json", "json"})
_SCHEMES: Final = frozenset({"http", "https"})
_HOST: Final = re.compile(r"[A-Za-z0-9._\-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
_ACCEPTED: Final = _JSON | {"*/*", "application/*", "text/*", ""}


class FhirResponse(Response):
    """For the documentation: what the façade answers."""

    media_type = MEDIA_TYPE


async def _negotiated(request: Request) -> None:
    """FHIR is spoken as JSON only.

    Raises:
        NotAcceptable: the caller wants another form.
    """
    wanted = request.query_params.get("_format")
    # A plus sign that was not encoded arrives as a space.
    offers = (request.headers.get("accept", "") if wanted is None else wanted.replace(" ", "+")).split(",")
    if not any(offer.partition(";")[0].strip().lower() in _ACCEPTED for offer in offers):
        raise NotAcceptable


routes = router("fhir")
routes.dependencies.extend([clinical_services, Depends(_negotiated)])

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Patient"}}},
    }
}
_FORM: Final[dict[str, Any]] = {
    "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}}
}

OrganisationChoice = Annotated[
    schemas.OrganisationNumber | None,
    Query(description="the organisation a new patient belongs to; the caller's primary one by default"),
]


async def _received(request: Request) -> mapping.Resource:
    """The resource in the body, nothing of it changed.

    Raises:
        UnsupportedMedia: it is not said to be JSON.
        BadRequest: it is not.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _JSON:
        raise UnsupportedMedia
    try:
        return documents.parse(await request.body())
    except documents.DocumentError as error:
        raise BadRequest(f"The body is no FHIR resource: {error}", code="malformed_json") from None


Received = Annotated[mapping.Resource, Depends(_received)]


def _base(request: Request, context: PatientsContext) -> str:
    """What clients call the façade: as configured, as the gateway was called, or as we were."""
    if context.public_url is not None:
        return f"{context.public_url}/api/fhir"
    scheme = request.headers.get("x-forwarded-proto")
    host = request.headers.get("x-forwarded-host") or request.headers.get("host", "")
    root = f"{scheme if scheme in _SCHEMES else request.url.scheme}://"
    return f"{root}{host if _HOST.fullmatch(host) else 'localhost'}/api/fhir"


def _client_fault(refusal: RefusedUpstream) -> Unprocessable:
    """What we found valid, the FHIR server refused: a reference to nothing, a rule of its own."""
    codes = f" ({', '.join(refusal.codes)})" if refusal.codes else ""
    return Unprocessable(
        [{"loc": ["body"], "msg": f"Refused by the FHIR server{codes}", "type": "fhir_refused"}],
        code=refusal.code,
    )


def _written(request: Request, patient: Patient, *, created: bool) -> Response:
    base = _base(request, context_of(request))
    location = f"{base}/Patient/{patient.patient_id}/_history/{patient.version}"
    return patient_answer(
        patient,
        status=201 if created else 200,
        media_type=MEDIA_TYPE,
        headers={"Location": location} if created else {},
    )


@routes.get("/api/fhir/metadata", response_class=FhirResponse)
async def capabilities(request: Request, context: Context) -> Response:
    """What this FHIR server can do."""
    statement = capability_statement(_base(request, context))
    return Response(documents.dump(statement), media_type=MEDIA_TYPE)


@routes.post(
    "/api/fhir/Patient",
    status_code=201,
    response_model=FhirPatient,
    response_class=FhirResponse,
    openapi_extra=_BODY,
)
async def create(
    principal: Staff,
    writing: Writing,
    request: Request,
    received: Received,
    organisation_id: OrganisationChoice = None,
    if_none_exist: Annotated[str | None, Header(alias="If-None-Exist")] = None,
) -> Response:
    """Stores a patient under a new id. With If-None-Exist, 200 and the one patient who meets it."""
    try:
        patient, created = await writing.store(
            principal,
            received,
            organisation_id=organisation_id,
            unless=conditional_create(if_none_exist) if if_none_exist is not None else None,
        )
    except RefusedUpstream as refusal:
        raise _client_fault(refusal) from None
    return _written(request, patient, created=created)


@routes.get("/api/fhir/Patient/{patient_id}", response_model=FhirPatient, response_class=FhirResponse)
async def read(principal: SignedIn, reading: Reading, patient_id: PatientId) -> Response:
    """One patient."""
    return patient_answer(await reading.get(principal, patient_id), media_type=MEDIA_TYPE)


@routes.put(
    "/api/fhir/Patient/{patient_id}",
    response_model=FhirPatient,
    response_class=FhirResponse,
    openapi_extra=_BODY,
)
async def update(
    principal: RecordEditor,
    writing: Writing,
    request: Request,
    patient_id: PatientId,
    expected: Expected,
    received: Received,
    organisation_id: OrganisationChoice = None,
    if_none_match: Annotated[
        str | None, Header(alias="If-None-Match", description="`*`: only if there is no such patient yet")
    ] = None,
) -> Response:
    """Stores the patient's next version. An administrator may also store a new patient under an id of
    their choice (201), and with `If-None-Match: *` nothing else.
    """
    if received.get("id") != patient_id:
        raise Unprocessable.field("id", "must be there and equal the one in the address")
    if if_none_match is not None and if_none_match.strip() != "*":
        raise BadRequest("If-None-Match must be *")
    try:
        patient, created = await writing.replace(
            principal,
            patient_id,
            received,
            organisation_id=organisation_id,
            expected=expected,
            only_new=if_none_match is not None,
        )
    except RefusedUpstream as refusal:
        raise _client_fault(refusal) from None
    return _written(request, patient, created=created)


@routes.get("/api/fhir/Patient", response_model=schemas.SearchBundle, response_class=FhirResponse)
async def search(
    principal: SignedIn,
    reading: Reading,
    context: Context,
    request: Request,
    _id: Annotated[str | None, Query(description="ids, separated by commas")] = None,
    identifier: Annotated[str | None, Query(description="`system|value` or `value`")] = None,
    name: Annotated[str | None, Query(description="the beginning of any part of a name")] = None,
    family: Annotated[str | None, Query(description="the beginning of the family name")] = None,
    given: Annotated[str | None, Query(description="the beginning of a given name")] = None,
    birthdate: Annotated[str | None, Query(description="a date, also with a prefix such as `ge`")] = None,
    gender: Annotated[str | None, Query(description="administrative gender")] = None,
    _count: Annotated[str | None, Query(description="patients per page, at most 1000")] = None,
    _page: Annotated[str | None, Query(description="of a `next` link; alone")] = None,
) -> Response:
    """The patients a caller may see who meet all the parameters (FHIR R4, search)."""
    # The parameters above are for the documentation: one may be repeated, or have a modifier.
    asked = search_request(request.query_params.multi_items(), principal, context.seal)
    return await _searchset(principal, reading, context, request, asked)


@routes.post(
    "/api/fhir/Patient/_search",
    response_model=schemas.SearchBundle,
    response_class=FhirResponse,
    openapi_extra=_FORM,
)
async def search_by_post(
    principal: SignedIn, reading: Reading, context: Context, request: Request
) -> Response:
    """The same with the parameters in a form, so that they stay out of addresses."""
    asked = search_request(await parameters_of(request), principal, context.seal)
    return await _searchset(principal, reading, context, request, asked)


async def _searchset(
    principal: Principal,
    reading: PatientReading,
    context: PatientsContext,
    request: Request,
    asked: SearchRequest,
) -> Response:
    scope = Scope(
        None if principal.is_admin else principal,
        include_inactive=True,
        ids=asked.ids,
    )
    try:
        found = await reading.searched(
            scope,
            [asked.criteria] if asked.criteria else None,
            after=asked.after,
            limit=asked.count,
        )
    except RefusedUpstream:
        raise bad_parameter("a value is not understood", *(name for name, _ in asked.criteria)) from None
    base = _base(request, context)
    return Response(_bundle(base, found, asked, principal, context), headers=NO_STORE, media_type=MEDIA_TYPE)


def _bundle(
    base: str, found: PatientPage, asked: SearchRequest, principal: Principal, context: PatientsContext
) -> str:
    """A searchset. Its links are sealed: what was searched for is in no address (contract, section 1).

    Raises:
        BadRequest: there are further pages, and the search is too long to be in their addresses.
    """
    links = []
    for relation, after in (("self", asked.after), ("next", found.last)):
        if after is None:
            continue
        token = asked.sealed(principal, context.seal, after=after)
        if len(token) <= LONGEST_PAGE_TOKEN:
            links.append({"relation": relation, "url": f"{base}/Patient?_page={token}"})
        elif relation == "next":
            raise bad_parameter("is too long for an answer of several pages", asked.longest)
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset"}
    if found.last is None and not asked.after:
        bundle["total"] = len(found.patients)
    if links:
        bundle["link"] = links
    text = documents.dump(bundle)
    if not found.patients:
        return text
    entries = ",".join(
        f'{{"fullUrl":"{base}/Patient/{patient.patient_id}","resource":{patient.document.text},'
        '"search":{"mode":"match"}}'
        for patient in found.patients
    )
    return f'{text.removesuffix("}")},"entry":[{entries}]}}'
