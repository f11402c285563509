"""The eleven processes of Quill on the real servers: watched over, and only one set of them."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .support import Stack

pytestmark = pytest.mark.real

PROCESSES = 11
BACK_WITHIN = 30.0


def processes(stack: Stack) -> dict[str, int]:
    """The ids of its processes by the application's module and its role."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(stack.pid)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = {}
    for line in listed.stdout.splitlines():
        pid, *words = line.split()
        if "--role" in words:
            role = words.index("--role")
            found[f"{words[role - 1]} {words[role + 1]}"] = int(pid)
    return found


def test_each_service_is_an_api_and_a_worker(stack: Stack) -> None:
    names = {f"quill_{name}.main" for name in ("auth", "patients", "letters", "messaging", "orgs")}
    expected = {f"{name} {role}" for name in names for role in ("api", "worker")}
    assert set(processes(stack)) == {"quill_gateway.main api", *expected}
    assert len(processes(stack)) == PROCESSES


@pytest.mark.parametrize(
    ("killed", "told"),
    [
        ("quill_gateway.main api", "gateway"),
        ("quill_patients.main api", "patients"),
        ("quill_patients.main worker", "patients worker"),
    ],
)
def test_what_dies_is_started_again(stack: Stack, killed: str, told: str) -> None:
    before = processes(stack)
    os.kill(before[killed], signal.SIGKILL)
    deadline = time.monotonic() + BACK_WITHIN
    while processes(stack).get(killed) in (None, before[killed]):
        assert time.monotonic() < deadline, stack.output
        time.sleep(0.05)
    assert f"{told} ended unexpectedly (SIGKILL); starting again." in stack.output
    assert stack.becomes_healthy(within=BACK_WITHIN)
    with stack.browser("admin") as admin:
        deadline = time.monotonic() + BACK_WITHIN
        while admin.get("/api/patients").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    after = processes(stack)
    assert {name: pid for name, pid in after.items() if name != killed} == {
        name: pid for name, pid in before.items() if name != killed
    }


def test_another_data_directory_is_kept_off_the_servers(stack: Stack, tmp_path: Path) -> None:
    refused = Stack(tmp_path / "other", options=stack.options).run()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(
        f"The databases on these servers belong to the Quill whose data is in {stack.data_dir}: "
    )
