"""The two buses. RabbitMQ is the broker at QUILL_TEST_RABBITMQ_URL; each test uses names of its own there."""

import contextlib
import os
import secrets
from collections.abc import AsyncIterator

import aio_pika
import pytest

from quill_shared.platform.bus import EmbeddedTransport, RabbitMQTransport, Transport

from .support import Bus

GRACE = 1.0


class EmbeddedBus:
    def __init__(self) -> None:
        self._first: EmbeddedTransport | None = None
        self.processes: list[Transport] = []

    async def process(self, *, expected: frozenset[str] = frozenset()) -> Transport:
        if self._first is None:
            self._first = EmbeddedTransport(expected=expected, retry_pause=0.001, grace=GRACE)
        transport = self._first.join()
        self.processes.append(transport)
        await transport.start()
        return transport

    def service(self, name: str) -> str:
        return name


class RabbitMQBus:
    def __init__(self, url: str) -> None:
        self.url = url
        self.exchange = f"quill.test.{secrets.token_hex(4)}"
        self.services: set[str] = set()
        self.processes: list[Transport] = []

    async def process(self, *, expected: frozenset[str] = frozenset()) -> Transport:
        transport = RabbitMQTransport(
            self.url, exchange=self.exchange, expected=expected, retry_pause=0.001, grace=GRACE
        )
        self.processes.append(transport)
        await transport.start()
        return transport

    def service(self, name: str) -> str:
        unique = f"{self.exchange.removeprefix('quill.')}.{name}"
        self.services.add(unique)
        return unique

    async def remove(self) -> None:
        connection = await aio_pika.connect(self.url)
        async with connection, connection.channel() as channel:
            for service in self.services:
                await channel.queue_delete(f"quill.{service}")
                await channel.queue_delete(f"quill.{service}.parked")
            await channel.exchange_delete(self.exchange)


@pytest.fixture
def rabbitmq_url() -> str:
    """Where the broker is."""
    return os.environ["QUILL_TEST_RABBITMQ_URL"]


@pytest.fixture
async def rabbitmq_bus(rabbitmq_url: str) -> AsyncIterator[RabbitMQBus]:
    bus = RabbitMQBus(rabbitmq_url)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(bus.remove)
        yield bus
        for transport in bus.processes:
            await transport.close()


@pytest.fixture
async def embedded_bus() -> AsyncIterator[EmbeddedBus]:
    bus = EmbeddedBus()
    yield bus
    for transport in bus.processes:
        await transport.close()


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def bus(request: pytest.FixtureRequest) -> Bus:
    """The bus of a contract test: each of the two in turn."""
    chosen: Bus = request.getfixturevalue(f"{request.param}_bus")
    return chosen
