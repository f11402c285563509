"""What the services stand on: PostgreSQL, its databases, and the process with the stand-ins.

They are started from a thread while the main thread still imports the services, which takes longer.
"""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Final

from .configuration import Configuration
from .console import Console
from .errors import StackError
from .ports import HOST
from .postgres import EmbeddedPostgres, EmbeddedPostgresError
from .provision import DatabaseUrls, Ownership, provision

SERVICES: Final = ("auth", "patients", "letters", "messaging", "orgs")
OPENEHR_USERNAME: Final = "quill"

_DATABASES: Final = {
    **{f"quill_{service}": Ownership.SPLIT for service in SERVICES},
    "quill_fhir": Ownership.SINGLE,
    "quill_openehr": Ownership.SINGLE,
}
_MAX_CONNECTIONS: Final = 80
_STANDINS_STOP_WITHIN: Final = 8.0
_LOOK_EVERY: Final = 0.3
_LONGEST_PAUSE: Final = 15.0


class Backends:
    """PostgreSQL and the stand-ins of one stack.

    Args:
        keys: the secrets of the stack (`keys.MAKERS`).
        console: told when something ends that should not.
    """

    def __init__(self, configuration: Configuration, keys: Mapping[str, str], console: Console) -> None:
        self._configuration = configuration
        self._keys = keys
        self._console = console
        self._postgres = EmbeddedPostgres(
            configuration.postgres_dir,
            port=configuration.ports.of("PostgreSQL"),
            max_connections=_MAX_CONNECTIONS,
        )
        self._standins: subprocess.Popen[bytes] | None = None
        self._urls: Mapping[str, DatabaseUrls] = {}
        self._stopped = False
        self._changing = threading.Lock()

    @property
    def urls(self) -> Mapping[str, DatabaseUrls]:
        """The addresses of the databases, by their names; there once started."""
        return self._urls

    def start(self) -> None:
        """Starts PostgreSQL, provides the databases and starts the stand-ins, which need a moment more.

        Raises:
            StackError: it cannot be done; the message says why.
        """
        ports = self._configuration.ports
        try:
            # Also makes the directories for PostgreSQL at a first start, which takes most of it.
            self._postgres.start()
            self._urls = provision(
                self._postgres.admin_dsn(), _DATABASES, secrets_file=self._configuration.roles_file
            )
            ports.require_free(("FHIR", "openEHR"), patience=2.0)
            self._start_standins()
        except EmbeddedPostgresError as error:
            taken = "in use by another program" in str(error)
            hint = " QUILL_PORT moves all ports of Quill." if taken else ""
            raise StackError(f"{error}{hint}") from None
        except (OSError, ValueError) as error:
            raise StackError(f"The databases could not be prepared: {error}.") from None

    def stop(self) -> None:
        """Stops the stand-ins, then PostgreSQL; harmless if they do not run."""
        with self._changing:
            self._stopped = True
            if self._standins is not None:
                self._standins.terminate()
                try:
                    self._standins.wait(_STANDINS_STOP_WITHIN)
                except subprocess.TimeoutExpired:
                    self._standins.kill()
                    self._standins.wait()
                if self._standins.stdin is not None:
                    self._standins.stdin.close()
                self._standins = None
            self._postgres.stop()

    async def watch(self) -> None:
        """Starts again, and says so, what ended by itself; runs until cancelled."""
        pause = 0.0
        while True:
            await asyncio.sleep(max(_LOOK_EVERY, pause))
            ended = self._ended()
            if ended is None:
                pause = 0.0
                continue
            self._console.warn(f"{ended}; starting again.")
            try:
                await asyncio.to_thread(self._mend)
            except (StackError, EmbeddedPostgresError, OSError) as error:
                self._console.warn(f"That failed: {error}")
            pause = min(max(1.0, pause * 2), _LONGEST_PAUSE)

    def _ended(self) -> str | None:
        if self._postgres.pid is None:
            return "PostgreSQL ended unexpectedly"
        if self._standins is not None and self._standins.poll() is not None:
            return (
                f"The stand-ins for FHIR and openEHR ended unexpectedly ({_how(self._standins.returncode)})"
            )
        return None

    def _mend(self) -> None:
        with self._changing:
            if self._stopped:
                return
            if self._postgres.pid is None:
                self._postgres.stop()
                self._postgres.start()
            if self._standins is None or self._standins.poll() is not None:
                self._start_standins()

    def _start_standins(self) -> None:
        ports = self._configuration.ports
        settings = {
            "HOST": HOST,
            "FHIR_PORT": str(ports.of("FHIR")),
            "OPENEHR_PORT": str(ports.of("openEHR")),
            "FHIR_DATABASE_URL": self._urls["quill_fhir"].app,
            "OPENEHR_DATABASE_URL": self._urls["quill_openehr"].app,
            "OPENEHR_USERNAME": OPENEHR_USERNAME,
            "OPENEHR_PASSWORD": self._keys["openehr_password"],
        }
        with self._configuration.standins_log_file.open("ab") as log:
            self._standins = subprocess.Popen(
                [sys.executable, "-m", "quill_embedded.attended", "quill_embedded.standins"],
                env={**os.environ, **{f"QUILL_STANDINS_{name}": value for name, value in settings.items()}},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # An interrupt from the terminal is for the supervisor, which stops the services first.
                start_new_session=True,
            )


def _how(returncode: int) -> str:
    return f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
