"""One stack for the whole test run, shared by its workers; tests that end a stack start one of their own."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quill_embedded.ports import Ports

from .support import Stack


@contextmanager
def _users(directory: Path) -> Iterator[set[str]]:
    """The workers that use the shared stack; what the block does to the set is kept."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "users").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        users = set(file.read().split())
        try:
            yield users
        finally:
            file.truncate(0)
            file.write(" ".join(users))
            file.flush()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with its demonstration data. Leave accounts and patients of the demo as they are."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if worker else base) / "e2e"
    note = directory / "stack.json"
    with _users(directory) as users:
        shared = Stack(directory / "data")
        if users:
            known = json.loads(note.read_text())
            shared.ports, shared.pid = Ports(known["port"]), known["pid"]
        else:
            shared.start()
            note.write_text(json.dumps({"port": shared.ports.base, "pid": shared.pid}))
        users.add(worker or "main")
    yield shared
    with _users(directory) as users:
        users.discard(worker or "main")
        if not users:
            shared.stop()


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of one test, not started yet, without the demonstration data; killed at the end."""
    own = Stack(tmp_path / "data", options=("--no-demo",))
    yield own
    own.kill()
