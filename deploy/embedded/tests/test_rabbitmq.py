import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from quill_embedded import rabbitmq
from quill_embedded.rabbitmq import LocalRabbitMQ, LocalRabbitMQError


def test_a_missing_broker_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rabbitmq, "RABBITMQ_SERVER", tmp_path / "absent")
    with pytest.raises(LocalRabbitMQError, match="not installed"):
        LocalRabbitMQ(tmp_path).start()


def test_a_broker_that_ends_while_starting_shows_its_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = tmp_path / "server"
    server.write_text("#!/bin/sh\necho it is broken\nexit 1\n")
    server.chmod(0o755)
    epmd = tmp_path / "epmd"
    epmd.write_text("#!/bin/sh\nexec sleep 60\n")
    epmd.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(rabbitmq, "RABBITMQ_SERVER", server)
    with pytest.raises(LocalRabbitMQError, match="it is broken"):
        LocalRabbitMQ(tmp_path / "broker").start()


@pytest.mark.rabbitmq
@pytest.mark.timeout(180)
def test_a_broker_lives_as_long_as_the_command_it_is_started_for() -> None:
    script = f"import os; print(os.environ[{rabbitmq.URL_VARIABLE!r}]); raise SystemExit(7)"
    done = subprocess.run(
        [sys.executable, "-m", "quill_embedded.rabbitmq", sys.executable, "-c", script],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 7, done.stderr
    port = int(done.stdout.strip().removeprefix("amqp://guest:guest@127.0.0.1:").removesuffix("/"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2)
