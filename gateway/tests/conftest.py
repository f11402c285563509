"""A running gateway for each test that asks for one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from quill_gateway.testing import World, opened
from quill_shared.platform.testing.tokens import TokenMint

Open = Callable[..., Awaitable[World]]


@pytest.fixture
async def open_gateway(mint: TokenMint) -> AsyncIterator[Open]:
    """Opens gateways with settings of the test's own."""
    async with AsyncExitStack() as stack:

        async def enter(**settings: Any) -> World:
            return await stack.enter_async_context(opened(mint, **settings))

        yield enter


@pytest.fixture
async def gateway(open_gateway: Open) -> World:
    """A gateway with the defaults of production."""
    return await open_gateway()
