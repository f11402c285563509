"""What every test may ask for: ``postgres_server``, one PostgreSQL for all workers of a test run.

The server is the embedded one, started when the first test asks for it and stopped at the end of the run.
With QUILL_TEST_POSTGRES_URL set (a superuser's URL, on this machine) that server is used instead.
"""

import json
import os
import secrets
import shutil
import socket
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from quill_embedded.postgres import EmbeddedPostgres, EmbeddedPostgresError
from quill_embedded.provision import DatabaseUrls, Ownership, provision
from quill_shared.platform.testing.postgres import PostgresServer, drop_databases

pytest_plugins = ["quill_shared.platform.testing.services", "quill_shared.platform.testing.sockets"]

_GIVEN_SERVER = "QUILL_TEST_POSTGRES_URL"
_STARTED_WITHIN = 50.0


class _TestRun:
    """The directory shared by the processes of a test run, and the server started in it on demand.

    The controlling process owns the server, so that it outlives each worker. A worker asks by a file, and is
    answered by another.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.name = name
        self._wanted = directory / "wanted"
        self._answer = directory / "server.json"
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="postgres-on-demand", daemon=True)
        self._postgres: EmbeddedPostgres | None = None

    def begin(self) -> None:
        """Serve requests; for the controlling process."""
        self._watcher.start()

    def end(self) -> None:
        """Stop the server and remove the directory; for the controlling process."""
        self._ended.set()
        self._watcher.join()
        if self._postgres is not None:
            self._postgres.stop()
        if _GIVEN_SERVER in os.environ and self._wanted.exists():
            drop_databases(_given_server(), self.name)
        shutil.rmtree(self.directory)

    def admin_dsn(self) -> str:
        """Return the superuser's URL, waiting for the server to start; for every process."""
        self._wanted.touch()
        if _GIVEN_SERVER in os.environ:
            return _given_server()
        deadline = time.monotonic() + _STARTED_WITHIN
        while not self._answer.exists():
            if time.monotonic() > deadline:
                pytest.fail("The test run's PostgreSQL did not start in time.", pytrace=False)
            time.sleep(0.02)
        answer: dict[str, str] = json.loads(self._answer.read_text())
        if "error" in answer:
            pytest.fail(answer["error"], pytrace=False)
        return answer["admin_dsn"]

    def _watch(self) -> None:
        while not self._wanted.exists():
            if self._ended.wait(0.05):
                return
        if _GIVEN_SERVER in os.environ:
            return
        try:
            answer = {"admin_dsn": self._start()}
        except EmbeddedPostgresError as error:
            answer = {"error": str(error)}
        draft = self._answer.with_suffix(".new")
        draft.write_text(json.dumps(answer))
        draft.rename(self._answer)

    def _start(self) -> str:
        attempts = 3
        while True:
            postgres = EmbeddedPostgres(
                self.directory / "postgres", port=_free_port(), max_connections=200, durable=False
            )
            try:
                postgres.start()
            except EmbeddedPostgresError:
                # Another program may have taken the port since it was found free.
                attempts -= 1
                if not attempts:
                    raise
            else:
                self._postgres = postgres
                return postgres.admin_dsn()


_WANTED_BY_MARKER = {
    "rabbitmq": "QUILL_TEST_RABBITMQ_URL",
    "hapi": "QUILL_TEST_FHIR_URL",
    "ehrbase": "QUILL_TEST_OPENEHR_URL",
    "real": "QUILL_TEST_REAL",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that want a server nobody named."""
    absent = {marker for marker, variable in _WANTED_BY_MARKER.items() if not os.environ.get(variable)}
    left_out = [item for item in items if any(item.get_closest_marker(marker) for marker in absent)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        kept = set(items) - set(left_out)
        items[:] = [item for item in items if item in kept]


_RUN = pytest.StashKey[_TestRun]()


def pytest_configure(config: pytest.Config) -> None:
    """Join the test run as a worker, or begin one."""
    workerinput: dict[str, Any] | None = getattr(config, "workerinput", None)
    if workerinput is not None:
        config.stash[_RUN] = _TestRun(Path(workerinput["quill_directory"]), workerinput["quill_run"])
        return
    run = _TestRun(Path(tempfile.mkdtemp(prefix="quill-tests-")), secrets.token_hex(4))
    config.stash[_RUN] = run
    config.add_cleanup(run.end)
    run.begin()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist which test run it belongs to."""
    run = node.config.stash[_RUN]
    node.workerinput.update(quill_directory=str(run.directory), quill_run=run.name)


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> PostgresServer:
    """The test run's PostgreSQL server."""
    run = request.config.stash[_RUN]
    admin_dsn = run.admin_dsn()
    return PostgresServer(
        admin_dsn=admin_dsn,
        run=run.name,
        worker=os.environ.get("PYTEST_XDIST_WORKER", "main"),
        provision=partial(_provision, admin_dsn, run.directory / "roles.json"),
    )


def _provision(admin_dsn: str, secrets_file: Path, name: str) -> DatabaseUrls:
    return provision(admin_dsn, {name: Ownership.SPLIT}, secrets_file=secrets_file)[name]


def _given_server() -> str:
    return os.environ[_GIVEN_SERVER].replace("postgresql+asyncpg://", "postgresql://", 1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
