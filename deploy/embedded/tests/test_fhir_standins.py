import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from quill_embedded.standins import main

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def ports() -> list[int]:
    with socket.socket() as first, socket.socket() as second:
        for listener in (first, second):
            listener.bind(("127.0.0.1", 0))
        return [first.getsockname()[1], second.getsockname()[1]]


@pytest.fixture
def start(database_url: str) -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def run(*options: str, **environment: Any) -> subprocess.Popen[str]:
        variables = {
            **os.environ,
            "QUILL_STANDINS_FHIR_DATABASE_URL": database_url,
            "QUILL_STANDINS_OPENEHR_DATABASE_URL": database_url.replace("://", "+asyncpg://", 1),
            **environment,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "quill_embedded.standins", *options],
            env=variables,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        with process:
            process.kill()


def wait_for(url: str, process: subprocess.Popen[str]) -> httpx.Response:
    for _ in range(200):
        assert process.poll() is None, process.communicate()[1]
        try:
            return httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail(f"{url} does not answer")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_process_serves_both_and_stops_when_asked(start: Start, ports: list[int], number: int) -> None:
    process = start("--fhir-port", str(ports[0]), "--openehr-port", str(ports[1]))
    assert wait_for(f"http://127.0.0.1:{ports[0]}/fhir/metadata", process).status_code == 200
    assert wait_for(f"http://127.0.0.1:{ports[1]}/ehrbase/rest/status", process).status_code == 200
    patient = {"resourceType": "Patient", "id": "p-1"}
    answer = httpx.put(f"http://127.0.0.1:{ports[0]}/fhir/Patient/p-1", json=patient)
    assert answer.headers["content-location"].startswith(
        f"http://127.0.0.1:{ports[0]}/fhir/Patient/p-1/_history/"
    )
    assert "server" not in answer.headers
    process.send_signal(number)
    assert process.wait(10) == 0
    assert process.communicate()[1] == ""


def test_a_taken_port_is_one_sentence(start: Start, ports: list[int]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports[1]))
        taken.listen()
        process = start(QUILL_STANDINS_FHIR_PORT=str(ports[0]), QUILL_STANDINS_OPENEHR_PORT=str(ports[1]))
        assert process.wait(20) == 1
    message = process.communicate()[1]
    assert message.startswith(f"openEHR: cannot listen on 127.0.0.1:{ports[1]}")
    assert message.count("\n") == 1


def test_an_unreachable_database_is_one_sentence(start: Start, ports: list[int]) -> None:
    process = start(QUILL_STANDINS_FHIR_DATABASE_URL=f"postgresql://u:secret@127.0.0.1:{ports[0]}/d")
    assert process.wait(20) == 1
    assert process.communicate()[1] == "FHIR: the database cannot be reached (ConnectionRefusedError)\n"


def test_missing_settings_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("FHIR", "OPENEHR"):
        monkeypatch.delenv(f"QUILL_STANDINS_{name}_DATABASE_URL", raising=False)
    assert main([]) == 2
    assert capsys.readouterr().err == "missing or invalid settings: fhir_database_url, openehr_database_url\n"
