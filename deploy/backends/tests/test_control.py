"""What callers see without any server running, and the choice of places and ports."""

import socket
from pathlib import Path

import pytest

from quill_backends import SERVERS, BackendsError, ensure, kill, load, stop
from quill_backends.__main__ import main
from quill_backends.places import Places
from quill_backends.ports import PREFERRED, choose
from quill_backends.state import State

from .support import Spawn


def kept(places: Places, state: State) -> State:
    state.ports = dict(PREFERRED)
    state.write(places.running)
    return state


def test_where_nothing_was_started_nothing_is_loaded_or_made(environ: dict[str, str]) -> None:
    assert load(environ) is None
    stop(environ=environ)
    assert not Path(environ["QUILL_BACKENDS_DIR"]).exists()


def test_servers_that_have_ended_are_not_loaded(environ: dict[str, str], places: Places) -> None:
    kept(places, State.fresh())
    assert load(environ) is None


def test_what_runs_is_loaded_with_its_addresses(
    environ: dict[str, str], places: Places, started: Spawn
) -> None:
    state = State.fresh()
    state.processes["hapi"] = started("/bin/sleep", "60")
    kept(places, state)
    backends = load(environ)
    assert backends is not None
    assert backends.fhir_url == "http://127.0.0.1:18081/fhir"
    assert backends.openehr_url == "http://127.0.0.1:18082/ehrbase/rest/openehr/v1"
    assert backends.rabbitmq_url == f"amqp://quill:{state.credentials['rabbitmq']}@127.0.0.1:18084/"
    assert dict(backends.pids) == {"hapi": state.processes["hapi"].pid}
    assert not any(password in repr(backends) for password in state.credentials.values())


def test_a_server_is_killed_and_stopped_by_its_name(
    environ: dict[str, str], places: Places, started: Spawn
) -> None:
    state = State.fresh()
    state.processes |= {"hapi": started("/bin/sleep", "60"), "ehrbase": started("/bin/sleep", "60")}
    kept(places, state)
    kill("hapi", environ)
    backends = load(environ)
    assert backends is not None
    assert set(backends.pids) == {"ehrbase"}
    stop(["ehrbase"], environ=environ)
    assert load(environ) is None


def test_an_unknown_server_is_named_and_nothing_happens(environ: dict[str, str]) -> None:
    with pytest.raises(BackendsError, match="There is no server called mars; there are postgres, rabbitmq"):
        ensure(["mars"], environ=environ)


def test_data_without_its_passwords_is_not_touched(environ: dict[str, str], places: Places) -> None:
    (places.running / "postgres").mkdir()
    with pytest.raises(BackendsError, match="holds data whose passwords are lost"):
        ensure(["hapi"], environ=environ)
    assert not (places.running / "state.json").exists()


def test_the_cache_is_the_users(tmp_path: Path) -> None:
    places = Places.read({"XDG_CACHE_HOME": str(tmp_path)})
    assert places == Places(
        running=tmp_path / "quill" / "backends", downloads=tmp_path / "quill" / "downloads"
    )
    # The specification of that variable has relative paths ignored.
    assert Places.read({"XDG_CACHE_HOME": "here"}).downloads.is_absolute()


def test_a_place_that_cannot_be_written_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    places = Places.read(
        {"XDG_CACHE_HOME": str(tmp_path), "QUILL_BACKENDS_DIR": str(tmp_path / "file" / "x")}
    )
    with pytest.raises(BackendsError, match=r"cannot be written: not a directory; QUILL_BACKENDS_DIR"):
        places.make()


def test_a_port_in_use_is_passed_over() -> None:
    first = choose("hapi", ())
    with socket.create_server(("127.0.0.1", first)):
        second = choose("hapi", ())
    assert second > first
    assert choose("hapi", {first, second}) not in (first, second)


def test_status_says_that_nothing_was_started(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert main(["status"]) == 1
    assert "Nothing was ever started" in capsys.readouterr().out
    assert main(["down"]) == 0


def test_servers_start_in_the_order_of_what_they_need() -> None:
    assert SERVERS == ("postgres", "rabbitmq", "ehrbase", "hapi")
