"""Where everything listens on this machine. One number, `QUILL_PORT`, moves all of it."""

import errno
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from .errors import StackError

HOST: Final = "127.0.0.1"
"""The demo accounts are for the person at this machine, so that nothing listens on other interfaces."""

DEFAULT_BASE: Final = 8000

_OFFSETS: Final = {
    "gateway": 0,
    "FHIR": 81,
    "openEHR": 82,
    "PostgreSQL": 83,
    # With real servers the workers are processes of their own, which answer for their health only.
    "auth worker": 91,
    "patients worker": 92,
    "letters worker": 93,
    "messaging worker": 94,
    "orgs worker": 95,
    "auth": 101,
    "patients": 102,
    "letters": 103,
    "messaging": 104,
    "orgs": 105,
}
_HIGHEST_BASE: Final = 65535 - max(_OFFSETS.values())
_BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True)
class Ports:
    """The port of every part, counted from the gateway's.

    Example:
        >>> Ports(8000).of("auth")
        8101
    """

    base: int = DEFAULT_BASE

    @classmethod
    def parse(cls, text: str) -> "Ports":
        """The ports that `text`, the value of `QUILL_PORT`, asks for.

        Raises:
            StackError: it is not a number, or leaves no room for the others.
        """
        base = int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else 0
        if not 1 <= base <= _HIGHEST_BASE:
            raise StackError(f"QUILL_PORT must be a number from 1 to {_HIGHEST_BASE}, not {text!r}.")
        return cls(base)

    def of(self, part: str) -> int:
        """The port of `part`."""
        return self.base + _OFFSETS[part]

    def url(self, part: str) -> str:
        """The root of `part` over HTTP."""
        return f"http://{HOST}:{self.of(part)}"

    @contextmanager
    def listening(
        self, parts: tuple[str, ...], *, patience: float = 0.0
    ) -> Iterator[Mapping[str, socket.socket]]:
        """Takes the ports of `parts` at once, so that nobody else gets one of them while we start.

        Args:
            parts: what is to listen in this process.
            patience: seconds to wait for a port that an earlier process is just giving up.

        Raises:
            StackError: a port is taken; it names the port and what it was wanted for.
        """
        with ExitStack() as stack:
            yield {
                part: stack.enter_context(_listener(part, self.of(part), patience=patience)) for part in parts
            }

    def require_free(self, parts: tuple[str, ...], *, patience: float = 0.0) -> None:
        """Looks whether the ports of `parts`, which other processes will take, are free.

        Raises:
            StackError: as `listening`.
        """
        for part in parts:
            _listener(part, self.of(part), patience=patience).close()


def _listener(part: str, port: int, *, patience: float) -> socket.socket:
    deadline = time.monotonic() + patience
    while True:
        try:
            return socket.create_server((HOST, port), backlog=_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            raise StackError(refusal(part, port, error)) from None


def refusal(part: str, port: int, error: OSError) -> str:
    """One sentence that says why `part` does not get its port."""
    if error.errno != errno.EADDRINUSE:
        reason = (error.strerror or str(error)).lower()
        return f"Quill cannot listen on port {port} of {HOST}, wanted for {part}: {reason}."
    return (
        f"Port {port} on {HOST}, wanted for {part}, is in use by another program; "
        "QUILL_PORT moves all ports of Quill, as in `QUILL_PORT=9000 make run`."
    )
