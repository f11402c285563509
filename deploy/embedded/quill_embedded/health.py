"""Waits until a stack that was just started says that it is well."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

import httpx

from .configuration import Configuration
from .errors import StackError

__all__ = ["healthy", "ready"]

_PAUSE: Final = 0.05


async def healthy(configuration: Configuration, *, within: float, complain: Callable[[], None]) -> None:
    """Returns when `/api/health` says healthy.

    Args:
        within: seconds.
        complain: called again and again meanwhile; raises what makes waiting vain.

    Raises:
        StackError: it is not healthy in time; what is away is named.
    """
    deadline = time.monotonic() + within
    logs = configuration.log_file.parent
    async with httpx.AsyncClient(base_url=configuration.ports.url("gateway"), timeout=5.0) as client:
        while True:
            complain()
            with contextlib.suppress(httpx.TransportError):
                answer = (await client.get("/api/health")).json()
                if answer["status"] == "healthy":
                    return
                if time.monotonic() > deadline:
                    away = [name for name, each in answer["services"].items() if not each["available"]]
                    raise StackError(
                        f"Not healthy within {within:.0f} seconds: {', '.join(away)}; the logs are in {logs}."
                    )
            if time.monotonic() > deadline:
                raise StackError(
                    f"The gateway did not answer within {within:.0f} seconds; the logs are in {logs}."
                )
            await asyncio.sleep(_PAUSE)


async def ready(
    configuration: Configuration, part: str, *, within: float, complain: Callable[[], None]
) -> None:
    """Returns when the process at the port of `part` says that its database and the bus are there.

    Raises:
        StackError: it does not say so in time.
    """
    deadline = time.monotonic() + within
    async with httpx.AsyncClient(base_url=configuration.ports.url(part), timeout=5.0) as client:
        while True:
            complain()
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/health/ready")).is_success:
                    return
            if time.monotonic() > deadline:
                raise StackError(
                    f"The {part} is not ready within {within:.0f} seconds; the logs are in "
                    f"{configuration.log_file.parent}."
                )
            await asyncio.sleep(_PAUSE)
