"""Processes that outlive the command that started them, and how they are known again.

A process id alone is no name: after the process has ended, the number is given to another. So the moment of
its start is kept beside it, and the boot of the machine that both belong to. Each server runs in a session of
its own; helpers that lost the session's leader are known by a token in their environment.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from . import detach
from .errors import BackendsError

TOKEN_VARIABLE: Final = "QUILL_BACKENDS_TOKEN"  # noqa: S105 - a variable's name
_PROC: Final = Path("/proc")
_BOOT: Final = _PROC / "sys" / "kernel" / "random" / "boot_id"
_GONE: Final = frozenset("ZX")


@dataclass(frozen=True, slots=True)
class Account:
    """A user and group id to run a server as; -1 stands for those of this process."""

    uid: int = -1
    gid: int = -1


@dataclass(frozen=True, slots=True)
class Process:
    """A server's process, as it is kept in the state file.

    Args:
        pid: its id, also that of its session.
        started: when, in clock ticks since the boot.
        boot: the boot during which that was.
        token: what it has in its environment.
    """

    pid: int
    started: int
    boot: str
    token: str

    @classmethod
    def parse(cls, kept: Mapping[str, Any]) -> "Process":
        """What `kept` describes.

        Raises:
            KeyError, TypeError, ValueError: it describes no process.
        """
        return cls(int(kept["pid"]), int(kept["started"]), str(kept["boot"]), str(kept["token"]))

    def kept(self) -> dict[str, Any]:
        """The JSON object that :meth:`parse` reads."""
        return asdict(self)

    @property
    def runs(self) -> bool:
        """Whether it is there, and is the same process as then."""
        status = _status(self.pid)
        return (
            status is not None
            and status.state not in _GONE
            and status.started == self.started
            and self.boot == boot()
        )

    def members(self) -> list[int]:
        """Ids of the processes of its session, itself first, leaving out whatever is not certainly ours."""
        if self.boot != boot():
            return []
        leader = _status(self.pid)
        if leader is not None and leader.started != self.started:
            return []
        found = []
        for pid in _process_ids():
            status = _status(pid)
            if status is None or status.session != self.pid or status.state in _GONE:
                continue
            if leader is not None or _has_token(pid, self.token):
                found.append(pid)
        return sorted(found, key=lambda pid: (pid != self.pid, pid))

    def end(self, *steps: tuple[signal.Signals, float], leader_only: bool = False) -> bool:
        """Sends one signal after the other, each with seconds to obey, until nothing is left.

        Args:
            steps: signals with the patience each deserves.
            leader_only: whether the server is asked alone, as it ends its own helpers; SIGKILL goes to all.

        Returns:
            Whether everything is gone.
        """
        for wanted, patience in steps:
            members = self.members()
            alone = leader_only and wanted != signal.SIGKILL and self.runs
            for pid in members[:1] if alone else members:
                _send(pid, wanted)
            deadline = time.monotonic() + patience
            while self.members() and time.monotonic() < deadline:
                time.sleep(0.05)
            if not self.members():
                return True
        return not self.members()


def spawn(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    log: Path,
    account: Account | None = None,
    descriptors: Sequence[int] = (),
) -> Process:
    """Start a server in a session of its own, its output going to the file `log`.

    The output of the start before is kept beside it with the suffix `.1`.

    Raises:
        BackendsError: it cannot be started.
    """
    token = secrets.token_urlsafe(16)
    account = account or Account()
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    identity = (account.uid, account.gid, output)
    try:
        started = subprocess.run(  # noqa: S603 - our own arguments
            [sys.executable, "-I", "-S", detach.__file__, *map(str, identity), *map(str, command)],
            cwd="/",
            env={**environment, TOKEN_VARIABLE: token},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            pass_fds=(output, *descriptors),
            check=False,
        )
    finally:
        os.close(output)
    if started.returncode != 0:
        raise BackendsError(f"{command[0]} could not be started: {started.stderr.strip()[-300:]}.")
    pid = int(started.stdout)
    status = _status(pid)
    return Process(pid, status.started if status else -1, boot(), token)


def boot() -> str:
    """Return what names the present boot of this machine.

    Raises:
        BackendsError: this is not Linux.
    """
    try:
        return _BOOT.read_text().strip()
    except OSError:
        raise BackendsError(
            "The real servers are run natively on Linux only; elsewhere use Docker."
        ) from None


def resident_bytes(process: Process) -> int:
    """Return the memory that the processes of a session hold together; shared pages count in each of them."""
    pages = 0
    for pid in process.members():
        try:
            pages += int((_PROC / str(pid) / "statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class _Status:
    state: str
    session: int
    started: int


def _status(pid: int) -> _Status | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses, which may itself hold any character.
    fields = text.rpartition(")")[2].split()
    return _Status(state=fields[0], session=int(fields[3]), started=int(fields[19]))


def _process_ids() -> list[int]:
    return [int(entry) for entry in os.listdir(_PROC) if entry.isdecimal()]


def _has_token(pid: int, token: str) -> bool:
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return f"{TOKEN_VARIABLE}={token}".encode() in environment.split(b"\0")


def _send(pid: int, wanted: signal.Signals) -> None:
    try:
        os.kill(pid, wanted)
    except ProcessLookupError:
        return
    except PermissionError:
        raise BackendsError(
            f"Process {pid} of the backends belongs to another user: stop it as that user."
        ) from None
