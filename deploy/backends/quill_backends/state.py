"""What is kept about the backends between two commands: ports, passwords, processes. For their owner only."""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .errors import BackendsError
from .processes import Process

FILE: Final = "state.json"
CREDENTIALS: Final = (
    "postgres",
    "hapi_database",
    "ehrbase_database",
    "ehrbase_database_owner",
    "ehrbase",
    "ehrbase_admin",
    "rabbitmq",
)
_FORMAT: Final = 1
_LOCK_WITHIN: Final = 900.0


@dataclass(slots=True)
class State:
    """The contents of the state file.

    Args:
        credentials: generated passwords, by what they open.
        ports: TCP ports on 127.0.0.1, by what listens there.
        processes: what was started last, by name.
        versions: of the servers, as found when they were started.
        prepared: the databases that were set up.
        hapi_database: what HAPI was started on last.
    """

    credentials: dict[str, str] = field(repr=False)
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    prepared: set[str] = field(default_factory=set)
    hapi_database: str = "postgresql"

    @classmethod
    def fresh(cls) -> "State":
        """A state with new passwords and nothing else."""
        return cls(credentials={name: secrets.token_urlsafe(24) for name in CREDENTIALS})

    @classmethod
    def read(cls, directory: Path) -> "State | None":
        """The state kept in `directory`, or None if there is none.

        Raises:
            BackendsError: the file cannot be read or was written by another version.
        """
        file = directory / FILE
        try:
            return cls._parse(json.loads(file.read_text()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BackendsError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}.") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BackendsError(
                f"{file} is not what this version writes: stop what it names and delete {directory}."
            ) from None

    def write(self, directory: Path) -> None:
        """Keeps the state in `directory`, whole or not at all, readable by this user only."""
        document = {
            "format": _FORMAT,
            "credentials": self.credentials,
            "ports": self.ports,
            "processes": {name: process.kept() for name, process in self.processes.items()},
            "versions": self.versions,
            "prepared": sorted(self.prepared),
            "hapi_database": self.hapi_database,
        }
        replacement = directory / f"{FILE}.{os.getpid()}.new"
        replacement.unlink(missing_ok=True)
        descriptor = os.open(replacement, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file, indent=2, sort_keys=True)
            file.flush()
            os.fsync(descriptor)
        replacement.rename(directory / FILE)

    def running(self, name: str) -> Process | None:
        """The process of `name`, if it runs."""
        process = self.processes.get(name)
        return process if process is not None and process.runs else None

    @classmethod
    def _parse(cls, document: Mapping[str, Any]) -> "State":
        if document["format"] != _FORMAT:
            raise ValueError("another format")
        credentials = {name: str(document["credentials"][name]) for name in CREDENTIALS}
        return cls(
            credentials=credentials,
            ports={str(name): int(port) for name, port in document["ports"].items()},
            processes={str(name): Process.parse(kept) for name, kept in document["processes"].items()},
            versions={str(name): str(version) for name, version in document["versions"].items()},
            prepared=set(document["prepared"]),
            hapi_database=str(document["hapi_database"]),
        )


@contextmanager
def exclusive(directory: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Keeps other commands on `directory` waiting for the length of the block.

    Raises:
        BackendsError: another command took longer than one may.
    """
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_WITHIN
        told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    say("Another command is busy with the backends; waiting for it ...")
                    told = True
                if time.monotonic() > deadline:
                    raise BackendsError(
                        f"Another command has been busy in {directory} for too long."
                    ) from None
                time.sleep(0.2)
        yield
    finally:
        os.close(descriptor)
