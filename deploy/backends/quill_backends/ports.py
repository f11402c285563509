"""Ports on 127.0.0.1, below the range from which the system serves outgoing connections, so that a server
which is stopped for a while finds its port free again."""

import errno
import socket
import time
from collections.abc import Collection
from typing import Final

from .errors import BackendsError

HOST: Final = "127.0.0.1"
PREFERRED: Final = {
    "hapi": 18081,
    "ehrbase": 18082,
    "postgres": 18083,
    "rabbitmq": 18084,
    "rabbitmq distribution": 18085,
    "epmd": 18086,
}
_STEP: Final = 10
_HIGHEST: Final = 32000


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def becomes_free(port: int, within: float = 3.0) -> bool:
    """Whether a server could listen on `port` soon: a killed one holds it until all its threads ended."""
    deadline = time.monotonic() + within
    while not is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def choose(name: str, taken: Collection[int]) -> int:
    """Return a free port for `name` that is not among `taken`: the preferred one if possible.

    Raises:
        BackendsError: there is none.
    """
    for port in range(PREFERRED[name], _HIGHEST, _STEP):
        if port not in taken and is_free(port):
            return port
    raise BackendsError(f"No free port between {PREFERRED[name]} and {_HIGHEST} was found for {name}.")
