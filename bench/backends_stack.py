"""The real servers and Quill on them, started for one measurement and taken away after it."""

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import quill_backends
from quill_backends.applications import EHRBASE, HAPI
from quill_backends.control import inspect
from quill_backends.places import Places
from quill_backends.postgres import INSTALLED as POSTGRESQL
from quill_backends.processes import resident_bytes
from quill_backends.rabbitmq import SCRIPT as RABBITMQ
from quill_embedded.errors import StackError
from quill_embedded.ports import Ports

__all__ = ["Footprint", "Stack", "missing_servers", "standing"]

_MEBIBYTE: Final = 1024 * 1024
_STARTED_WITHIN: Final = 180.0
_JAVA_OPTIONS: Final = "-XX:TieredStopAtLevel=4"


@dataclass(frozen=True)
class Footprint:
    """What a server needs: seconds of its first start and of a later one, and memory after the calls."""

    name: str
    version: str
    first_start: float
    later_start: float | None
    mebibytes: float


@dataclass(frozen=True)
class Stack:
    """Quill and the servers below it."""

    url: str
    fhir_url: str
    data_dir: Path
    environment: Mapping[str, str]
    quill: int
    starts: Mapping[str, tuple[float, float | None]]

    def token(self) -> str:
        """An administrator's bearer token."""
        password = json.loads((self.data_dir / "secrets.json").read_text())["demo_password"]
        form = {"grant_type": "password", "username": "superadmin", "password": password}
        body = urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(f"{self.url}/api/auth/token", body) as answer:
            token: str = json.loads(answer.read())["access_token"]
            return token

    def footprints(self) -> list[Footprint]:
        """Of every server, and of Quill's own processes together."""
        _, state, servers = inspect(self.environment)
        assert state is not None, "they run"
        found = [
            Footprint(
                server.name,
                state.versions[server.name],
                *self.starts[server.name],
                resident_bytes(server.process) / _MEBIBYTE,
            )
            for server in servers
            if server.process is not None
        ]
        own = subprocess.run(
            ["ps", "-o", "rss=", "--ppid", str(self.quill)], capture_output=True, text=True, check=True
        ).stdout.split()
        return [
            *found,
            Footprint(f"Quill ({len(own)} processes)", "", *self.starts["Quill"], sum(map(int, own)) / 1024),
        ]


def missing_servers() -> list[str]:
    """Which of the real servers are not installed on this machine."""
    downloads = Places.read(os.environ).downloads
    installed = {
        "PostgreSQL": any(POSTGRESQL.glob("*/bin/initdb")),
        "RabbitMQ": RABBITMQ.exists(),
        **{
            title: application.is_fetched(downloads) and application.is_built(downloads)
            for title, application in (("EHRbase", EHRBASE), ("HAPI FHIR", HAPI))
        },
    }
    return [title for title, there in installed.items() if not there]


@contextmanager
def standing(directory: Path) -> Iterator[Stack]:
    """Starts each server twice, empty and with data, then Quill on all of them; stops everything at the end.

    Raises:
        BackendsError: a server does not start.
        RuntimeError: Quill does not start.
    """
    ports = _free_ports()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("QUILL_")},
        "QUILL_BACKENDS_DIR": str(directory / "backends"),
        "QUILL_BACKENDS_JAVA_OPTIONS": os.environ.get("QUILL_BACKENDS_JAVA_OPTIONS", _JAVA_OPTIONS),
        "QUILL_DATA_DIR": str(directory / "quill"),
        "QUILL_PORT": str(ports.base),
        # One client asks as fast as it is answered, which no browser's session does.
        "QUILL_SESSION_RATE": "100000",
        "QUILL_ADDRESS_RATE": "100000",
    }
    try:
        starts: dict[str, tuple[float, float | None]] = {
            name: _two_starts(name, environment) for name in quill_backends.SERVERS
        }
        quill_backends.ensure(environ=environment)
        with (directory / "quill.output").open("wb") as output:
            quill = subprocess.Popen(
                [sys.executable, "-m", "quill_embedded", "run", "--backends", "real", "--no-demo"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            starts["Quill"] = (_started(quill, directory / "quill.output"), None)
            backends = quill_backends.load(environment)
            assert backends is not None, "they run"
            yield Stack(
                url=ports.url("gateway"),
                fhir_url=backends.fhir_url,
                data_dir=directory / "quill",
                environment=environment,
                quill=quill.pid,
                starts=starts,
            )
        finally:
            quill.terminate()
            quill.wait()
    finally:
        quill_backends.stop(environ=environment)


def _two_starts(name: str, environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds until it answers, the servers it needs running already: the first time and the second."""
    first = _timed(name, environment)
    quill_backends.stop([name], environ=environment)
    return first, _timed(name, environment)


def _timed(name: str, environment: Mapping[str, str]) -> float:
    began = time.perf_counter()
    quill_backends.ensure([name], hapi_database="postgresql", environ=environment)
    return time.perf_counter() - began


def _started(quill: "subprocess.Popen[bytes]", output: Path) -> float:
    began = time.perf_counter()
    while "Ctrl-C stops" not in (said := output.read_text()):
        if quill.poll() is not None or time.perf_counter() - began > _STARTED_WITHIN:
            raise RuntimeError(f"Quill does not start: {said}")
        time.sleep(0.05)
    return time.perf_counter() - began


def _free_ports() -> Ports:
    while True:
        ports = Ports(20_000 + secrets.randbelow(10_000))
        try:
            ports.require_free(("gateway", "auth", "auth worker", "patients", "patients worker"))
        except StackError:
            continue
        return ports
