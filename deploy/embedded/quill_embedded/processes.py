"""Processes of ours that are to run until told to stop: what ends by itself is started again."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .console import Console

__all__ = ["Part", "Processes"]

_LONGEST_PAUSE: Final = 15.0
_STEADY_AFTER: Final = 30.0
_LARGEST_LOG: Final = 10 * 1024 * 1024
_SHOWN: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A process to run.

    Args:
        name: what it is called.
        command: a module and its arguments.
        environment: all of it.
        log: the file of its output; None for that of this process.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    log: Path | None


class Processes:
    """Starts parts and watches over them.

    However this process ends, they end too (`attended`). They are in sessions of their own, as an interrupt
    from the terminal is for this process, which stops them in order.

    Args:
        console: told when something ends that should not.
        stop_within: seconds that a part has for an orderly end.
    """

    def __init__(self, console: Console, *, stop_within: float) -> None:
        self._console = console
        self._stop_within = stop_within
        self._lifeline, self._held = os.pipe()
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._stopping: set[str] = set()
        self._ended: dict[str, str] = {}

    @property
    def ended(self) -> Mapping[str, str]:
        """What ended by itself so far, and how it did last."""
        return self._ended

    @property
    def names(self) -> list[str]:
        """Everything that was started."""
        return list(self._keeping)

    def start(self, part: Part) -> None:
        """Starts `part`; again, and again, should it end by itself."""
        self._keeping[part.name] = asyncio.create_task(self._keep(part), name=part.name)

    async def stop(self, names: Sequence[str]) -> None:
        """Lets the named parts finish what they have begun, all at once, and waits for their end."""
        self._stopping.update(names)
        await asyncio.gather(*(self._stop(name) for name in names if name in self._keeping))

    def close(self) -> None:
        """Ends at once whatever is left."""
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.kill()
        for descriptor in (self._lifeline, self._held):
            os.close(descriptor)

    async def _stop(self, name: str) -> None:
        process = self._running.get(name)
        if process is not None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(self._stop_within):
                    await process.wait()
            except TimeoutError:
                self._console.warn(f"{name} does not end within {self._stop_within:.0f} seconds; killed.")
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._keeping[name].cancel()
        await asyncio.gather(self._keeping[name], return_exceptions=True)

    async def _keep(self, part: Part) -> None:
        pause = 0.0
        while part.name not in self._stopping:
            began = time.monotonic()
            process = await self._spawn(part)
            self._running[part.name] = process
            code = await process.wait()
            if part.name in self._stopping:
                return
            how = _how(code)
            self._ended[part.name] = f"{how}{_last_words(part.log)}"
            self._console.warn(f"{part.name} ended unexpectedly ({how}); starting again.")
            pause = 0.0 if time.monotonic() - began > _STEADY_AFTER else min(pause * 2 + 0.5, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _spawn(self, part: Part) -> asyncio.subprocess.Process:
        output = None
        if part.log is not None:
            if part.log.exists() and part.log.stat().st_size > _LARGEST_LOG:
                part.log.rename(part.log.with_suffix(".log.1"))
            output = os.open(part.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "quill_embedded.attended",
                *part.command,
                env=part.environment,
                stdin=self._lifeline,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            if output is not None:
                os.close(output)


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _last_words(log: Path | None) -> str:
    if log is None:
        return ""
    try:
        lines = log.read_text(errors="replace")[-_SHOWN:].splitlines()
    except OSError:
        return ""
    return f": {lines[-1]}" if lines else ""
