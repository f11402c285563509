"""Runs applications until told to stop: drain, finish, close, exit 0.

python -m quill_shared.platform.serve quill_auth.main --role api
"""

import argparse
import asyncio
import contextlib
import gc
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from .logs import configure_logging
from .service import ServiceDefinition


class Server(uvicorn.Server):
    """uvicorn without signal handling of its own: it would end the process by the signal, not with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to `serve`."""
        yield


def server(app: FastAPI, *, host: str, port: int, grace: float) -> Server:
    """A server for `app`; requests in flight get `grace` seconds when it stops."""
    definition: ServiceDefinition = app.state.definition
    return Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="uvloop",
            http=definition.protocol or "httptools",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            backlog=1024,
            timeout_graceful_shutdown=int(grace),
            h11_max_incomplete_event_size=32768,
        )
    )


async def serve(servers: Sequence[Server]) -> None:
    """Runs `servers` until SIGTERM or SIGINT, then lets each finish what it has begun."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for each in servers:
            each.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await asyncio.gather(*(each.serve() for each in servers))
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Runs one Quill service.")
    parser.add_argument("module", help="module with the application, e.g. quill_auth.main")
    parser.add_argument(
        "--role", choices=("api", "worker", "all"), default=os.environ.get("QUILL_ROLE", "all")
    )
    parser.add_argument("--host", default=os.environ.get("QUILL_HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("QUILL_PORT", "8000")))
    arguments = parser.parse_args()
    os.environ["QUILL_ROLE"] = arguments.role
    app: FastAPI = importlib.import_module(arguments.module).app
    try:
        app.state.definition.settings()
    except ValidationError as error:
        sys.exit(_complaint(error))
    # What exists now lives as long as the process: the collector need not look at it on every round.
    gc.collect()
    gc.freeze()
    configure_logging(app.state.definition.name, os.environ.get("QUILL_LOG_LEVEL", "INFO"))
    grace = float(os.environ.get("QUILL_SHUTDOWN_GRACE_SECONDS", "20"))
    runner = server(app, host=arguments.host, port=arguments.port, grace=grace)
    with asyncio.Runner(loop_factory=runner.config.get_loop_factory()) as loop:
        loop.run(serve([runner]))
    sys.exit(0 if runner.started else 1)


def _complaint(error: ValidationError) -> str:
    faults = [f"QUILL_{'_'.join(map(str, each['loc'])).upper()}: {each['msg']}" for each in error.errors()]
    return "Cannot start. " + "; ".join(faults)


if __name__ == "__main__":
    main()
