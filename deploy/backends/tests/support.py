"""Types of the fixtures."""

from typing import Protocol

from quill_backends.processes import Process


class Spawn(Protocol):
    """Starts a process that is gone after the test."""

    def __call__(self, *command: str) -> Process: ...
