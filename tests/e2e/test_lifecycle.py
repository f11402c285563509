"""Starting, stopping, and being killed."""

import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .support import Stack

MEMORY_LIMIT_MB = 500
HEALTHY_WITHIN = 5.0
HEALTHY_WITHIN_UNDER_LOAD = 25.0


def cpu_seconds() -> float:
    """What the children of this process have computed, theirs included.

    A second start is to be healthy within five seconds. Beside other tests the clock says little; what it
    computes, all of which would take no longer on a machine with nothing else to do, says more.
    """
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def resident_mb(pid: int) -> float:
    listed = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(listed.stdout) / 1024


def sentence(output: str) -> str:
    """What was printed, which has to be one line and no traceback."""
    lines = output.strip().splitlines()
    assert len(lines) == 1, output
    return lines[0]


def test_a_restart_keeps_the_data_and_is_healthy_soon(own_stack: Stack) -> None:
    own_stack.start()
    with own_stack.browser("superadmin") as browser:
        made = browser.made("/api/organizations", {"name": "Ward 4", "type": "hospital_team"})
    assert own_stack.stop(signal.SIGTERM) == 0
    assert own_stack.output.rstrip().endswith("Stopped.")

    before = cpu_seconds()
    assert own_stack.start() < HEALTHY_WITHIN_UNDER_LOAD
    with own_stack.browser("superadmin") as browser:
        assert browser.get(f"/api/organizations/{made['id']}").json()["name"] == "Ward 4"
    assert "Databases migrated" not in own_stack.output
    assert own_stack.stop(signal.SIGINT) == 0
    assert cpu_seconds() - before < HEALTHY_WITHIN


def test_what_dies_is_started_again_and_a_kill_leaves_nothing_behind(own_stack: Stack) -> None:
    own_stack.start()
    for name, told in (
        ("stand-ins", "The stand-ins for FHIR and openEHR ended"),
        ("PostgreSQL", "PostgreSQL ended"),
    ):
        child = own_stack.children()[name]
        os.kill(child, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while told not in own_stack.output or own_stack.children().get(name) in (None, child):
            assert time.monotonic() < deadline, own_stack.output
            time.sleep(0.05)
        assert own_stack.becomes_healthy(within=15), own_stack.output

    children = own_stack.children()
    own_stack.kill()
    own_stack.start()
    assert own_stack.healthy()
    assert not set(children.values()) & set(own_stack.children().values())
    assert own_stack.stop() == 0


def test_a_second_interrupt_ends_at_once(own_stack: Stack) -> None:
    own_stack.start()
    standins = own_stack.children()["stand-ins"]
    os.kill(standins, signal.SIGSTOP)  # An orderly stop would wait for this one.
    os.kill(own_stack.pid, signal.SIGINT)
    deadline = time.monotonic() + 5
    while "Stopping" not in own_stack.output:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    began = time.monotonic()
    assert own_stack.stop(signal.SIGINT) == 130
    assert time.monotonic() - began < 2
    os.kill(standins, signal.SIGKILL)


def test_a_stop_while_starting_is_a_stop(own_stack: Stack) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "quill_embedded"],
        env=own_stack.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    time.sleep(0.3)
    process.terminate()
    rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert rest.rstrip().endswith("Stopped.")
    assert (own_stack.data_dir / "lock").read_text() == ""


def test_a_second_instance_is_refused_in_one_sentence(stack: Stack) -> None:
    for command in ("run", "reset"):
        refused = stack.run(command)
        assert (refused.returncode, refused.stdout) == (1, "")
        said = sentence(refused.stderr)
        assert said.startswith(f"Quill already runs on {stack.data_dir} (process {stack.pid}, {stack.url})")
    assert stack.healthy()


@pytest.mark.parametrize("part", ["gateway", "orgs", "FHIR", "PostgreSQL"])
def test_a_taken_port_is_named_in_one_sentence(own_stack: Stack, part: str) -> None:
    port = own_stack.ports.of(part)
    with socket.create_server(("127.0.0.1", port)):
        refused = own_stack.run()
    assert refused.returncode == 1
    said = sentence(refused.stderr)
    assert f"Port {port} on 127.0.0.1, wanted for {part}, is in use by another program" in said
    assert "QUILL_PORT" in said


def test_an_unusable_directory_is_named_in_one_sentence(own_stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "a-file"
    file.touch()
    refused = own_stack.run(QUILL_DATA_DIR=str(file / "data"))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert sentence(refused.stderr).startswith(f"Quill cannot write to {file / 'data'}: not a directory")


def test_a_bad_setting_is_named_in_one_sentence(own_stack: Stack) -> None:
    refused = own_stack.run(QUILL_SESSION_RATE="fast")
    assert refused.returncode == 1
    assert "QUILL_SESSION_RATE" in sentence(refused.stderr)


def test_the_secrets_are_their_owners_only(stack: Stack) -> None:
    for name in ("secrets.json", "databases.json", "demo.json", "lock"):
        assert stat.S_IMODE((stack.data_dir / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE(stack.data_dir.stat().st_mode) == 0o700
    logs = list((stack.data_dir / "logs").iterdir())
    assert logs
    for log in logs:
        assert stack.password not in log.read_text(), log.name


def test_services_and_standins_fit_into_their_memory(stack: Stack) -> None:
    if stack.real:
        pytest.skip("about the embedded stack")
    used = resident_mb(stack.pid) + resident_mb(stack.children()["stand-ins"])
    assert used < MEMORY_LIMIT_MB
