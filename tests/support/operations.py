"""The operations of the documented API, each at the application that serves it and through the gateway."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import schemathesis
from applications import APPLICATIONS, SERVICES, application
from schemathesis.schemas import APIOperation

from quill_gateway.openapi import merge
from quill_gateway.routes import ROUTES

METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})
MERGED: Final = "gateway, merged"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of one document. `server` is whom to call."""

    document: str
    server: str
    method: str
    path: str
    described: Mapping[str, Any]

    @property
    def label(self) -> str:
        """As schemathesis calls it."""
        return f"{self.method.upper()} {self.path}"

    def __str__(self) -> str:
        return f"{self.document}: {self.label}"

    @property
    def json_body(self) -> Mapping[str, Any] | None:
        """The schema of its JSON body, references resolved one level."""
        content = self.described.get("requestBody", {}).get("content", {})
        for media_type, body in content.items():
            if media_type.endswith("json"):
                return resolved(self.document, body.get("schema", {}))
        return None

    @property
    def query(self) -> Mapping[str, Mapping[str, Any]]:
        """The schemas of its query parameters by name."""
        parameters = self.described.get("parameters", ())
        return {each["name"]: each.get("schema", {}) for each in parameters if each["in"] == "query"}


@cache
def document(name: str) -> dict[str, Any]:
    """The OpenAPI document of an application, or the merged one."""
    if name == MERGED:
        documents = {"gateway": document("gateway"), **{each: document(each) for each in SERVICES}}
        return merge(documents, ROUTES)
    return application(name).openapi()


@cache
def schema(name: str) -> Any:
    """The document as schemathesis reads it."""
    return schemathesis.openapi.from_dict(document(name))


def resolved(name: str, node: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema, or what it refers to."""
    while "$ref" in node:
        target: Any = document(name)
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def operations(*names: str) -> Iterator[Operation]:
    """Everything documented under these names."""
    for name in names:
        server = "gateway" if name == MERGED else name
        for path, item in document(name)["paths"].items():
            for method, described in item.items():
                if method in METHODS:
                    yield Operation(name, server, method, path, described)


def fuzzable(operation: Operation) -> APIOperation[Any, Any, Any, Any]:
    """The operation for schemathesis to make cases of."""
    found: APIOperation[Any, Any, Any, Any] = schema(operation.document)[operation.path][operation.method]
    return found


ALL: Final = (*APPLICATIONS, MERGED)
