"""The parts of the supervisor that need no running stack; the others are in tests/e2e."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quill_embedded import __main__ as command
from quill_embedded.configuration import Configuration
from quill_embedded.console import Console
from quill_embedded.errors import StackError
from quill_embedded.instance import only_instance, reset
from quill_embedded.keys import MAKERS, kept, spoken_password
from quill_embedded.ports import Ports
from quill_embedded.world import ACCOUNTS, EXTERNAL, ORGANISATIONS, PATIENTS, SUPERADMIN


def configured(directory: Path, **environ: str) -> Configuration:
    return Configuration.read({"QUILL_DATA_DIR": str(directory), **environ})


def test_one_number_moves_all_ports() -> None:
    usual, moved = Ports(), Ports.parse("9000")
    parts = {
        "gateway": 8000,
        "auth": 8101,
        "patients": 8102,
        "letters": 8103,
        "messaging": 8104,
        "orgs": 8105,
    }
    assert {part: usual.of(part) for part in parts} == parts
    assert [usual.of(part) for part in ("FHIR", "openEHR", "PostgreSQL")] == [8081, 8082, 8083]
    assert moved.url("orgs") == "http://127.0.0.1:9105"


@pytest.mark.parametrize("text", ["", "0", "-1", "65431", "abc", "8000.0", "٨٠٠٠", "1" * 99])
def test_a_port_that_is_none_is_named(text: str) -> None:
    with pytest.raises(StackError, match="QUILL_PORT must be a number from 1 to 65430"):
        Ports.parse(text)


def test_a_taken_port_is_waited_for_as_long_as_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = Ports(taken.getsockname()[1])
        began = time.monotonic()
        with pytest.raises(StackError, match="wanted for gateway, is in use"):
            ports.require_free(("gateway",), patience=0.2)
        assert time.monotonic() - began >= 0.2
    ports.require_free(("gateway",))


def test_listening_takes_the_ports_and_gives_them_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        ports = Ports(probe.getsockname()[1])
    with ports.listening(("gateway",)), pytest.raises(StackError):
        ports.require_free(("gateway",))
    ports.require_free(("gateway",))


def test_the_configuration_has_defaults_and_follows_the_environment(tmp_path: Path) -> None:
    usual = Configuration.read({})
    assert (usual.data_dir, usual.ports.base, usual.shows_logs) == (Path.cwd() / ".quill", 8000, False)
    told = configured(tmp_path, QUILL_PORT="9000", QUILL_LOG_LEVEL="debug")
    assert (told.data_dir, told.ports.base) == (tmp_path, 9000)
    assert (told.log_level, told.shows_logs) == ("DEBUG", True)
    with pytest.raises(StackError, match="QUILL_LOG_LEVEL must be one of"):
        configured(tmp_path, QUILL_LOG_LEVEL="loud")


def test_secrets_are_made_once_and_differ_from_stack_to_stack(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    first = kept(file, MAKERS)
    assert kept(file, MAKERS) == first == json.loads(file.read_text())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(set(first.values())) == len(MAKERS)
    assert not set(first.values()) & set(kept(tmp_path / "other.json", MAKERS).values())


def test_a_secret_that_is_new_joins_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    before = kept(file, {"one": lambda: "1"})
    assert kept(file, {"one": lambda: "x", "two": lambda: "2"}) == {**before, "two": "2"}


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_file_that_is_no_secrets_is_left_alone(tmp_path: Path, content: str) -> None:
    file = tmp_path / "secrets.json"
    file.write_text(content)
    with pytest.raises(StackError, match="does not hold the secrets"):
        kept(file, MAKERS)
    assert file.read_text() == content


def test_a_spoken_password_is_long_and_never_the_same() -> None:
    made = {spoken_password() for _ in range(100)}
    assert len(made) == 100
    assert min(map(len, made)) >= 20


def test_a_directory_is_one_stacks_at_a_time(tmp_path: Path) -> None:
    configuration = configured(tmp_path / "data", QUILL_PORT="9000")
    with only_instance(configuration) as instance:
        assert not instance.followed_a_crash
        with pytest.raises(StackError) as refused, only_instance(configuration):
            pass
        assert f"(process {os.getpid()}, http://127.0.0.1:9000)" in str(refused.value)
    with only_instance(configuration) as instance:
        assert not instance.followed_a_crash


def test_a_crash_is_known_by_what_it_left(tmp_path: Path) -> None:
    configuration = configured(tmp_path)
    tmp_path.joinpath("lock").write_text('{"pid": 1, "port": 8000}')
    with only_instance(configuration) as instance:
        assert instance.followed_a_crash


def test_a_reset_deletes_what_a_stack_made_and_nothing_else(tmp_path: Path) -> None:
    configuration = configured(tmp_path)
    kept(configuration.keys_file, MAKERS)
    configuration.postgres_dir.mkdir()
    configuration.postgres_dir.joinpath("x").touch()
    tmp_path.joinpath("notes.txt").touch()
    assert reset(configuration)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "notes.txt"]
    assert not reset(configuration)
    assert not reset(configured(tmp_path / "nowhere"))


def test_data_without_its_keys_is_not_started_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.joinpath("postgres").mkdir()
    monkeypatch.setenv("QUILL_DATA_DIR", str(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert command.main(["run"]) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "secrets.json is gone" in capsys.readouterr().err


_CHILD = """
import threading, time
from quill_embedded.attended import end_with_parent
threading.Thread(target=end_with_parent, daemon=True).start()
print("up", flush=True)
time.sleep(60)
"""
_PARENT = """
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_attended_process_goes_when_its_parent_is_killed(tmp_path: Path) -> None:
    child, parent = tmp_path / "child.py", tmp_path / "parent.py"
    child.write_text(_CHILD)
    parent.write_text(_PARENT)
    done = subprocess.run(
        [sys.executable, str(parent), str(child)], stdout=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    pid, deadline = int(done.stdout), time.monotonic() + 5
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return bool(listed.stdout.strip()) and not listed.stdout.startswith("Z")


def test_columns_line_up_and_are_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table([("a", "x" * 200), ("longer", "y")])
    assert capsys.readouterr().out.splitlines() == [f"  a        {'x' * 200}", "  longer   y"]


def test_the_demonstration_world_is_consistent() -> None:
    organisations = {each.key for each in ORGANISATIONS}
    patients = {each.id for each in PATIENTS}
    assert len(patients) == len(PATIENTS) == 12
    assert len({each.nhs_number for each in PATIENTS}) == 12
    for patient in PATIENTS:
        assert patient.nhs_number.startswith("999")
        assert _check_digit(patient.nhs_number) == int(patient.nhs_number[9])
        assert set(patient.organisations) <= organisations
    for account in (*ACCOUNTS, EXTERNAL):
        assert account.organisation in {None, *organisations}
        assert account.patient_id in {None, *patients}
    assert SUPERADMIN.username not in {each.username for each in ACCOUNTS}


def _check_digit(number: str) -> int:
    """Modulus 11, NHS Data Dictionary."""
    weighted = sum(int(digit) * (10 - place) for place, digit in enumerate(number[:9]))
    return (11 - weighted % 11) % 11
