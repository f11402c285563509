"""`python -m quill_embedded`: the whole of Quill on this machine. `reset` deletes its data, `where` tells
where that is.

What is imported here is little, so that a mistake is told at once and PostgreSQL starts while the
services are still being imported.
"""

import argparse
import gc
import importlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from .backends import SERVICES, Backends
from .configuration import Configuration
from .console import Console
from .errors import StackError
from .instance import only_instance, reset
from .keys import MAKERS, kept

_PATIENCE_AFTER_CRASH = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    options = _options(arguments)
    console = Console()
    # Until the event loop takes over, SIGTERM does what Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.backends == "real":
            return _on_real_servers(options, console)
        configuration = Configuration.read(os.environ, verbose=options.verbose, seeds=options.demo)
        if options.command == "where":
            console.say(str(configuration.data_dir))
            return 0
        if options.command == "reset":
            existed = reset(configuration)
            console.say(
                f"Deleted the data in {configuration.data_dir}; the next start begins afresh."
                if existed
                else f"There is no data in {configuration.data_dir}."
            )
            return 0
        _run(configuration, console)
    except StackError as error:
        console.fail(str(error))
        return 1
    except KeyboardInterrupt:
        pass
    console.say("Stopped.")
    return 0


def _on_real_servers(options: argparse.Namespace, console: Console) -> int:
    real = importlib.import_module(".real", __package__)
    configuration = Configuration.read(
        os.environ,
        verbose=options.verbose,
        seeds=options.demo,
        usual_data_dir=real.usual_data_dir(os.environ),
    )
    if options.command == "where":
        console.say(str(configuration.data_dir))
        return 0
    if options.command == "reset":
        real.reset(configuration)
    real.run(configuration, console)
    console.say("Stopped.")
    return 0


def _run(configuration: Configuration, console: Console) -> None:
    began = time.monotonic()
    with only_instance(configuration) as instance:
        first = not configuration.postgres_dir.exists()
        if first:
            # Whatever it told of went with the databases.
            configuration.demo_file.unlink(missing_ok=True)
        elif not configuration.keys_file.exists():
            raise StackError(
                f"{configuration.keys_file} is gone, and the data cannot be read without it; put it back, or "
                "`make reset`."
            )
        keys = kept(configuration.keys_file, MAKERS)
        patience = _PATIENCE_AFTER_CRASH if instance.followed_a_crash else 0.0
        configuration.ports.require_free(("FHIR", "openEHR"), patience=patience)
        if not instance.followed_a_crash:
            # A database server that was left behind is stopped by the next, and gives up its port then.
            configuration.ports.require_free(("PostgreSQL",))
        with configuration.ports.listening(("gateway", *SERVICES), patience=patience) as listeners:
            console.say("Making the databases ..." if first else "Starting ...", style="dim")
            backends = Backends(configuration, keys, console)
            with ThreadPoolExecutor(1, thread_name_prefix="backends") as thread:
                started = thread.submit(backends.start)
                try:
                    stack = importlib.import_module(".stack", __package__)
                    stack.run(
                        stack.Parts(
                            configuration=configuration,
                            keys=keys,
                            backends=backends,
                            backends_started=started,
                            listeners=listeners,
                            console=console,
                            began=began,
                        )
                    )
                finally:
                    started.exception()
                    backends.stop()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m quill_embedded",
        description="Runs the whole of Quill on this machine, until Ctrl-C.",
        epilog="QUILL_PORT (default 8000) moves all ports; QUILL_DATA_DIR (default .quill, with real servers "
        "quill in their directory) has the data; QUILL_LOG_LEVEL sets how much is logged, and shows it.",
    )
    parser.add_argument("command", nargs="?", choices=("run", "reset", "where"), default="run")
    parser.add_argument(
        "--backends",
        choices=("embedded", "real"),
        default="embedded",
        help="real: on HAPI FHIR, EHRbase, RabbitMQ and PostgreSQL, a process for each half of a service",
    )
    parser.add_argument("--verbose", action="store_true", help="show the log on the console too")
    parser.add_argument(
        "--no-demo", dest="demo", action="store_false", help="make no demonstration data, only a superadmin"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    code = main()
    # The modules of six applications are not worth a last garbage collection, which takes a second.
    gc.freeze()
    sys.exit(code)
