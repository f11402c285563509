"""The servers under test: an address, and what the cases need to tell apart."""

import asyncio
import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import uvicorn
from starlette.applications import Starlette


@dataclass(frozen=True, slots=True)
class Server:
    """One server under test.

    Args:
        kind: `embedded`, or the name of the real one.
        url: its base.
        credentials: name and password, where it wants them.
    """

    kind: str
    url: str
    credentials: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def is_real(self) -> bool:
        return self.kind != "embedded"


@dataclass(frozen=True, slots=True)
class Deviation:
    """A difference between the two that is wanted, or cannot be removed. Both sides are pinned.

    Args:
        reason: why it stays.
        real: what the real server does.
        embedded: what the stand-in does.
    """

    reason: str
    real: object
    embedded: object

    def expected(self, server: Server) -> object:
        """What `server` is to do."""
        return self.real if server.is_real else self.embedded


def unique() -> str:
    """A part of names that no other test has used: servers are shared, and keep what they were given."""
    return secrets.token_hex(6)


def named(variable: str) -> str:
    """The value of an environment variable that says where a real server is, or how it is entered."""
    value = os.environ.get(variable)
    if not value:
        pytest.fail(f"{variable} is not set", pytrace=False)
    return value


@contextlib.contextmanager
def served(app: Starlette) -> Iterator[str]:
    """`app` over HTTP, in a thread of its own as it would be in a process of its own; its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                thread.join(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
