"""What the four servers have in common, so that one piece of code starts, watches and stops them all."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from . import ports
from .errors import BackendsError
from .places import Places
from .processes import Process
from .state import State

_INHERITED: Final = ("HOME", "TMPDIR", "TZ")
_SHOWN: Final = 1500


@dataclass(slots=True)
class Setting:
    """What a server is run with.

    Args:
        places: where it keeps its files.
        state: what is known of all of them; whoever changes it keeps it, too.
        environ: the environment of the command.
        say: tells the person at the terminal.
    """

    places: Places
    state: State
    environ: Mapping[str, str]
    say: Callable[[str], None]

    def keep(self) -> None:
        """Writes the state to its file."""
        self.state.write(self.places.running)

    def assign_ports(self, names: Collection[str]) -> None:
        """Sees to it that each of `names` has a port, and that those which are about to listen get theirs.

        A port that another program took meanwhile is exchanged while nothing runs that may know it.

        Raises:
            BackendsError: a port is taken and others rely on it, or none is free.
        """
        taken = self.state.ports
        movable = not any(process.runs for process in self.state.processes.values())
        for name in names:
            port = taken.get(name)
            if port is not None and ports.becomes_free(port):
                continue
            if port is not None and not movable:
                raise BackendsError(
                    f"Port {port} on {ports.HOST}, the one of {name}, is in use by another program."
                )
            taken[name] = ports.choose(name, taken.values())

    def reservable(self, names: Collection[str]) -> None:
        """Gives each of `names` a port of its own without asking whether it is free by now."""
        for name in names:
            if name not in self.state.ports:
                self.state.ports[name] = ports.choose(name, self.state.ports.values())


class Server:
    """One of the servers. Subclasses say how it is had, started, asked for its health and stopped."""

    name: ClassVar[str]
    title: ClassVar[str]
    patience: ClassVar[float]
    """Seconds within which it answers, or something is wrong."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    @property
    def directory(self) -> Path:
        """Its data and its log."""
        return self.setting.places.running / self.name

    @property
    def log(self) -> Path:
        """Its output."""
        return self.directory / "server.log"

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return self.setting.state.ports[self.name]

    @property
    def process(self) -> Process | None:
        """Its process, if that runs."""
        return self.setting.state.running(self.name)

    def listens(self) -> tuple[str, ...]:
        """Names of the ports that it takes when it starts."""
        return (self.name,)

    def needs(self) -> tuple[str, ...]:
        """Names of the servers that have to run before it."""
        return ()

    def packages(self) -> tuple[str, ...]:
        """Packages of the distribution that are missing."""
        return ()

    def fetch(self) -> None:
        """Gets, checks and builds what does not come as a package."""

    def version(self) -> str:
        """What is installed."""
        return "unknown"

    def start(self) -> None:
        """Starts it; it may not answer yet. Its process is in the state afterwards."""
        raise BackendsError(f"{self.title} cannot be started.")

    def answers(self) -> bool:
        """Whether it does its work."""
        return False

    def stop(self) -> bool:
        """Ends it in order; whether it is gone."""
        return True

    def kill(self) -> None:
        """Ends it at once, as a crash would."""

    def directories(self) -> None:
        """Makes its directory."""
        self.directory.mkdir(mode=0o700, exist_ok=True)

    def started(self, process: Process) -> None:
        """Keeps the process that was just started."""
        self.setting.state.processes[self.name] = process
        self.setting.state.versions[self.name] = self.version()
        self.setting.keep()

    def log_end(self) -> str:
        """The end of its log, for the explanation of a failure."""
        try:
            return self.log.read_text(errors="replace")[-_SHOWN:].strip()
        except OSError:
            return ""


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a server inherits: no setting of anybody's that would change what it is."""
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": os.devnull,
        **{name: environ[name] for name in _INHERITED if name in environ},
    }
