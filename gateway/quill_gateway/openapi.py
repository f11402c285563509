"""One OpenAPI document of all six applications, made from what each serves at `/openapi.json`.

Only what the route table lets through is in it. The document of a service that is away is the last one
it gave.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .routes import Route
from .upstreams import FAILURES, Upstream, Upstreams

__all__ = ["MergedDocument", "merge"]

logger = logging.getLogger(__name__)

_MAX_AGE: Final = 10.0
_TIMEOUT: Final = 3.0
_METHODS: Final = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_TITLES: Final = {
    "gateway": "Gateway",
    "auth": "Authentication, users, external access, audit",
    "patients": "Patients and the FHIR façade",
    "letters": "Letters",
    "messaging": "Conversations and push",
    "orgs": "Organisations",
}
_SECURITY_SCHEMES: Final = {
    "OAuth2": {
        "type": "oauth2",
        "description": "For API clients and this page's Authorize button.",
        "flows": {"password": {"tokenUrl": "/api/auth/token", "refreshUrl": "/api/auth/token", "scopes": {}}},
    },
    "Cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "access_token",
        "description": "For browsers. Unsafe methods need the header X-CSRF-Token besides.",
    },
}


class MergedDocument:
    """The merged document, renewed when it is older than ten seconds and somebody asks."""

    def __init__(self, upstreams: Upstreams, routes: Sequence[Route]) -> None:
        self._upstreams = upstreams
        self._routes = routes
        self._known: dict[str, Mapping[str, Any]] = {}
        self._merged: dict[str, Any] = {}
        self._made_at = float("-inf")
        self._lock = asyncio.Lock()

    async def get(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """The document; `own` is the gateway's part."""
        async with self._lock:
            if time.monotonic() - self._made_at >= _MAX_AGE:
                fetched = await asyncio.gather(*(_fetch(each) for each in self._upstreams.values()))
                for name, document in zip(self._upstreams, fetched, strict=True):
                    if document is not None:
                        self._known[name] = document
                self._merged = merge({"gateway": own, **self._known}, self._routes)
                self._made_at = time.monotonic() if None not in fetched else float("-inf")
            return self._merged


async def _fetch(upstream: Upstream) -> Mapping[str, Any] | None:
    try:
        status, document = await upstream.fetch("/openapi.json", within=_TIMEOUT)
    except (*FAILURES, ValueError):
        status, document = 0, None
    if status == 200 and isinstance(document, dict) and isinstance(document.get("paths"), dict):
        return document
    logger.warning("no documentation from a service", extra={"upstream": upstream.name})
    return None


def merge(documents: Mapping[str, Mapping[str, Any]], routes: Sequence[Route]) -> dict[str, Any]:
    """One document out of one per service.

    Operations are tagged with their service, public ones marked as such. A component whose name two
    services use for different things gets the later service's name in front.
    """
    table: dict[tuple[str, str, str], Route] = {
        (route.service, route.method, _shape(route.template)): route for route in routes
    }
    paths: dict[str, Any] = {}
    components: dict[str, dict[str, Any]] = {}
    operation_ids: set[str] = set()
    for service, document in documents.items():
        renamed = _rename_conflicts(service, document, components)
        for kind, members in renamed.get("components", {}).items():
            if kind != "securitySchemes":
                components.setdefault(kind, {}).update(members)
        for path, item in renamed["paths"].items():
            for method, operation in item.items():
                route = table.get((service, method.upper(), _shape(path)))
                if method not in _METHODS or route is None:
                    continue
                paths.setdefault(path, {})[method] = _described(operation, route, operation_ids)
    components["securitySchemes"] = dict(_SECURITY_SCHEMES)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Quill",
            "version": "0.1.0",
            "description": "Clinical communication: the whole API.",
        },
        "tags": [{"name": name, "description": _TITLES.get(name, name)} for name in documents],
        "paths": dict(sorted(paths.items())),
        "components": components,
        "security": [{"OAuth2": []}, {"Cookie": []}],
    }


def _described(operation: Mapping[str, Any], route: Route, operation_ids: set[str]) -> dict[str, Any]:
    described = {key: value for key, value in operation.items() if key != "security"}
    described["tags"] = [route.service]
    if route.public:
        described["security"] = []
    name = described.get("operationId")
    if isinstance(name, str):
        unique = name if name not in operation_ids else f"{route.service}_{name}"
        described["operationId"] = unique
        operation_ids.add(unique)
    return described


def _shape(template: str) -> str:
    """A path template without the names of its parameters."""
    return "/".join("{}" if segment.startswith("{") else segment for segment in template.split("/"))


def _rename_conflicts(
    service: str, document: Mapping[str, Any], taken: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Any]:
    """The document with those components renamed whose names mean something else in `taken`.

    Renaming changes the references in other components, which then differ from their namesakes: it is
    repeated until nothing more has to change.
    """
    new_names: dict[tuple[str, str], str] = {}
    while True:
        rewritten = _rewrite(document, new_names)
        conflicts = {
            (kind, name)
            for kind, members in rewritten.get("components", {}).items()
            if kind != "securitySchemes"
            for name, member in members.items()
            if name in taken.get(kind, {}) and taken[kind][name] != member
        }
        if not conflicts:
            return rewritten
        for kind, name in conflicts:
            original = next((old for (k, old), new in new_names.items() if k == kind and new == name), name)
            new_names[kind, original] = f"{service.capitalize()}{name}"


def _rewrite(document: Mapping[str, Any], new_names: Mapping[tuple[str, str], str]) -> Mapping[str, Any]:
    if not new_names:
        return document
    references = {
        f"#/components/{kind}/{old}": f"#/components/{kind}/{new}" for (kind, old), new in new_names.items()
    }
    components = {
        kind: {
            new_names.get((kind, name), name): _replace(member, references)
            for name, member in members.items()
        }
        for kind, members in document.get("components", {}).items()
    }
    return {**document, "paths": _replace(document["paths"], references), "components": components}


def _replace(node: Any, references: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _replace(value, references) for key, value in node.items()}
    if isinstance(node, list):
        return [_replace(each, references) for each in node]
    if isinstance(node, str):
        return references.get(node, node)
    return node
