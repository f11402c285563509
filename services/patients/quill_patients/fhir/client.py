"""The FHIR server behind a Protocol, and its adapter over HTTP (FHIR R4, RESTful API).

The adapter hides where servers differ: HAPI answers 409 to a stale If-Match where the specification
says 412, reuses search results for a minute unless told not to, and takes `ge` of a month or a year for
its last day, `le` for its first.
"""

import calendar
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol, Self
from urllib.parse import urlencode, urlsplit

import httpx

from quill_shared.platform.errors import BadGateway, Error
from quill_shared.platform.http import UpstreamClient

from ..errors import Overwritten, RefusedUpstream, VersionConflict
from .documents import BundlePage, Document, DocumentError, bundle_page

MEDIA_TYPE: Final = "application/fhir+json"

_READ: Final = {"Accept": MEDIA_TYPE}
_WRITE: Final = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE, "Prefer": "return=representation"}
_SEARCH: Final = {"Accept": MEDIA_TYPE, "Content-Type": "application/x-www-form-urlencoded"}
_FRESH: Final = {"Cache-Control": "no-cache"}
_HAPI_CODE: Final = re.compile(r"HAPI-\d{1,5}")
_SWEEP_PAGE: Final = 200
_OPEN_RANGE: Final = re.compile(r"(ge|le)([0-9]{4})(?:-([0-9]{2}))?")

Criteria = Sequence[tuple[str, str]]
"""Search parameters; a name given twice must hold twice."""


@dataclass(frozen=True, slots=True)
class Patient:
    """A Patient resource as the FHIR server gave it."""

    patient_id: str
    version: int
    last_updated: datetime
    document: Document

    @classmethod
    def of(cls, document: Document) -> Self:
        """The patient in `document`.

        Raises:
            BadGateway: not a stored Patient with a numeric version.
        """
        content = document.content
        try:
            if content["resourceType"] != "Patient":
                raise BadGateway
            meta = content["meta"]
            moment = datetime.fromisoformat(meta["lastUpdated"])
            return cls(
                str(content["id"]),
                int(meta["versionId"]),
                moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC),
                document,
            )
        except (LookupError, TypeError, ValueError):
            raise BadGateway from None

    @property
    def is_active(self) -> bool:
        """Whether the record is in use; FHIR takes a record that does not say so for active."""
        return self.document.content.get("active") is not False

    @property
    def etag(self) -> str:
        """The version as an entity tag (FHIR R4, RESTful API, ETag)."""
        return f'W/"{self.version}"'


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of what changed, oldest first, and the server's time when it looked."""

    patients: Sequence[Patient]
    as_of: datetime | None


class FhirPatients(Protocol):
    """The patients in a FHIR server.

    Every method raises the platform's UpstreamError when the server cannot be asked: `NotSent` when it
    certainly did nothing, `Unavailable`, `GatewayTimeout` or `BadGateway` when that is not known.
    """

    async def read(self, patient_id: str) -> Patient | None:
        """The patient, or None: never there, or deleted."""

    async def has_deleted(self, patient_id: str) -> bool:
        """Whether the server remembers a patient whom it had and who was deleted."""

    async def create(self, patient_id: str, text: str, *, only_new: bool = False) -> Patient:
        """Stores a resource under an id of our choice. `only_new`: the id may be known to others, whose
        record is not to be overwritten.

        Raises:
            VersionConflict: another writer was there first.
            Overwritten: so it was, and a server that cannot tell beforehand took ours in its place.
            RefusedUpstream: the server does not accept the resource.
        """

    async def update(self, patient_id: str, text: str, *, version: int) -> Patient:
        """Stores the next version after `version`.

        Raises:
            VersionConflict: `version` is not the current one.
            RefusedUpstream: the server does not accept the resource.
        """

    async def by_ids(self, ids: Sequence[str]) -> dict[str, Patient]:
        """The patients with these ids, as far as the server has them."""

    async def search(
        self, criteria: Criteria, *, among: Sequence[str] | None = None, limit: int | None = None
    ) -> list[Patient]:
        """The patients who meet the criteria, `among` some ids if given. With a `limit` at most so many.

        Raises:
            RefusedUpstream: the criteria are not understood.
        """

    def changes(self, since: datetime | None) -> AsyncIterator[Changes]:
        """What was written at or after `since` (all when None), page by page, oldest first."""

    async def ping(self) -> bool:
        """Whether the server answers a search for patients right now."""


