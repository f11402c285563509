"""The interactions on resources (FHIR R4, RESTful API), each one HTTP request."""

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from . import snapshots, storage
from .bundles import bundle, history_entries, page_links, page_url, search_entries
from .dates import parse_time_range
from .definitions import IndexRows, index_rows, resolve_references
from .documents import content_digest, dump, instant, parse_resource, with_labels_of
from .outcome import (
    ConflictError,
    FhirError,
    GoneError,
    InvalidRequestError,
    NotFoundError,
    PreconditionError,
    operation_outcome,
)
from .requests import (
    assignable_id_of,
    base_url,
    expected_version,
    received_resource,
    resource_id_of,
    resource_type_of,
    search_input,
)
from .search import SearchPlan, find, plan_search
from .settings import FhirSettings
from .snapshots import Snapshot
from .storage import Connection, Current, Store, Stored
from .validation import validate_resource

_MEDIA_TYPE: Final = "application/fhir+json;charset=UTF-8"


def json_response(
    content: bytes | str, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """An answer in FHIR JSON."""
    return Response(content, status_code=status, headers=headers, media_type=_MEDIA_TYPE)


def outcome_response(error: FhirError) -> Response:
    """A refusal as an OperationOutcome."""
    return json_response(dump(operation_outcome(error.diagnostics)), status=error.status_code)


class Interactions:
    """Handlers of the FHIR endpoints over one store."""

    def __init__(self, store: Store, settings: FhirSettings) -> None:
        self._store = store
        self._settings = settings

    async def create(self, request: Request) -> Response:
        """POST [type]: the server assigns the id; ``If-None-Exist`` makes it conditional."""
        resource_type, base = resource_type_of(request), base_url(request, self._settings)
        resource = await received_resource(request, self._settings)
        rows = _checked(resource_type, resource)
        condition = request.headers.get("if-none-exist")
        async with self._store.transaction() as connection:
            if condition is not None:
                existing = await _existing(connection, resource_type, condition=condition, base=base)
                if existing is not None:
                    return _written(request, resource_type, base=base, stored=existing, status=200)
            assigned = str(uuid4()) if self._settings.client_ids == "any" else None
            stored = await storage.insert(
                connection, resource, resource_id=assigned, rows=rows, method="POST"
            )
        return _written(request, resource_type, base=base, stored=stored, status=201)

    async def update(self, request: Request) -> Response:
        """PUT [type]/[id]: makes the next version, or the resource itself under an id the client chose.

        Unchanged content makes no version. A stale ``If-Match`` is refused, but like HAPI not for an id that
        was never used.
        """
        resource_type, resource_id = resource_type_of(request), assignable_id_of(request)
        base, expected = base_url(request, self._settings), expected_version(request)
        resource = await received_resource(request, self._settings)
        _check_body_id(resource, resource_id)
        rows = _checked(resource_type, resource)
        async with self._store.transaction() as connection:
            current = await storage.find_row(connection, resource_type, resource_id)
            self._check_version(resource_type, resource_id, current=current, expected=expected)
            if current is None:
                if resource_id.isdigit() and self._settings.client_ids == "alphanumeric":
                    raise InvalidRequestError(
                        f"HAPI-0960: Can not create resource with ID[{resource_id}], no resource with this "
                        "ID exists and clients may only assign IDs which contain at least one "
                        "non-numeric character"
                    )
                stored = await storage.insert(connection, resource, resource_id=resource_id, rows=rows)
            else:
                before = await storage.read_version(
                    connection, resource_type, resource_id, version=current.version
                )
                if before is not None and before.document is not None:
                    resource = with_labels_of(resource, parse_resource(before.document.encode()))
                if before is not None and current.digest == content_digest(resource):
                    stored = before
                else:
                    stored = await storage.update(
                        connection, resource, resource_id=resource_id, current=current, rows=rows
                    )
        created = current is None or current.deleted
        return _written(request, resource_type, base=base, stored=stored, status=201 if created else 200)

    async def read(self, request: Request) -> Response:
        """GET [type]/[id]"""
        resource_type, resource_id = resource_type_of(request), resource_id_of(request)
        async with self._store.connection() as connection:
            stored = await storage.read_current(connection, resource_type, resource_id)
        if stored is None:
            raise NotFoundError(_unknown(resource_type, resource_id))
        return _shown(request, stored, base=base_url(request, self._settings))

    async def vread(self, request: Request) -> Response:
        """GET [type]/[id]/_history/[version]"""
        resource_type, resource_id = resource_type_of(request), resource_id_of(request)
        version: str = request.path_params["version"]
        stored = None
        async with self._store.connection() as connection:
            if version.isascii() and version.isdigit() and len(version) <= 9:
                stored = await storage.read_version(
                    connection, resource_type, resource_id, version=int(version)
                )
            if stored is None and await storage.find_row(connection, resource_type, resource_id) is None:
                raise NotFoundError(_unknown(resource_type, resource_id))
        if stored is None:
            raise NotFoundError(f"HAPI-0979: Version is not valid for resource {resource_type}/{resource_id}")
        return _shown(request, stored, base=base_url(request, self._settings))

    async def delete(self, request: Request) -> Response:
        """DELETE [type]/[id]: 200 also when there is nothing to delete; 409 while something refers to it.

        Like HAPI it takes no notice of ``If-Match``.
        """
        resource_type, resource_id = resource_type_of(request), resource_id_of(request)
        location = f"{base_url(request, self._settings)}/{resource_type}/{resource_id}"
        async with self._store.transaction() as connection:
            current = await storage.find_row_for_deletion(connection, resource_type, resource_id)
            if current is None or current.deleted:
                text = "was not found" if current is None else "has already been deleted"
                if current is not None:
                    location += f"/_history/{current.version}"
                return _information(
                    f"Not deleted, resource {resource_type}/{resource_id} {text}.",
                    headers={"Content-Location": location},
                )
            stored = await storage.delete(connection, resource_type, resource_id=resource_id, current=current)
        return _information(
            "Successfully deleted 1 resource(s).",
            headers={"Content-Location": f"{location}/_history/{stored.version}"},
        )

    async def history(self, request: Request) -> Response:
        """GET [type]/[id]/_history, newest first; ``_count`` and ``_since`` as in FHIR."""
        resource_type, resource_id = resource_type_of(request), resource_id_of(request)
        base = base_url(request, self._settings)
        began = datetime.now(UTC)
        count, since = self._settings.default_page_size, None
        for key, value in request.query_params.multi_items():
            if key == "_count":
                count = self._page_size(_whole_number(value, key))
            elif key == "_since":
                try:
                    since = parse_time_range(value).low
                except ValueError:
                    raise InvalidRequestError("HAPI-1882: Invalid date/time format in _since") from None
            elif key not in ("_format", "_pretty"):
                raise InvalidRequestError("HAPI-0524: Unknown history parameter")
        async with self._store.connection() as connection:
            current = await storage.find_row(connection, resource_type, resource_id)
            if current is None:
                raise NotFoundError(_unknown(resource_type, resource_id))
            versions = await storage.version_numbers(connection, current.rid, since=since)
            kept = None
            if len(versions) > count:
                kept = Snapshot(uuid4(), resource_type, current.rid, versions, began)
                await self._keep(connection, kept)
            found = await storage.read_versions(connection, current.rid, versions[:count])
        self_url = f"{base}/{resource_type}/{resource_id}/_history"
        if request.url.query:
            self_url += f"?{request.url.query}"
        links = page_links(
            base,
            self_url=self_url,
            snapshot_id=kept.snapshot_id if kept else None,
            offset=0,
            count=count,
            size=len(versions),
        )
        entries = history_entries(base, resource_type, found)
        return _bundle_response("history", links=links, total=len(versions), entries=entries, searched=began)

    async def search(self, request: Request) -> Response:
        """GET [type]?… and POST [type]/_search.

        ``total`` is given when the result fits one page or ``_total=accurate`` was asked; HAPI may give it
        otherwise too. Like HAPI, an answer from a stored result tells the time of that search, ``no-store``
        gives one page without links to others, and what was searched by POST is in no link.
        """
        resource_type, base = resource_type_of(request), base_url(request, self._settings)
        asked = await search_input(request, self._settings)
        plan = plan_search(resource_type, asked.parameters, base_url=base)
        count = self._page_size(self._settings.default_page_size if plan.count is None else plan.count)
        query = f"{resource_type}?{urlencode(asked.parameters)}"
        self_url = f"{base}/{query}" if asked.parameters else f"{base}/{resource_type}"
        if request.method == "POST":
            self_url = f"{base}/{resource_type}/_search"
        began = datetime.now(UTC)
        limit = min(count, asked.max_results or count) if asked.no_store and not plan.count_only else None
        async with self._store.connection() as connection:
            kept = None
            reuse = self._settings.reuse_search_seconds
            if reuse and not asked.fresh:
                kept = await snapshots.reusable(connection, query, within_seconds=reuse)
            members = kept.members if kept else await find(connection, plan, limit=limit)
            size = len(members)
            if plan.count_only:
                return _bundle_response("searchset", total=size, searched=began)
            if kept is None and not asked.no_store and (size > count or (reuse and not asked.fresh)):
                # Only what was searched with leave to reuse is answered again to others.
                name = resource_type if asked.fresh else query
                kept = Snapshot(uuid4(), name, None, members, began)
                await self._keep(connection, kept)
            found = await storage.read_many(connection, members[:count])
        is_whole = size < count if asked.no_store else size <= count
        total = size if is_whole or plan.accurate_total else None
        links = page_links(
            base,
            self_url=self_url,
            snapshot_id=kept.snapshot_id if kept else None,
            offset=0,
            count=count,
            size=size,
        )
        entries = search_entries(base, resource_type, found)
        searched = kept.created if kept else began
        return _bundle_response("searchset", links=links, total=total, entries=entries, searched=searched)

    async def page(self, request: Request) -> Response:
        """GET [base]?_getpages=…: a later page of a search or history."""
        base = base_url(request, self._settings)
        snapshot_id = request.query_params.get("_getpages")
        if snapshot_id is None:
            raise InvalidRequestError(
                "HAPI-0287: This is the base URL of FHIR server. Unable to handle this request, as it does "
                "not contain a resource type or operation name."
            )
        offset = _whole_number(request.query_params.get("_getpagesoffset", "0"), "_getpagesoffset")
        default = str(self._settings.default_page_size)
        count = self._page_size(_whole_number(request.query_params.get("_count", default), "_count"))
        count = count or self._settings.default_page_size
        async with self._store.connection() as connection:
            kept = await snapshots.page_of(
                connection, snapshot_id, retention_seconds=self._settings.search_retention_seconds
            )
            members = kept.members[offset : offset + count]
            resource_type = kept.query.partition("?")[0]
            if kept.rid is None:
                entries = search_entries(base, resource_type, await storage.read_many(connection, members))
            else:
                versions = await storage.read_versions(connection, kept.rid, members)
                entries = history_entries(base, resource_type, versions)
        size = len(kept.members)
        links = page_links(
            base,
            self_url=page_url(base, kept.snapshot_id, offset=offset, count=count),
            snapshot_id=kept.snapshot_id,
            offset=offset,
            count=count,
            size=size,
        )
        bundle_type = "searchset" if kept.rid is None else "history"
        return _bundle_response(bundle_type, links=links, total=size, entries=entries, searched=kept.created)

    async def _keep(self, connection: Connection, result: Snapshot) -> None:
        await snapshots.keep(connection, result, retention_seconds=self._settings.search_retention_seconds)

    def _page_size(self, count: int) -> int:
        return min(count, self._settings.max_page_size)

    def _check_version(
        self, resource_type: str, resource_id: str, *, current: Current | None, expected: str | None
    ) -> None:
        if expected is None or current is None or expected == str(current.version):
            return
        version = "?" if not expected.isdigit() else expected
        raise ConflictError(
            f"HAPI-0550: HAPI-0989: Trying to update {resource_type}/{resource_id}/_history/{version} "
            "but this is not the current version",
            status=self._settings.stale_if_match_status,
        )


def _bundle_response(
    bundle_type: str,
    *,
    total: int | None,
    links: list[dict[str, str]] | None = None,
    entries: list[dict[str, Any]] | None = None,
    searched: datetime,
) -> Response:
    document = bundle(bundle_type, links=links or [], total=total, entries=entries or [], updated=searched)
    return json_response(dump(document), headers={"Last-Modified": _http_date(searched)})


def _checked(resource_type: str, resource: dict[str, Any]) -> IndexRows:
    found = validate_resource(resource_type, resource)
    return index_rows(resource_type, resource, resolve_references(found))


def _check_body_id(resource: dict[str, Any], resource_id: str) -> None:
    stated = resource.get("id")
    if not stated:
        raise InvalidRequestError(
            "HAPI-0419: Can not update resource, resource body must contain an ID element "
            "for update (PUT) operation"
        )
    if stated != resource_id:
        raise InvalidRequestError(
            "HAPI-0420: Can not update resource, resource body must contain an ID element which matches "
            "the request URL for update (PUT) operation - Resource body ID does not match URL ID"
        )


async def _existing(
    connection: Connection, resource_type: str, *, condition: str, base: str
) -> Stored | None:
    """The one match of a conditional create; those that ask the same wait for each other."""
    query = condition.partition("?")[2] if "?" in condition else condition
    parameters = sorted(parse_qsl(query, keep_blank_values=True))
    plan: SearchPlan = plan_search(resource_type, parameters, base_url=base)
    if not plan.conditions:
        raise InvalidRequestError("HAPI-0389: If-None-Exist without a search parameter")
    await storage.lock_name(connection, f"{resource_type}?{urlencode(parameters)}")
    found = await find(connection, plan, limit=2)
    if len(found) > 1:
        raise PreconditionError(
            "HAPI-0958: Failed to CREATE resource with match URL "
            "because this search matched more than one resource"
        )
    return (await storage.read_many(connection, found))[0] if found else None


def _written(request: Request, resource_type: str, *, base: str, stored: Stored, status: int) -> Response:
    location = f"{base}/{resource_type}/{stored.resource_id}/_history/{stored.version}"
    headers = {**_version_headers(stored), "Content-Location": location}
    if request.method == "POST":
        headers["Location"] = location
    if "return=minimal" in request.headers.get("prefer", "").replace(" ", ""):
        return Response(status_code=status, headers=headers)
    return json_response(stored.document or "", status=status, headers=headers)


def _shown(request: Request, stored: Stored, *, base: str) -> Response:
    resource_type = request.path_params["resource_type"]
    location = f"{base}/{resource_type}/{stored.resource_id}/_history/{stored.version}"
    if stored.document is None:
        gone = outcome_response(GoneError(f"Resource was deleted at {instant(stored.updated)}"))
        gone.headers["Location"] = location
        return gone
    headers = {**_version_headers(stored), "Content-Location": location}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return json_response(stored.document, headers=headers)


def _version_headers(stored: Stored) -> dict[str, str]:
    return {"ETag": f'W/"{stored.version}"', "Last-Modified": _http_date(stored.updated)}


def _http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC).replace(microsecond=0), usegmt=True)


def _information(text: str, *, headers: dict[str, str] | None = None) -> Response:
    outcome = operation_outcome([text], severity="information", code="informational")
    return json_response(dump(outcome), headers=headers)


def _unknown(resource_type: str, resource_id: str) -> str:
    return f"HAPI-2001: Resource {resource_type}/{resource_id} is not known"


def _whole_number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidRequestError(f"HAPI-0468: Invalid value for {name}: it must be a whole number")
    return int(text)
