"""Directories for tests that never start a real server."""

from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

import pytest

from quill_backends.places import Places
from quill_backends.processes import Process, spawn

from .support import Spawn


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment that keeps everything below the test's directory."""
    return {
        "QUILL_BACKENDS_DIR": str(tmp_path / "backends"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PATH": "/usr/bin:/bin",
    }


@pytest.fixture
def places(environ: dict[str, str]) -> Places:
    places = Places.read(environ)
    places.make()
    return places


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Spawn]:
    processes: list[Process] = []

    def start(*command: str) -> Process:
        process = spawn(command, environment={"PATH": "/usr/bin:/bin"}, log=tmp_path / "server.log")
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.end((SIGKILL, 5.0))
