"""The processes of the embedded PostgreSQL: how they are started, recognised and ended."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import postgres_launcher

_PROC = Path("/proc")
_HAS_PROC = _PROC.joinpath("self", "fd").is_dir()
_FAST_SHUTDOWN_WITHIN = 20.0
_IMMEDIATE_SHUTDOWN_WITHIN = 5.0


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot do what was asked; the message is one sentence for the user."""


@dataclass(frozen=True)
class Account:
    """A user and group id to run the server as; -1 stands for those of this process."""

    uid: int = -1
    gid: int = -1


def launch_command(account: Account, command: Sequence[str | Path]) -> list[str]:
    """Return the command line that runs `command` as `account` and ends it when this process dies."""
    launcher = postgres_launcher.__file__
    identity = (os.getpid(), account.uid, account.gid)
    return [sys.executable, "-I", "-S", launcher, *map(str, identity), *map(str, command)]


def clean_environment() -> dict[str, str]:
    """Return the environment of the server's processes: nothing of ours, messages in English."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


@contextmanager
def directory_for(directory: Path, account: Account) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield a path by which a child running as `account` finds `directory`, and what it has to inherit."""
    if account.uid == -1 or not _HAS_PROC:
        yield str(directory), ()
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield f"/proc/self/fd/{descriptor}", (descriptor,)
    finally:
        os.close(descriptor)


class Postmaster:
    """The running postmaster and the thread that waits for it.

    Linux sends the parent-death signal when the *thread* that started the process ends. The thread here lives
    exactly as long as the server, so that it does not matter from which thread an instance is started.
    """

    _process: subprocess.Popen[bytes]

    def __init__(self, command: Sequence[str], *, log: int, descriptors: Sequence[int]) -> None:
        started = threading.Event()
        failures: list[OSError] = []

        def run() -> None:
            try:
                self._process = subprocess.Popen(  # noqa: S603
                    command,
                    cwd="/",
                    env=clean_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=descriptors,
                    # An interrupt from the terminal is for the supervisor, which stops the services first.
                    start_new_session=True,
                )
            except OSError as error:
                failures.append(error)
                return
            finally:
                started.set()
            self._process.wait()

        self._waiter = threading.Thread(target=run, name="embedded-postgres", daemon=True)
        self._waiter.start()
        started.wait()
        if failures:
            raise failures[0]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._waiter.is_alive()

    def stop(self) -> None:
        """Ask for a fast shutdown, then for an immediate one, then kill."""
        for wanted, patience in (
            (signal.SIGINT, _FAST_SHUTDOWN_WITHIN),
            (signal.SIGQUIT, _IMMEDIATE_SHUTDOWN_WITHIN),
            (signal.SIGKILL, None),
        ):
            if not self.running:
                return
            self._process.send_signal(wanted)
            self._waiter.join(patience)


def cluster_name(cluster: Path) -> str:
    """Return the name by which the processes that work on the directory `cluster` are recognised.

    PostgreSQL's setting ``cluster_name`` shows in the command line of the postmaster and in the title of
    every other process. Unlike a process's working directory, everybody may read that, root in a container
    too.
    """
    status = cluster.stat()
    return f"quill-{hashlib.sha256(f'{status.st_dev}:{status.st_ino}'.encode()).hexdigest()[:16]}"


def cluster_processes(cluster: Path) -> list[int]:
    """Return the ids of the PostgreSQL processes that work on the directory `cluster`, postmaster first."""
    name, owner = cluster_name(cluster), cluster.stat().st_uid
    found = [pid for pid, uid, command in _processes() if uid == owner and _is_named(command, name)]
    recorded = _recorded_postmaster(cluster)
    return sorted(found, key=lambda pid: (pid != recorded, pid))


def end_orphans(cluster: Path) -> None:
    """Stop what an earlier process left running on `cluster`; for the holder of the directory's lock.

    Raises:
        EmbeddedPostgresError: It could not be stopped.
    """
    for wanted, patience in (
        (signal.SIGINT, _FAST_SHUTDOWN_WITHIN),
        (signal.SIGQUIT, _IMMEDIATE_SHUTDOWN_WITHIN),
        (signal.SIGKILL, _IMMEDIATE_SHUTDOWN_WITHIN),
    ):
        processes = cluster_processes(cluster)
        # The postmaster ends its own processes; they are addressed only when it is gone or does not listen.
        ordered = wanted == signal.SIGINT and processes[:1] == [_recorded_postmaster(cluster)]
        for pid in processes[:1] if ordered else processes:
            _send(pid, wanted)
        if _eventually(lambda: not cluster_processes(cluster), within=patience):
            break
    else:
        raise EmbeddedPostgresError(f"An earlier PostgreSQL still uses {cluster} and could not be stopped.")
    recorded = _recorded_postmaster(cluster)
    if any(pid == recorded and command for pid, _, command in _processes()):
        # The process id is another program's by now, which PostgreSQL would take for a running server.
        cluster.joinpath("postmaster.pid").unlink()


def _is_named(command: str, name: str) -> bool:
    return f"cluster_name={name}" in command.split() or command.startswith(f"postgres: {name}: ")


def _processes() -> Iterator[tuple[int, int, str]]:
    """Yield id, user and command line of every process; what has ended or is hidden has no command line."""
    if not _HAS_PROC:
        columns = ("-o", "pid=", "-o", "uid=", "-o", "command=")
        listed = subprocess.run(  # noqa: S603
            ["/bin/ps", "-axww", *columns], capture_output=True, text=True, check=False
        )
        for line in listed.stdout.splitlines():
            pid, uid, *command = line.split(maxsplit=2)
            yield int(pid), int(uid), "".join(command)
        return
    for process in _PROC.iterdir():
        if process.name.isdecimal():
            try:
                command_line = process.joinpath("cmdline").read_bytes().decode(errors="replace")
                yield int(process.name), process.stat().st_uid, command_line.replace("\0", " ")
            except OSError:
                continue


def _recorded_postmaster(cluster: Path) -> int | None:
    try:
        return int(cluster.joinpath("postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _eventually(condition: Callable[[], bool], *, within: float) -> bool:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _send(pid: int, wanted: signal.Signals) -> None:
    try:
        os.kill(pid, wanted)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise EmbeddedPostgresError(
            f"PostgreSQL is already running on this directory as another user (process {pid})."
        ) from error
