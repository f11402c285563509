"""RabbitMQ from the distribution, on loopback with data, cookie and port mapper of its own.

The script below `/usr/lib` is started and not the wrapper of that name on PATH, which insists on a certain
user. A broker that the machine runs already is left alone.
"""

import os
import shutil
import signal
import socket
from pathlib import Path
from typing import ClassVar, Final

from .errors import BackendsError
from .ports import HOST
from .processes import spawn
from .server import Server, clean_environment

SCRIPT: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
USERNAME: Final = "quill"
_MAPPER: Final = "epmd"
_LIBRARIES: Final = Path("/usr/lib/rabbitmq/lib")
_PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME: Final = b"\x01"


class RabbitMQ(Server):
    """The broker, and the port mapper that Erlang wants beside it."""

    name: ClassVar[str] = "rabbitmq"
    title: ClassVar[str] = "RabbitMQ"
    patience: ClassVar[float] = 90.0

    def listens(self) -> tuple[str, ...]:
        # The port mapper survives the broker when that is killed.
        mapper = () if self.setting.state.running(_MAPPER) else (_MAPPER,)
        return (self.name, "rabbitmq distribution", *mapper)

    def packages(self) -> tuple[str, ...]:
        return () if SCRIPT.exists() and shutil.which(_MAPPER) else ("rabbitmq-server",)

    def version(self) -> str:
        versions = sorted(_LIBRARIES.glob("rabbitmq_server-*"))
        return versions[-1].name.partition("-")[2] if versions else "unknown"

    def start(self) -> None:
        mapper = shutil.which(_MAPPER)
        if mapper is None or not SCRIPT.exists():
            raise BackendsError("RabbitMQ is not installed: install the package rabbitmq-server.")
        state = self.setting.state
        environment = self._files()
        if state.running(_MAPPER) is None:
            # The broker would otherwise start one as a daemon that outlives it and that nobody knows.
            arguments = [mapper, "-port", environment["ERL_EPMD_PORT"], "-address", HOST]
            log = self.directory / "epmd.log"
            state.processes[_MAPPER] = spawn(arguments, environment=environment, log=log)
            self.setting.keep()
        self.started(spawn(["/bin/sh", SCRIPT], environment=environment, log=self.log))

    def answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=2) as connection:
                connection.sendall(_PROTOCOL_HEADER)
                return connection.recv(1) == _METHOD_FRAME
        except OSError:
            return False

    def stop(self) -> bool:
        processes = self.setting.state.processes
        broker, mapper = processes.get(self.name), processes.get(_MAPPER)
        gone = broker is None or broker.end((signal.SIGTERM, 30.0), (signal.SIGKILL, 5.0))
        return (mapper is None or mapper.end((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0))) and gone

    def kill(self) -> None:
        process = self.setting.state.processes.get(self.name)
        if process is not None:
            process.end((signal.SIGKILL, 5.0))

    def log_end(self) -> str:
        try:
            return (self.directory / "log" / "rabbit.log").read_text(errors="replace")[-1500:].strip()
        except OSError:
            return super().log_end()

    def _files(self) -> dict[str, str]:
        home, numbers = self.directory, self.setting.state.ports
        configuration = home / "rabbitmq.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            f"listeners.tcp.1 = {HOST}:{self.port}\n"
            f"default_user = {USERNAME}\n"
            f"default_pass = {self.setting.state.credentials['rabbitmq']}\n"
            f"log.file = {home / 'log' / 'rabbit.log'}\n"
            "vm_memory_high_watermark.absolute = 512MiB\n"
            "disk_free_limit.absolute = 50MB\n"
        )
        (home / "enabled_plugins").write_text("[].\n")
        return {
            **clean_environment({}),
            "HOME": str(home),
            "RABBITMQ_NODENAME": "quill@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(numbers["rabbitmq distribution"]),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "ERL_EPMD_PORT": str(numbers[_MAPPER]),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2",
        }
