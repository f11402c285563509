"""A PostgreSQL server of one's own, run from the binaries of a wheel: nothing to install, nothing shared.

The directory given to :class:`EmbeddedPostgres` holds

====================== ==========================================================================
``cluster``            PostgreSQL's data directory, owned by the account the server runs as
``superuser-password`` the generated password of the role ``postgres``, readable by its owner only
``server.log``         the server's log; statements and values are kept out of it
``lock``               locked while an instance uses the directory
====================== ==========================================================================

The server listens on 127.0.0.1 only, has no Unix socket, and takes nobody without a SCRAM password.

It dies with the process that started it: normally by :meth:`EmbeddedPostgres.stop`, after a ``kill -9`` by
the parent-death signal on Linux, and elsewhere at the latest when the next instance finds the orphan.

When root starts it, the server runs as an unprivileged account. The cluster then reaches the server as an
open directory, ``/proc/self/fd/N``, so that it works below directories which that account may not enter.
"""

import errno
import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from .postgres_host import reachable_installation, server_account
from .postgres_process import (
    Account,
    EmbeddedPostgresError,
    Postmaster,
    clean_environment,
    cluster_name,
    directory_for,
    end_orphans,
    launch_command,
)

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

_HOST = "127.0.0.1"
_MAJOR_VERSION = "18"
_SUPERUSER = "postgres"
_READY_WITHIN = 60.0
_LARGEST_LOG = 8 * 1024 * 1024

# Only 127.0.0.1, only with a password; no line for sockets or replication.
_HOST_BASED_AUTHENTICATION = f"host all all {_HOST}/32 scram-sha-256\n"

