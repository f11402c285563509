"""A process is ended when it is certainly ours, and never otherwise."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from quill_backends.errors import BackendsError
from quill_backends.processes import Process, resident_bytes, spawn

from .support import Spawn

SLEEP = ("/bin/sleep", "60")
TERMINATE = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_a_server_outlives_the_call_and_ends_when_asked(started: Spawn) -> None:
    process = started(*SLEEP)
    assert process.runs
    assert eventually(lambda: os.getsid(process.pid) == process.pid)
    assert resident_bytes(process) > 0
    assert process.end(*TERMINATE)
    assert not process.runs


def test_what_is_kept_describes_the_same_process(started: Spawn) -> None:
    process = started(*SLEEP)
    assert Process.parse(process.kept()) == process


@pytest.mark.parametrize("change", [{"started": 1}, {"boot": "another"}])
def test_a_number_that_was_given_to_another_program_is_left_alone(
    started: Spawn, change: dict[str, object]
) -> None:
    process = started(*SLEEP)
    other = replace(process, **change)  # type: ignore[arg-type]
    assert not other.runs
    assert other.members() == []
    assert other.end(*TERMINATE)
    assert process.runs


def test_helpers_are_ended_after_their_leader_is_gone(started: Spawn) -> None:
    process = started("/bin/sh", "-c", "sleep 60 & exit 0")
    assert eventually(lambda: not process.runs)
    helpers = process.members()
    assert len(helpers) == 1
    # While the system has not collected the leader, the session cannot be anybody else's.
    collected = eventually(lambda: not Path(f"/proc/{process.pid}").exists())
    assert replace(process, token="another").members() == ([] if collected else helpers)
    assert process.end(*TERMINATE)
    assert eventually(lambda: not os.path.exists(f"/proc/{helpers[0]}/cmdline") or not process.members())


def test_one_that_does_not_listen_is_killed(started: Spawn) -> None:
    process = started("/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    time.sleep(0.2)
    assert process.end((signal.SIGTERM, 0.3), (signal.SIGKILL, 5.0))
    assert not process.runs


def test_a_process_that_nobody_collected_does_not_run() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        path = Path(f"/proc/{child.pid}/stat")
        assert eventually(lambda: path.read_text().rpartition(")")[2].split()[0] == "Z")
        fields = path.read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        assert not Process(child.pid, int(fields[19]), boot, "").runs


def test_a_program_that_is_not_there_is_told_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    process = spawn(["/no/such/program"], environment={}, log=log)
    assert eventually(lambda: not process.runs)
    assert "cannot run /no/such/program" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_the_log_of_the_start_before_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    for word in ("first", "second"):
        process = spawn(["/bin/echo", word], environment={}, log=log)
        assert eventually(lambda: not process.runs)  # noqa: B023 - looked at in this round
        assert eventually(lambda: log.read_text() == f"{word}\n")  # noqa: B023
    assert (tmp_path / "server.log.1").read_text() == "first\n"


def test_another_users_process_is_one_clear_sentence(started: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    process = started(*SLEEP)

    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", refuse)
        with pytest.raises(BackendsError, match=f"Process {process.pid} .* belongs to another user"):
            process.end(*TERMINATE)
