"""What routes read from a request beside its body."""

from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Header, Path
from starlette.requests import Request

from quill_shared.platform.pagination import PageRequest, page_request

from ..context import AuthContext
from ..settings import AuthSettings


def context(request: Request) -> AuthContext:
    """The adapters of the running service."""
    found: AuthContext = request.app.state.runtime.context
    return found


def client_address(request: Request) -> str:
    """Where a request comes from, for limits: the peer, or what the gateway says of it."""
    settings: AuthSettings = request.app.state.runtime.settings
    peer = request.client.host if request.client is not None else ""
    try:
        is_trusted = any(ip_address(peer) in network for network in settings.gateway_networks)
    except ValueError:
        return peer
    forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return forwarded if is_trusted and forwarded else peer


def expected_versions(
    if_match: Annotated[
        str | None, Header(max_length=512, description="refuse with 412 if the account has changed since")
    ] = None,
) -> frozenset[int] | None:
    """The versions If-Match allows (RFC 9110 §13.1.1); None for any. Weak or foreign tags match nothing."""
    if if_match is None or if_match.strip() == "*":
        return None
    tags = (tag.strip() for tag in if_match.split(","))
    inner = (tag[1:-1] for tag in tags if len(tag) > 2 and tag[0] == tag[-1] == '"')
    return frozenset(int(text) for text in inner if text.isascii() and text.isdigit() and len(text) < 19)


def etag(version: int) -> str:
    """The entity tag of an account at `version`."""
    return f'"{version}"'


Context = Annotated[AuthContext, Depends(context)]
ClientAddress = Annotated[str, Depends(client_address)]
IfMatch = Annotated[frozenset[int] | None, Depends(expected_versions)]
UserId = Annotated[int, Path(ge=1, le=2**63 - 1)]
PatientIdPath = Annotated[str, Path(pattern=r"^[A-Za-z0-9.-]{1,64}$")]
ById = Annotated[PageRequest, Depends(page_request(int))]
ByName = Annotated[PageRequest, Depends(page_request(str, int))]
