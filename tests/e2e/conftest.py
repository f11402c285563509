"""One stack for the whole test run, shared by its workers; tests that end a stack start one of their own.

With QUILL_TEST_REAL set the shared stack is Quill on the real servers (`quill_backends`), which may hold
anything and keep what the tests leave there. All tests that use it then carry the mark `real`. Those that
make the servers fail want them for themselves: run them in one process.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quill_embedded.ports import Ports
from quill_embedded.real import usual_data_dir

from .support import REAL, Stack

# Writes that were under way when a server was killed are settled within the patience of a test. More than
# the eight seconds that a call to FHIR may take.
_SETTINGS = {"QUILL_INTENT_GRACE_SECONDS": "12"}
_SECONDS = 300


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks what runs on the real servers; leaves out what could run nowhere else."""
    left_out = []
    for item in items:
        if not item.path.is_relative_to(Path(__file__).parent):
            continue
        if REAL and "stack" in getattr(item, "fixturenames", ()):
            item.add_marker("real")
            item.add_marker(pytest.mark.timeout(_SECONDS))
        elif item.get_closest_marker("real"):
            left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


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
        shared = _real(directory / "output") if REAL else Stack(directory / "data")
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


def _real(printed: Path) -> Stack:
    return Stack(
        usual_data_dir(os.environ), options=("--backends", "real"), settings=_SETTINGS, printed=printed
    )


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of one test, not started yet, without the demonstration data; killed at the end."""
    own = Stack(tmp_path / "data", options=("--no-demo",))
    yield own
    own.kill()
