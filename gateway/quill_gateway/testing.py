"""The gateway over real HTTP, in front of services that do what a test tells them."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config, Server
from yarl import URL

from quill_shared.platform.app import create_app
from quill_shared.platform.bus import EmbeddedTransport
from quill_shared.platform.csrf import CsrfTokens
from quill_shared.platform.revocation import RevocationSnapshot
from quill_shared.platform.service import ServiceDefinition, TokenSources
from quill_shared.platform.telemetry import Telemetry
from quill_shared.platform.testing.services import secret
from quill_shared.platform.testing.tokens import TokenMint

from .bootstrap import definition
from .gateway import Gateway
from .protocol import GuardedProtocol
from .settings import GatewaySettings

__all__ = ["Answer", "Seen", "Services", "World", "opened", "served"]

SERVICES = ("auth", "patients", "letters", "messaging", "orgs")


@dataclass(frozen=True)
class Seen:
    """A request as a service got it."""

    service: str
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """What a service answers."""

    status: int = 200
    body: bytes = b'{"ok":true}'
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


class Services:
    """All five services as one ASGI application, told apart by the first segment of the path."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answers: dict[str, Answer] = {}
        self.behaviour: Callable[[Scope, Receive, Send], Awaitable[None]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.behaviour is not None and not scope["path"].endswith(("/health/ready", "/openapi.json")):
            await self.behaviour(scope, receive, send)
            return
        service, _, rest = scope["raw_path"].decode()[1:].partition("/")
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        seen = Seen(service, scope["method"], f"/{rest}", scope["query_string"].decode(), headers, body)
        self.seen.append(seen)
        answer = self.answers.get(f"{service}/{rest}", self.answers.get("*", Answer()))
        raw = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        raw.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await send({"type": "http.response.body", "body": answer.body})

    @property
    def last(self) -> Seen:
        """The latest request that reached a service."""
        return self.seen[-1]

    def answer(self, body: Any, *, at: str = "*", status: int = 200, **headers: str) -> None:
        """Sets what is answered, everywhere or at `service/path`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers[at] = Answer(status, content, {"content-type": "application/json", **named})


@dataclass
class World:
    """A running gateway, what is behind it and a client in front."""

    url: URL
    client: aiohttp.ClientSession
    services: Services
    mint: TokenMint
    csrf: CsrfTokens
    gateway: Gateway
    revocations: Any
    port: int

    def cookies(self, user_id: int = 1, *, csrf: str | None = None, **claims: Any) -> dict[str, str]:
        """The Cookie header of a signed-in browser."""
        token = self.mint.token(user_id, **claims)
        pairs = [f"access_token={token}"]
        if csrf is not None:
            pairs.append(f"XSRF-TOKEN={csrf}")
        return {"Cookie": "; ".join(pairs)}

    def browser(self, user_id: int = 1, **claims: Any) -> dict[str, str]:
        """The headers of a signed-in page that does everything right."""
        token = self.csrf.issue(claims.get("session_id", f"session-of-{user_id}"))
        return {**self.cookies(user_id, csrf=token, **claims), "X-CSRF-Token": token}

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        """Status, headers and body (parsed if it is JSON) of a call."""
        target = URL(f"{str(self.url).rstrip('/')}{path}", encoded=True)
        async with self.client.request(method, target, allow_redirects=False, **options) as response:
            raw = await response.read()
            is_json = "json" in response.headers.get("content-type", "")
            return response.status, response.headers, json.loads(raw) if is_json and raw else raw

    async def get(self, path: str, **options: Any) -> tuple[int, Any, Any]:
        """`call` with GET."""
        return await self.call("GET", path, **options)

    async def post(self, path: str, **options: Any) -> tuple[int, Any, Any]:
        """`call` with POST."""
        return await self.call("POST", path, **options)

    async def raw(self, sent: bytes, *, wait: float = 1.0) -> bytes:
        """What comes back for bytes on a socket until it closes or falls silent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        received = b""
        try:
            writer.write(sent)
            await writer.drain()
            while True:
                async with asyncio.timeout(wait):
                    part = await reader.read(65536)
                if not part:
                    return received
                received += part
        except (TimeoutError, ConnectionResetError):
            return received
        finally:
            writer.close()


@asynccontextmanager
async def served(app: ASGIApp, **options: Any) -> AsyncIterator[int]:
    """Serves `app` on a free port of the loopback interface; the port. Its lifespan is the caller's."""
    config = Config(
        app,
        host="127.0.0.1",
        port=0,
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        ws="none",
        **options,
    )
    config.load()
    server = Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        # Without it the server looks every tenth of a second whether its connections have gone.
        server.force_exit = True
        await server.shutdown()
        for connection in list(server.server_state.connections):
            connection.transport.abort()


@asynccontextmanager
async def opened(
    mint: TokenMint, *, telemetry: Telemetry | None = None, **settings: Any
) -> AsyncIterator[World]:
    """A gateway as in production but for the settings given, and services that answer `{"ok": true}`."""
    services = Services()
    bus = EmbeddedTransport()
    await bus.start()

    async def nothing_revoked() -> RevocationSnapshot:
        return await mint.no_revocations()

    tested: ServiceDefinition = dataclasses.replace(
        definition, token_sources=lambda runtime: TokenSources(keys=mint.jwks, revocations=nothing_revoked)
    )
    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(served(services))
        values: dict[str, Any] = {
            "env": "production",
            "service_key": secret(),
            "csrf_key": secret(),
            **{f"{name}_url": f"http://127.0.0.1:{behind}/{name}" for name in SERVICES},
            **settings,
        }
        built = GatewaySettings(**values)
        app = create_app(tested, settings=built, transport=bus, telemetry=telemetry)
        await stack.enter_async_context(app.router.lifespan_context(app))
        port = await stack.enter_async_context(served(app, http=GuardedProtocol))
        runtime = app.state.runtime
        await runtime.revocations.reload()
        client = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        yield World(
            url=URL(f"http://127.0.0.1:{port}"),
            client=client,
            services=services,
            mint=mint,
            csrf=CsrfTokens(built.csrf_key),
            gateway=runtime.context,
            revocations=runtime.revocations,
            port=port,
        )
    await bus.close()
