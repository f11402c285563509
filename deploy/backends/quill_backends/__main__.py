"""`python -m quill_backends up|down|status|test`: the real servers on this machine."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Literal, cast

from .control import SERVERS, Backends, ensure, inspect, stop
from .errors import BackendsError
from .processes import resident_bytes
from .state import FILE

_MEBIBYTE = 1024 * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit status."""
    parser = argparse.ArgumentParser(prog="quill_backends", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="install and start what does not run, and print the addresses")
    down = commands.add_parser("down", help="stop what runs; the data stays")
    status = commands.add_parser(
        "status", help="say what runs; exit status 1 if something wanted does not answer"
    )
    test = commands.add_parser(
        "test", help="start what does not run, and run a command that tests against it"
    )
    test.add_argument("command_line", nargs=argparse.REMAINDER, metavar="COMMAND")
    for command in (up, down, status):
        command.add_argument("--only", nargs="+", choices=SERVERS, default=list(SERVERS), metavar="SERVER")
    up.add_argument(
        "--hapi-database", choices=("h2", "postgresql"), help="h2 keeps everything in memory, for tests"
    )
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        if options.command == "up":
            begun = time.monotonic()
            database = cast('Literal["h2", "postgresql"] | None', options.hapi_database)
            _show(ensure(options.only, hapi_database=database, say=_say), time.monotonic() - begun)
        elif options.command == "test":
            return _test(ensure(hapi_database="postgresql", say=_say), options.command_line)
        elif options.command == "down":
            stop(options.only, say=_say)
        else:
            return _status(options.only)
    except BackendsError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _show(backends: Backends, seconds: float) -> None:
    addresses = {
        "postgres": backends.postgres_url.rpartition("@")[2].rpartition("/")[0],
        "rabbitmq": f"amqp://{backends.rabbitmq_url.rpartition('@')[2]}",
        "ehrbase": backends.openehr_url,
        "hapi": f"{backends.fhir_url} (on {backends.hapi_database})",
    }
    for name, pid in backends.pids.items():
        _say(f"  {name:9} {backends.versions.get(name, ''):8} {addresses[name]} (process {pid})")
    _say(f"Running after {seconds:.1f} s. Logs are in {backends.directory}, passwords in its {FILE}.")


def _status(only: Sequence[str]) -> int:
    places, state, servers = inspect()
    if state is None:
        _say(f"Nothing was ever started in {places.running}.")
        return 1
    well = True
    for server in servers:
        if server.name not in only:
            continue
        process = server.process
        answers = process is not None and server.answers()
        well = well and answers
        if process is None:
            _say(f"  {server.name:9} does not run")
            continue
        memory = resident_bytes(process) // _MEBIBYTE
        health = "answers" if answers else "does not answer"
        version = state.versions.get(server.name, "")
        _say(
            f"  {server.name:9} {version:8} {health}, port {server.port}, process {process.pid}, {memory} MiB"
        )
    return 0 if well else 1


def _test(backends: Backends, command: Sequence[str]) -> int:
    """Runs `command` with the addresses that the test suites look for, and returns its exit status."""
    addresses = {
        "QUILL_TEST_RABBITMQ_URL": backends.rabbitmq_url,
        "QUILL_TEST_FHIR_URL": backends.fhir_url,
        "QUILL_TEST_OPENEHR_URL": backends.openehr_url,
        "QUILL_TEST_OPENEHR_USERNAME": backends.openehr_username,
        "QUILL_TEST_OPENEHR_PASSWORD": backends.openehr_password,
    }
    return subprocess.run(command, env={**os.environ, **addresses}, check=False).returncode  # noqa: S603


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
