"""A connection to RabbitMQ that keeps itself open, and the work that lives on it."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

logger = logging.getLogger(__name__)

BROKER_FAULTS: Final = (*CONNECTION_EXCEPTIONS, TimeoutError)
"""What the client library raises when the broker, or the way to it, is at fault."""

_OPEN_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 5.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 3.0

Work = Callable[[AbstractConnection], Awaitable[None]]
"""Something done on an open connection. It ends when its channel is lost, and is begun again."""


async def settle(*tasks: asyncio.Task[None]) -> None:
    """Cancels `tasks` and waits for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Link:
    """One connection, opened again whenever it is lost.

    The client library may cancel whoever waits for a connection that goes down. Everything that
    talks to the broker therefore runs in a task of its own, so that such a cancellation is told
    apart from one that is meant.

    Args:
        url: `amqp://` or `amqps://`; never logged.
        name: shown in the broker's list of connections.
        heartbeat: seconds; a silent peer is given up after three of them.
    """

    def __init__(self, url: str, *, name: str, heartbeat: int) -> None:
        self._url = url
        self._name = name
        self._heartbeat = heartbeat
        self._connection: AbstractConnection | None = None
        self._opened = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to connect; a second call changes nothing."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"amqp {self._name}")

    def hold(self, work: Work) -> asyncio.Task[None]:
        """Runs `work` whenever the connection is open, again after it ended, until cancelled."""
        self.start()
        task = asyncio.create_task(self._hold(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def connection(self, timeout: float) -> AbstractConnection:  # noqa: ASYNC109
        """The open connection, waited for.

        Raises:
            TimeoutError: it was not open within `timeout` seconds.
        """
        async with asyncio.timeout(timeout):
            while self._connection is None:
                await self._opened.wait()
                await asyncio.sleep(0)
            return self._connection

    async def close(self) -> None:
        """Ends everything on the connection, then the connection."""
        await settle(*self._tasks)
        if self._keeper is not None:
            await settle(self._keeper)

    async def _hold(self, work: Work) -> None:
        pause = _FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while True:
            await self._opened.wait()
            connection = self._connection
            if connection is not None:
                began = loop.time()
                await self._attempt(work(connection))
                pause = _FIRST_PAUSE if loop.time() - began > _LONGEST_PAUSE else pause
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            await self._attempt(self._open_and_watch())
            # Only an attempt that failed to open makes the next one wait longer.
            pause = _FIRST_PAUSE if self._opened.is_set() else min(pause * 2, _LONGEST_PAUSE)
            self._opened.clear()
            await asyncio.sleep(pause)

    async def _open_and_watch(self) -> None:
        connection = await aio_pika.connect(
            self._url, timeout=_OPEN_SECONDS, heartbeat=self._heartbeat, name=self._name
        )
        try:
            if connection.transport is None:
                return
            closing = connection.transport.connection.closing
            self._connection = connection
            self._opened.set()
            await asyncio.wait({closing})
        finally:
            self._connection = None
            with contextlib.suppress(*BROKER_FAULTS):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await connection.close()

    async def _attempt(self, work: Awaitable[None]) -> None:
        """Runs `work` to its end in a task of its own and logs its fault by type."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task})
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        fields = {"upstream": self._name, "error_type": type(error).__name__}
        if isinstance(error, BROKER_FAULTS):
            logger.warning("broker not reached", extra=fields)
        else:
            logger.error("work on the broker failed", extra=fields, exc_info=error)