_SETTINGS = {
    "listen_addresses": _HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Errors quote statements and values, and those may be about patients; the services report theirs.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


class EmbeddedPostgres:
    """A PostgreSQL server that belongs to this process.

    Example::

        with EmbeddedPostgres(Path(".quill/postgres"), port=8083) as postgres:
            connection = await asyncpg.connect(postgres.admin_dsn())

    Args:
        data_dir: The directory of this server; made if it does not exist.
        port: The TCP port on 127.0.0.1.
        max_connections: The server's limit.
        durable: False trades the safety of the data for speed; for tests.
    """

    def __init__(
        self, data_dir: Path, *, port: int, max_connections: int = 100, durable: bool = True
    ) -> None:
        self._directory = data_dir.absolute()
        self._cluster = self._directory / "cluster"
        self._log = self._directory / "server.log"
        self._password_file = self._directory / "superuser-password"
        self._port = port
        self._max_connections = max_connections
        self._durable = durable
        self._lock: int | None = None
        self._server: Postmaster | None = None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1."""
        return self._port

    @property
    def pid(self) -> int | None:
        """The process id of the running server, or None."""
        return self._server.pid if self._server is not None and self._server.running else None

    def admin_dsn(self, database: str = "postgres") -> str:
        """Return the ``postgresql://`` URL of `database` for the superuser.

        Raises:
            EmbeddedPostgresError: The server was never started, or its password cannot be read.
        """
        try:
            password = self._password_file.read_text().strip()
        except OSError as error:
            raise EmbeddedPostgresError(
                f"The database password in {self._password_file} cannot be read: {_reason(error)}."
            ) from error
        return f"postgresql://{_SUPERUSER}:{quote(password)}@{_HOST}:{self._port}/{quote(database, safe='')}"

    def start(self) -> None:
        """Start the server and return when it takes connections; the first time, create its cluster.

        A server that an earlier process left behind in the same directory is stopped first.

        Raises:
            EmbeddedPostgresError: The directory is in use or cannot be written, the port is taken, or
                PostgreSQL cannot run here.
        """
        try:
            self._acquire()
            try:
                self._start()
            except BaseException:
                self.stop()
                raise
        except OSError as error:
            raise EmbeddedPostgresError(
                f"PostgreSQL cannot use {error.filename or self._directory}: {_reason(error)}."
            ) from error

    def stop(self) -> None:
        """Stop the server, letting transactions in progress fail; harmless if it is not running."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _acquire(self) -> None:
        if self._lock is not None:
            raise EmbeddedPostgresError(f"The database in {self._directory} is already running.")
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._open("lock", os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise EmbeddedPostgresError(
                f"The database in {self._directory} is in use by another running Quill; stop that one first."
            ) from error
        self._lock = lock

    def _start(self) -> None:
        account = server_account(self._cluster)
        installation = reachable_installation(account)
        if self._cluster.exists():
            self._check_version()
            end_orphans(self._cluster)
        _check_port(self._port)
        if not self._cluster.exists():
            self._create_cluster(installation, account)
        self._rotate_log()
        settings = {
            **_SETTINGS,
            **({} if self._durable else _NOT_DURABLE),
            "cluster_name": cluster_name(self._cluster),
            "port": str(self._port),
            "max_connections": str(self._max_connections),
        }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        log = self._open("server.log", os.O_WRONLY | os.O_APPEND)
        try:
            logged = os.fstat(log).st_size
            with directory_for(self._cluster, account) as (cluster, descriptors):
                command: list[str | Path] = [installation / "bin" / "postgres", "-D", cluster, *options]
                self._server = Postmaster(launch_command(account, command), log=log, descriptors=descriptors)
        finally:
            os.close(log)
        self._await_ready(self._server, logged)

    def _check_version(self) -> None:
        version = self._cluster.joinpath("PG_VERSION").read_text().strip()
        if version != _MAJOR_VERSION:
            raise EmbeddedPostgresError(
                f"{self._cluster} was made by PostgreSQL {version}, and this is PostgreSQL {_MAJOR_VERSION}: "
                "dump the data with the old version and load it into a new directory."
            )

    def _create_cluster(self, installation: Path, account: Account) -> None:
        # The cluster appears under its name only when it is complete: a start that was cut short is repeated.
        staging = self._directory / "staging"
        if staging.exists():
            shutil.rmtree(staging)
        staging.mkdir(mode=0o700)
        password = secrets.token_urlsafe(32)
        handed_over = staging / "password"
        handed_over.touch(mode=0o600)
        handed_over.write_text(password + "\n")
        if account.uid != -1:
            os.chown(handed_over, account.uid, account.gid)
            os.chown(staging, account.uid, account.gid)
        with directory_for(staging, account) as (directory, descriptors):
            options = [
                *("-D", f"{directory}/cluster", f"--username={_SUPERUSER}", f"--pwfile={directory}/password"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *(() if self._durable else ("--no-sync",)),
            ]
            result = subprocess.run(  # noqa: S603
                launch_command(account, [installation / "bin" / "initdb", *options]),
                cwd="/",
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                pass_fds=descriptors,
                start_new_session=True,
                check=False,
            )
        if result.returncode != 0:
            reason = (result.stderr or result.stdout).strip().split("\n", 1)[0]
            raise EmbeddedPostgresError(f"PostgreSQL could not create a database in {staging}: {reason}.")
        staging.joinpath("cluster", "pg_hba.conf").write_text(_HOST_BASED_AUTHENTICATION)
        self._password_file.unlink(missing_ok=True)
        kept = self._open("superuser-password", os.O_WRONLY)
        with os.fdopen(kept, "w") as file:
            file.write(password + "\n")
            file.flush()
            os.fsync(kept)
        staging.joinpath("cluster").rename(self._cluster)
        shutil.rmtree(staging)

    def _rotate_log(self) -> None:
        if self._log.exists() and self._log.stat().st_size > _LARGEST_LOG:
            self._log.rename(self._log.with_suffix(".log.1"))

    def _open(self, name: str, flags: int) -> int:
        descriptor = os.open(
            self._directory / name, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode=0o600
        )
        if os.geteuid() == 0:
            # What root makes in somebody's directory stays usable to them without root.
            owner = self._directory.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return descriptor

    def _await_ready(self, server: Postmaster, logged: int) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        while not self._is_ready(server):
            if not server.running:
                raise EmbeddedPostgresError(self._explanation(logged))
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL was not ready within {_READY_WITHIN:.0f} seconds; its log is {self._log}."
                )
            time.sleep(0.02)

    def _is_ready(self, server: Postmaster) -> bool:
        # The eighth line of postmaster.pid is the server's state, as pg_ctl reads it.
        try:
            lines = self._cluster.joinpath("postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(server.pid) and lines[7].strip() == "ready"

    def _explanation(self, logged: int) -> str:
        with self._log.open(errors="replace") as log:
            log.seek(logged)
            lines = log.read().splitlines()
        if any("Address already in use" in line for line in lines):
            return _taken(self._port)
        fatal = [line.partition("FATAL:")[2].strip() for line in lines if "FATAL:" in line]
        reason = fatal[-1] if fatal else "it ended without a message"
        return f"PostgreSQL did not start: {reason} (its log is {self._log})."


def _check_port(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise EmbeddedPostgresError(_taken(port)) from error
            raise EmbeddedPostgresError(
                f"PostgreSQL cannot listen on port {port}: {_reason(error)}."
            ) from error


def _taken(port: int) -> str:
    return f"Port {port} on {_HOST}, wanted for PostgreSQL, is in use by another program."


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
