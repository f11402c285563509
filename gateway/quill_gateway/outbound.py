"""The way back: the service's answer, less what belongs to the hop, plus what every answer carries."""

from typing import Final

import aiohttp
from starlette.types import Message

from quill_shared.platform.errors import BadGateway

from .answers import NEVER_FROM_SERVICES
from .exchange import Exchange
from .gateway import Gateway
from .upstreams import FAILURES, failure

__all__ = ["relay"]

_READ_AT_ONCE: Final = 64 * 1024
_JSON_TYPES: Final = (b"application/json", b"application/problem+json", b"application/fhir+json")
_WITHOUT_BODY: Final = frozenset({204, 304})


async def relay(gateway: Gateway, exchange: Exchange, response: aiohttp.ClientResponse, service: str) -> None:
    """Sends the answer of `service` to the client, as it comes.

    Raises:
        Error: the answer cannot be used, and nothing of it has been sent yet.
    """
    status = response.status
    headers: list[tuple[bytes, bytes]] = []
    length = -1
    cached = named = media_type = None
    for name, value in response.raw_headers:
        name = name.lower()
        if name in NEVER_FROM_SERVICES:
            if name == b"connection":
                named = value.lower()
            continue
        if name == b"content-length":
            length = int(value)
            if status in _WITHOUT_BODY:
                # It speaks of a body that does not follow (RFC 9110 §8.6).
                continue
        elif name == b"cache-control":
            cached = value
        elif name == b"content-type":
            media_type = value
        headers.append((name, value))
    if status >= 500 and (media_type is None or not media_type.startswith(_JSON_TYPES)):
        # A crash page is nobody's business; services describe their errors as JSON.
        raise BadGateway(f"The {service} service gave an unusable answer")
    if named is not None and named not in (b"close", b"keep-alive"):
        dropped = {token.strip() for token in named.split(b",")}
        headers = [each for each in headers if each[0] not in dropped]
    if cached is None:
        headers.append((b"cache-control", b"no-store"))
    headers.extend(gateway.api_headers)
    if gateway.origins_active:
        headers.extend(gateway.origins.answer_headers(exchange.found.get(b"origin")))
    headers.extend(exchange.announced)
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    if exchange.method == "HEAD":
        await exchange.send(start)
        await exchange.send({"type": "http.response.body", "body": b""})
        response.close()
        return
    if 0 <= length <= _READ_AT_ONCE:
        try:
            body = await response.read()
        except FAILURES as raised:
            raise failure(raised, service, exchange.work()) from None
        await exchange.send(start)
        await exchange.send({"type": "http.response.body", "body": body})
        return
    await exchange.send(start)
    try:
        async for part in response.content.iter_any():
            await exchange.send({"type": "http.response.body", "body": part, "more_body": True})
    except FAILURES as raised:
        # Too late for another status: our server breaks the connection, so that the client knows.
        failure(raised, service, exchange.work())
        return
    await exchange.send({"type": "http.response.body", "body": b""})