class HttpFhirPatients:
    """A FHIR server over HTTP."""

    def __init__(self, client: UpstreamClient) -> None:
        self._client = client
        self._origin = _origin(client.base_url)

    async def read(self, patient_id: str) -> Patient | None:
        """See `FhirPatients.read`."""
        response = await self._client.request("GET", f"/Patient/{patient_id}", headers=_READ)
        if response.status_code in (404, 410):
            return None
        return _patient(_expected(response, 200))

    async def has_deleted(self, patient_id: str) -> bool:
        """See `FhirPatients.has_deleted`."""
        response = await self._client.request("GET", f"/Patient/{patient_id}", headers=_READ)
        return response.status_code == 410

    async def create(self, patient_id: str, text: str, *, only_new: bool = False) -> Patient:
        """See `FhirPatients.create`: an update that creates (FHIR R4, update as create).

        HAPI has no `If-None-Match` for that, but stores what should follow version 0 only if there never
        was a version. A server to the letter of FHIR knows no version 0, and says so of any id.
        """
        if not only_new:
            return _stored(await self._put(patient_id, text, {}, repeatable=True))
        try:
            return await self.update(patient_id, text, version=0)
        except VersionConflict:
            if await self.read(patient_id) is not None:
                raise
        response = await self._put(patient_id, text, {}, repeatable=False)
        if response.status_code == 200:
            raise Overwritten
        return _stored(response)

    async def update(self, patient_id: str, text: str, *, version: int) -> Patient:
        """See `FhirPatients.update`. Not sent twice: the second would conflict with the first."""
        condition = {"If-Match": f'W/"{version}"'}
        return _stored(await self._put(patient_id, text, condition, repeatable=False))

    async def by_ids(self, ids: Sequence[str]) -> dict[str, Patient]:
        """See `FhirPatients.by_ids`. The answer needs no paging, so the server need not keep it."""
        asked = [("_id", ",".join(ids)), ("_count", str(len(ids)))]
        found: dict[str, Patient] = {}
        page = await self._search(asked, {"Cache-Control": f"no-store, max-results={len(ids)}"})
        while True:
            found.update((each.patient_id, each) for each in map(Patient.of, page.resources))
            if page.next_url is None:
                return found
            page = await self._follow(page.next_url)

    async def search(
        self, criteria: Criteria, *, among: Sequence[str] | None = None, limit: int | None = None
    ) -> list[Patient]:
        """See `FhirPatients.search`."""
        asked = [(name, _whole_date(value) if name == "birthdate" else value) for name, value in criteria]
        if among is not None:
            asked.append(("_id", ",".join(among)))
        count = limit or (len(among) if among is not None else _SWEEP_PAGE)
        asked.append(("_count", str(count)))
        found: list[Patient] = []
        page = await self._search(asked, _FRESH)
        while True:
            found.extend(map(Patient.of, page.resources))
            if page.next_url is None or (limit is not None and len(found) >= limit):
                return found[:limit]
            page = await self._follow(page.next_url)

    async def changes(self, since: datetime | None) -> AsyncIterator[Changes]:
        """See `FhirPatients.changes`."""
        asked = [("_sort", "_lastUpdated"), ("_count", str(_SWEEP_PAGE))]
        if since is not None:
            moment = since.astimezone(UTC).isoformat(timespec="milliseconds")
            asked.append(("_lastUpdated", f"ge{moment}"))
        page = await self._search(asked, _FRESH)
        while True:
            yield Changes([Patient.of(each) for each in page.resources], _moment(page.as_of))
            if page.next_url is None:
                return
            page = await self._follow(page.next_url)

    async def ping(self) -> bool:
        """See `FhirPatients.ping` (hazard 0019: data is asked for, not the capability statement)."""
        try:
            response = await self._client.request(
                "GET",
                "/Patient",
                params={"_count": "1"},
                headers={**_READ, "Cache-Control": "no-store, max-results=1"},
            )
        except Error:
            return False
        return response.status_code == 200

    async def _put(
        self, patient_id: str, text: str, headers: dict[str, str], *, repeatable: bool
    ) -> httpx.Response:
        response = await self._client.request(
            "PUT",
            f"/Patient/{patient_id}",
            content=text.encode(),
            headers={**_WRITE, **headers},
            repeatable=repeatable,
        )
        if response.status_code in (409, 412):
            raise VersionConflict
        return response

    async def _search(self, asked: Criteria, headers: dict[str, str]) -> BundlePage:
        """By POST: what is searched for stays out of addresses, which servers log."""
        response = await self._client.request(
            "POST", "/Patient/_search", content=urlencode(asked).encode(), headers={**_SEARCH, **headers}
        )
        return _page(_expected(response, 200))

    async def _follow(self, url: str) -> BundlePage:
        """A further page, by the link the server gave, which must lead to that server."""
        if _origin(url) != self._origin:
            raise BadGateway("The FHIR server linked to another server")
        return _page(_expected(await self._client.request("GET", url, headers=_READ), 200))


def _whole_date(value: str) -> str:
    """`ge1980` as `ge1980-01-01` and `le1980-02` as `le1980-02-29`, which every server takes for the same."""
    match = _OPEN_RANGE.fullmatch(value)
    if match is None:
        return value
    prefix, year, month = match.groups()
    if prefix == "ge":
        return f"ge{year}-{month or '01'}-01"
    last = int(month or 12)
    if not (0 < last <= 12 and int(year) > 0):
        return value
    return f"le{year}-{last:02}-{calendar.monthrange(int(year), last)[1]}"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _expected(response: httpx.Response, *statuses: int) -> str:
    if response.status_code in (400, 422):
        raise RefusedUpstream(sorted(set(_HAPI_CODE.findall(response.text))))
    if response.status_code not in statuses:
        raise BadGateway
    try:
        return response.content.decode()
    except UnicodeDecodeError:
        raise BadGateway from None


def _stored(response: httpx.Response) -> Patient:
    return _patient(_expected(response, 200, 201))


def _patient(text: str) -> Patient:
    try:
        return Patient.of(Document.of(text))
    except DocumentError:
        raise BadGateway from None


def _page(text: str) -> BundlePage:
    try:
        return bundle_page(text)
    except DocumentError:
        raise BadGateway from None


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo is not None else None
