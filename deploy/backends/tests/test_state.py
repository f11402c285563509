"""The state file: for its owner only, whole or not at all, and understood or refused."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quill_backends.errors import BackendsError
from quill_backends.places import Places
from quill_backends.processes import Process
from quill_backends.state import CREDENTIALS, FILE, State, exclusive


def test_what_is_written_is_read_again_by_its_owner_only(tmp_path: Path) -> None:
    state = State.fresh()
    state.ports["hapi"] = 18081
    state.processes["hapi"] = Process(12, 34, "boot", "token")
    state.versions["hapi"] = "8"
    state.prepared.add("ehrbase")
    state.hapi_database = "h2"
    state.write(tmp_path)
    assert State.read(tmp_path) == state
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == [FILE]


def test_passwords_are_long_different_and_not_shown() -> None:
    one, other = State.fresh(), State.fresh()
    assert set(one.credentials) == set(CREDENTIALS)
    assert len({*one.credentials.values(), *other.credentials.values()}) == 2 * len(CREDENTIALS)
    assert all(len(password) >= 32 for password in one.credentials.values())
    assert not any(password in repr(one) for password in one.credentials.values())


def test_where_nothing_was_started_there_is_none(tmp_path: Path) -> None:
    assert State.read(tmp_path) is None


def _without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.pop(key)


@pytest.mark.parametrize(
    "spoil",
    [_without("credentials"), _without("format"), lambda each: each.update(format=2, ports=[])],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, spoil: Callable[[dict[str, Any]], None]) -> None:
    State.fresh().write(tmp_path)
    document = json.loads((tmp_path / FILE).read_text())
    spoil(document)
    (tmp_path / FILE).write_text(json.dumps(document))
    with pytest.raises(BackendsError, match="is not what this version writes"):
        State.read(tmp_path)


def test_a_half_written_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"format": 1')
    with pytest.raises(BackendsError, match="is not what this version writes"):
        State.read(tmp_path)


def test_two_commands_take_turns(places: Places) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        with exclusive(places.running, lambda text: waiting.set()):
            order.append("second")

    with exclusive(places.running, lambda text: None):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(5)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
