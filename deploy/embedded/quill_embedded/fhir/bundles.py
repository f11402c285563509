"""Bundles: the pages of searches and histories (FHIR R4, Bundle)."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode
from uuid import uuid4

import orjson

from .documents import instant
from .storage import Stored

_SUBSETTED: Final = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "SUBSETTED",
    "display": "Resource encoded in summary mode",
}


def page_url(base_url: str, snapshot_id: object, *, offset: int, count: int) -> str:
    """The address of one page of a kept result."""
    parameters = {"_getpages": str(snapshot_id), "_getpagesoffset": offset, "_count": count}
    query = urlencode({**parameters, "_bundletype": "searchset"})
    return f"{base_url}?{query}"


def page_links(
    base_url: str, *, self_url: str, snapshot_id: object | None, offset: int, count: int, size: int
) -> list[dict[str, str]]:
    """The links ``self``, ``next`` (while there is more) and ``previous`` of a page."""
    links = [{"relation": "self", "url": self_url}]
    if snapshot_id is not None and offset + count < size:
        url = page_url(base_url, snapshot_id, offset=offset + count, count=count)
        links.append({"relation": "next", "url": url})
    if snapshot_id is not None and offset > 0:
        url = page_url(base_url, snapshot_id, offset=max(0, offset - count), count=count)
        links.append({"relation": "previous", "url": url})
    return links


def bundle(
    bundle_type: str,
    *,
    links: list[dict[str, str]],
    total: int | None,
    entries: list[dict[str, Any]],
    updated: datetime,
) -> dict[str, Any]:
    """A Bundle; with nothing in it there is no ``entry`` key, as JSON in FHIR has no empty arrays.

    Without links it is the mere count of a search, which HAPI marks as such.
    """
    document: dict[str, Any] = {
        "resourceType": "Bundle",
        "id": str(uuid4()),
        "meta": {"lastUpdated": instant(updated)},
        "type": bundle_type,
    }
    if total is not None:
        document["total"] = total
    if links:
        document["link"] = links
    else:
        document["meta"]["tag"] = [_SUBSETTED]
    if entries:
        document["entry"] = entries
    return document


def search_entries(base_url: str, resource_type: str, found: Iterable[Stored]) -> list[dict[str, Any]]:
    """Entries of a searchset, the resources inserted as they are stored."""
    return [
        {
            "fullUrl": f"{base_url}/{resource_type}/{stored.resource_id}",
            "resource": orjson.Fragment(stored.document or "null"),
            "search": {"mode": "match"},
        }
        for stored in found
    ]


def history_entries(base_url: str, resource_type: str, versions: Iterable[Stored]) -> list[dict[str, Any]]:
    """Entries of a history; a deletion has a request but no resource (FHIR R4, history).

    HAPI tells of every first version as of a POST, also where the client chose the id.
    """
    entries = []
    for stored in versions:
        local_url = f"{resource_type}/{stored.resource_id}"
        entry: dict[str, Any] = {"fullUrl": f"{base_url}/{local_url}"}
        if stored.document is not None:
            entry["resource"] = orjson.Fragment(stored.document)
        method = "POST" if stored.version == 1 else stored.method
        entry["request"] = {"method": method, "url": f"{local_url}/_history/{stored.version}"}
        entry["response"] = {
            "status": "201 Created" if stored.version == 1 else "200 OK",
            "etag": f'W/"{stored.version}"',
        }
        entries.append(entry)
    return entries
