"""One process that serves the FHIR and the openEHR stand-in, each on its port.

``python -m quill_embedded.standins``; every setting is an environment variable ``QUILL_STANDINS_…`` or an
option (``--fhir-port 8081``). Give the database addresses in the environment: options are visible to other
users of the machine. SIGTERM and SIGINT finish the requests under way and end with exit code 0.
"""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator, Sequence

import asyncpg
import uvicorn
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.applications import Starlette

from .fhir import FhirSettings, create_fhir_app
from .openehr import OpenEhrSettings, create_openehr_app

_SHUTDOWN_SECONDS = 5


class StandinsError(Exception):
    """The stand-ins cannot start; the message says why in one sentence."""


class StandinsSettings(BaseSettings):
    """Settings of the process; both databases belong to the stand-ins alone."""

    model_config = SettingsConfigDict(
        env_prefix="QUILL_STANDINS_", cli_kebab_case=True, cli_prog_name="python -m quill_embedded.standins"
    )

    host: str = "127.0.0.1"
    fhir_port: int = 8081
    openehr_port: int = 8082
    fhir_database_url: SecretStr
    openehr_database_url: SecretStr
    fhir_pool_size: int = 5
    openehr_pool_size: int = 3
    fhir_reuse_search_seconds: float = 0.0
    fhir_stale_if_match_status: int = 409
    openehr_username: str | None = None
    openehr_password: SecretStr | None = None


async def serve(settings: StandinsSettings) -> None:
    """Serve both until a signal asks to stop.

    Raises:
        StandinsError: a port is taken, or a database cannot be reached.
    """
    fhir = FhirSettings(
        database_url=_dsn(settings.fhir_database_url),
        pool_max_size=settings.fhir_pool_size,
        reuse_search_seconds=settings.fhir_reuse_search_seconds,
        stale_if_match_status=settings.fhir_stale_if_match_status,
    )
    password = settings.openehr_password
    openehr = OpenEhrSettings(
        database_url=_dsn(settings.openehr_database_url),
        username=settings.openehr_username,
        password=password.get_secret_value() if password else None,
        pool_max_size=settings.openehr_pool_size,
    )
    await _require_database("FHIR", fhir.database_url)
    await _require_database("openEHR", openehr.database_url)
    with contextlib.ExitStack() as stack:
        fhir_socket = stack.enter_context(_listening("FHIR", settings.host, port=settings.fhir_port))
        openehr_socket = stack.enter_context(_listening("openEHR", settings.host, port=settings.openehr_port))
        servers = [_server(create_fhir_app(fhir)), _server(create_openehr_app(openehr))]
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop, servers)
        await asyncio.gather(
            servers[0].serve(sockets=[fhir_socket]), servers[1].serve(sockets=[openehr_socket])
        )
        if not all(server.started for server in servers):
            raise StandinsError("a stand-in could not start")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stand-ins from the command line and return the exit code."""
    try:
        options = list(sys.argv[1:] if arguments is None else arguments)
        settings = StandinsSettings(_cli_parse_args=options)
    except ValidationError as error:
        names = ", ".join(sorted({str(fault["loc"][0]) for fault in error.errors(include_input=False)}))
        print(f"missing or invalid settings: {names}", file=sys.stderr)  # noqa: T201
        return 2
    try:
        with asyncio.Runner(loop_factory=uvicorn.Config(_no_app).get_loop_factory()) as runner:
            runner.run(serve(settings))
    except StandinsError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


class _Server(uvicorn.Server):
    """A server that leaves signals to the process: two servers would each take them for itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: Starlette) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_level="warning",
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
    )


def _dsn(url: SecretStr) -> str:
    """The address as asyncpg takes it; SQLAlchemy's way of naming the driver is understood too."""
    return url.get_secret_value().replace("postgresql+asyncpg://", "postgresql://", 1)


def _stop(servers: Sequence[uvicorn.Server]) -> None:
    for server in servers:
        server.force_exit = server.should_exit
        server.should_exit = True


@contextlib.contextmanager
def _listening(name: str, host: str, *, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise StandinsError(f"{name}: cannot listen on {host}:{port}: {error.strerror}") from None
        yield listener


async def _require_database(name: str, database_url: str) -> None:
    try:
        connection = await asyncpg.connect(database_url, timeout=10)
    except (OSError, ValueError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StandinsError(f"{name}: the database cannot be reached ({type(error).__name__})") from None
    await connection.close()


async def _no_app(*_: object) -> None:
    """Stands for an application where only uvicorn's choice of event loop is wanted."""


if __name__ == "__main__":
    sys.exit(main())
