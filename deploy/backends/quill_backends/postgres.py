"""The PostgreSQL of the real servers: the distribution's own, with a cluster of ours.

EHRbase needs the extension uuid-ossp and a server built with ICU, which the wheels for the embedded one lack.

PostgreSQL refuses to run as root, so root starts it as the account `postgres`. The cluster then reaches it as
an open directory, `/proc/self/fd/N`, since that account may enter neither root's home nor the cache in it.
"""

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

from .errors import BackendsError
from .places import DEPLOY
from .ports import HOST
from .processes import Account, spawn
from .server import Server, clean_environment

INSTALLED: Final = Path("/usr/lib/postgresql")
SUPERUSER: Final = "postgres"
HAPI_DATABASE: Final = "quill_fhir"
EHRBASE_DATABASE: Final = "ehrbase"
EHRBASE_OWNER: Final = "ehrbase"
EHRBASE_ROLE: Final = "ehrbase_restricted"

_OLDEST: Final = 15
_HELPERS_END_WITHIN: Final = 15.0
_EXTENSIONS: Final = Path("/usr/share/postgresql")
_EHRBASE_SCRIPT: Final = DEPLOY / "ehrbase" / "init" / "10-ehrbase.sh"
_SETTINGS: Final = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "1GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Errors quote statements and values, and those may be about patients.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
_FAST: Final = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))


