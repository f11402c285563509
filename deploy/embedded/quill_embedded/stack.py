"""Gateway and services in one event loop: start, watch, stop.

This module imports the six applications, which takes most of a start; `__main__` imports it while
PostgreSQL comes up.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from socket import socket
from typing import Final

import uvloop

from quill_shared.platform.serve import Server, server

from .applications import SERVICE_DEFINITIONS, build
from .backends import Backends
from .configuration import Configuration
from .console import Console
from .errors import StackError
from .health import healthy
from .interrupts import finished, interrupts
from .logfile import configure
from .migrate import migrate
from .ports import HOST
from .seed import seeded
from .welcome import welcome

__all__ = ["run"]

_HEALTHY_WITHIN: Final = 60.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What `__main__` has prepared.

    Args:
        backends_started: done when PostgreSQL and the stand-ins run.
        listeners: the sockets of gateway and services.
        began: `time.monotonic()` of the start, for what is told about it.
    """

    configuration: Configuration
    keys: Mapping[str, str]
    backends: Backends
    backends_started: "Future[None]"
    listeners: Mapping[str, socket]
    console: Console
    began: float


def run(parts: Parts) -> None:
    """Runs the stack until SIGINT or SIGTERM, then stops it: gateway, services, stand-ins, PostgreSQL.

    Raises:
        StackError: it cannot start, or a part ended that cannot be started again.
    """
    handler = configure(parts.configuration)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_Stack(parts).run())
    finally:
        handler.close()


class _Stack:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stop = asyncio.Event()
        self._servers: dict[str, Server] = {}
        self._serving: dict[str, asyncio.Task[None]] = {}
        self._watching: asyncio.Task[None] | None = None

    async def run(self) -> None:
        with interrupts(self._stop):
            try:
                if await finished(asyncio.create_task(self._start()), self._stop):
                    await self._until_ended()
            finally:
                if self._watching is not None:
                    self._watching.cancel()
                    await asyncio.gather(self._watching, return_exceptions=True)
                await self._shut_down()

    async def _start(self) -> None:
        parts = self._parts
        await asyncio.wrap_future(parts.backends_started)
        self._watching = asyncio.create_task(parts.backends.watch())
        urls = parts.backends.urls
        migrated = await migrate(SERVICE_DEFINITIONS, urls)
        if migrated:
            parts.console.say(f"Databases migrated: {', '.join(migrated)}.", style="dim")
        for each in build(parts.configuration, parts.keys, urls):
            runner = server(
                each.app, host=HOST, port=parts.configuration.ports.of(each.name), grace=each.grace
            )
            self._servers[each.name] = runner
            self._serving[each.name] = asyncio.create_task(
                runner.serve(sockets=[parts.listeners[each.name]]), name=each.name
            )
        await healthy(parts.configuration, within=_HEALTHY_WITHIN, complain=self._complain_about_ended)
        seconds = time.monotonic() - parts.began
        await seeded(parts.configuration, parts.keys, parts.console)
        welcome(parts.configuration, parts.keys, parts.console, seconds=seconds)

    def _complain_about_ended(self) -> None:
        ended = [name for name, task in self._serving.items() if task.done()]
        if ended:
            raise StackError(
                f"Ended unexpectedly: {', '.join(ended)}; {self._parts.configuration.log_file} says why."
            )

    async def _until_ended(self) -> None:
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({stopping, *self._serving.values()}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not self._stop.is_set():
            self._complain_about_ended()

    async def _shut_down(self) -> None:
        self._parts.console.say("Stopping ...", style="dim")
        for names in (("gateway",), tuple(name for name in self._servers if name != "gateway")):
            for name in names:
                if name in self._servers:
                    self._servers[name].should_exit = True
            await asyncio.gather(
                *(self._serving[name] for name in names if name in self._serving), return_exceptions=True
            )
        with contextlib.suppress(Exception):
            # What went wrong with the start of the backends was said by `_start`.
            await asyncio.shield(asyncio.wrap_future(self._parts.backends_started))
        await asyncio.to_thread(self._parts.backends.stop)
