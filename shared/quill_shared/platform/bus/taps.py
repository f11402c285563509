"""How a tap is served, whatever the transport: its failures are its own."""

import asyncio
import logging

from .port import Message, Tap
from .reporting import about

logger = logging.getLogger(__name__)

_LONGEST_PAUSE = 10.0


async def serve(tap: Tap, messages: asyncio.Queue[Message]) -> None:
    """Hands `messages` to `tap` one after the other, until cancelled.

    A failure is logged by type and forgotten, as nothing is redelivered to a tap.
    """
    while True:
        message = await messages.get()
        try:
            await tap.deliver(message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next message must still be offered
            logger.warning("tap failed", extra=about(message, "tap") | {"error_type": type(error).__name__})


async def announce(tap: Tap) -> None:
    """Awaits `tap.connected()` until it succeeds, so that nothing missed stays missed."""
    pause = 0.1
    while True:
        try:
            await tap.connected()
        except Exception as error:  # noqa: BLE001 - its owner may be away; asked again shortly
            logger.warning("tap not caught up", extra={"error_type": type(error).__name__})
        else:
            return
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
