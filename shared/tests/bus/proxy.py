"""A TCP relay in front of a broker, so that a test can cut, refuse or stall the way to it."""

import asyncio
import contextlib
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Forwards 127.0.0.1:`port` to the broker at `url` while it is open; an asynchronous context manager."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 5672)
        self._credentials = parts.netloc.rpartition("@")[0]
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._port = 0

    @property
    def url(self) -> str:
        return f"amqp://{self._credentials}@127.0.0.1:{self._port}/"

    async def open(self) -> None:
        """Accepts connections, on the port of the first time."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Breaks every connection and refuses new ones."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._flowing.set()
        await asyncio.sleep(0)

    def stall(self) -> None:
        """Lets nothing through in either direction; connections stay open."""
        self._flowing.clear()

    def flow(self) -> None:
        """Ends a stall."""
        self._flowing.set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            broker_reader, broker_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        ours = {writer, broker_writer}
        self._writers |= ours
        try:
            await asyncio.gather(self._pipe(reader, broker_writer), self._pipe(broker_reader, writer))
        finally:
            self._writers -= ours

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
