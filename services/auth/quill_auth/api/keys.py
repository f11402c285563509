"""The public keys (RFC 7517)."""

from typing import Any

from fastapi import Response

from quill_shared.platform.routing import Uow, router

from ..keys import key_set
from ..service.sessions import published_keys

routes = router("authentication")


@routes.get("/.well-known/jwks.json")
async def jwks(uow: Uow, response: Response) -> dict[str, Any]:
    """Every key that a living access token may be signed with."""
    response.headers["Cache-Control"] = "public, max-age=60"
    return key_set(await published_keys(uow))
