"""Finds the route of a request: strict about the path, quick about the rest.

A path that the gateway and a service could read differently is refused, not repaired (hazard 0035):
encoded slashes and backslashes, dot segments raw or encoded, empty segments, control characters,
percent-encoding that is not UTF-8.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from quill_shared.platform.errors import BadRequest, NotFound

from .errors import InvalidPath, MethodNotAllowed, UriTooLong
from .routes import Route

__all__ = ["MAX_PATH_LENGTH", "MAX_QUERY_LENGTH", "RouteTable", "check_path", "check_query"]

MAX_PATH_LENGTH: Final = 1024
MAX_QUERY_LENGTH: Final = 8192

# RFC 3986 §3.3 without "%": what needs no second look but for its segments.
_PLAIN = re.compile(rb"(?:/[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*)+/?|/")
_GRAMMAR = re.compile(rb"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)+/?")
_FORBIDDEN_ONCE_DECODED = re.compile("[/\\\\\x00-\x1f\x7f-\x9f]")
_QUERY = re.compile(rb"[!-~]*")


def check_path(raw: bytes) -> None:
    """Accepts a path (without its query) that has one reading only.

    Raises:
        InvalidPath: it has none, or several.
        UriTooLong: it is longer than any of ours.
    """
    if len(raw) > MAX_PATH_LENGTH:
        raise UriTooLong
    if _PLAIN.fullmatch(raw):
        return
    if not _GRAMMAR.fullmatch(raw):
        raise InvalidPath
    for segment in raw.split(b"/")[1:]:
        try:
            decoded = unquote_to_bytes(segment).decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidPath from None
        if decoded in (".", "..") or _FORBIDDEN_ONCE_DECODED.search(decoded):
            raise InvalidPath


def check_query(raw: bytes) -> None:
    """Accepts a query string of printable ASCII without an encoded NUL.

    Raises:
        BadRequest: it holds something else.
        UriTooLong: it is too long.
    """
    if not raw:
        return
    if len(raw) > MAX_QUERY_LENGTH:
        raise UriTooLong
    if not _QUERY.fullmatch(raw) or b"%00" in raw:
        raise BadRequest("The query string is not valid", code="invalid_query")


class _Node:
    __slots__ = ("children", "parameter", "routes")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node] = {}
        self.parameter: _Node | None = None
        self.routes: dict[str, Route] = {}


class RouteTable:
    """The compiled table: a dictionary for fixed paths, a tree of segments for the others.

    HEAD is answered wherever GET is (RFC 9110 §9.3.2).
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        self._fixed: dict[bytes, dict[str, Route]] = {}
        for route in routes:
            self._add(route)

    def find(self, method: str, path: bytes) -> Route:
        """The route of a path that `check_path` accepted.

        Raises:
            NotFound: no such path.
            MethodNotAllowed: the path has other methods; `Allow` names them.
        """
        fixed = self._fixed.get(path)
        if fixed is not None:
            route = fixed.get(method)
            if route is not None:
                return route
        if path.endswith(b"/"):
            raise NotFound
        segments = path.split(b"/")
        route = self._straight(method, segments)
        if route is not None:
            return route
        # A literal segment led astray, or nowhere: look at every reading of the path.
        nodes: list[_Node] = []
        self._collect(self._root, segments, 1, nodes)
        for node in nodes:
            if method in node.routes:
                return node.routes[method]
        if not nodes:
            raise NotFound
        raise MethodNotAllowed({name for node in nodes for name in node.routes} | {"OPTIONS"})

    def allowed(self, path: bytes) -> frozenset[str]:
        """The methods of a path; empty if there is no such path."""
        nodes: list[_Node] = []
        if not path.endswith(b"/"):
            self._collect(self._root, path.split(b"/"), 1, nodes)
        return frozenset(name for node in nodes for name in node.routes)

    def _straight(self, method: str, segments: list[bytes]) -> Route | None:
        """The route found by taking the literal wherever there is one."""
        node: _Node | None = self._root
        for segment in segments[1:]:
            if node is None:
                return None
            node = node.children.get(segment) or node.parameter
        return node.routes.get(method) if node is not None else None

    def _add(self, route: Route) -> None:
        node = self._root
        for segment in route.template.encode().split(b"/")[1:]:
            if segment.startswith(b"{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.children.setdefault(segment, _Node())
        methods: Mapping[str, Route] = (
            {"GET": route, "HEAD": route} if route.method == "GET" else {route.method: route}
        )
        for method, entry in methods.items():
            if method in node.routes:
                raise ValueError(f"{method} {route.template} is in the table twice")
            node.routes[method] = entry
        if "{" not in route.template:
            self._fixed.setdefault(route.template.encode(), {}).update(methods)

    def _collect(self, node: _Node, segments: list[bytes], depth: int, found: list[_Node]) -> None:
        if depth == len(segments):
            if node.routes:
                found.append(node)
            return
        child = node.children.get(segments[depth])
        if child is not None:
            self._collect(child, segments, depth + 1, found)
        if node.parameter is not None:
            self._collect(node.parameter, segments, depth + 1, found)
