"""Ctrl-C and SIGTERM: the first asks a stack to stop, the second ends it at once."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Final

__all__ = ["finished", "interrupts"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_ENDED_BY_SECOND_INTERRUPT: Final = 130


@contextlib.contextmanager
def interrupts(stop: asyncio.Event) -> Iterator[None]:
    """Sets `stop` at the first signal within the block; the second ends this process, and children go too."""
    loop = asyncio.get_running_loop()

    def told() -> None:
        if stop.is_set():
            os._exit(_ENDED_BY_SECOND_INTERRUPT)
        stop.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, told)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def finished(task: "asyncio.Task[None]", stop: asyncio.Event) -> bool:
    """Whether `task` came to its end before `stop` was set; otherwise it is cancelled."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False
    task.result()
    return True