class Postgres(Server):
    """The database server of HAPI and EHRbase."""

    name: ClassVar[str] = "postgres"
    title: ClassVar[str] = "PostgreSQL"
    patience: ClassVar[float] = 60.0

    @property
    def cluster(self) -> Path:
        """PostgreSQL's data directory."""
        return self.directory / "cluster"

    def packages(self) -> tuple[str, ...]:
        return () if self._found() else ("postgresql", "postgresql-contrib")

    def version(self) -> str:
        said = subprocess.run(  # noqa: S603
            [self.binaries / "postgres", "--version"], capture_output=True, text=True, check=False
        ).stdout
        return said.split()[2] if len(said.split()) > 2 else "unknown"

    @property
    def binaries(self) -> Path:
        """The directory of the programs: of the cluster's version, or the newest.

        Raises:
            BackendsError: there is none.
        """
        binaries = self._found()
        if binaries is None:
            wanted = f"version {self._made_by()}" if self.cluster.exists() else f"version {_OLDEST} or newer"
            raise BackendsError(f"PostgreSQL of {wanted} with its contrib extensions is not installed.")
        return binaries

    def start(self) -> None:
        account = self._account()
        if not self.cluster.exists():
            self._create(account)
        self._clear_remains()
        settings = {**_SETTINGS, "cluster_name": self._cluster_name(), "port": str(self.port)}
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        with _reachable(self.cluster, account) as (cluster, descriptors):
            process = spawn(
                [self.binaries / "postgres", "-D", cluster, *options],
                environment=_environment(),
                log=self.log,
                account=account,
                descriptors=descriptors,
            )
        self.started(process)

    def answers(self) -> bool:
        asked: list[str | Path] = [
            self.binaries / "pg_isready",
            "-q",
            "-t",
            "2",
            "-h",
            HOST,
            "-p",
            str(self.port),
        ]
        return subprocess.run(asked, env=_environment(), check=False).returncode == 0  # noqa: S603

    def stop(self) -> bool:
        process = self.setting.state.processes.get(self.name)
        return process is None or process.end(*_FAST, leader_only=True)

    def kill(self) -> None:
        process = self.setting.state.processes.get(self.name)
        if process is not None:
            process.end((signal.SIGKILL, 5.0))
            self._await_end_of_helpers()

    def prepare_hapi(self) -> None:
        """Makes HAPI's database and its role, unless they are there."""
        password = self.setting.state.credentials["hapi_database"]
        self._sql(  # our own names, and a password of letters, digits, - and _
            f"SELECT 'CREATE ROLE {HAPI_DATABASE} LOGIN' WHERE NOT EXISTS "  # noqa: S608
            f"(SELECT FROM pg_roles WHERE rolname = '{HAPI_DATABASE}') \\gexec\n"
            f"ALTER ROLE {HAPI_DATABASE} PASSWORD '{password}';\n"
            f"SELECT 'CREATE DATABASE {HAPI_DATABASE} OWNER {HAPI_DATABASE}' WHERE NOT EXISTS "
            f"(SELECT FROM pg_database WHERE datname = '{HAPI_DATABASE}') \\gexec\n"
            f"REVOKE ALL ON DATABASE {HAPI_DATABASE} FROM PUBLIC;\n"
        )

    def prepare_ehrbase(self) -> None:
        """Runs the script that the containers run, once; what an interrupted run left is taken away first."""
        state = self.setting.state
        if EHRBASE_DATABASE in state.prepared:
            return
        self._sql(
            f"DROP DATABASE IF EXISTS {EHRBASE_DATABASE};\n"
            f"DROP ROLE IF EXISTS {EHRBASE_OWNER};\nDROP ROLE IF EXISTS {EHRBASE_ROLE};\n"
        )
        self._run(
            ["/bin/sh", str(_EHRBASE_SCRIPT)],
            {
                "POSTGRES_USER": SUPERUSER,
                "QUILL_EHRBASE_DB_OWNER_PASSWORD": state.credentials["ehrbase_database_owner"],
                "QUILL_EHRBASE_DB_PASSWORD": state.credentials["ehrbase_database"],
            },
        )
        state.prepared.add(EHRBASE_DATABASE)
        self.setting.keep()

    def _sql(self, text: str) -> None:
        self._run(
            [
                str(self.binaries / "psql"),
                "-X",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                SUPERUSER,
                "-d",
                "postgres",
            ],
            {},
            text,
        )

    def _run(self, command: list[str], extra: Mapping[str, str], text: str = "") -> None:
        environment = {
            **_environment(),
            "PATH": f"{self.binaries}:/usr/bin:/bin",
            "PGHOST": HOST,
            "PGPORT": str(self.port),
            "PGPASSWORD": self.setting.state.credentials["postgres"],
            "PGOPTIONS": "-c client_min_messages=warning",
            **extra,
        }
        done = subprocess.run(  # noqa: S603 - our own arguments
            command, input=text, env=environment, cwd="/", capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise BackendsError(f"A database could not be set up: {done.stderr.strip().splitlines()[-1:]}")

    def _found(self) -> Path | None:
        versions = sorted(
            (int(entry.name) for entry in INSTALLED.glob("*") if entry.name.isdecimal()), reverse=True
        )
        if self.cluster.exists():
            versions = [version for version in versions if version == self._made_by()]
        for version in versions:
            extension = _EXTENSIONS / str(version) / "extension" / "uuid-ossp.control"
            binaries = INSTALLED / str(version) / "bin"
            if version >= _OLDEST and extension.exists() and os.access(binaries / "initdb", os.X_OK):
                return binaries
        return None

    def _made_by(self) -> int:
        return int(self.cluster.joinpath("PG_VERSION").read_text())

    def _account(self) -> Account:
        if os.geteuid() != 0:
            return Account()
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return Account(entry.pw_uid, entry.pw_gid)
        raise BackendsError(
            "PostgreSQL refuses to run as root, and there is no account postgres to run it as."
        )

    def _create(self, account: Account) -> None:
        # The cluster appears under its name only when it is complete: a start that was cut short is repeated.
        staging = self.directory / "staging"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        handed_over = staging / "password"
        handed_over.touch(mode=0o600)
        handed_over.write_text(self.setting.state.credentials["postgres"] + "\n")
        if account.uid != -1:
            os.chown(handed_over, account.uid, account.gid)
            os.chown(staging, account.uid, account.gid)
        with _reachable(staging, account) as (directory, descriptors):
            options = [
                "-D",
                f"{directory}/cluster",
                f"--username={SUPERUSER}",
                f"--pwfile={directory}/password",
            ]
            done = subprocess.run(  # noqa: S603 - our own arguments
                [
                    self.binaries / "initdb",
                    *options,
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                ],
                cwd="/",
                env=_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                pass_fds=descriptors,
                user=account.uid if account.uid != -1 else None,
                group=account.gid if account.gid != -1 else None,
                extra_groups=[account.gid] if account.gid != -1 else None,
                check=False,
            )
        if done.returncode != 0:
            reason = (done.stderr or done.stdout).strip().split("\n", 1)[0]
            raise BackendsError(f"PostgreSQL could not create a database in {staging}: {reason}.")
        staging.joinpath("cluster", "pg_hba.conf").write_text(f"host all all {HOST}/32 scram-sha-256\n")
        staging.joinpath("cluster").rename(self.cluster)
        shutil.rmtree(staging)

    def _cluster_name(self) -> str:
        status = self.cluster.stat()
        return f"quill-{hashlib.sha256(f'{status.st_dev}:{status.st_ino}'.encode()).hexdigest()[:16]}"

    def _clear_remains(self) -> None:
        self._await_end_of_helpers()
        argument = f"cluster_name={self._cluster_name()}".encode()
        if any(argument in line.split(b"\0") for line in _command_lines()):
            raise BackendsError(
                f"Another PostgreSQL, which was not started by this command, uses {self.cluster}."
            )
        # Its process has ended, yet the id may be in use again, or not be collected by the system so far:
        # PostgreSQL would take either for a running server.
        self.cluster.joinpath("postmaster.pid").unlink(missing_ok=True)

    def _await_end_of_helpers(self) -> None:
        # After a crash of the postmaster its processes notice and end by themselves, each in a session of its
        # own. The cluster's name is in the title of every one of them.
        deadline = time.monotonic() + _HELPERS_END_WITHIN
        title = f"postgres: {self._cluster_name()}: ".encode()
        while any(line.startswith(title) for line in _command_lines()):
            if time.monotonic() > deadline:
                raise BackendsError(f"An earlier PostgreSQL still uses {self.cluster}.")
            time.sleep(0.05)


def _command_lines() -> Iterator[bytes]:
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                yield Path("/proc", entry, "cmdline").read_bytes()
            except OSError:
                continue


def _environment() -> dict[str, str]:
    return {**clean_environment({}), "TZ": "UTC"}


@contextmanager
def _reachable(directory: Path, account: Account) -> Iterator[tuple[str, tuple[int, ...]]]:
    if account.uid == -1:
        yield str(directory), ()
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield f"/proc/self/fd/{descriptor}", (descriptor,)
    finally:
        os.close(descriptor)
