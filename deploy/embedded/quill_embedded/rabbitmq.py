"""A private RabbitMQ for tests: loopback only, in a directory of its own, stopped without a trace.

    python -m quill_embedded.rabbitmq .venv/bin/python -m pytest -m rabbitmq

runs a command with `QUILL_TEST_RABBITMQ_URL` set to a broker that lives as long as the command. Wants the
`rabbitmq-server` package of Debian or Ubuntu; a broker that the machine runs already is left alone.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

__all__ = ["RABBITMQ_SERVER", "LocalRabbitMQ", "LocalRabbitMQError"]

RABBITMQ_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's own script; the wrapper of that name on PATH insists on a certain user."""

URL_VARIABLE = "QUILL_TEST_RABBITMQ_URL"
_START_SECONDS = 90.0
_STOP_SECONDS = 20.0
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"


class LocalRabbitMQError(Exception):
    """RabbitMQ is not installed, or did not start."""


class LocalRabbitMQ:
    """One broker of our own; a context manager.

    Args:
        directory: holds its data, configuration and log, and may be removed once it has stopped.
        port: where it listens on 127.0.0.1; by default a free one.

    Example:
        >>> with LocalRabbitMQ(tmp_path) as broker:  # doctest: +SKIP
        ...     connection = await aio_pika.connect(broker.url)
    """

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self._directory = directory
        self._ports = _free_ports(3)
        if port is not None:
            self._ports[0] = port
        self._broker: subprocess.Popen[bytes] | None = None
        self._mapper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The AMQP address, with RabbitMQ's well-known account, which works from loopback only."""
        return f"amqp://guest:guest@127.0.0.1:{self._ports[0]}/"

    def start(self) -> None:
        """Start the broker and wait until it speaks AMQP.

        Raises:
            LocalRabbitMQError: it is not installed, ended early or was not ready in time. The message holds
                the end of its log, and nothing is left running.
        """
        epmd = shutil.which("epmd")
        if epmd is None or not RABBITMQ_SERVER.exists():
            raise LocalRabbitMQError(f"RabbitMQ is not installed: {RABBITMQ_SERVER} and epmd are needed")
        environment = self._prepare()
        # The port mapper would otherwise be started by the broker, as a daemon that outlives it.
        self._mapper = subprocess.Popen(  # noqa: S603 - no shell, our own arguments
            [epmd, "-port", environment["ERL_EPMD_PORT"], "-address", "127.0.0.1"], env=environment
        )
        with (self._directory / "output").open("wb") as output:
            self._broker = subprocess.Popen(  # noqa: S603 - as above
                [RABBITMQ_SERVER],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._speaks_amqp():
            ended = self._broker.poll() is not None
            if ended or time.monotonic() > deadline:
                self.stop()
                fault = "ended while starting" if ended else f"was not ready in {_START_SECONDS:.0f} s"
                raise LocalRabbitMQError(f"RabbitMQ {fault}:\n{self._log()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the broker and its port mapper, and wait until both are gone. May be called twice."""
        if self._broker is not None:
            self._terminate(self._broker)
            self._broker = None
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()
            self._mapper = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> dict[str, str]:
        amqp, epmd, distribution = self._ports
        home = self._directory
        home.mkdir(parents=True, exist_ok=True)
        (home / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{amqp}\n"
            f"log.file = {home / 'log' / 'rabbit.log'}\n"
            "vm_memory_high_watermark.absolute = 512MiB\n"
            "disk_free_limit.absolute = 50MB\n"
        )
        (home / "enabled_plugins").write_text("[].\n")
        # Nothing is inherited: a RABBITMQ_ or ERL_ variable of the caller would change what is tested.
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": f"quill{amqp}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(amqp),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2",
        }

    def _speaks_amqp(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._ports[0]), timeout=2) as connection:
                connection.sendall(_PROTOCOL_HEADER)
                return connection.recv(1) == _METHOD_FRAME
        except OSError:
            return False

    def _terminate(self, broker: subprocess.Popen[bytes]) -> None:
        # The group is the script's own session: the script, the Erlang machine and its helpers.
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(broker.pid, number)
            except ProcessLookupError:
                break
            try:
                broker.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            if self._wait_for_group(broker.pid):
                break
        broker.wait()

    @staticmethod
    def _wait_for_group(group: int) -> bool:
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.05)
        return False

    def _log(self) -> str:
        files = [self._directory / "output", self._directory / "log" / "rabbit.log"]
        return "\n".join(file.read_text(errors="replace")[-2000:] for file in files if file.exists())


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main() -> int:
    """Run a command beside a broker and return the command's exit status."""
    command = sys.argv[1:]
    if not command:
        print("usage: python -m quill_embedded.rabbitmq COMMAND [ARGUMENT ...]", file=sys.stderr)  # noqa: T201
        return 2
    signal.signal(signal.SIGTERM, _exit_on_signal)
    with tempfile.TemporaryDirectory(prefix="quill-rabbitmq-") as directory:
        try:
            with LocalRabbitMQ(Path(directory)) as broker:
                environment = {**os.environ, URL_VARIABLE: broker.url}
                process = subprocess.Popen(command, env=environment)  # noqa: S603 - what the caller asked for
                try:
                    return process.wait()
                finally:
                    if process.poll() is None:
                        process.terminate()
                        process.wait()
        except LocalRabbitMQError as error:
            print(error, file=sys.stderr)  # noqa: T201
            return 1


if __name__ == "__main__":
    sys.exit(main())
